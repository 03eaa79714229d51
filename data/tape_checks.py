"""Do the prices of a tape fit those around them, and does it stay in its unit?

A print far from the median of its neighbours is set aside, and so is a run of them; a change that lasts is no run. Rows
are judged with those before and after, so that it does not matter how a file is cut into batches.
"""

from dataclasses import dataclass

import numpy as np

from data.arrays import Bools, Floats, Ints, Places
from data.check_results import Check, Ledger
from data.option_names import is_option
from data.records import LIQUIDATIONS, QUOTES, TRADES, UNKNOWN, Records
from data.series_checks import POWERS, SPLICE

RUN = 20  # prints in a row that may be odd: a longer run is the market, or another unit
AROUND = 2 * RUN + 1  # rows of which the median is taken
CONTEXT = AROUND - 1  # rows before and after that the judgement of one may rest on
APART = 2.0  # times: no market doubled within 20 prints and was back within 20 more
JUMP = 1.0  # log step worth a look
RESTARTED = 0.5  # of the number before: a number below it is one of another count
SOON = 10**9 * 86400  # ns in which a rise beyond SPLICE from one file to the next is no market's
_PIECE = 1 << 16  # rows whose neighbours are held in memory at once

ODD_RUN = Check("run of odd prices", f"no run of up to {RUN} prints x{APART:g} off the median around", "quarantine")
UNIT = Check("unit change of a tape", f"prices take no lasting step by 10 to the {POWERS}", "quarantine")
STEP = Check("jump of a tape", f"no step beyond e^{JUMP:g} from print to print", "accept")
OTHER = Check(
    "splice of a tape",
    f"no lasting rise beyond e^{SPLICE:g}, nor step beyond e^{JUMP:g} at which numbers begin again: another asset",
    "quarantine",
)
TAPE_CHECKS = (ODD_RUN, UNIT, OTHER, STEP)
_COLUMNS = {TRADES: ("price",), LIQUIDATIONS: ("price",), QUOTES: ("bid", "ask")}


def priced(records: Records) -> tuple[str, ...]:
    """The columns of prices that are judged by their neighbours: none of options, whose prices do double."""
    return () if is_option(records) else _COLUMNS.get(records.kind, ())


@dataclass
class _Passed:
    """What is known of a price's rows that went by.

    Logs of the last ones, in which unit the very last was, how far it was off by another asset's price, when it was
    and its number; and the last one that was accepted.
    """

    rows: Floats
    seen: float = np.nan
    accepted: float = np.nan
    shift: int = 0
    off: float = 0.0
    time: int | None = None
    number: int = UNKNOWN
    anew: bool = True


class TapePrices:
    """Judges the prices of one venue's symbol, batch by batch."""

    def __init__(self) -> None:
        self._passed: dict[str, _Passed] = {}

    def begin(self) -> None:
        """Another file begins, perhaps in the right unit: it is measured by what was accepted."""
        for passed in self._passed.values():
            passed.seen, passed.shift, passed.off, passed.anew = passed.accepted, 0, 0.0, True

    def judge(
        self, records: Records, after: Records | None, ledger: Ledger, away: list[tuple[Check, Records]]
    ) -> Records:
        """The rows that may go on, in the order of time; `after` are the next `CONTEXT` rows, None at the end."""
        names = priced(records)
        if not names or not len(records):
            return records
        odd = np.logical_or.reduce([self._odd(name, records, after) for name in names])
        records = ledger.set_aside(ODD_RUN, records, odd, away)
        if len(records):
            shifts = [self._shifted(name, records, ledger) for name in names]
            other = np.logical_or.reduce([spliced for _, spliced in shifts])
            unit = np.logical_or.reduce([shifted for shifted, _ in shifts])
            records = ledger.set_aside(UNIT, records, unit, away)
            records = ledger.set_aside(OTHER, records, (other & ~unit)[~unit], away)
        return records

    def _odd(self, name: str, records: Records, after: Records | None) -> Bools:
        passed = self._passed.setdefault(name, _Passed(np.empty(0)))
        here = np.log(records[name])
        coming = np.empty(0) if after is None else np.log(after[name][:CONTEXT])
        known = len(passed.rows)
        odd = odd_runs(np.concatenate([passed.rows, here, coming]))[known : known + len(here)]
        passed.rows = np.concatenate([passed.rows, here[-CONTEXT:]])[-CONTEXT:]
        return odd

    def _shifted(self, name: str, records: Records, ledger: Ledger) -> tuple[Bools, Bools]:
        """Rows in another unit than the first ones were, and rows of another asset."""
        passed = self._passed[name]
        here = np.log(records[name])
        step = np.diff(here, prepend=here[0] if np.isnan(passed.seen) else passed.seen)
        powers = _powers(step)
        shift = passed.shift + np.cumsum(powers)
        other = _of_another(passed, records, np.where(powers == 0, step, 0.0))
        passed.seen, passed.shift = float(here[-1]), int(shift[-1])
        right = np.flatnonzero((shift == 0) & ~other)
        if len(right):
            passed.accepted = float(here[right[-1]])
        ledger.strike(STEP, records, np.asarray((np.abs(step) > JUMP) & (shift == 0) & ~other))
        return np.asarray(shift != 0), other


