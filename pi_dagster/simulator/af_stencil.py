"""Encoding many objects of one kind: the JSON of one of them with gaps, which the texts of each other fill.

A plant's 400,000 attributes differ in a few texts only, and building each as a tree of dicts would cost minutes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from json.encoder import encode_basestring

import msgspec

from pi_dagster.simulator.selected_fields import SelectedFields

Texts = Mapping[str, object]
"""What differs: by the name of the gap a text, or for gaps that are named like a property of JSON any tree."""

_MOST_KEPT = 10_000
_GAP = re.compile(r"\\u0000(\w+)\\u0000")


class Stencil:
    """A JSON object with gaps.

    Args:
        build: makes the object of its texts.
        gaps: names of the texts; one with a capital is the property of that name, whose value is any tree.
        selected: the fields to keep.
    """

    def __init__(self, build: Callable[[Texts], object], gaps: Iterable[str], selected: SelectedFields) -> None:
        tree = selected.prune(build({name: f"\0{name}\0" for name in gaps}))
        text = msgspec.json.encode(tree).decode().replace("%", "%%")
        text = re.sub(r'"(\\u0000[A-Z]\w+\\u0000)"', r"\1", text)
        self.gaps = frozenset(_GAP.findall(text))
        self._text = _GAP.sub(r"%(\1)s", text)
        self._selected = selected

    def filled(self, texts: Texts) -> str:
        """The object with these texts."""
        return self._text % {name: self._filling(name, texts[name]) for name in self.gaps}

    def _filling(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            return msgspec.json.encode((self._selected.at(name) or self._selected).prune(value)).decode()
        return encode_basestring(value)[1:-1]


class KeptStencils:
    """The stencils of earlier answers: a client asks for the same fields of the same kinds of objects all the time."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Stencil, object]] = {}

    def get(self, kind: Hashable) -> Stencil | None:
        """The stencil of a kind of object, if there is one."""
        kept = self._kept.get(kind)
        return kept[0] if kept is not None else None

    def keep(self, kind: Hashable, stencil: Stencil, held: object = None) -> Stencil:
        """Keep a stencil; `held` is kept with it, so that an `id` in the kind is not given to another object."""
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[kind] = (stencil, held)
        return stencil


def listed(objects: Iterable[str]) -> msgspec.Raw:
    """JSON objects as a list."""
    return msgspec.Raw(f"[{','.join(objects)}]".encode())
