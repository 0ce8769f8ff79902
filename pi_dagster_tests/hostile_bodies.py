"""Bodies that no PI server should send and some machine on the way may: cut, bent, huge, nested, of another kind.

Each is made from a body of the real shape, so that what it breaks is what it is about.
"""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

TIMES = (
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "1601-01-01T00:00:00Z",
    "9999-12-31T23:59:59.9999999Z",
    "10000-01-01T00:00:00Z",
    "2026-11-02T06:00:00.12345678901234567890Z",
    "2026-11-02T06:00:60Z",
    "2026-11-02T06:00:00+25:00",
    "2026-11-02",
    "-292277022657-01-27T08:29:52Z",
    "2026-11-02T06:00:00.²Z",
    "*-1d",
    "",
)
NAMES = (
    "'; DROP TABLE pi_timeseries; --",
    "../../../../tmp/escaped",
    "..\\..\\escaped",
    "/etc/passwd",
    "<script>alert(1)</script>",
    "```\n[click](javascript:alert(1))\n```",
    "\x1b]0;title\x07\x1b[2J",
    "tag_group=other/partition_date=1970-01-01",
    "\u202egnp.exe",
    "\u0000",
    "%2e%2e%2f",
    "{{ env.PI_PASSWORD }}",
    "a" * 5000,
)
WEB_IDS = ("", "..", "../../system/configuration", "x?y=1", "x#y", "x%2f..%2fy", "\\\\host\\share", "I1DP\r\nX: y", "é")
NUMBERS = ("NaN", "-Infinity", "Infinity", "1e400", "-1e400", "9" * 400, "9" * 5000, "1" + "0" * 30, "-0", "1e-400")
_NEST = 100_000

CORPUS: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  \r\n",
    "null": b"null",
    "a number": b"7",
    "a list": b"[]",
    "an empty object": b"{}",
    "HTML": b"<html><body>It works!</body></html>",
    "cut": b'{"Items":[{"WebId":"I1DP","Items":[{"Timestamp":"2026-',
    "BOM": b'\xef\xbb\xbf{"Items":[]}',
    "UTF-16": '{"Items":[]}'.encode("utf-16"),
    "no UTF-8": b'{"Items":[{"WebId":"\xff\xfe"}]}',
    "no UTF-8 in what is skipped": b'{"Links":{"\xff":"\xfe"},"Items":[]}',
    "half a surrogate pair": b'{"Items":[{"WebId":"\\ud800","Name":"\\udc00"}]}',
    "deep list": b'{"Items":' + b"[" * _NEST + b"]" * _NEST + b"}",
    "deep object": b'{"Items":[{"WebId":"x","Name":' + b'{"a":' * _NEST + b"1" + b"}" * _NEST + b"}]}",
    "deep in what is skipped": b'{"Links":' + b"[" * _NEST + b"]" * _NEST + b',"Items":[]}',
    "never closed": b'{"Items":' + b"[" * _NEST,
    "items null": b'{"Items":null}',
    "items an object": b'{"Items":{"0":{}}}',
    "items of null": b'{"Items":[null,null]}',
    "one key a thousand times": b"{" + b'"Items":[],' * 1000 + b'"Items":[]}',
    "a WebException": b'{"Items":[],"WebException":{"Errors":["Error occurred."],"StatusCode":500}}',
    "a WebException of another kind": b'{"Items":[],"WebException":"<b>no</b>"}',
    "errors of another kind": b'{"Items":[],"Errors":"<b>no</b>"}',
}


def events_body(web_id: str, times: list[str], values: list[str]) -> bytes:
    """A `streamsets/recorded` answer of one stream, its values written as they are."""
    items = ",".join(
        f'{{"Timestamp":{json.dumps(time)},"Value":{value},"Good":true,"Questionable":false,"Substituted":false}}'
        for time, value in zip(times, values, strict=True)
    )
    return f'{{"Links":{{}},"Items":[{{"WebId":{json.dumps(web_id)},"Items":[{items}]}}]}}'.encode()


def mutated(body: bytes, random: Random) -> bytes:
    """`body` with a few of its values changed, lost, doubled or swapped, or of its bytes flipped, cut or repeated."""
    if random.random() < 0.7:
        try:
            tree = json.loads(body)
        except ValueError:
            tree = None
        for _ in range(random.randint(1, 4)):
            _bend(tree, random)
        # json writes NaN and Infinity bare, as .NET does.
        body = json.dumps(tree, ensure_ascii=random.random() < 0.5).encode(errors="surrogatepass")
    for _ in range(random.choice((0, 0, 1, 2))):
        body = _bent_bytes(body, random)
    return body


def _hostile_value(random: Random, depth: int = 0) -> Any:
    kind = random.randint(0, 7 if depth < 3 else 5)
    if kind <= 2:
        return random.choice((*TIMES, *NAMES, *WEB_IDS, "\ud800", "\ud83d\ude00"))
    if kind <= 4:
        return random.choice((None, True, False, 0, -1, 7.5, math.nan, math.inf, 2**31, 2**53 + 1, 2**64, 10**30, -0.0))
    if kind == 5:
        return random.choice(([], {}))
    if kind == 6:
        return [_hostile_value(random, depth + 1) for _ in range(random.randint(1, 3))]
    keys = ("Name", "Value", "IsSystem", "Errors", "Items", "WebId", "Status", "Content", "WebException")
    return {random.choice(keys): _hostile_value(random, depth + 1) for _ in range(random.randint(1, 3))}


def _bend(tree: Any, random: Random) -> None:
    place = tree
    while isinstance(place, (dict, list)) and place:
        key: Any = random.choice(sorted(place)) if isinstance(place, dict) else random.randrange(len(place))
        if isinstance(place[key], (dict, list)) and place[key] and random.random() < 0.85:
            place = place[key]
            continue
        what = random.choice(("replace", "replace", "lose", "double", "swap"))
        if what == "replace":
            place[key] = _hostile_value(random)
        elif what == "lose":
            del place[key]
        elif isinstance(place, list):
            other = random.randrange(len(place))
            if what == "double":
                place.insert(other, place[key])
            else:
                place[key], place[other] = place[other], place[key]
        return


def _bent_bytes(body: bytes, random: Random) -> bytes:
    at = random.randint(0, max(0, len(body) - 1))
    what = random.choice(("cut", "flip", "insert", "repeat", "number"))
    if what == "cut":
        return body[:at]
    if what == "flip":
        return body[:at] + bytes([random.randint(0, 255)]) + body[at + 1 :]
    if what == "insert":
        return body[:at] + bytes(random.choices(range(256), k=random.randint(1, 8))) + body[at:]
    if what == "repeat":
        return body[: at + random.randint(1, 200)] + body[at:]
    return body[:at] + random.choice(NUMBERS).encode() + body[at:]
