"""What lists of AF objects have in common: pages, order, filters, and `multiple`, many objects by WebID or path.

Source: PI Web API reference, actions `getelements`, `getattributes` and `getmultiple`; topic `error-handling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pi_dagster.simulator.af_model import AssetDatabase
from pi_dagster.simulator.af_search import SORT_FIELDS, Condition, Order
from pi_dagster.simulator.calls import Call, RefusedError, Reply
from pi_dagster.simulator.selected_fields import SelectedFields
from pi_dagster.simulator.service import Service, page_links

_INCLUDE_MODES = ("All", "ItemsWithExceptionOnly", "ItemsWithoutExceptionOnly")


def page(
    service: Service, call: Call, total: int, write: Callable[[int, int, SelectedFields], object]
) -> dict[str, object]:
    """A page of `total` objects; `write` gives those from one position to before another, with the selected fields."""
    start, count = call.query.whole("startIndex", 0), service.max_count(call)
    selected = call.selected.at("Items")
    items = write(start, start + count, selected) if selected is not None else []
    return {"Links": page_links(call, start, count, more=start + count < total), "Items": items}


def wanted_order(call: Call) -> Order:
    """The order of `sortField` and `sortOrder`."""
    field = call.query.choice("sortField", SORT_FIELDS, "Name")
    return Order(field, call.query.choice("sortOrder", ("Ascending", "Descending"), "Ascending") == "Descending")


def conditions(call: Call, parameters: Iterable[tuple[str, str]]) -> tuple[Condition, ...]:
    """The conditions of filter parameters, given with the field that each is about; absent ones ask nothing."""
    given = ((field, call.query.text(parameter)) for parameter, field in parameters)
    return tuple(
        Condition(field, (value,))
        for field, value in given
        if value and not (field == "Type" and value.lower() == "any")
    )


def check_conditions(database: AssetDatabase, wanted: Iterable[Condition], kind: str) -> None:
    """Refuse templates and categories that the database does not have.

    Args:
        database: where is searched.
        wanted: what is asked for.
        kind: of which objects the conditions are, `element` or `attribute`.

    Raises:
        RefusedError: 400, one of them does not exist.
    """
    categories = database.element_categories if kind == "element" else database.attribute_categories
    for field, known, what in (
        ("Category", categories, f"{kind} category"),
        ("Template", tuple(database.element_templates), "element template"),
    ):
        names = {name.upper() for name in known}
        asked = {value.upper() for condition in wanted if condition.field == field for value in condition.values}
        if asked - names:
            raise RefusedError(400, f"The specified {what} was not found in the specified Asset Database.")


def multiple(
    service: Service, call: Call, by_web_id: Callable[[str], object], by_path: Callable[[str], object]
) -> Reply:
    """The objects of the parameters `webId` and `path`: 207 where some of them could not be had.

    Args:
        service: the server.
        call: the request.
        by_web_id: the body of the object with a WebID; raises RefusedError where there is none.
        by_path: the same for a path.
    """
    mode = call.query.choice("includeMode", _INCLUDE_MODES, "All")
    call.query.boolean("asParallel")
    asked = [(web_id, "WebId", by_web_id) for web_id in call.query.all("webId")]
    asked += [(path, "Path", by_path) for path in call.query.all("path")]
    if not asked:
        raise RefusedError(400, "At least one 'webId' or 'path' is required.")
    service.within_limit("webId", len(asked))
    items = []
    for identifier, kind, get in asked:
        item: dict[str, object] = {"Identifier": identifier, "IdentifierType": kind}
        try:
            items.append({**item, "Object": get(identifier)})
        except RefusedError as refusal:
            items.append({**item, "Exception": refusal.body})
    failed = any("Exception" in item for item in items)
    unwanted = {_INCLUDE_MODES[1]: "Object", _INCLUDE_MODES[2]: "Exception"}.get(mode)
    return Reply(207 if failed else 200, {"Links": {}, "Items": [item for item in items if unwanted not in item]})
