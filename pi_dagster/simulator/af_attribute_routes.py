"""Attributes of elements: of one, of all below a place, nested ones, by WebID or path, one or many.

Source: PI Web API reference, controllers `assetdatabase`, `element` and `attribute`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pi_dagster.simulator.af_bodies import Owner, element_owner
from pi_dagster.simulator.af_element_routes import place_of, root_path
from pi_dagster.simulator.af_lookup import (
    attribute_at,
    bodies,
    element_at,
    find_attribute,
    find_database,
    find_element,
)
from pi_dagster.simulator.af_model import AssetDatabase, Attribute, PlacedAttribute
from pi_dagster.simulator.af_paging import check_conditions, conditions, multiple, page, wanted_order
from pi_dagster.simulator.af_query import parse_attribute_query
from pi_dagster.simulator.af_search import (
    AttributeFilter,
    Condition,
    FoundAttributes,
    Scope,
    find_attributes,
    order_attributes,
)
from pi_dagster.simulator.calls import Call, RefusedError
from pi_dagster.simulator.event_frame_lookup import find_frame_attribute
from pi_dagster.simulator.service import Route, Service
from pi_dagster.simulator.stream_lookup import attribute_stream, held_value
from pi_dagster.webid import WebId, object_webid

ATTRIBUTE_FILTERS = (
    ("nameFilter", "Name"),
    ("categoryName", "Category"),
    ("templateName", "Template"),
)
FOUND_FILTERS = (
    ("attributeNameFilter", "Name"),
    ("attributeDescriptionFilter", "Description"),
    ("attributeCategory", "Category"),
    ("attributeType", "Type"),
)
_OWNER_FILTERS = (
    ("elementNameFilter", "Name"),
    ("elementDescriptionFilter", "Description"),
    ("elementCategory", "Category"),
    ("elementTemplate", "Template"),
    ("elementType", "Type"),
)
_TRAIT_CATEGORIES = {
    "limit": ("LimitMinimum", "LimitLoLo", "LimitLo", "LimitTarget", "LimitHi", "LimitHiHi", "LimitMaximum"),
    "forecast": ("Forecast",),
    "analysis": ("AnalysisStartTriggerName", "AnalysisStartTriggerExpression"),
    "location": ("LocationX", "LocationY", "LocationZ"),
    "reason": ("Reason",),
}


def list_of_owner(
    service: Service, call: Call, owner: Owner, attributes: Sequence[Attribute], above: PlacedAttribute | None = None
) -> object:
    """A page of the attributes of an element or event frame, as the parameters of `getattributes` ask for.

    Args:
        service: the server.
        call: the request.
        owner: what has the attributes.
        attributes: all that it has, nested ones too.
        above: the attribute whose nested ones are asked for; None asks for the owner's.
    """
    found = wanted_attributes(call, owner, attributes, above, _more_conditions(call))
    ordered = order_attributes([attribute.placed for attribute in found], wanted_order(call))
    written = bodies(service, call)
    return page(
        service,
        call,
        len(ordered),
        lambda start, end, selected: written.attributes(((owner, found[at]) for at in ordered[start:end]), selected),
    )


def wanted_attributes(
    call: Call,
    owner: Owner,
    attributes: Sequence[Attribute],
    above: PlacedAttribute | None = None,
    more: tuple[Condition, ...] = (),
) -> list[Attribute]:
    """Those of an owner's attributes that a request's filters leave, `searchFullHierarchy`, `showHidden` and so on.

    Args:
        call: the request.
        owner: what has the attributes.
        attributes: all that it has, nested ones too.
        above: the attribute whose nested ones are asked for; None asks for the owner's.
        more: conditions beside those of the usual filters.
    """
    wanted = conditions(call, ATTRIBUTE_FILTERS) + more
    check_conditions(owner.database, wanted, "attribute")
    is_full = call.query.boolean("searchFullHierarchy")
    below = [attribute for attribute in attributes if _is_below(attribute.placed, above, at_any_depth=is_full)]
    shown = AttributeFilter(
        wanted, hidden=call.query.boolean("showHidden"), excluded=call.query.boolean("showExcluded")
    )
    return [below[place] for place in shown.places([attribute.placed for attribute in below])]


def _more_conditions(call: Call) -> tuple[Condition, ...]:
    traits = call.query.all("trait")
    categories = [name.lower() for name in call.query.all("traitCategory")]
    found = list(conditions(call, [("valueType", "Type")]))
    found += [Condition("Trait", tuple(traits))] if traits else []
    if categories and "all" not in categories:
        names = [trait for category in categories for trait in _TRAIT_CATEGORIES.get(category, ())]
        found.append(Condition("Trait", tuple(names)))
    elif categories:
        found.append(Condition("Trait", ("?*",)))
    return tuple(found)


def _is_below(placed: PlacedAttribute, above: PlacedAttribute | None, *, at_any_depth: bool) -> bool:
    if placed.parent is above:
        return True
    return at_any_depth and placed.parent is not None and _is_below(placed.parent, above, at_any_depth=True)


def _attributes_of_element(service: Service, call: Call) -> object:
    """`GET elements/{webId}/attributes`."""
    database, number = find_element(service, call, service.parse_web_id(call.params["webId"], "Em"))
    return list_of_owner(service, call, element_owner(database, number), database.attributes(number))


def _nested_attributes(service: Service, call: Call) -> object:
    """`GET attributes/{webId}/attributes`."""
    web_id = service.parse_web_id(call.params["webId"], "Ab")
    if web_id.owner_marker == "F":
        frame, attribute = find_frame_attribute(service, call, web_id)
        return list_of_owner(service, call, frame.owner, frame.frame.attributes, attribute.placed)
    found = find_attribute(service, call, web_id)
    attributes = found.database.attributes(found.number)
    return list_of_owner(service, call, found.owner, attributes, found.attribute.placed)


def _element_attributes(service: Service, call: Call) -> object:
    """`GET assetdatabases/{webId}/elementattributes` and `elements/{webId}/elementattributes`."""
    database, root = place_of(service, call)
    of_elements, wanted = conditions(call, _OWNER_FILTERS), conditions(call, FOUND_FILTERS)
    check_conditions(database, of_elements, "element")
    check_conditions(database, wanted, "attribute")
    is_full = call.query.boolean("searchFullHierarchy")
    settings = service.settings
    scope = Scope(database, root, is_full, settings.repeats_multi_parent, settings.searches_root_attributes)
    shown = settings.searches_excluded
    found = find_attributes(
        scope, of_elements, AttributeFilter(wanted, nested=is_full, hidden=shown, excluded=shown), wanted_order(call)
    )
    return _page_of_found(service, call, database, found)


def _page_of_found(service: Service, call: Call, database: AssetDatabase, found: FoundAttributes) -> object:
    written = bodies(service, call)

    def owned(start: int, end: int) -> list[tuple[Owner, Attribute]]:
        owners: dict[int, Owner] = {}
        pairs = []
        for number, place in zip(found.numbers[start:end].tolist(), found.places[start:end].tolist(), strict=True):
            if number not in owners:
                owners[number] = element_owner(database, number)
            placed = database.placed_attributes(number)[place]
            pairs.append((owners[number], database.attribute(number, placed)))
        return pairs

    return page(
        service,
        call,
        len(found.numbers),
        lambda start, end, selected: written.attributes(owned(start, end), selected),
    )


def _search(service: Service, call: Call) -> object:
    """`GET attributes/search`."""
    database = find_database(service, call, service.parse_web_id(call.query.required("databaseWebId"), "RD"))
    query = parse_attribute_query(call.query.required("query"))
    check_conditions(database, query.elements.conditions, "element")
    check_conditions(database, query.conditions, "attribute")
    root_text = query.elements.root
    root = element_at(service, call, root_path(database, root_text)).number if root_text else None
    shown = service.settings.searches_excluded
    found = find_attributes(
        Scope(database, root, query.elements.is_full, repeats=False),
        query.elements.conditions,
        AttributeFilter(query.conditions, hidden=shown, excluded=shown),
        query.order,
    )
    return _page_of_found(service, call, database, found)


def _owned(service: Service, call: Call, web_id: WebId) -> tuple[Owner, Attribute]:
    """The attribute of an element or event frame that a WebID names."""
    if web_id.owner_marker == "F":
        frame, attribute = find_frame_attribute(service, call, web_id)
        return frame.owner, attribute
    found = find_attribute(service, call, web_id)
    return found.owner, found.attribute


def _body_of(service: Service, call: Call, text: str) -> object:
    return bodies(service, call).attribute(*_owned(service, call, service.parse_web_id(text, "Ab")))


def _body_at(service: Service, call: Call, path: str) -> object:
    if r"\eventframes[" in path.lower():
        return bodies(service, call).attribute(*_owned(service, call, object_webid("Ab", (), path, "F")))
    found = attribute_at(service, call, path)
    return bodies(service, call).attribute(found.owner, found.attribute)


def _get_attribute(service: Service, call: Call) -> object:
    """`GET attributes/{webId}`."""
    return _body_of(service, call, call.params["webId"])


def _attribute_by_path(service: Service, call: Call) -> object:
    """`GET attributes?path=`."""
    return _body_at(service, call, call.query.required("path"))


def _get_multiple(service: Service, call: Call) -> object:
    """`GET attributes/multiple`."""
    return multiple(service, call, partial(_body_of, service, call), partial(_body_at, service, call))


def _static_value(service: Service, call: Call) -> object:
    """`GET attributes/{webId}/value`, which is there for attributes without a data reference."""
    found = find_attribute(service, call, service.parse_web_id(call.params["webId"], "Ab"))
    stream = attribute_stream(service, found.owner, found.attribute)
    if stream.held is None:
        raise RefusedError(409, "The attribute has a data reference: read its stream.")
    return held_value(service, stream.held)


def _list_categories(service: Service, call: Call) -> object:
    """`GET attributes/{webId}/categories`."""
    owner, attribute = _owned(service, call, service.parse_web_id(call.params["webId"], "Ab"))
    written = bodies(service, call)
    names = attribute.placed.template.category_names
    return {"Links": {}, "Items": [written.category(owner.database, name, of_attributes=True) for name in names]}


ROUTES = (
    Route("GET", "assetdatabases/{webId}/elementattributes", _element_attributes),
    Route("GET", "elements/{webId}/elementattributes", _element_attributes),
    Route("GET", "elements/{webId}/attributes", _attributes_of_element),
    Route("GET", "attributes", _attribute_by_path),
    Route("GET", "attributes/multiple", _get_multiple),
    Route("GET", "attributes/search", _search, is_search=True),
    Route("GET", "attributes/{webId}", _get_attribute),
    Route("GET", "attributes/{webId}/attributes", _nested_attributes),
    Route("GET", "attributes/{webId}/categories", _list_categories),
    Route("GET", "attributes/{webId}/value", _static_value),
)