def _of_another(passed: _Passed, records: Records, step: Floats) -> Bools:
    """Rows from a splice on until prices are back; brings `passed` up to date."""
    number = records.columns.get("id", np.full(len(records), UNKNOWN))
    before = np.concatenate([[passed.number], number[:-1]])
    again = (number != UNKNOWN) & (before != UNKNOWN) & (number < RESTARTED * before)
    time = records["time"].view(np.int64)
    late = passed.anew and passed.time is not None and int(time[0]) - passed.time > SOON
    other, since, off = np.zeros(len(step), dtype=bool), 0, passed.off
    for at in np.flatnonzero(np.abs(step) > JUMP).tolist():
        other[since:at] = off != 0.0
        rise = step[at] > SPLICE and not (late and at == 0)
        if off != 0.0:
            off = 0.0 if abs(off + step[at]) < JUMP else off + step[at]
        elif rise or again[at]:
            off = float(step[at])
        since = at
    other[since:] = off != 0.0
    passed.off, passed.time, passed.number, passed.anew = off, int(time[-1]), int(number[-1]), False
    return other


def odd_runs(level: Floats) -> Bools:
    """Runs of up to `RUN` logs of prices (R,) that lie apart from the median of the `AROUND` rows around each.

    A median keeps a lasting step where it is (Tukey 1977, "Exploratory data analysis", chapter 7), so that only what is
    back strikes; a run must begin or end with a leap, for at the ends of a file a market on the move is far from the
    median too.

    >>> np.flatnonzero(odd_runs(np.log(np.array([5.0] * 30 + [500.0] * 3 + [5.0] * 30)))).tolist()
    [30, 31, 32]
    """
    odd = np.zeros(len(level), dtype=bool)
    rows = _suspects(level)
    width = min(AROUND, len(level))
    for piece in np.array_split(rows, len(rows) // _PIECE + 1):
        first = np.clip(piece - RUN, 0, len(level) - width)
        around = np.lib.stride_tricks.sliding_window_view(level, width)[first] if len(piece) else level[:0, None]
        odd[piece] = np.abs(level[piece] - np.median(around, axis=1)) > np.log(APART) if len(piece) else False
    edges = np.flatnonzero(np.diff(odd, prepend=False, append=False)).reshape(-1, 2)
    for begin, end in edges.tolist():
        beside = [level[at] - level[at - 1] for at in (begin, end) if 0 < at < len(level)]
        odd[begin:end] = np.abs(beside).max(initial=0.0) > np.log(APART) / 2
    return odd


def _suspects(level: Floats) -> Places:
    """Rows around which prices differ by more than `APART`: all others are near their median."""
    starts = np.arange(0, len(level), RUN)
    if not len(starts):
        return starts
    high, low = np.maximum.reduceat(level, starts), np.minimum.reduceat(level, starts)
    reach = 2  # blocks to either side hold all rows whose median may be asked for
    highs = np.lib.stride_tricks.sliding_window_view(np.pad(high, reach, mode="edge"), 2 * reach + 1).max(axis=1)
    lows = np.lib.stride_tricks.sliding_window_view(np.pad(low, reach, mode="edge"), 2 * reach + 1).min(axis=1)
    return np.flatnonzero(np.repeat(highs - lows > np.log(APART), RUN)[: len(level)])


def _powers(step: Floats) -> Ints:
    """The power of ten by which each step changes the unit, a tenth of a log either way; 0 of others."""
    out = np.zeros(len(step), dtype=np.int64)
    at = np.flatnonzero(np.abs(step) > JUMP)
    for power in POWERS:
        fits = np.abs(np.abs(step[at]) - power * np.log(10)) < 0.1
        out[at[fits]] = power * np.sign(step[at[fits]])
    return out
