"""Does the law that a model states hold what came, in the middle and in the tail?"""

from typing import TYPE_CHECKING

import numpy as np

from data import Floats, ModelError, ParameterError
from data.axes import ALARM, INK, QUIET, axes
from data.history import titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from backtest.replay import Replay


def known_pits(run: "Replay", portfolio: str | None = None) -> Floats:
    """Probabilities that a model's law gave to a loss at least as deep as came, (N,), on horizons that do not overlap.

    Of one portfolio, or of all where None. ParameterError for an unknown portfolio; ModelError where no law was stated,
    or none that gives a loss its place (a value at risk and an expected shortfall alone do not).
    """
    if portfolio is not None and portfolio not in run.portfolios:
        raise ParameterError(f"no portfolio {portfolio!r} in this replay, there are {run.portfolios[:8]} ...")
    pit = np.empty((0, 0)) if run.tail is None else run.tail.pit[run.disjoint]
    if portfolio is not None and run.tail is not None:
        pit = pit[:, [run.portfolios.index(portfolio)]]
    known = pit[np.isfinite(pit)]
    if not known.size:
        raise ModelError(f"{run.model} must state a law of the loss for this picture, it states none with a sample")
    return np.asarray(known)


def plot_pit(run: "Replay", portfolio: str | None = None, bins: int = 20, ax: "Axes | None" = None) -> "Axes":
    """How often the law gave each probability to what came: level where it is right.

    For one portfolio the shaded band holds 95 % of the bars of a right law. All portfolios together move as one, so
    that there is no band for them. Errors as `known_pits`; ParameterError for fewer than two bins.
    """
    if bins < 2:
        raise ParameterError(f"bins must be >= 2, got {bins}. Typical values: 10-20.")
    pit = known_pits(run, portfolio)
    ax = axes(ax, 6.0)
    ax.hist(pit, bins, range=(0.0, 1.0), color=INK, alpha=0.8)
    ax.axhline(len(pit) / bins, color=ALARM, linewidth=1.0, label="a right law")
    if portfolio is not None:
        from scipy.stats import binom

        ax.axhspan(*binom.interval(0.95, len(pit), 1.0 / bins), color=ALARM, alpha=0.15, linewidth=0)
    ax.set(xlabel="probability of a loss as deep (left: deep losses)", ylabel="decisions", xlim=(0.0, 1.0))
    return _named(ax, run, portfolio)


def plot_qq(run: "Replay", portfolio: str | None = None, ax: "Axes | None" = None) -> "Axes":
    """Probabilities that the law gave against those that came to pass, both from common (left) to rare (right).

    Points above the line are losses that came more often than the law says. Errors as `known_pits`.
    """
    pit = np.sort(known_pits(run, portfolio))
    seen = (np.arange(len(pit)) + 0.5) / len(pit)
    floor = min(seen[0], pit[pit > 0].min(initial=1.0)) / 2
    ax = axes(ax, 5.0, 4.2)
    ax.plot([1.0, floor], [1.0, floor], color=QUIET, linewidth=1.0, label="a right law")
    ax.plot(seen, np.maximum(pit, floor), ".", color=INK, markersize=4)
    ax.set(xscale="log", yscale="log", xlim=(1.0, floor), ylim=(1.0, floor))
    ax.set(xlabel="share of losses as deep or deeper", ylabel="probability that the law gave")
    return _named(ax, run, portfolio)


def _named(ax: "Axes", run: "Replay", portfolio: str | None) -> "Axes":
    ax.set_title(titled(f"{run.model}: {portfolio or 'all portfolios'}", run.implied), fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax
