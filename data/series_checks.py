"""What is wrong with a series as a whole, though each of its rows may be right?

Splices, made-up stretches, wrong units and shifted zones show only beside other rows. What is found by inference is
set aside, or noted; nothing is scaled or shifted by a guess.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.arrays import Bools, Floats
from data.check_results import Check, Ledger, Outcome, Repair, Rule
from data.funding_checks import FUNDING_NOTES, FUNDING_RULES
from data.quality import SPIKE, STALE
from data.records import BARS, FUNDING, INDEX, METRICS, Kind, Records
from data.row_steps import DAY, HOUR, MONTH, mode
from data.row_steps import interval as interval  # data/brought_files.py has it from here

SPLICE = 2.0  # log return of a rise that no market made: LUNA's own fall had rises of 1.3, its successor's listing 12
WILD, AROUND = 8.0, 10  # a spike is so many times the median step of so many rows on each side
RATES = 0.02  # of the rows at or below 0: then it is a rate, for which that is nothing
PERCENT = 2.0  # a volatility index below is a share: 200 %, say
FALLEN = 20  # rows in a row at or below 0 that may be wrong: a rate that stays there is a rate
JUMP = 1.0  # log return worth a look
SHARP = 0.25  # log return, of which REVERTED is taken back within two rows
REVERTED = 0.4
POWERS = (2, 3, 6, 8, 9)  # of ten, between units: cents, thousands, millions, satoshi, nano
LEAST = 4  # points of a straight line between its ends that no chance makes
CHANCE = 1e-3  # of such a run anywhere in a series, by how often its points lie straight
COPIED = 3  # bars in a row that repeat earlier ones
MIX = np.uint64(0x9E3779B97F4A7C15)  # of bits, by the golden ratio (Knuth 1973, section 6.4)

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
    on_grid = opened % width == mode(opened % width)
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


def _followed(records: Records, *more: str) -> list[Floats]:
    """Prices and levels that are above 0; of an index none where it comes to 0, as rates and premiums do."""
    if records.kind is METRICS:
        return [records[name] for name in ("mark", "index", "last", *more) if name in records.columns]
    values = records["close"] if records.kind is BARS else records["value"]
    return [values] if (values > 0).all() and not _is_premium(records) else []


def _each(strikes: Callable[[Floats], Bools], *more: str) -> Callable[[Records], Bools]:
    """A rule of logs (R,) asked of every price or level, where it is known."""

    def asked(records: Records) -> Bools:
        struck = np.zeros(len(records), dtype=bool)
        for values in _followed(records, *more):
            known = np.flatnonzero(values > 0)
            struck[known] |= strikes(np.log(values[known]))
        return struck

    return asked


def _is_premium(records: Records) -> bool:
    return "PREMIUM" in records.symbol.upper()


def _is_volatility(records: Records) -> bool:
    """Whether an index is one of volatility, or of prices, by its name: all that Deribit publishes is."""
    name = records.symbol.upper()
    return records.venue == "deribit" or "VOL" in name or "VIX" in name or name.endswith(("_INDEX", "_MARK"))


def _is_share(records: Records) -> Bools:
    """All of a volatility that is told as a share, where venues publish percent."""
    named = records.venue == "deribit" or any(word in records.symbol.upper() for word in ("VOL", "VIX"))
    return np.full(len(records), bool(named and len(records) and np.median(records["value"]) < PERCENT))


def _fallen(records: Records) -> Bools:
    """Levels at or below 0: all of a volatility; of others a few that lie far from the levels around and come back.

    A rate comes to 0 often, or in steps of its usual size, or stays there.
    """
    values = records["value"]
    down = values <= 0
    if _is_volatility(records):
        return np.asarray(down)
    struck = np.zeros(len(values), dtype=bool)
    if _is_premium(records) or down.sum() > max(RATES * len(down), 2):
        return struck
    above = np.flatnonzero(values > 0)
    for first, end in np.flatnonzero(np.diff(down, prepend=False, append=False)).reshape(-1, 2).tolist():
        at = int(np.searchsorted(above, first))
        near = values[above[max(at - AROUND, 0) : at + AROUND]]
        within = first > 0 and end < len(values)
        if len(near) > 1 and end - first <= (FALLEN if within else 1):
            usual = np.median(np.abs(np.diff(near)))
            struck[first:end] = np.median(near) - values[first:end] > WILD * usual
    return struck


def _spike(level: Floats) -> Bools:
    """One row or two, far off a level that is back afterwards."""
    limit = np.log(SPIKE)
    struck = np.zeros(len(level), dtype=bool)
    for rows in (1, 2):
        before, after = level[: -rows - 1], level[rows + 1 :]
        if not len(after):
            break
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


def _steps(level: Floats) -> Floats:
    """Log returns from row to row, 0 at the first."""
    return np.diff(level, prepend=level[:1])


def _unit(level: Floats) -> Bools:
    """All rows from a step by a power of ten on, a tenth of a log either way."""
    step = np.abs(_steps(level))
    powers = [np.abs(step - power * np.log(10)) < 0.1 for power in POWERS]
    return _from_first(np.logical_or.reduce(powers))


def _splice(level: Floats) -> Bools:
    return _from_first(_steps(level) > SPLICE)


def _jump(level: Floats) -> Bools:
    return np.asarray(np.abs(_steps(level)) > JUMP)


def _sharp(level: Floats) -> Bools:
    """A move that is largely taken back within two rows, as after a wick."""
    step = np.diff(level)
    struck = np.zeros(len(level), dtype=bool)
    for later in (1, 2):
        out, back = step[:-later], level[1 + later :] - level[1:-later]
        struck[1:-later] |= (np.abs(out) > SHARP) & (back * np.sign(out) < -REVERTED * np.abs(out))
    return struck


def _stale(level: Floats) -> Bools:
    """Rows that end STALE equal ones or continue them."""
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
        return _runs_of(line, max(LEAST, _of_equal_steps([records["value"]])))
    told = [name for name in ("open", "high", "low", "close", "volume") if name in records.columns]
    known = [name for name in told if not np.isnan(records[name]).all()]
    lines = [_straight(records[name]) | (_straight_in_logs(records[name]) & (name != "volume")) for name in known]
    line, moving = np.logical_and.reduce(lines), _moving(records["close"])
    certain = "volume" in known and (interval(records) or 0) >= HOUR  # by chance not once in a million hours
    least = 1 if certain else _least([(one & moving).mean() for one in lines], len(line))
    return _runs_of(line & moving, max(least, _of_equal_steps([records[name] for name in known])))


def _of_equal_steps(columns: list[Floats]) -> int:
    """How many points in a row chance does not make straight where steps are few ticks, and so come again."""
    scales = [max(np.nanmax(np.abs(values)), np.finfo(float).tiny) for values in columns]
    steps = [np.rint(np.diff(values) / scale * 1e9) for values, scale in zip(columns, scales, strict=True)]
    code = _mixed(steps)
    anew = np.any(steps, axis=0) & np.append(True, code[1:] != code[:-1])  # a made-up stretch is one
    _, count = np.unique(code[anew], return_counts=True)
    often = (count.max(initial=1) - 1) / max(len(steps[0]), 1)
    return _beyond_chance(often, len(steps[0])) - 1 if often else 1


def _beyond_chance(share: float, rows: int) -> int:
    """How long a run chance does not make in `rows` of which a share, above 0, goes on."""
    return int(np.ceil(np.log(CHANCE / rows) / np.log(share))) if share < 1 else rows + 1


def _mixed(columns: list[Floats]) -> NDArray[np.uint64]:
    """A number for each row of what all its columns say."""
    mixed = np.zeros(len(columns[0]), dtype=np.uint64)
    for values in columns:
        mixed = (mixed ^ np.ascontiguousarray(values + 0.0).view(np.uint64)) * MIX
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _least(share: list[float], rows: int) -> int:
    """How many points in a row chance does not make straight in `rows`, where of each column a share is.

    A single point is enough only where four columns tell alike.
    """
    joint = float(np.prod(share))
    if not 0 < joint < 1:
        return LEAST
    needed = int(np.ceil(np.log(CHANCE / rows) / np.log(joint)))
    return min(max(needed, 2 if len(share) < 4 else 1), LEAST if len(share) == 1 else 2)


def _straight_in_logs(values: Floats) -> Bools:
    """Points that a constant ratio leads to and away from."""
    if not (values > 0).all():
        return np.zeros(len(values), dtype=bool)
    bend = np.abs(values[2:] * values[:-2] / values[1:-1] ** 2 - 1.0)
    return np.concatenate([[False], bend <= 1e-10, [False]])[: len(values)]


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
    """Runs of bars that say to the last digit what as many in a row said before.

    Bars of a few ticks repeat earlier ones by chance: the more do so alone, the longer a run must be.
    """
    names = [name for name in ("open", "high", "low", "close", "volume") if name in records.columns]
    _, first, place = np.unique(_mixed([records[name] for name in names]), return_index=True, return_inverse=True)
    same = np.logical_and.reduce([records[name][first[place]] == records[name] for name in names])
    lively = same & (records["high"] > records["low"])
    if "volume" in names:
        lively &= records["volume"] > 0
    at = np.arange(len(records))
    again = (first[place] < at) & lively
    in_step = _runs_at_one_distance(again, at - first[place], COPIED)
    alone = float(np.mean(again & ~in_step)) if len(records) else 0.0
    return _runs_at_one_distance(again, at - first[place], max(COPIED, _beyond_chance(alone, len(at)) if alone else 1))


def _runs_at_one_distance(struck: Bools, distance: NDArray[np.intp], least: int) -> Bools:
    """Rows struck that have `least` such neighbours in a row with the same distance, themselves counted."""
    code = np.where(struck, distance, -1)
    begins = np.flatnonzero(np.diff(code, prepend=-2) != 0)
    length = np.diff(begins, append=len(code))
    return np.asarray(struck & np.repeat(length >= least, length))


def _gap(records: Records) -> Bools:
    """Rows after a hole."""
    width = interval(records)
    if width is None or width >= MONTH:
        return np.zeros(len(records), dtype=bool)
    time = (records["opened"] if records.kind is BARS else records["time"]).view(np.int64)
    return np.concatenate([[False], np.diff(time) > 1.5 * width])


def _day_elsewhere(records: Records) -> Bools:
    """All rows of daily bars that begin at another hour than midnight."""
    starts = records["opened"].view(np.int64) % DAY
    off = interval(records) == DAY and bool(np.median(starts != 0))
    return np.full(len(records), off)


def _rule(
    name: str, rule: str, strikes: Callable[[Records], Bools], *kinds: Kind, outcome: Outcome = "quarantine"
) -> Rule:
    return Rule(Check(name, rule, outcome), kinds, strikes)


_LEVELS = (BARS, INDEX, METRICS)
SERIES_RULES = (
    *FUNDING_RULES,
    _rule(
        "not above 0",
        "a volatility is above 0, and no level falls far below its usual steps and is back",
        _fallen,
        INDEX,
    ),
    _rule("volatility as a share", f"half of a volatility index are above {PERCENT:g} percent", _is_share, INDEX),
    _rule("spike", f"no level x{SPIKE:g} off for a row or two, and back", _each(_spike, "open_interest"), *_LEVELS),
    _rule("unit change", f"no lasting step by 10 to the {POWERS}: other units from there on", _each(_unit), *_LEVELS),
    _rule(
        "splice", f"no lasting rise by more than e^{SPLICE:g}: another asset from there on", _each(_splice), *_LEVELS
    ),
    _rule("interpolated", "no run of rows on one straight line, in all that is told", _interpolated, BARS, INDEX),
    _rule("copied bars", f"no {COPIED} bars in a row that repeat earlier ones to the digit", _copied, BARS),
    _rule("gap", "rows follow each other at the interval", _gap, BARS, FUNDING, METRICS, INDEX, outcome="accept"),
    *FUNDING_NOTES,
    _rule("day elsewhere", "a daily bar begins at midnight UTC", _day_elsewhere, BARS, outcome="accept"),
    _rule("jump", f"no move beyond e^{JUMP:g} in a row", _each(_jump), *_LEVELS, outcome="accept"),
    _rule(
        "sharp reversal",
        f"no move beyond {SHARP:g} (log), {REVERTED:.0%} taken back",
        _each(_sharp),
        BARS,
        outcome="accept",
    ),
    _rule("stale", f"a level moves within {STALE} rows", _each(_stale), BARS, INDEX, outcome="accept"),
)
