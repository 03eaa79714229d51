"""Which breaches would an alarm have announced, and how often would it have cried for nothing?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.base import clone

from backtest.plots import ALARM, INK, QUIET, _axes
from backtest.portfolios import Books, joined
from data import Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Bools, Places
from margin_models import CircuitBreaker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from backtest.replay import Replay

TRIPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def alarm_trade_off(
    run: "Replay",
    history: MarketHistory,
    books: Books | Sequence[Books],
    breaker: CircuitBreaker,
    trips: Sequence[float] = TRIPS,
) -> pd.DataFrame:
    """One row a trip level: breaches of a replay missed by the alarm, and false alarms.

    A decision of a portfolio is alarmed where an alarm is on, as it is made, for a side by which the portfolio's delta
    loses. `missed` is the share of the breaches that were not alarmed, NaN without a breach; `false` the share of the
    decisions without a breach that were; `precision` the share of alarmed decisions that breached, NaN without one.

    Parameters
    ----------
    run : what a model charged, without a breaker, and what was lost.
    history, books : those of the replay.
    breaker : the alarm, its `trip` aside; `release` is lowered to a level below it.
    trips : levels, each > 0.

    Raises
    ------
    HistoryError
        Where a decision of the replay is no row of the history.
    ParameterError
        For other books than the replay's, or a level out of range.
    """
    if joined(books).portfolios != run.portfolios:
        raise ParameterError(f"the replay has other books than {joined(books).portfolios[:8]} ...")
    rows = _rows(run, history)
    loses = _loses_by(history.valued_in(run.coverage.numeraire), books, rows)
    told = {float(trip): _figures(run, _alarmed(history, breaker, trip, rows, loses)) for trip in trips}
    return pd.DataFrame.from_dict(told, orient="index").rename_axis("trip")


def plot_alarms(trade_off: pd.DataFrame, title: str = "Circuit breaker", ax: "Axes | None" = None) -> "Axes":
    """Missed breaches against false alarms, both in percent, a point a trip level of `alarm_trade_off`.

    The straight line is what alarms by chance, as often, would do: an alarm that knows something lies below it.
    """
    ax = _axes(ax, 6.0, 4.0)
    missed, false = 100.0 * trade_off["missed"], 100.0 * trade_off["false"]
    ax.plot(false, missed, color=INK, linewidth=1.2, label="alarm")
    ax.plot(false, missed, "o", color=ALARM, markersize=5)
    most = float(false.max())
    ax.plot([0.0, most], [100.0, 100.0 - most], "--", color=QUIET, linewidth=1.0, label="by chance")
    for trip, x, y in zip(trade_off.index, false, missed, strict=True):
        ax.annotate(f"{trip:g}", (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    ax.set(
        xlabel="false alarms, % of decisions without a breach",
        ylabel="missed breaches, %",
        title=f"{title}: trip level beside each point",
        ylim=(-3.0, 105.0),
    )
    ax.margins(x=0.08)
    ax.legend(loc="upper right", frameon=False, fontsize=8)
    return ax


def _rows(run: "Replay", history: MarketHistory) -> Places:
    """Where the decisions of a replay stand in the history."""
    rows = np.minimum(np.searchsorted(history.time, run.time), len(history) - 1)
    other = np.flatnonzero(history.time[rows] != run.time)
    if other.size:
        raise HistoryError(f"the replay decided at {run.time[other[0]]}, which is no row of {history!r}")
    return rows


def _loses_by(history: MarketHistory, books: Books | Sequence[Books], rows: Places) -> Bools:
    """Whether each portfolio loses by a fall, and by a rise, of each underlying, (R, P, A, 2)."""
    source = joined(books)
    states = [history.at(int(row)) for row in rows]
    exposure = np.stack([source.at(state).exposure(state) for state in states])
    return np.stack([exposure > 0, exposure < 0], axis=3)


def _alarmed(history: MarketHistory, breaker: CircuitBreaker, trip: float, rows: Places, loses: Bools) -> Bools:
    """Whether each decision of each portfolio came with an alarm, (R, P)."""
    asked: CircuitBreaker = clone(breaker).set_params(trip=trip, release=min(breaker.release, trip))
    on = asked.alarms(history, len(history))[rows]
    return np.asarray((loses & on[:, None]).any(axis=(2, 3)))


def _figures(run: "Replay", alarmed: Bools) -> dict[str, float]:
    breached, live = run.breached, run.live
    cried = alarmed & live
    breaches, calm, cries = int(breached.sum()), int((live & ~breached).sum()), int(cried.sum())
    return {
        "breaches": float(breaches),
        "missed": _share(breached & ~alarmed, breaches),
        "false": _share(cried & ~breached, calm),
        "precision": _share(cried & breached, cries),
    }


def _share(these: Bools | Floats, of: int) -> float:
    return float(np.sum(these)) / of if of else float("nan")
