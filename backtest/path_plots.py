"""How did margin, breaches and coverage go over time, and how hard did margin pull when it rose?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.procyclicality import DAYS, procyclicality
from data import ParameterError
from data.axes import ALARM, FAINT, INK, QUIET, axes
from data.history import titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from backtest.comparison import Comparison
    from backtest.replay import Replay


def plot_breaches(run: "Replay", ax: "Axes | None" = None) -> "Axes":
    """Share of the portfolios that breach at each decision: breaches that come together stand together."""
    held = run.live.sum(axis=1)
    share = 100.0 * np.divide(run.breached.sum(axis=1), held, out=np.zeros(len(held)), where=held > 0)
    ax = axes(ax)
    ax.vlines(pd.DatetimeIndex(run.time, tz="UTC"), 0.0, share, color=ALARM, linewidth=1.0)
    ax.axhline(
        100.0 * (1.0 - run.coverage.level), color=QUIET, linewidth=0.8, linestyle="--", label="allowed on average"
    )
    ax.set(ylabel="portfolios in breach, %", ylim=(0.0, None), title=titled(run.model, run.implied))
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return ax


def rolling_coverage(run: "Replay", decisions: int) -> pd.Series:
    """Share of losses covered over the latest `decisions`, all portfolios together; ParameterError unless 1 to all."""
    if not 1 <= decisions <= len(run.time):
        raise ParameterError(f"decisions must lie in 1..{len(run.time)}, those of the replay, got {decisions}")
    counts = np.column_stack([run.breached.sum(axis=1), run.live.sum(axis=1)])
    lately = pd.DataFrame(counts, index=pd.DatetimeIndex(run.time, tz="UTC")).rolling(decisions).sum()
    return (1.0 - lately[0] / lately[1]).iloc[decisions - 1 :]


def plot_coverage(run: "Replay", decisions: int, ax: "Axes | None" = None) -> "Axes":
    """Coverage over the latest `decisions`, beside the level that was asked for. ParameterError as above."""
    covered = 100.0 * rolling_coverage(run, decisions)
    ax = axes(ax)
    ax.plot(covered.index, covered, color=INK, linewidth=1.2)
    ax.axhline(100.0 * run.coverage.level, color=ALARM, linewidth=0.8, label="asked for")
    ax.set(ylabel="covered, %", title=titled(f"{run.model}: over the latest {decisions:,} decisions", run.implied))
    ax.legend(loc="lower left", frameon=False, fontsize=8)
    return ax


def plot_swing(run: "Replay", portfolio: str, days: int = 5, ax: "Axes | None" = None) -> "Axes":
    """One portfolio's margin with its peak and its trough; the title tells both as a ratio, and the largest call.

    ParameterError for an unknown portfolio or days below 1.
    """
    margin = 100.0 * run.book(portfolio)["initial"].dropna()
    told = procyclicality(run, (days,)).loc[portfolio]
    ax = axes(ax)
    ax.plot(margin.index, margin, color=INK, linewidth=1.2)
    for row, mark, color in ((int(margin.argmax()), "peak", ALARM), (int(margin.argmin()), "trough", FAINT)):
        ax.plot(margin.index[[row]], margin.iloc[[row]], "o", color=color, markersize=6, label=mark)
    said = (
        f"peak to trough {told['peak_to_trough']:.1f}, largest call in {days} days {100 * told[f'call_{days}d']:.1f} %"
    )
    ax.set(ylabel="% of gross notional", ylim=(0.0, None))
    ax.set_title(titled(f"{run.model}, {portfolio}: {said}", run.implied), fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_calls(comparison: "Comparison", days: Sequence[int] = DAYS, ax: "Axes | None" = None) -> "Axes":
    """The largest call over each number of days, the median portfolio's, model by model; beside the name the swing."""
    tables = {name: procyclicality(run, tuple(days)).median() for name, run in comparison.replays.items()}
    order = sorted(tables, key=lambda name: float(tables[name][f"call_{days[-1]}d"]))
    ax, place = axes(ax, 8.0, 1.2 + 0.35 * len(order)), np.arange(len(order))
    for length, mark in zip(days, "osDv^<>"[: len(days)], strict=True):
        calls = [100.0 * float(tables[name][f"call_{length}d"]) for name in order]
        ax.plot(
            calls,
            place,
            mark,
            color=INK,
            markerfacecolor="white",
            markersize=6,
            label=f"{length} day{'s' * (length > 1)}",
        )
    ax.set_yticks(place, [f"{name} ({tables[name]['peak_to_trough']:.1f})" for name in order])
    ax.set(xlabel="largest call, % of gross notional", ylim=(len(order) - 0.4, -0.6), xlim=(0.0, None))
    ax.set_title(f"{comparison.market}: calls on the median portfolio (in brackets: peak to trough)", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax
