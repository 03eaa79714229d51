"""Where in a box is a smooth function least, searched in many lanes at once?

BFGS on the coordinates that are free; one at a bound that its slope pushes against stands still (Bertsekas 1982,
"Projected Newton methods for optimization problems with simple constraints", SIAM J. Control 20). The caller evaluates
the function at `trial`, for all lanes together, and tells each lane what it got.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

SEARCHING, ARRIVED, STUCK = 0, 1, 2

_ENOUGH = 1e-4  # of what a slope promises must come true (Armijo)
_FLATTER = 0.9  # where values cannot tell, the slope along a step must fall to this (Hager and Zhang, 2005)
_ROUNDING = 1e-12  # of a value
_SHORTER = 25  # times a step is cut before it is given up
_SHORT = 1e-3  # of the longest sensible step
_LONGEST = 300  # evaluations


# A box is an array (4, N) of these lines.
LOW, HIGH = 0, 1
REACH = 2  # the longest sensible step
SPREAD = 3  # a first guess of the inverse Hessian's diagonal, for a sum over one row

# What a lane knows of its search is an array (SEARCH + N, N) of these lines, below them the inverse Hessian, ...
POINT, SLOPE, AIM, TRIAL, WORK, SEARCH = 0, 1, 2, 3, 4, 5
# ... and an array (NUMBERS,) of these.
VALUE, LENGTH, PROMISE, CUTS, EVALUATIONS, FRESH, NUMBERS = 0, 1, 2, 3, 4, 5, 6


@compiled
def forget(search: Floats, numbers: Floats, box: Floats, rows: int) -> None:
    """Go back to the first guess of the inverse Hessian, for a sum over so many rows."""
    size = box.shape[1]
    for i in range(size):
        for j in range(size):
            search[SEARCH + i, j] = 0.0
        search[SEARCH + i, i] = box[SPREAD, i] / rows
    numbers[FRESH] = 1


@compiled
def begin(search: Floats, numbers: Floats, box: Floats) -> None:
    """Ask for a first evaluation at `trial`, brought into the box."""
    for i in range(box.shape[1]):
        search[TRIAL, i] = min(max(search[TRIAL, i], box[LOW, i]), box[HIGH, i])
    numbers[VALUE] = math.inf
    numbers[EVALUATIONS] = 0
    numbers[CUTS] = 0


@compiled
def tell(search: Floats, numbers: Floats, value: float, slope: Floats, box: Floats, rows: int, tolerance: float) -> int:
    """Take value and slope (N,) at `trial`: SEARCHING, and the next trial is set, or ARRIVED or STUCK at `point`.

    Arrived is where a Newton step promises less than `tolerance`; `aim` holds that step. A value that is not finite
    counts as too high.
    """
    numbers[EVALUATIONS] += 1
    if math.isinf(numbers[VALUE]):
        if not math.isfinite(value):
            return STUCK
        _move(search, numbers, value, slope)
    elif _better(search, numbers, value, slope):
        _learn(search, numbers, slope)
        _move(search, numbers, value, slope)
    else:
        return _cut(search, numbers, value, box, rows)
    _aim(search, numbers, box)
    if numbers[PROMISE] < tolerance:
        return ARRIVED
    if numbers[EVALUATIONS] >= _LONGEST:
        return STUCK
    numbers[CUTS] = 0
    _propose(search, numbers, box)
    return SEARCHING


@compiled
def last_step(search: Floats, box: Floats) -> None:
    """Take the step that is known but not evaluated: near a minimum it squares what is left of the error.

    Not a long one: along a valley without slope it would lead anywhere.
    """
    longest = 0.0
    for i in range(box.shape[1]):
        longest = max(longest, abs(search[AIM, i]) / box[REACH, i])
    if longest > _SHORT:
        return
    for i in range(box.shape[1]):
        end = search[POINT, i] + search[AIM, i]
        search[POINT, i] = min(max(end, box[LOW, i]), box[HIGH, i])


@compiled
def _better(search: Floats, numbers: Floats, value: float, slope: Floats) -> bool:
    """Whether a trial may become the point."""
    before, after = 0.0, 0.0
    for i in range(len(slope)):
        step = search[TRIAL, i] - search[POINT, i]
        before += search[SLOPE, i] * step
        after += slope[i] * step
    if not math.isfinite(after):
        return False
    old = numbers[VALUE]
    if abs(value - old) <= _ROUNDING * (1.0 + abs(old)):
        return bool(abs(after) <= -_FLATTER * before)
    return bool(value <= old + _ENOUGH * before)


@compiled
def _move(search: Floats, numbers: Floats, value: float, slope: Floats) -> None:
    numbers[VALUE] = value
    for i in range(len(slope)):
        search[POINT, i] = search[TRIAL, i]
        search[SLOPE, i] = slope[i]


@compiled
def _cut(search: Floats, numbers: Floats, value: float, box: Floats, rows: int) -> int:
    """Shorten the step to where a parabola has its least; after too many times start afresh once, then give up."""
    numbers[CUTS] += 1
    if numbers[CUTS] > _SHORTER or numbers[EVALUATIONS] >= _LONGEST:
        if numbers[FRESH] == 1 or numbers[EVALUATIONS] >= _LONGEST:
            return STUCK
        forget(search, numbers, box, rows)
        _aim(search, numbers, box)
        numbers[CUTS] = 0
        _propose(search, numbers, box)
        return SEARCHING
    promised = numbers[LENGTH] * numbers[PROMISE]
    missed = value - numbers[VALUE] + promised
    share = 0.5 * promised / missed if missed > 0.0 else 0.5  # false for NaN and infinity as well
    numbers[LENGTH] *= min(max(share, 0.1), 0.5)
    _put_trial(search, numbers, box)
    return SEARCHING


@compiled
def _aim(search: Floats, numbers: Floats, box: Floats) -> None:
    """The Newton step on the free coordinates and what it promises: twice the fall of the function."""
    size = box.shape[1]
    free = search[WORK]
    for i in range(size):
        x, slope = search[POINT, i], search[SLOPE, i]
        held = (x <= box[LOW, i] and slope >= 0.0) or (x >= box[HIGH, i] and slope <= 0.0)
        free[i] = 0.0 if held else slope
    promise = 0.0
    for i in range(size):
        step = 0.0
        if free[i] != 0.0:
            for j in range(size):
                step -= search[SEARCH + i, j] * free[j]
        search[AIM, i] = step
        promise -= step * free[i]
    numbers[PROMISE] = promise


@compiled
def _propose(search: Floats, numbers: Floats, box: Floats) -> None:
    """The whole Newton step, or as much of it as is sensible."""
    longest = 1.0
    for i in range(box.shape[1]):
        longest = max(longest, abs(search[AIM, i]) / box[REACH, i])
    numbers[LENGTH] = 1.0 / longest
    _put_trial(search, numbers, box)


@compiled
def _put_trial(search: Floats, numbers: Floats, box: Floats) -> None:
    for i in range(box.shape[1]):
        end = search[POINT, i] + numbers[LENGTH] * search[AIM, i]
        search[TRIAL, i] = min(max(end, box[LOW, i]), box[HIGH, i])


@compiled
def _learn(search: Floats, numbers: Floats, slope: Floats) -> None:
    """The BFGS update of the inverse Hessian, as if slopes had changed only where the point moved."""
    size = len(slope)
    along = search[WORK]
    curved, bent = 0.0, 0.0
    for i in range(size):
        along[i] = 0.0
        for j in range(size):
            if search[TRIAL, j] != search[POINT, j]:
                along[i] += search[SEARCH + i, j] * (slope[j] - search[SLOPE, j])
        if search[TRIAL, i] != search[POINT, i]:
            curved += (search[TRIAL, i] - search[POINT, i]) * (slope[i] - search[SLOPE, i])
            bent += along[i] * (slope[i] - search[SLOPE, i])
    if not curved > 0.0 or not math.isfinite(bent):
        return
    numbers[FRESH] = 0
    for i in range(size):
        step = search[TRIAL, i] - search[POINT, i]
        for j in range(size):
            other = search[TRIAL, j] - search[POINT, j]
            both = along[i] * other + step * along[j]
            search[SEARCH + i, j] += ((1.0 + bent / curved) * step * other - both) / curved
