"""What is the quantile of a pool that grows, or is drawn again?"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def growing_quantile(values: Floats, rank: Ints, stops: Ints, level: float) -> Floats:
    """The (n + 1) * level order statistic of the first `stops[i]` values, for each i; NaN where they do not reach it.

    `values` are sorted and `rank[j]` is the place of the j-th arrival among them; `stops` never falls. A Fenwick tree
    over the ranks (Fenwick 1994, Software: Practice and Experience 24) counts what has arrived, so that every quantile
    is exact and costs a logarithm.
    """
    size = len(values)
    tree = np.zeros(size + 1, dtype=np.int64)
    top = 1
    while top * 2 <= size:
        top *= 2
    answer = np.full(len(stops), np.nan)
    arrived = 0
    for i in range(len(stops)):
        while arrived < stops[i]:
            node = rank[arrived] + 1
            while node <= size:
                tree[node] += 1
                node += node & -node
            arrived += 1
        position = (arrived + 1) * level
        if position > arrived + 1e-9 or arrived == 0:
            continue
        lower = max(math.floor(position + 1e-9), 1)
        share = max(position - lower, 0.0)
        first = _kth(tree, lower, top)
        answer[i] = values[first]
        if share > 0.0 and lower < arrived:
            answer[i] += share * (values[_kth(tree, lower + 1, top)] - values[first])
    return answer


@compiled
def _kth(tree: Ints, k: int, top: int) -> int:
    """Place of the k-th smallest arrival."""
    node = 0
    step = top
    left = k
    while step > 0:
        if node + step < len(tree) and tree[node + step] < left:
            node += step
            left -= tree[node]
        step //= 2
    return node


@compiled
def drawn_quantile(values: Floats, row: Ints, pool: Ints, draws: Ints, level: float) -> Floats:
    """The level quantile of a pool in which every value counts as often as its row was drawn, (B,) from draws (B, R).

    `pool` (R,) is how many values each row has; `values` are the largest of them, falling, and `row` is where each
    comes from. It is the k-th from above, k = n - floor((n + 1) level) + 1; NaN where a draw does not support the
    level, or needs more than the values given.
    """
    answer = np.full(len(draws), np.nan)
    for b in range(len(draws)):
        total = 0
        for r in range(draws.shape[1]):
            total += draws[b, r] * pool[r]
        wanted = total - math.floor((total + 1) * level + 1e-9) + 1
        if wanted < 1:
            continue
        seen = 0
        for j in range(len(values)):
            seen += draws[b, row[j]]
            if seen >= wanted:
                answer[b] = values[j]
                break
    return answer
