"""Which GARCH makes each of many windows most likely?

Windows come in blocks of neighbours. The first of a block is searched from several starts, each other one from where
the one before it ended, with the curvature found there, and from all starts as well now and then, and wherever another
summit may be the higher. Blocks lie in the lanes of the vector unit; a lane that is done takes the next one. What is
found in a window depends on nothing but the windows before it in its block.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from margin_models.kernels.garch_coordinates import (
    C_LEVEL,
    C_MEAN,
    C_SHARE,
    C_SLACK,
    N_MEAN,
    N_OMEGA,
    SIZE,
    downhill,
    natural_of,
)
from margin_models.kernels.garch_rows import LANES, ROWS, STATE, run
from margin_models.kernels.garch_windows import (
    BEST,
    CENTRE,
    COUNT,
    DUE,
    FACTS,
    LAST,
    PLACES,
    START,
    UNIT,
    WINDOW,
    Law,
    load,
    loglikelihood,
    set_laws,
)
from margin_models.kernels.quasi_newton import (
    ARRIVED,
    EVALUATIONS,
    FRESH,
    NUMBERS,
    POINT,
    REACH,
    SEARCH,
    SEARCHING,
    TRIAL,
    VALUE,
    begin,
    forget,
    last_step,
    tell,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

WARM, POLISH = -1, -2  # searches that are not from one of the starts
JOINED = 3  # beside SEARCHING, ARRIVED and STUCK
ROUGH = 1e-4  # what a Newton step still promises where one start is compared with another
_APART, _DRIFT = 1e-3, 0.4  # log-likelihoods of two summits, and how much one may gain on another in a window
_MANY = 9  # evaluations that a search from the window before does not need
_ABREAST, _BESIDE = 0.05, 0.1  # log-likelihood, and share of the longest sensible step: too near to end elsewhere
_TRUSTED = 128  # windows in a row that are searched from the one before alone
_EDGE = -9.0  # ln(1 - persistence): the likelihood is flat nearer to 1, and a search that began there would stay
_HURRY = 16  # where a likelihood may soon have two summits a window counts for so many: see `_doubtful`
_FLAT, _FAINT, _TIED = 0.5, 3.75, 0.35  # what doubt is; less of either loses a higher summit now and then
_SHOCK = 8.0  # standard deviations: a return like that may move the summit where it comes or goes


class Windows(NamedTuple):
    """W windows of returns without holes: rows begin[w] to end[w] - 1 of `returns`; block b is windows block[b] on."""

    returns: Floats
    begin: Ints
    end: Ints
    block: Ints


class Found(NamedTuple):
    """What was found in each window, in the units of the returns.

    `laws` (W, 7): mean, omega, answer to a rise, answer to a fall, beta, degrees of freedom, skewness; the others
    (W,): log-likelihood, whether the search arrived, evaluations it took.
    """

    laws: Floats
    loglikelihood: Floats
    arrived: Flags
    evaluations: Ints


@compiled
def _try_start(
    fact: Floats, place: Ints, search: Floats, numbers: Floats, box: Floats, starts: Floats, start: int
) -> None:
    place[START] = start
    for i in range(SIZE):
        search[TRIAL, i] = starts[start, i]
    search[TRIAL, C_MEAN] += fact[CENTRE]
    forget(search, numbers, box, place[COUNT])
    begin(search, numbers, box)


@compiled
def _largest(values: Floats) -> float:
    largest = 0.0
    for i in range(len(values)):
        largest = max(largest, abs(values[i]))
    return largest


@compiled
def _doubtful(search: Floats) -> bool:
    """Whether the curvature says that persistence and the answer to returns are not known apart, nor either well.

    Standard error of ln(1 - persistence), share over its own, and how far they are correlated.
    """
    flat, tied, faint = (
        search[SEARCH + C_SLACK, C_SLACK],
        search[SEARCH + C_SLACK, C_SHARE],
        search[SEARCH + C_SHARE, C_SHARE],
    )
    share = search[POINT, C_SHARE]
    return bool(
        flat > _FLAT * _FLAT and share * share < _FAINT * _FAINT * faint and tied * tied > _TIED * _TIED * flat * faint
    )


@compiled
def _follow(windows: Windows, fact: Floats, place: Ints, before: float, search: Floats) -> None:
    """Set off for a window that has been loaded from where the one before it ended, which had the unit `before`."""
    w, unit = place[WINDOW], fact[UNIT]
    for i in range(SIZE):
        search[TRIAL, i] = search[POINT, i]
    search[TRIAL, C_MEAN] *= before / unit
    search[TRIAL, C_LEVEL] += 2.0 * math.log(before / unit)
    search[TRIAL, C_SLACK] = max(search[TRIAL, C_SLACK], _EDGE)
    place[START] = WARM
    place[DUE] -= _HURRY if _doubtful(search) else 1
    gone = windows.returns[windows.begin[w - 1] : windows.begin[w]]
    come = windows.returns[windows.end[w - 1] : windows.end[w]]
    if max(_largest(gone), _largest(come)) > _SHOCK * unit:
        place[DUE] = 0


@compiled
def _keep_best(fact: Floats, search: Floats, numbers: Floats, best: Floats) -> None:
    """Remember a search that ended lower than those before it."""
    if numbers[VALUE] < fact[BEST]:
        fact[BEST] = numbers[VALUE]
        best[:] = search


@compiled
def _joins(fact: Floats, search: Floats, numbers: Floats, best: Floats, box: Floats) -> bool:
    """Whether a search has come so near the best summit so far that it will end there."""
    if not abs(numbers[VALUE] - fact[BEST]) < _ABREAST:
        return False
    farthest = 0.0
    for i in range(SIZE):
        farthest = max(farthest, abs(search[POINT, i] - best[POINT, i]) / box[REACH, i])
    return farthest <= _BESIDE


@compiled
def _ended(
    fact: Floats, place: Ints, search: Floats, numbers: Floats, best: Floats, box: Floats, starts: Floats, told: int
) -> bool:
    """What to do where a search ended: True if the window is done, else the next search has begun.

    A search from the window before is final until the starts are due, or unless it was hard. They are then tried as
    well, but for the first, and the best of all is polished. Where one led to another summit they are due again the
    sooner, the nearer that is in height.
    """
    start = place[START]
    if start == POLISH:
        return True
    if start == WARM:
        if told == ARRIVED and numbers[EVALUATIONS] < _MANY and place[DUE] > 0:
            return True
        fact[BEST], place[DUE] = math.inf, _TRUSTED
    apart = abs(numbers[VALUE] - fact[BEST])
    if told != JOINED and apart > _APART:
        place[DUE] = min(float(place[DUE]), 1.0 + apart / _DRIFT)
    if told != JOINED:
        _keep_best(fact, search, numbers, best)
    following = 1 if start == WARM else start + 1
    if following < len(starts):
        _try_start(fact, place, search, numbers, box, starts, following)
        return False
    place[START] = POLISH
    if math.isfinite(fact[BEST]):
        search[:] = best
        for i in range(SIZE):
            search[TRIAL, i] = best[POINT, i]
    begin(search, numbers, box)
    return False


@compiled
def _record(
    fact: Floats,
    place: Ints,
    search: Floats,
    numbers: Floats,
    box: Floats,
    arrived: bool,
    natural: Floats,
    found: Found,
) -> None:
    """Note what was found, in the units of the returns."""
    w, unit = place[WINDOW], fact[UNIT]
    if arrived:
        last_step(search, box)
    natural_of(search[POINT], natural)
    for i in range(SIZE):
        found.laws[w, i] = natural[i]
    found.laws[w, N_MEAN] *= unit
    found.laws[w, N_OMEGA] *= unit * unit
    found.loglikelihood[w] = -numbers[VALUE] - place[COUNT] * math.log(unit)
    found.arrived[w] = arrived


@compiled
def _next_window(
    windows: Windows,
    block: int,
    x: Floats,
    lane: int,
    law: Law,
    fact: Floats,
    place: Ints,
    search: Floats,
    numbers: Floats,
    box: Floats,
    starts: Floats,
) -> bool:
    """Begin with the next window of a lane's block or, if that was the last, with `block`; whether with the latter."""
    unit, w = fact[UNIT], place[WINDOW] + 1
    fresh = bool(place[WINDOW] < 0 or w == place[LAST])
    if fresh:
        w, place[LAST] = windows.block[block], windows.block[block + 1]
        fact[BEST], place[DUE] = math.inf, _TRUSTED
    place[WINDOW] = w
    load(x, lane, windows.returns[windows.begin[w] : windows.end[w]], law, fact, place)
    if fresh:
        _try_start(fact, place, search, numbers, box, starts, 0)
    else:
        _follow(windows, fact, place, unit, search)
        numbers[FRESH] = 0
        begin(search, numbers, box)
    return fresh


