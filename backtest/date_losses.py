"""How much did a model lose, as a forecaster, on each date?

Books of one date are no independent trials, so that what models are compared by is one number a date: the mean over
the books that were held.
"""

from typing import Literal

import numpy as np

from backtest.replay import Replay
from data import Floats, ParameterError

Kind = Literal["pinball", "fz0"]


def date_losses(
    replay: Replay, kind: Kind = "pinball", *, margin: Floats | None = None, es: Floats | None = None
) -> Floats:
    """Mean loss over books of each decision, (R,); NaN where no book has one.

    The pinball loss at the level (Koenker and Bassett 1978), in units of the loss; or FZ0 (Patton, Ziegel and Chen
    2019, J. Econometrics 211, equation 6), which scores the margin as value at risk together with `es`.

    Parameters
    ----------
    margin : (R, P) in place of the initial margin: that at equal coverage, say.
    es : (R, P), the expected shortfall stated with the margin, as losses > 0; asked for by "fz0" alone. Pairs without
        margin have no FZ0 loss and stay out of the mean.

    Raises
    ------
    ParameterError
        For another kind, panels of another shape, no `es` where it is needed, or one below its margin.
    """
    held = replay.initial if margin is None else margin
    if held.shape != replay.loss.shape or (es is not None and es.shape != held.shape):
        raise ParameterError(f"margin and es must be {replay.loss.shape} as the losses are, got {held.shape}")
    if kind == "pinball":
        gap = replay.loss - held
        return _mean_by_date(np.maximum(gap, 0.0) - (1.0 - replay.coverage.level) * gap)
    if kind != "fz0":
        raise ParameterError(f"kind must be 'pinball' or 'fz0', got {kind!r}")
    if es is None:
        raise ParameterError(f"FZ0 needs the expected shortfall that {replay.model} states with its margin, got none")
    return _mean_by_date(_fz0(replay.loss, held, es, 1.0 - replay.coverage.level))


def _fz0(loss: Floats, margin: Floats, es: Floats, rate: float) -> Floats:
    posted = np.isfinite(loss) & (margin > 0.0)
    below = posted & ~(es >= margin)
    if below.any():
        row, column = np.argwhere(below)[0]
        raise ParameterError(
            f"expected shortfall must be at least the margin, got {es[row, column]} below {margin[row, column]} in row "
            f"{row}, portfolio {column} ({int(below.sum())} pairs)"
        )
    tail = np.where(posted, es, np.nan)
    return np.asarray((np.maximum(loss - margin, 0.0) / rate + margin) / tail + np.log(tail) - 1.0)


def _mean_by_date(panel: Floats) -> Floats:
    known = np.isfinite(panel)
    count = known.sum(axis=1)
    total = np.where(known, panel, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
