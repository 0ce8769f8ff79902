"""What belongs to each element of AF: its attributes, the elements below it, static values and the tags referred to.

One batch asks for the attributes and the children of a hundred elements, a second one for their static values. The
attributes are asked for element by element, because only so the documentation promises hidden and excluded ones
(docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/element/actions/getattributes.html); the search for
attributes of a whole database has no such option. The children tell all parents of an element, by weak references
too, which paths do not, and they tell of elements that the search has passed over.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pi_dagster.piwebapi.batches import Call, batch_answers, error_of_answer, in_smaller_parts
from pi_dagster.piwebapi.changing_list import read_changing_list
from pi_dagster.piwebapi.decode import SubAnswer
from pi_dagster.piwebapi.elements import Element
from pi_dagster.piwebapi.event_frame_attributes import as_text
from pi_dagster.piwebapi.item_lists import rows_of
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.transport import Parameters, Transport
from pi_dagster.webid import WebId

PI_POINT = "PI Point"

ATTRIBUTES_PAGE = 1000
"""Attributes of one element asked for at once; nearly all elements have fewer."""

_STREAMS_PER_CALL = 100
_CALLS_PER_BATCH = 20
_FORBIDDEN = 403
_GONE = (_FORBIDDEN, 404)
_TAG = re.compile(r"^\\\\(?:PIServers\[)?([^\\?;|\]]+)\]?(?:\?[^\\;|]*)?\\([^?;|]+)", re.IGNORECASE)
r"""`\\SERVER?guid\TAG?id;options`; the ids may be left away."""

_SUBSTITUTED = re.compile("%[^%]+%")
"""A parameter such as `%Element%`, which only AF can fill in."""


class _Links(msgspec.Struct, frozen=True, gc=False):
    Point: str | None = None


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """An AF attribute as the server lists it."""

    web_id: str = msgspec.field(name="WebId")
    id: str = msgspec.field(name="Id")
    name: str = msgspec.field(name="Name")
    path: str = msgspec.field(name="Path", default="")
    value_type: str | None = msgspec.field(name="Type", default=None)
    units_name: str | None = msgspec.field(name="DefaultUnitsName", default=None)
    units_abbreviation: str | None = msgspec.field(name="DefaultUnitsNameAbbreviation", default=None)
    data_reference: str | None = msgspec.field(name="DataReferencePlugIn", default=None)
    config_string: str | None = msgspec.field(name="ConfigString", default=None)
    is_hidden: bool | None = msgspec.field(name="IsHidden", default=None)
    is_excluded: bool | None = msgspec.field(name="IsExcluded", default=None)
    category_names: list[str] | None = msgspec.field(name="CategoryNames", default=None)
    trait: str | None = msgspec.field(name="TraitName", default=None)
    links: _Links = msgspec.field(name="Links", default_factory=_Links)

    @property
    def is_static(self) -> bool:
        """True when it holds its value itself."""
        return not self.data_reference

    @property
    def is_tag(self) -> bool:
        """True when it refers to a PI point."""
        return (self.data_reference or "").casefold() == PI_POINT.casefold()


@dataclass
class ElementDetails:
    """An element with all that was read of it."""

    element: Element
    attributes: list[Attribute]
    """Nested, hidden and excluded ones too."""
    children: dict[str, str]
    """GUIDs of the elements that it holds, by whatever kind of reference, to their WebIDs."""
    static_values: dict[str, str | None] = field(default_factory=dict)
    """Attribute's WebID to its value as text, for static attributes; None for one without a value."""
    unread_values: list[str] = field(default_factory=list)
    """Names of static attributes whose value the server could not give."""
    tag_webids: dict[str, str] = field(default_factory=dict)
    """Attribute's WebID to the IDOnly WebID of its tag, for those whose tag is known to the server."""


@dataclass(frozen=True)
class GoneElement:
    """An element that was listed and cannot be read any more."""

    element: Element
    is_forbidden: bool
    """True when the server says that it is there, but not for this login."""


class _Child(msgspec.Struct, frozen=True):
    web_id: str = msgspec.field(name="WebId")
    id: str = msgspec.field(name="Id")


class _TimedValue(msgspec.Struct):
    Value: Any = None
    Good: bool = True
    Errors: list[Any] | None = None


class _StreamValue(msgspec.Struct):
    WebId: str
    Value: _TimedValue | None = None


class _Point(msgspec.Struct):
    WebId: str


_TIMED_VALUE = msgspec.json.Decoder(_TimedValue)
_POINT = msgspec.json.Decoder(_Point)

_ATTRIBUTE_FIELDS = (
    *(f"Items.{field.encode_name}" for field in msgspec.structs.fields(Attribute) if field.name != "links"),
    "Items.Links.Point",
)


