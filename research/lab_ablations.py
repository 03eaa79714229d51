"""What would the prediction's forecasters say if they did not know one kind of thing?"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np
from sklearn.base import clone

from data import Coverage, Floats, MarketHistory
from margin_models import BoostedVolatility, HarVolatility, ImpliedVolatility, VolatilityForecaster
from margin_models.volatility.predictors import LOOKBACK, NAMES, AllBut
from research.importance import FROM_BARS, group_of

FLOW, BARS, IMPLIED, CROSS = "order flow", "features of bars", "implied volatility", "cross-asset"
FUNDING, VOLUME, CALENDAR, MACRO = "funding", "volume", "calendar", "macro series"
KINDS = (FLOW, BARS, IMPLIED, CROSS, FUNDING, VOLUME, CALENDAR, MACRO)

Parts = Mapping[str, VolatilityForecaster]


class Apart(VolatilityForecaster):
    """A boosted forecaster of each underlying by itself, which has never seen another: nothing of it is pooled.

    Parameters
    ----------
    forecaster : cloned for each underlying.

    Attributes
    ----------
    fitted_ : (A,) as fitted, each on one underlying.

    Raises
    ------
    HistoryError, ParameterError
        As the forecaster does.
    """

    def __init__(self, forecaster: BoostedVolatility) -> None:
        self.forecaster = forecaster

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit a clone on each underlying."""
        super().fit(past, coverage)
        places = range(len(past.underlyings))
        self.fitted_ = [clone(self.forecaster).fit(only(past, place), coverage) for place in places]
        return self

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A)."""
        recent = past.last(count + LOOKBACK * past.steps(self.coverage_))
        told = [one.forecasts(only(recent, place), count) for place, one in enumerate(self.fitted_)]
        return np.concatenate(told, axis=1)


def only(history: MarketHistory, place: int) -> MarketHistory:
    """The history of one underlying."""
    panels: dict[str, Floats | None] = {}
    for name in ("spot", "high", "low", "volume", "funding", "curves", "surfaces", "depth", "features"):
        panel: Floats | None = getattr(history, name)
        panels[name] = None if panel is None else np.ascontiguousarray(panel[:, place : place + 1])
    name = history.underlyings[place]
    return replace(history, underlyings=(name,), listed=(), marks=None, **panels)  # type: ignore[arg-type]


def known_of(history: MarketHistory) -> dict[str, tuple[str, ...]]:
    """Predictors and features of the history by kind, in the order of `KINDS`; none where the data has none.

    A feature that is the same for all of several underlyings is a macro series; any other that is not told by bars,
    option prices or funding counts as order flow. What is unknown throughout is not in the data. A feature and a
    predictor of one kind and one name are told once.
    """
    features, predictors = _features_of(history), _predictors_of(history)
    return {kind: tuple(dict.fromkeys(features[kind] + predictors[kind])) for kind in KINDS}


def _features_of(history: MarketHistory) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for place, name in enumerate(history.feature_names):
        if history.features is not None and _is_there(history.features[:, :, place]):
            told[_kind_of(name, common=_is_common(history, place))].append(name)
    return told


def _predictors_of(history: MarketHistory) -> dict[str, list[str]]:
    there = {
        (IMPLIED, "implied variance"): _is_there(history.surfaces),
        (CROSS, "other assets"): len(history.underlyings) > 1,
        (FUNDING, "funding"): _is_there(history.funding),
        (VOLUME, "volume"): _is_there(history.volume),
        (CALENDAR, "calendar"): True,
    }
    groups = {kind: group for (kind, group), known in there.items() if known}
    return {kind: [name for name in NAMES if group_of(name) == groups.get(kind)] for kind in KINDS}


def _is_there(panel: Floats | None) -> bool:
    return panel is not None and bool(np.isfinite(panel).any())


def _kind_of(feature: str, *, common: bool) -> str:
    if common:
        return MACRO
    starts = {"implied": IMPLIED, "funding": FUNDING}
    named = next((kind for start, kind in starts.items() if feature.startswith(start)), FLOW)
    return BARS if feature in FROM_BARS else named


def _is_common(history: MarketHistory, place: int) -> bool:
    """Whether a feature tells the same of every one of several underlyings."""
    if history.features is None or len(history.underlyings) < 2:
        return False
    panel = history.features[:, :, place]
    return np.array_equal(panel, np.repeat(panel[:, :1], panel.shape[1], axis=1), equal_nan=True)


def without(kind: str, history: MarketHistory, parts: Parts) -> dict[str, VolatilityForecaster] | None:
    """The forecasters with LightGBM, and whoever else reads it, blind to one of `KINDS`; None where it is not there.

    Without cross-asset knowledge LightGBM learns of each underlying alone, and so does HAR. Without implied volatility
    there is no forecaster that rests on it either.
    """
    features, predictors = _features_of(history)[kind], _predictors_of(history)[kind]
    if not features and not predictors:
        return None
    if kind == CROSS:
        return {name: _apart(part) for name, part in parts.items()}
    blind = AllBut(of_features=tuple(features), of_predictors=tuple(predictors))
    return {
        name: clone(part).set_params(features=blind) if isinstance(part, BoostedVolatility) else part
        for name, part in parts.items()
        if kind != IMPLIED or not isinstance(part, ImpliedVolatility)
    }


def _apart(part: VolatilityForecaster) -> VolatilityForecaster:
    if isinstance(part, BoostedVolatility):
        return Apart(part)
    return clone(part).set_params(pooled=False) if isinstance(part, HarVolatility) else part
