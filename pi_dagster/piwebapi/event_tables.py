"""Events of many streams as Arrow tables in the order of stream, then time, whatever order they were answered in.

Rows are not copied before a table is made, and small answers are put together: what is done with a table costs the
same for few events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter

import numpy as np
import pyarrow as pa

from pi_dagster.piwebapi.answers import StreamEvents
from pi_dagster.piwebapi.decode import EVENT_SCHEMA

_EVENTS_PER_TABLE = 65_536

NAMES = pa.dictionary(pa.int32(), pa.string())

RECORDED_SCHEMA = pa.schema([pa.field("tag_webid", NAMES, nullable=False), *EVENT_SCHEMA, pa.field("units", NAMES)])
"""What a reading yields; timestamps in UTC, microseconds."""


class EventsInOrder:
    """Holds events until all that come before them have been passed on.

    Args:
        web_ids: the streams in their order.
        dropped: WebIDs whose events are not passed on; may grow meanwhile.
    """

    def __init__(self, web_ids: Iterable[str], dropped: Collection[str]) -> None:
        self._web_ids = list(web_ids)
        self._dropped = dropped
        self._position = 0
        self._held: dict[str, list[tuple[int, StreamEvents]]] = {}
        self._ready: list[tuple[str, StreamEvents]] = []
        self._ready_rows = 0

    def hold(self, start_us: int, pieces: Mapping[str, StreamEvents]) -> None:
        """Take events of some streams, by WebID, from a stretch of time that begins at `start_us`."""
        for web_id, events in pieces.items():
            if events.rows:
                self._held.setdefault(web_id, []).append((start_us, events))

    def release(self, until: tuple[int, int] | None) -> Iterator[pa.Table]:
        """Tables of RECORDED_SCHEMA with what comes before a stream's position and an instant.

        Args:
            until: from where on something may still be missing; None when all events are here.
        """
        position, start_us = until or (len(self._web_ids), 0)
        while self._position < position:
            self._pass_on(self._web_ids[self._position], None)
            self._position += 1
            if self._ready_rows >= _EVENTS_PER_TABLE:
                yield self._table()
        if until is not None:
            self._pass_on(self._web_ids[position], start_us)
        if self._ready_rows >= _EVENTS_PER_TABLE or (until is None and self._ready):
            yield self._table()

    def _pass_on(self, web_id: str, before_us: int | None) -> None:
        held = self._held.pop(web_id, None)
        if held is None or web_id in self._dropped:
            return
        held.sort(key=itemgetter(0))
        for start_us, events in held:
            if before_us is None or start_us < before_us:
                self._ready.append((web_id, events))
                self._ready_rows += events.rows
            else:
                self._held.setdefault(web_id, []).append((start_us, events))

    def _table(self) -> pa.Table:
        pieces, self._ready, self._ready_rows = self._ready, [], 0
        codes: dict[str, int] = {}
        units: dict[str, int] = {}
        tag_codes = [codes.setdefault(web_id, len(codes)) for web_id, _ in pieces]
        unit_codes = [units.setdefault(events.units, len(units)) for _, events in pieces]
        counts = [events.rows for _, events in pieces]
        table = pa.concat_tables(_slices([events for _, events in pieces]))
        return pa.Table.from_arrays(
            [_repeated(tag_codes, counts, list(codes)), *table.columns, _repeated(unit_codes, counts, list(units))],
            schema=RECORDED_SCHEMA,
        )


def _slices(pieces: Sequence[StreamEvents]) -> list[pa.Table]:
    """The pieces as slices of their tables, neighbours in one."""
    slices: list[pa.Table] = []
    block, first, last = pieces[0].block, pieces[0].first, pieces[0].first
    for piece in pieces:
        if piece.block is not block or piece.first != last:
            slices.append(block.table.slice(first, last - first))
            block, first = piece.block, piece.first
        last = piece.first + piece.rows
    slices.append(block.table.slice(first, last - first))
    return slices


def _repeated(codes: list[int], counts: list[int], names: list[str]) -> pa.Array:
    indices = pa.array(np.repeat(np.array(codes, np.int32), counts))
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))
