"""Reading the AF elements that are wanted, with all that belongs to each; what becomes of the rows is the caller's.

A search lists the elements. Their details tell of children that it has passed over and of elements that have gone
since, so the tree is whole only once all details were read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime

from pi_dagster.ingest.asset_rows import FoundTree, Row, attribute_rows
from pi_dagster.ingest.errors import NoElementsError
from pi_dagster.piwebapi.asset_framework import AssetDatabase, AssetServer, find_asset_server, list_databases
from pi_dagster.piwebapi.element_details import ElementDetailsReader, GoneElement
from pi_dagster.piwebapi.elements import Element, ElementFilter, ElementSearch
from pi_dagster.piwebapi.transport import Transport
from pi_dagster.site import AssetFrameworkSettings, ServerSettings

ROWS_AT_ONCE = 5_000


@contextmanager
def reading_assets(
    settings: AssetFrameworkSettings, server: ServerSettings, transport: Transport
) -> Iterator[AssetReading]:
    """A reading of AF, with the threads that it needs while the block lasts.

    Args:
        settings: which elements are wanted.
        server: of the site.
        transport: the connection.
    """
    with (
        ThreadPoolExecutor(server.max_requests_in_flight, thread_name_prefix="af") as pool,
        ThreadPoolExecutor(1, thread_name_prefix="af-types") as aside,
    ):
        yield AssetReading(settings, server, transport, pool=pool, aside=aside)


class AssetReading:
    """One reading of AF: the elements that are wanted, then their attributes.

    Args:
        settings: which elements are wanted.
        server: of the site.
        transport: the connection.
        pool: where pages are fetched.
        aside: where the types of elements are looked up, which only the rows of elements need.
    """

    def __init__(
        self,
        settings: AssetFrameworkSettings,
        server: ServerSettings,
        transport: Transport,
        *,
        pool: Executor,
        aside: Executor,
    ) -> None:
        self.unread_values: list[str] = []
        """Static attributes whose value the server could not give."""
        self.refused: set[str] = set()
        """Elements that were listed and that the server then said are not for this login."""
        self.hidden_below: set[str] = set()
        """Elements that have children and show none."""
        self._settings = settings
        self._transport = transport
        self._aside = aside
        self._types: list[Future[dict[str, str]]] = []
        self._wanted = ElementFilter(
            root=tuple(settings.root_path.strip("/").split("/")) if settings.root_path else (),
            templates=settings.templates or (),
            categories=settings.categories or (),
        )
        page_size = min(settings.page_size, server.max_items_per_call)
        self._search = ElementSearch(transport, page_size=page_size, select_fields=server.select_fields, pool=pool)
        self._reader = ElementDetailsReader(
            transport,
            elements_per_batch=settings.elements_per_batch,
            page_size=page_size,
            requests_ahead=server.max_requests_in_flight,
            select_fields=server.select_fields,
            pool=pool,
        )

    def databases(self) -> tuple[AssetServer, list[AssetDatabase]]:
        """The AF server, and its databases that are wanted.

        Raises:
            AssetsNotFoundError: a name that is not there, or nothing that this login is shown.
            PIWebAPIError: the server cannot be read from.
        """
        server = find_asset_server(self._transport, self._settings.asset_server)
        return server, list_databases(self._transport, server, self._settings.databases)

    def find(self, server: AssetServer, databases: Sequence[AssetDatabase]) -> FoundTree:
        """The wanted elements of some databases, still without their parents.

        Raises:
            NoElementsError: there is none.
            PIWebAPIError: the server cannot be read from.
        """
        tree = FoundTree(server.name)
        unknown: list[Mapping[str, str]] = []
        for database in databases:
            found = self._search.find(database, self._wanted)
            # Needed only for the rows in the end, so they are looked for while the attributes are read.
            self._types.append(self._aside.submit(self._search.types, database))
            unknown.append(found.unknown)
            tree.add(found.elements.values(), database)
        nowhere = set(unknown[0]).intersection(*unknown) if unknown else set()
        if nowhere:
            reasons = "; ".join(f"{what}: {unknown[0][what]}" for what in sorted(nowhere))
            raise NoElementsError(
                f"None of the AF databases {', '.join(one.name for one in databases)} has what the site's "
                f"`asset_framework` asks for ({reasons}). Correct the setting, or give the login read access."
            )
        if not tree.elements:
            raise NoElementsError(nothing_found(server, databases))
        return tree

    def attributes(self, tree: FoundTree) -> Iterator[list[Row]]:
        """The rows of pi_asset_attributes, some thousand at once; after the last one the tree is whole.

        Children that the search has not found are read too, and theirs, until there are no more.

        Raises:
            PIWebAPIError: the server cannot be read from, or refuses the attributes of an element.
        """
        asked: set[str] = set()
        waiting = [tree.elements[element_id] for element_id in tree.ids_by_path()]
        while waiting:
            unknown: dict[str, tuple[str, AssetDatabase]] = {}
            rows: list[Row] = []
            for read in self._reader.read(waiting):
                element = read.element
                if isinstance(read, GoneElement):
                    tree.drop(element.id)
                    if read.is_forbidden:
                        self.refused.add(element.id)
                    continue
                tree.hold(element.id, read.children)
                if element.has_children and not read.children:
                    self.hidden_below.add(element.id)
                if self._wanted.takes_children:
                    unknown |= {
                        child: (web_id, tree.databases[element.id])
                        for child, web_id in read.children.items()
                        if child not in tree.elements and child not in asked
                    }
                self.unread_values += [f"{element.path}|{name}" for name in read.unread_values]
                rows += attribute_rows(read)
                if len(rows) >= ROWS_AT_ONCE:
                    yield rows
                    rows = []
            yield rows
            answers = self._search.look_at([web_id for web_id, _ in unknown.values()])
            asked |= unknown.keys()
            waiting = []
            for web_id, database in unknown.values():
                answer = answers[web_id]
                if isinstance(answer, Element) and answer.id not in tree.elements:
                    tree.add([answer], database)
                    waiting.append(answer)

    def elements(self, tree: FoundTree, now: datetime) -> Iterator[Row]:
        """The rows of pi_asset_hierarchy, in the order of database and path, once all attributes were read.

        Args:
            tree: the elements.
            now: when they were read.

        Raises:
            PIWebAPIError: the server cannot be read from.
        """
        for types in self._types:
            tree.types |= types.result()
        yield from tree.rows(now)

    def look_at(self, web_ids: Sequence[str]) -> dict[str, Element | int]:
        """What the server says of single elements: the element, or the HTTP status of the refusal, by WebID.

        Raises:
            PIWebAPIError: the server cannot be read from.
        """
        return self._search.look_at(web_ids)


def nothing_found(server: AssetServer, databases: Sequence[AssetDatabase]) -> str:
    """What to tell where there is no element."""
    return (
        f"The AF server {server.name} shows this login no element of {', '.join(one.name for one in databases)} "
        "that the site's `asset_framework` asks for. Give the login read access to the elements, correct the "
        "filters, or write `asset_framework: null` if AF is not wanted."
    )
