"""How much is each of several experts to be trusted, by what has become known of each?

Every kernel gives at row i what is known there, from the rows up to and including i; a NaN is no news.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def tail_multipliers(sizes: Floats, level: float) -> Floats:
    """The (n + 1) `level` order statistic of all sizes known so far of each expert, and the mean at or beyond it.

    `sizes` (R, A, K) are standardised moves >= 0, those of all assets being one sample of expert k. (R, K, 2), NaN
    while the largest of the sample does not reach the level. Only the largest sizes matter, and are kept in order.
    """
    rows, assets, experts = sizes.shape
    total = rows * assets
    room = total - math.floor((total + 1) * level + 1e-9) + 2
    largest = np.empty((experts, room))  # the greatest first
    known, seen = np.zeros(experts, np.int64), np.zeros(experts, np.int64)
    multipliers = np.full((rows, experts, 2), math.nan)
    for i in range(rows):
        for k in range(experts):
            for a in range(assets):
                size = sizes[i, a, k]
                if math.isnan(size):
                    continue
                seen[k] += 1
                if known[k] == room and size <= largest[k, room - 1]:
                    continue
                known[k] = min(known[k] + 1, room)
                place = known[k] - 1
                while place > 0 and largest[k, place - 1] < size:
                    largest[k, place] = largest[k, place - 1]
                    place -= 1
                largest[k, place] = size
            position = (seen[k] + 1) * level
            if seen[k] == 0 or position > seen[k] + 1e-9:
                continue
            lower = math.floor(max(position, 1.0) + 1e-9)
            kept = seen[k] - lower + 1
            cut = largest[k, kept - 1]
            if kept > 1:
                cut += max(position - lower, 0.0) * (largest[k, kept - 2] - cut)
            beyond, count = 0.0, 0
            while count < kept and (largest[k, count] >= cut or count == 0):
                beyond += largest[k, count]
                count += 1
            multipliers[i, k, 0], multipliers[i, k, 1] = cut, beyond / count
    return multipliers


@compiled
def shared_weights(losses: Floats, share: float, fastest: float) -> tuple[Floats, Floats]:
    """Weights in force once each row's losses (R, A, K) are known, (R, K), and the mixability gap so far, (R,).

    Exponential weights of which `share` is spread over all experts after each row (Herbster and Warmuth, 1998, fixed
    share). The learning rate falls with the mixability gap so far, 1 / eta = 1 / fastest + gap / ln(K / share), as
    AdaHedge's does (de Rooij, van Erven, Gruenwald and Koolen, 2014, eq. 8), but is never above `fastest`. An expert
    without any loss keeps its weight, the others share theirs (Freund, Schapire, Singer and Warmuth, 1997); one without
    a loss in some asset takes that of the others there, and a row without any loss changes nothing.
    """
    rows, assets, experts = losses.shape
    scale = math.log(experts / share)
    gap = 0.0
    weights, gaps = np.empty((rows, experts)), np.empty(rows)
    now = np.full(experts, 1.0 / experts)
    row, heard = np.empty(experts), np.empty(experts)
    for i in range(rows):
        told = 0
        heard[:] = 0.0
        row[:] = 0.0
        for a in range(assets):
            mixed, awake = 0.0, 0.0
            for k in range(experts):
                if not math.isnan(losses[i, a, k]):
                    mixed += now[k] * losses[i, a, k]
                    awake += now[k]
                    heard[k] = 1.0
            if awake > 0.0:
                told += 1
                for k in range(experts):
                    row[k] += mixed / awake if math.isnan(losses[i, a, k]) else losses[i, a, k]
        if told > 0:
            rate = 1.0 / (1.0 / fastest + gap / scale)
            least, awake = math.inf, 0.0
            for k in range(experts):
                if heard[k] > 0.0:
                    least = min(least, row[k] / told)
                    awake += now[k]
            hedged, total = 0.0, 0.0
            for k in range(experts):
                if heard[k] > 0.0:
                    excess = row[k] / told - least
                    hedged += now[k] / awake * excess
                    row[k] = now[k] * math.exp(-rate * excess)
                    total += row[k] / awake
            gap += max(hedged + math.log(total) / rate, 0.0)
            for k in range(experts):
                kept = row[k] / total if heard[k] > 0.0 else now[k]
                now[k] = (1.0 - share) * kept + share / experts
        weights[i] = now
        gaps[i] = gap
    return weights, gaps
