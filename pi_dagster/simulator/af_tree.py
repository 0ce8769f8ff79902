"""A small AF database that is built by hand and can be changed while it is served: what tests plant their trees in.

tree = TreeDatabase("Plant", element_templates=[pump])
site = tree.add("Site 1")
tree.add("Pump", parent=site, template="Pump", tags={"Flow": "PMP01.FLOW"})
tree.rename(site, "Site 2")
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pi_dagster.simulator.af_model import (
    PI_POINT,
    AssetDatabase,
    Attribute,
    AttributeTemplate,
    Element,
    PlacedAttribute,
    place_attributes,
)


class TreeDatabase(AssetDatabase):
    """An AF database in memory; takes the arguments of `AssetDatabase`. Safe to change from any thread."""

    def __init__(self, name: str, **content: Any) -> None:
        super().__init__(name, **content)
        self._lock = threading.RLock()
        self._elements: dict[int, Element] = {}
        self._numbers: dict[UUID, int] = {}
        self._children: dict[int | None, tuple[int, ...]] = {None: ()}
        self._parents: dict[int, tuple[int | None, ...]] = {}
        self._own: dict[int, tuple[AttributeTemplate, ...]] = {}
        self._placed: dict[int, tuple[PlacedAttribute, ...]] = {}
        self._tags: dict[tuple[int, str], str] = {}
        self._values: dict[tuple[int, str], object] = {}
        self._last = -1
        self._frozen: TreeDatabase | None = None

    def children(self, number: int | None) -> Sequence[int]:
        """The elements below one, in the order they were put there."""
        return self._children[number]

    def parents(self, number: int) -> Sequence[int | None]:
        """The elements that hold one, the primary parent first."""
        return self._parents[number]

    def element(self, number: int) -> Element:
        """What an element is."""
        return self._elements[number]

    def number_of(self, element_id: UUID) -> int | None:
        """The element with that id."""
        return self._numbers.get(element_id)

    def placed_attributes(self, number: int) -> tuple[PlacedAttribute, ...]:
        """The attributes of the element's template, then its own."""
        return self._placed[number]

    def attribute(self, number: int, placed: PlacedAttribute) -> Attribute:
        """One of an element's attributes."""
        key = (number, placed.path)
        tag = self._tags.get(key, "") if placed.template.data_reference == PI_POINT else None
        return Attribute(placed, tag, self._values.get(key, placed.template.value))

    def snapshot(self) -> TreeDatabase:
        """The tree as it is now, which no change reaches; the same object until there is a change."""
        with self._lock:
            if self._frozen is None:
                frozen = TreeDatabase.__new__(TreeDatabase)
                frozen.__dict__.update(self.__dict__)
                for name in ("_elements", "_numbers", "_children", "_parents", "_placed", "_tags", "_values"):
                    setattr(frozen, name, dict(getattr(self, name)))
                self._frozen = frozen._frozen = frozen
            return self._frozen

    def add(
        self,
        name: str,
        *,
        parent: UUID | None = None,
        template: str = "",
        attributes: Sequence[AttributeTemplate] = (),
        tags: Mapping[str, str] | None = None,
        values: Mapping[str, object] | None = None,
        id: UUID | None = None,
        **fields: Any,
    ) -> UUID:
        """Add an element; returns its id.

        Args:
            name: its name.
            parent: the element it is put below; None is the database.
            template: name of its template.
            attributes: attributes it has beside the template's.
            tags: the tags its PI Point attributes refer to, by `Attribute` or `Attribute|Nested`.
            values: what its static attributes hold, where that is not the template's.
            id: its id; None makes one that no other element has.
            fields: the other fields of `Element`.
        """
        with self._lock:
            number = self._last = self._last + 1
            element_id = id or uuid.uuid5(self.id, str(number))
            above = self._numbers[parent] if parent else None
            self._elements[number] = Element(element_id, name, template_name=template, **fields)
            self._numbers[element_id] = number
            self._children[number] = ()
            self._parents[number] = ()
            self._own[number] = tuple(attributes)
            self._place(number)
            self._tags.update({(number, path): tag for path, tag in (tags or {}).items()})
            self._values.update({(number, path): value for path, value in (values or {}).items()})
            self._hold(above, number)
        return element_id

    def add_reference(self, element_id: UUID, parent: UUID | None) -> None:
        """Show an element below one more parent, which may also lie below it (a weak reference)."""
        with self._lock:
            self._hold(self._numbers[parent] if parent else None, self._numbers[element_id])

    def remove_reference(self, element_id: UUID, parent: UUID | None) -> None:
        """Take an element from below a parent that is not its primary one."""
        with self._lock:
            number, above = self._numbers[element_id], self._numbers[parent] if parent else None
            if self._parents[number][0] == above:
                raise ValueError("the primary parent holds the element: move or delete it")
            self._let_go(above, number)

    def edit(self, element_id: UUID, **fields: Any) -> None:
        """Change fields of an element (`Element`), such as its description or template."""
        with self._lock:
            number = self._numbers[element_id]
            self._elements[number] = self._elements[number]._replace(**fields)
            self._place(number)
            self._frozen = None

    def rename(self, element_id: UUID, name: str) -> None:
        """Give an element another name; its id stays."""
        self.edit(element_id, name=name)

    def move(self, element_id: UUID, parent: UUID | None) -> None:
        """Put an element with all below it under another primary parent; its id stays."""
        with self._lock:
            number, above = self._numbers[element_id], self._numbers[parent] if parent else None
            self._let_go(self._parents[number][0], number)
            if above in self._parents[number]:
                self._let_go(above, number)
            self._hold(above, number)
            self._parents[number] = (above, *self._parents[number][:-1])

    def delete(self, element_id: UUID) -> None:
        """Delete an element with all whose primary path leads through it, and all references to them."""
        with self._lock:
            number = self._numbers[element_id]
            for child in self._children[number]:
                if self._parents[child][0] == number:
                    self.delete(self._elements[child].id)
                else:
                    self._let_go(number, child)
            for parent in self._parents[number]:
                self._let_go(parent, number)
            del self._numbers[element_id], self._elements[number], self._children[number]
            del self._parents[number], self._own[number], self._placed[number]

    def add_attribute(self, element_id: UUID, template: AttributeTemplate, *, tag: str = "") -> None:
        """Give an element an attribute of its own, for a PI Point with the tag that it refers to."""
        with self._lock:
            number = self._numbers[element_id]
            self._own[number] = (*self._own[number], template)
            self._place(number)
        if tag:
            self.set_tag(element_id, template.name, tag)

    def delete_attribute(self, element_id: UUID, name: str) -> None:
        """Take an attribute of its own from an element."""
        with self._lock:
            number = self._numbers[element_id]
            self._own[number] = tuple(own for own in self._own[number] if own.name != name)
            self._place(number)
            self._frozen = None

    def set_tag(self, element_id: UUID, attribute: str, tag: str) -> None:
        """Let a PI Point attribute, `Name` or `Name|Nested`, refer to another tag."""
        with self._lock:
            self._tags[self._numbers[element_id], attribute] = tag
            self._frozen = None

    def set_value(self, element_id: UUID, attribute: str, value: object) -> None:
        """Let a static attribute, `Name` or `Name|Nested`, hold another value."""
        with self._lock:
            self._values[self._numbers[element_id], attribute] = value
            self._frozen = None

    def _place(self, number: int) -> None:
        element, own = self._elements[number], self._own[number]
        placed = self.template_attributes(element.template_name)
        self._placed[number] = (*placed, *place_attributes(element.id, own)) if own else placed

    def _hold(self, parent: int | None, number: int) -> None:
        self._children[parent] = (*self._children[parent], number)
        self._parents[number] = (*self._parents[number], parent)
        self._frozen = None

    def _let_go(self, parent: int | None, number: int) -> None:
        self._children[parent] = tuple(child for child in self._children[parent] if child != number)
        self._parents[number] = tuple(above for above in self._parents[number] if above != parent)
        self._frozen = None