class ElementDetailsReader:
    """Reads the details of many elements, several requests at once.

    Args:
        transport: the connection.
        elements_per_batch: elements a request.
        page_size: children of one element asked for at once.
        requests_ahead: batches under way at once; twice as many are held, which bounds the memory.
        select_fields: ask only for what is used.
        pool: where further pages of long lists are fetched.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        elements_per_batch: int,
        page_size: int,
        requests_ahead: int,
        select_fields: bool,
        pool: Executor,
    ) -> None:
        self._transport = transport
        self._elements_per_batch = elements_per_batch
        self._page_size = page_size
        self._requests_ahead = requests_ahead
        self._select_fields = select_fields
        self._pool = pool
        self._links_points = False
        self._tags: dict[str, str | None] = {}
        self._tags_lock = threading.Lock()

    def read(self, elements: Sequence[Element]) -> Iterator[ElementDetails | GoneElement]:
        """The details of `elements`, in their order.

        Raises:
            PIWebAPIError: the server cannot be read from, or refuses the attributes of an element.
        """
        size = self._elements_per_batch
        parts = (elements[first : first + size] for first in range(0, len(elements), size))
        ahead: deque[Future[list[ElementDetails | GoneElement]]] = deque()
        with ThreadPoolExecutor(self._requests_ahead, thread_name_prefix="af-details") as own_pool:
            try:
                for part in parts:
                    ahead.append(own_pool.submit(in_smaller_parts, part, self._read_part))
                    # Twice as many, as those that end before the oldest leave their threads idle.
                    if len(ahead) >= 2 * self._requests_ahead:
                        yield from ahead.popleft().result()
                while ahead:
                    yield from ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _read_part(self, elements: Sequence[Element]) -> list[ElementDetails | GoneElement]:
        calls: list[Call] = []
        for element in elements:
            calls.append((f"attributes {element.id}", *self._attributes_call(element, 0, ATTRIBUTES_PAGE)))
            if element.has_children:
                calls.append((f"children {element.id}", *self._children_call(element, 0, self._page_size)))
        answers = batch_answers(self._transport, calls)
        read = [self._details(element, answers) for element in elements]
        details = [one for one in read if isinstance(one, ElementDetails)]
        self._add_static_values(details)
        self._add_tags(details)
        return read

    def _details(self, element: Element, answers: Any) -> ElementDetails | GoneElement:
        of_attributes: SubAnswer = answers[f"attributes {element.id}"]
        of_children: SubAnswer | None = answers.get(f"children {element.id}")
        for answer in (of_attributes, of_children):
            if answer is not None and answer.Status in _GONE:
                return GoneElement(element, is_forbidden=answer.Status == _FORBIDDEN)
            if answer is not None and answer.Status != 200:
                raise error_of_answer(self._transport, answer)
        attributes = rows_of(Attribute)(of_attributes.Content)
        if len(attributes) >= ATTRIBUTES_PAGE:
            attributes = read_changing_list(
                lambda start, count: self._transport.get(
                    *self._attributes_call(element, start, count), rows_of(Attribute)
                ),
                lambda attribute: attribute.id,
                page_size=ATTRIBUTES_PAGE,
                pool=self._pool,
                what=f"The list of attributes of the element {element.path}",
            )
        children = rows_of(_Child)(of_children.Content) if of_children is not None else []
        if len(children) >= self._page_size:
            children = read_changing_list(
                lambda start, count: self._transport.get(*self._children_call(element, start, count), rows_of(_Child)),
                lambda child: child.id,
                page_size=self._page_size,
                pool=self._pool,
                what=f"The list of elements below {element.path}",
            )
        return ElementDetails(element, attributes, {child.id: child.web_id for child in children})

    def _attributes_call(self, element: Element, start: int, count: int) -> tuple[str, Parameters]:
        return f"elements/{element.web_id}/attributes", [
            ("searchFullHierarchy", "true"),
            ("showHidden", "true"),
            ("showExcluded", "true"),
            ("startIndex", str(start)),
            ("maxCount", str(count)),
            ("webIdType", "IDOnly"),
            *self._selected(_ATTRIBUTE_FIELDS),
        ]

    def _children_call(self, element: Element, start: int, count: int) -> tuple[str, Parameters]:
        return f"elements/{element.web_id}/elements", [
            ("startIndex", str(start)),
            ("maxCount", str(count)),
            ("webIdType", "IDOnly"),
            *self._selected(["Items.WebId", "Items.Id"]),
        ]

    def _selected(self, fields: Sequence[str]) -> Parameters:
        # What reports a failure must be asked for too: selectedFields removes all that it does not list.
        return [("selectedFields", ";".join((*fields, "WebException", "Errors")))] if self._select_fields else []

    def _add_static_values(self, details: Sequence[ElementDetails]) -> None:
        owners = {
            attribute.web_id: (one, attribute)
            for one in details
            for attribute in one.attributes
            if attribute.is_static and not attribute.is_excluded
        }
        web_ids = list(owners)
        at_once = _STREAMS_PER_CALL * _CALLS_PER_BATCH
        values: dict[str, _TimedValue | None] = {}
        for first in range(0, len(web_ids), at_once):
            values.update(in_smaller_parts(web_ids[first : first + at_once], self._values))
        for web_id, (one, attribute) in owners.items():
            value = values[web_id]
            if value is None or value.Errors:
                one.unread_values.append(attribute.name)
            one.static_values[web_id] = as_text(value.Value) if value is not None and _is_value(value) else None

    def _values(self, web_ids: Sequence[str]) -> list[tuple[str, _TimedValue | None]]:
        """Streams to their values; None for one that the server does not give."""
        groups = {
            str(first): web_ids[first : first + _STREAMS_PER_CALL]
            for first in range(0, len(web_ids), _STREAMS_PER_CALL)
        }
        fields = self._selected(["Items.WebId", *(f"Items.Value.{name}" for name in _TimedValue.__struct_fields__)])
        calls = [
            (
                name,
                "streamsets/value",
                [*(("webId", web_id) for web_id in group), ("webIdType", "IDOnly"), *fields],
            )
            for name, group in groups.items()
        ]
        found: dict[str, _TimedValue] = {}
        for answer in batch_answers(self._transport, calls, final=(500,)).values():
            if answer.Status == 200:
                found |= {
                    _identity(stream.WebId): stream.Value
                    for stream in rows_of(_StreamValue)(answer.Content)
                    if stream.Value is not None
                }
        # One stream that cannot be read may fail the set that it is in, or be left out of it.
        alone = [web_id for web_id in web_ids if _identity(web_id) not in found]
        singles = self._single_values(alone) if alone else {}
        return [(web_id, found.get(_identity(web_id)) or singles.get(web_id)) for web_id in web_ids]

    def _single_values(self, web_ids: Sequence[str]) -> dict[str, _TimedValue]:
        fields = self._selected(list(_TimedValue.__struct_fields__))
        calls = [(web_id, f"streams/{web_id}/value", fields) for web_id in web_ids]
        answers = batch_answers(self._transport, calls, final=(500,))
        return {
            web_id: decoded(answer.Content, _TIMED_VALUE) for web_id, answer in answers.items() if answer.Status == 200
        }

    def _add_tags(self, details: Sequence[ElementDetails]) -> None:
        """The tags of attributes: from the link to the point, else by the tag's name in the configuration.

        The link may hold another form of WebID than was asked for; only a form with ids names the same tag for ever.
        A server that links points at all links every one that it knows, so names are looked up only where it never did.
        """
        by_name: list[tuple[ElementDetails, Attribute, str]] = []
        for one in details:
            for attribute in one.attributes:
                if not attribute.is_tag:
                    continue
                linked = _point_identity(attribute.links.Point)
                named = _TAG.match(attribute.config_string or "")
                if linked is not None:
                    one.tag_webids[attribute.web_id] = linked
                elif named is not None and not _SUBSTITUTED.search(named.group()):
                    by_name.append((one, attribute, rf"\\{named.group(1)}\{named.group(2)}"))
        self._links_points = self._links_points or any(one.tag_webids for one in details)
        if self._links_points or not by_name:
            return
        unknown = {path for _, _, path in by_name} - self._tags.keys()
        if unknown:
            found = dict(in_smaller_parts(sorted(unknown), self._tags_called))
            with self._tags_lock:
                self._tags |= found
        for one, attribute, path in by_name:
            if tag := self._tags[path]:
                one.tag_webids[attribute.web_id] = tag

    def _tags_called(self, paths: Sequence[str]) -> list[tuple[str, str | None]]:
        query = [("webIdType", "IDOnly"), *self._selected(["WebId"])]
        calls = [(path, "points", [("path", path), *query]) for path in paths]
        answers = batch_answers(self._transport, calls, final=(500,))
        return [
            (path, _identity(decoded(answer.Content, _POINT).WebId) if answer.Status == 200 else None)
            for path, answer in ((path, answers[path]) for path in paths)
        ]


def _is_value(value: _TimedValue) -> bool:
    return value.Good and not value.Errors


def _identity(web_id: str) -> str:
    """The IDOnly form, for servers that answer in another form than they were asked for."""
    if web_id.startswith("I"):
        return web_id
    try:
        return WebId.parse(web_id).identity
    except ValueError:
        return web_id


def _point_identity(link: str | None) -> str | None:
    if not link:
        return None
    web_id = link.partition("?")[0].rstrip("/").rpartition("/")[2]
    try:
        return WebId.parse(web_id).identity
    except ValueError:
        return None
