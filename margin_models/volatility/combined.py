"""How volatile is the next horizon, if forecasters are trusted by how well they served the tails so far?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Self
from weakref import WeakKeyDictionary, ref

import numpy as np
import pandas as pd
from sklearn.base import clone

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.clock import Stamps
from margin_models.base import VolatilityForecaster
from margin_models.kernels.expert_weights import shared_weights, tail_multipliers

FASTEST = 7.0  # of the learning rate, times the tail's share: 0.07 at 99 %
DEEPEST = 1.0  # expected shortfalls: nobody is charged more above the best than a breach so deep would cost
EXTREME = 10.0  # standard deviations: no innovation counts for more in a multiplier
LEAST = 0.1  # of the largest forecast of the same row and asset: none is judged as less

Fitted = VolatilityForecaster | None
Forecasters = Sequence[Fitted]


@dataclass(frozen=True, eq=False)
class Trial:
    """What forecasters said at R rows before the outcome, sigma (R, A, K), and what came of it.

    `ended` (R, A) are absolute returns over the horizons that ended at each row, NaN where one is unknown.
    """

    time: Stamps
    sigma: Floats
    ended: Floats

    def then(self, later: "Trial") -> "Trial":
        """This one and the rows that follow it."""
        mine, others = (self.time, self.sigma, self.ended), (later.time, later.sigma, later.ended)
        return Trial(*(np.concatenate(pair) for pair in zip(mine, others, strict=True)))

    def losses(self, steps: int, level: float) -> Floats:
        """FZ0 of the horizon that ended at each row, (R, A, K), mean of a long and a short position; NaN if unknown.

        The tail of both sides is that of the absolute return at twice the share, and only one side can breach. Nobody
        is charged more above the best than a breach by one expected shortfall costs: a move that none foresaw would
        stop the learning for good. For the same reason no innovation counts for more than ten standard deviations, and
        no forecast for less than a tenth of the largest one: those of an asset that stands still vanish, each at its
        own pace, until it moves.
        """
        sigma = np.where(self.sigma > 0.0, self.sigma, np.nan)
        sigma = np.maximum(sigma, LEAST * np.fmax.reduce(sigma, axis=2, keepdims=True))
        start, move = sigma[:-steps], self.ended[steps:, :, None]
        ratio = np.full(sigma.shape, np.nan)
        with np.errstate(over="ignore"):
            ratio[steps:] = np.minimum(move / start, EXTREME)
        multipliers = tail_multipliers(ratio, 2.0 * level - 1.0)[:-steps, None]
        var, es = start * multipliers[..., 0], start * multipliers[..., 1]
        es[~(es > 0.0)] = np.nan
        both = 2.0 * (1.0 - level)
        losses = np.full(sigma.shape, np.nan)
        losses[steps:] = np.maximum(move - var, 0.0) / (both * es) + var / es + np.log(es) - 1.0
        return np.asarray(np.minimum(losses, np.fmin.reduce(losses, axis=2, keepdims=True) + DEEPEST / both))


class CombinedVolatility(VolatilityForecaster):
    """The weighted geometric mean of several forecasts, each weighing by what its past forecasts cost in the tails.

    When a horizon ends, each forecaster is charged the FZ0 loss (Patton, Ziegel and Chen, 2019, eq. 6) of its value at
    risk and expected shortfall for a long and for a short position in each asset, at the coverage level. These are its
    sigma times multipliers that were known at the horizon's start: the quantile, and the mean beyond it, of the returns
    over its own sigma among horizons that had ended, of all assets and both sides. So neither the scale of a sigma nor
    the law of its innovations is judged, only how it moves. A horizon of h rows counts 1 / h at each row.

    Weights start equal and follow exponential weights with a fixed share (Herbster and Warmuth, 1998), at AdaHedge's
    learning rate (de Rooij and others, 2014) and never faster than 7 times the tail's share. FZ0 is minus the
    log-likelihood of an asymmetric Laplace law (Taylor, 2019): 1 would be Bayes' rule if returns had that law, and is
    far too fast where few horizons tell of a tail. Weights spread as the sampling error does at the curvature of the
    mean loss over the variance of its slope (Holmes and Walker, 2017): in the logarithm of sigma, at 99 %, 3.3 / 56
    under a t law with 4 degrees of freedom, 4.1 / 52 with 6. With overlapping horizons a loss comes h rows late, and
    the regret bound holds for the weights in force when it comes.

    A forecaster fitted to the whole window forecasts the rows of it with parameters that knew their outcome. Nothing of
    it is later than now, yet it flatters what overfits. So each is also fitted to the first part of the window alone;
    weights are learned on the rows held out, go on from the fit's last row with the forecasters fitted to everything,
    and stand at their start before. One that cannot be fitted to so few rows keeps its weight meanwhile.
    (`BoostedVolatility` is out of fold by itself.)

    A forecast that is NaN, or 0 where another is positive, leaves its weight to the others at that row and asset.

    Parameters
    ----------
    forecasters : what is combined, any K >= 1 of them; each is cloned before it is fitted.
    adaptive : False keeps the weights equal, the benchmark that is hard to beat (Timmermann, 2006).
    pooled : one set of weights for all assets; False gives each its own.
    share : of the weight, spread evenly every horizon, in (0, 1): no weight falls below share / K, by 1 / h less where
        a horizon is h rows, so that none is lost.
    held_out : share of the window, its newest rows, to learn weights on; None learns on the whole window, in sample.

    Attributes
    ----------
    forecasters_ : (K,) fitted to the whole window.
    names_ : (K,) their names, numbered where they are the same.
    weights_ : (K,) at the fit's last row, or (A, K) where not pooled.

    Raises
    ------
    ParameterError
        If there is no forecaster, or something else is among them, or a share lies outside its range.
    """

    def __init__(
        self,
        forecasters: Sequence[VolatilityForecaster],
        adaptive: bool = True,
        pooled: bool = True,
        share: float = 0.03,
        held_out: float | None = 0.5,
    ) -> None:
        self.forecasters = forecasters
        self.adaptive = adaptive
        self.pooled = pooled
        self.share = share
        self.held_out = held_out

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit every forecaster to the first part of `past` for the weights, and to all of it for the forecasts."""
        self._check()
        held = self._rows_held(len(past))
        first = past.rows(0, len(past) - held)
        scouts = [_fitted_or_none(one, first, coverage) for one in self.forecasters] if held else []
        return self._with([clone(one).fit(past, coverage) for one in self.forecasters], scouts, past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """The same as a loop of fits, each forecaster fitted at all stops at once."""
        self._check()
        whole, held = [stop for stop in stops if stop >= window], self._rows_held(window)
        fits = [clone(one).fit_many(history, whole, window, coverage) for one in self.forecasters]
        first = [stop - held for stop in whole], window - held
        tries = [_each_or_none(one, history, *first, coverage) for one in (self.forecasters if held else ())]
        for stop in stops:
            past, fresh = history.rows(max(stop - window, 0), stop), clone(self)
            if stop < window:
                yield fresh.fit(past, coverage)
            else:
                yield fresh._with([next(one) for one in fits], [next(one) for one in tries], past, coverage)

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Weighted geometric mean at each of the newest `count` rows, (count, A); NaN where no forecaster speaks."""
        last = _ANSWERS.get(self)
        if last is not None and last.serves(self, past, count):
            return last.told.copy()
        told = combined(_stacked(self.forecasters_, past, count), self._weights(past, count))
        _ANSWERS[self] = Answer(ref(past), count, list(_made_of(self)), told)  # as asking left them
        return told.copy()

    def weights_over_time(self, past: MarketHistory, count: int) -> pd.DataFrame:
        """Weights at the newest `count` rows of `past`, a column a forecaster; by underlying first where not pooled.

        Those of forecasters that speak: where one does not, the others share what is its.
        """
        asked = past.last(count)
        weights = self._weights(past, len(asked)).reshape(len(asked), -1)
        names = pd.Index(self.names_, name="forecaster")
        columns = names if self.pooled else pd.MultiIndex.from_product([past.underlyings, names])
        return pd.DataFrame(weights, index=pd.DatetimeIndex(asked.time, tz="UTC", name="time"), columns=columns)

    def _check(self) -> None:
        given = list(self.forecasters)
        if not given or not all(isinstance(one, VolatilityForecaster) for one in given):
            expected = "CombinedVolatility.forecasters must be one or more volatility forecasters"
            raise ParameterError(f"{expected}, got {self.forecasters!r}")
        if not 0.0 < self.share < 1.0:
            raise ParameterError(f"CombinedVolatility.share must lie in (0, 1), got {self.share}. Typical: 0.01-0.05.")
        if self.held_out is not None and not 0.0 < self.held_out < 1.0:
            expected = "CombinedVolatility.held_out must be None or lie in (0, 1)"
            raise ParameterError(f"{expected}, got {self.held_out}. Typical values: 0.3-0.6.")

    @property
    def _learns(self) -> bool:
        return self.adaptive and len(self.forecasters) > 1

    def _rows_held(self, rows: int) -> int:
        """How many rows of the window the weights alone may see; none where the same fits serve for everything."""
        return 0 if self.held_out is None or not self._learns else int(self.held_out * rows)

    def _with(
        self, fitted: list[VolatilityForecaster], scouts: Forecasters, past: MarketHistory, coverage: Coverage
    ) -> Self:
        """Take over fitted forecasters, and the trial of those fitted to the first part (where none: of the others)."""
        if not len(past):
            raise HistoryError(f"combined volatility needs a row at least to fit, got {past!r}")
        super().fit(past, coverage)
        _ANSWERS.pop(self, None)
        self.forecasters_, self.names_ = fitted, _names(self.forecasters)
        rows = (self._rows_held(len(past)) or len(past)) if self._learns else 1
        sigma = _stacked(scouts or fitted, past, rows)
        tried = past.last(rows)  # horizons that began before it were in the sample of the scouts
        self._trial = Trial(tried.time.copy(), sigma, _ended(tried, coverage, rows))
        weights = self._learned(self._trial, past.steps(coverage))[-1]
        self.weights_ = weights[0] if self.pooled else weights
        return self

    def _weights(self, past: MarketHistory, count: int) -> Floats:
        """Weights at the newest `count` rows, (count, 1 or A, K); where there are fewer, at rows before as well."""
        trial = self._trial
        since = len(past) - int(np.searchsorted(past.time, trial.time[-1], side="right"))
        if since and self._learns:  # asked for from the fit on, so that the weights of a row never change again
            said = _stacked(self.forecasters_, past, since)
            trial = trial.then(Trial(past.last(since).time, said, _ended(past, self.coverage_, since)))
        learned = self._learned(trial, past.steps(self.coverage_))
        start = np.full((1, *learned.shape[1:]), 1.0 / len(self.forecasters_))
        place = np.zeros(count, dtype=np.intp)  # rows before the first of the trial have what it started from
        asked = past.last(count).time
        place[count - len(asked) :] = np.searchsorted(trial.time, asked, side="right")
        return np.concatenate([start, learned])[place]

    def _learned(self, trial: Trial, steps: int) -> Floats:
        """Weights in force at each row of a trial, (R, 1, K) where pooled, else (R, A, K)."""
        rows, assets, experts = trial.sigma.shape
        groups = [slice(None)] if self.pooled else [slice(a, a + 1) for a in range(assets)]
        weights = np.full((rows, len(groups), experts), 1.0 / experts)
        if self._learns:
            losses = trial.losses(steps, self.coverage_.level) / steps
            share = 1.0 - (1.0 - self.share) ** (1.0 / steps)
            fastest = min(FASTEST * (1.0 - self.coverage_.level), 1.0)
            for g, columns in enumerate(groups):
                weights[:, g] = shared_weights(np.ascontiguousarray(losses[:, columns]), share, fastest)[0]
        return weights


@dataclass(frozen=True, eq=False)
class Answer:
    """What a combination said of the newest `count` rows of a past, (count, A), and what it was made of then."""

    past: "ref[MarketHistory]"
    count: int
    made_of: Sequence[object]
    told: Floats

    def serves(self, combination: CombinedVolatility, past: MarketHistory, count: int) -> bool:
        """Whether the same is asked again, and neither a parameter nor a member has been replaced since."""
        if self.past() is not past or self.count != count:
            return False
        now = list(_made_of(combination))
        return len(now) == len(self.made_of) and all(map(is_, now, self.made_of))


# What each said last: a model asks for the same forecasts for its sample and for the shape of its tail. A history never
# changes. Kept apart, as it is no part of what was learned.
_ANSWERS: "WeakKeyDictionary[CombinedVolatility, Answer]" = WeakKeyDictionary()


def _made_of(one: object) -> Iterator[object]:
    """Every parameter and every learned thing of a forecaster and of those it holds, never a forecaster itself.

    Compared by identity: a parameter that is set and a fit both put another object in its place.
    """
    if isinstance(one, VolatilityForecaster):
        yield type(one)
        for name, part in vars(one).items():
            yield name
            yield from _made_of(part)
    elif isinstance(one, list | tuple):
        yield len(one)
        for part in one:
            yield from _made_of(part)
    else:
        yield one


def combined(sigma: Floats, weights: Floats) -> Floats:
    """Geometric mean of what is positive over the last axis of (R, A, K), weights broadcast to it; (R, A).

    0 where all that is known is 0, NaN where nothing is known. One forecast, or several that agree, come back bit for
    bit, as everything is relative to the largest.

    >>> combined(np.array([[[1.0, 4.0, np.nan]], [[0.0, 3.0, 3.0]]]), np.ones(3)).tolist()
    [[2.0], [3.0]]
    """
    known = np.where(np.isfinite(sigma), sigma, np.nan)
    largest: Floats = np.fmax.reduce(known, axis=2)
    heard = known > 0.0
    ratio = np.divide(known, largest[:, :, None], out=np.ones_like(known), where=heard)
    share = np.where(heard, weights, 0.0)
    total = share.sum(axis=2)
    mean = np.divide((share * np.log(ratio)).sum(axis=2), total, out=np.zeros_like(total), where=total > 0.0)
    return np.asarray(largest * np.exp(mean))


def _ended(past: MarketHistory, coverage: Coverage, rows: int) -> Floats:
    """Absolute returns over the horizons that ended at each of the newest rows, (rows, A)."""
    moves = np.abs(past.last(rows + past.steps(coverage)).returns(coverage))
    ended = np.full((rows, len(past.underlyings)), np.nan)
    known = min(rows, len(moves))
    ended[rows - known :] = moves[len(moves) - known :]
    return ended


def _stacked(forecasters: Forecasters, past: MarketHistory, rows: int) -> Floats:
    """What each says at the newest rows, (rows, A, K); NaN of one that is not there."""
    absent = np.full((rows, len(past.underlyings)), np.nan)
    return np.stack([absent if one is None else one.forecasts(past, rows) for one in forecasters], axis=2)


def _fitted_or_none(forecaster: VolatilityForecaster, past: MarketHistory, coverage: Coverage) -> Fitted:
    """A clone fitted to `past`, None where that is too short for it."""
    fresh: VolatilityForecaster = clone(forecaster)
    try:
        return fresh.fit(past, coverage)
    except HistoryError:
        return None


def _each_or_none(
    forecaster: VolatilityForecaster, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage
) -> Iterator[Fitted]:
    """One clone a stop, fitted to the `window` rows before it all at once, None where these are too short."""
    done = 0
    while done < len(stops):
        try:
            for fitted in clone(forecaster).fit_many(history, stops[done:], window, coverage):
                done += 1
                yield fitted
        except HistoryError:  # ends that iterator: this stop alone, and a new one for the others
            past = history.rows(max(stops[done] - window, 0), stops[done])
            done += 1
            yield _fitted_or_none(forecaster, past, coverage)


def _names(forecasters: Sequence[VolatilityForecaster]) -> tuple[str, ...]:
    """Their reprs, numbered where several are the same."""
    told = [repr(one) for one in forecasters]
    return tuple(f"{name} #{told[:i].count(name) + 1}" if told.count(name) > 1 else name for i, name in enumerate(told))
