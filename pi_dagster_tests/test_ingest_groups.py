"""Which partition a tag falls into."""

from __future__ import annotations

from collections import Counter

import pytest

from pi_dagster.ingest.groups import TagAssigner
from pi_dagster.site import TagGroup

BOILERS = TagGroup(name="boilers", tag_filter="BLR*")


@pytest.mark.parametrize(
    ("tag_filter", "tag_name", "matches"),
    [
        ("BLR*", "blr01.flow", True),
        ("BLR*", "XBLR01", False),
        ("BLR0?.PV", "BLR01.PV", True),
        ("BLR0?.PV", "BLR012.PV", False),
        ("A.B", "AxB", False),
        ("[a]*", "[A]1", True),
        ("[a]*", "a1", False),
        ("*", "", True),
        ("Ü*", "ünit", True),
    ],
)
def test_a_filter_knows_only_star_and_question_mark(tag_filter: str, tag_name: str, matches: bool) -> None:
    assigner = TagAssigner([TagGroup(name="g", tag_filter=tag_filter)])
    assert (assigner.partition_of(tag_name, "W") == "g") is matches


def test_the_first_group_that_matches_owns_the_tag() -> None:
    rest = TagGroup(name="rest", tag_filter="*")
    assert TagAssigner([BOILERS, rest]).partition_of("BLR01", "W") == "boilers"
    assert TagAssigner([rest, BOILERS]).partition_of("BLR01", "W") == "rest"


def test_a_tag_that_no_group_matches_has_no_partition() -> None:
    assert TagAssigner([BOILERS]).partition_of("PMP01", "W") is None


def test_a_list_of_tags_is_not_case_sensitive() -> None:
    assigner = TagAssigner([TagGroup(name="g", tags=("Sinusoid", "CDT158"))])
    assert assigner.partition_of("SINUSOID", "W") == "g"
    assert assigner.partition_of("SINUSOID2", "W") is None


def test_shards_are_stable_under_rename_and_even() -> None:
    group = TagGroup(name="pumps", tag_filter="*", shards=4)
    assigner = TagAssigner([group])
    shards = Counter(assigner.partition_of("PMP", f"I1DP{number:028d}") for number in range(4000))
    assert set(shards) == {"pumps-00", "pumps-01", "pumps-02", "pumps-03"}
    assert min(shards.values()) > 850
    assert assigner.partition_of("a", "I1DPx") == assigner.partition_of("b", "I1DPx")


def test_the_shard_of_a_webid_never_changes() -> None:
    """A change would move every tag of every site to another partition."""
    assigner = TagAssigner([TagGroup(name="g", tag_filter="*", shards=100)])
    assert assigner.partition_of("SINUSOID", "I1DPWH50K8QNs0mNNARckNKhJAAQAAAA") == "g-26"
