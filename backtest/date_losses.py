"""How much did a model lose, as a forecaster, on each date?

Books of one date are no independent trials, so that what models are compared by is one number a date: the mean over
the books that were held.
"""

from typing import Literal

import numpy as np

from backtest.replay import Bools, Replay
from data import Floats, ParameterError

Kind = Literal["pinball", "fz0"]
LEAST_TAIL = 1e-6  # VaR per unit of gross notional below which a ratio would be float noise of a hedged book


def date_losses(
    replay: Replay, kind: Kind = "pinball", *, margin: Floats | None = None, es: Floats | None = None
) -> Floats:
    """Mean loss over books of each decision, (R,); NaN where no book has one.

    The pinball loss at the level (Koenker and Bassett 1978), in units of the loss; or FZ0 (Patton, Ziegel and Chen
    2019, J. Econometrics 211, equation 6), which scores the margin as value at risk together with `es`. FZ0 has no
    value at no margin: a pair without any stays out of the mean, whatever it lost, so that a model which posts nothing
    is not charged for it. Compare models by FZ0 on the pairs of which all of them post something, as
    `loss_comparison.compare_laws` does; the pinball loss takes every pair.

    Parameters
    ----------
    margin : (R, P) in place of the initial margin: that at equal coverage, say.
    es : (R, P), the expected shortfall stated with the margin, as losses > 0; asked for by "fz0" alone. Pairs without
        margin have no FZ0 loss and stay out of the mean.

    Raises
    ------
    ParameterError
        For another kind, panels of another shape, an infinite loss, margin or `es` (NaN is not known), no `es` where it
        is needed, or one below its margin.
    """
    held = replay.initial if margin is None else margin
    if held.shape != replay.loss.shape or (es is not None and es.shape != held.shape):
        raise ParameterError(f"margin and es must be {replay.loss.shape} as the losses are, got {held.shape}")
    for name, panel in (("loss", replay.loss), ("margin", held), ("es", es)):
        if panel is not None and np.isinf(panel).any():
            row, column = np.argwhere(np.isinf(panel))[0]
            raise ParameterError(
                f"{name} must be finite, or NaN where not known, got {panel[row, column]} in row {row}, "
                f"portfolio {column}: it would vanish from the mean"
            )
    if kind == "pinball":
        gap = replay.loss - held
        return _mean_by_date(np.maximum(gap, 0.0) - (1.0 - replay.coverage.level) * gap)
    if kind != "fz0":
        raise ParameterError(f"kind must be 'pinball' or 'fz0', got {kind!r}")
    if es is None:
        raise ParameterError(f"FZ0 needs the expected shortfall that {replay.model} states with its margin, got none")
    return _mean_by_date(_fz0(replay.loss, held, es, 1.0 - replay.coverage.level))


def scored_by_law(replay: Replay) -> Bools:
    """Where FZ0 can score the law that the model stated, (R, P): a loss is known and VaR is above LEAST_TAIL."""
    if replay.tail is None:
        return np.zeros(replay.loss.shape, dtype=bool)
    return np.asarray(replay.live & (replay.tail.var > LEAST_TAIL))


def law_losses(replay: Replay, pairs: Bools | None = None) -> Floats:
    """Mean FZ0 over books of the VaR and ES that the model stated, (R,); NaN where none can be scored.

    `pairs` (R, P) are the pairs to take, `scored_by_law` where None: for models to be compared, those of all of them,
    as FZ0 is larger for riskier books. ParameterError for a replay whose model stated no law.
    """
    if replay.tail is None:
        raise ParameterError(f"FZ0 needs a law of the loss, and {replay.model} states none")
    kept = scored_by_law(replay) if pairs is None else pairs
    return date_losses(replay, "fz0", margin=np.where(kept, replay.tail.var, np.nan), es=replay.tail.es)


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
