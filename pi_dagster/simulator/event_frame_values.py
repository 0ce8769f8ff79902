"""The values that event frames captured, thousands of frames a second: `streamsets/{webId}/value` of a frame.

No call of PI Web API gives the values of many frames, so clients put one for each frame into a batch. The answers for
frames of one template differ in ids, times and values only; the rest is written once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from pi_dagster.simulator.af_attribute_routes import wanted_attributes
from pi_dagster.simulator.af_bodies import Owner
from pi_dagster.simulator.af_model import ASSET_SERVER_ID, AssetDatabase, Attribute
from pi_dagster.simulator.af_webids import enumeration_value, write_web_id
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.event_frame_bodies import frame_path
from pi_dagster.simulator.event_frame_lookup import find_frame
from pi_dagster.simulator.events import iso_timestamp
from pi_dagster.simulator.service import Service
from pi_dagster.simulator.stream_lookup import NOTHING_CAPTURED
from pi_dagster.webid import WebIdType

_RAW_GAP = re.compile(r'"\\u0000([vg]\d+)\\u0000"')
_GAP = re.compile(r"\\u0000(\w+)\\u0000")


class _Sheet(NamedTuple):
    """The answer for any frame of a template, with gaps, and which of its attributes it is about."""

    text: str
    places: tuple[int, ...]
    has_web_ids: bool


def captured_values(service: Service, call: Call) -> msgspec.Raw | None:
    """The answer, if it is about an event frame that holds all of its values itself.

    Raises:
        RefusedError: there is no such frame, or a parameter is wrong.
    """
    if call.params["webId"][2:4] != "Fm" or call.query.text("sortField") or service.faults.active():
        return None
    database, view, frame = find_frame(service, call, service.parse_web_id(call.params["webId"], "Fm"))
    settings = service.settings
    form = call.web_id_type(settings.web_id_type)
    sheet = _sheet(
        database, frame.template_name, call.query_text, call.base_url, form, prints_annotated=settings.prints_annotated
    )
    if any(attribute.tag is not None for attribute in frame.attributes):
        return None
    path = frame_path(database, view, frame)
    fillings = {"p": encode_basestring(path)[1:-1], "t": iso_timestamp(frame.start if frame.end is None else frame.end)}
    for place in sheet.places:
        placed, _, value = frame.attributes[place]
        if sheet.has_web_ids:
            ids = (ASSET_SERVER_ID, frame.id, placed.id)
            fillings[f"w{place}"] = write_web_id(form, "AbF", ids, f"{path}|{placed.path}")
        printed = enumeration_value(database, placed.template.type_qualifier, value)
        fillings[f"v{place}"] = msgspec.json.encode(NOTHING_CAPTURED if value is None else printed).decode()
        fillings[f"g{place}"] = "false" if value is None else "true"
    return msgspec.Raw((sheet.text % fillings).encode())


@lru_cache(maxsize=64)
def _sheet(
    database: AssetDatabase,
    template_name: str,
    query_text: str,
    base_url: str,
    form: WebIdType,
    *,
    prints_annotated: bool,
) -> _Sheet:
    call = Call("GET", "", query_text, base_url)
    attributes = [Attribute(placed, None, None) for placed in database.template_attributes(template_name)]
    wanted = wanted_attributes(call, Owner("F", UUID(int=0), "", database), attributes)
    places = tuple(attributes.index(attribute) for attribute in wanted)
    items = []
    for place in places:
        placed = attributes[place].placed
        value: dict[str, Any] = {
            "Timestamp": "\0t\0",
            "Value": f"\0v{place}\0",
            "UnitsAbbreviation": placed.template.units_abbreviation,
            "Good": f"\0g{place}\0",
            "Questionable": False,
            "Substituted": False,
        }
        items.append(
            {
                "WebId": f"\0w{place}\0",
                "Name": placed.template.name,
                "Path": f"\0p\0|{placed.path}",
                "Links": {"Source": call.link("attributes", f"\0w{place}\0")},
                "Value": {**value, "Annotated": False} if prints_annotated else value,
            }
        )
    tree = call.selected.prune({"Links": {}, "Items": items})
    text = msgspec.json.encode(tree).decode().replace("%", "%%")
    text = _GAP.sub(r"%(\1)s", _RAW_GAP.sub(r"%(\1)s", text))
    return _Sheet(text, places, has_web_ids="%(w" in text)
