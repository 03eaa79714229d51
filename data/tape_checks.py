"""Do the prices of a tape fit those around them, and does it stay in its unit?

A print far from the median of its neighbours is set aside, and so is a run of them; a change that lasts is no run. Rows
are judged with those before and after, so that it does not matter how a file is cut into batches.
"""

from dataclasses import dataclass

import numpy as np

from data.arrays import Bools, Floats, Ints, Places
from data.check_results import Check, Ledger
from data.record_checks import is_option
from data.records import LIQUIDATIONS, QUOTES, TRADES, Records
from data.series_checks import POWERS

RUN = 20  # prints in a row that may be odd: a longer run is the market, or another unit
AROUND = 2 * RUN + 1  # rows of which the median is taken
CONTEXT = AROUND - 1  # rows before and after that the judgement of one may rest on
APART = 2.0  # times: no market doubled within 20 prints and was back within 20 more
JUMP = 1.0  # log step worth a look
_PIECE = 1 << 16  # rows whose neighbours are held in memory at once

ODD_RUN = Check("run of odd prices", f"no run of up to {RUN} prints x{APART:g} off the median around", "quarantine")
UNIT = Check("unit change of a tape", f"prices take no lasting step by 10 to the {POWERS}", "quarantine")
STEP = Check("jump of a tape", f"no step beyond e^{JUMP:g} from print to print", "accept")
TAPE_CHECKS = (ODD_RUN, UNIT, STEP)
_COLUMNS = {TRADES: ("price",), LIQUIDATIONS: ("price",), QUOTES: ("bid", "ask")}


def priced(records: Records) -> tuple[str, ...]:
    """The columns of prices that are judged by their neighbours: none of options, whose prices do double."""
    return () if is_option(records) else _COLUMNS.get(records.kind, ())


@dataclass
class _Passed:
    """What is known of a price's rows that went by: logs of the last ones, and in which unit the very last was."""

    rows: Floats
    seen: float = np.nan
    accepted: float = np.nan
    shift: int = 0


class TapePrices:
    """Judges the prices of one venue's symbol, batch by batch."""

    def __init__(self) -> None:
        self._passed: dict[str, _Passed] = {}

    def begin(self) -> None:
        """Another file begins, perhaps in the right unit: it is measured by what was accepted."""
        for passed in self._passed.values():
            passed.seen, passed.shift = passed.accepted, 0

    def judge(
        self, records: Records, after: Records | None, ledger: Ledger, away: list[tuple[Check, Records]]
    ) -> Records:
        """The rows that may go on, in the order of time; `after` are the next `CONTEXT` rows, None at the end."""
        names = priced(records)
        if not names or not len(records):
            return records
        odd = np.logical_or.reduce([self._odd(name, records, after) for name in names])
        records = _set_aside(records, odd, ODD_RUN, ledger, away)
        if len(records):
            shifts = [self._shifted(name, records, ledger) for name in names]
            records = _set_aside(records, np.logical_or.reduce(shifts), UNIT, ledger, away)
        return records

    def _odd(self, name: str, records: Records, after: Records | None) -> Bools:
        passed = self._passed.setdefault(name, _Passed(np.empty(0)))
        here = np.log(records[name])
        coming = np.empty(0) if after is None else np.log(after[name][:CONTEXT])
        known = len(passed.rows)
        odd = odd_runs(np.concatenate([passed.rows, here, coming]))[known : known + len(here)]
        passed.rows = np.concatenate([passed.rows, here[-CONTEXT:]])[-CONTEXT:]
        return odd

    def _shifted(self, name: str, records: Records, ledger: Ledger) -> Bools:
        """Rows in another unit than the first ones were."""
        passed = self._passed[name]
        here = np.log(records[name])
        step = np.diff(here, prepend=here[0] if np.isnan(passed.seen) else passed.seen)
        shift = passed.shift + np.cumsum(_powers(step))
        passed.seen, passed.shift = float(here[-1]), int(shift[-1])
        right = np.flatnonzero(shift == 0)
        if len(right):
            passed.accepted = float(here[right[-1]])
        ledger.strike(STEP, records, np.asarray((np.abs(step) > JUMP) & (shift == 0)))
        return np.asarray(shift != 0)


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


def _set_aside(
    records: Records, struck: Bools, check: Check, ledger: Ledger, away: list[tuple[Check, Records]]
) -> Records:
    if not struck.any():
        return records
    ledger.strike(check, records, struck)
    away.append((check, records.where(struck)))
    return records.where(~struck)
