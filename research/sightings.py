"""What did a boosted forecast see before each crisis, and what was charged?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from backtest.replay import Replay
from data import Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Bools
from margin_models import BoostedVolatility
from research.importance import Effects, effects

BASKET = "basket long"
DRIVERS = 3
_LEAST_EFFECT = 0.005  # on the logarithm of the volatility: what is less is not worth a word

Periods = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Sighting:
    """One crisis as a forecast saw it.

    Attributes
    ----------
    crisis : its name, or the day of the loss.
    eve, worst : the last decision before it, and the instant by which the largest loss was complete.
    forecast_eve, forecast_worst : volatility over that of EWMA at these instants, geometric mean of the underlyings.
    drivers_eve, drivers_worst : which predictors moved it most there, in words.
    margin_eve, margin_peak : charged at the eve, and at most in the crisis, per unit of gross notional.
    loss, margin_then : the largest loss over a horizon, and what had been charged for that horizon.
    """

    crisis: str
    eve: np.datetime64
    worst: np.datetime64
    forecast_eve: float
    drivers_eve: str
    forecast_worst: float
    drivers_worst: str
    margin_eve: float
    margin_peak: float
    loss: float
    margin_then: float


@dataclass(frozen=True, eq=False)
class Sightings:
    """Crises as a forecast saw them, in the order of time; `notes` name those that could not be told."""

    portfolio: str
    model: str
    seen: tuple[Sighting, ...]
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row a crisis: the fields of `Sighting`, the `rise` of margin from eve to peak, and `breached`."""
        table = pd.DataFrame([vars(one) for one in self.seen], columns=list(Sighting.__dataclass_fields__))
        table["rise"] = table["margin_peak"] / table["margin_eve"] - 1.0
        table["breached"] = table["loss"] > table["margin_then"]
        return table.set_index("crisis")

    def summary(self) -> pd.DataFrame:
        """What a person reads: percent of gross notional, percent above or below EWMA, and words."""
        table = self.to_frame()
        shown = {
            "eve": [_minute(stamp) for stamp in table["eve"]],
            "forecast against EWMA": [_percent(value) for value in table["forecast_eve"]],
            "by": table["drivers_eve"],
            "after the worst": [_percent(value) for value in table["forecast_worst"]],
            "by then by": table["drivers_worst"],
            "margin at the eve, %": 100.0 * table["margin_eve"],
            "at the peak, %": 100.0 * table["margin_peak"],
            "largest loss, %": 100.0 * table["loss"],
            "its margin, %": 100.0 * table["margin_then"],
        }
        return pd.DataFrame(shown, index=table.index)

    @property
    def sentence(self) -> str:
        """On how many eves the forecast stood above EWMA, and how many of the largest losses were covered."""
        table = self.to_frame()
        above, covered = int((table["forecast_eve"] > 1.0).sum()), int((~table["breached"]).sum())
        return (
            f"On {above} of {len(table)} eves the forecast stood above EWMA; the margin of {self.model} covered the "
            f"largest loss of {self.portfolio} in {covered} of them."
        )

    def to_json(self) -> str:
        """The table, the sentence and the notes."""
        rows = self.to_frame().reset_index().to_json(orient="records", date_format="iso", double_precision=15)
        return json.dumps({"sentence": self.sentence, "crises": json.loads(rows), "notes": list(self.notes)}, indent=1)

    def __repr__(self) -> str:
        return "\n".join([self.summary().to_string(float_format="{:.2f}".format), self.sentence, *self.notes])

    def _repr_html_(self) -> str:
        told = "".join(f"<p>{escape(line)}</p>" for line in (self.sentence, *self.notes))
        return self.summary().to_html(float_format="{:.2f}".format) + told


def what_it_saw(
    history: MarketHistory,
    run: Replay,
    forecaster: BoostedVolatility | None = None,
    *,
    window: int,
    portfolio: str = BASKET,
    periods: Periods | None = None,
    crashes: int = 5,
) -> Sightings:
    """What the forecaster, fitted on the eve of each crisis to what was known then, made of it.

    Parameters
    ----------
    history, run : a market, and what a model charged on it.
    forecaster : with its defaults where None; it is cloned, and fitted once a crisis.
    window : rows a fit sees; those of the replay.
    portfolio : whose margin and loss are told.
    periods : crises by name, first and last day, both included; where None, the largest losses of the portfolio.
    crashes : how many of them, none overlapping another.

    Raises
    ------
    HistoryError
        If the window is shorter than the forecaster needs, or the replay decided at no row of the history.
    ParameterError
        If the replay has no such portfolio, or `crashes` is below 1.
    """
    if portfolio not in run.portfolios:
        raise ParameterError(f"no portfolio {portfolio!r} in this replay, there are {run.portfolios[:8]} ...")
    history, place = history.valued_in(run.coverage.numeraire), run.portfolios.index(portfolio)
    spans, notes = (_around_crashes(run, place, crashes), []) if periods is None else _around(run, place, periods)
    asked = forecaster or BoostedVolatility()
    seen = [_seen(name, span, history, run, place, asked, window) for name, span in spans.items()]
    return Sightings(portfolio, run.model, tuple(sorted(seen, key=lambda one: one.eve)), tuple(notes))


