r"""Paths of PI Asset Framework: `\\SERVER\DATABASE\ELEMENT|ATTRIBUTE` taken apart into names, and ours made of them.

A name that holds a character with a meaning in paths stands in brackets, `[A|B]`, possibly with its id, `[A;GUID]`
(docs.aveva.com/bundle/pi-web-api-reference/page/help/topics/path-syntax.html).
"""

from __future__ import annotations

import re
from uuid import UUID

_STEP = re.compile(r"(^|[\\|])(?:\[(.*?)\](?=$|[\\|])|([^\\|]*))", re.DOTALL)
_ABOVE_ELEMENTS = 2
"""The server and the database."""


def split_path(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    r"""The names of the elements below the database, and those of the attributes, without brackets and ids.

    Args:
        path: such as `\\AF\Plant\Site 1\Pump|Flow|Limit`, which gives `(Site 1, Pump)` and `(Flow, Limit)`.
    """
    if "[" not in path:
        elements, *attributes = path.removeprefix("\\\\").split("|")
        return tuple(elements.split("\\")[_ABOVE_ELEMENTS:]), tuple(attributes)
    names: list[str] = []
    attribute_names: list[str] = []
    for separator, bracketed, plain in _STEP.findall(path.removeprefix("\\\\")):
        (attribute_names if separator == "|" else names).append(_without_id(bracketed) if bracketed else plain)
    return tuple(names[_ABOVE_ELEMENTS:]), tuple(attribute_names)


def element_path(path: str) -> str:
    r"""The path as the tables hold it: `/Site 1/Pump` for `\\AF\Plant\Site 1\Pump`."""
    return "/" + "/".join(split_path(path)[0])


def parent_path(path: str) -> str:
    r"""The path of what holds an element: `\\AF\Plant\Site 1` for `\\AF\Plant\Site 1\Pump`."""
    last = [*_STEP.finditer(path.removeprefix("\\\\"))][-1]
    return path[: len(path) - (last.end() - last.start())]


def quoted_name(name: str) -> str:
    """A name as it stands in a path that is sent to PI."""
    return f"[{name}]" if re.search(r"""[*?;{}\[\]|\\"'`]""", name) else name


def _without_id(name: str) -> str:
    head, separator, tail = name.rpartition(";")
    if not separator:
        return name
    try:
        UUID(tail)
    except ValueError:
        return name
    return head
