"""What multiple of a model's margins did the book's own losses call for?

A conformal multiple is read off past ratios of loss to margin, whatever model made the margins. Two are here: a
quantile of all of them, and one that follows them breach by breach.
"""

import math

import numpy as np

from data import DataError, Floats, HistoryError, MarketHistory, ParameterError
from margin_models.base import MarginModel
from margin_models.kernels.tracking import tracked
from margin_models.overlays.looks_back import LooksBack
from margin_models.overlays.past_charges import LEAST, PastBook


def split_conformal_threshold(scores: Floats, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n scores: the next, if exchangeable, is above it at most alpha often.

    Vovk, Gammerman and Shafer (2005), "Algorithmic learning in a random world"; Angelopoulos and Bates (2023),
    "Conformal prediction: a gentle introduction". Its coverage has, where no two scores are equal, the law
    Beta(k, n + 1 - k). HistoryError where k is beyond n and the threshold infinite; DataError for a NaN;
    ParameterError for an alpha outside (0, 1).

    >>> split_conformal_threshold(np.arange(1.0, 21.0), 0.1)
    19.0
    """
    if not 0 < alpha < 1:
        raise ParameterError(f"alpha must lie in (0, 1), got {alpha}. Typical values: 0.01-0.1.")
    if np.isnan(scores).any():
        raise DataError(f"scores must be known, got NaN at {int(np.isnan(scores).argmax())} of {len(scores)}")
    rank = conformal_rank(len(scores), alpha)
    if rank > len(scores):
        least = math.ceil(1.0 / alpha - 1.0 - 1e-9)
        raise HistoryError(f"at alpha {alpha} a threshold needs {least} scores, or it is infinite; got {len(scores)}")
    return float(np.partition(scores, rank - 1)[rank - 1])


def conformal_rank(count: int, alpha: float) -> int:
    """Which of n scores, from the smallest as 1, is the threshold; n + 1 where there is none."""
    return max(math.ceil((count + 1) * (1.0 - alpha) - 1e-9), 1)


def adaptive_levels(errors: Floats, alpha: float, gamma: float, start: float) -> Floats:
    """Adaptive conformal inference: alpha' = alpha_t + gamma (alpha - error), (T + 1,), from `start` on.

    Gibbs and Candes (2021), "Adaptive conformal inference under distribution shift"; `errors` (T,) are 1
    for a breach, else 0. A level at or below 0 asks for an infinite margin and one of 1 or more for none: what uses
    these as they are must say what it does then (`ConformalTracking` follows the margin instead of the level).

    >>> adaptive_levels(np.array([1.0, 0.0]), 0.1, 0.05, 0.1).round(3).tolist()
    [0.1, 0.055, 0.06]
    """
    return np.add.accumulate(np.concatenate([[start], gamma * (alpha - np.asarray(errors, dtype=np.float64))]))


class SplitConformal(LooksBack):
    """Any model times the conformal quantile of past losses over its margins, book by book.

    The ratios are those of the book's own past horizons, the newest the lookback holds; where they are exchangeable,
    as are those of a model that keeps up with volatility, the next loss is covered at least as often as the level says
    (Vovk, Gammerman and Shafer 2005). A model that learned from these very horizons, as a static rate does, fits them
    better than what is to come. Until as many are known as the level needs (99 at 99 %), the model's charge stands.

    Parameters
    ----------
    model : what is charged.
    lookback : how many past horizons, at most.
    every : rows between their starts; a whole horizon where None, so that they do not overlap.
    least, most : the multiple stays within; what is beyond `most` is left uncovered.
    """

    own = "conformal"

    def __init__(
        self,
        model: MarginModel,
        lookback: int = 250,
        every: int | None = None,
        least: float = 0.5,
        most: float = 5.0,
    ) -> None:
        self.model = model
        self.lookback = lookback
        self.every = every
        self.least = least
        self.most = most

    def _refuse_bad_parameters(self) -> None:
        super()._refuse_bad_parameters()
        refuse_bad_bounds(self.least, self.most)

    def _reach(self, past: MarketHistory) -> tuple[int, int]:
        return self.lookback, self.every or past.steps(self.coverage_)

    def _unit_charge(self, unit: Floats, before: Floats, then: PastBook) -> Floats:
        ratio, level = _ratios(before, then.losses(self.coverage_)), self.coverage_.level
        return unit * np.clip(_thresholds(ratio, 1.0 - level), self.least, self.most)


def _thresholds(ratio: Floats, alpha: float) -> Floats:
    """`split_conformal_threshold` of what is known of each book's ratios (K, P), (P,); 1 where it would be infinite."""
    count = np.isfinite(ratio).sum(axis=0)
    rank = np.array([conformal_rank(n, alpha) for n in count.tolist()])
    finite = np.flatnonzero(rank <= count)
    multiple = np.ones(ratio.shape[1])
    if finite.size:
        ordered = np.partition(np.nan_to_num(ratio[:, finite], nan=np.inf), np.unique(rank[finite]) - 1, axis=0)
        multiple[finite] = ordered[rank[finite] - 1, np.arange(len(finite))]
    return multiple


def tracked_multiples(
    ratio: Floats, rate: float, gain: float, decay: float = 0.0, least: float = 0.25, most: float = 8.0
) -> Floats:
    """Multiples of margin before each of T outcomes and after the last, (T + 1, P), that keep breaches at a rate.

    The logarithm of the multiple rises by gain (1 - rate) at a breach, loss over margin (T, P) above the multiple, and
    falls by gain rate otherwise; a NaN is no news. While no bound is met, breaches differ from rate T by no more than
    the way of the logarithm over the gain, whatever the ratios are: Angelopoulos, Candes and Tibshirani (2023),
    "Conformal PID control for time series prediction", here on the logarithm so that a step is relative
    and no margin negative. The t-th gain is gain t^-decay: one that decays settles (Angelopoulos, Barber and Bates
    2024, "Online conformal prediction with decaying step sizes"), a fixed one follows whatever changes.

    >>> tracked_multiples(np.array([[2.0], [0.5]]), 0.1, 0.5)[:, 0].round(4).tolist()
    [1.0, 1.5683, 1.4918]
    """
    gains = gain * np.arange(1.0, len(ratio) + 1.0) ** -decay
    path = tracked(np.ascontiguousarray(ratio), rate, gains, math.log(least), math.log(most))
    return np.asarray(np.exp(path))


class ConformalTracking(LooksBack):
    """Any model times a multiple that rises at each breach of the book and falls a little while there is none.

    `tracked_multiples` over the book's own past horizons, one after another without overlap, from a multiple of one at
    the oldest: with no past the model's charge stands. It needs no exchangeability and, unlike adaptive levels, is
    finite whatever happens. At a rate of 1 % a breach is forgotten after 99 horizons.

    Parameters
    ----------
    model : what is charged.
    gain : how far the logarithm moves; a breach raises margin by about this share.
    decay : the t-th gain is gain t^-decay; 0 follows change, 0.5 to 1 settles.
    lookback : how many past horizons, at most.
    least, most : the multiple stays within; while it is held at one, breaches are more, or fewer, than asked for.
    """

    own = "conformal tracking"

    def __init__(
        self,
        model: MarginModel,
        gain: float = 0.1,
        decay: float = 0.0,
        lookback: int = 250,
        least: float = 0.25,
        most: float = 8.0,
    ) -> None:
        self.model = model
        self.gain = gain
        self.decay = decay
        self.lookback = lookback
        self.least = least
        self.most = most

    def _refuse_bad_parameters(self) -> None:
        super()._refuse_bad_parameters()
        refuse_bad_bounds(self.least, self.most)
        if not (0 < self.gain < np.inf and 0 <= self.decay <= 1):
            got = f"{self.gain} and {self.decay}"
            raise ParameterError(f"ConformalTracking needs a gain > 0 and a decay in [0, 1], got {got}")

    def _reach(self, past: MarketHistory) -> tuple[int, int]:
        return self.lookback, past.steps(self.coverage_)

    def _unit_charge(self, unit: Floats, before: Floats, then: PastBook) -> Floats:
        ratio, rate = _ratios(before, then.losses(self.coverage_)), 1.0 - self.coverage_.level
        multiple = tracked_multiples(ratio, rate, self.gain, self.decay, self.least, self.most)
        return np.asarray(unit * multiple[-1])


def _ratios(charge: Floats, loss: Floats) -> Floats:
    """Loss over margin, (K, P); NaN where either is unknown or the margin is the noise of a hedged book."""
    return np.asarray(np.divide(loss, charge, out=np.full_like(loss, np.nan), where=charge > LEAST))


def refuse_bad_bounds(least: float, most: float) -> None:
    """ParameterError unless a multiple of one lies within finite bounds above zero."""
    if not 0 < least <= 1 <= most < np.inf:
        raise ParameterError(f"bounds of a multiple must be 0 < least <= 1 <= most < inf, got {least} and {most}")
