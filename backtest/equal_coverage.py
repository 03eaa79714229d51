"""What would each model charge, were all scaled to the same safety?

One scalar a model, shared by all books, learned walk-forward: k_t is the target quantile of loss / margin over the
horizons that had ended by t. Pairs without margin have no ratio: they stay out of the pool, and count as breaches where
they lose.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backtest.pool_kernels import drawn_quantile, growing_quantile
from backtest.replay import Bools, Replay
from data import Floats
from margin_models.kernels.tails import needed, supports, upper_quantile

_TAIL = 10.0  # times the tail probability
FLOOR = 1e-6  # margin per unit of gross notional below which a ratio would be float noise of a hedged book


@dataclass(frozen=True, eq=False)
class EqualCoverage:
    """A model scaled to the target: `scale` (R,) is k_t, NaN before it is `ready`; `margin` (R, P) is k_t times it."""

    scale: Floats
    ready: Bools
    margin: Floats
    covered: Floats

    @property
    def mean_margin(self) -> float:
        """Mean of k_t m_t over the decisions that had a scale; NaN where none had."""
        return mean_or_nan(self.margin[self.ready])


def mean_or_nan(panel: Floats) -> float:
    """Mean of what is known; NaN (and no warning) where nothing is."""
    known = panel[np.isfinite(panel)]
    return float(known.mean()) if known.size else float("nan")


def _eligible(replay: Replay) -> Bools:
    return np.asarray(replay.live & (replay.initial > FLOOR))


def equal_coverage_scale(replay: Replay) -> Floats:
    """Walk-forward k_t, (R,); NaN until as many disjoint horizons have ended as the level needs."""
    level = replay.coverage.level
    eligible = _eligible(replay)
    ratio = replay.loss[eligible] / replay.initial[eligible]
    order = np.argsort(ratio, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ended = np.searchsorted(replay.end, replay.time, side="right")
    arrivals = np.concatenate([[0], np.cumsum(eligible.sum(axis=1))])
    scale = growing_quantile(ratio[order], rank, arrivals[ended], level)
    trials = np.searchsorted(replay.end[replay.disjoint], replay.time, side="right")
    enough = np.array([supports(int(n), level) for n in trials])
    return np.where(enough, np.maximum(scale, 0.0), np.nan)


def at_equal_coverage(replay: Replay) -> EqualCoverage:
    """The replay's margin at its walk-forward scale, and which losses it covered ((R, P), 1 or 0, NaN unknown)."""
    scale = equal_coverage_scale(replay)
    ready = np.isfinite(scale)
    margin = np.where(ready[:, None], scale[:, None] * replay.initial, np.nan)
    held = np.where(replay.initial > FLOOR, margin, FLOOR)
    covered = np.where(replay.live & ready[:, None], replay.loss <= held, np.nan)
    return EqualCoverage(scale, ready, np.where(replay.live, margin, np.nan), covered)


def scaled_margin_draws(replay: Replay, draws: NDArray[np.int64]) -> Floats:
    """Mean margin at the scale that would have met the target ex post, once for each bootstrap draw, (B,).

    Ex post because a walk-forward path cannot be drawn again; it carries the error of the quantile and of the mean. The
    table reports the walk-forward figure, with this law's relative spread about it.
    """
    eligible = _eligible(replay)
    ratio = replay.loss[eligible] / replay.initial[eligible]
    row = np.nonzero(eligible)[0]
    order = np.argsort(-ratio, kind="stable")
    # The pool counts every pair, but only its upper part has to be walked to find the quantile: a draw may hold several
    # times as much of the tail as the sample, and hardly ever more.
    tail = order[: int(_TAIL * (1.0 - replay.coverage.level) * len(order)) + 2 * needed(replay.coverage.level)]
    scale = drawn_quantile(ratio[tail], row[tail], eligible.sum(axis=1), draws, replay.coverage.level)
    held = np.where(replay.live, replay.initial, 0.0).sum(axis=1)
    return np.asarray(np.maximum(scale, 0.0) * (draws @ held) / (draws @ replay.live.sum(axis=1)))


def oracle_constant(replay: Replay, name: str) -> Replay:
    """The same margin scaled by the one constant that would have met the target exactly, known only in hindsight.

    For orientation: what the best of all frozen rates would have cost. It is never ranked.
    """
    eligible = _eligible(replay)
    ratio = replay.loss[eligible] / replay.initial[eligible]
    scale = max(float(upper_quantile(ratio, replay.coverage.level)), 0.0)
    scaled = replay.initial * scale, replay.maintenance * scale
    return replace(replay, model=name, initial=scaled[0], maintenance=scaled[1], tail=None)  # hindsight states no law
