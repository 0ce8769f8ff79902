"""Does every AF attribute that takes its values from a tag have a tag that pi_points knows?

Such an attribute joins an asset with its data. Where the tag is missing a query by asset silently finds nothing.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pi_dagster.checks.verdict import MOST_NAMED, Verdict, counted
from pi_dagster.lake import AssetAttributesTable, Lake, PointsTable

NAME = "every_attribute_has_its_tag"

DESCRIPTION = """
Every attribute with the data reference PI Point refers to a tag of `pi_points` that the server still lists. Up to
{most:,} may do without (`checks.unknown_tags`); attributes that their element leaves out (excluded) do not count.
"""

_PI_POINT = "PI Point"

_KINDS = {
    "not found": "PI knows no tag by that name, or the login may not see it. Correct the attribute in AF, or the "
    "naming rule of its template; or give the login the right.",
    "not in pi_points": "It is a tag of another Data Archive, or newer than the list of tags: materialize pi_points.",
    "deleted": "The server no longer lists the tag. Point the attribute to the one that took its place, or delete it.",
}
"""How a tag can be missing, and what to do."""


def read_attributes(lake: Lake) -> pa.Table:
    """The attributes that refer to tags: path, configuration, WebID.

    Raises:
        TableMissingError: pi_asset_attributes has not been loaded.
        LakeAccessError: the storage failed.
    """
    return AssetAttributesTable.open(lake, create=False).to_arrow(
        ["attribute_path", "config_string", "tag_webid"],
        where=(pc.field("data_reference") == _PI_POINT) & ~pc.field("is_excluded"),
    )


def read_tags(lake: Lake) -> pa.Table:
    """The tags: WebID and whether the server lists them.

    Raises:
        TableMissingError: pi_points has not been loaded.
        LakeAccessError: the storage failed.
    """
    return PointsTable.open(lake, create=False).to_arrow(["tag_webid", "is_active"])


def judge_attribute_tags(attributes: pa.Table, tags: pa.Table, *, most: int) -> Verdict:
    """Whether not more than `most` attributes lack their tag.

    Args:
        attributes: as `read_attributes` returns them.
        tags: as `read_tags` returns them.
        most: how many may.
    """
    web_ids = attributes["tag_webid"]
    active = tags.filter(tags["is_active"])["tag_webid"]
    is_named = np.asarray(pc.is_valid(web_ids).to_numpy(zero_copy_only=False), bool)
    is_known = np.asarray(pc.is_in(web_ids, tags["tag_webid"].combine_chunks()).to_numpy(zero_copy_only=False), bool)
    is_active = np.asarray(pc.is_in(web_ids, active.combine_chunks()).to_numpy(zero_copy_only=False), bool)
    of_kind = {
        "not found": ~is_named,
        "not in pi_points": is_named & ~is_known,
        "deleted": is_named & is_known & ~is_active,
    }
    counts = {kind: int(np.count_nonzero(is_so)) for kind, is_so in of_kind.items()}
    lacking = sum(counts.values())
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    said = counted(lacking, "attribute lacks its tag", "attributes lack their tags")
    said += f", of {attributes.num_rows:,}: {told}."
    rows = [
        {
            "attribute": row["attribute_path"],
            "configuration": row["config_string"],
            "tag is": kind,
            "what to do": _KINDS[kind],
        }
        for kind, is_so in of_kind.items()
        for row in attributes.take(pa.array(np.flatnonzero(is_so)[:MOST_NAMED])).to_pylist()
    ]
    return Verdict(
        passed=lacking <= most,
        said=said if lacking else f"All {counted(attributes.num_rows, 'attribute')} that refer to a tag have it.",
        numbers={
            "pi/attributes_with_tags": attributes.num_rows,
            "pi/attributes_without_their_tag": lacking,
        },
        offenders=rows[:MOST_NAMED],
    )
