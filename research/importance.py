"""Which predictors move a boosted forecast, and how did that change from refit to refit?

What a predictor adds to the logarithm of the correction that trees make is its SHAP value (Lundberg and others, 2020,
"From local explanations to global understanding with explainable AI for trees", Nature Machine Intelligence 2);
LightGBM computes it. Half of it is what the predictor adds to the logarithm of the volatility, and that is told here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.clock import Stamps
from margin_models import BoostedVolatility
from margin_models.volatility.predictors import LOOKBACK, NAMES, complete, known_at
from research.figures import PALETTE, as_svg

if TYPE_CHECKING:
    from lightgbm import Booster
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEATURE = " (feature)"  # so that no feature passes for a predictor that every market has
FROM_BARS = (
    *("close_to_close", "roll", "roll_undefined", "parkinson", "garman_klass", "rogers_satchell", "close_location"),
    *("volume_change", "amihud", "amihud_change"),
)
GROUPS = {
    "own variance": ("variance",),
    "own range": ("range",),
    "own returns": ("return",),
    "volume": ("volume",),
    "other assets": ("others'", "market's", "dispersion", "leader's"),
    "implied variance": ("implied",),
    "funding": ("funding",),
    "calendar": ("sine", "cosine"),
}
BARS, FLOW = "features of bars", "order flow and other features"


def predictor_names(features: Sequence[str], steps: int) -> tuple[str, ...]:
    """Names of the columns that a booster sees, (F,), where a horizon is so many rows.

    >>> predictor_names(["vpin"], 2)[-2:]
    ('vpin (feature)', 'vpin (feature) over 1')
    """
    told = [f"{name}{FEATURE}" for name in features]
    return (*NAMES, *told, *([f"{name} over 1" for name in told] if steps > 1 else []))


def group_of(name: str) -> str:
    """The group that a predictor is drawn with.

    >>> group_of("others' variance over 5"), group_of("parkinson (feature)"), group_of("vpin (feature) over 1")
    ('other assets', 'features of bars', 'order flow and other features')
    """
    told, feature, _ = name.partition(FEATURE)
    if feature:
        return BARS if told in FROM_BARS else FLOW
    return next(group for group, starts in GROUPS.items() if name.startswith(starts))


@dataclass(frozen=True, eq=False)
class Effects:
    """What each predictor does to a forecast at R rows.

    Attributes
    ----------
    names : (F,) predictors.
    effect : (R, A, F) what each adds to the logarithm of the volatility; NaN where EWMA speaks for itself.
    usual : (R, A) what is there without them: the logarithm of the forecast over EWMA is it and their sum.
    ewma : (R, A) standard deviation over the horizon by EWMA, NaN where it is not known.
    """

    names: tuple[str, ...]
    effect: Floats
    usual: Floats
    ewma: Floats

    @property
    def over_ewma(self) -> Floats:
        """The forecast over EWMA, (R, A)."""
        return np.asarray(np.exp(self.usual + np.nansum(self.effect, axis=2)))


def effects(fitted: BoostedVolatility, past: MarketHistory, count: int) -> Effects:
    """What moved the forecasts at the newest `count` rows of `past`, each by the booster that speaks there.

    HistoryError where there are less than 44 horizons before these rows, or a feature is missing.
    """
    steps = past.steps(fitted.coverage_)
    needed = count + LOOKBACK * steps
    if len(past) < needed:
        raise HistoryError(f"what moved {count} forecasts is told by {needed} rows, got {past!r}")
    recent = past.last(needed)
    known = known_at(recent, replace(fitted.coverage_, horizon=past.clock.step), steps, fitted.features_)
    leader = past.underlyings.index(fitted.leader_) if fitted.leader_ in past.underlyings else None
    known = known.led_by(leader)
    whole, shape = complete(known.predictors), known.predictors.shape
    effect, usual = np.full(shape, np.nan), np.full(shape[:2], 0.5 * np.log(fitted.ewma_scale_))
    speaker = np.searchsorted(fitted.starts_, recent.time[-count:], side="right") - 1
    for place, booster in enumerate(fitted.boosters_):
        chosen = whole & (speaker == place)[:, None]
        if booster is not None and chosen.any():
            told = _contributions(booster, known.predictors[chosen])
            effect[chosen] = 0.5 * told[:, :-1]
            usual[chosen] = 0.5 * (np.log(fitted.scale_) + told[:, -1])
    usual[np.isnan(known.ewma)] = np.nan
    return Effects(predictor_names(fitted.features_, steps), effect, usual, np.sqrt(steps * known.ewma))


@dataclass(frozen=True, eq=False)
class Importance:
    """What boosters relied on, from refit to refit.

    Attributes
    ----------
    time, end : (K,) instants of the fits, and the instant to which the last one is told.
    names : (F,) predictors.
    gain : (K, F) share of what all splits of the ensemble gained, NaN where there was nothing to learn from.
    effect : (K, F) mean absolute effect on the logarithm of the volatility, over the decisions and underlyings from the
        fit to the next one, which it had not seen.
    """

    time: Stamps
    end: np.datetime64
    names: tuple[str, ...]
    gain: Floats
    effect: Floats

    def to_frame(self) -> pd.DataFrame:
        """One row a fit, columns by measure (gain, effect) and predictor."""
        return pd.concat({"gain": self._table(self.gain), "effect": self._table(self.effect)}, axis=1)

    def by_group(self) -> pd.DataFrame:
        """Sum of the effects of each group's predictors, one row a fit, the largest group on average first."""
        table = self._table(self.effect).T.groupby(group_of, sort=False).sum(min_count=1).T
        return table[table.mean().sort_values(ascending=False, kind="stable").index]

    def summary(self) -> pd.DataFrame:
        """One row a predictor, the one that moves forecasts most first: group, means over the fits, and the latest."""
        told = {
            "group": [group_of(name) for name in self.names],
            "gain, %": 100.0 * _mean(self.gain),
            "moves volatility by, %": 100.0 * _mean(self.effect),
            "at the latest fit, %": 100.0 * self.effect[-1],
        }
        table = pd.DataFrame(told, index=pd.Index(self.names, name="predictor"))
        return table.sort_values("moves volatility by, %", ascending=False, kind="stable")

    @property
    def sentence(self) -> str:
        """What mattered most, in words; the text alternative of the figure."""
        groups = self.by_group().mean()
        told = [f"{name} ({100.0 * size:.1f} %)" for name, size in groups.items() if size > 0][:3]
        leading = ", ".join(told) or "nothing"
        return f"By how much groups of predictors move the forecast, over {len(self.time)} fits: most by {leading}."

    def _table(self, panel: Floats) -> pd.DataFrame:
        index = pd.DatetimeIndex(self.time, tz="UTC", name="fit")
        return pd.DataFrame(panel, index=index, columns=pd.Index(self.names, name="predictor"))

    def __repr__(self) -> str:
        return f"{self.sentence}\n{self.summary().head(12).to_string(float_format='{:.2f}'.format)}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.sentence)}</p>{self.summary().to_html(float_format='{:.2f}'.format)}"


