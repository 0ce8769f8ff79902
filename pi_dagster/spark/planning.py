"""What a job is to read, found out on the driver: the tags and the window."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from pi_dagster.ingest.errors import NoTagsError
from pi_dagster.ingest.tags import TagList
from pi_dagster.ingest.wildcards import matcher
from pi_dagster.lake import Lake
from pi_dagster.piwebapi import PIWebAPISource, StreamRef
from pi_dagster.piwebapi.objects import Point
from pi_dagster.site import Site
from pi_dagster.spark.filters import NOTHING_LEFT_OUT, Narrowing
from pi_dagster.spark.options import OptionError, ReadOptions
from pi_dagster.spark.tasks import Tag


def tags_to_read(options: ReadOptions, source: PIWebAPISource, narrowing: Narrowing = NOTHING_LEFT_OUT) -> list[Tag]:
    """The tags that the options ask for.

    With a site they are those of the lake's pi_points, so that each has the partition that the assets give it;
    otherwise those that the server lists.

    Args:
        options: of the data source.
        source: the server, asked where there is no site.
        narrowing: what filters leave out.

    Raises:
        OptionError: `tags` names one that is not there.
        IngestError: the site's tags are not known.
        PIWebAPIError: the server cannot be read from.
    """
    if options.site is not None:
        listed = _of_site(options, options.site)
    else:
        listed = [
            Tag(StreamRef(point.web_id, point.name), point.engineering_units or None, None)
            for point in listed_points(options, source)
        ]
    return [tag for tag in listed if narrowing.takes(tag.stream.name, tag.stream.web_id)]


def listed_points(options: ReadOptions, source: PIWebAPISource) -> Iterator[Point]:
    """The tags that the server lists and the options `tag_filter` and `tags` take.

    Raises:
        OptionError: `tags` names one that the server does not list.
        PIWebAPIError: the server cannot be read from.
    """
    if options.tags is None:
        yield from source.list_points(options.tag_filter)
        return
    for name in options.tags:
        found = [point for point in source.list_points(name) if point.name.casefold() == name.casefold()]
        if not found:
            raise OptionError(f"The option `tags` names {name!r}, which the server does not list for this login.")
        yield from found


def window_to_read(
    options: ReadOptions,
    source: PIWebAPISource,
    narrowing: Narrowing = NOTHING_LEFT_OUT,
    *,
    instant: str = "timestamp",
) -> tuple[datetime, datetime]:
    """The window that the options ask for, less what filters leave out.

    Args:
        options: of the data source.
        source: the server, asked for its clock where the options tell no end.
        narrowing: what filters leave out.
        instant: the column that the window is about.

    Raises:
        OptionError: nothing says where to begin.
        PIWebAPIError: the server does not tell the time.
    """
    start = max((bound for bound in (options.start, narrowing.at_least) if bound is not None), default=None)
    if start is None:
        raise OptionError(f"The option `start` is missing, and no filter on `{instant}` says where to begin.")
    end = min((bound for bound in (options.end, narrowing.before) if bound is not None), default=None)
    if end is None:
        end = source.server_time() - timedelta(seconds=options.lag_seconds)
    return start.astimezone(timezone.utc), max(start, end).astimezone(timezone.utc)


def _of_site(options: ReadOptions, site: Site) -> list[Tag]:
    known = TagList(site, Lake(site.lake.uri, site.lake.resolve_storage_options()))
    tags: list[Tag] = []
    for partition in site.partition_names() if options.tag_group is None else (options.tag_group,):
        try:
            of_partition = known.of(partition)
        except NoTagsError:
            if options.tag_group is not None:
                raise
            continue
        tags += [Tag(one, of_partition.units.get(one.web_id), partition) for one in of_partition.streams]
    if options.tag_filter is not None:
        matches = matcher(options.tag_filter)
        return [tag for tag in tags if matches(tag.stream.name)]
    if options.tags is not None:
        by_name = {tag.stream.name.casefold(): tag for tag in tags}
        missing = [name for name in options.tags if name.casefold() not in by_name]
        if missing:
            raise OptionError(
                f"The option `tags` names {missing[0]!r}, which is in no tag group of the site's pi_points."
            )
        return [by_name[name.casefold()] for name in options.tags]
    return tags
