"""PI time strings: `*-1d`, `t+8h`, `2024-03-31 02:30` and everything else a PI user types, as an instant.

Source: PI Web API reference, topics `time-strings` and `time-zone`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from dateutil import parser as date_parser
from dateutil.relativedelta import relativedelta

from pi_dagster.simulator.events import MAX_TICKS, TICKS_PER_SECOND, Ticks, to_ticks

WINDOWS_ZONES = {
    "utc": "UTC",
    "gmt standard time": "Europe/London",
    "w. europe standard time": "Europe/Berlin",
    "romance standard time": "Europe/Paris",
    "central europe standard time": "Europe/Budapest",
    "fle standard time": "Europe/Helsinki",
    "eastern standard time": "America/New_York",
    "central standard time": "America/Chicago",
    "mountain standard time": "America/Denver",
    "pacific standard time": "America/Los_Angeles",
    "tokyo standard time": "Asia/Tokyo",
    "china standard time": "Asia/Shanghai",
    "india standard time": "Asia/Kolkata",
    "aus eastern standard time": "Australia/Sydney",
}
"""Windows zone name, lower case, to IANA name (Unicode CLDR); PI servers run on Windows."""

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_TICKS_OF = {"h": 3600 * TICKS_PER_SECOND, "m": 60 * TICKS_PER_SECOND, "s": TICKS_PER_SECOND, "ms": 10_000, "f": 10_000}
_CALENDAR = {"y": "years", "mo": "months", "w": "weeks", "d": "days"}
_LONG_UNITS = {
    "year": "y",
    "years": "y",
    "month": "mo",
    "months": "mo",
    "week": "w",
    "weeks": "w",
    "day": "d",
    "days": "d",
    "hour": "h",
    "hours": "h",
    "minute": "m",
    "minutes": "m",
    "second": "s",
    "seconds": "s",
    "millisecond": "ms",
    "milliseconds": "ms",
}
_AMOUNT = r"\d+(?:\.\d+)?\s*[A-Za-z]+"
_OFFSETS = re.compile(rf"((?:\s*[+-]\s*(?:{_AMOUNT}\s*)+)*)$")
_RELATIVE_BASE = re.compile(r"\*|[A-Za-z]+|\d{1,2}|\d{4}|")
_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7})\d*)?)?)?\s*(Z|[+-]\d{2}:?\d{2})?",
    re.IGNORECASE,
)


class InvalidTimeError(ValueError):
    """A text that is no PI time, interval or zone."""


def time_zone(name: str | None, *, server_zone: str, iana_names: bool = True) -> tzinfo:
    """The zone a request's `timeZone` names, or the server's own.

    Raises:
        InvalidTimeError: there is no such zone.
    """
    if not name:
        return ZoneInfo(server_zone)
    known = WINDOWS_ZONES.get(name.lower())
    if known is None and not (iana_names or name.upper() == "UTC"):
        raise InvalidTimeError(f"The time zone '{name}' is not known.")
    try:
        return ZoneInfo(known or name)
    except (ValueError, OSError, LookupError) as error:
        raise InvalidTimeError(f"The time zone '{name}' is not known.") from error


@dataclass(frozen=True)
class Interval:
    """An AF time span: whole calendar parts, which follow the wall clock, and exact ticks."""

    calendar: relativedelta
    ticks: int

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read `1h`, `1.5d`, `1h30m`, `10 minutes`, or `hh:mm:ss`.

        Raises:
            InvalidTimeError: it is none of these.
        """
        clock = re.fullmatch(r"\s*(\d+):(\d{2})(?::(\d{2}))?\s*", text)
        if clock:
            hours, minutes, seconds = (int(part or 0) for part in clock.groups())
            return cls(relativedelta(), ((hours * 60 + minutes) * 60 + seconds) * TICKS_PER_SECOND)
        amounts = re.findall(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text)
        if not amounts or not re.fullmatch(rf"\s*(?:{_AMOUNT}\s*)+", text):
            raise InvalidTimeError(f"'{text}' is not a valid time interval.")
        calendar, ticks = relativedelta(), 0
        for amount, unit_text in amounts:
            unit = _LONG_UNITS.get(unit_text.lower(), unit_text.lower())
            number = float(amount)
            if unit in _TICKS_OF:
                ticks += round(number * _TICKS_OF[unit])
            elif unit in _CALENDAR and number == int(number):
                calendar += relativedelta(**{_CALENDAR[unit]: int(number)})  # type: ignore[arg-type]
            elif unit in ("d", "w"):
                ticks += round(number * (7 if unit == "w" else 1) * 24 * _TICKS_OF["h"])
            else:
                raise InvalidTimeError(f"'{text}' is not a valid time interval.")
        return cls(calendar, ticks)

    def after(self, instant: Ticks, zone: tzinfo, times: int = 1) -> Ticks:
        """The instant that many intervals later, or earlier where `times` is negative."""
        if self.calendar:
            local = _from_ticks(instant).astimezone(zone).replace(tzinfo=None)
            fraction = instant % 10
            moved = (local + self.calendar * times).replace(tzinfo=zone)
            instant = to_ticks(moved.astimezone(timezone.utc)) + fraction
        return instant + self.ticks * times


