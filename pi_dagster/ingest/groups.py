"""Which partition a tag belongs to: the first tag group that matches, and a stable hash within its shards."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

from pi_dagster.site import TagGroup


class TagAssigner:
    """Assigns tags to the partitions of a site.

    Args:
        groups: the site's tag groups in their order; the first that matches a tag owns it.
    """

    def __init__(self, groups: Sequence[TagGroup]) -> None:
        self._groups = [(_matcher(group), group.partition_names()) for group in groups]

    def partition_of(self, tag_name: str, tag_webid: str) -> str | None:
        """The partition of a tag, None when no group matches it.

        Args:
            tag_name: compared without regard to case, as PI does.
            tag_webid: IDOnly WebID; the shard is taken from it, so that a renamed tag stays where it is as long as
                its group still matches.
        """
        for matches, partitions in self._groups:
            if matches(tag_name):
                return partitions[zlib.crc32(tag_webid.encode()) % len(partitions)]
        return None


def _matcher(group: TagGroup) -> Callable[[str], bool]:
    if group.tags is not None:
        names = {name.casefold() for name in group.tags}
        return lambda tag_name: tag_name.casefold() in names
    pattern = re.compile(_regex(group.tag_filter or ""), re.IGNORECASE | re.DOTALL)
    return lambda tag_name: pattern.fullmatch(tag_name) is not None


def _regex(tag_filter: str) -> str:
    """PI's wildcards are `*` and `?` only; brackets are letters like any other."""
    return "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in tag_filter)
