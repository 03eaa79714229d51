"""Which EGARCH(1,1,1) makes each of many windows most likely?

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
from margin_models.kernels.egarch_rows import LANES, LINE, STATE, TURN, run_forward, sum_back
from margin_models.kernels.egarch_windows import (
    BEFORE,
    BEST,
    BEYOND,
    C_SLACK,
    DUE,
    FACTS,
    HELD,
    KEPT,
    LAST,
    LAW,
    OMEGA,
    PERSISTENCE,
    PLACES,
    ROWS,
    SIZE,
    START,
    UNIT,
    WINDOW,
    Windows,
    change_unit,
    law_of,
    load,
    log_ahead,
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
    STUCK,
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
_MANY = 12  # evaluations that a search from the window before does not need
_ABREAST, _BESIDE = 0.05, 0.1  # log-likelihood, and share of the longest sensible step: too near to end elsewhere
_TRUSTED = 64  # windows in a row that are searched from the one before alone
_EDGE = -8.0  # ln(1 - beta): the likelihood is flat nearer to 1, and a search that began there would stay
_FLAT = 0.8  # standard error of ln(1 - beta) in a likelihood that is about to have two summits ...
_HURRY = 4  # ... where a window counts for so many
_PATIENCE, _REPULSED = 80, 3  # evaluations, and those beyond what is invertible, after which a search climbs its edge
_SHOCK = 8.0  # standard deviations: a return like that may move the summit where it comes or goes


class Found(NamedTuple):
    """What was found in each window, in the units of the returns.

    `laws` (W, 5): omega, alpha, gamma, beta, degrees of freedom; the others (W,): ln variance before the window and of
    the row after it, log-likelihood, whether the search arrived, evaluations it took.
    """

    laws: Floats
    before: Floats
    ahead: Floats
    loglikelihood: Floats
    arrived: Flags
    evaluations: Ints


class Plan(NamedTuple):
    """How to search: `boxes` (2, 4, 5) as `quasi_newton` has them, `starts` (K, 5), and when a search has arrived.

    That is where a Newton step promises less than `tolerance`. The second box is for searches that the first leads to
    the edge of what is invertible. `student` puts a standardised t law for the normal one.
    """

    boxes: Floats
    starts: Floats
    tolerance: float
    student: bool


class Lanes(NamedTuple):
    """What lanes remember, each (LANES, ...): their window, their search, and the best search of a window so far."""

    facts: Floats
    places: Ints
    searches: Floats
    numbers: Floats
    best: Floats
    laws: Floats


@compiled
def _try_start(lanes: Lanes, lane: int, plan: Plan, start: int, held: int) -> None:
    place, search, number = lanes.places[lane], lanes.searches[lane], lanes.numbers[lane]
    place[START], place[HELD], place[BEYOND] = start, held, 0
    for i in range(SIZE):
        search[TRIAL, i] = plan.starts[start, i]
    forget(search, number, plan.boxes[held], place[ROWS])
    begin(search, number, plan.boxes[held])


@compiled
def _largest(values: Floats) -> float:
    largest = 0.0
    for i in range(len(values)):
        largest = max(largest, abs(values[i]))
    return largest


@compiled
def _follow(lanes: Lanes, lane: int, windows: Windows, before: float, plan: Plan) -> None:
    """Set off for a window that has been loaded from where the one before it ended, which had the unit `before`."""
    place, search, number = lanes.places[lane], lanes.searches[lane], lanes.numbers[lane]
    w, unit = place[WINDOW], lanes.facts[lane, UNIT]
    for i in range(SIZE):
        search[TRIAL, i] = search[POINT, i]
    change_unit(search[TRIAL], before, unit)
    search[TRIAL, C_SLACK] = max(search[TRIAL, C_SLACK], _EDGE)
    place[START], place[BEYOND] = WARM, 0
    place[DUE] -= _HURRY if search[SEARCH + C_SLACK, C_SLACK] > _FLAT * _FLAT else 1
    gone = windows.returns[windows.begin[w - 1] : windows.begin[w]]
    come = windows.returns[windows.end[w - 1] : windows.end[w]]
    if max(_largest(gone), _largest(come)) > _SHOCK * unit:
        place[DUE] = 0
    number[FRESH] = 0
    begin(search, number, plan.boxes[place[HELD]])


@compiled
def _keep_best(lanes: Lanes, lane: int) -> None:
    """Remember a search that ended lower than those before it."""
    if lanes.numbers[lane, VALUE] < lanes.facts[lane, BEST]:
        lanes.facts[lane, BEST] = lanes.numbers[lane, VALUE]
        lanes.best[lane] = lanes.searches[lane]
        lanes.places[lane, KEPT] = lanes.places[lane, HELD]


@compiled
def _joins(lanes: Lanes, lane: int, plan: Plan) -> bool:
    """Whether a search has come so near the best summit so far that it will end there."""
    if not abs(lanes.numbers[lane, VALUE] - lanes.facts[lane, BEST]) < _ABREAST:
        return False
    farthest = 0.0
    for i in range(SIZE):
        apart = abs(lanes.searches[lane, POINT, i] - lanes.best[lane, POINT, i])
        farthest = max(farthest, apart / plan.boxes[0, REACH, i])
    return farthest <= _BESIDE


@compiled
def _ended(lanes: Lanes, lane: int, plan: Plan, told: int) -> bool:
    """What to do where a search ended: True if the window is done, else the next search has begun.

    A search from the window before is final until the starts are due, or unless it was hard. They are then tried as
    well, in the second box where the first leads nowhere, and the best of all is polished. Where one led to another
    summit they are due again the sooner, the nearer that is in height.
    """
    fact, place, number = lanes.facts[lane], lanes.places[lane], lanes.numbers[lane]
    start = place[START]
    if start == POLISH:
        return True
    if start == WARM:
        if told == ARRIVED and number[EVALUATIONS] < _MANY and place[DUE] > 0:
            return True
        fact[BEST], place[DUE] = math.inf, _TRUSTED
    if told == ARRIVED:
        apart = abs(number[VALUE] - fact[BEST])
        if apart > _APART:
            place[DUE] = min(float(place[DUE]), 1.0 + apart / _DRIFT)
        _keep_best(lanes, lane)
    if told == STUCK and start >= 0 and place[HELD] == 0:
        _try_start(lanes, lane, plan, start, 1)
        return False
    following = 0 if start == WARM else start + 1
    if following < len(plan.starts):
        _try_start(lanes, lane, plan, following, 0)
        return False
    if not math.isfinite(fact[BEST]):
        return True
    _polish(lanes, lane, plan)
    return False


@compiled
def _polish(lanes: Lanes, lane: int, plan: Plan) -> None:
    """Go on from the best of all searches."""
    place, search = lanes.places[lane], lanes.searches[lane]
    search[:] = lanes.best[lane]
    for i in range(SIZE):
        search[TRIAL, i] = search[POINT, i]
    place[START], place[HELD], place[BEYOND] = POLISH, place[KEPT], 0
    begin(search, lanes.numbers[lane], plan.boxes[place[HELD]])


@compiled
def _record(lanes: Lanes, lane: int, plan: Plan, arrived: bool, ahead: float, found: Found) -> None:
    """Note what was found, in the units of the returns."""
    w, unit = lanes.places[lane, WINDOW], lanes.facts[lane, UNIT]
    if arrived:
        last_step(lanes.searches[lane], plan.boxes[lanes.places[lane, HELD]])
    law, log = found.laws[w], 2.0 * math.log(unit)
    law_of(lanes.searches[lane, POINT], law)
    law[OMEGA] += (1.0 - law[PERSISTENCE]) * log
    found.before[w], found.ahead[w] = lanes.facts[lane, BEFORE] + log, ahead + log
    found.loglikelihood[w] = -lanes.numbers[lane, VALUE] - 0.5 * lanes.places[lane, ROWS] * log
    found.arrived[w] = arrived


@compiled
def _next_window(windows: Windows, block: int, tape: Floats, lane: int, lanes: Lanes, plan: Plan, found: Found) -> bool:
    """Begin with the next window of a lane's block or, if that was the last, with `block`; whether with the latter."""
    fact, place = lanes.facts[lane], lanes.places[lane]
    unit, w = fact[UNIT], place[WINDOW] + 1
    fresh = bool(place[WINDOW] < 0 or w == place[LAST])
    if fresh:
        w, place[LAST] = windows.block[block], windows.block[block + 1]
    place[WINDOW] = w
    load(tape, lane, windows.returns[windows.begin[w] : windows.end[w]], fact, place)
    if fresh or not found.arrived[w - 1]:
        fact[BEST], place[DUE] = math.inf, _TRUSTED
        _try_start(lanes, lane, plan, 0, 0)
    else:
        _follow(lanes, lane, windows, unit, plan)
    return fresh


