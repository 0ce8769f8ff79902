"""Event frames as the vendor's JSON: what a frame and its annotations look like in an answer.

Source: PI Web API reference, controller `eventframe`; the vendor's OpenAPI definitions `EventFrame` and `Annotation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

from pi_dagster.simulator.af_bodies import Bodies, Owner
from pi_dagster.simulator.af_model import AssetDatabase, quoted
from pi_dagster.simulator.af_stencil import Stencil, Texts, listed
from pi_dagster.simulator.calls import Call
from pi_dagster.simulator.event_frame_model import Annotation, EventFrame
from pi_dagster.simulator.event_frame_view import FrameView
from pi_dagster.simulator.events import iso_timestamp
from pi_dagster.simulator.selected_fields import SelectedFields
from pi_dagster.simulator.settings import SimulatorSettings

_DATA_LINKS = {
    "InterpolatedData": "interpolated",
    "RecordedData": "recorded",
    "PlotData": "plot",
    "SummaryData": "summary",
    "Value": "value",
    "EndValue": "end",
}
_SECURITY = {
    "CanAnnotate": False,
    "CanDelete": False,
    "CanExecute": False,
    "CanRead": True,
    "CanReadData": True,
    "CanSubscribe": True,
    "CanSubscribeOthers": False,
    "CanWrite": False,
    "CanWriteData": False,
    "HasAdmin": False,
    "Rights": ["Read", "ReadData", "Subscribe"],
}
_GAPS = (
    "web_id",
    "id",
    "name",
    "description",
    "path",
    "start",
    "end",
    "acknowledged_by",
    "acknowledged_at",
    "parent",
    "primary",
    "RefElementWebIds",
)


def frame_path(database: AssetDatabase, view: FrameView, frame: EventFrame) -> str:
    r"""`\\SERVER\DB\EventFrames[NAME]`, and for a child its name below that."""
    parent = view.frame(frame.parent, attributes=False) if frame.parent else None
    if parent is None:
        return rf"{database.path}\EventFrames[{frame.name}]"
    return child_path(frame_path(database, view, parent), frame)


def child_path(parent_path: str, frame: EventFrame) -> str:
    """The path of a frame below another."""
    return rf"{parent_path}\{quoted(frame.name)}"


def frame_owner(database: AssetDatabase, view: FrameView, frame: EventFrame) -> Owner:
    """A frame as the owner of its attributes."""
    return Owner("F", frame.id, frame_path(database, view, frame), database)


class FrameBodies:
    """Writes the event frames of one answer, all from one database.

    Args:
        bodies: writes what frames refer to.
        settings: how the server behaves.
        call: the request.
        database: the database the frames are in.
        view: the frames of that database.
    """

    def __init__(
        self, bodies: Bodies, settings: SimulatorSettings, call: Call, database: AssetDatabase, view: FrameView
    ) -> None:
        self._bodies = bodies
        self._settings = settings
        self._call = call
        self._database = database
        self._view = view
        self._database_link = call.link("assetdatabases", bodies.web_id("RD", database.path, database.id))
        self._elements: dict[UUID, str | None] = {}
        self._parents: dict[UUID | None, tuple[str, str]] = {None: ("", "")}

    def frame(self, frame: EventFrame) -> dict[str, Any]:
        """The vendor's `EventFrame`."""
        return self._body(frame, self._texts(frame))

    def frames(self, frames: Iterable[EventFrame], selected: SelectedFields) -> msgspec.Raw:
        """A list of frames, with the selected fields."""
        stencils: dict[object, Stencil] = {}
        parts = []
        for frame in frames:
            texts = self._texts(frame)
            kind = (
                frame.template_name,
                frame.severity,
                frame.category_names,
                frame.can_be_acknowledged,
                frame.acknowledged_at is None,
                not frame.annotations,
                frame.are_values_captured,
                frame.is_locked,
                bool(texts["primary"]),
                frame.parent is None,
                bool(self._view.children(frame.id)),
            )
            stencil = stencils.get(kind)
            if stencil is None:

                def build(texts: Texts, frame: EventFrame = frame) -> object:
                    return self._body(frame, texts)

                stencil = stencils[kind] = Stencil(build, _GAPS, selected)
            parts.append(stencil.filled(texts))
        return listed(parts)

    def web_id(self, frame: EventFrame) -> str:
        """The WebID of a frame."""
        return self._bodies.web_id("Fm", frame_path(self._database, self._view, frame), frame.id)

    def annotation(self, frame: EventFrame, annotation: Annotation) -> dict[str, Any]:
        """The vendor's `Annotation`."""
        owner = self._call.link("eventframes", self.web_id(frame))
        written = iso_timestamp(annotation.created)
        return {
            "Id": str(annotation.id),
            "Name": annotation.name,
            "Description": annotation.description,
            "Value": annotation.text,
            "Creator": annotation.creator,
            "CreationDate": written,
            "Modifier": annotation.creator,
            "ModifyDate": written,
            "Links": {"Self": f"{owner}/annotations/{annotation.id}", "Owner": owner},
        }

    def _texts(self, frame: EventFrame) -> dict[str, Any]:
        parent_path, parent_web_id = self._parent(frame.parent)
        path = child_path(parent_path, frame) if parent_path else frame_path(self._database, self._view, frame)
        elements = [web_id for web_id in map(self._element, frame.elements) if web_id is not None]
        end, acknowledged = frame.end, frame.acknowledged_at
        return {
            "web_id": self._bodies.web_id("Fm", path, frame.id),
            "id": str(frame.id),
            "name": frame.name,
            "description": frame.description,
            "path": path,
            "start": iso_timestamp(frame.start),
            "end": self._settings.open_end_time if end is None else iso_timestamp(end),
            "acknowledged_by": frame.acknowledged_by,
            "acknowledged_at": (
                self._settings.unacknowledged_date if acknowledged is None else iso_timestamp(acknowledged)
            ),
            "parent": parent_web_id,
            "primary": elements[0] if elements else "",
            "RefElementWebIds": elements,
        }

    def _parent(self, frame_id: UUID | None) -> tuple[str, str]:
        """Path and WebID of a frame that has children."""
        if frame_id not in self._parents:
            assert frame_id is not None
            parent = self._view.frame(frame_id, attributes=False)
            assert parent is not None
            self._parents[frame_id] = (frame_path(self._database, self._view, parent), self.web_id(parent))
        return self._parents[frame_id]

    def _element(self, element_id: UUID) -> str | None:
        """The WebID of an element that can be read."""
        if element_id not in self._elements:
            number = self._database.number_of(element_id)
            found = None if number is None else self._bodies.element_web_id(self._database, number)
            self._elements[element_id] = found
        return self._elements[element_id]

    def _body(self, frame: EventFrame, texts: Texts) -> dict[str, Any]:
        own = self._call.link("eventframes", str(texts["web_id"]))
        stream = self._call.link("streamsets", str(texts["web_id"]))
        links = {
            "Self": own,
            "Attributes": f"{own}/attributes",
            "EventFrames": f"{own}/eventframes",
            "Database": self._database_link,
            "ReferencedElements": f"{own}/referencedelements",
            "Categories": f"{own}/categories",
            "Annotations": f"{own}/annotations",
            **{link: f"{stream}/{verb}" for link, verb in _DATA_LINKS.items()},
        }
        if any(self._element(element_id) for element_id in frame.elements):
            links["PrimaryReferencedElement"] = self._call.link("elements", str(texts["primary"]))
        if frame.parent is not None:
            links["Parent"] = self._call.link("eventframes", str(texts["parent"]))
        template = self._database.element_templates.get(frame.template_name)
        if template is not None:
            web_id = self._bodies.template_web_id(self._database, template)
            links["Template"] = self._call.link("elementtemplates", web_id)
        acknowledgement = {"AcknowledgedBy": texts["acknowledged_by"], "AcknowledgedDate": texts["acknowledged_at"]}
        prints_acknowledgement = frame.acknowledged_at is not None or self._settings.unacknowledged_date is not None
        return {
            "WebId": texts["web_id"],
            "Id": texts["id"],
            "Name": texts["name"],
            "Description": texts["description"],
            "Path": texts["path"],
            "TemplateName": frame.template_name,
            "HasChildren": bool(self._view.children(frame.id)),
            "CategoryNames": list(frame.category_names),
            "ExtendedProperties": {},
            "StartTime": texts["start"],
            "EndTime": texts["end"],
            "Severity": frame.severity,
            **(acknowledgement if prints_acknowledgement else {}),
            "CanBeAcknowledged": frame.can_be_acknowledged,
            "IsAcknowledged": frame.acknowledged_at is not None,
            "IsAnnotated": bool(frame.annotations),
            "IsLocked": frame.is_locked,
            "AreValuesCaptured": frame.are_values_captured,
            "RefElementWebIds": texts["RefElementWebIds"],
            "Security": _SECURITY,
            "Links": links,
        }