@compiled(nogil=True)
def walk(
    windows: Windows, first: int, stop: int, law: Law, box: Floats, starts: Floats, tolerance: float, found: Found
) -> None:
    """Fill what is found in the windows of blocks first to stop - 1, from `starts` (K, 7) where a block begins.

    `box` (4, 7) is as `quasi_newton` has it; a search has arrived where a Newton step promises less than `tolerance`.
    """
    rows = 0
    for w in range(windows.block[first], windows.block[stop]):
        rows = max(rows, windows.end[w] - windows.begin[w])
    x, state = np.zeros((rows + ROWS - 1) // ROWS * ROWS * LANES), np.zeros(STATE)
    facts, places = np.ones((LANES, FACTS)), np.zeros((LANES, PLACES), np.int64)
    searches, numbers = np.zeros((LANES, SEARCH + SIZE, SIZE)), np.zeros((LANES, NUMBERS))
    best, naturals = np.zeros_like(searches), np.zeros((LANES, SIZE))
    rising, slope = np.zeros(SIZE), np.zeros(SIZE)
    block, busy = first, 0
    for lane in range(LANES):
        places[lane, WINDOW] = -1
        searches[lane, TRIAL] = starts[0]
        if block < stop:
            _next_window(
                windows, block, x, lane, law, facts[lane], places[lane], searches[lane], numbers[lane], box, starts
            )
            block += 1
            busy += 1
    while busy > 0:
        set_laws(facts, searches, law, naturals, state)
        run(x, places[:, COUNT], law.innovations, state)
        for lane in range(LANES):
            fact, place, search, number = facts[lane], places[lane], searches[lane], numbers[lane]
            if place[WINDOW] < 0:
                continue
            found.evaluations[place[WINDOW]] += 1
            value = -loglikelihood(state, lane, place[COUNT], law, naturals[lane], rising)
            downhill(search[TRIAL], naturals[lane], rising, slope)
            least = ROUGH if place[START] >= 0 else tolerance
            told = tell(search, number, value, slope, box, place[COUNT], least)
            if told == SEARCHING and place[START] >= 0 and _joins(fact, search, number, best[lane], box):
                told = JOINED
            if told == SEARCHING or not _ended(fact, place, search, number, best[lane], box, starts, told):
                continue
            _record(fact, place, search, number, box, told == ARRIVED, naturals[lane], found)
            if place[WINDOW] + 1 < place[LAST] or block < stop:
                block += _next_window(windows, block, x, lane, law, fact, place, search, number, box, starts)
            else:
                place[WINDOW], place[COUNT] = -1, 0
                busy -= 1
