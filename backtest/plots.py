"""What does a replay look like?"""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.scores import frontier

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from backtest.comparison import Comparison
    from backtest.replay import Replay

INK, QUIET, ALARM = "#1f3a5f", "#9aa5b1", "#c0392b"
FAINT = "#5b6673"  # as quiet as text on white may be


def _axes(ax: "Axes | None", width: float = 9.0, height: float = 3.2) -> "Axes":
    if ax is not None:
        return ax
    # A figure of pyplot's own, because a notebook shows no other by itself.
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def plot_margin(run: "Replay", portfolio: str, ax: "Axes | None" = None) -> "Axes":
    """One portfolio's margin against what it lost, breaches marked, in percent of gross notional."""
    ax = _axes(ax)
    table = 100.0 * run.book(portfolio)
    loss, margin = table["loss"].clip(lower=0.0), table["initial"]
    breached = table["loss"] > margin
    ax.vlines(table.index, 0.0, loss, color=QUIET, linewidth=0.7, label="loss")
    ax.plot(table.index, margin, color=INK, linewidth=1.2, label="margin")
    ax.plot(table.index[breached], loss[breached], "o", color=ALARM, markersize=4, label=f"breach ({breached.sum()})")
    ax.set(ylabel="% of gross notional", title=f"{run.model}: {portfolio}", ylim=(0.0, None))
    ax.legend(loc="upper left", frameon=False, fontsize=8)
    return ax


def plot_frontier(comparison: "Comparison", ax: "Axes | None" = None) -> "Axes":
    """Mean shortfall against mean margin as each model is scaled; the dot is the margin as charged."""
    ax = _axes(ax, 8.0, 5.0)
    multiples = np.linspace(0.3, 2.5, 45)
    for name, run in comparison.replays.items():
        margin, shortfall = frontier(run, multiples)
        charged, lost = frontier(run, np.ones(1))
        style = ":" if name in comparison.unranked else "-"
        (line,) = ax.plot(100 * margin, 1e4 * shortfall, style, linewidth=1.3, label=name)
        ax.plot(100 * charged, 1e4 * lost, "o", color=line.get_color(), markersize=5)
    ax.set(xlabel="mean margin, % of gross notional", ylabel="mean shortfall, basis points", yscale="log")
    ax.set_title(f"{comparison.market}: nearer the lower left is better")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_ranking(comparison: "Comparison", ax: "Axes | None" = None) -> "Axes":
    """Margin at equal coverage of each model with its 95 % interval, least first, and hollow the margin as charged."""
    ax = _axes(ax, 8.0, 4.0)
    table = 100.0 * comparison.to_frame()[["equal_margin", "equal_low", "equal_high", "mean_margin"]]
    place = np.arange(len(table))
    ranked = ~table.index.isin(comparison.unranked)
    for some, color in ((ranked, INK), (~ranked, FAINT)):
        ax.hlines(place[some], table["equal_low"][some], table["equal_high"][some], color=color, linewidth=2.0)
        ax.plot(table["equal_margin"][some], place[some], "o", color=color, markersize=6)
    ax.plot(table["mean_margin"], place, "D", color=INK, markerfacecolor="white", markersize=5)
    ax.set_yticks(place, [str(name) for name in table.index])
    ax.set(xlabel="mean margin, % of gross notional", xscale="log", ylim=(len(table) - 0.4, -0.6))
    ax.set_title(f"{comparison.market}: dot at equal coverage with 95 % interval, diamond as charged")
    return ax


def plot_rolling_coverage(
    comparison: "Comparison", models: Sequence[str], decisions: int, ax: "Axes | None" = None
) -> "Axes":
    """Share of losses covered over the latest `decisions`, all books together, beside the level that was asked for."""
    ax = _axes(ax)
    for name, style in zip(models, cycle(("-", "--", "-.", ":")), strict=False):
        run = comparison[name]
        counts = np.column_stack([run.breached.sum(axis=1), run.live.sum(axis=1)])
        lately = pd.DataFrame(counts, index=pd.DatetimeIndex(run.time, tz="UTC")).rolling(decisions).sum()
        covered = 100.0 * (1.0 - lately[0] / lately[1]).iloc[decisions - 1 :]
        ax.plot(covered.index, covered, style, linewidth=1.3, label=name)
    ax.axhline(100.0 * comparison[models[0]].coverage.level, color=ALARM, linewidth=0.8, zorder=1)
    ax.set(ylabel="covered, %", title=f"{comparison.market}: coverage over the latest {decisions:,} decisions")
    ax.legend(loc="lower left", frameon=False, fontsize=8)
    return ax
