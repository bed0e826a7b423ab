"""The only place that reads a clock, or a date that people wrote.

Decisions never ask for the time: it is handed to them. Progress bars and the timing
of stages use :func:`stopwatch_s`, which does not touch any result.
"""

from __future__ import annotations

import datetime
import re
import time
import zoneinfo


def wait_s(seconds: float) -> None:
    """Let wall-clock time pass, for another process to catch up."""
    time.sleep(seconds)


def stopwatch_s() -> float:
    """Monotonic time in seconds, for durations only."""
    return time.perf_counter()


def has_timezone(name: str) -> bool:
    """Whether the time zone database knows the name (``Asia/Seoul``)."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return False
    return True


def written_time_ms(text: str, form: str, timezone: str) -> int | None:
    """A date and time that people wrote, as ms UTC; None where it is none.

    ``form`` as of `datetime.datetime.strptime`. Digits without separators could be cut in
    several ways: only the padded one is meant. An hour that comes twice is the first of them.
    """
    try:
        moment = datetime.datetime.strptime(text, form)
        if re.fullmatch(r"(%[A-Za-z])+", form) and moment.strftime(form) != text:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(timezone))
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
