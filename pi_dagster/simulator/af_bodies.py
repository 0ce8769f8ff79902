"""AF objects as the vendor's JSON: what an element, an attribute, a template ... looks like in an answer.

Source: PI Web API reference, controllers `assetserver`, `assetdatabase`, `element`, `attribute`, `elementtemplate`,
`attributetemplate`, `enumerationset`, `elementcategory` and `attributecategory`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property, partial
from typing import NamedTuple
from uuid import UUID

import msgspec

from pi_dagster.simulator.af_model import (
    ASSET_SERVER_ID,
    ASSET_SERVER_NAME,
    PI_POINT,
    AssetDatabase,
    Attribute,
    ElementTemplate,
    EnumerationSet,
    PlacedAttribute,
)
from pi_dagster.simulator.af_stencil import KeptStencils, Stencil, Texts, listed
from pi_dagster.simulator.af_webids import (
    attribute_template_path,
    category_id_of,
    category_path,
    enumeration_set_id,
    enumeration_set_path,
    enumeration_value,
    template_path,
    write_web_id,
)
from pi_dagster.simulator.archive import Archive
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.events import iso_timestamp
from pi_dagster.simulator.points import Point
from pi_dagster.simulator.selected_fields import SelectedFields
from pi_dagster.simulator.settings import SimulatorSettings

SERVER_VERSION = "2.10.9.593"

_DATA_LINKS = {
    "InterpolatedData": "interpolated",
    "RecordedData": "recorded",
    "PlotData": "plot",
    "SummaryData": "summary",
    "Value": "value",
    "EndValue": "end",
}

_DATABASE_LINKS = (
    "Elements",
    "ElementTemplates",
    "EventFrames",
    "EnumerationSets",
    "ElementCategories",
    "AttributeCategories",
)
_ATTRIBUTE_GAPS = ("web_id", "path", "owner", "parent", "config", "point", "Paths", "DataReference")
_OWNERS = {"E": ("Element", "elements"), "F": ("EventFrame", "eventframes")}


class Owner(NamedTuple):
    """What has attributes: an element (kind `E`) or an event frame (`F`)."""

    kind: str
    id: UUID
    path: str
    database: AssetDatabase
    number: int | None = None
    """The element's number."""

    def paths(self) -> list[str]:
        """All its paths, the primary one first."""
        return [self.path] if self.number is None else self.database.element_paths(self.number)


def element_owner(database: AssetDatabase, number: int) -> Owner:
    """An element as the owner of its attributes."""
    return Owner("E", database.element(number).id, database.element_path(number), database, number)


def point_of(archive: Archive, attribute: Attribute) -> Point | None:
    """The tag an attribute refers to; None where it refers to none, or to one that does not exist."""
    if isinstance(attribute.tag, str):
        return archive.point_by_name(attribute.tag) if attribute.tag else None
    return attribute.tag


