"""Which partition a tag belongs to: the first tag group that matches, and a stable hash within its shards."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from pi_dagster.ingest.asset_tags import AssetTags
from pi_dagster.ingest.wildcards import matcher
from pi_dagster.site import TagGroup

Matcher = Callable[[str, str], bool]
"""Tag name and IDOnly WebID to whether the tag belongs to a group."""


class TagAssigner:
    """Assigns tags to the partitions of a site.

    Args:
        groups: the site's tag groups in their order; the first that matches a tag owns it.
        asset_tags: what groups chosen by AF elements go by; without it they match nothing.
    """

    def __init__(self, groups: Sequence[TagGroup], asset_tags: AssetTags | None = None) -> None:
        known = asset_tags or AssetTags()
        self._groups = [(_matcher(group, known), group.partition_names()) for group in groups]

    def partition_of(self, tag_name: str, tag_webid: str) -> str | None:
        """The partition of a tag, None when no group matches it.

        Args:
            tag_name: compared without regard to case, as PI does.
            tag_webid: IDOnly WebID; the shard is taken from it, so that a renamed tag stays where it is as long as
                its group still matches.
        """
        for matches, partitions in self._groups:
            if matches(tag_name, tag_webid):
                return partitions[zlib.crc32(tag_webid.encode()) % len(partitions)]
        return None


def _matcher(group: TagGroup, asset_tags: AssetTags) -> Matcher:
    if group.tags is not None:
        names = {name.casefold() for name in group.tags}
        return lambda tag_name, _: tag_name.casefold() in names
    if group.uses_assets:
        web_ids = asset_tags.of_group(group)
        return lambda _, tag_webid: tag_webid in web_ids
    matches = matcher(group.tag_filter or "")
    return lambda tag_name, _: matches(tag_name)
