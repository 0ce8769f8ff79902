"""What a simulated PI Data Archive knows about its tags: points, digital state sets and the system states.

A point is immutable here; its recorded values live in `archive`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal
from uuid import UUID

PointType = Literal["Float16", "Float32", "Float64", "Int16", "Int32", "Digital", "String", "Timestamp", "Blob"]
FLOAT_TYPES = frozenset({"Float16", "Float32", "Float64"})
INTEGER_TYPES = frozenset({"Int16", "Int32"})

SYSTEM_STATES: Mapping[int, str] = {
    210: "Access Denied",
    211: "No Sample",
    212: "No Result",
    213: "Unit Down",
    214: "Sample Bad",
    215: "Equip Fail",
    216: "No Lab Data",
    217: "Trace",
    233: "DCS Failed",
    237: "Bad Output",
    238: "Scan Off",
    239: "Scan On",
    240: "Configure",
    241: "Failed",
    242: "Error",
    243: "Execute",
    244: "Filtered",
    245: "Calc Off",
    246: "I/O Timeout",
    247: "Set to Bad",
    248: "No Data",
    249: "Calc Failed",
    251: "Under Range",
    252: "Over Range",
    253: "Pt Created",
    254: "Shutdown",
    255: "Bad Input",
}
"""Code to name of the states any point may hold instead of a value (the AF SDK's `AFSystemStateCode`)."""


@dataclass(frozen=True)
class DigitalSet:
    """A digital state set: the names a digital point's offsets stand for."""

    id: UUID
    name: str
    states: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A tag, with the fields of the vendor's `Point` object (PI Web API reference, controller `point`).

    `span` and `zero` are in engineering units: the tag's range is `[zero, zero + span]`. `created` is the
    aware UTC instant of the point's first archived event, the system state `Pt Created`.
    """

    id: int
    name: str
    point_type: PointType = "Float32"
    descriptor: str = ""
    point_class: str = "classic"
    digital_set_name: str = ""
    engineering_units: str = ""
    span: float = 100.0
    zero: float = 0.0
    step: bool = False
    future: bool = False
    display_digits: int = -5
    point_source: str = "SIM"
    created: datetime = field(default=datetime(2020, 1, 1, tzinfo=timezone.utc))
    security: str = "piadmin: A(r,w) | piadmins: A(r,w) | PIWorld: A(r)"

    def body(self, web_id: str, path: str) -> dict[str, object]:
        """The fields of the vendor's `Point` object, all but its links."""
        return {
            "WebId": web_id,
            "Id": self.id,
            "Name": self.name,
            "Path": path,
            "Descriptor": self.descriptor,
            "PointClass": self.point_class,
            "PointType": self.point_type,
            "DigitalSetName": self.digital_set_name,
            "EngineeringUnits": self.engineering_units,
            "Span": self.span,
            "Zero": self.zero,
            "Step": self.step,
            "Future": self.future,
            "DisplayDigits": self.display_digits,
        }

    @property
    def attributes(self) -> Mapping[str, str | int | float]:
        """The raw PI point attributes that `points/{webId}/attributes` lists, by lower-case name."""
        created = self.created.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "archiving": 1,
            "changedate": created,
            "compdev": 0.0,
            "compmax": 28800,
            "compmin": 0,
            "compressing": 0,
            "creationdate": created,
            "datasecurity": self.security,
            "descriptor": self.descriptor,
            "digitalset": self.digital_set_name,
            "displaydigits": self.display_digits,
            "engunits": self.engineering_units,
            "excdev": 0.0,
            "excmax": 600,
            "excmin": 0,
            "exdesc": "",
            "future": int(self.future),
            "instrumenttag": self.name,
            "location1": 1,
            "pointid": self.id,
            "pointsource": self.point_source,
            "pointtype": self.point_type,
            "ptclassname": self.point_class,
            "ptsecurity": self.security,
            "scan": 1,
            "shutdown": 1,
            "span": self.span,
            "step": int(self.step),
            "tag": self.name,
            "typicalvalue": self.zero + self.span / 2,
            "zero": self.zero,
        }
