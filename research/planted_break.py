"""What happens to margins when correlations break as planted, with an add-on for it and without?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backtest.coverage_tests import too_many
from backtest.replay import Replay, replay
from data import BookRecipe, Coverage, Instrument, ParameterError
from data.sources.synthetic import correlation_break
from margin_models import CorrelationBreakdown, CorrelationVaR, HistoricalVaR, LedoitWolfCovariance, MarginModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, AT, WINDOW, REFIT = 1000, 600, 400, 50
JUDGED = 250  # decisions after the break
SIGMA = (0.02, 0.02, 0.03, 0.03)  # of a day's return, by underlying
SEED = 4
COVERAGE = Coverage(0.99)
# Which book relies on correlations that end: a hedge on high ones, diversification on low ones.
BREAKS = {"hedged pair": (0.9, 0.1), "basket": (0.1, 0.9)}
MODELS: dict[str, MarginModel] = {
    "correlation VaR": CorrelationVaR(LedoitWolfCovariance()),
    "with breakdown add-on": CorrelationBreakdown(LedoitWolfCovariance()),
    "historical VaR": HistoricalVaR(),
}
DRAWN = 2  # models of a figure: without, and with


@dataclass(frozen=True, eq=False)
class PlantedBreak:
    """Replays of all `MODELS` on the market whose correlations break against one book at `at`."""

    book: str
    before: float
    after: float
    at: np.datetime64
    runs: tuple[Replay, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row a model: breaches in the 250 decisions from the break on, exact p of so many, and mean margins."""
        return pd.DataFrame([self._told(run) for run in self.runs]).set_index(["book", "model"])

    def _told(self, run: Replay) -> dict[str, Any]:
        p, from_then = run.portfolios.index(self.book), int(np.searchsorted(run.time, self.at))
        after = slice(from_then, from_then + JUDGED)
        breaches = int(run.breached[after, p].sum())
        trials = int(run.live[after, p].sum())
        return {
            "book": self.book,
            "model": run.model,
            "correlation before": self.before,
            "correlation after": self.after,
            "decisions": trials,
            "breaches": breaches,
            "expected": trials * (1.0 - run.coverage.level),
            "p": float(too_many(breaches, trials, 1.0 - run.coverage.level).p_value),
            "margin before, %": 100.0 * float(np.nanmean(run.initial[:from_then, p])),
            "margin after, %": 100.0 * float(np.nanmean(run.initial[after, p])),
        }


def planted_breaks() -> list[PlantedBreak]:
    """Replay all `MODELS` through both breaks: four underlyings whose law is known, normal, of constant volatility."""
    return [planted_break(book) for book in BREAKS]


def planted_break(book: str) -> PlantedBreak:
    """Replay all `MODELS` through the break that hurts this book; ParameterError for a book that is none of `BREAKS`.

    A 99 % margin over one day. The pair is long one underlying and short another in inverse proportion to their
    volatility, the basket long all four.
    """
    if book not in BREAKS:
        raise ParameterError(f"a planted break is one of {tuple(BREAKS)}, got {book!r}")
    before, after = BREAKS[book]
    history = correlation_break(ROWS, AT, SIGMA, before=before, after=after, seed=SEED).history
    listed = tuple(Instrument(f"{name}-PERP", name) for name in history.underlyings)
    first, _, third, _ = (one.symbol for one in listed)
    held = {"hedged pair": {first: 1.5, third: -1.0}, "basket": {one.symbol: 1.0 for one in listed}}
    books = BookRecipe.of(listed, held)
    runs = [
        replay(model, history, books, COVERAGE, window=WINDOW, refit_every=REFIT, name=name)
        for name, model in MODELS.items()
    ]
    return PlantedBreak(book, before, after, history.time[AT], tuple(runs))


def break_job(figure: Path | None, *, as_json: bool) -> None:
    """Print how each of `MODELS` fares through both breaks, and draw it where a place is named."""
    if figure is not None and figure.suffix.lower() != ".svg":
        raise ParameterError(f"--figure: the chart is an .svg file, got {figure}")
    breaks = planted_breaks()
    table = table_of(breaks)
    if figure is not None:
        save_figure(breaks, figure)
    if as_json:
        print(table.reset_index().to_json(orient="records", indent=1), flush=True)
        return
    told = f"{JUDGED} decisions from the break on, {100 * COVERAGE.level:g} % over a day; p: of so many or more"
    print(f"{told}\n{table.to_string(float_format='{:.4g}'.format)}", flush=True)


def table_of(breaks: Sequence[PlantedBreak]) -> pd.DataFrame:
    """One row a book and model."""
    return pd.concat([one.to_frame() for one in breaks])


def save_figure(breaks: Sequence[PlantedBreak], path: Path) -> None:
    """Margin without and with the add-on against what each book lost, as SVG: the same bytes for the same breaks."""
    from backtest.plots import plot_break
    from research.figures import as_svg

    def draw(figure: "Figure") -> None:
        for ax, one in zip(figure.subplots(len(breaks), squeeze=False).flat, breaks, strict=True):
            plot_break(one.runs[:DRAWN], one.book, one.at, ax)
            ax.set_title(f"{one.book}: correlations go from {one.before:g} to {one.after:g}")

    told = "Margin with an add-on for broken correlations and without, against losses before and after they break."
    path.write_text(as_svg(draw, 3.2 * len(breaks), told, "break"), encoding="utf-8")
