"""The rules of a site about its data: which tags each one is about, and what it calls a fault.

A rule is judged on one UTC day of one tag group at a time, so what is told by two days, such as a gap over midnight,
counts only as far as it lies in a day. Rules about numbers look at good numbers only; system states such as `Shutdown`
and bad values are neither faults nor part of a comparison. `pi_dagster/quality/` does the judging.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pi_dagster.settings_model import SettingsModel

RULE_NAME_PATTERN = r"^[A-Za-z0-9_]+$"
"""The name becomes that of an asset check, which Dagster restricts."""

RESERVED_RULE_NAMES = ("columns_as_designed",)
"""Checks that pi_quality_findings has besides those of the rules: Dagster takes no name twice."""


class Rule(SettingsModel):
    """What all rules have: a name, how bad a finding is, and the tags; without any of these it is about all tags."""

    name: str = Field(pattern=RULE_NAME_PATTERN, max_length=60, description="Its name: letters, digits and `_`.")
    severity: Literal["warn", "error"] = Field(default="warn", description="How the check shows a finding.")
    tags: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Tag names; `*` and `?` stand for anything, and case does not count."
    )
    tag_groups: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Tag groups of the site; all shards of each."
    )
    af_template: str | None = Field(
        default=None, min_length=1, description="Template of the AF elements whose attributes refer to the tags."
    )


class RangeRule(Rule):
    """A number below `low` or above `high`; without both, outside the point's own zero and span."""

    kind: Literal["range"]
    low: float | None = Field(default=None, description="The least that is allowed, in the tag's units.")
    high: float | None = Field(default=None, description="The most that is allowed, in the tag's units.")

    @model_validator(mode="after")
    def _is_a_range(self) -> RangeRule:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"`low` ({self.low:g}) must be less than `high` ({self.high:g})")
        return self


class RateRule(Rule):
    """Two numbers that follow each other and differ by more than could be in the time between them."""

    kind: Literal["rate_of_change"]
    most_per_minute: float = Field(gt=0, description="The most that a value changes in a minute, in the tag's units.")


class StuckRule(Rule):
    """Numbers that stay the same for too long, although they are recorded again and again."""

    kind: Literal["stuck"]
    longest_minutes: float = Field(gt=0, le=1440, description="How long, in minutes, a value may stay the same.")
    tolerance: float = Field(default=0.0, ge=0, description="By how much it may change and still be called the same.")


class GapRule(Rule):
    """Too long without any event, which may be a state; from midnight to midnight."""

    kind: Literal["gap"]
    longest_minutes: float = Field(gt=0, le=1440, description="How long, in minutes, a tag may be silent.")


class SpikeRule(Rule):
    """Up to `longest_events` numbers that leave the level before and after them to one side, far beyond what is usual.

    What is usual is the median of the changes from one number of the tag to the next on that day, made comparable
    with a standard deviation (the modified z-score of Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993).
    """

    kind: Literal["spike"]
    threshold: float = Field(default=10.0, gt=1, description="How many such deviations a spike is high.")
    longest_events: int = Field(default=3, ge=1, le=10, description="How many numbers a spike has at most.")


class StatesRule(Rule):
    """A digital state, or a text, that is none of the allowed ones."""

    kind: Literal["states"]
    allowed: tuple[str, ...] = Field(min_length=1, description="The states that are allowed, by name.")
    system_states: bool = Field(default=False, description="Judge states of the PI system too, such as `No Data`.")


class CounterRule(Rule):
    """A counter that goes down."""

    kind: Literal["counter"]
    resets_below: float | None = Field(
        default=None, description="A fall to less than this is a reset and no fault; default: there are no resets."
    )


class UnitsRule(Rule):
    """Events in other units than the tag has by the list of tags."""

    kind: Literal["units"]
    expected: str | None = Field(default=None, description="The units; default: those in pi_points.")


class DifferenceRule(Rule):
    """Two tags of one AF element that differ by too much; judged at each number of the first, against the last of the
    second."""

    kind: Literal["difference"]
    attribute: str = Field(min_length=1, description="Name of the attribute that refers to the first tag.")
    other_attribute: str = Field(min_length=1, description="Name of the attribute that refers to the second tag.")
    most: float = Field(ge=0, description="The most by which they may differ, in the tags' units.")
    longest_minutes: float = Field(
        default=60.0, gt=0, le=1440, description="How old, in minutes, the second tag's number may be to be compared."
    )


AnyRule = Annotated[
    RangeRule | RateRule | StuckRule | GapRule | SpikeRule | StatesRule | CounterRule | UnitsRule | DifferenceRule,
    Field(discriminator="kind"),
]