class Bodies:
    """Writes the objects of one answer.

    Args:
        archive: where the tags are that attributes refer to.
        settings: how the server behaves.
        call: the request; says the form of WebIDs, the server's URL and which associations are wanted.
        stencils: those of earlier answers.
    """

    def __init__(self, archive: Archive, settings: SimulatorSettings, call: Call, stencils: KeptStencils) -> None:
        self._archive = archive
        self._settings = settings
        self._call = call
        self._form = call.web_id_type(settings.web_id_type)
        self._stencils = stencils

    @cached_property
    def _context(self) -> tuple[object, ...]:
        """What of the request shows in the objects of a list."""
        selected = self._call.query.text("selectedFields")
        return self._form, self._call.base_url, selected, self._with_paths, self._with_data_reference

    @cached_property
    def _associations(self) -> set[str]:
        return {name.strip().lower() for name in (self._call.query.text("associations") or "").split(";")}

    @property
    def _with_paths(self) -> bool:
        return "paths" in self._associations

    @property
    def _with_data_reference(self) -> bool:
        return "datareference" in self._associations

    def web_id(self, marker: str, path: str, *ids: UUID | int, owner: str = "") -> str:
        r"""A WebID in the form the client wants.

        Args:
            marker: the kind of object.
            path: the object's path, with the leading `\\`.
            ids: its ids, without the AF server's; a point's are the Data Archive's and its own.
            owner: the kind of owner, for the kinds that have one.
        """
        server = () if marker == "DP" else (ASSET_SERVER_ID,)
        return write_web_id(self._form, f"{marker}{owner}", (*server, *ids), path)

    def point_web_id(self, point: Point) -> str:
        """The WebID of a tag."""
        return self.web_id("DP", self._point_path(point), self._archive.server_id, point.id)

    def element_web_id(self, database: AssetDatabase, number: int) -> str:
        """The WebID of an element."""
        return self.web_id("Em", database.element_path(number), database.element(number).id)

    def owner_web_id(self, owner: Owner) -> str:
        """The WebID of an element or event frame."""
        return self.web_id("Em" if owner.kind == "E" else "Fm", owner.path, owner.id)

    def attribute_web_id(self, owner: Owner, placed: PlacedAttribute) -> str:
        """The WebID of an attribute."""
        return self.web_id("Ab", f"{owner.path}|{placed.path}", owner.id, placed.id, owner=owner.kind)

    def _link(self, controller: str, web_id: object) -> str:
        return f"{self._call.base_url}/{controller}/{web_id}"

    def server(self) -> dict[str, object]:
        """The AF server as the vendor's `AssetServer`."""
        own = self._link("assetservers", self._server_web_id())
        return {
            "WebId": self._server_web_id(),
            "Id": str(ASSET_SERVER_ID),
            "Name": ASSET_SERVER_NAME,
            "Description": "",
            "Path": rf"\\{ASSET_SERVER_NAME}",
            "IsConnected": True,
            "ServerVersion": SERVER_VERSION,
            "ServerTime": iso_timestamp(self._settings.now()),
            "ExtendedProperties": {},
            "Links": {"Self": own, "Databases": f"{own}/assetdatabases"},
        }

    def _server_web_id(self) -> str:
        return self.web_id("RS", rf"\\{ASSET_SERVER_NAME}")

    def database_web_id(self, database: AssetDatabase) -> str:
        """The WebID of a database."""
        return self.web_id("RD", database.path, database.id)

    def database(self, database: AssetDatabase) -> dict[str, object]:
        """The vendor's `AssetDatabase`."""
        web_id = self.database_web_id(database)
        own = self._link("assetdatabases", web_id)
        return {
            "WebId": web_id,
            "Id": str(database.id),
            "Name": database.name,
            "Description": database.description,
            "Path": database.path,
            "ExtendedProperties": {},
            "Links": {
                "Self": own,
                **{name: f"{own}/{name.lower()}" for name in _DATABASE_LINKS},
                "AssetServer": self._link("assetservers", self._server_web_id()),
            },
        }

    def element(self, database: AssetDatabase, number: int) -> dict[str, object]:
        """The vendor's `Element`."""
        return self._element(database, number, self._element_texts(database, number))

    def elements(self, database: AssetDatabase, numbers: Iterable[int], selected: SelectedFields) -> msgspec.Raw:
        """A list of elements, with the selected fields."""
        parts = []
        for number in numbers:
            element = database.element(number)
            has_parent = database.parents(number)[0] is not None
            look = (element.template_name, element.category_names, has_parent, database.has_children(number))
            kind = (*look, database.name, self._context)
            texts = self._element_texts(database, number)
            stencil = self._stencils.get(kind)
            if stencil is None:
                build = partial(self._element, database, number)
                stencil = self._stencils.keep(kind, Stencil(build, texts, selected))
            parts.append(stencil.filled(texts))
        return listed(parts)

    def _element_texts(self, database: AssetDatabase, number: int) -> dict[str, object]:
        element = database.element(number)
        path = database.element_path(number)
        parent = database.parents(number)[0]
        return {
            "web_id": self.web_id("Em", path, element.id),
            "id": str(element.id),
            "name": element.name,
            "description": element.description,
            "path": path,
            "parent": self.element_web_id(database, parent) if parent is not None else "",
            "Paths": database.element_paths(number) if self._with_paths else None,
        }

    def _element(self, database: AssetDatabase, number: int, texts: Texts) -> dict[str, object]:
        element = database.element(number)
        own, stream = self._link("elements", texts["web_id"]), self._link("streamsets", texts["web_id"])
        links = {
            "Self": own,
            "Attributes": f"{own}/attributes",
            "Elements": f"{own}/elements",
            "Database": self._link("assetdatabases", self.database_web_id(database)),
            "Categories": f"{own}/categories",
            "EventFrames": f"{own}/eventframes",
            **{link: f"{stream}/{verb}" for link, verb in _DATA_LINKS.items()},
        }
        if database.parents(number)[0] is not None:
            links["Parent"] = self._link("elements", texts["parent"])
        if element.template_name:
            template = database.element_templates[element.template_name]
            links["Template"] = self._link("elementtemplates", self.template_web_id(database, template))
        return {
            "WebId": texts["web_id"],
            "Id": texts["id"],
            "Name": texts["name"],
            "Description": texts["description"],
            "Path": texts["path"],
            **({"Paths": texts["Paths"]} if self._with_paths else {}),
            "TemplateName": element.template_name,
            "HasChildren": database.has_children(number),
            "CategoryNames": list(element.category_names),
            "ExtendedProperties": {},
            "Links": links,
        }

    def attribute(self, owner: Owner, attribute: Attribute) -> dict[str, object]:
        """The vendor's `Attribute`, of an element or an event frame."""
        point = point_of(self._archive, attribute)
        texts = self._attribute_texts(owner, attribute, point, _ATTRIBUTE_GAPS)
        return self._attribute(owner, attribute.placed, point is not None, texts)

    def attributes(self, found: Iterable[tuple[Owner, Attribute]], selected: SelectedFields) -> msgspec.Raw:
        """A list of attributes, with the selected fields."""
        parts = []
        for owner, attribute in found:
            placed, point = attribute.placed, point_of(self._archive, attribute)
            kind = (id(placed), owner.kind, owner.database.name, point is not None, self._context)
            stencil = self._stencils.get(kind)
            if stencil is None:
                build = partial(self._attribute, owner, placed, point is not None)
                stencil = self._stencils.keep(kind, Stencil(build, _ATTRIBUTE_GAPS, selected), placed)
            parts.append(stencil.filled(self._attribute_texts(owner, attribute, point, stencil.gaps)))
        return listed(parts)

    def config_string(self, attribute: Attribute, point: Point | None) -> str:
        """The configuration of an attribute's data reference; a PI point's names the tag."""
        template = attribute.placed.template
        if template.data_reference != PI_POINT:
            return template.config_string
        archive = self._archive
        if point is None or not self._settings.config_string_ids:
            return rf"\\{archive.server_name}\{point.name if point else attribute.tag}"
        return rf"\\{archive.server_name}?{archive.server_id}\{point.name}?{point.id}"

    def _attribute_texts(
        self, owner: Owner, attribute: Attribute, point: Point | None, wanted: Collection[str]
    ) -> dict[str, object]:
        placed = attribute.placed
        path = f"{owner.path}|{placed.path}"
        texts: dict[str, object] = {"path": path}
        if "web_id" in wanted:
            texts["web_id"] = self.web_id("Ab", path, owner.id, placed.id, owner=owner.kind)
        if "owner" in wanted:
            texts["owner"] = self.owner_web_id(owner)
        if "parent" in wanted:
            texts["parent"] = self.attribute_web_id(owner, placed.parent) if placed.parent else ""
        if "config" in wanted:
            texts["config"] = self.config_string(attribute, point)
        if "point" in wanted:
            texts["point"] = self.point_web_id(point) if point else ""
        if "Paths" in wanted:
            texts["Paths"] = [f"{above}|{placed.path}" for above in owner.paths()]
        if "DataReference" in wanted:
            texts["DataReference"] = self._data_reference(attribute, point)
        return texts

    def _data_reference(self, attribute: Attribute, point: Point | None) -> dict[str, object]:
        reference: dict[str, object] = {"Type": attribute.placed.template.data_reference}
        if point is not None:
            reference["PIPoint"] = point.body(self.point_web_id(point), self._point_path(point))
        return reference

    def _point_path(self, point: Point) -> str:
        return rf"\\{self._archive.server_name}\{point.name}"

    def _attribute(self, owner: Owner, placed: PlacedAttribute, has_point: bool, texts: Texts) -> dict[str, object]:
        template = placed.template
        own, stream = self._link("attributes", texts["web_id"]), self._link("streams", texts["web_id"])
        owner_name, owner_controller = _OWNERS[owner.kind]
        links = {
            "Self": own,
            "Attributes": f"{own}/attributes",
            owner_name: self._link(owner_controller, texts["owner"]),
            "Categories": f"{own}/categories",
            "Value": f"{stream}/value",
        }
        if placed.parent:
            links["Parent"] = self._link("attributes", texts["parent"])
        if placed.element_template:
            links["Template"] = self._link("attributetemplates", self.attribute_template_web_id(owner.database, placed))
        if template.trait:
            links["Trait"] = self._link("attributetraits", template.trait)
        if enumeration_set := self._enumeration_set(owner.database, template.type_qualifier):
            set_link = self._link("enumerationsets", self.enumeration_set_web_id(owner.database, enumeration_set))
            links |= {"EnumerationSet": set_link, "EnumerationValues": f"{set_link}/enumerationvalues"}
        if has_point:
            links["Point"] = self._link("points", texts["point"])
            links |= {link: f"{stream}/{verb}" for link, verb in _DATA_LINKS.items()}
        return {
            "WebId": texts["web_id"],
            "Id": str(placed.id),
            "Name": template.name,
            "Description": template.description,
            "Path": texts["path"],
            **({"Paths": texts["Paths"]} if self._with_paths else {}),
            "Type": template.value_type,
            "TypeQualifier": template.type_qualifier,
            "DefaultUnitsName": template.units,
            "DefaultUnitsNameAbbreviation": template.units_abbreviation,
            "DisplayDigits": template.display_digits,
            "DataReferencePlugIn": template.data_reference,
            "ConfigString": texts["config"],
            **({"DataReference": texts["DataReference"]} if self._with_data_reference else {}),
            "IsConfigurationItem": template.is_configuration_item,
            "IsExcluded": template.is_excluded,
            "IsHidden": template.is_hidden,
            "IsManualDataEntry": template.is_manual_data_entry,
            "HasChildren": bool(template.children),
            "CategoryNames": list(template.category_names),
            "Step": template.step,
            "TraitName": template.trait,
            "Span": template.span,
            "Zero": template.zero,
            "Links": links,
        }

    @staticmethod
    def _enumeration_set(database: AssetDatabase, name: str) -> EnumerationSet | None:
        return next((found for found in database.enumeration_sets if name and found.name == name), None)

    def template_web_id(self, database: AssetDatabase, template: ElementTemplate) -> str:
        """The WebID of an element template."""
        return self.web_id("ET", template_path(database, template), template.id)

    def element_template(self, database: AssetDatabase, template: ElementTemplate) -> dict[str, object]:
        """The vendor's `ElementTemplate`, for elements or event frames."""
        web_id = self.template_web_id(database, template)
        own = self._link("elementtemplates", web_id)
        links = {
            "Self": own,
            "Database": self._link("assetdatabases", self.database_web_id(database)),
            "AttributeTemplates": f"{own}/attributetemplates",
            "BaseTemplates": f"{own}/baseelementtemplates",
            "DerivedTemplates": f"{own}/derivedelementtemplates",
            "Categories": f"{own}/categories",
        }
        if template.base:
            base = database.element_templates[template.base]
            links["BaseTemplate"] = self._link("elementtemplates", self.template_web_id(database, base))
        return {
            "WebId": web_id,
            "Id": str(template.id),
            "Name": template.name,
            "Description": template.description,
            "Path": template_path(database, template),
            "AllowElementToExtend": template.allow_element_to_extend,
            "BaseTemplate": template.base,
            "InstanceType": template.instance_type,
            "NamingPattern": template.naming_pattern,
            "CategoryNames": list(template.category_names),
            "ExtendedProperties": {},
            "Severity": template.severity,
            "CanBeAcknowledged": template.can_be_acknowledged,
            "Links": links,
        }

    def attribute_template_web_id(self, database: AssetDatabase, placed: PlacedAttribute) -> str:
        """The WebID of an attribute template."""
        assert placed.element_template is not None
        path = attribute_template_path(database, placed)
        return self.web_id("AT", path, placed.element_template.id, placed.id, owner="E")

    def attribute_template(self, database: AssetDatabase, placed: PlacedAttribute) -> dict[str, object]:
        """The vendor's `AttributeTemplate`."""
        assert placed.element_template is not None
        template = placed.template
        web_id = self.attribute_template_web_id(database, placed)
        own = self._link("attributetemplates", web_id)
        links = {
            "Self": own,
            "AttributeTemplates": f"{own}/attributetemplates",
            "ElementTemplate": self._link("elementtemplates", self.template_web_id(database, placed.element_template)),
            "Categories": f"{own}/categories",
        }
        if placed.parent:
            parent = self.attribute_template_web_id(database, placed.parent)
            links["Parent"] = self._link("attributetemplates", parent)
        if template.trait:
            links["Trait"] = self._link("attributetraits", template.trait)
        return {
            "WebId": web_id,
            "Id": str(placed.id),
            "Name": template.name,
            "Description": template.description,
            "Path": attribute_template_path(database, placed),
            "Type": template.value_type,
            "TypeQualifier": template.type_qualifier,
            "DefaultUnitsName": template.units,
            "DefaultUnitsNameAbbreviation": template.units_abbreviation,
            "DefaultValue": enumeration_value(database, template.type_qualifier, template.value),
            "DataReferencePlugIn": template.data_reference,
            "ConfigString": template.config_string,
            "IsConfigurationItem": template.is_configuration_item,
            "IsExcluded": template.is_excluded,
            "IsHidden": template.is_hidden,
            "IsManualDataEntry": template.is_manual_data_entry,
            "HasChildren": bool(template.children),
            "CategoryNames": list(template.category_names),
            "TraitName": template.trait,
            "Links": links,
        }

    def enumeration_set_web_id(self, database: AssetDatabase, enumeration_set: EnumerationSet) -> str:
        """The WebID of an AF enumeration set."""
        path = enumeration_set_path(database, enumeration_set)
        return self.web_id("MS", path, enumeration_set_id(database, enumeration_set), owner="R")

    def category(self, database: AssetDatabase, name: str, *, of_attributes: bool) -> dict[str, object]:
        """The vendor's `ElementCategory` or `AttributeCategory`."""
        path = category_path(database, name, of_attributes=of_attributes)
        category_id = category_id_of(database, name, of_attributes=of_attributes)
        web_id = self.web_id("AC" if of_attributes else "EC", path, category_id)
        return {
            "WebId": web_id,
            "Id": str(category_id),
            "Name": name,
            "Description": "",
            "Path": path,
            "Links": {
                "Self": self._link("attributecategories" if of_attributes else "elementcategories", web_id),
                "Database": self._link("assetdatabases", self.database_web_id(database)),
            },
        }
