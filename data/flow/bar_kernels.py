"""After which trade does a bar end?

Each kernel writes into `cuts` the places in a batch at which a new bar begins, and returns how many there are. What it
must know of the trades before is in `memory`, which it keeps up to date.
"""

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sides = NDArray[np.int8]

END = 0  # of the interval that is open, in ns
TOTAL = 0  # traded since the bar began
IMBALANCE, TRADES, EXPECTED_TRADES, EXPECTED_FLOW = range(4)


@compiled(nogil=True)
def time_cuts(time: Ints, width: int, memory: Ints, cuts: Ints) -> int:
    """Bars of `width` ns that begin at its multiples; `memory` holds NaT's number before the first trade."""
    found = 0
    end = memory[END]
    for i in range(len(time)):
        if time[i] >= end:
            if end != np.iinfo(np.int64).min:
                cuts[found] = i
                found += 1
            end = (time[i] // width + 1) * width
    memory[END] = end
    return found


@compiled(nogil=True)
def threshold_cuts(amount: Floats, threshold: float, memory: Floats, cuts: Ints) -> int:
    """Bars that end with the trade which brings their total to the threshold; nothing is carried over."""
    found = 0
    total = memory[TOTAL]
    for i in range(len(amount)):
        total += amount[i]
        if total >= threshold:
            cuts[found] = i + 1
            found += 1
            total = 0.0
    memory[TOTAL] = total
    return found


@compiled(nogil=True)
def imbalance_cuts(
    size: Floats, side: Sides, weight: float, least: float, most: float, memory: Floats, cuts: Ints
) -> int:
    """Bars that end where the signed volume outgrows what past bars let expect, kept within [least, most]."""
    found = 0
    imbalance, trades = memory[IMBALANCE], memory[TRADES]
    threshold = expected_imbalance(memory, least, most)
    for i in range(len(size)):
        imbalance += side[i] * size[i]
        trades += 1.0
        if abs(imbalance) >= threshold:
            cuts[found] = i + 1
            found += 1
            memory[EXPECTED_TRADES] += weight * (trades - memory[EXPECTED_TRADES])
            memory[EXPECTED_FLOW] += weight * (imbalance / trades - memory[EXPECTED_FLOW])
            imbalance = trades = 0.0
            threshold = expected_imbalance(memory, least, most)
    memory[IMBALANCE], memory[TRADES] = imbalance, trades
    return found


@compiled(nogil=True)
def expected_imbalance(memory: Floats, least: float, most: float) -> float:
    """Expected trades times expected signed volume a trade, within its limits."""
    expected = memory[EXPECTED_TRADES] * abs(memory[EXPECTED_FLOW])
    limited: float = min(max(expected, least), most)
    return limited
