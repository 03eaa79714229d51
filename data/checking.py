"""Which rows of a file may go on, which were mended, and which are set aside, and why?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from data.arrays import Bools
from data.book_losses import BookLosses, joined
from data.check_results import Check, Ledger
from data.errors import DataError
from data.record_checks import Instant, Scope, row_rules
from data.record_order import JITTER, SERIES, in_order, newest_first, once
from data.records import BARS, BOOK, DEPTH, OPTIONS, QUOTES, TRADES, UNKNOWN, Records
from data.series_checks import LONG_BAR, SERIES_RULES, whole_bars
from data.tape_checks import CONTEXT as NEIGHBOURS
from data.tape_checks import TapePrices

STREAMED = (TRADES, QUOTES, BOOK, DEPTH, OPTIONS)  # files of these may be larger than memory
CONTEXT = 32  # rows of the file before that the checks of a series see
WHOLE = 50_000_000  # rows of a series, or of a tape written newest first, that are held at once


@dataclass(frozen=True, eq=False)
class Checked:
    """A batch after the checks.

    Parameters
    ----------
    accepted : rows that may go on, in the order of time, repairs made; of a book, with the marks of data/book_losses.py
        among them, which are not counted as accepted.
    away : rows set aside, by the check that struck them first.
    """

    accepted: Records
    away: tuple[tuple[Check, Records], ...]


class RecordChecker:
    """Checks files of one venue's symbol, one after the other: each must go on where the last one ended.

    Parameters
    ----------
    now : nothing has happened later; today's clock if None.
    """

    def __init__(self, now: Instant | None = None) -> None:
        self._scope = Scope(np.datetime64("now", "ns") if now is None else now)
        self._numbers = np.empty(0, dtype=np.int64)
        self._tail: Records | None = None
        self._losses = BookLosses(self._scope.now)
        self._prices = TapePrices()

    def check(
        self, batches: Iterable[Records], ledger: Ledger, period: tuple[Instant, Instant] | None = None
    ) -> Iterator[Checked]:
        """A file's batches, checked.

        Series are held whole, for many of their checks ask for it; tapes and books pass batch by batch, unless they
        are written newest first.

        Parameters
        ----------
        ledger : where results and repairs are written, complete when the last batch has passed.
        period : what the file's name says it holds, first instant and end.

        Raises
        ------
        DataError
            For batches of several kinds or symbols, and for a series of more than `WHOLE` rows.
        """
        self._scope = replace(self._scope, period=period)
        self._prices.begin()
        held: Records | None = None
        for records, last in _marked(_as_needed(_of_one(batches))):
            checked, held = self._checked(records, held, last, ledger)
            yield checked

    def _checked(
        self, records: Records, held: Records | None, last: bool, ledger: Ledger
    ) -> tuple[Checked, Records | None]:
        """A batch checked behind the rows held back of the one before, and what is now held back."""
        away: list[tuple[Check, Records]] = []
        ledger.rows += len(records)
        records = self._believed(records, ledger, away)
        records = records if held is None else joined([held, records])
        records, aside = in_order(records, self._scope, ledger)
        records, held = (records, None) if last else _held_back(records)
        records, copies = once(records, self._numbers, ledger)
        away += aside + copies
        if records.kind in SERIES and len(records):
            records = self._in_series(records, ledger, away)
        records = self._prices.judge(records, held, ledger, away)
        ledger.accepted += len(records)
        ledger.quarantined += sum(len(rows) for _, rows in away)
        self._remember(records)
        if records.kind is BOOK:
            records = self._losses.marked(records, [rows for _, rows in away])
        return Checked(records, tuple(away)), held

    def _believed(self, records: Records, ledger: Ledger, away: list[tuple[Check, Records]]) -> Records:
        for rule in row_rules(self._scope):
            if records.kind in rule.kinds and len(records):
                records = _sift(records, rule.check, rule.strikes(records), ledger, away)
        return records

    def _in_series(self, records: Records, ledger: Ledger, away: list[tuple[Check, Records]]) -> Records:
        """Asked with the last rows of the file before in front, so that nothing hides between two files."""
        if records.kind is BARS:
            records, wrong = whole_bars(records, ledger)
            if wrong.any():
                away.append((LONG_BAR, records.where(wrong)))
                records = records.where(~wrong)
        before = self._tail if self._tail is not None and {*self._tail.columns} == {*records.columns} else None
        known = 0 if before is None else len(before)
        series = records if before is None else joined([before, records])
        for rule in SERIES_RULES:
            if records.kind in rule.kinds and len(series) > known:
                struck = rule.strikes(series)
                struck[:known] = False
                series = _sift(series, rule.check, struck, ledger, away)
        return series.where(slice(known, None))

    def _remember(self, records: Records) -> None:
        if not len(records):
            return
        newest = records["time"].max()
        scope = self._scope
        price = _last_price(records)
        self._scope = replace(
            scope, newest=newest if np.isnat(scope.newest) else max(newest, scope.newest), price=price
        )
        if records.kind is TRADES and "id" in records.columns:
            self._numbers = records["id"][records["id"] != UNKNOWN]
        if records.kind in SERIES:
            self._tail = records.where(slice(max(len(records) - CONTEXT, 0), None))


def _last_price(records: Records) -> float:
    if records.kind is TRADES:
        return float(records["price"][-1])
    return float(records["bid"][-1] + records["ask"][-1]) / 2 if records.kind is QUOTES else float("nan")


def _sift(records: Records, check: Check, struck: Bools, ledger: Ledger, away: list[tuple[Check, Records]]) -> Records:
    """The rows that stay; those that a quarantine struck go."""
    ledger.strike(check, records, struck)
    if check.outcome != "quarantine" or not struck.any():
        return records
    away.append((check, records.where(struck)))
    return records.where(~struck)


def _of_one(batches: Iterable[Records]) -> Iterator[Records]:
    told: tuple[str, str, str] | None = None
    for records in batches:
        here = (records.kind.name, records.venue, records.symbol)
        if told is not None and here != told:
            raise DataError(f"expected rows of one kind, venue and symbol, {told}, got {here}")
        told = here
        yield records


def _as_needed(batches: Iterator[Records]) -> Iterator[Records]:
    """Batches as they come, or all in one."""
    for records in batches:
        if records.kind in STREAMED and not newest_first(records):
            yield records
        else:
            yield _gathered(records, batches)


def _gathered(first: Records, others: Iterator[Records]) -> Records:
    """One batch of all; DataError beyond `WHOLE` rows."""
    parts, rows = [first], len(first)
    for records in others:
        parts.append(records)
        rows += len(records)
        if rows > WHOLE:
            raise DataError(
                f"{first.venue} {first.symbol} {first.kind.name}: expected at most {WHOLE:,} rows, got more"
            )
    return joined(parts)


def _marked(batches: Iterator[Records]) -> Iterator[tuple[Records, bool]]:
    """Each batch, and whether it is the last."""
    before = next(batches, None)
    for records in batches:
        assert before is not None
        yield before, False
        before = records
    if before is not None:
        yield before, True


def _held_back(records: Records) -> tuple[Records, Records | None]:
    """Rows that nothing in the next batch can come before, and those that it might: clocks of one venue differ.

    What is held back is enough for the last of the others to be judged by the rows after it.
    """
    if records.kind not in (TRADES, QUOTES) or not len(records):
        return records, None
    time = records["time"]
    settled = int(np.searchsorted(time, time[-1] - np.timedelta64(JITTER, "ns")))
    cut = max(settled - NEIGHBOURS, 0)
    return records.where(slice(None, cut)), records.where(slice(cut, None))
