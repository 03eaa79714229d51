"""Which pictures does a laboratory have? `lab.plot` answers by their names."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.axes import axes
from research.lab_figures import plot_frontier

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from research.lab import Laboratory


@dataclass(frozen=True, eq=False, repr=False)
class LaboratoryPlots:
    """Pictures of a laboratory; each takes the axes to draw on and returns them."""

    lab: "Laboratory"

    def __repr__(self) -> str:
        return ".plot: frontier, ranking"

    def frontier(self, ax: "Axes | None" = None) -> "Axes":
        """The three axes of every candidate, numbered as the table's rows."""
        return plot_frontier(self.lab, axes(ax, 9.0, 4.6))

    def ranking(self, ax: "Axes | None" = None) -> "Axes":
        """Margin at equal coverage with its interval, least first, and the margin as charged."""
        return self.lab.comparison.plot.ranking(ax)
