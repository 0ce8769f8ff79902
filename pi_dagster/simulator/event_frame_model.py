"""What an event frame is: a named span of time in an asset database, the elements it is about, and values about it.

All of it is immutable; the store (`event_frames`) puts a changed frame in the place of the old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from pi_dagster.simulator.af_model import PI_POINT, AssetDatabase, Attribute, PlacedAttribute
from pi_dagster.simulator.events import MAX_TICKS, Ticks

SEVERITIES = ("None", "Information", "Warning", "Minor", "Major", "Critical")
"""The vendor's names, the least severe first (AF SDK reference, `AFSeverity`)."""


class Annotation(NamedTuple):
    """What somebody wrote about a frame."""

    id: UUID
    name: str
    text: str
    creator: str
    created: Ticks
    description: str = ""


class NamedValue(NamedTuple):
    """What an attribute of a frame says: its path inside the frame, its value as it was set, and its units."""

    name: str
    value: object
    units: str


@dataclass(frozen=True, kw_only=True)
class EventFrame:
    """An event frame.

    Args:
        id: never used again after the frame is deleted.
        name: need not be unique.
        start: when it began.
        end: when it ended; None while it is in progress.
        template_name: its event frame template, empty for none.
        elements: ids of the elements it refers to, the primary one first.
        attributes: with their values, nested ones too.
        parent: id of the frame it is a child of.
        acknowledged_at: None until it is acknowledged.
    """

    id: UUID
    name: str
    start: Ticks
    end: Ticks | None = None
    template_name: str = ""
    description: str = ""
    severity: str = "None"
    category_names: tuple[str, ...] = ()
    elements: tuple[UUID, ...] = ()
    attributes: tuple[Attribute, ...] = field(default=(), repr=False)
    parent: UUID | None = None
    can_be_acknowledged: bool = False
    acknowledged_by: str = ""
    acknowledged_at: Ticks | None = None
    annotations: tuple[Annotation, ...] = ()
    are_values_captured: bool = False
    is_locked: bool = False

    @property
    def ends_at(self) -> Ticks:
        """Its end as the server compares it: the last instant of all for a frame in progress."""
        return MAX_TICKS if self.end is None else self.end

    @property
    def values(self) -> tuple[NamedValue, ...]:
        """What its attributes say, hidden and nested ones too; a reference to a tag has the value None."""
        return tuple(NamedValue(a.placed.path, a.value, a.placed.template.units_abbreviation) for a in self.attributes)


def with_values(
    database: AssetDatabase, placed: Sequence[PlacedAttribute], values: Mapping[str, object]
) -> tuple[Attribute, ...]:
    """A template's attributes with values by name (`Parent|Name` for nested ones), where none is given the template's.

    The value of an attribute that refers to a tag is the tag's name, of one with an enumeration set a state's name.

    Raises:
        ValueError: there is no such attribute, or no such state.
    """
    unknown = set(values) - {attribute.path for attribute in placed}
    if unknown:
        raise ValueError(f"the event frame has no attribute {', '.join(sorted(unknown))}")
    return tuple(_valued(database, a, values.get(a.path, a.template.value)) for a in placed)


def _valued(database: AssetDatabase, placed: PlacedAttribute, value: object) -> Attribute:
    template = placed.template
    if template.data_reference == PI_POINT:
        return Attribute(placed, None if value is None else str(value), None)
    if template.value_type == "EnumerationValue" and value is not None:
        states = [state for s in database.enumeration_sets if s.name == template.type_qualifier for state in s.values]
        if all(value not in (state.name, state.value) for state in states):
            raise ValueError(f"the enumeration set {template.type_qualifier} has no state {value}")
    return Attribute(placed, None, value)
