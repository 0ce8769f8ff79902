"""A small asset model that has everything that makes one hard to read, and a plain client to look at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import requests

from pi_dagster.simulator import Simulator, SimulatorSettings
from pi_dagster.simulator.af_model import (
    ASSET_SERVER_ID,
    FORMULA,
    PI_POINT,
    AssetDatabase,
    AttributeTemplate,
    ElementTemplate,
    EnumerationSet,
    EnumerationValue,
)
from pi_dagster.simulator.af_tree import TreeDatabase
from pi_dagster.webid import WebIdType, object_webid
from pi_dagster_tests.planted_archive import FLOW, NOON, ODD_NAME, VALVE_TAG, Client, planted_archive

MODE = EnumerationSet(
    "Mode", (EnumerationValue("Off", 0), EnumerationValue("On", 1), EnumerationValue("Test", 2, parent="On"))
)
SERIAL = AttributeTemplate(
    name="Serial Number", value_type="String", value="?", is_configuration_item=True, category_names=("Nameplate",)
)
LIMIT = AttributeTemplate(name="High Limit", value=90.0, trait="LimitHi", units="bar", units_abbreviation="bar")
ASSET = ElementTemplate(name="Asset", description="What every machine has", attributes=(SERIAL,))
PUMP = ElementTemplate(
    name="Pump",
    base="Asset",
    category_names=("Rotating",),
    attributes=(
        AttributeTemplate(name="Flow", value_type="Single", data_reference=PI_POINT, children=(LIMIT,)),
        AttributeTemplate(
            name="Position", value_type="EnumerationValue", type_qualifier="Mode", data_reference=PI_POINT
        ),
        AttributeTemplate(name="Mode", value_type="EnumerationValue", type_qualifier="Mode", value=1),
        AttributeTemplate(name="Efficiency", data_reference=FORMULA, config_string="A=Flow;[A/2]", value=0.5),
        AttributeTemplate(name="Secret", value_type="String", value="s", is_hidden=True),
        AttributeTemplate(name="Old", value_type="String", value="o", is_excluded=True),
    ),
)
DOWNTIME = ElementTemplate(name="Downtime", instance_type="EventFrame", attributes=(SERIAL,))


@dataclass(frozen=True)
class Assets(Client):
    """A client of a running simulator, with the tree that it serves."""

    tree: TreeDatabase
    site: UUID
    unit_a: UUID
    unit_b: UUID
    pump: UUID
    valve: UUID
    cold_store: UUID

    @property
    def database(self) -> str:
        """The path of the database in URLs."""
        web_id = object_webid("RD", (ASSET_SERVER_ID, self.tree.id), self.tree.path)
        return f"assetdatabases/{web_id.as_type(WebIdType.ID_ONLY).encode()}"

    def names(self, path: str, /, **params: Any) -> list[str]:
        """The names of the objects that a request lists."""
        return [item["Name"] for item in self.json(path, **params)["Items"]]

    def elements(self, **params: Any) -> list[str]:
        """The names of the elements that a search of the whole hierarchy finds."""
        return self.names(f"{self.database}/elements", **{"searchFullHierarchy": True, **params})

    def attributes(self, element: UUID, **params: Any) -> list[str]:
        """The names of the attributes of an element."""
        return self.names(f"elements/{element_web_id(element)}/attributes", **params)


def element_web_id(element: UUID, form: WebIdType = WebIdType.ID_ONLY, path: str = "x") -> str:
    return object_webid("Em", (ASSET_SERVER_ID, element), path).as_type(form).encode()


def planted_tree() -> tuple[TreeDatabase, dict[str, UUID]]:
    r"""Site 1 > Unit A > {Pump | 1, Valve}, Unit B > {Pump | 1 again}; Valve > Site 1 (a cycle); Kühlhaus ß; Unit B."""
    tree = TreeDatabase(
        "Plant",
        description="planted",
        element_templates=[ASSET, PUMP, DOWNTIME],
        enumeration_sets=[MODE],
        element_categories=["Places", "Rotating"],
        attribute_categories=["Nameplate"],
    )
    site = tree.add("Site 1", description="Where it is", category_names=("Places",))
    unit_a = tree.add("Unit A", parent=site, template="Asset", values={"Serial Number": "A-1"})
    unit_b = tree.add("Unit B", parent=site, template="Asset")
    pump = tree.add(
        "Pump | 1",
        parent=unit_a,
        template="Pump",
        tags={"Flow": FLOW.name, "Position": VALVE_TAG.name},
        category_names=("Rotating",),
    )
    own = [
        AttributeTemplate(name="Lift", data_reference=PI_POINT),
        AttributeTemplate(name="Gone", data_reference=PI_POINT),
        AttributeTemplate(name="Any", value_type="", value=[1, 2]),
    ]
    valve = tree.add(
        "Valve", parent=unit_a, attributes=own, tags={"Lift": ODD_NAME.name, "Gone": "NO.SUCH.TAG"}, element_type="Flow"
    )
    cold_store = tree.add('Kühlhaus ß "x"')
    tree.add_reference(pump, unit_b)
    tree.add_reference(site, valve)
    tree.add_reference(unit_b, None)
    return tree, {
        "site": site,
        "unit_a": unit_a,
        "unit_b": unit_b,
        "pump": pump,
        "valve": valve,
        "cold_store": cold_store,
    }


@contextmanager
def planted_assets(*, beside: Sequence[AssetDatabase] = (), **settings: Any) -> Iterator[Assets]:
    """The tree, served beside other databases over the planted archive, with a clock that stands at noon."""
    tree, elements = planted_tree()
    simulator = Simulator(
        archive=planted_archive(),
        settings=SimulatorSettings(**{"now": lambda: NOON, **settings}),
        assets=[tree, *beside],
    )
    with simulator.serve() as running, requests.Session() as session:
        yield Assets(running, session, tree, **elements)
