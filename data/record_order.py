"""Do rows come in the order of time, and each once?

Rows are put in order where nothing but their order is wrong; a row whose instant is far from its neighbours' is set
aside, for then the instant itself may be what is wrong. Book changes keep the order in which they were sent.
"""

from bisect import bisect_right

import numpy as np

from data.arrays import Bools, Ints, Places
from data.check_results import Check, Ledger, Repair
from data.record_checks import Scope
from data.records import (
    BARS,
    BOOK,
    DEPTH,
    FUNDING,
    INDEX,
    LIQUIDATIONS,
    METRICS,
    OPTIONS,
    QUOTES,
    TRADES,
    UNKNOWN,
    Records,
)

SERIES = (BARS, FUNDING, METRICS, INDEX)  # kinds that are judged as a whole, one row an instant
TAPES = (TRADES, QUOTES, BOOK)
JITTER = 10**9  # ns that the clocks of one venue's machines may differ by
FAR = 100  # steps of a series: a row so far from where it stands has the wrong instant
LEAST = 10  # rows of a series that tell its step
SHUFFLED = 0.2  # of the rows out of place: then it is the file that is in no order

NEWEST_FIRST = Check("newest first", "the oldest row comes first", "repair")
DISORDER = Check("out of order", "rows come in the order of time", "repair")
UNORDERED_BOOK = Check("book time", "messages of a book come in the order of time", "accept")
MISPLACED = Check(
    "misplaced",
    f"an instant fits between those before and after it, to a second or {FAR} steps of a series",
    "quarantine",
)
AHEAD = Check("far ahead", f"a file does not end in a row or two {FAR} steps after all others", "quarantine")
LATE = Check("late", "a row is not older than the batch or file before it", "quarantine")
DUPLICATE = Check("duplicate", "a row comes once", "quarantine")
CONFLICT = Check("conflict", "rows of one instant, or of one number, say the same", "quarantine")
SKIPPED = Check("numbers skipped", "the venue's numbers of trades rise by one", "accept")
_OWN_NUMBER = {TRADES: "id", QUOTES: "update"}


def newest_first(records: Records) -> bool:
    """Whether the rows of a file run backwards in time, by its first batch."""
    time = _known(records)
    step = np.diff(time)
    return len(time) > 1 and bool(time[-1] < time[0]) and bool(np.mean(step <= 0) > 1 - SHUFFLED)


def in_order(records: Records, scope: Scope, ledger: Ledger) -> tuple[Records, list[tuple[Check, Records]]]:
    """Dated rows in the order of time, and those set aside with the check that struck them."""
    away: list[tuple[Check, Records]] = []
    if newest_first(records):
        records = _moved(records, np.arange(len(records))[::-1], NEWEST_FIRST, ledger)
    time = _known(records)
    if (np.diff(time) < 0).any():
        if records.kind in TAPES and (np.maximum.accumulate(time) - time).max() > JITTER:
            records = ledger.set_aside(MISPLACED, records, _strays(time), away)
        if records.kind in SERIES:
            records = ledger.set_aside(MISPLACED, records, _leapt(time), away)
        records = _sorted(records, ledger)
    if records.kind in SERIES:
        records = ledger.set_aside(AHEAD, records, _ahead(_known(records)), away)
    if not np.isnat(scope.newest) and len(records):
        limit = scope.newest - np.timedelta64(JITTER if records.kind is BOOK else 0, "ns")
        late = records["time"] <= limit if records.kind in SERIES else records["time"] < limit
        records = ledger.set_aside(LATE, records, np.asarray(late), away)
    return records, away


def once(records: Records, seen: Ints, ledger: Ledger) -> tuple[Records, list[tuple[Check, Records]]]:
    """Rows of which each comes once; `seen` are the venue's numbers in the batch before.

    A copy of an earlier row is set aside. Of rows that speak of the same and differ nobody knows which is right, so
    none is kept.
    """
    away: list[tuple[Check, Records]] = []
    keys = _keys(records)
    if records.kind is TRADES and "id" in records.columns and len(seen):
        again = np.isin(records["id"], seen) & (records["id"] != UNKNOWN)
        records = ledger.set_aside(DUPLICATE, records, again, away)
        keys = _keys(records)
    if keys and len(records) > 1:
        copies, differing = _repeated(records, keys)
        kept = ledger.set_aside(CONFLICT, records, differing, away)
        records = ledger.set_aside(DUPLICATE, kept, copies[~differing], away)
    _skipped(records, ledger)
    return records, away


def _known(records: Records) -> Ints:
    time = records["time"]
    return np.asarray(time[~np.isnat(time)]).view(np.int64)


def _moved(records: Records, places: Places, check: Check, ledger: Ledger) -> Records:
    out = records.where(places)
    moved = out.row != records.row
    if moved.any():
        ledger.strike(check, records, moved)
        nothing = np.empty(0, dtype=np.int64)
        ledger.repaired(Repair(check, "", nothing, nothing, nothing))
    return out


