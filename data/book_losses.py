"""Where has a row of a book been set aside, so that the book is not known from there on?

Levels that are missing make a book wrong until its next snapshot, and nothing in the rows that are left says so. For
each row set aside a row goes on in its place that is no level: side 0, price NaN, size 0. Whoever follows the book
loses it there (data/flow/book.py).
"""

from collections.abc import Sequence

import numpy as np

from data.arrays import Bools, Places
from data.record_order import JITTER
from data.records import Records, Values

Instant = np.datetime64
_JITTER = np.timedelta64(JITTER, "ns")


class BookLosses:
    """Marks the losses of a book, batch after batch of what the checks accept and set aside.

    A mark stands in the message of its row, where the instant of that row fits between its neighbours'. Otherwise
    nobody knows which message lacks it: then one stands in the message before and one in the message after. None stands
    in front of the first row of a book, which is unknown there anyway.

    Parameters
    ----------
    now : nothing has happened later, nor been received.
    """

    def __init__(self, now: Instant) -> None:
        self._now = now
        self._last: Records | None = None
        self._owed = False

    def marked(self, accepted: Records, away: Sequence[Records]) -> Records:
        """The accepted rows of a batch with the marks of those set aside among them, all in the order of the file."""
        if len(accepted) and not (away or self._owed):
            self._last = accepted.where(slice(-1, None))
            return accepted
        front = [self._last] if self._last is not None and {*self._last.columns} == {*accepted.columns} else []
        known, before = joined([*front, accepted]), len(front)
        owed, self._owed = self._owed, bool(away) and not len(known)
        if not len(known):
            self._owed |= owed
            return accepted
        self._last = known.where(slice(-1, None))
        if not (away or owed):
            return accepted
        struck = _by_row(accepted, joined(away)) if away else known.where(slice(0, 0))
        place = _places(accepted, struck) + before  # in `known`, of the row after
        fits = self._fits(known, struck, place)
        lost = np.unique(place[~fits])
        self._owed = len(known) in lost or (owed and not len(accepted))
        told = {before, *lost} if owed else {*lost}
        after = np.array(sorted(told - {len(known)}), dtype=np.intp)
        return _laid(known, struck, place, fits, lost[lost > 0] - 1, after).where(slice(before, None))

    def _fits(self, known: Records, struck: Records, place: Places) -> Bools:
        """Whether a row's instant lies between those around it, to a second; never where there is no row after."""
        time, stamps = struck["time"], known["time"]
        inside = place < len(known)
        after = stamps[np.minimum(place, len(known) - 1)]
        first = place == 0
        fits = inside & (first | (time >= stamps[np.maximum(place - 1, 0)] - _JITTER)) & (time <= after + _JITTER)
        return np.asarray(fits & ~(struck["received"] > self._now) if "received" in struck.columns else fits)


def joined(parts: Sequence[Records]) -> Records:
    """One batch of several with the same columns."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns}
    row = np.concatenate([part.row for part in parts])
    return Records(parts[0].kind, parts[0].venue, parts[0].symbol, columns, row)


def _by_row(accepted: Records, struck: Records) -> Records:
    """Rows in the order of the file that the accepted ones have."""
    return struck.where(np.argsort(_way(accepted) * struck.row, kind="stable"))


def _places(accepted: Records, struck: Records) -> Places:
    """How many accepted rows come before each row set aside, by their numbers in the file."""
    way = _way(accepted)
    return np.searchsorted(way * accepted.row, way * struck.row, side="right")


def _way(accepted: Records) -> int:
    """-1 for rows of a file that was written newest first."""
    return -1 if len(accepted) > 1 and accepted.row[0] > accepted.row[-1] else 1


def _laid(
    known: Records, struck: Records, place: Places, fits: Bools, with_before: Places, with_after: Places
) -> Records:
    """Known rows in order; before the one at each place, marks: of the message before, of its own, of the one after."""
    own = np.flatnonzero(fits)
    source = joined([known, known.where(with_before), struck.where(own), known.where(with_after)])
    spot = np.concatenate([np.arange(len(known)), with_before + 1, place[own], with_after])
    rank = np.repeat([3, 0, 1, 2], [len(known), len(with_before), len(own), len(with_after)])
    order = np.lexsort([np.arange(len(spot)), rank, spot])
    mark = (rank < 3)[order]
    columns: dict[str, Values] = {name: values[order] for name, values in source.columns.items()}
    for name, value in (("side", 0), ("price", np.nan), ("size", 0.0)):
        columns[name][mark] = value
    return Records(known.kind, known.venue, known.symbol, columns, source.row[order])
