"""How did trust move between forecasters?"""

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.plots import ALARM, FAINT, INK, QUIET
from data import ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADES = (INK, QUIET, ALARM, "#c9a227", "#3d8b6f", FAINT, "#8e6bb0", "#d98c5f")
_ROUNDING = 1e-9


def plot_weights(weights: pd.DataFrame, ax: "Axes | None" = None) -> "Axes":
    """Weights stacked over time, in percent, the first forecaster at the bottom; the legend gives each its mean.

    Parameters
    ----------
    weights : of `CombinedVolatility.weights_over_time`; where each asset has its own, those of one: `weights["BTC"]`.

    Raises
    ------
    ParameterError
        If there is no row, or columns are of several assets, or a row is not >= 0 with a sum of 1.
    """
    if weights.empty or isinstance(weights.columns, pd.MultiIndex):
        got = f"{len(weights)} rows of {list(weights.columns)[:4]}"
        raise ParameterError(f'expected weights of one set, weights["BTC"] where each asset has its own, got {got}')
    shares = weights.to_numpy()
    if not ((shares >= 0.0).all() and np.allclose(shares.sum(axis=1), 1.0, rtol=0.0, atol=_ROUNDING)):
        raise ParameterError(f"expected weights >= 0 that sum to 1 in every row, got {weights!r}")
    ax = _axes(ax)
    names = [f"{name} ({mean:.0%})" for name, mean in zip(weights.columns, shares.mean(axis=0), strict=True)]
    colors = [color for color, _ in zip(cycle(_SHADES), names, strict=False)]
    ax.stackplot(weights.index, 100.0 * shares.T, labels=names, colors=colors, linewidth=0.3, edgecolor="white")
    ax.set(ylabel="weight, %", ylim=(0.0, 100.0), xlim=(weights.index[0], weights.index[-1]))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, frameon=False, fontsize=8)
    return ax


def _axes(ax: "Axes | None") -> "Axes":
    if ax is not None:
        return ax
    # A figure of pyplot's own, because a notebook shows no other by itself.
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(9.0, 3.6), layout="constrained")[1]