def _sorted(records: Records, ledger: Ledger) -> Records:
    time = records["time"].view(np.int64)
    if records.kind is BOOK:
        ledger.strike(UNORDERED_BOOK, records, np.concatenate([[False], np.diff(time) < 0]))
        return records
    return _moved(records, np.argsort(time, kind="stable"), DISORDER, ledger)


def _strays(time: Ints) -> Bools:
    """Rows far from their place, among others that are in order; none where hardly any are."""
    off = np.ones(len(time), dtype=bool)
    off[_rising(time)] = False
    if off.mean() > SHUFFLED:
        return np.zeros(len(time), dtype=bool)
    return np.asarray(off & (_distance(time, off) > JITTER))


def _leapt(time: Ints) -> Bools:
    """Rows of a series that stand `FAR` steps from their place, among others that are in order."""
    off = np.ones(len(time), dtype=bool)
    off[_rising(time)] = False
    if off.mean() > SHUFFLED:
        return np.zeros(len(time), dtype=bool)
    return np.asarray(off & (_distance(time, off) > FAR * _usual_step(np.sort(time))))


def _ahead(time: Ints) -> Bools:
    """The last row of a series, or the last two, after a hole of `FAR` steps: the next file would come late."""
    struck = np.zeros(len(time), dtype=bool)
    if len(time) < LEAST:
        return struck
    far = np.diff(time)[-2:] > FAR * _usual_step(time)
    struck[-2:] = np.logical_or.accumulate(far)
    return struck


def _usual_step(time: Ints) -> int:
    return max(int(np.median(np.diff(time))), 1) if len(time) > 1 else 1


def _rising(time: Ints) -> Places:
    """Places of a longest part that never falls (patience sorting, Fredman 1975)."""
    ends: list[int] = []
    places: list[int] = []
    before = np.full(len(time), -1)
    for at, value in enumerate(time.tolist()):
        pile = bisect_right(ends, value)
        before[at] = places[pile - 1] if pile else -1
        if pile == len(ends):
            ends.append(value)
            places.append(at)
        else:
            ends[pile], places[pile] = value, at
    chain, at = [], places[-1]
    while at >= 0:
        chain.append(at)
        at = int(before[at])
    return np.array(chain[::-1])


def _distance(time: Ints, off: Bools) -> Ints:
    """How far, in ns, each instant is from lying between those in order around it."""
    here = np.flatnonzero(~off)
    after = np.searchsorted(here, np.arange(len(time)))
    low = time[here[np.maximum(after - 1, 0)]]
    high = time[here[np.minimum(after, len(here) - 1)]]
    return np.asarray(np.maximum(np.maximum(low - time, time - high), 0))


def _keys(records: Records) -> list[str]:
    """The columns by which a row is one and no other; none where equal rows may both be right."""
    kind, held = records.kind, records.columns
    if kind in _OWN_NUMBER:
        return [name for name in (_OWN_NUMBER[kind],) if name in held]
    if kind is BOOK:
        return []
    if kind is LIQUIDATIONS:
        return [*held]
    own = {BARS: ["opened"], DEPTH: ["time", "band"], OPTIONS: ["time", "symbol"]}.get(kind, ["time"])
    return own + (["received"] if "received" in held else [])


def _repeated(records: Records, keys: list[str]) -> tuple[Bools, Bools]:
    """Copies of an earlier row, and rows with the key of another that says something else."""
    codes = {name: _coded(records, name) for name in records.columns if name != "received" or name in keys}
    order = np.lexsort([codes[name] for name in reversed(keys)])
    same_key = np.ones(len(order), dtype=bool)
    same_row = np.ones(len(order), dtype=bool)
    for name, code in codes.items():
        equal = np.concatenate([[False], code[order][1:] == code[order][:-1]])
        same_row &= equal
        if name in keys:
            same_key &= equal
    if keys[0] in _OWN_NUMBER.values():
        same_key &= codes[keys[0]][order] != UNKNOWN
    group = np.cumsum(~same_key)
    at_odds = np.isin(group, group[same_key & ~same_row])
    copies, differing = np.zeros(len(order), dtype=bool), np.zeros(len(order), dtype=bool)
    copies[order] = same_key & same_row
    differing[order] = at_odds
    return copies, differing


def _coded(records: Records, name: str) -> Ints:
    """A column as whole numbers that are equal where it is."""
    values = records[name]
    if values.dtype.kind == "O":
        return np.unique(np.array([str(value) for value in values]), return_inverse=True)[1]
    if values.dtype.kind == "f":
        plain = np.where(np.isnan(values), np.nan, values + 0.0)
        return np.asarray(plain).view(np.int64)
    return np.asarray(values.astype(np.int64))


def _skipped(records: Records, ledger: Ledger) -> None:
    """Note trades whose number is further on than their row: rows set aside are not missing."""
    if records.kind is not TRADES or "id" not in records.columns or len(records) < 3:
        return
    order = np.argsort(records["id"], kind="stable")
    number, row = records["id"][order], records.row[order]
    step = np.diff(number)
    if number[0] != UNKNOWN and np.median(step) == 1:
        struck = np.zeros(len(records), dtype=bool)
        struck[order[1:][step > np.abs(np.diff(row))]] = True
        ledger.strike(SKIPPED, records, struck)
