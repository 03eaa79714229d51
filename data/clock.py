"""When does a market have a price: every so often, or once a session?"""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import HistoryError, ParameterError

Stamps = NDArray[np.datetime64]

_SESSIONS = re.compile(r"([1-9]\d*)B")
_DAY = np.timedelta64(1, "D")


def sessions_in(duration: str) -> int | None:
    """How many sessions a duration such as "2B" counts; None where it is plain time.

    >>> sessions_in("2B"), sessions_in("1D")
    (2, None)
    """
    given: object = duration
    if not isinstance(given, str):
        raise TypeError(f"a duration must be a text such as '8h', '1D' or '1B', got {duration!r}")
    match = _SESSIONS.fullmatch(duration.strip())
    return int(match[1]) if match else None


@cache
def plain_span(duration: str, what: str) -> np.timedelta64:
    """A positive duration such as "8h" in nanoseconds; ParameterError, naming `what`, otherwise."""
    try:
        span = pd.Timedelta(duration)
    except ValueError as error:
        raise ParameterError(f"{what} must be a duration such as '8h', '1D' or '1B', got {duration!r}") from error
    if not span > pd.Timedelta(0):
        raise ParameterError(f"{what} must be a positive duration, got {duration!r}. Typical: '8h', '1D'.")
    return np.timedelta64(span.as_unit("ns").value, "ns")


@dataclass(frozen=True)
class Clock:
    """The instants at which a history has a row.

    Parameters
    ----------
    step : "30min", "1h", "1D": every so often, day and night; "1B": once a session, Monday to Friday.
    holidays : days (ISO dates, sorted) without a session; only for "1B". A session is labelled by its local date.

    Raises
    ------
    ParameterError
        If the step is no positive duration, counts more than one session, or holidays come without sessions.

    Examples
    --------
    >>> Clock("1h").steps("1D"), Clock("1B").steps("2B")
    (24, 2)
    """

    step: str = "1D"
    holidays: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sessions = sessions_in(self.step)
        if sessions is None:
            plain_span(self.step, "clock")
            if self.holidays:
                raise ParameterError(f"holidays belong to a session clock ('1B'), got them with {self.step!r}")
        elif sessions != 1:
            raise ParameterError(f"a session clock steps by '1B', got {self.step!r}")
        try:
            np.array(self.holidays, dtype="datetime64[D]")
        except ValueError as error:
            raise ParameterError(f"holidays must be days such as 2024-12-25, got {self.holidays!r}") from error

    @property
    def by_session(self) -> bool:
        """Whether rows are sessions rather than equal steps of time."""
        return sessions_in(self.step) is not None

    def grid(self, first: np.datetime64, last: np.datetime64) -> Stamps:
        """Every instant from `first` to `last`, both included, datetime64[ns] in UTC."""
        if not self.by_session:
            step = plain_span(self.step, "clock")
            return np.arange(first, last + np.timedelta64(1, "ns"), step).astype("datetime64[ns]")
        days = np.arange(first.astype("datetime64[D]"), last.astype("datetime64[D]") + _DAY)
        return days[self._is_session(days)].astype("datetime64[ns]")

    def count(self, first: np.datetime64, last: np.datetime64) -> int:
        """About how many instants `grid` would give, without making them."""
        step = _DAY if self.by_session else plain_span(self.step, "clock")
        return int((last - first) // step) + 1

    def off(self, time: Stamps) -> NDArray[np.intp]:
        """Rows of sorted `time` that do not fall on this clock, counted from the first instant."""
        if not self.by_session:
            since = (time - time[:1]).astype(np.int64)
            return np.flatnonzero(since % plain_span(self.step, "clock").astype(np.int64))
        days = time.astype("datetime64[D]")
        return np.flatnonzero((days.astype("datetime64[ns]") != time) | ~self._is_session(days))

    def steps(self, horizon: str) -> int:
        """How many rows a horizon spans; HistoryError unless it is a whole number of them, at least one."""
        sessions = sessions_in(horizon)
        if self.by_session != (sessions is not None):
            unit = "sessions: ask for '1B', '2B'" if self.by_session else f"steps of {self.step}: ask for '1D', '8h'"
            raise HistoryError(f"this market counts its horizon in {unit}; got {horizon!r}")
        if sessions is not None:
            return sessions
        steps, rest = divmod(plain_span(horizon, "horizon"), plain_span(self.step, "clock"))
        if rest or steps < 1:
            raise HistoryError(f"a horizon must be a whole number of clock steps of {self.step}, got {horizon!r}")
        return int(steps)

    def after(self, time: np.datetime64, steps: int) -> np.datetime64:
        """The instant that many rows after one of this clock's.

        >>> Clock("1B", ("2024-12-25",)).after(np.datetime64("2024-12-20", "ns"), 3)
        np.datetime64('2024-12-26T00:00:00.000000000')
        """
        if not self.by_session:
            return time + steps * plain_span(self.step, "clock")
        holidays = np.array(self.holidays, dtype="datetime64[D]")
        day: np.datetime64 = np.busday_offset(time.astype("datetime64[D]"), steps, roll="forward", holidays=holidays)
        after: np.datetime64 = day.astype("datetime64[ns]")
        return after

    def _is_session(self, days: Stamps) -> NDArray[np.bool_]:
        return np.asarray(np.is_busday(days, holidays=np.array(self.holidays, dtype="datetime64[D]")))


def infer_clock(time: Stamps) -> Clock:
    """The clock that sorted stamps seem to keep: sessions where daily stamps skip weekends, else the commonest step.

    Raises HistoryError for fewer than two stamps.
    """
    if len(time) < 2:
        raise HistoryError(f"a clock needs two instants at least, got {len(time)}")
    gaps, counts = np.unique(np.diff(time), return_counts=True)
    step = gaps[counts.argmax()]
    dates = time.astype("datetime64[D]")
    if step == _DAY and len(time) > 10 and (dates == time).all() and np.is_busday(dates).all():
        return Clock("1B")
    return Clock(_duration(pd.Timedelta(step)))


def _duration(step: pd.Timedelta) -> str:
    """The shortest name of a step: 86400 seconds are "1D"."""
    for unit, size in (("D", 86_400_000_000_000), ("h", 3_600_000_000_000), ("min", 60_000_000_000), ("s", 10**9)):
        count, rest = divmod(step.as_unit("ns").value, size)
        if count and not rest:
            return f"{count}{unit}"
    return f"{step.as_unit('ns').value}ns"
