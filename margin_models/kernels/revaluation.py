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
    moved: Floats,
    log_moved: Floats,
    group: Places,
    scale: Floats,
    inverse_scale: Floats,
    scale_group: Places,
    forward: Floats,
    strike: Floats,
    log_ratio: Floats,
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

    A gain is (worth times Black's price, less base) times unit times counted. `moved` (G, S) multiplies the forward, by
    group, `scale` (H, S) the deviation, by scale group; `counted` is (S,), `log_ratio` ln(forward / strike), and all
    else (M,).
    """
    stop = start + gains.shape[1]
    share = counted[start:stop]
    for n in range(len(strike)):
        moves, logs = moved[group[n], start:stop], log_moved[group[n], start:stop]
        scales, inverses = scale[scale_group[n], start:stop], inverse_scale[scale_group[n], start:stop]
        row, here, there, ratio, spread, flag = gains[n], forward[n], strike[n], log_ratio[n], deviation[n], put[n]
        value, paid, size = worth[n], base[n], unit[n]
        inverse = 1.0 / max(spread, LEAST_DEVIATION)
        for s in range(len(row)):
            price = black_price(
                here * moves[s], there, ratio + logs[s], spread * scales[s], inverse * inverses[s], flag
            )
            row[s] = (value * price - paid) * (size * share[s])


@compiled(forceinline=True, fastmath=_FUSED)
def _add(total: Floats, held: float, gains: Floats, also_held: float, also_gains: Floats) -> None:
    for s in range(len(total)):
        total[s] += held * gains[s] + also_held * also_gains[s]


@compiled(nogil=True)
def add_holdings(first: Places, column: Places, held: Floats, place: Places, gains: Floats, total: Floats) -> None:
    """Add to `total` (P, W) what each sparse book (CSR: first (P + 1,), column, held) holds of `gains` (M, W).

    `place` (N,) says which row of the gains an instrument has, -1 where it has none. Two legs are added at a time, so
    that the total is read and written half as often.
    """
    for p in range(len(total)):
        waiting = -1
        for k in range(first[p], first[p + 1]):
            if place[column[k]] >= 0:
                if waiting < 0:
                    waiting = k
                else:
                    one, two = gains[place[column[waiting]]], gains[place[column[k]]]
                    _add(total[p], held[waiting], one, held[k], two)
                    waiting = -1
        if waiting >= 0:
            last = gains[place[column[waiting]]]
            _add(total[p], held[waiting], last, 0.0, last)
