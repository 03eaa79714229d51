"""What does each contract, and each book, gain in each scenario?"""

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from data.pricing_kernels import LEAST_DEVIATION, black_price

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

# Products and sums may fuse, as in the pricing kernels; nothing is reordered.
_FUSED = {"contract", "nsz"}


@compiled(nogil=True, fastmath=_FUSED)
def option_gains(
    forward: Floats,
    log_forward: Floats,
    group: Places,
    scale: Floats,
    inverse_scale: Floats,
    scale_group: Places,
    strike: Floats,
    log_strike: Floats,
    deviation: Floats,
    put: Floats,
    worth: Floats,
    base: Floats,
    unit: Floats,
    counted: Floats,
    start: int,
    gains: Floats,
) -> None:
    """Fill `gains` (M, W) with what M options gain in the scenarios start to start + W.

    A gain is (worth times Black's price, less base) times unit times counted. `forward` and `log_forward` are (G, S) by
    group, `scale` and its inverse (H, S) by scale group, `counted` (S,); all else is (M,).
    """
    stop = start + gains.shape[1]
    share = counted[start:stop]
    for n in range(len(strike)):
        forwards, logs = forward[group[n], start:stop], log_forward[group[n], start:stop]
        scales, inverses = scale[scale_group[n], start:stop], inverse_scale[scale_group[n], start:stop]
        row = gains[n]
        inverse = 1.0 / max(deviation[n], LEAST_DEVIATION)
        for s in range(len(row)):
            price = black_price(
                forwards[s], strike[n], logs[s] - log_strike[n], deviation[n] * scales[s], inverse * inverses[s], put[n]
            )
            row[s] = (worth[n] * price - base[n]) * (unit[n] * share[s])


@compiled(nogil=True, fastmath=_FUSED)
def _add(total: Floats, held: float, gains: Floats) -> None:
    for s in range(len(total)):
        total[s] += held * gains[s]


@compiled(nogil=True)
def add_holdings(first: Places, column: Places, held: Floats, place: Places, gains: Floats, total: Floats) -> None:
    """Add to `total` (P, W) what each sparse book (CSR: first (P + 1,), column, held) holds of `gains` (M, W).

    `place` (N,) says which row of the gains an instrument has, -1 where it has none.
    """
    for p in range(len(total)):
        for k in range(first[p], first[p + 1]):
            row = place[column[k]]
            if row >= 0:
                _add(total[p], held[k], gains[row])
