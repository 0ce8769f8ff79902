"""Finding elements and attributes below a place of an asset database: filters, order, pages.

What was found is kept as arrays of numbers while the database does not change, as AF keeps a search between its pages:
turning a page costs nothing, and a change in between shifts the pages.
Source: PI Web API reference, actions `getelements`, `getattributes` and `findelementattributes`; AF SDK reference,
`AFElement.FindElements`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pi_dagster.simulator.af_model import AssetDatabase, Element, PlacedAttribute
from pi_dagster.simulator.archive import name_pattern

_KEPT = 16

SORT_FIELDS = ("Name", "ID", "Description", "Type")


@dataclass(frozen=True)
class Scope:
    """Where is searched: below an element or, with None, the whole database, to the end of the hierarchy or one level.

    `repeats` lists an element once for each of its parents in the scope. `with_root` adds the element itself.
    """

    database: AssetDatabase
    root: int | None = None
    is_full: bool = False
    repeats: bool = True
    with_root: bool = False


@dataclass(frozen=True)
class Order:
    """By which field a search is sorted; what is equal stays as it was found."""

    field: str = "Name"
    is_descending: bool = False


class Condition(NamedTuple):
    """What a property must be: one of the values, which may have wildcards, or none of them."""

    field: str
    values: tuple[str, ...]
    is_negated: bool = False


_ELEMENT_TEXTS: dict[str, Callable[[AssetDatabase, Element], Sequence[str]]] = {
    "Name": lambda database, element: (element.name,),
    "ID": lambda database, element: (str(element.id),),
    "Description": lambda database, element: (element.description,),
    "Category": lambda database, element: element.category_names,
    "Template": lambda database, element: database.template_line(element.template_name),
    "Type": lambda database, element: (element.element_type,),
}
_ATTRIBUTE_TEXTS: dict[str, Callable[[PlacedAttribute], Sequence[str]]] = {
    "Name": lambda placed: (placed.template.name,),
    "Description": lambda placed: (placed.template.description,),
    "Category": lambda placed: placed.template.category_names,
    "Template": lambda placed: (placed.element_template.name,) if placed.element_template else (),
    "Type": lambda placed: (placed.template.value_type,),
    "PlugIn": lambda placed: (placed.template.data_reference,),
    "Trait": lambda placed: (placed.template.trait,),
}
ELEMENT_FIELDS = tuple(_ELEMENT_TEXTS)
ATTRIBUTE_FIELDS = tuple(_ATTRIBUTE_TEXTS)


class AttributeFilter(NamedTuple):
    """Which attributes of an element are wanted: those that fulfil the conditions, of the kinds that are asked for."""

    conditions: tuple[Condition, ...] = ()
    nested: bool = True
    hidden: bool = True
    excluded: bool = True

    def places(self, attributes: Sequence[PlacedAttribute]) -> list[int]:
        """The places of those that are wanted."""
        patterns = [(_ATTRIBUTE_TEXTS[condition.field], _test_of(condition)) for condition in self.conditions]
        return [
            place
            for place, placed in enumerate(attributes)
            if self._is_shown(placed) and all(test(texts(placed)) for texts, test in patterns)
        ]

    def _is_shown(self, placed: PlacedAttribute) -> bool:
        if placed.depth and not self.nested:
            return False
        at: PlacedAttribute | None = placed
        while at is not None:
            if (at.template.is_hidden and not self.hidden) or (at.template.is_excluded and not self.excluded):
                return False
            at = at.parent
        return True


def _test_of(condition: Condition) -> Callable[[Sequence[str]], bool]:
    patterns = [name_pattern(value).match for value in condition.values]
    return lambda texts: any(match(text) for match in patterns for text in texts) is not condition.is_negated


def _element_test(database: AssetDatabase, conditions: Sequence[Condition]) -> Callable[[int], bool] | None:
    if not conditions:
        return None
    tests = [(_ELEMENT_TEXTS[condition.field], _test_of(condition)) for condition in conditions]

    def is_wanted(number: int) -> bool:
        element = database.element(number)
        return all(test(texts(database, element)) for texts, test in tests)

    return is_wanted


def elements_in(scope: Scope) -> Iterator[int]:
    """The elements of a scope, level by level; those below an element that was met before are not listed again."""
    database = scope.database
    if scope.with_root and scope.root is not None:
        yield scope.root
    level: list[int | None] = [scope.root]
    met: set[int] = {scope.root} if scope.root is not None else set()
    while level:
        below: list[int | None] = []
        for above in level:
            for number in database.children(above):
                if number in met:
                    if scope.repeats:
                        yield number
                    continue
                met.add(number)
                yield number
                if scope.is_full:
                    below.append(number)
        level = below


def find_elements(scope: Scope, wanted: tuple[Condition, ...], order: Order) -> Sequence[int]:
    """The numbers of the elements that a search finds, in order; a search of a hierarchy is kept for its next pages."""
    return _find_in_hierarchy(scope, wanted, order) if scope.is_full else _find_elements(scope, wanted, order)


@lru_cache(maxsize=_KEPT)
def _find_in_hierarchy(scope: Scope, wanted: tuple[Condition, ...], order: Order) -> array[int]:
    return array("i", _find_elements(scope, wanted, order))


def _find_elements(scope: Scope, wanted: tuple[Condition, ...], order: Order) -> list[int]:
    test = _element_test(scope.database, wanted)
    numbers = list(elements_in(scope) if test is None else filter(test, elements_in(scope)))
    return [numbers[at] for at in _sorted([_element_key(scope.database, n, order.field) for n in numbers], order)]


def _element_key(database: AssetDatabase, number: int, field: str) -> str:
    element = database.element(number)
    if field == "Name":
        return element.name.upper()
    if field == "ID":
        return str(element.id)
    return (element.description if field == "Description" else element.template_name).upper()


class FoundAttributes(NamedTuple):
    """Attributes by the numbers of their elements and their places among the element's."""

    numbers: NDArray[np.int32]
    places: NDArray[np.int16]


