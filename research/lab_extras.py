"""What else does the laboratory show: what drives the forecast, what it saw, and how margin answers a shock?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from backtest.alarm_plots import TRIPS, alarm_trade_off, plot_alarms
from backtest.portfolios import Books
from backtest.procyclicality import impulse_response
from backtest.replay import Replay
from backtest.weight_plots import plot_weights
from data import Coverage, HistoryError, MarketHistory, ParameterError
from data.arrays import Bools
from margin_models import CircuitBreaker, CombinedVolatility, MarginModel, VolatilityForecaster
from research.figures import as_svg
from research.importance import Importance, importance
from research.lab import OURS, RIVALS, STATIC, Candidate, Laboratory, members
from research.sightings import BASKET, Periods, Sightings, crash_days, what_it_saw
from research.study import Market

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["volatility", "correlation"]

STEPS: dict[Kind, float] = {
    "volatility": 2.0,
    "correlation": 0.8,
}  # to twice as volatile; from independent to nearly alike
ANSWERS = (STATIC, *RIVALS, OURS, "with 25 % buffer")  # other overlays answer a rise as the prediction does
CRASHES = 10  # largest losses, of which alarms are judged apart
BREAKER = "with circuit breaker"
ALL, CRASH = "all decisions", "crash days"
_WINDOW, _BEFORE, _AFTER, _REFIT, _BOOKS = 260, 5, 150, 60, 8  # 249 rows are the fewest that LightGBM is fitted to
_POINTS = 400  # of a line in a figure


@dataclass(frozen=True, eq=False)
class Extras:
    """What the laboratory shows beside its table.

    Attributes
    ----------
    importance, sightings : what drove the boosted forecast, and what it saw before the crises.
    weights : of the forecasters, if they are learned, over time.
    alarms : `alarm_table`.
    impulses : `impulse_table`.
    """

    importance: Importance
    sightings: Sightings
    weights: pd.DataFrame
    alarms: pd.DataFrame
    impulses: pd.DataFrame


def lab_extras(
    lab: Laboratory,
    history: MarketHistory,
    market: Market,
    candidates: Mapping[str, Candidate],
    periods: Periods | None = None,
) -> Extras:
    """Everything, with the settings that the laboratory replayed its market with.

    Parameters
    ----------
    lab, history, market : what was judged, and on what; its books must have been made by `market.books`.
    candidates : all of them, for how they answer a shock.
    periods : crises by name; the five largest losses of the basket where None.
    """
    if market.books is None:
        raise ParameterError(f"the market {market.name!r} must say what its books are made by")
    run, books = lab.comparison.replays[OURS], market.books(history.underlyings)
    coverage, window, refit_every, every = market.coverage, market.window, market.refit_every, market.every
    breaker = candidates[BREAKER].model
    if not isinstance(breaker, CircuitBreaker):
        raise ParameterError(f"{BREAKER!r} must be a circuit breaker, got {breaker!r}")
    return Extras(
        importance(history, coverage, window=window, refit_every=refit_every, every=every),
        what_it_saw(history, run, window=window, periods=periods),
        learned_weights(members(history), history, coverage, window=window, refit_every=refit_every, every=every),
        alarm_table(run, history, books, breaker),
        impulse_table(candidates, coverage.level),
    )


def impulse_table(candidates: Mapping[str, Candidate], level: float = 0.99) -> pd.DataFrame:
    """How each of `ANSWERS` that is a candidate answers a step in volatility and one in correlation, by kind and model.

    Columns of `ImpulseResponse.to_frame`, over 150 days and eight books, so that figures are good to some percent, and
    `note`, which says why a model has none: one that learns from a longer past, say.
    """
    coverage = Coverage(level, "1D")
    rows = [
        {"kind": kind, "model": name, **_answer(candidates[name].model, kind, coverage)}
        for kind in STEPS
        for name in ANSWERS
        if name in candidates
    ]
    return pd.DataFrame(rows).set_index(["kind", "model"])


def _answer(model: MarginModel, kind: Kind, coverage: Coverage) -> dict[str, object]:
    try:
        told = impulse_response(
            model,
            STEPS[kind],
            kind,
            coverage=coverage,
            window=_WINDOW,
            before=_BEFORE,
            after=_AFTER,
            refit_every=_REFIT,
            books=_BOOKS,
        )
    except HistoryError as error:
        return {"note": str(error)}
    names = ("step", "due", "settled", "overshoot", "half_life")
    return {**{name: getattr(told, name) for name in names}, "note": ""}


def learned_weights(
    forecasters: Mapping[str, VolatilityForecaster],
    history: MarketHistory,
    coverage: Coverage,
    *,
    window: int,
    refit_every: int,
    every: int = 1,
) -> pd.DataFrame:
    """Weights that `CombinedVolatility` learns walk-forward, one row a decision, one column a forecaster.

    HistoryError if the history is shorter than the window.
    """
    history = history.valued_in(coverage.numeraire)
    rows = np.arange(window - 1, len(history), every)
    if window < 1 or not rows.size:
        raise HistoryError(f"weights need a window of 1 to {len(history)} rows, got {window}")
    starts, tables = rows[::refit_every], []
    with threadpool_limits(1):
        fits = CombinedVolatility(list(forecasters.values())).fit_many(history, (starts + 1).tolist(), window, coverage)
        for start, fitted in zip(starts.tolist(), fits, strict=True):
            stop = min(start + refit_every * every, len(history))
            tables.append(fitted.weights_over_time(history.rows(0, stop), stop - start)[::every])
    return pd.concat(tables).set_axis(pd.Index(list(forecasters), name="forecaster"), axis=1)


def weights_svg(weights: pd.DataFrame, *, prefix: str = "weights") -> str:
    """Weights of forecasters stacked over time."""
    shown = weights.iloc[:: max(len(weights) // _POINTS, 1)]

    def draw(figure: "Figure") -> None:
        plot_weights(shown, figure.subplots()).set_title("weights learned walk-forward, and the mean of each")

    told = ", ".join(f"{name} {mean:.0%}" for name, mean in weights.mean().items())
    return as_svg(draw, 3.8, f"Weights of the forecasters over time where they are learned; on average {told}.", prefix)


def alarm_table(
    run: Replay,
    history: MarketHistory,
    books: Books,
    breaker: CircuitBreaker,
    *,
    portfolio: str = BASKET,
    crashes: int = CRASHES,
    trips: Sequence[float] = TRIPS,
) -> pd.DataFrame:
    """`alarm_trade_off` of all decisions and of those on crash days alone, by days and trip level.

    Crash days last from a horizon before each of the largest losses of the portfolio to a horizon after it.

    Raises
    ------
    HistoryError, ParameterError
        As `alarm_trade_off` and `crash_days` do.
    """
    near = np.zeros(len(run.time), dtype=np.bool_)
    for worst in crash_days(run, portfolio, crashes):
        near |= (run.end >= run.time[worst]) & (run.time <= run.end[worst])
    runs = {ALL: run, CRASH: _only(run, near)}
    tables = {days: alarm_trade_off(one, history, books, breaker, trips) for days, one in runs.items()}
    return pd.concat(tables, names=["days"])


def _only(run: Replay, chosen: Bools) -> Replay:
    """A replay at some of its decisions, without its laws."""
    panels = {name: getattr(run, name)[chosen] for name in ("initial", "maintenance", "loss_end", "loss_worst")}
    return replace(run, time=run.time[chosen], end=run.end[chosen], tail=None, **panels)


def breaker_chart(alarms: pd.DataFrame, *, prefix: str = "breaker") -> str:
    """Missed breaches against false alarms as the trip level rises, on all decisions and on crash days."""

    def draw(figure: "Figure") -> None:
        for ax, days in zip(figure.subplots(1, 2, sharey=True), (ALL, CRASH), strict=True):
            table = alarms[alarms.index.get_level_values("days") == days].droplevel("days")
            plot_alarms(table, f"{days}, {table['breaches'].iloc[0]:.0f} breaches", ax)

    return as_svg(draw, 3.8, breaker_sentence(alarms), prefix)


def breaker_sentence(alarms: pd.DataFrame) -> str:
    """What the lowest trip level and a middle one miss and cost on crash days, in words."""
    table = 100.0 * alarms.loc[CRASH][["missed", "false"]]
    if not np.isfinite(table.to_numpy(float)).all():
        return "On crash days there are too few breaches, or days without one, to judge an alarm by."
    told = [
        f"at {trip:g} deviations the alarm misses {row['missed']:.0f} % of breaches and is false on {row['false']:.0f} "
        "% of the other decisions"
        for trip, row in table.iloc[sorted({0, len(table) // 2})].iterrows()
    ]
    return f"On crash days, {'; '.join(told)}."
