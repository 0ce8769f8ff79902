"""Events of many streams as one Arrow table in a given order: pieces of answers put together without copying rows.

What is done with a table costs the same for few events, so small answers are put together to larger ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pi_dagster.piwebapi.answers import StreamEvents
from pi_dagster.piwebapi.decode import EVENT_SCHEMA

_EVENTS_PER_TABLE = 65_536

NAMES = pa.dictionary(pa.int32(), pa.string())

RECORDED_SCHEMA = pa.schema([pa.field("tag_webid", NAMES, nullable=False), *EVENT_SCHEMA, pa.field("units", NAMES)])
"""What a reading yields; timestamps in UTC, microseconds."""


class TableBuilder:
    """Collects events in the order in which they are to come, until they are worth a table."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, StreamEvents]] = []
        self._count = 0

    def add(self, web_id: str, events: StreamEvents) -> None:
        """Add events of one stream behind those that are there."""
        if events.rows:
            self._pieces.append((web_id, events))
            self._count += events.rows

    @property
    def is_large(self) -> bool:
        """Whether there are enough events for a table."""
        return self._count >= _EVENTS_PER_TABLE

    def flush(self) -> Iterator[pa.Table]:
        """One table of RECORDED_SCHEMA with all events, or none where there are no events; starts anew."""
        if not self._pieces:
            return
        pieces, self._pieces, self._count = self._pieces, [], 0
        codes: dict[str, int] = {}
        units: dict[str, int] = {}
        tag_codes = [codes.setdefault(web_id, len(codes)) for web_id, _ in pieces]
        unit_codes = [units.setdefault(events.units, len(units)) for _, events in pieces]
        counts = [events.rows for _, events in pieces]
        table = pa.concat_tables(_slices([events for _, events in pieces]))
        yield pa.Table.from_arrays(
            [
                _repeated(tag_codes, counts, list(codes)),
                *table.columns,
                _repeated(unit_codes, counts, list(units)),
            ],
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