@compiled
def _take(tape: Floats, lane: int, lanes: Lanes, plan: Plan, state: Floats, slope: Floats, found: Found) -> bool:
    """Tell a lane what its trial was worth; True if its window is done, and recorded."""
    fact, place, law = lanes.facts[lane], lanes.places[lane], lanes.laws[lane]
    search, number = lanes.searches[lane], lanes.numbers[lane]
    found.evaluations[place[WINDOW]] += 1
    value = -loglikelihood(state, lane, fact[BEFORE], place[ROWS], plan.student, law, slope)
    least = ROUGH if place[START] >= 0 else plan.tolerance
    told = tell(search, number, value, slope, plan.boxes[place[HELD]], place[ROWS], least)
    place[BEYOND] += value == math.inf
    if told == SEARCHING and place[START] >= 0 and _joins(lanes, lane, plan):
        told = JOINED
    if told == SEARCHING and (number[EVALUATIONS] >= _PATIENCE or place[BEYOND] > _REPULSED):
        told = STUCK
    if told == SEARCHING or not _ended(lanes, lane, plan, told):
        return False
    _record(lanes, lane, plan, told == ARRIVED, log_ahead(tape, lane, place[ROWS], law), found)
    return True


@compiled
def _lanes() -> Lanes:
    searches = np.zeros((LANES, SEARCH + SIZE, SIZE))
    searches[:, TRIAL] = 0.1
    return Lanes(
        np.ones((LANES, FACTS)),
        np.zeros((LANES, PLACES), np.int64),
        searches,
        np.zeros((LANES, NUMBERS)),
        np.zeros_like(searches),
        np.zeros((LANES, LAW)),
    )


