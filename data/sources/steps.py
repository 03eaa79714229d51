"""How long is a bar, where a file tells only when it began?"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.arrays import Bools
from data.errors import SourceError
from data.sources.epochs import Instants

Spans = NDArray[np.timedelta64]
DAY = np.timedelta64(86_400_000_000_000, "ns")
_HOUR = np.timedelta64(3_600_000_000_000, "ns")
_NONE = np.timedelta64(0, "ns")
_NOWHERE = np.datetime64("NaT", "ns")
_MIDNIGHTS = 15 * _HOUR  # how far from UTC's the midnights of the world lie


@dataclass
class Step:
    """The length of bars that follow one another.

    Parameters
    ----------
    width : how long one is; of months, the most frequent length.
    monthly : whether it is a month of the calendar.
    """

    width: np.timedelta64
    monthly: bool = False
    _before: Instants = field(default_factory=lambda: np.empty(0, "datetime64[ns]"), repr=False)

    def ends(self, opened: Instants) -> Instants:
        """When bars were over that began at `opened` (R,), batch after batch.

        A bar off the step of its neighbours on both sides (one that still runs, a stamp that is late) has no end, NaT,
        for the checks to name. Days and months of a zone end with the zone's next midnight, where a row tells it.
        """
        known = np.unique(np.concatenate([self._before, opened[~np.isnat(opened)]]))
        if known.size:
            self._before = opened[~np.isnat(opened)][-1:]
        over = self._over(known)
        following = np.append(known[1:], _NOWHERE)
        if self.width >= DAY:  # a clock that was put forward or back
            over = np.where(np.abs(following - over) == _HOUR, following, over)
        over[~self._fitting(known)] = _NOWHERE
        place = np.minimum(np.searchsorted(known, opened), max(known.size - 1, 0))
        out = np.full(opened.shape, _NOWHERE)
        told = ~np.isnat(opened)
        out[told] = over[place[told]]
        return out

    def _over(self, opened: Instants) -> Instants:
        if not self.monthly:
            return np.asarray(opened + self.width)
        first = _month(opened)
        after = (first.astype("datetime64[M]") + 1).astype("datetime64[ns]")
        return np.asarray(after + (opened - first))

    def _fitting(self, known: Instants) -> Bools:
        """Whether a bar lies a whole number of steps from a neighbour, or has none."""
        if self.monthly:
            return np.asarray(np.abs(known - _month(known)) <= _MIDNIGHTS)
        whole = np.diff(known) % self.width == _NONE
        return np.asarray(np.append(whole, known.size < 2) | np.append(known.size < 2, whole))


def step_of(stamps: Instants, file: str) -> Step:
    """The most frequent time between two stamps that follow one another, whatever their order.

    Of several that are as frequent it is the smallest, but for the time since the last but one: the last bar may be
    one that still runs. Beginnings of months tell months.

    Raises
    ------
    SourceError
        Where no two stamps differ: nobody knows when the bar was over.

    >>> hours = np.array(["2024-01-01T03", "2024-01-01T02", "2024-01-01T01", "2023-12-31T23"], "datetime64[ns]")
    >>> step_of(hours, "bars.csv").width
    np.timedelta64(3600000000000,'ns')
    """
    known = np.unique(stamps[~np.isnat(stamps)])
    apart = np.diff(known)
    if not apart.size:
        got = known.size
        raise SourceError(f"{file}: expected bars at two instants or more, which tell how long one is, got {got}")
    return Step(_most(apart), _of_months(known, apart))


def _most(apart: Spans) -> np.timedelta64:
    length, count = np.unique(apart, return_counts=True)
    if apart.size > 1 and np.sum(count == count.max()) > 1:
        length, count = np.unique(apart[:-1], return_counts=True)
    return np.timedelta64(length[count.argmax()], "ns")


def _of_months(known: Instants, apart: Spans) -> bool:
    """Whether most stamps are a month apart, and at its beginning."""
    spans = (apart >= 28 * DAY - _HOUR) & (apart <= 31 * DAY + _HOUR)
    begun = np.abs(known - _month(known)) <= _MIDNIGHTS
    return bool(2 * spans.sum() > spans.size and 2 * begun.sum() > begun.size)


def _month(stamps: Instants) -> Instants:
    """The beginning of a month that is nearest, in UTC."""
    return np.asarray((stamps + 15 * DAY).astype("datetime64[M]").astype("datetime64[ns]"))
