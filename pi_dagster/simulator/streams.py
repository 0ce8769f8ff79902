"""Reading one stream: `GET /streams/{webId}/...`, and the reading that streamsets do for many.

Large answers are never built value by value: a stream's values are encoded at once, with just the selected
fields. Source: PI Web API reference, controller `stream`.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from pi_dagster.simulator.calls import Call, RefusedError
from pi_dagster.simulator.encoding import TIMED_VALUE_FIELDS, encode_events
from pi_dagster.simulator.events import ANNOTATED, MAX_TICKS, Events, Ticks, iso_timestamp
from pi_dagster.simulator.points import FLOAT_TYPES, Point
from pi_dagster.simulator.retrieval import (
    BoundaryType,
    RetrievalMode,
    no_data,
    plot,
    recorded,
    recorded_at,
    values_at,
)
from pi_dagster.simulator.selected_fields import SelectedFields
from pi_dagster.simulator.service import Route, Service
from pi_dagster.simulator.stream_lookup import find_stream, held_value, in_time_of
from pi_dagster.simulator.summaries import (
    ANY_TYPE_SUMMARIES,
    CALCULATION_BASES,
    UNITS_OF_THEIR_OWN,
    Summary,
    event_weighted,
    is_numeric,
    time_weighted,
    wanted_types,
)
from pi_dagster.simulator.timestrings import Interval

Reader = Callable[[Point], "dict[str, object] | object"]


@dataclass(frozen=True)
class Verb:
    """A way of reading streams.

    `reader` is called once a request: it checks the parameters and returns what reads each stream. It gets the
    fields that are selected of a value, None where no values are, and the number of streams. `is_single` verbs
    read one value of a stream, the others a list. `sorts_streams` says whether streamsets can be put in order,
    `reads_held` whether streams without a tag have such values.
    """

    name: str
    reader: Callable[[Service, Call, SelectedFields | None, int], Reader]
    is_single: bool = False
    sorts_streams: bool = True
    reads_held: bool = False


def _refuse_expressions(call: Call) -> None:
    if call.query.text("filterExpression"):
        raise RefusedError(409, "The filter expression is not supported by this stream.")


def _window(service: Service, call: Call, now: Ticks) -> tuple[Ticks, Ticks]:
    """The requested start and end, which may be in either order."""
    start = service.time(call, call.query.text("startTime"), now=now, default="*-1d")
    return start, service.time(call, call.query.text("endTime"), now=now)


def _values(
    service: Service, events: Events, point: Point, selected: SelectedFields | None, *, annotations: bool = False
) -> Any:
    """Values as the JSON of a list, with only their selected fields."""
    if selected is None:
        return msgspec.Raw(b"[]")
    fields = [f for f in TIMED_VALUE_FIELDS if service.settings.prints_annotated or f != "Annotated"]
    in_parts = selected.is_deep or annotations
    body = encode_events(events, point.engineering_units, fields if in_parts else selected.among(fields))
    if service.settings.non_finite == "bare" and point.point_type in FLOAT_TYPES:
        for name in (b"NaN", b"Infinity", b"-Infinity"):
            body = body.replace(b'"Value":"' + name + b'"', b'"Value":' + name)
    if not in_parts:
        return msgspec.Raw(body)
    values = msgspec.json.decode(body)
    if annotations:
        for value, flags in zip(values, events.flags.tolist(), strict=True):
            value["Annotations"] = [_annotation(point, value["Timestamp"])] if flags & ANNOTATED else []
    return selected.prune(values)


def _annotation(point: Point, timestamp: str) -> dict[str, object]:
    return {
        "Id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{point.id} {timestamp}")),
        "Name": "Note",
        "Description": "",
        "Value": "checked",
        "Creator": r"PLANT\operator",
        "CreationDate": timestamp,
        "Modifier": r"PLANT\operator",
        "ModifyDate": timestamp,
    }


def _value(service: Service, event: Events, point: Point, selected: SelectedFields | None, **options: bool) -> Any:
    """One value as JSON."""
    values = _values(service, event, point, selected or SelectedFields(), **options)
    return values[0] if isinstance(values, list) else msgspec.Raw(bytes(values)[1:-1])


def _wants_annotations(call: Call) -> bool:
    if not call.path.lower().startswith("streams/"):
        return False  # streamsets do not have the parameter
    return "annotations" in (call.query.text("associations") or "").lower()


def _mode(call: Call) -> RetrievalMode:
    modes = ("Auto", "AtOrBefore", "Before", "AtOrAfter", "After", "Exact")
    return cast(RetrievalMode, call.query.choice("retrievalMode", modes, "Auto"))


def _recorded(service: Service, call: Call, selected: SelectedFields | None, streams: int) -> Reader:
    _refuse_expressions(call)
    now = service.settings.now()
    start, end = _window(service, call, now)
    limit = service.max_count(call, streams=streams)
    boundaries = ("Inside", "Outside", "Interpolated")
    boundary = cast(BoundaryType, call.query.choice("boundaryType", boundaries, "Inside"))
    annotations = _wants_annotations(call)

    def read(point: Point) -> dict[str, object]:
        newest = MAX_TICKS
        if not (service.settings.recorded_includes_snapshot or point.future):
            snapshot = service.archive.snapshot(point, now)
            newest = int(snapshot.ticks[0]) - 1 if len(snapshot) else now
        events = recorded(service.archive, point, start, end, limit, boundary, newest)
        items = _values(service, events, point, selected, annotations=annotations)
        return {"Items": items, "UnitsAbbreviation": point.engineering_units}

    return read


def _recorded_at_time(service: Service, call: Call, selected: SelectedFields | None, streams: int) -> Reader:
    instant = service.time(call, call.query.required("time"), now=service.settings.now())
    mode = _mode(call)
    annotations = _wants_annotations(call)
    return lambda point: _value(
        service, recorded_at(service.archive, point, instant, mode), point, selected, annotations=annotations
    )


def _times(service: Service, call: Call) -> list[Ticks]:
    call.query.required("time")
    now = service.settings.now()
    times = [service.time(call, text, now=now) for text in call.query.all("time")]
    service.within_limit("time", len(times))
    order = call.query.choice("sortOrder", ("Ascending", "Descending"), "Ascending")
    return sorted(times, reverse=order == "Descending")


def _recorded_at_times(service: Service, call: Call, selected: SelectedFields | None, streams: int) -> Reader:
    times, mode = _times(service, call), _mode(call)
    annotations = _wants_annotations(call)

    def read(point: Point) -> dict[str, object]:
        events = Events.concat([recorded_at(service.archive, point, instant, mode) for instant in times])
        items = _values(service, events, point, selected, annotations=annotations)
        return {"Items": items, "UnitsAbbreviation": point.engineering_units}

    return read


def _interpolated(service: Service, call: Call, selected: SelectedFields | None, streams: int) -> Reader:
    _refuse_expressions(call)
    now = service.settings.now()
    start, end = _window(service, call, now)
    zone = service.zone(call.query.text("timeZone"))
    interval = Interval.parse(call.query.text("interval") or "1h")
    sync_text = call.query.text("syncTime")
    outside = call.query.choice("syncTimeBoundaryType", ("Inside", "Outside"), "Inside") == "Outside"
    low, high = min(start, end), max(start, end)
    step = interval.after(low, zone) - low
    if step <= 0:
        raise RefusedError(400, "The interval must be greater than zero.")
    service.within_limit("interval", (high - low) // step + 1)
    first, number = low, 0
    if sync_text is not None:
        sync = service.time(call, sync_text, now=now)
        first = low + (sync - low) % step - (step if outside and (sync - low) % step else 0)
    times = []
    while (instant := interval.after(first, zone, number)) <= high:
        times.append(instant)
        number += 1
    if sync_text is not None and outside and (not times or times[-1] < high):
        times.append(interval.after(first, zone, number))
    if start > end:
        times.reverse()

    def read(point: Point) -> dict[str, object]:
        events = values_at(service.archive, point, times)
        return {"Items": _values(service, events, point, selected), "UnitsAbbreviation": point.engineering_units}

    return read


def _plot(service: Service, call: Call, selected: SelectedFields | None, streams: int) -> Reader:
    start, end = _window(service, call, service.settings.now())
    intervals = call.query.whole("intervals", 24)
    service.within_limit("intervals", intervals)
    if intervals < 1:
        raise RefusedError(400, "Parameter (intervals) must be greater than zero.")

    def read(point: Point) -> dict[str, object]:
        events = plot(service.archive, point, start, end, intervals)
        return {"Items": _values(service, events, point, selected), "UnitsAbbreviation": point.engineering_units}

    return read


def _current(service: Service, call: Call, selected: SelectedFields | None, streams: int) -> Reader:
    now = service.settings.now()
    text = call.query.text("time")
    instant = service.time(call, text, now=now) if text else None

    def read(point: Point) -> object:
        if instant is not None:
            return _value(service, values_at(service.archive, point, [instant]), point, selected)
        newest = service.archive.snapshot(point, now)
        event = newest if len(newest) else no_data(service.archive, point, [now])
        return _value(service, event, point, selected)

    return read


def _end(service: Service, call: Call, selected: SelectedFields | None, streams: int) -> Reader:
    now = service.settings.now()

    def read(point: Point) -> object:
        last = service.archive.event_before(point, MAX_TICKS)
        event = last if len(last) else no_data(service.archive, point, [now])
        return _value(service, event, point, selected)

    return read


def _summary(service: Service, call: Call, selected: SelectedFields | None, streams: int) -> Reader:
    _refuse_expressions(call)
    now = service.settings.now()
    start, end = sorted(_window(service, call, now))
    try:
        types = wanted_types(call.query.all("summaryType") or ["Total"])
    except ValueError as error:
        raise RefusedError(400, str(error)) from error
    basis = call.query.choice("calculationBasis", CALCULATION_BASES, "TimeWeighted")
    time_type = call.query.choice("timeType", ("Auto", "EarliestTime", "MostRecentTime"), "Auto")
    duration_text = call.query.text("summaryDuration")
    edges = [start, end]
    if duration_text is not None:
        zone = service.zone(call.query.text("timeZone"))
        duration = Interval.parse(duration_text)
        length = duration.after(start, zone) - start
        if length <= 0:
            raise RefusedError(400, "The summary duration must be greater than zero.")
        counted = streams if service.settings.streamset_limit == "total" else 1
        service.within_limit("summaryDuration", counted * ((end - start) // length))
        edges = [start]
        while (edge := duration.after(start, zone, len(edges))) < end:
            edges.append(edge)
        edges.append(end)

    def read(point: Point) -> dict[str, object]:
        if not is_numeric(point) and not ANY_TYPE_SUMMARIES.issuperset(types):
            raise RefusedError(409, f"A point of type {point.point_type} has no other summary than Count.")
        items: list[object] = []
        for low, high in itertools.pairwise(edges):
            if basis.startswith("Event"):
                found = event_weighted(
                    service.archive,
                    point,
                    low,
                    high,
                    basis,
                    is_only=len(edges) == 2,
                    count_includes_bad=service.settings.count_includes_bad,
                    counts_nothing=service.settings.count_of_nothing == "zero",
                )
            else:
                found = time_weighted(service.archive, point, low, high, basis)
            items += [
                {"Type": kind, "Value": _summary_value(service, point, kind, found[kind], basis, low, high, time_type)}
                for kind in types
            ]
        return {"Items": items}

    return read


def _summary_value(
    service: Service, point: Point, kind: str, summary: Summary, basis: str, low: Ticks, high: Ticks, time_type: str
) -> dict[str, object]:
    at = high if time_type == "MostRecentTime" else low
    if time_type == "Auto" and summary.at is not None:
        at = summary.at
    units = point.engineering_units
    if kind in UNITS_OF_THEIR_OWN:
        units = "%" if kind == "PercentGood" else "" if basis.startswith("Event") else "s"
    good = summary.value is not None
    value: dict[str, object] = {
        "Timestamp": iso_timestamp(at),
        "Value": summary.value if good else {"Name": "No Data", "Value": 248, "IsSystem": True},
        "UnitsAbbreviation": units,
        "Good": good,
        "Questionable": False,
        "Substituted": False,
    }
    return {**value, "Annotated": False} if service.settings.prints_annotated else value


VERBS = (
    Verb("recorded", _recorded),
    Verb("recordedattime", _recorded_at_time, is_single=True, sorts_streams=False),
    Verb("recordedattimes", _recorded_at_times, sorts_streams=False),
    Verb("interpolated", _interpolated),
    Verb("plot", _plot),
    Verb("summary", _summary, sorts_streams=False),
    Verb("value", _current, is_single=True, reads_held=True),
    Verb("end", _end, is_single=True, reads_held=True),
)


def _read_stream(verb: Verb) -> Callable[[Service, Call], object]:
    def handler(service: Service, call: Call) -> object:
        stream = find_stream(service, call, call.params["webId"])
        if stream.point is None:
            if stream.held is None or not verb.reads_held:
                raise RefusedError(409, "The data reference of the attribute does not support this method.")
            return held_value(service, stream.held)
        wanted = call.query.text("desiredUnits") if verb.name != "summary" else None
        if wanted is not None and wanted != stream.point.engineering_units:
            raise RefusedError(409, f"The values cannot be converted to the units '{wanted}'.")
        selected = call.selected if verb.is_single else call.selected.at("Items")
        result = verb.reader(service, in_time_of(call, stream), selected, 1)(stream.point)
        return result if verb.is_single else {"Links": {}, **cast("dict[str, object]", result)}

    return handler


ROUTES = tuple(Route("GET", f"streams/{{webId}}/{verb.name}", _read_stream(verb)) for verb in VERBS)
