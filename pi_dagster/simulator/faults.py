"""Faults that can be switched on: what goes wrong between a PI server and its clients, on request.

A fault names what goes wrong, on which routes, for which tag, how often. The same faults are set in-process
(`running.faults`) and through the admin door.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from pi_dagster.webid import InvalidWebIdError, WebId, WebIdType


class FaultKind(str, Enum):
    """What goes wrong."""

    STATUS = "status"
    """A refusal with `status` and `Errors`: 429 (with `retry_after` or without), 500, 503, an expired login (401),
    a permission taken away (403, 404)."""
    HTML = "html"
    """A proxy's error page with `status`."""
    WEB_EXCEPTION = "web_exception"
    """A 200 that ends after half of its items in a `WebException`."""
    VALUE_ERRORS = "value_errors"
    """Every tenth value, the first included, is null and carries `Errors`."""
    MISSING_STREAM = "missing_stream"
    """The stream, or the last one where no WebID is given, is left out of a streamset."""
    CUT_BODY = "cut_body"
    """The connection closes after half of the body."""
    DROPPED_CONNECTION = "dropped_connection"
    """The connection closes without an answer."""
    SLOW = "slow"
    """The answer comes `seconds` later."""
    OVERLOAD = "overload"
    """A refusal with `status`, of requests that come while more than `at_once` are under way, themselves included."""


ON_THE_WIRE = frozenset({FaultKind.CUT_BODY, FaultKind.DROPPED_CONNECTION})
"""Faults of the connection: they hit a whole batch, never one request in it."""

BEFORE_ROUTING = frozenset({FaultKind.OVERLOAD})
"""Faults of the server as a whole: they too hit a whole batch."""

ABOUT_VALUES = frozenset({FaultKind.VALUE_ERRORS, FaultKind.MISSING_STREAM})
"""Faults that only reading streams can have."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault and when it happens.

    Args:
        kind: what goes wrong.
        route: pattern (`*`, `?`) of the path after the base URL, such as `streams/*/recorded` or `batch`;
            not case-sensitive.
        web_id: only for requests that name this stream, in whatever form of WebID.
        count: how often it happens; None is until it is cleared.
        probability: of happening to a request that matches, 0 to 1.
        status: for `status` and `overload` (default 503) and `html` (default 502).
        retry_after: value of the Retry-After header of `status` and `overload`: seconds or a date.
        message: the text of the error.
        seconds: for `slow`.
        at_once: for `overload`.

    Raises:
        ValueError: a probability, count or time that makes no sense.
    """

    kind: FaultKind
    route: str = "*"
    web_id: str | None = None
    count: int | None = None
    probability: float = 1.0
    status: int | None = None
    retry_after: str | None = None
    message: str = "Simulated fault."
    seconds: float = 1.0
    at_once: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a fault's probability is 0 to 1, not {self.probability}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"a fault's count is at least 1, not {self.count}")
        if self.seconds < 0:
            raise ValueError(f"a fault's seconds are not negative, but were {self.seconds}")

    def describe(self) -> dict[str, Any]:
        """The fault as plain JSON."""
        return {**asdict(self), "kind": self.kind.value}


class Faults:
    """The faults in force. Safe to use from several threads; chance comes from a seed, so runs can repeat."""

    def __init__(self, seed: int = 1) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._active: dict[int, Fault] = {}
        self._left: dict[int, int | None] = {}

    def add(self, fault: Fault) -> int:
        """Switch a fault on; returns the number to clear it by."""
        with self._lock:
            number = next(self._numbers)
            self._active[number] = fault
            self._left[number] = fault.count
            return number

    def clear(self, number: int | None = None) -> None:
        """Switch one fault off, or all."""
        with self._lock:
            for gone in [number] if number is not None else list(self._active):
                self._active.pop(gone, None)
                self._left.pop(gone, None)

    def active(self) -> dict[int, Fault]:
        """The faults that are on, by number; one that has happened `count` times is off."""
        with self._lock:
            return dict(self._active)

    def strike(
        self, path: str, streams: Collection[str], kinds: Collection[FaultKind], *, in_flight: int = 1
    ) -> list[tuple[Fault, str | None]]:
        """Which faults happen to a request now, each with the stream it is about; counts them.

        Args:
            path: the request's path after the base URL.
            streams: identities of the streams the request names.
            kinds: the kinds that can happen at this point.
            in_flight: requests under way, this one included.
        """
        if not self._active:
            return []
        struck = []
        with self._lock:
            for number, fault in list(self._active.items()):
                identity = stream_identity(fault.web_id) if fault.web_id else None
                if (
                    fault.kind not in kinds
                    or not fnmatchcase(path.lower(), fault.route.lower().strip("/"))
                    or (identity is not None and identity not in streams)
                    or (fault.kind is FaultKind.OVERLOAD and in_flight <= fault.at_once)
                    or self._random.random() >= fault.probability
                ):
                    continue
                struck.append((fault, identity))
                left = self._left[number]
                if left is not None:
                    self._left[number] = left - 1
                    if left == 1:
                        del self._active[number], self._left[number]
        return struck


def stream_identity(web_id: str) -> str:
    """A WebID string as what it names, so that its five forms can be compared: its ids without the server."""
    try:
        parsed = WebId.parse(web_id)
        if parsed.type in (WebIdType.FULL, WebIdType.ID_ONLY):
            return parsed.as_type(WebIdType.DEFAULT_ID_ONLY).encode()
    except InvalidWebIdError:
        pass
    return web_id


def with_web_exception(tree: object, message: str) -> object:
    """A body as it looks when the server failed after half of the items: cut, and a `WebException` behind them."""
    tree = _plain(tree)
    if not isinstance(tree, dict):
        return tree
    items = tree.get("Items")
    if isinstance(items, list):
        kept = items[: (len(items) + 1) // 2]
        if kept and isinstance(kept[-1], dict) and isinstance(kept[-1].get("Items"), list):
            last = kept[-1]["Items"]
            kept[-1] = {**kept[-1], "Items": last[: len(last) // 2]}
        tree = {**tree, "Items": kept}
    return {**tree, "WebException": {"Errors": [message], "StatusCode": 500}}


def with_value_errors(tree: object, message: str, stream: str | None) -> object:
    """A body in which every tenth value of the stream, or of every stream, could not be read."""
    tree = _plain(tree)
    for values in _value_lists(tree, stream):
        for value in values[::10]:
            value.update(Value=None, Good=False, Errors=[{"FieldName": "Value", "Message": [message]}])
    return tree


def without_stream(tree: object, stream: str | None) -> object:
    """A streamset body without the stream, or without its last one."""
    if not isinstance(tree, dict) or not isinstance(tree.get("Items"), list):
        return tree
    items = tree["Items"]
    if stream is None:
        return {**tree, "Items": items[:-1]}
    return {**tree, "Items": [item for item in items if stream_identity(item.get("WebId", "")) != stream]}


def _value_lists(tree: object, stream: str | None) -> Iterable[list[dict[str, Any]]]:
    if not isinstance(tree, dict):
        return
    items = tree.get("Items")
    if not isinstance(items, list):
        yield [tree]
    elif items and "WebId" not in items[0]:
        yield items
    else:
        for item in items:
            if stream is None or stream_identity(item["WebId"]) == stream:
                yield item["Items"] if "Items" in item else [item["Value"]]


def _plain(tree: object) -> object:
    """A tree without pre-encoded parts, free to be changed."""
    return msgspec.json.decode(msgspec.json.encode(tree))
