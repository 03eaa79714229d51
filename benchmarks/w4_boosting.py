"""W4: how fast is a boosted 0.99 quantile refitted on a walk forward, from 20,000 to 49,000 rows of 40 predictors?"""

from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np
from race import Measurement, race

from data import Floats
from margin_models.volatility.continued import ContinuedBooster

LEVEL, TREES, AHEAD, JUDGED = 0.99, 100, 720, 40_000
STOPS = np.linspace(20_000, 49_000, 9).astype(int).tolist()
LIGHTGBM, SKLEARN = "LightGBM's defaults", "sklearn's histogram boosting"
# A leaf below two expected rows of the tail learns its rows by heart, which is where the peers' defaults lose.
OURS = {"objective": "quantile", "alpha": LEVEL, "learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 200}

Forecast = Callable[[Floats], object]
Fit = Callable[[Floats, Floats], Forecast]


def workload() -> list[Measurement]:
    """Continued boosting against full refits by LightGBM and by sklearn, refit by refit on the same rows.

    The first stop, where there is nothing to continue, warms up. Each fit then forecasts 720 rows. The pinball loss of
    the last fits on 40,000 other rows stands in the metric; an error where ours is above a peer's.
    """
    predictors, outcomes = drawn()
    walks = {
        name: Walk(predictors, outcomes, fit)
        for name, fit in (("ours", continued()), (LIGHTGBM, lightgbm_default), (SKLEARN, sklearn_boosting))
    }
    took = race(walks, rounds=len(STOPS) - 1)
    loss = {name: walk.pinball() for name, walk in walks.items()}
    if not loss["ours"] <= min(loss.values()):
        raise AssertionError(f"continued boosting must lose no more than its peers, got mean pinball losses {loss}")
    told = []
    for peer, goal in ((LIGHTGBM, 3.0), (SKLEARN, 4.5)):
        metric = f"refit a quantile on 20-49k x 40 (pinball {loss['ours']:.4f}, peer {loss[peer]:.4f})"
        told.append(Measurement("W4", metric, peer, took[peer] / took["ours"], goal, took["ours"], took[peer]))
    ours, theirs = (1e3 * walks[name].seconds / len(STOPS) for name in ("ours", LIGHTGBM))
    metric = f"mean refit of a walk of {len(STOPS)}, two trunks of ours among them"
    return [*told, Measurement("W4", metric, LIGHTGBM, theirs / ours, 2.0, ours, theirs)]


def drawn() -> tuple[Floats, Floats]:
    """Predictors (R, 40), and outcomes (R,) whose scale depends on three of them."""
    random = np.random.default_rng(0)
    predictors = random.standard_normal((STOPS[-1] + JUDGED, 40))
    scale = np.exp(0.3 * predictors[:, 0] + 0.2 * predictors[:, 1] * predictors[:, 2])
    return predictors, scale * random.standard_t(4, len(predictors))


class Walk:
    """Fits at the next stop each time it is called, and forecasts what follows."""

    def __init__(self, predictors: Floats, outcomes: Floats, fit: Fit) -> None:
        self.predictors, self.outcomes, self.fit = predictors, outcomes, fit
        self.stops = iter(STOPS)
        self.seconds = 0.0
        self.forecast: Forecast = len

    def __call__(self) -> None:
        stop = next(self.stops)
        start = perf_counter()
        self.forecast = self.fit(self.predictors[:stop], self.outcomes[:stop])
        self.forecast(self.predictors[stop : stop + AHEAD])
        self.seconds += perf_counter() - start

    def pinball(self) -> float:
        """Mean loss of the last fit on rows that no fit saw."""
        gap = self.outcomes[STOPS[-1] :] - np.asarray(self.forecast(self.predictors[STOPS[-1] :]))
        return float(np.maximum(LEVEL * gap, (LEVEL - 1.0) * gap).mean())


def continued() -> Fit:
    state = ContinuedBooster({**OURS, "seed": 0, "num_threads": 2}, TREES)

    def fit(known: Floats, outcomes: Floats) -> Forecast:
        nonlocal state
        state = state.following(known, outcomes)
        assert state.booster is not None
        return partial(state.booster.predict, num_threads=2)

    return fit


def lightgbm_default(known: Floats, outcomes: Floats) -> Forecast:
    from lightgbm import LGBMRegressor

    model = LGBMRegressor(objective="quantile", alpha=LEVEL, n_estimators=TREES, verbose=-1)
    model.fit(known, outcomes)
    return model.booster_.predict  # the wrapper's own would warn of names that arrays do not have


def sklearn_boosting(known: Floats, outcomes: Floats) -> Forecast:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(loss="quantile", quantile=LEVEL, max_iter=TREES, early_stopping=False)
    fitted: Forecast = model.fit(known, outcomes).predict
    return fitted
