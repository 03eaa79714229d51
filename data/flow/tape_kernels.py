"""What do the trades of each bar add up to, in one ordered pass?

A bar is a row of two arrays: REAL figures and WHOLE counts. `bounds` says which trades of a batch belong to which row:
those from bounds[k] up to bounds[k + 1]. Row 0 goes on from the batch before, so that a bar is the same sum in the same
order however the tape is cut into batches.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sides = NDArray[np.int8]

OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, SIGNED, BUY, BUY_QUOTE, UNSIGNED, UP, DOWN, BIPOWER = range(13)
REAL = 13
FIRST, LAST, COUNT, BUYS, UNSIGNED_COUNT = range(5)  # the first two are instants, in ns
WHOLE = 5

LAST_PRICE, LAST_MOVE, SAMPLE = range(3)  # what returns remember: a price, the size of a return, the price sampled last
UNSET = np.iinfo(np.int64).min  # of an instant; it is NaT's number too


@compiled(nogil=True)
def first_refused(time: Ints, price: Floats, size: Floats, side: Sides, before: int) -> int:
    """The first trade that no bar can take, -1 where there is none.

    That is one earlier than its predecessor (`before` for the first), without an instant, at a price that is not > 0,
    of a size that is not >= 0, infinite, or of a side other than -1, 0, 1.
    """
    before = max(before, UNSET + 1)
    for i in range(len(time)):
        priced = (price[i] > 0.0) & (price[i] < np.inf)
        sized = (size[i] >= 0.0) & (price[i] * size[i] < np.inf)
        sided = (side[i] >= -1) & (side[i] <= 1)
        if not ((time[i] >= before) & priced & sized & sided):
            return i
        before = time[i]
    return -1


@compiled(nogil=True)
def gather(time: Ints, price: Floats, size: Floats, side: Sides, bounds: Ints, real: Floats, whole: Ints) -> None:
    """Add prices and volumes of every trade to its bar: all but the last three REAL figures.

    What is added up stays in local variables: through the arrays it takes 15 times as long.
    """
    for row in range(len(bounds) - 1):
        start, stop = bounds[row], bounds[row + 1]
        if start == stop:
            continue
        bar, tally = real[row], whole[row]
        if tally[COUNT] == 0:
            tally[FIRST] = time[start]
            bar[OPEN] = bar[HIGH] = bar[LOW] = price[start]
        high, low = bar[HIGH], bar[LOW]
        volume, quote, signed, unsigned = bar[VOLUME], bar[QUOTE], bar[SIGNED], bar[UNSIGNED]
        bought, bought_quote, buys, without = bar[BUY], bar[BUY_QUOTE], tally[BUYS], tally[UNSIGNED_COUNT]
        for i in range(start, stop):
            value = price[i] * size[i]
            high, low = max(high, price[i]), min(low, price[i])
            volume += size[i]
            quote += value
            signed += side[i] * size[i]
            buyer = 1.0 if side[i] > 0 else 0.0
            bought += buyer * size[i]
            bought_quote += buyer * value
            buys += side[i] > 0
            if side[i] == 0:
                unsigned += size[i]
                without += 1
        bar[HIGH], bar[LOW], bar[CLOSE] = high, low, price[stop - 1]
        bar[VOLUME], bar[QUOTE], bar[SIGNED], bar[UNSIGNED] = volume, quote, signed, unsigned
        bar[BUY], bar[BUY_QUOTE], tally[BUYS], tally[UNSIGNED_COUNT] = bought, bought_quote, buys, without
        tally[LAST] = time[stop - 1]
        tally[COUNT] += stop - start


@compiled(nogil=True)
def tick_returns(price: Floats, bounds: Ints, real: Floats, memory: Floats) -> None:
    """Add the log return from trade to trade to the bar of the later one; the first trade of a tape has none."""
    last, move = memory[LAST_PRICE], memory[LAST_MOVE]
    if not last > 0.0 and len(price):
        last = price[0]
    for row in range(len(bounds) - 1):
        bar = real[row]
        up, down, bipower = bar[UP], bar[DOWN], bar[BIPOWER]
        for i in range(bounds[row], bounds[row + 1]):
            change = log_return(price[i], last)
            last = price[i]
            up += max(change, 0.0) * max(change, 0.0)
            down += min(change, 0.0) * min(change, 0.0)
            bipower += abs(change) * move
            move = abs(change)
        bar[UP], bar[DOWN], bar[BIPOWER] = up, down, bipower
    memory[LAST_PRICE], memory[LAST_MOVE] = last, move


@compiled(nogil=True)
def log_return(price: float, last: float) -> float:
    """log(price / last), to its last digits where they are close, which the quotient itself would lose.

    There it is 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...) at s = (price - last) / (price + last), a difference without
    rounding and half of a logarithm's work; for |s| < 0.01 what is left off is under 1e-25 of it.
    """
    s = (price - last) / (price + last)
    if abs(s) >= 0.01:
        return math.log(price / last)
    q = s * s
    return 2.0 * s * (1.0 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11))))))


@compiled(nogil=True)
def sampled_returns(
    time: Ints, price: Floats, bounds: Ints, step: int, real: Floats, memory: Floats, due: Ints
) -> None:
    """Add log returns between the last prices before successive multiples of `step` ns to the bar that they end in.

    The first return begins at the first trade. A multiple that a row's first trade goes past still belongs to the row
    before: bars must end on multiples.
    """
    if due[0] == UNSET and len(time):
        due[0] = (time[0] // step + 1) * step
        memory[SAMPLE] = price[0]
    for row in range(len(bounds) - 1):
        for i in range(bounds[row], bounds[row + 1]):
            if time[i] >= due[0]:
                memory[LAST_PRICE] = price[i - 1] if i > 0 else memory[LAST_PRICE]
                sample(real[row - 1 if row > 0 and i == bounds[row] else row], time[i], step, memory, due)
    if len(price):
        memory[LAST_PRICE] = price[-1]


@compiled(nogil=True)
def sample(bar: Floats, instant: int, step: int, memory: Floats, due: Ints) -> None:
    """Sample the last price at every multiple of `step` up to an instant: one return, and then returns of zero."""
    change = log_return(memory[LAST_PRICE], memory[SAMPLE])
    bar[UP if change > 0.0 else DOWN] += change * change
    bar[BIPOWER] += abs(change) * memory[LAST_MOVE]
    memory[LAST_MOVE] = abs(change)
    memory[SAMPLE] = memory[LAST_PRICE]
    passed = (instant - due[0]) // step + 1
    if passed > 1:
        memory[LAST_MOVE] = 0.0
    due[0] += passed * step
