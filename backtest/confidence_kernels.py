"""What does each draw of a block bootstrap average to, and how often is a model eliminated by chance?"""

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def running_sums(losses: Floats) -> Floats:
    """Sums of the first 0, 1, ..., 2 R rows of (R, M) losses that are followed by themselves, (2 R + 1, M)."""
    rows, models = losses.shape
    sums = np.zeros((2 * rows + 1, models))
    for row in range(2 * rows):
        for m in range(models):
            sums[row + 1, m] = sums[row, m] + losses[row % rows, m]
    return sums


@compiled
def stationary_means(sums: Floats, generator: np.random.Generator, new_block: float, means: Floats) -> None:
    """Fill `means` (B, M) with those of stationary bootstrap draws; a row begins a block with the given probability.

    Politis and Romano (1994), J. American Statistical Association 89. A draw takes R row numbers and then R uniforms
    from the generator, as arch.bootstrap does, of which only those where a block begins are used.
    """
    draws, models = means.shape
    rows = len(sums) // 2
    begins = np.zeros(rows + 1, dtype=np.int64)
    for b in range(draws):
        starts = generator.integers(0, rows, rows)
        uniform = generator.random(rows)
        count = 1
        for row in range(1, rows):  # no branch: where a block begins cannot be foretold
            begins[count] = row
            count += uniform[row] <= new_block
        begins[count] = rows
        for k in range(count):
            first = starts[begins[k]]
            last = first + begins[k + 1] - begins[k]
            for m in range(models):
                means[b, m] += sums[last, m] - sums[first, m]
        for m in range(models):
            means[b, m] /= rows


@compiled
def fixed_means(sums: Floats, starts: Ints, length: int, means: Floats) -> None:
    """Fill `means` (B, M) with those of draws whose blocks of `length` rows begin at `starts` (B, K), the last cut."""
    draws, models = means.shape
    rows = len(sums) // 2
    for b in range(draws):
        for k in range(starts.shape[1]):
            first = starts[b, k]
            last = first + min(length, rows - k * length)
            for m in range(models):
                means[b, m] += sums[last, m] - sums[first, m]
        for m in range(models):
            means[b, m] /= rows


@compiled
def pair_variances(error: Floats) -> Floats:
    """Mean square of the difference of each two columns of (B, M) errors, (M, M)."""
    draws, models = error.shape
    variance = np.zeros((models, models))
    for b in range(draws):
        for i in range(models):
            for j in range(i):
                apart = error[b, i] - error[b, j]
                variance[i, j] += apart * apart
    for i in range(models):
        for j in range(i):
            variance[i, j] /= draws
            variance[j, i] = variance[i, j]
    return variance


@compiled
def larger_ranges(error: Floats, deviation: Floats, order: Ints, statistic: Floats) -> Ints:
    """In how many draws the largest standardised difference of any two models still there exceeds each step's, (S,).

    `order` (M,) are the models as they leave, `deviation` (M, M) is infinite for two that cannot be told apart. Those
    still there at a step are a part of those before, so that a draw is walked once, from the last step to the first.
    """
    count = np.zeros(len(statistic), dtype=np.int64)
    for b in range(len(error)):
        largest = 0.0
        for place in range(len(order) - 2, -1, -1):
            i = order[place]
            for after in range(place + 1, len(order)):
                j = order[after]
                apart = abs(error[b, i] - error[b, j]) / deviation[i, j]
                largest = max(largest, apart)
            if place < len(statistic) and largest > statistic[place]:
                count[place] += 1
    return count
