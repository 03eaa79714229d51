"""What do the events before an instant add up to?

Each kernel writes into `out`. A window is summed anew at each of its ends and never by subtracting what fell out of it:
the figure then is, to the last bit, a function of its own rows alone.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNT, MEAN_X, MEAN_Y, XX, XY, YY = range(6)  # of `window_moments`


@compiled(nogil=True)
def quote_flow(bid: Floats, bid_size: Floats, ask: Floats, ask_size: Floats, out: Floats) -> None:
    """Order flow of each change of the best quotes; NaN for the first, and beside an unknown figure."""
    if len(out):
        out[0] = math.nan
    for n in range(1, len(out)):
        flow = 0.0
        if bid[n] >= bid[n - 1]:
            flow += bid_size[n]
        if bid[n] <= bid[n - 1]:
            flow -= bid_size[n - 1]
        if ask[n] <= ask[n - 1]:
            flow -= ask_size[n]
        if ask[n] >= ask[n - 1]:
            flow += ask_size[n - 1]
        prices = bid[n] + bid[n - 1] + ask[n] + ask[n - 1]
        sizes = bid_size[n] + bid_size[n - 1] + ask_size[n] + ask_size[n - 1]
        out[n] = flow if math.isfinite(prices + sizes) else math.nan


@compiled(nogil=True)
def sums_between(values: Floats, start: Ints, stop: Ints, out: Floats) -> None:
    """Sum of the finite values at places [start, stop) of each interval."""
    for i in range(len(out)):
        total = 0.0
        for j in range(start[i], stop[i]):
            if math.isfinite(values[j]):
                total += values[j]
        out[i] = total


@compiled(nogil=True)
def window_moments(x: Floats, y: Floats, window: int, least: int, out: Floats) -> None:
    """Moments about the mean of pairs (T, A) over the newest `window` rows, out (T, A, 6); pairs with a hole stay out.

    NaN where the window is not full or fewer than `least` pairs are known.
    """
    for t in range(x.shape[0]):
        for a in range(x.shape[1]):
            out[t, a, :] = math.nan
            if t + 1 < window:
                continue
            count, sum_x, sum_y = 0, 0.0, 0.0
            for i in range(t + 1 - window, t + 1):
                if math.isfinite(x[i, a] + y[i, a]):
                    count += 1
                    sum_x += x[i, a]
                    sum_y += y[i, a]
            if count < least or count == 0:
                continue
            mean_x, mean_y = sum_x / count, sum_y / count
            xx, xy, yy = 0.0, 0.0, 0.0
            for i in range(t + 1 - window, t + 1):
                if math.isfinite(x[i, a] + y[i, a]):
                    dx, dy = x[i, a] - mean_x, y[i, a] - mean_y
                    xx += dx * dx
                    xy += dx * dy
                    yy += dy * dy
            out[t, a, COUNT] = count
            out[t, a, MEAN_X] = mean_x
            out[t, a, MEAN_Y] = mean_y
            out[t, a, XX] = xx
            out[t, a, XY] = xy
            out[t, a, YY] = yy


@compiled(nogil=True)
def decayed_sums(time: Ints, amount: Floats, at: Ints, rate: float, out: Floats) -> None:
    """Sum of amount exp(-rate (at - time)) over the events by each instant; both clocks rise, `rate` is per ns."""
    total, last, j = 0.0, 0, 0
    for i in range(len(at)):
        while j < len(time) and time[j] <= at[i]:
            if math.isfinite(amount[j]):
                total = total * math.exp(-rate * (time[j] - last)) + amount[j]
                last = time[j]
            j += 1
        out[i] = total * math.exp(-rate * (at[i] - last)) if total != 0.0 else 0.0


@compiled(nogil=True)
def equal_volume_buckets(size: Floats, share: Floats, volume: float, last: Ints, bought: Floats) -> int:
    """Cut trades into buckets of `volume`, splitting those that overflow one; how many are full.

    `share` is the part of each trade that was bought; `last` gets the trade that fills each bucket, `bought` what was
    bought in it. A trade without a size or share is passed over.
    """
    found, room, buys = 0, volume, 0.0
    tiny = 1e-12 * volume
    for i in range(len(size)):
        left = size[i]
        if not math.isfinite(left * share[i]):
            continue
        while left >= room - tiny:
            bought[found] = buys + share[i] * room
            last[found] = i
            found += 1
            left = max(left - room, 0.0)
            room, buys = volume, 0.0
            if left <= tiny:
                left = 0.0
                break
        room -= left
        buys += share[i] * left
    return found
