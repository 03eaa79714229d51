"""What is wrong with a series as a whole, though each of its rows may be right?

Splices, made-up stretches, wrong units and shifted zones show only beside other rows. What is found by inference is
set aside, or noted; nothing is scaled or shifted by a guess.
"""

from collections.abc import Callable

import numpy as np

from data.arrays import Bools, Floats, Ints
from data.check_results import Check, Ledger, Outcome, Repair, Rule
from data.quality import SPIKE, STALE
from data.records import BARS, FUNDING, INDEX, METRICS, Kind, Records

SPLICE = 2.0  # log return of a rise that no market made: LUNA's own fall had rises of 1.3, its successor's listing 12
WILD, AROUND = 8.0, 10  # a spike is so many times the median step of so many rows on each side
JUMP = 1.0  # log return worth a look
SHARP = 0.25  # log return, of which REVERTED is taken back within two rows
REVERTED = 0.4
POWERS = (2, 3, 6, 8, 9)  # of ten, between units: cents, thousands, millions, satoshi, nano
LEAST = 4  # points of a straight line beyond its ends, where nothing but closes is known
YEARLY = 3.0  # funding a year, of which a median beyond was written in percent
BASE, BASED = 0.01, 0.1  # venues' base rate in percent, and the share of rows that have it to the digit
SETTLED = (0, 4)  # hours of the day, modulo 8, at which eight-hour funding is settled
COPIED = 3  # bars in a row that repeat earlier ones
MIX = np.uint64(0x9E3779B97F4A7C15)  # of bits, by the golden ratio (Knuth 1973, section 6.4)
HOUR = 3600 * 10**9
DAY = 24 * HOUR
MONTH = 28 * DAY

LONG_BAR = Check("long bar", "a bar is no longer than the interval of its series", "quarantine")
SHORT_BAR = Check("short bar", "a bar is as long as the interval: the end is moved to the interval's", "repair")


def whole_bars(records: Records, ledger: Ledger) -> tuple[Records, Bools]:
    """Bars with the end that their interval gives them, and which are none.

    A venue that halted ends its bar there; it began on the interval's grid. A bar that did not, or is longer, has a
    stamp that is wrong, and nobody knows which of the two.
    """
    width = interval(records)
    if width is None or width >= MONTH:
        return records, np.zeros(len(records), dtype=bool)
    opened = records["opened"].view(np.int64)
    length = records["time"].view(np.int64) - opened
    on_grid = opened % width == _mode(opened % width)
    short = (length < width) & on_grid
    wrong = (length != width) & ~short
    ledger.strike(LONG_BAR, records, wrong)
    if not short.any():
        return records, wrong
    ledger.strike(SHORT_BAR, records, short)
    ends = np.where(short, opened + width, opened + length).view("datetime64[ns]")
    ledger.repaired(Repair(SHORT_BAR, "time", records.row[short], records["time"][short], ends[short]))
    columns = {**records.columns, "time": ends}
    return Records(records.kind, records.venue, records.symbol, columns, records.row), wrong


def interval(records: Records) -> int | None:
    """How far rows are apart, in ns: what most bars last, or most steps of another series; None of a single row."""
    records = records.where(~np.isnat(records["time"]))
    if len(records) < 2:
        return None
    time = records["time"].view(np.int64)
    step = time - records["opened"].view(np.int64) if records.kind is BARS else _rounded(np.diff(time))
    return max(_mode(step), 1)


def _mode(values: Ints) -> int:
    told, counts = np.unique(values, return_counts=True)
    return int(told[counts.argmax()])


