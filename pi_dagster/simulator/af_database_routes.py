"""The asset server and its databases, their categories, element templates and attribute templates.

Source: PI Web API reference, controllers `assetserver`, `assetdatabase`, `elementtemplate`, `attributetemplate`,
`elementcategory` and `attributecategory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pi_dagster.simulator.af_lookup import bodies, database_at, databases, find_database
from pi_dagster.simulator.af_model import (
    ASSET_SERVER_ID,
    ASSET_SERVER_NAME,
    AssetDatabase,
    ElementTemplate,
    PlacedAttribute,
)
from pi_dagster.simulator.af_paging import page, wanted_order
from pi_dagster.simulator.af_webids import attribute_template_path, category_id_of, category_path, template_path
from pi_dagster.simulator.archive import name_pattern
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.service import Route, Service
from pi_dagster.webid import WebId


class _FoundTemplate(NamedTuple):
    database: AssetDatabase
    template: ElementTemplate


class _FoundAttributeTemplate(NamedTuple):
    database: AssetDatabase
    placed: PlacedAttribute


def _list_servers(service: Service, call: Call) -> object:
    """`GET assetservers`, and one server by `name` or `path`."""
    server = bodies(service, call).server()
    wanted = call.query.text("name") or (call.query.text("path") or "").lstrip("\\")
    if not wanted:
        return {"Links": {}, "Items": [server]}
    if wanted.upper() != ASSET_SERVER_NAME:
        raise service.not_found("asset server")
    return server


def _check_server(service: Service, call: Call) -> None:
    web_id = service.parse_web_id(call.params["webId"], "RS")
    if not (web_id.ids and web_id.ids[0] in (ASSET_SERVER_ID, 0)) and web_id.path != ASSET_SERVER_NAME:
        raise service.not_found("asset server")


def _get_server(service: Service, call: Call) -> object:
    """`GET assetservers/{webId}`."""
    _check_server(service, call)
    return bodies(service, call).server()


def _list_databases(service: Service, call: Call) -> object:
    """`GET assetservers/{webId}/assetdatabases`."""
    _check_server(service, call)
    written = bodies(service, call)
    known = sorted(databases(service, call).values(), key=lambda database: database.name.upper())
    return {"Links": {}, "Items": [written.database(database) for database in known]}


def _database(service: Service, call: Call) -> AssetDatabase:
    return find_database(service, call, service.parse_web_id(call.params["webId"], "RD"))


def _get_database(service: Service, call: Call) -> object:
    """`GET assetdatabases/{webId}`."""
    return bodies(service, call).database(_database(service, call))


def _database_by_path(service: Service, call: Call) -> object:
    """`GET assetdatabases?path=`."""
    return bodies(service, call).database(database_at(service, call, call.query.required("path")))


def _list_categories(*, of_attributes: bool) -> Callable[[Service, Call], object]:
    def handler(service: Service, call: Call) -> object:
        """`GET assetdatabases/{webId}/elementcategories` and `.../attributecategories`."""
        database = _database(service, call)
        written = bodies(service, call)
        names = database.attribute_categories if of_attributes else database.element_categories
        return {"Links": {}, "Items": [written.category(database, n, of_attributes=of_attributes) for n in names]}

    return handler


def _get_category(*, of_attributes: bool) -> Callable[[Service, Call], object]:
    def handler(service: Service, call: Call) -> object:
        """`GET elementcategories/{webId}` and `attributecategories/{webId}`, and both with `path`."""
        text = call.params.get("webId")
        web_id = service.parse_web_id(text, "AC" if of_attributes else "EC") if text else None
        path = (web_id.path if web_id else call.query.required("path").lstrip("\\").upper()) or ""
        for database in databases(service, call).values():
            for name in database.attribute_categories if of_attributes else database.element_categories:
                by_id = web_id and category_id_of(database, name, of_attributes=of_attributes) in web_id.ids
                if by_id or category_path(database, name, of_attributes=of_attributes)[2:].upper() == path:
                    return bodies(service, call).category(database, name, of_attributes=of_attributes)
        raise service.not_found("category")

    return handler


def _list_templates(service: Service, call: Call) -> object:
    """`GET assetdatabases/{webId}/elementtemplates`: those of elements and of event frames; has no `startIndex`."""
    database = _database(service, call)
    fields = {field.lower() for field in call.query.all("field")} or {"name"}
    matches = name_pattern(call.query.text("query") or "*").match
    found = [
        template
        for template in database.element_templates.values()
        if ("name" in fields and matches(template.name))
        or ("description" in fields and matches(template.description))
        or ("categories" in fields and any(map(matches, template.category_names)))
    ]
    order = wanted_order(call)
    found.sort(
        key=lambda template: str(template.id) if order.field == "ID" else template.name.upper(),
        reverse=order.is_descending,
    )
    return _template_list(service, call, database, found)


def _template_list(
    service: Service, call: Call, database: AssetDatabase, templates: list[ElementTemplate]
) -> dict[str, object]:
    written = bodies(service, call)
    items = [written.element_template(database, template) for template in templates]
    return {"Links": {}, "Items": items[: service.max_count(call)]}


def _find_template(service: Service, call: Call) -> _FoundTemplate:
    return _template_named(service, call, service.parse_web_id(call.params["webId"], "ET"))


def _template_named(service: Service, call: Call, web_id: WebId | None, path: str | None = None) -> _FoundTemplate:
    wanted = web_id.path if web_id else (path or "").lstrip("\\").upper()
    for by_id in (True, False):
        for database in databases(service, call).values():
            for template in database.element_templates.values():
                if by_id and web_id and web_id.ids and web_id.ids[-1] == template.id:
                    return _FoundTemplate(database, template)
                if not by_id and template_path(database, template)[2:].upper() == wanted:
                    return _FoundTemplate(database, template)
    raise service.not_found("element template")


def _get_template(service: Service, call: Call) -> object:
    """`GET elementtemplates/{webId}`."""
    return bodies(service, call).element_template(*_find_template(service, call))


def _template_by_path(service: Service, call: Call) -> object:
    """`GET elementtemplates?path=`."""
    found = _template_named(service, call, None, call.query.required("path"))
    return bodies(service, call).element_template(*found)


def _base_templates(service: Service, call: Call) -> object:
    """`GET elementtemplates/{webId}/baseelementtemplates`: what it is derived from, the nearest first."""
    database, template = _find_template(service, call)
    line = database.template_line(template.name)[1:]
    return _template_list(service, call, database, [database.element_templates[name] for name in line])


def _derived_templates(service: Service, call: Call) -> object:
    """`GET elementtemplates/{webId}/derivedelementtemplates`: with `showDescendants` not only the next ones."""
    database, template = _find_template(service, call)
    at_any_depth = call.query.boolean("showDescendants")
    found = []
    for other in database.element_templates.values():
        line = database.template_line(other.name)[1:]
        if template.name in (line if at_any_depth else line[:1]):
            found.append(other)
    return _template_list(service, call, database, found)


def _template_categories(service: Service, call: Call) -> object:
    """`GET elementtemplates/{webId}/categories`."""
    database, template = _find_template(service, call)
    written = bodies(service, call)
    inherited = database.template_line(template.name) if call.query.boolean("showInherited") else [template.name]
    names = dict.fromkeys(n for line in inherited for n in database.element_templates[line].category_names)
    return {"Links": {}, "Items": [written.category(database, name, of_attributes=False) for name in names]}


def _attribute_templates(service: Service, call: Call) -> object:
    """`GET elementtemplates/{webId}/attributetemplates`: own or also inherited ones, top ones or also nested ones."""
    database, template = _find_template(service, call)
    inherited, nested = call.query.boolean("showInherited"), call.query.boolean("showDescendants")
    found = [
        placed
        for placed in database.template_attributes(template.name)
        if (inherited or placed.element_template == template) and (nested or not placed.depth)
    ]
    if not call.query.boolean("depthFirstTraverse"):
        found.sort(key=lambda placed: placed.depth)
    written = bodies(service, call)
    return page(
        service,
        call,
        len(found),
        lambda start, end, selected: [
            selected.prune(written.attribute_template(database, placed)) for placed in found[start:end]
        ],
    )


def _find_attribute_template(
    service: Service, call: Call, web_id: WebId | None, path: str | None = None
) -> _FoundAttributeTemplate:
    wanted = web_id.path if web_id else (path or "").lstrip("\\").upper()
    for by_id in (True, False):
        for database in databases(service, call).values():
            for template in database.element_templates.values():
                for placed in database.template_attributes(template.name):
                    if by_id and web_id and web_id.ids and web_id.ids[-1] == placed.id:
                        return _FoundAttributeTemplate(database, placed)
                    if not by_id and attribute_template_path(database, placed)[2:].upper() == wanted:
                        return _FoundAttributeTemplate(database, placed)
    raise service.not_found("attribute template")


def _attribute_template(service: Service, call: Call) -> _FoundAttributeTemplate:
    return _find_attribute_template(service, call, service.parse_web_id(call.params["webId"], "AT"))


def _get_attribute_template(service: Service, call: Call) -> object:
    """`GET attributetemplates/{webId}`."""
    return bodies(service, call).attribute_template(*_attribute_template(service, call))


def _attribute_template_by_path(service: Service, call: Call) -> object:
    """`GET attributetemplates?path=`."""
    found = _find_attribute_template(service, call, None, call.query.required("path"))
    return bodies(service, call).attribute_template(*found)


def _nested_attribute_templates(service: Service, call: Call) -> object:
    """`GET attributetemplates/{webId}/attributetemplates`."""
    database, placed = _attribute_template(service, call)
    assert placed.element_template is not None
    written = bodies(service, call)
    nested = [other for other in database.template_attributes(placed.element_template.name) if other.parent is placed]
    return {"Links": {}, "Items": [written.attribute_template(database, other) for other in nested]}


def _attribute_template_categories(service: Service, call: Call) -> object:
    """`GET attributetemplates/{webId}/categories`."""
    database, placed = _attribute_template(service, call)
    written = bodies(service, call)
    names = placed.template.category_names
    return {"Links": {}, "Items": [written.category(database, name, of_attributes=True) for name in names]}


ROUTES = (
    Route("GET", "assetservers", _list_servers),
    Route("GET", "assetservers/{webId}", _get_server),
    Route("GET", "assetservers/{webId}/assetdatabases", _list_databases),
    Route("GET", "assetdatabases", _database_by_path),
    Route("GET", "assetdatabases/{webId}", _get_database),
    Route("GET", "assetdatabases/{webId}/elementcategories", _list_categories(of_attributes=False)),
    Route("GET", "assetdatabases/{webId}/attributecategories", _list_categories(of_attributes=True)),
    Route("GET", "elementcategories", _get_category(of_attributes=False)),
    Route("GET", "elementcategories/{webId}", _get_category(of_attributes=False)),
    Route("GET", "attributecategories", _get_category(of_attributes=True)),
    Route("GET", "attributecategories/{webId}", _get_category(of_attributes=True)),
    Route("GET", "assetdatabases/{webId}/elementtemplates", _list_templates),
    Route("GET", "elementtemplates", _template_by_path),
    Route("GET", "elementtemplates/{webId}", _get_template),
    Route("GET", "elementtemplates/{webId}/attributetemplates", _attribute_templates),
    Route("GET", "elementtemplates/{webId}/baseelementtemplates", _base_templates),
    Route("GET", "elementtemplates/{webId}/derivedelementtemplates", _derived_templates),
    Route("GET", "elementtemplates/{webId}/categories", _template_categories),
    Route("GET", "attributetemplates", _attribute_template_by_path),
    Route("GET", "attributetemplates/{webId}", _get_attribute_template),
    Route("GET", "attributetemplates/{webId}/attributetemplates", _nested_attribute_templates),
    Route("GET", "attributetemplates/{webId}/categories", _attribute_template_categories),
)
