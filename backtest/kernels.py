"""What do losses and margins add up to, portfolio by portfolio, in one pass?"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import log
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from data.errors import ParameterError
from data.threads import pool

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

ROWS, WIDTH = 256, 512  # decisions and portfolios added up together; how a panel is cut does not depend on the threads
_PADDED = WIDTH + 8  # sums a power of two apart would compete for the same lines of the cache
_ROWS_A_LOGARITHM = 16  # a product of so many shortfalls within the bounds below neither over- nor underflows
_BREACH = 2.0**26  # a breach in a sum that also counts decisions
_LEAST_ES, _MOST_ES = 1e-15, 1e15
_ENOUGH_FOR_THREADS = 200_000  # pairs; fewer are done before a thread has started


class _Running(NamedTuple):
    """Sums of one portfolio so far.

    The first three hold two counts each, decisions in units and breaches in units of 2**26, so that one addition does
    for both: of all decisions, of those after one with a position, and of those after a breach.
    """

    all: float
    after_any: float
    after_breach: float
    gap: float
    shortfall: float
    peak: float
    margin: float
    fz_count: float
    fz: float
    es_product: float
    was_held: float
    was_breach: float


_SUMS = len(_Running._fields)
_PEAK, _FZ, _ES_PRODUCT, _WAS_HELD, _WAS_BREACH = (
    _Running._fields.index(name) for name in ("peak", "fz", "es_product", "was_held", "was_breach")
)


@dataclass(frozen=True, eq=False)
class Tally:
    """What (R, P) losses and margins add up to, each (P,).

    Parameters
    ----------
    count : decisions with a position.
    breaches : losses above margin.
    n00, n01, n10, n11 : transitions between consecutive decisions, both with a position, by breach before and after.
    pinball : mean quantile loss at the level (Koenker and Bassett 1978).
    mean_shortfall, peak_shortfall : uncovered loss, on average and at its worst.
    mean_margin : average margin.
    fz0_total, fz0_count : sum of the FZ0 loss, and the pairs it is defined for.

    Means are NaN where `count` is 0.
    """

    count: Counts
    breaches: Counts
    n00: Counts
    n01: Counts
    n10: Counts
    n11: Counts
    pinball: Floats
    mean_shortfall: Floats
    peak_shortfall: Floats
    mean_margin: Floats
    fz0_total: Floats
    fz0_count: Counts

    @property
    def breach_share(self) -> Floats:
        """Breaches by decision with a position, NaN where there is none."""
        return _per(self.breaches.astype(np.float64), self.count)


def tally(loss: Floats, margin: Floats, level: float, es: Floats | None = None, threads: int | None = None) -> Tally:
    """Count and sum (R, P) losses against margins, decisions oldest first; a NaN in either means there was no position.

    A loss above the margin is a breach. `es` (R, P) is the expected shortfall stated with the margin as value at risk,
    both as losses > 0. The FZ0 loss (Patton, Ziegel and Chen 2019, "Dynamic semiparametric models for expected
    shortfall", J. Econometrics 211, equation 6) is defined where es >= margin > 0; it is counted there, for es from
    1e-15 to 1e15. The order of summation is fixed, so that the answer is the same to the last bit for any number of
    threads (by default as many as numba is allowed) and whatever else is in the panel.

    Raises
    ------
    ParameterError
        Where shapes differ or are not (R, P), the level is not within (0, 1), or threads are fewer than 1.
    """
    shapes = [panel.shape for panel in (loss, margin, es) if panel is not None]
    if loss.ndim != 2 or len(set(shapes)) > 1:
        raise ParameterError(f"loss, margin and es must be (R, P) alike, got {shapes}")
    if not 0.0 < level < 1.0:
        raise ParameterError(f"level must lie within (0, 1), got {level}. Typical values: 0.95-0.999.")
    if threads is not None and threads < 1:
        raise ParameterError(f"threads must be >= 1, got {threads}")
    losses, margins = np.ascontiguousarray(loss, np.float64), np.ascontiguousarray(margin, np.float64)
    tails = margins if es is None else np.ascontiguousarray(es, np.float64)
    rows, portfolios = loss.shape
    part = np.zeros((-(-rows // ROWS), _SUMS, portfolios))

    def add(tile: tuple[int, int]) -> None:
        row, column = tile
        ends = min(row + ROWS, rows), min(column + WIDTH, portfolios)
        add_tile(losses, margins, tails, 1.0 / (1.0 - level), row, ends[0], column, ends[1], part[row // ROWS])

    tiles = list(product(range(0, rows, ROWS), range(0, portfolios, WIDTH)))
    _for_each(add, tiles, (threads or numba.config.NUMBA_NUM_THREADS) if loss.size >= _ENOUGH_FOR_THREADS else 1)  # type: ignore[attr-defined]
    total = part.sum(axis=0)
    total[_PEAK] = part[:, _PEAK].max(axis=0, initial=0.0)
    return _told(total, level, es is not None)


def _for_each(add: Callable[[tuple[int, int]], None], tiles: list[tuple[int, int]], threads: int) -> None:
    """Every thread takes each `threads`-th tile, this one too: to hand out tile after tile would cost more than it."""

    def add_share(which: int) -> None:
        for tile in tiles[which::threads]:
            add(tile)

    others = [pool(threads - 1).submit(add_share, which) for which in range(1, threads)]
    add_share(0)
    for other in others:
        other.result()


def _told(sums: Floats, level: float, has_es: bool) -> Tally:
    total = dict(zip(_Running._fields, sums, strict=True))
    breaches, count = _two_counts(total["all"])
    into, steps = _two_counts(total["after_any"])
    stayed, out_of = _two_counts(total["after_breach"])
    return Tally(
        count=count,
        breaches=breaches,
        n00=steps - into - out_of + stayed,
        n01=into - stayed,
        n10=out_of - stayed,
        n11=stayed,
        pinball=_per(total["shortfall"] - (1.0 - level) * total["gap"], count),
        mean_shortfall=_per(total["shortfall"], count),
        peak_shortfall=total["peak"],
        mean_margin=_per(total["margin"], count),
        fz0_total=total["fz"] * has_es,
        fz0_count=total["fz_count"].astype(np.int64) * has_es,
    )


def _two_counts(total: Floats) -> tuple[Counts, Counts]:
    breaches, decisions = np.divmod(total.astype(np.int64), int(_BREACH))
    return breaches, decisions


def _per(total: Floats, count: Counts) -> Floats:
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


@compiled
def add_pair(running: _Running, loss: float, margin: float, es: float, scale: float) -> _Running:
    """The sums with one more decision; `scale` is 1 / (1 - level).

    FZ0 of losses: scale shortfall / es + margin / es + log(es) - 1, its logarithms gathered as a product.
    """
    gap = loss - margin
    held = gap == gap
    here = 1.0 if held else 0.0
    breach = 1.0 if gap > 0.0 else 0.0
    both = here + _BREACH * breach
    shortfall = gap if gap > 0.0 else 0.0
    scored = held & (margin > 0.0) & (es >= margin) & (es >= _LEAST_ES) & (es <= _MOST_ES)
    divisor = es if scored else 1.0
    fz = (scale * shortfall + margin) / divisor - 1.0
    return _Running(
        all=running.all + both,
        after_any=running.after_any + both * running.was_held,
        after_breach=running.after_breach + both * running.was_breach,
        gap=running.gap + (gap if held else 0.0),
        shortfall=running.shortfall + shortfall,
        peak=shortfall if shortfall > running.peak else running.peak,
        margin=running.margin + (margin if held else 0.0),
        fz_count=running.fz_count + (1.0 if scored else 0.0),
        fz=running.fz + (fz if scored else 0.0),
        es_product=running.es_product * divisor,
        was_held=here,
        was_breach=breach,
    )


@compiled
def _load(state: Floats, j: int) -> _Running:
    """Sums of the j-th portfolio of a block."""
    return _Running(
        state[0, j],
        state[1, j],
        state[2, j],
        state[3, j],
        state[4, j],
        state[5, j],
        state[6, j],
        state[7, j],
        state[8, j],
        state[9, j],
        state[10, j],
        state[11, j],
    )


@compiled
def _store(state: Floats, j: int, running: _Running) -> None:
    """Put the sums of the j-th portfolio back."""
    (
        state[0, j],
        state[1, j],
        state[2, j],
        state[3, j],
        state[4, j],
        state[5, j],
        state[6, j],
        state[7, j],
        state[8, j],
        state[9, j],
        state[10, j],
        state[11, j],
    ) = running


@compiled
def _part_of(panel: Floats, row: int, end: int, first: int, stop: int, blank: Floats) -> Floats:
    """Columns [first, stop) of a row, or as many of `blank` from row `end` on."""
    return panel[row][first:stop] if row < end else blank[: stop - first]


@compiled
def _eight_rows(panel: Floats, row: int, end: int, first: int, stop: int, blank: Floats) -> tuple[Floats, ...]:
    """Columns [first, stop) of eight rows from `row` on."""
    return (
        _part_of(panel, row, end, first, stop, blank),
        _part_of(panel, row + 1, end, first, stop, blank),
        _part_of(panel, row + 2, end, first, stop, blank),
        _part_of(panel, row + 3, end, first, stop, blank),
        _part_of(panel, row + 4, end, first, stop, blank),
        _part_of(panel, row + 5, end, first, stop, blank),
        _part_of(panel, row + 6, end, first, stop, blank),
        _part_of(panel, row + 7, end, first, stop, blank),
    )


@compiled(nogil=True)
def add_tile(
    loss: Floats, margin: Floats, es: Floats, scale: float, start: int, end: int, first: int, stop: int, sums: Floats
) -> None:
    """Fill columns [first, stop) of `sums` (fields, P), at most WIDTH of them, from rows [start, end) of (R, P) panels.

    The inner loop runs across portfolios, so that it vectorises without reordering any sum. Eight decisions are added
    at a visit, because the sums would otherwise cost more memory traffic than the panels.
    """
    state = np.zeros((_SUMS, _PADDED))
    state[_ES_PRODUCT] = 1.0
    blank = np.full(WIDTH, np.nan)
    width = stop - first
    if start > 0:
        for j in range(width):
            before = loss[start - 1, first + j] - margin[start - 1, first + j]
            state[_WAS_HELD, j] = 1.0 if before == before else 0.0
            state[_WAS_BREACH, j] = 1.0 if before > 0.0 else 0.0
    for row in range(start, end, 8):
        l0, l1, l2, l3, l4, l5, l6, l7 = _eight_rows(loss, row, end, first, stop, blank)
        m0, m1, m2, m3, m4, m5, m6, m7 = _eight_rows(margin, row, end, first, stop, blank)
        e0, e1, e2, e3, e4, e5, e6, e7 = _eight_rows(es, row, end, first, stop, blank)
        for j in range(width):
            running = _load(state, j)
            running = add_pair(running, l0[j], m0[j], e0[j], scale)
            running = add_pair(running, l1[j], m1[j], e1[j], scale)
            running = add_pair(running, l2[j], m2[j], e2[j], scale)
            running = add_pair(running, l3[j], m3[j], e3[j], scale)
            running = add_pair(running, l4[j], m4[j], e4[j], scale)
            running = add_pair(running, l5[j], m5[j], e5[j], scale)
            running = add_pair(running, l6[j], m6[j], e6[j], scale)
            running = add_pair(running, l7[j], m7[j], e7[j], scale)
            _store(state, j, running)
        if (row + 8 - start) % _ROWS_A_LOGARITHM == 0 or row + 8 >= end:
            for j in range(width):
                state[_FZ, j] += log(state[_ES_PRODUCT, j])
                state[_ES_PRODUCT, j] = 1.0
    sums[:, first:stop] = state[:, :width]