def importance(
    history: MarketHistory,
    coverage: Coverage,
    forecaster: BoostedVolatility | None = None,
    *,
    window: int,
    refit_every: int,
    every: int = 1,
) -> Importance:
    """Fit at each refit of a replay with these settings, and tell what the booster relied on until the next.

    Parameters
    ----------
    forecaster : with its defaults where None; it is cloned.
    window, refit_every, every : rows a fit sees, decisions between fits, rows between decisions.

    Raises
    ------
    HistoryError
        If the history is shorter than the window, or the window than the forecaster needs.
    ParameterError
        For refits or decisions less than 1 apart.
    """
    if min(refit_every, every) < 1:
        raise ParameterError(f"refit_every and every must be >= 1, got {refit_every} and {every}")
    history = history.valued_in(coverage.numeraire)
    rows = np.arange(window - 1, len(history), every)
    if window < 1 or not rows.size:
        raise HistoryError(f"importance needs a window of 1 to {len(history)} rows, got {window}")
    stops = [int(row) + 1 for row in rows[::refit_every]]
    gains, sizes = [], []
    with threadpool_limits(1):
        fits = (forecaster or BoostedVolatility()).fit_many(history, stops, window, coverage)
        for start, fitted in zip(stops, fits, strict=True):
            said = rows[(rows >= start - 1) & (rows < start - 1 + refit_every * every)]
            told = effects(fitted, history.rows(0, int(said[-1]) + 1), int(said[-1] - said[0]) + 1)
            gains.append(_gain(fitted.boosters_[-1], len(told.names)))
            sizes.append(_mean(np.abs(told.effect[said - said[0]]).reshape(-1, len(told.names))))
    return Importance(history.time[np.array(stops) - 1], history.time[-1], told.names, np.array(gains), np.array(sizes))


def plot_importance(told: Importance, ax: "Axes") -> "Axes":
    """Effects of groups of predictors stacked over time, each fit until the next; the legend gives the means."""
    table = 100.0 * told.by_group()
    table = table.loc[:, (table > 0).any()]
    time = pd.DatetimeIndex([*told.time, told.end], tz="UTC")
    held = np.vstack([table.to_numpy(), table.to_numpy()[-1:]]).T
    names = [f"{name} ({mean:.1f} %)" for name, mean in table.mean().items()]
    if names:
        ax.stackplot(time, np.nan_to_num(held), labels=names, colors=PALETTE, step="post", linewidth=0.0)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    ax.set(ylabel="moves volatility by, %", ylim=(0.0, None), xlim=(time[0], time[-1]))
    return ax


def importance_svg(told: Importance, *, prefix: str = "importance") -> str:
    """Which groups of predictors moved the forecast, over time."""

    def draw(figure: "Figure") -> None:
        ax = plot_importance(told, figure.subplots())
        ax.set_title("mean absolute effect on the forecast, by group of predictors, from each fit to the next")

    return as_svg(draw, 3.6, told.sentence, prefix)


def _contributions(booster: "Booster", predictors: Floats) -> Floats:
    """SHAP values of (R, F) rows and, last, what is expected without them, (R, F + 1), in log variance."""
    return np.asarray(booster.predict(predictors, pred_contrib=True, num_threads=1), dtype=np.float64)


def _gain(booster: "Booster | None", predictors: int) -> Floats:
    """Each predictor's share of the gain of all splits, (F,)."""
    if booster is None:
        return np.full(predictors, np.nan)
    gain: Floats = np.asarray(booster.feature_importance("gain"), dtype=np.float64)
    total = float(gain.sum())
    return gain / total if total > 0 else gain


def _mean(panel: Floats) -> Floats:
    """Mean of what is known of each column of (R, F); NaN where nothing is."""
    known = np.isfinite(panel)
    count = known.sum(axis=0)
    total = np.where(known, panel, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(panel.shape[1], np.nan), where=count > 0)
    return mean
