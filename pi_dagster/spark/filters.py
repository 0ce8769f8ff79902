"""What filters of a query leave out, so that it is not read from PI.

Spark applies all filters itself afterwards, so a filter that is not understood here costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql.datasource import EqualTo, Filter, GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Narrowing:
    """The rows that are wanted: those of some tags within some time; None where everything is."""

    at_least: datetime | None = None
    before: datetime | None = None
    names: frozenset[str] | None = None
    web_ids: frozenset[str] | None = None

    @classmethod
    def by(cls, filters: Iterable[Filter], *, instant: str = "timestamp") -> Narrowing:
        """What is wanted where all of `filters` hold.

        Args:
            filters: of a query.
            instant: the column that a window is about.
        """
        narrowing = cls()
        for condition in filters:
            narrowing = narrowing._and(condition, instant)
        return narrowing

    def takes(self, name: str, web_id: str) -> bool:
        """Whether a tag has rows that are wanted."""
        return (self.names is None or name in self.names) and (self.web_ids is None or web_id in self.web_ids)

    def _and(self, condition: Filter, instant: str) -> Narrowing:
        # Not at the top, as Spark 4.0 has none of them; it shows data sources no filters.
        from pyspark.sql.datasource import EqualTo, GreaterThan, GreaterThanOrEqual, In, LessThan, LessThanOrEqual

        if isinstance(condition, (EqualTo, In)):
            values = frozenset(condition.value if isinstance(condition, In) else (condition.value,))
            if condition.attribute == ("tag_name",):
                return replace(self, names=values if self.names is None else self.names & values)
            if condition.attribute == ("tag_webid",):
                return replace(self, web_ids=values if self.web_ids is None else self.web_ids & values)
        if not isinstance(condition, (EqualTo, GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual)):
            return self
        is_instant = isinstance(condition.value, datetime) and condition.value.tzinfo is not None
        return self._within(condition) if condition.attribute == (instant,) and is_instant else self

    def _within(self, condition: EqualTo | GreaterThan | GreaterThanOrEqual | LessThan | LessThanOrEqual) -> Narrowing:
        from pyspark.sql.datasource import EqualTo, GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual

        narrowing, instant = self, condition.value
        if isinstance(condition, (EqualTo, GreaterThan, GreaterThanOrEqual)):
            first = instant + _MICROSECOND if isinstance(condition, GreaterThan) else instant
            narrowing = replace(narrowing, at_least=first if self.at_least is None else max(first, self.at_least))
        if isinstance(condition, (EqualTo, LessThan, LessThanOrEqual)):
            end = instant if isinstance(condition, LessThan) else instant + _MICROSECOND
            narrowing = replace(narrowing, before=end if self.before is None else min(end, self.before))
        return narrowing


NOTHING_LEFT_OUT = Narrowing()
