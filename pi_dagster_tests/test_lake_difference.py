"""What a new reading changes in a partition, counted as its rows pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_dagster.lake.difference import EventChanges, comparing
from pi_dagster_tests.lake_scenarios import Event, batch_of, hour

events_strategy = st.lists(
    st.builds(Event, st.sampled_from("abcd"), st.integers(0, 5).map(hour), st.integers(0, 2), st.floats() | st.none()),
    unique_by=lambda event: (event.tag, event.instant, event.ordinal),
    max_size=20,
).map(lambda events: sorted(events, key=lambda event: (event.tag, event.instant, event.ordinal)))


def batches(events: Sequence[Event], size: int) -> Iterator[pa.RecordBatch]:
    return (batch_of(events[start : start + size]) for start in range(0, len(events), size))


def changes_between(
    old: Sequence[Event], new: Sequence[Event], *, sizes: tuple[int, int] = (3, 2), kept_tags: Sequence[str] = ()
) -> EventChanges:
    changes = EventChanges()
    passed = list(comparing(batches(old, sizes[0]), batches(new, sizes[1]), kept_tags=kept_tags, changes=changes))
    assert sum(batch.num_rows for batch in passed) == len(new)
    return changes


@settings(max_examples=200)
@given(events_strategy, events_strategy, st.integers(1, 7), st.integers(1, 7))
def test_added_changed_and_removed_are_what_two_plain_dicts_say(
    old: list[Event], new: list[Event], old_size: int, new_size: int
) -> None:
    changes = changes_between(old, new, sizes=(old_size, new_size))
    before, after = ({(e.tag, e.instant, e.ordinal): repr(e.value) for e in events} for events in (old, new))
    assert changes.added == Counter(key[0] for key in after.keys() - before.keys())
    assert changes.removed == Counter(key[0] for key in before.keys() - after.keys())
    assert changes.changed == Counter(key[0] for key in before.keys() & after.keys() if before[key] != after[key])


def test_tags_that_keep_their_rows_have_not_changed() -> None:
    changes = changes_between([Event("a", hour(1)), Event("b", hour(1))], [], kept_tags=["a"])
    assert changes == EventChanges(removed=Counter(b=1))


def test_when_it_was_read_is_no_change() -> None:
    (old,) = batches([Event("a", hour(1))], 1)
    at = old.schema.get_field_index("ingestion_timestamp")
    later = old.set_column(at, "ingestion_timestamp", pa.array([hour(2)], pa.timestamp("us", "UTC")))
    changes = EventChanges()
    assert list(comparing(iter([old]), [later], kept_tags=(), changes=changes)) == [later]
    assert changes == EventChanges()
