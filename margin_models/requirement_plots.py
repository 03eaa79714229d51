"""What is a requirement made of, portfolio by portfolio?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data import ParameterError
from data.axes import INK, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, repr=False)
class RequirementPlots:
    """Pictures of a requirement: `requirement.plot.components()`.

    `parts` has a row a portfolio and a column a component, `initial` (P,) is their sum.
    """

    parts: pd.DataFrame
    initial: pd.Series

    def __repr__(self) -> str:
        return ".plot: components"

    def components(self, most: int = 20, ax: "Axes | None" = None) -> "Axes":
        """Components of the `most` largest requirements as stacked bars, what offsets to the left; a dot is the sum.

        ParameterError for `most` below 1.
        """
        if most < 1:
            raise ParameterError(f"most must be >= 1 portfolio, got {most}")
        shown = self.initial.sort_values(ascending=False).index[:most]
        table, place = self.parts.loc[shown], np.arange(len(shown))
        ax = axes(ax, 9.0, 1.2 + 0.28 * len(shown))
        ends = {True: np.zeros(len(shown)), False: np.zeros(len(shown))}
        for number, name in enumerate(table):
            value = table[name].to_numpy()
            for positive, end in ends.items():
                part = np.where((value >= 0) == positive, value, 0.0)
                label = str(name) if positive else None
                ax.barh(place, part, left=end.copy(), color=f"C{number % 10}", label=label)
                end += part
        ax.plot(self.initial[shown], place, "o", color=INK, markersize=4)
        ax.set_yticks(place, [str(name) for name in shown])
        ax.set(xlabel="initial margin", ylim=(len(shown) - 0.4, -0.6))
        if len(table.columns) <= 12:
            ax.legend(frameon=False, fontsize=8)
        return ax