@compiled(nogil=True)
def walk(windows: Windows, first: int, stop: int, plan: Plan, found: Found) -> None:
    """Fill what is found in the windows of blocks first to stop - 1, from `plan.starts` where a block begins."""
    rows = 0
    for w in range(windows.block[first], windows.block[stop]):
        rows = max(rows, windows.end[w] - windows.begin[w])
    tape, state, slope = np.zeros(((rows + TURN - 1) // TURN, LINE)), np.zeros(STATE), np.zeros(SIZE)
    lanes, block, busy = _lanes(), first, 0
    for lane in range(LANES):
        lanes.places[lane, WINDOW] = -1
        if block < stop:
            _next_window(windows, block, tape, lane, lanes, plan, found)
            block += 1
            busy += 1
    while busy > 0:
        turns = set_laws(lanes.facts, lanes.places, lanes.searches, lanes.laws, state)
        run_forward(tape, turns, state)
        sum_back(tape, turns, plan.student, state)
        for lane in range(LANES):
            place = lanes.places[lane]
            if place[WINDOW] < 0 or not _take(tape, lane, lanes, plan, state, slope, found):
                continue
            if place[WINDOW] + 1 < place[LAST] or block < stop:
                block += _next_window(windows, block, tape, lane, lanes, plan, found)
            else:
                place[WINDOW], place[ROWS] = -1, 0
                busy -= 1
