"""Which pictures does a result have? `replay.plot`, `comparison.plot` and `scorecard.plot` answer by their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtest import law_plots, path_plots, plots
from backtest.procyclicality import DAYS
from data.axes import ALARM, INK, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from backtest.comparison import Comparison
    from backtest.replay import Replay
    from backtest.scores import Scorecard

LATELY = 250  # decisions, where nobody says how many


@dataclass(frozen=True, eq=False, repr=False)
class ReplayPlots:
    """Pictures of one replay; each takes the axes to draw on and returns them, a new figure where there are none."""

    run: "Replay"

    def __repr__(self) -> str:
        return ".plot: margin, breaches, coverage, procyclicality, pit, qq"

    def margin(self, portfolio: str | None = None, ax: "Axes | None" = None) -> "Axes":
        """Margin against realised loss, breaches marked; the first portfolio where None."""
        return plots.plot_margin(self.run, portfolio or self.run.portfolios[0], ax)

    def breaches(self, ax: "Axes | None" = None) -> "Axes":
        """Share of the portfolios in breach at each decision: do breaches come together?"""
        return path_plots.plot_breaches(self.run, ax)

    def coverage(self, decisions: int | None = None, ax: "Axes | None" = None) -> "Axes":
        """Rolling coverage, over the latest 250 decisions (or a third of all, where that is less) if not said."""
        return path_plots.plot_coverage(self.run, decisions or lately(self.run), ax)

    def procyclicality(self, portfolio: str | None = None, days: int = 5, ax: "Axes | None" = None) -> "Axes":
        """Margin with its peak, its trough, and the largest call over `days`; the first portfolio where None."""
        return path_plots.plot_swing(self.run, portfolio or self.run.portfolios[0], days, ax)

    def pit(self, portfolio: str | None = None, bins: int = 20, ax: "Axes | None" = None) -> "Axes":
        """Histogram of the probabilities that the model's law gave to what came; level where the law is right."""
        return law_plots.plot_pit(self.run, portfolio, bins, ax)

    def qq(self, portfolio: str | None = None, ax: "Axes | None" = None) -> "Axes":
        """Probabilities that the law gave against those that came to pass, the tail drawn large."""
        return law_plots.plot_qq(self.run, portfolio, ax)


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonPlots:
    """Pictures of a comparison; each takes the axes to draw on and returns them."""

    comparison: "Comparison"

    def __repr__(self) -> str:
        return ".plot: ranking, frontier, coverage, procyclicality, margin"

    def ranking(self, ax: "Axes | None" = None) -> "Axes":
        """Margin at equal coverage with its interval, least first, and the margin as charged."""
        return plots.plot_ranking(self.comparison, ax)

    def frontier(self, ax: "Axes | None" = None) -> "Axes":
        """Mean shortfall against mean margin as each model is scaled up and down."""
        return plots.plot_frontier(self.comparison, ax)

    def coverage(
        self, models: Sequence[str] | None = None, decisions: int | None = None, ax: "Axes | None" = None
    ) -> "Axes":
        """Rolling coverage of some models, all where None, over the latest 250 decisions if not said."""
        names = tuple(models or self.comparison.replays)
        count = decisions or lately(self.comparison[names[0]])
        return plots.plot_rolling_coverage(self.comparison, names, count, ax)

    def procyclicality(self, days: Sequence[int] = DAYS, ax: "Axes | None" = None) -> "Axes":
        """Largest calls over so many days, and peak to trough, of each model's median portfolio."""
        return path_plots.plot_calls(self.comparison, days, ax)

    def margin(self, model: str, portfolio: str | None = None, ax: "Axes | None" = None) -> "Axes":
        """One model's margin against realised loss, breaches marked; the first portfolio where None."""
        return ReplayPlots(self.comparison[model]).margin(portfolio, ax)


@dataclass(frozen=True, eq=False, repr=False)
class ScorecardPlots:
    """Pictures of a scorecard: `scorecard.plot.margin()` and `scorecard.plot.coverage()`."""

    card: "Scorecard"

    def __repr__(self) -> str:
        return ".plot: coverage, margin"

    def coverage(self, ax: "Axes | None" = None) -> "Axes":
        """What was covered in all books (95 % interval), the worst 5 % and the worst; the line was asked for."""
        card = self.card
        level = 100.0 * (1.0 - card.breaches_expected / card.trials)
        ax = _rows(
            ("all books", "worst 5 % of books", "worst book"),
            (card.coverage, card.coverage_worst_twentieth, card.coverage_worst_book),
            (card.coverage_low, card.coverage_high),
            ax,
        )
        ax.axvline(level, color=ALARM, linewidth=0.8, linestyle="--")
        ax.set(xlabel="covered, %")
        return ax

    def margin(self, ax: "Axes | None" = None) -> "Axes":
        """Mean margin at equal coverage (95 % interval) and as charged, in percent of gross notional."""
        card = self.card
        figures, reach = (card.equal_margin, card.mean_margin), (card.equal_low, card.equal_high)
        ax = _rows(("at equal coverage", "as charged"), figures, reach, ax)
        ax.set(xlabel="mean margin, % of gross notional")
        return ax


def _rows(names: Sequence[str], shares: Sequence[float], reach: tuple[float, float], ax: "Axes | None") -> "Axes":
    """One dot a row, in percent, and the reach of the first."""
    ax = axes(ax, 7.0, 0.8 + 0.4 * len(names))
    ax.plot([100.0 * share for share in shares], range(len(names)), "o", color=INK)
    ax.hlines(0, 100.0 * reach[0], 100.0 * reach[1], color=INK, linewidth=2.0)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    return ax


def lately(run: "Replay") -> int:
    """250 decisions, or a third of all where that is less."""
    return max(1, min(LATELY, len(run.time) // 3))
