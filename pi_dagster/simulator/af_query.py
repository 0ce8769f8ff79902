"""The query language of `elements/search` and `attributes/search`: filters such as `Name:='P*' Template:=Pump`.

Every filter must be fulfilled; a value without a filter is a name. Filters of attribute values (`|Level:>5`) are
refused. Source: PI Web API reference, topic `search-query-syntax`; AF SDK reference, `AFElementSearch` and
`AFAttributeSearch`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from pi_dagster.simulator.af_search import ATTRIBUTE_FIELDS, ELEMENT_FIELDS, SORT_FIELDS, Condition, Order
from pi_dagster.simulator.calls import RefusedError

_TERM = re.compile(
    r"""(?:(?P<filter>\w+):(?P<operator>=|==|<>|(?=IN\s*\())?\s*)?"""
    r"""(?P<value>IN\s*\([^)]*\)|\{(?:[^{}"']|"[^"]*"|'[^']*')*\}|"[^"]*"|'[^']*'|[^\s"'{}|]+)(?:\s+|$)""",
    re.IGNORECASE,
)
_ALIASES = {
    "templatename": "Template",
    "categoryname": "Category",
    "elementtype": "Type",
    "valuetype": "Type",
    "datareference": "PlugIn",
    "elementname": "Name",
}


class ElementQuery(NamedTuple):
    """A query for elements: conditions, the path it starts at, whether all below is searched, and the order."""

    conditions: tuple[Condition, ...]
    root: str | None
    is_full: bool
    order: Order


class AttributeQuery(NamedTuple):
    """A query for attributes: which elements' attributes, which of these, and the order."""

    elements: ElementQuery
    conditions: tuple[Condition, ...]
    order: Order


def parse_element_query(text: str) -> ElementQuery:
    """Read a query of `elements/search`.

    Raises:
        RefusedError: 409 for what is no query, or has filters that are not known.
    """
    conditions, rest = _conditions(text, ELEMENT_FIELDS, {"root", "alldescendants"})
    return ElementQuery(
        conditions, rest.get("root"), rest.get("alldescendants", "true").lower() != "false", _order(rest)
    )


def parse_attribute_query(text: str) -> AttributeQuery:
    """Read a query of `attributes/search`, whose filter `Element:{...}` is a query for elements.

    Raises:
        RefusedError: 409 for what is no query, or has filters that are not known.
    """
    conditions, rest = _conditions(text, ATTRIBUTE_FIELDS, {"element"})
    elements = parse_element_query(rest.get("element", "").strip("{}"))
    return AttributeQuery(elements, conditions, _order(rest))


def _order(rest: dict[str, str]) -> Order:
    field = rest.get("sortfield", "Name").lower()
    known = {name.lower(): name for name in SORT_FIELDS}
    if field not in known:
        raise RefusedError(409, f"The sort field '{field}' is not supported.")
    return Order(known[field], rest.get("sortorder", "").lower().startswith("desc"))


def _conditions(text: str, fields: Collection[str], others: set[str]) -> tuple[tuple[Condition, ...], dict[str, str]]:
    known = {field.lower(): field for field in fields}
    known |= {alias: field for alias, field in _ALIASES.items() if field in fields}
    conditions = []
    rest = {}
    for name, is_negated, value in _terms(text):
        if name in known:
            listed = re.fullmatch(r"IN\s*\((.*)\)", value, re.IGNORECASE | re.DOTALL)
            values = re.split(r"\s*[;,]\s*", listed[1]) if listed else [value]
            conditions.append(Condition(known[name], tuple(v.strip().strip("\"'") for v in values), is_negated))
        elif name in others | {"sortfield", "sortorder"} and not is_negated:
            rest[name] = value.strip("\"'")
        else:
            raise RefusedError(409, f"The query filter '{name}' is not supported.")
    return tuple(conditions), rest


def _terms(text: str) -> Iterator[tuple[str, bool, str]]:
    text = text.strip()
    position = 0
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None:
            raise RefusedError(409, f"The query could not be understood at '{text[position:]}'.")
        yield (term["filter"] or "Name").lower(), term["operator"] == "<>", term["value"]
        position = term.end()
