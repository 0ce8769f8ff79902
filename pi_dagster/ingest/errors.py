"""What can go wrong between reading tags and committing their partition.

IngestError
├── PointsMissingError        the list of tags has not been loaded yet
├── NoTagsError               a tag group that matches no tag, or a server that lists none
├── TagsLostError             too many tags are gone at once; nothing was committed
├── LakeOfAnotherServerError  the lake holds the tags of another Data Archive
├── NoElementsError           no AF element that the site asks for
├── AssetsLostError           too much of AF is gone at once; nothing was committed
├── AssetsMissingError        tag groups go by the AF tables, which have not been loaded yet
├── TagsFailedError           some tags could not be read whole; nothing was committed
├── RemotePartitionError      another machine could not load a partition
└── FramesFailedError         attributes of some event frames could not be read; nothing was committed
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pi_dagster.ingest.report import FailedFrame, FailedTag
from pi_dagster.ingest.window import Window
from pi_dagster.lake.errors import WindowConflictError
from pi_dagster.piwebapi import errors as piwebapi

_MOST_NAMED = 5


class IngestError(Exception):
    """Root of the errors of a load; the server's and the lake's own errors pass through as they are."""


class PointsMissingError(IngestError):
    """pi_points has no rows yet, so no partition knows its tags."""


class NoTagsError(IngestError):
    """A tag group without tags, or a server that lists none: nearly always a wrong filter or a missing right."""


class TagsLostError(IngestError):
    """More tags are gone than are likely to be deleted at once; the list that was loaded before stays."""


class LakeOfAnotherServerError(IngestError):
    """Two Data Archives in one lake would take each other's tags for deleted."""


class NoElementsError(IngestError):
    """No AF element is there: nearly always a wrong filter or a missing right."""


class AssetsLostError(IngestError):
    """More of AF is gone than is likely to be deleted at once; what was loaded before stays."""


class AssetsMissingError(IngestError):
    """pi_asset_hierarchy or pi_asset_attributes has not been loaded yet."""


class TagsFailedError(IngestError):
    """Tags that could not be read whole, while the site says `on_tag_error: fail`.

    Args:
        partition: what was to be loaded, for the message.
        failed_tags: all of them, with their errors.
        window: what was read of it, where pi_tag_errors is to be told.
        gone_tags: tags that the server does not have any more, which alone would fail nothing.
    """

    def __init__(
        self,
        partition: str,
        failed_tags: Sequence[FailedTag],
        *,
        window: Window | None = None,
        gone_tags: Sequence[FailedTag] = (),
    ) -> None:
        self.window = window
        self.failed_tags = tuple(failed_tags)
        self.gone_tags = tuple(gone_tags)
        named = "; ".join(f"{tag.tag_name}: {tag.error}" for tag in self.failed_tags[:_MOST_NAMED])
        more = f"; and {len(self.failed_tags) - _MOST_NAMED} more" if len(self.failed_tags) > _MOST_NAMED else ""
        super().__init__(
            f"{len(self.failed_tags)} tags of {partition} could not be read whole, so nothing of it was committed "
            f"({named}{more}). Load it again when the cause is gone, or set "
            "`on_tag_error: keep` to commit the other tags."
        )


class RemotePartitionError(IngestError):
    """A partition that another machine loads for us failed there; the message is that machine's."""


class FramesFailedError(IngestError):
    """Event frames whose attributes could not be read, while the site says `on_tag_error: fail`.

    Args:
        day: the day that the frames start on.
        failed_frames: all of them, with their errors.
    """

    def __init__(self, day: date, failed_frames: Sequence[FailedFrame]) -> None:
        self.failed_frames = tuple(failed_frames)
        named = "; ".join(f"{frame.event_name}: {frame.error}" for frame in self.failed_frames[:_MOST_NAMED])
        more = f"; and {len(self.failed_frames) - _MOST_NAMED} more" if len(self.failed_frames) > _MOST_NAMED else ""
        super().__init__(
            f"The attributes of {len(self.failed_frames)} event frames of {day} could not be read, so nothing of the "
            f"day was committed ({named}{more}). Load it again when the cause is gone; or set `on_tag_error: keep` to "
            "commit those frames without new attribute values."
        )

    @property
    def may_be_deleted(self) -> bool:
        """True when a list of frames that is read again may lack those that failed."""
        return all(frame.may_be_deleted for frame in self.failed_frames)


PARTITION_ERRORS = (
    TagsFailedError,
    FramesFailedError,
    NoTagsError,
    RemotePartitionError,
    WindowConflictError,
    piwebapi.BrokenAnswerError,
    piwebapi.RequestRefusedError,
    piwebapi.AnswerTooLargeError,
    piwebapi.StreamMissingError,
    piwebapi.TooManyEqualTimesError,
)
"""Errors of one partition that say nothing about the next one. After any other, such as a server that does not
answer or a lake that cannot be written, the next partition would fail in the same way and is not tried."""