def crash_days(run: Replay, portfolio: str, count: int) -> list[int]:
    """The decisions before the largest losses of a portfolio, whose horizons do not overlap, the largest loss first.

    ParameterError for a count below 1 or an unknown portfolio.
    """
    if count < 1:
        raise ParameterError(f"crashes must be >= 1, got {count}. Typical values: 3-10.")
    if portfolio not in run.portfolios:
        raise ParameterError(f"no portfolio {portfolio!r} in this replay, there are {run.portfolios[:8]} ...")
    loss = _lost(run, run.portfolios.index(portfolio))
    told: list[int] = []
    while len(told) < count and loss.max() > 0:
        worst = int(loss.argmax())
        loss[(run.end > run.time[worst]) & (run.time < run.end[worst])] = -np.inf
        told.append(worst)
    return told


class _Span(NamedTuple):
    """The decision at the eve, that of the largest loss, and those of the crisis (R,), the eve among them."""

    eve: int
    worst: int
    inside: Bools


def _around_crashes(run: Replay, place: int, count: int) -> dict[str, _Span]:
    told = {}
    for worst in crash_days(run, run.portfolios[place], count):
        inside = np.asarray((run.time >= run.time[worst]) & (run.time <= run.end[worst]))
        told[str(run.end[worst])[:10]] = _Span(worst, worst, inside)
    return told


def _around(run: Replay, place: int, periods: Periods) -> tuple[dict[str, _Span], list[str]]:
    """The spans of named periods, and which of them cannot be told."""
    told, notes = {}, []
    for name, (first, last) in periods.items():
        begin, stop = np.datetime64(first, "D"), np.datetime64(last, "D") + np.timedelta64(1, "D")
        eve = int(np.searchsorted(run.time, begin)) - 1
        inside = np.asarray((np.arange(len(run.time)) >= eve) & (run.time < stop))
        loss = np.where(inside, _lost(run, place), -np.inf)
        if eve < 0 or run.end[eve] < begin or loss.max() == -np.inf:
            notes.append(f"{name} cannot be told: the replay has no decision just before it, or no loss in it.")
        else:
            told[name] = _Span(eve, int(loss.argmax()), inside)
    return told, notes


def _lost(run: Replay, place: int) -> Floats:
    """Losses of a portfolio, (R,), below all others where they are not known."""
    return np.where(np.isfinite(run.loss[:, place]), run.loss[:, place], -np.inf)


def _seen(
    name: str, span: _Span, history: MarketHistory, run: Replay, place: int, forecaster: BoostedVolatility, window: int
) -> Sighting:
    eve, worst = span.eve, span.worst
    start, end = (_row(history, instant) for instant in (run.time[eve], run.end[worst]))
    with threadpool_limits(1):
        fitted = clone(forecaster).fit(history.rows(max(start + 1 - window, 0), start + 1), run.coverage)
        before, after = (_told(effects(fitted, history.rows(0, row + 1), 1)) for row in (start, end))
    margin = run.initial[:, place]
    return Sighting(
        name,
        run.time[eve],
        run.end[worst],
        *before,
        *after,
        float(margin[eve]),
        float(np.fmax.reduce(margin[span.inside])),
        float(run.loss[worst, place]),
        float(margin[worst]),
    )


def _row(history: MarketHistory, instant: np.datetime64) -> int:
    row = int(np.searchsorted(history.time, instant))
    if row == len(history) or history.time[row] != instant:
        raise HistoryError(f"the replay speaks of {instant}, which is no row of {history!r}")
    return row


def _told(found: Effects) -> tuple[float, str]:
    """The forecast over EWMA and what moved it, means over the underlyings of the last row."""
    over = np.log(found.over_ewma[-1])
    known = over[np.isfinite(over)]
    drivers = {name: _mean(found.effect[-1, :, f]) for f, name in enumerate(found.names)}
    return float(np.exp(known.mean())) if known.size else float("nan"), in_words(drivers)


def in_words(drivers: Mapping[str, float], most: int = DRIVERS) -> str:
    """The largest effects on the logarithm of the volatility, as what each alone does to the volatility.

    >>> in_words({"range over 5": 0.1133, "variance over 1": -0.03, "volume": 0.001})
    'range over 5 horizons: +12 %; variance over 1 horizon: -3 %'
    """
    ranked = sorted(drivers.items(), key=lambda one: -abs(one[1]))[:most]
    told = [f"{_horizons(name)}: {_percent(np.exp(size))}" for name, size in ranked if abs(size) >= _LEAST_EFFECT]
    return "; ".join(told) or "nothing in particular"


def _horizons(name: str) -> str:
    head, over, count = name.rpartition(" over ")
    return f"{name} {'horizon' if count == '1' else 'horizons'}" if over and head else name


def _percent(ratio: float) -> str:
    return f"{100.0 * (ratio - 1.0):+.0f} %" if np.isfinite(ratio) else "not known"


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else 0.0


def _minute(stamp: pd.Timestamp) -> str:
    """An instant, to the minute where it is not midnight."""
    return f"{stamp:%Y-%m-%d}" if stamp == stamp.normalize() else f"{stamp:%Y-%m-%d %H:%M}"
