"""The elements of an AF database: searched through the full hierarchy, in a few large pages.

Walking from parent to child costs a request for each of them; a search gives all elements with all of their paths.
It may give an element that several parents hold several times, so elements are told apart by their ids.
Parameters: docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/assetdatabase/actions/findelements.html;
element types: docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/element-type.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TypeVar

import msgspec

from pi_dagster.piwebapi.af_paths import quoted_name
from pi_dagster.piwebapi.asset_framework import AssetDatabase, linked_id
from pi_dagster.piwebapi.batches import batch_answers
from pi_dagster.piwebapi.changing_list import read_changing_list
from pi_dagster.piwebapi.errors import RequestRefusedError
from pi_dagster.piwebapi.item_lists import rows_of
from pi_dagster.piwebapi.json_body import decoded
from pi_dagster.piwebapi.transport import Parameters, Transport

ORDINARY_TYPE = "None"
"""The type of elements without a template, and of those whose template says nothing else."""

_SPECIAL_TYPES = ("Other", "Node", "Measurement", "Flow", "Transfer", "Boundary", "PIPoint")
_REFUSED_FILTER = (400, 404, 409)
_IDS_PER_BATCH = 500
_SEARCHES_AT_ONCE = 4
"""Searches by type; meanwhile the attributes are read, which are not to wait for them."""


class _Links(msgspec.Struct, frozen=True, gc=False):
    Parent: str | None = None


class Element(msgspec.Struct, frozen=True, kw_only=True):
    """An AF element as the server lists it; paths as PI writes them."""

    web_id: str = msgspec.field(name="WebId")
    id: str = msgspec.field(name="Id")
    name: str = msgspec.field(name="Name")
    path: str = msgspec.field(name="Path")
    paths: list[str] | None = msgspec.field(name="Paths", default=None)
    template_name: str | None = msgspec.field(name="TemplateName", default=None)
    description: str | None = msgspec.field(name="Description", default=None)
    has_children: bool = msgspec.field(name="HasChildren", default=True)
    category_names: list[str] | None = msgspec.field(name="CategoryNames", default=None)
    links: _Links = msgspec.field(name="Links", default_factory=_Links)

    @property
    def linked_parent_id(self) -> str | None:
        """The GUID of its primary parent; None at the first level, or where the server does not tell."""
        return linked_id(self.links.Parent, "Em")


class _Identified(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="Id")


@dataclass(frozen=True, kw_only=True)
class ElementFilter:
    """Which elements of a database are wanted; without arguments all.

    Args:
        root: names from the first level down to the element that is wanted with all below it.
        templates: names of templates, one of which (or one derived from it) an element must have.
        categories: names of categories, one of which an element must have.
    """

    root: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def takes_children(self) -> bool:
        """True when all that lies below a wanted element is wanted too."""
        return not self.templates and not self.categories


@dataclass(frozen=True)
class FoundElements:
    """The elements of a database that are wanted, by id, and what the filter asks for that the database has not."""

    elements: dict[str, Element]
    unknown: Mapping[str, str]
    """What was asked for, such as `template 'Pump'`, to what the server says about it."""


AnyElement = TypeVar("AnyElement", bound="Element | _Identified")
_ELEMENT = msgspec.json.Decoder(Element)
_ELEMENT_FIELDS = (
    *(field.encode_name for field in msgspec.structs.fields(Element) if field.name != "links"),
    "Links.Parent",
)


class ElementSearch:
    """Finds the elements of AF databases.

    Args:
        transport: the connection.
        page_size: elements a request; not more than the server's MaxReturnedItemsPerCall.
        select_fields: ask only for what is used.
        pool: where pages are fetched.
    """

    def __init__(self, transport: Transport, *, page_size: int, select_fields: bool, pool: Executor) -> None:
        self._transport = transport
        self._page_size = page_size
        self._select_fields = select_fields
        self._pool = pool

    def find(self, database: AssetDatabase, wanted: ElementFilter) -> FoundElements:
        """The wanted elements of a database, each once.

        Raises:
            PIWebAPIError: the server cannot be read from.
        """
        found: dict[str, Element] = {}
        unknown: dict[str, str] = {}
        origin = f"assetdatabases/{database.web_id}"
        if wanted.root:
            try:
                root = self._root(database, wanted.root)
            except RequestRefusedError as error:
                if error.status != 404:
                    raise
                return FoundElements({}, {f"element /{'/'.join(wanted.root)}": str(error)})
            origin = f"elements/{root.web_id}"
            if wanted.takes_children:
                found[root.id] = root
        for template, category in product(wanted.templates or (None,), wanted.categories or (None,)):
            filters = {"template": template, "category": category}
            given = {name: value for name, value in filters.items() if value is not None}
            try:
                found |= self._search(
                    database, origin, [(f"{name}Name", value) for name, value in given.items()], Element
                )
            except RequestRefusedError as error:
                if not given or error.status not in _REFUSED_FILTER:
                    raise
                unknown[" with ".join(f"{name} {value!r}" for name, value in given.items())] = str(error)
        return FoundElements(found, unknown)

    def types(self, database: AssetDatabase) -> dict[str, str]:
        """The types of the elements that are not of the ordinary type, by element id.

        An element does not tell its type, but can be looked for by it.
        """
        with ThreadPoolExecutor(_SEARCHES_AT_ONCE, thread_name_prefix="af-types") as own_pool:
            answers = own_pool.map(partial(self._ids_of_type, database), _SPECIAL_TYPES)
            return {
                element_id: element_type
                for element_type, ids in zip(_SPECIAL_TYPES, answers, strict=True)
                for element_id in ids
            }

    def look_at(self, web_ids: Sequence[str]) -> dict[str, Element | int]:
        """What the server says of single elements: the element, or the HTTP status of the refusal, by WebID.

        Raises:
            PIWebAPIError: the server cannot be read from.
        """
        found: dict[str, Element | int] = {}
        query = [("associations", "Paths"), ("webIdType", "IDOnly"), *self._selected(_ELEMENT_FIELDS)]
        for first in range(0, len(web_ids), _IDS_PER_BATCH):
            calls = [(web_id, f"elements/{web_id}", query) for web_id in web_ids[first : first + _IDS_PER_BATCH]]
            for web_id, answer in batch_answers(self._transport, calls).items():
                found[web_id] = decoded(answer.Content, _ELEMENT) if answer.Status == 200 else answer.Status
        return found

    def _search(
        self, database: AssetDatabase, origin: str, filters: Parameters, kind: type[AnyElement]
    ) -> dict[str, AnyElement]:
        """What a search through the full hierarchy finds, by id."""
        parse = rows_of(kind)
        query = [
            *filters,
            ("searchFullHierarchy", "true"),
            *([("associations", "Paths")] if kind is Element else []),
            ("webIdType", "IDOnly"),
            *self._selected([f"Items.{name}" for name in (_ELEMENT_FIELDS if kind is Element else ("Id",))]),
        ]

        def fetch_page(start: int, count: int) -> list[AnyElement]:
            page = [("startIndex", str(start)), ("maxCount", str(count))]
            return self._transport.get(f"{origin}/elements", [*page, *query], parse)

        what = f"The list of elements of the AF database {database.name}"
        rows = read_changing_list(fetch_page, lambda row: row.id, page_size=self._page_size, pool=self._pool, what=what)
        return {row.id: row for row in rows}

    def _ids_of_type(self, database: AssetDatabase, element_type: str) -> list[str]:
        filters = [("elementType", element_type)]
        try:
            return [*self._search(database, f"assetdatabases/{database.web_id}", filters, _Identified)]
        except RequestRefusedError:
            # An older server does not know every type, and then has no element of it.
            return []

    def _root(self, database: AssetDatabase, root: tuple[str, ...]) -> Element:
        path = "\\".join((database.path, *map(quoted_name, root)))
        query = [("path", path), ("associations", "Paths"), ("webIdType", "IDOnly"), *self._selected(_ELEMENT_FIELDS)]
        return self._transport.get("elements", query, lambda body: decoded(body, _ELEMENT))

    def _selected(self, fields: Sequence[str]) -> Parameters:
        # What reports a failure must be asked for too: selectedFields removes all that it does not list.
        return [("selectedFields", ";".join((*fields, "WebException", "Errors")))] if self._select_fields else []