def parse_time(text: str | None, *, now: Ticks, zone: tzinfo) -> Ticks:
    """The instant a PI time string means.

    Args:
        text: the string; None or empty is now. A zone inside it wins over `zone`.
        now: the server's clock.
        zone: the zone of a string that names none.

    Raises:
        InvalidTimeError: the text means no instant between 1970 and 9999.
    """
    text = (text or "").strip()
    try:
        instant = _absolute(text, zone)
        if instant is None:
            instant = _relative(text, now, zone)
        if instant is None:
            today = _from_ticks(now).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
            instant = to_ticks(date_parser.parse(text, default=today).astimezone(timezone.utc))
    except (ValueError, OverflowError, TypeError) as error:
        raise InvalidTimeError(f"The time '{text}' could not be understood.") from error
    if not 0 <= instant <= MAX_TICKS:
        raise InvalidTimeError(f"The time '{text}' is outside of 1970 to 9999.")
    return instant


def _from_ticks(instant: Ticks) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=instant // 10)


def _absolute(text: str, zone: tzinfo) -> Ticks | None:
    iso = _ISO.fullmatch(text)
    if iso is None:
        if re.match(r"\d{4}-\d{2}-\d{2}T", text, re.IGNORECASE):
            raise ValueError("not ISO 8601")  # such as an offset whose unencoded plus arrived as a blank
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in iso.groups()[:6])
    named = (iso[8] or "").upper()
    if named and named != "Z":
        sign = -1 if named[0] == "-" else 1
        offset = timedelta(hours=int(named[1:3]), minutes=int(named[-2:]))
        zone = timezone(sign * offset)
    elif named:
        zone = timezone.utc
    instant = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    return to_ticks(instant.astimezone(timezone.utc)) + int((iso[7] or "0").ljust(7, "0"))


def _relative(text: str, now: Ticks, zone: tzinfo) -> Ticks | None:
    offsets = _OFFSETS.search(text)
    offset_text = offsets[1] if offsets else ""
    base_text = text[: len(text) - len(offset_text)].strip()
    if _RELATIVE_BASE.fullmatch(base_text) is None:
        return None
    instant = _base(base_text.lower(), now, zone)
    if instant is None:
        return None
    for sign, amount in re.findall(rf"([+-])\s*((?:{_AMOUNT}\s*)+)", offset_text):
        instant = Interval.parse(amount).after(instant, zone, -1 if sign == "-" else 1)
    return instant


def _base(name: str, now: Ticks, zone: tzinfo) -> Ticks | None:
    if name in ("", "*"):
        return now
    day = _from_ticks(now).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    weekday = next((i for i, full in enumerate(_WEEKDAYS) if name in (full, full[:3])), None)
    month = next((i for i, full in enumerate(_MONTHS, 1) if name in (full, full[:3])), None)
    if name in ("t", "today"):
        pass
    elif name in ("y", "yesterday"):
        day -= timedelta(days=1)
    elif name == "tomorrow":
        day += timedelta(days=1)
    elif weekday is not None:
        day -= timedelta(days=(day.weekday() - weekday) % 7)
    elif month is not None:
        day = day.replace(month=month)
    elif name.isdigit() and len(name) == 4:
        day = day.replace(year=int(name))
    elif name.isdigit():
        day = day.replace(day=int(name))
    else:
        return None
    return to_ticks(day.replace(tzinfo=zone).astimezone(timezone.utc))