@lru_cache(maxsize=_KEPT)
def find_attributes(
    scope: Scope, elements: tuple[Condition, ...], wanted: AttributeFilter, order: Order
) -> FoundAttributes:
    """The attributes that a search of elements' attributes finds, in order."""
    test = _element_test(scope.database, elements)
    found: dict[int, tuple[tuple[PlacedAttribute, ...], list[int], list[int]]] = {}
    for rank, number in enumerate(elements_in(scope)):
        if test is None or test(number):
            attributes = scope.database.placed_attributes(number)
            alike = found.setdefault(id(attributes), (attributes, [], []))
            alike[1].append(number)
            alike[2].append(rank)
    numbers: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    places: list[NDArray[np.int16]] = [np.empty(0, np.int16)]
    ranks: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    keys: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    names: dict[str, int] = {}
    for attributes, alike_numbers, alike_ranks in found.values():
        for place in wanted.places(attributes):
            key = names.setdefault(attribute_key(attributes[place], order.field), len(names))
            numbers.append(np.array(alike_numbers, np.int32))
            places.append(np.full(len(alike_numbers), place, np.int16))
            ranks.append(np.array(alike_ranks, np.int32))
            keys.append(np.full(len(alike_numbers), key, np.int32))
    key_ranks = np.empty(len(names), np.int32)
    key_ranks[_sorted(list(names), order)] = np.arange(len(names))
    every_place = np.concatenate(places)
    in_order = np.lexsort((every_place, np.concatenate(ranks), key_ranks[np.concatenate(keys)]))
    return FoundAttributes(np.concatenate(numbers)[in_order], every_place[in_order])


def order_attributes(attributes: Sequence[PlacedAttribute], order: Order) -> list[int]:
    """The places of the attributes in their order."""
    return _sorted([attribute_key(placed, order.field) for placed in attributes], order)


def attribute_key(placed: PlacedAttribute, field: str) -> str:
    """What attributes are sorted by where they are sorted by a field."""
    template = placed.template
    if field == "Name":
        return template.name.upper()
    if field == "ID":
        return str(placed.id)
    return (template.description if field == "Description" else template.value_type).upper()


def _sorted(keys: list[str], order: Order) -> list[int]:
    """The positions of the keys in their order."""
    return sorted(range(len(keys)), key=keys.__getitem__, reverse=order.is_descending)
