"""The query language of `eventframes/search`: filters such as `Template:=Downtime Severity:>=Minor Start:>'*-1d'`.

Every filter must be fulfilled. Without `Start` or `End` frames of all times are found, without `AllDescendants` those
below others too.
Source: PI Web API reference, topic `search-query-syntax`; AF SDK reference, `AFEventFrameSearch`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timezone
from typing import Any, Protocol
from uuid import UUID

from pi_dagster.simulator.calls import RefusedError
from pi_dagster.simulator.event_frame_model import SEVERITIES
from pi_dagster.simulator.event_frame_search import SORT_FIELDS, Comparison, FrameCondition, FrameSearch, TimeLimits
from pi_dagster.simulator.events import MAX_TICKS, MIN_TICKS, Ticks
from pi_dagster.simulator.timestrings import Interval

_TERM = re.compile(
    r"""(?:(?P<filter>\w+|\|[^\s:'"]+|'\|[^']+'|"\|[^"]+"):(?P<operator>==|=|<>|<=|>=|<|>|(?=IN\()|))?"""
    r"""(?P<value>IN\([^)]*\)|"[^"]*"|'[^']*'|[^\s"']+)\s*""",
    re.IGNORECASE,
)
_ALIASES = {
    "templatename": "template",
    "categoryname": "category",
    "elementreferencetemplate": "elementtemplate",
    "referencedelementtemplate": "elementtemplate",
}
_TEXTS = {"name": "Name", "description": "Description", "elementname": "ElementName", "id": "ID"}
_NAMES = {"template": "Template", "category": "Category", "elementtemplate": "ElementTemplate"}
_FLAGS = {
    "canbeacknowledged": "CanBeAcknowledged",
    "isacknowledged": "IsAcknowledged",
    "isannotated": "IsAnnotated",
}


class QueryContext(Protocol):
    """What a query needs to know about the server it is asked of; everything refuses what it does not know."""

    def time(self, text: str) -> Ticks:
        """The instant of a time string."""

    def element(self, path: str) -> UUID:
        """The id of an element."""

    def frame(self, path: str) -> UUID:
        """The id of an event frame."""

    def check_name(self, kind: str, name: str) -> None:
        """Refuse the name of a template or category (`Template`, `ElementTemplate`, `Category`) that does not exist."""


def parse_query(text: str, context: QueryContext) -> FrameSearch:
    """Read a query.

    Raises:
        RefusedError: 409 for what cannot be understood, 400 for a template or category that does not exist.
        InvalidTimeError: a text that is no time.
    """
    search = FrameSearch(all_descendants=True)
    text = text.strip()
    position = 0
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None:
            raise RefusedError(409, f"The query is invalid at '{text[position:]}'.")
        position = term.end()
        name = (term["filter"] or "Name").strip("'\"")
        value = term["value"]
        values = value[3:-1].split(";") if value.upper().startswith("IN(") else [value]
        values = [one.strip().strip("'\"") for one in values]
        search = _narrowed(search, name, (term["operator"] or "=").replace("==", "="), values, context)
    return search


def _narrowed(search: FrameSearch, name: str, operator: str, values: list[str], context: QueryContext) -> FrameSearch:
    kind = _ALIASES.get(name.lower(), name.lower())
    value = values[0]
    if kind in ("start", "end"):
        first, last = _range(operator, context.time(value))
        limits = TimeLimits(first, last) if kind == "start" else TimeLimits(first_end=first, last_end=last)
        return replace(search, times=search.times.within(limits))
    if kind == "inprogress":
        limits = TimeLimits(first_end=MAX_TICKS) if _flag(name, value) else TimeLimits(last_end=MAX_TICKS - 1)
        return replace(search, times=search.times.within(limits))
    if kind == "alldescendants":
        return replace(search, all_descendants=_flag(name, value))
    if kind == "root":
        return replace(search, root=context.frame(value))
    if kind == "sortfield":
        return replace(search, sort_field=_one_of(name, value, SORT_FIELDS))
    if kind == "sortorder":
        return replace(search, descending=_one_of(name, value, ("Ascending", "Descending")) == "Descending")
    return replace(search, conditions=(*search.conditions, _condition(kind, name, operator, values, context)))


def _condition(kind: str, name: str, operator: str, values: list[str], context: QueryContext) -> FrameCondition:
    if kind.startswith("|"):
        return FrameCondition("Attribute", tuple(Comparison(name[1:], operator, value) for value in values))
    if kind == "duration":
        limits = _range(operator, Interval.parse(values[0]).after(0, timezone.utc))
        return FrameCondition("Duration", (limits,))
    if kind == "severity":
        ranks = [SEVERITIES.index(_one_of(name, value, SEVERITIES)) for value in values]
        ranges = [_range(operator, rank) for rank in ranks]
        chosen = (s for i, s in enumerate(SEVERITIES) if any(first <= i <= last for first, last in ranges))
        return FrameCondition("Severity", tuple(chosen))
    if operator != "=":
        raise RefusedError(409, f"The operator '{operator}' is not valid for the filter '{name}'.")
    if kind in _FLAGS:
        return FrameCondition(_FLAGS[kind], (_flag(name, values[0]),))
    if kind in _NAMES:
        for value in values:
            context.check_name(_NAMES[kind], value)
        return FrameCondition(_NAMES[kind], tuple(values))
    if kind == "element":
        return FrameCondition("Element", tuple(context.element(value) for value in values))
    if kind not in _TEXTS:
        raise RefusedError(409, f"The filter '{name}' is not valid in a search for event frames.")
    return FrameCondition(_TEXTS[kind], tuple(values))


def _range(operator: str, value: Any) -> tuple[Any, Any]:
    ranges: Mapping[str, tuple[Any, Any]] = {
        "=": (value, value),
        "<": (MIN_TICKS, value - 1),
        "<=": (MIN_TICKS, value),
        ">": (value + 1, MAX_TICKS),
        ">=": (value, MAX_TICKS),
    }
    if operator not in ranges:
        raise RefusedError(409, f"The operator '{operator}' needs an attribute.")
    return ranges[operator]


def _flag(name: str, value: str) -> bool:
    return _one_of(name, value, ("True", "False")) == "True"


def _one_of(name: str, value: str, choices: Iterable[str]) -> str:
    for choice in choices:
        if choice.lower() == value.lower():
            return choice
    raise RefusedError(409, f"The value '{value}' is not valid for the filter '{name}'.")
