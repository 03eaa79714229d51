"""What does a market look like: where were prices, how far did they fall, what moved together?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data.axes import FAINT, axes
from data.coverage import Coverage
from data.errors import HistoryError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from data.history import MarketHistory

MOST_NAMED = 10  # lines that a legend can still tell apart


@dataclass(frozen=True, eq=False, repr=False)
class HistoryPlots:
    """Pictures of a history: `history.plot.prices()`; each takes the axes to draw on, and returns them."""

    history: "MarketHistory"

    def __repr__(self) -> str:
        return ".plot: prices, drawdown, correlation"

    def prices(self, ax: "Axes | None" = None) -> "Axes":
        """Each underlying's price over its first known one, on a log scale; a default ends its line."""
        ax = self._lines(_over_first(self.history.to_frame().replace(0.0, np.nan)), "price over the first", ax)
        ax.set_yscale("log")
        return ax

    def drawdown(self, ax: "Axes | None" = None) -> "Axes":
        """How far each underlying stands below its highest price so far, in percent; -100 from a default on."""
        spot = self.history.to_frame()
        return self._lines(100.0 * (spot / spot.cummax() - 1.0), "below the highest, %", ax)

    def correlation(self, coverage: Coverage | None = None, ax: "Axes | None" = None) -> "Axes":
        """Correlations of returns over the horizon of `coverage` (one row of the clock where None), pair by pair.

        HistoryError where fewer than three returns are known.
        """
        returns = self._returns(coverage)
        if returns.notna().sum().min() < 3:
            raise HistoryError(f"a correlation needs 3 known returns of each underlying, got {len(self.history)} rows")
        table, names = returns.corr(), list(returns.columns)
        ax = axes(ax, 1.6 + 0.55 * len(names), 1.2 + 0.5 * len(names))
        shade = ax.imshow(table, cmap="RdBu_r", vmin=-1.0, vmax=1.0)
        ax.set_xticks(range(len(names)), names, rotation=90 if len(names) > MOST_NAMED else 0)
        ax.set_yticks(range(len(names)), names)
        if len(names) <= 2 * MOST_NAMED:
            for (row, column), value in np.ndenumerate(table.to_numpy()):
                dark = abs(value) > 0.6
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if dark else FAINT, size=8)
        ax.figure.colorbar(shade, ax=ax, label="correlation")
        ax.set_title("Returns of one row" if coverage is None else f"Returns over {coverage.horizon}", fontsize=10)
        return ax

    def _returns(self, coverage: Coverage | None) -> pd.DataFrame:
        if coverage is not None:
            return pd.DataFrame(self.history.returns(coverage), columns=list(self.history.underlyings))
        spot = self.history.to_frame().replace(0.0, np.nan)
        return spot.pct_change(fill_method=None).iloc[1:]

    def _lines(self, table: pd.DataFrame, what: str, ax: "Axes | None") -> "Axes":
        ax = axes(ax)
        for name in table:
            ax.plot(table.index, table[name], linewidth=1.1, label=str(name))
        ax.set(ylabel=what, title=self.history.source)
        if len(table.columns) <= MOST_NAMED:
            ax.legend(frameon=False, fontsize=8, ncols=min(len(table.columns), 5))
        return ax


def _over_first(spot: pd.DataFrame) -> pd.DataFrame:
    """Every column over its first known price."""
    return spot / spot.bfill().iloc[0]