def _rounded(step: Ints) -> Ints:
    """To the second: settlements are stamped milliseconds late."""
    return np.asarray((step + 5 * 10**8) // 10**9 * 10**9)


def _level(records: Records) -> Floats:
    """Log of the price, or of a level that is always above 0; NaN of other series."""
    values = records["close"] if records.kind is BARS else records["value"]
    if not (values > 0).all():
        return np.full(len(values), np.nan)
    return np.asarray(np.log(values))


def _spike(records: Records) -> Bools:
    """One row or two, far off a level that is back afterwards."""
    level, limit = _level(records), np.log(SPIKE)
    struck = np.zeros(len(level), dtype=bool)
    for rows in (1, 2):
        before, after = level[: -rows - 1], level[rows + 1 :]
        inside = np.array([level[j : len(level) - rows - 1 + j] for j in range(1, rows + 1)])
        out = np.abs(inside - before).min(axis=0, initial=np.inf)
        same_side = (np.sign(inside - before) == np.sign(inside[0] - before)).all(axis=0)
        here = np.flatnonzero((out > limit) & same_side & (np.abs(after - before) < out / 4))
        for at in here.tolist():
            struck[at + 1 : at + rows + 1] |= out[at] > WILD * _usual(level, at, rows)
    return struck


def _usual(level: Floats, at: int, rows: int) -> float:
    """The median step of the rows around a spike, which in a crash is large itself."""
    steps = np.abs(np.diff(level))
    return float(np.median(np.concatenate([steps[max(at - AROUND, 0) : at], steps[at + rows + 1 :][:AROUND], [0.0]])))


def _from_first(struck: Bools) -> Bools:
    return np.asarray(np.logical_or.accumulate(struck))


def _steps(records: Records) -> Floats:
    """Log returns from row to row, 0 at the first."""
    return np.diff(_level(records), prepend=_level(records)[:1])


def _unit(records: Records) -> Bools:
    """All rows from a step by a power of ten on, a tenth of a log either way."""
    step = np.abs(_steps(records))
    powers = [np.abs(step - power * np.log(10)) < 0.1 for power in POWERS]
    return _from_first(np.logical_or.reduce(powers))


def _splice(records: Records) -> Bools:
    return _from_first(_steps(records) > SPLICE)


def _jump(records: Records) -> Bools:
    return np.asarray(np.abs(_steps(records)) > JUMP)


def _sharp(records: Records) -> Bools:
    """A move that is largely taken back within two rows, as after a wick."""
    level = _level(records)
    step = np.diff(level)
    struck = np.zeros(len(level), dtype=bool)
    for later in (1, 2):
        out, back = step[:-later], level[1 + later :] - level[1:-later]
        struck[1:-later] |= (np.abs(out) > SHARP) & (back * np.sign(out) < -REVERTED * np.abs(out))
    return struck


def _stale(records: Records) -> Bools:
    """Rows that end STALE equal ones or continue them."""
    level = _level(records)
    same = np.concatenate([[False], np.diff(level) == 0])[: len(level)]
    at = np.arange(len(level))
    return np.asarray(at - np.maximum.accumulate(np.where(same, 0, at)) >= STALE)


def _straight(values: Floats) -> Bools:
    """Points that lie on the line between their neighbours."""
    scale = np.abs(values).max(initial=0.0) if values.size else 0.0
    bend = np.abs(values[2:] - 2 * values[1:-1] + values[:-2])
    return np.concatenate([[False], bend <= 1e-12 * scale + 1e-10 * np.abs(values[1:-1]), [False]])


def _interpolated(records: Records) -> Bools:
    """Runs of rows on a straight line in all that is known of them, and not at rest."""
    if len(records) < LEAST + 2:
        return np.zeros(len(records), dtype=bool)
    if records.kind is not BARS:
        line = _straight(records["value"]) & _moving(records["value"])
        return _runs_of(line, LEAST)
    told = [name for name in ("open", "high", "low", "close", "volume") if name in records.columns]
    known = [name for name in told if not np.isnan(records[name]).all()]
    line = np.logical_and.reduce([_straight(records[name]) for name in known])
    certain = "volume" in known and (interval(records) or 0) >= HOUR  # by chance not once in a million hours
    return _runs_of(line & _moving(records["close"]), LEAST if known == ["close"] else 1 if certain else 2)


def _moving(values: Floats) -> Bools:
    return np.concatenate([[False], np.diff(values) != 0])


def _runs_of(struck: Bools, least: int) -> Bools:
    """Rows struck that have `least` such neighbours in a row, themselves counted."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], struck, [False]]).astype(np.int8)))
    out = np.zeros(len(struck), dtype=bool)
    for first, end in edges.reshape(-1, 2):
        out[first:end] = end - first >= least
    return out


def _copied(records: Records) -> Bools:
    """Runs of bars that say to the last digit what earlier ones did."""
    names = [name for name in ("open", "high", "low", "close", "volume") if name in records.columns]
    mixed = np.zeros(len(records), dtype=np.uint64)
    for name in names:
        mixed = (mixed ^ np.ascontiguousarray(records[name]).view(np.uint64)) * MIX
    _, first, place = np.unique(mixed, return_index=True, return_inverse=True)
    same = np.logical_and.reduce([records[name][first[place]] == records[name] for name in names])
    lively = same & (records["high"] > records["low"])
    if "volume" in names:
        lively &= records["volume"] > 0
    return _runs_of((first[place] < np.arange(len(records))) & lively, COPIED)


def _gap(records: Records) -> Bools:
    """Rows after a hole."""
    width = interval(records)
    if width is None or width >= MONTH:
        return np.zeros(len(records), dtype=bool)
    time = (records["opened"] if records.kind is BARS else records["time"]).view(np.int64)
    return np.concatenate([[False], np.diff(time) > 1.5 * width])


def _percent(records: Records) -> Bools:
    """All rates, where half of them would be ruinous as shares, or many are the base rate in percent."""
    width = interval(records)
    hours = min(max((width or 8 * HOUR) / HOUR, 1.0), 24.0)
    typical = float(np.median(np.abs(records["rate"]))) if len(records) else 0.0
    based = float(np.mean(np.abs(records["rate"]) == BASE)) if len(records) else 0.0
    return np.full(len(records), typical * 24 * 365 / hours > YEARLY or based > BASED)


def _hours(records: Records) -> Ints:
    """Hours of the day, modulo 8, of eight-hour funding; -1 where it is paid at other intervals."""
    width = interval(records)
    if width is None or width != 8 * HOUR:
        return np.full(len(records), -1)
    nearest = (records["time"].view(np.int64) + HOUR // 2) // HOUR
    return np.asarray(nearest % 8)


def _shifted(records: Records) -> Bools:
    """All rows, where most are paid at hours of another zone."""
    hours = _hours(records)
    off = (hours >= 0) & ~np.isin(hours, SETTLED)
    return np.full(len(records), bool(off.mean() > 0.5) if len(records) else False)


def _unsettled(records: Records) -> Bools:
    hours = _hours(records)
    return np.asarray((hours >= 0) & (hours != _mode(hours))) if len(records) else np.zeros(0, dtype=bool)


def _day_elsewhere(records: Records) -> Bools:
    """All rows of daily bars that begin at another hour than midnight."""
    starts = records["opened"].view(np.int64) % DAY
    off = interval(records) == DAY and bool(np.median(starts != 0))
    return np.full(len(records), off)


def _rule(
    name: str, rule: str, strikes: Callable[[Records], Bools], *kinds: Kind, outcome: Outcome = "quarantine"
) -> Rule:
    return Rule(Check(name, rule, outcome), kinds, strikes)


SERIES_RULES = (
    _rule("percent", f"funding is a share: half below {YEARLY:.0%} a year, few just {BASE}", _percent, FUNDING),
    _rule("shifted zone", "funding of eight hours is settled at 0, 8 and 16 or 4, 12 and 20 UTC", _shifted, FUNDING),
    _rule("spike", f"no level x{SPIKE:g} off for a row or two, and back", _spike, BARS, INDEX),
    _rule("unit change", f"no lasting step by 10 to the {POWERS}: other units from there on", _unit, BARS, INDEX),
    _rule("splice", f"no lasting rise by more than e^{SPLICE:g}: another asset from there on", _splice, BARS, INDEX),
    _rule("interpolated", "no run of rows on one straight line, volume and all", _interpolated, BARS, INDEX),
    _rule("copied bars", f"no {COPIED} bars in a row that repeat earlier ones to the digit", _copied, BARS),
    _rule("gap", "rows follow each other at the interval", _gap, BARS, FUNDING, METRICS, INDEX, outcome="accept"),
    _rule("off the hours", "funding is settled at the same hours every day", _unsettled, FUNDING, outcome="accept"),
    _rule("day elsewhere", "a daily bar begins at midnight UTC", _day_elsewhere, BARS, outcome="accept"),
    _rule("jump", f"no move beyond e^{JUMP:g} in a row", _jump, BARS, INDEX, outcome="accept"),
    _rule(
        "sharp reversal", f"no move beyond {SHARP:g} (log), {REVERTED:.0%} taken back", _sharp, BARS, outcome="accept"
    ),
    _rule("stale", f"a level moves within {STALE} rows", _stale, BARS, INDEX, outcome="accept"),
)
