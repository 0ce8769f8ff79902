"""Elements: children, searches of the hierarchy, by WebID or path, one or many, their paths and references.

Source: PI Web API reference, controllers `assetdatabase` and `element`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pi_dagster.simulator.af_lookup import bodies, element_at, find_database, find_element
from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.af_paging import check_conditions, conditions, multiple, page, wanted_order
from pi_dagster.simulator.af_query import parse_element_query
from pi_dagster.simulator.af_search import Scope, find_elements
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.service import Route, Service

_FILTERS = (
    ("nameFilter", "Name"),
    ("descriptionFilter", "Description"),
    ("categoryName", "Category"),
    ("templateName", "Template"),
    ("elementType", "Type"),
)


def place_of(service: Service, call: Call) -> tuple[AssetDatabase, int | None]:
    """The database, or an element with its database, that the WebID in the path of a request names."""
    is_database = call.path.lower().startswith("assetdatabases")
    web_id = service.parse_web_id(call.params["webId"], "RD" if is_database else "Em")
    return (find_database(service, call, web_id), None) if is_database else find_element(service, call, web_id)


def _page_of(service: Service, call: Call, database: AssetDatabase, numbers: Sequence[int]) -> object:
    written = bodies(service, call)
    return page(
        service,
        call,
        len(numbers),
        lambda start, end, selected: written.elements(database, map(int, numbers[start:end]), selected),
    )


def _list_elements(service: Service, call: Call) -> object:
    """`GET assetdatabases/{webId}/elements` and `elements/{webId}/elements`."""
    database, root = place_of(service, call)
    wanted = conditions(call, _FILTERS)
    check_conditions(database, wanted, "element")
    is_full = call.query.boolean("searchFullHierarchy")
    scope = Scope(database, root, is_full, repeats=service.settings.repeats_multi_parent)
    return _page_of(service, call, database, find_elements(scope, wanted, wanted_order(call)))


def _list_referenced(service: Service, call: Call) -> object:
    """`GET .../referencedelements`: the elements below one that have their primary parent elsewhere."""
    database, root = place_of(service, call)
    wanted = conditions(call, _FILTERS)
    check_conditions(database, wanted, "element")
    numbers = find_elements(Scope(database, root), wanted, wanted_order(call))
    return _page_of(service, call, database, [n for n in numbers if database.parents(n)[0] != root])


def _get_element(service: Service, call: Call) -> object:
    """`GET elements/{webId}`."""
    found = find_element(service, call, service.parse_web_id(call.params["webId"], "Em"))
    return bodies(service, call).element(*found)


def _element_by_path(service: Service, call: Call) -> object:
    """`GET elements?path=`."""
    return bodies(service, call).element(*element_at(service, call, call.query.required("path")))


def _get_multiple(service: Service, call: Call) -> object:
    """`GET elements/multiple`."""
    written = bodies(service, call)

    def by_web_id(text: str) -> object:
        return written.element(*find_element(service, call, service.parse_web_id(text, "Em")))

    return multiple(service, call, by_web_id, lambda path: written.element(*element_at(service, call, path)))


def _search(service: Service, call: Call) -> object:
    """`GET elements/search`."""
    database = find_database(service, call, service.parse_web_id(call.query.required("databaseWebId"), "RD"))
    query = parse_element_query(call.query.text("query") or "")
    check_conditions(database, query.conditions, "element")
    root = element_at(service, call, root_path(database, query.root)).number if query.root else None
    scope = Scope(database, root, query.is_full, repeats=False)
    return _page_of(service, call, database, find_elements(scope, query.conditions, query.order))


def root_path(database: AssetDatabase, root: str) -> str:
    """The whole path of a `Root` in a query, which may be relative to the database."""
    return root if root.startswith("\\\\") else rf"{database.path}\{root}"


def _list_paths(service: Service, call: Call) -> object:
    """`GET elements/{webId}/paths`: the primary path first, or null where it does not lead through `relativePath`."""
    database, number = find_element(service, call, service.parse_web_id(call.params["webId"], "Em"))
    paths: list[str | None] = list(database.element_paths(number))
    relative_to = call.query.text("relativePath")
    if relative_to is not None:
        prefix = relative_to.rstrip("\\") + "\\"
        below = [path[len(prefix) :] if path and path.upper().startswith(prefix.upper()) else None for path in paths]
        paths = [*below[:1], *(path for path in below[1:] if path is not None)]
    return {"Items": paths}


def _list_categories(service: Service, call: Call) -> object:
    """`GET elements/{webId}/categories`."""
    database, number = find_element(service, call, service.parse_web_id(call.params["webId"], "Em"))
    written = bodies(service, call)
    names = database.element(number).category_names
    return {"Links": {}, "Items": [written.category(database, name, of_attributes=False) for name in names]}


ROUTES = (
    Route("GET", "assetdatabases/{webId}/elements", _list_elements),
    Route("GET", "assetdatabases/{webId}/referencedelements", _list_referenced),
    Route("GET", "elements", _element_by_path),
    Route("GET", "elements/multiple", _get_multiple),
    Route("GET", "elements/search", _search, is_search=True),
    Route("GET", "elements/{webId}", _get_element),
    Route("GET", "elements/{webId}/elements", _list_elements),
    Route("GET", "elements/{webId}/referencedelements", _list_referenced),
    Route("GET", "elements/{webId}/paths", _list_paths, selects_fields=False),
    Route("GET", "elements/{webId}/categories", _list_categories),
)
