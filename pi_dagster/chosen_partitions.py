"""Which partitions somebody means who names days and tag groups on the command line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date

from pi_dagster.automation.frame_days import days_between
from pi_dagster.site import Site


class ChoiceError(ValueError):
    """Days or tag groups that cannot be chosen; the message says why, without a full stop."""


def chosen_days(
    site: Site, first: date | None, last: date | None, *, usual: date, newest: date, why_none_newer: str
) -> Sequence[date]:
    """The days from `first` to `last`, both included; without `last` to `usual`, without `first` that one day.

    Args:
        site: says from when on there are days.
        first: the first day, if somebody has named one.
        last: the last day, likewise.
        usual: the last day where nobody has.
        newest: the newest day that can be chosen.
        why_none_newer: for the message about a day after that.

    Raises:
        ChoiceError: there are none, or some cannot be chosen.
    """
    last = last or max(usual, first or usual)
    first = first or last
    if max(first, last) > newest:
        raise ChoiceError(f"{max(first, last)} {why_none_newer}; the last day that can be chosen is {newest}")
    if first > last:
        raise ChoiceError(f"--from {first} is after --to {last}")
    if first < site.start_date:
        raise ChoiceError(
            f"{first} is before the site's `start_date` {site.start_date}, its first day; set that to an earlier one"
        )
    return days_between(first, last)


def chosen_groups(site: Site, names: Sequence[str]) -> Sequence[str]:
    """The partitions of the tag groups, or single shards of them, with these names; all without names.

    Raises:
        ChoiceError: the site has no such group.
    """
    known: dict[str, Collection[str]] = {name: (name,) for name in site.partition_names()}
    known |= {group.name: group.partition_names() for group in site.tag_groups}
    for name in names:
        if name not in known:
            raise ChoiceError(f"the site has no tag group {name!r} (it has: {', '.join(known)})")
    wanted = {partition for name in names or known for partition in known[name]}
    return [name for name in site.partition_names() if name in wanted]
