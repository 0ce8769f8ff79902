"""The `selectedFields` parameter: which properties of an answer are sent, everything else is left out.

It removes links, `Errors` and flags just as readily as values; a client that forgets to list them does not get
them. Source: PI Web API reference, topic `selected-fields`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class SelectedFields:
    """A tree of selected property names in lower case; a node without children selects all below it."""

    children: dict[str, SelectedFields] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> SelectedFields:
        """Read a list such as `Items.Timestamp;Items.Value;Links.Next`; None or empty selects everything."""
        root = cls()
        whole: list[SelectedFields] = []
        for path in filter(None, (path.strip() for path in (text or "").split(";"))):
            node = root
            for name in path.split("."):
                node = node.children.setdefault(name.strip().lower(), cls())
            whole.append(node)
        for node in whole:
            node.children.clear()
        return root

    def at(self, *names: str) -> SelectedFields | None:
        """What is selected below a path of properties; None where the path itself is not selected."""
        node = self
        for name in names:
            if not node.children:
                return node
            if name.lower() not in node.children:
                return None
            node = node.children[name.lower()]
        return node

    def among(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the given properties that are selected here, in their order."""
        return tuple(name for name in names if not self.children or name.lower() in self.children)

    @property
    def is_deep(self) -> bool:
        """Whether something below a property of this node is selected, rather than whole properties."""
        return any(child.children for child in self.children.values())

    def prune(self, tree: object) -> object:
        """The tree (dicts, lists, leaves) without the properties that are not selected."""
        if not self.children:
            return tree
        if isinstance(tree, dict):
            kept = ((name, value, self.children.get(name.lower())) for name, value in tree.items())
            return {name: child.prune(value) for name, value, child in kept if child is not None}
        if isinstance(tree, list):
            return [self.prune(item) for item in tree]
        return tree
