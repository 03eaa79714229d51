"""Which model asks for least at the same safety?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from backtest.bootstrap import interval
from backtest.closeout import LiquidationCost
from backtest.loss_comparison import LossComparison, compare_laws, compare_losses
from backtest.portfolios import Books, default_books
from backtest.replay import Replay, outcomes, replay
from backtest.scores import Judgement, Scorecard, by_book, judge
from data import Coverage, MarketHistory, ParameterError
from margin_models import MarginModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from backtest.plot_accessors import ComparisonPlots

Models = Mapping[str, MarginModel] | Sequence[MarginModel]
Periods = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Replays of several models over the same decisions, by the model's name.

    `unranked` are models shown for orientation only (a rate known in hindsight, say). `judged` are judgements of the
    same names, where they have been made already.
    """

    market: str
    replays: Mapping[str, Replay]
    unranked: tuple[str, ...] = ()
    judged: Mapping[str, Judgement] = field(default_factory=dict)

    @cached_property
    def judgements(self) -> dict[str, Judgement]:
        """A judgement a model, all on the same bootstrap dates."""
        return {name: self.judged.get(name) or judge(run) for name, run in self.replays.items()}

    @property
    def scores(self) -> dict[str, Scorecard]:
        """A scorecard a model."""
        return {name: judgement.card for name, judgement in self.judgements.items()}

    @cached_property
    def against_best(self) -> pd.DataFrame:
        """Each model's margin at equal coverage over the least one's: the ratio and its 95 % interval, dates paired.

        The interval is the spread of the ratio of the two ex-post figures on the same drawn dates, laid about the ratio
        of the walk-forward ones.
        """
        drawn = {name: judgement.drawn for name, judgement in self.judgements.items()}
        ranked = {name: card.equal_margin for name, card in self.scores.items() if name not in self.unranked}
        best = min(ranked, key=lambda name: ranked[name] if np.isfinite(ranked[name]) else np.inf)
        rows = {}
        for name, card in self.scores.items():
            ratio = card.equal_margin / ranked[best]
            paired = drawn[name] / drawn[best]
            middle = np.nanmedian(paired) if np.isfinite(paired).any() else np.nan
            rows[name] = (ratio, *interval(ratio * paired / middle))
        return pd.DataFrame.from_dict(rows, orient="index", columns=["ratio", "ratio_low", "ratio_high"])

    @cached_property
    def losses(self) -> LossComparison:
        """The ranked models held against each other: model confidence set, superior ability, Diebold-Mariano."""
        return compare_losses(self)

    @cached_property
    def law_losses(self) -> LossComparison | None:
        """The ranked models that state a law, held against each other by FZ0; None where no model states one."""
        return compare_laws(self)

    def confidence_set(self) -> tuple[str, ...]:
        """Models that can still be the best at equal coverage, when chance is allowed for; see `losses`."""
        return self.losses.included

    def to_frame(self) -> pd.DataFrame:
        """One row a model, one column a score; the least margin at equal coverage first, unranked models last.

        `set_p` is a model's p-value in the model confidence set and `in_set` whether it is in, `dm_p` and `spa_p` are
        those of `losses`; all are missing for models that are not ranked, and for all where nothing can be tested.
        """
        table = pd.DataFrame.from_dict({name: asdict(card) for name, card in self.scores.items()}, orient="index")
        table = table.join(self.against_best.rename(columns=lambda c: f"equal_{c}"))
        table = table.join(self._tested())
        table["ranked"] = ~table.index.isin(self.unranked)
        return table.sort_values(["ranked", "equal_margin"], ascending=[False, True]).rename_axis("model")

    def _tested(self) -> pd.DataFrame:
        """The columns of `to_frame` that compare losses."""
        told = self.losses.to_frame()[["mean_loss", "dm_p", "set_p", "in_set", "spa_p"]]
        told = told.astype({"in_set": object}).rename(columns={"mean_loss": "equal_pinball"})
        if not self.losses.testable:
            told[["dm_p", "set_p", "spa_p"]], told["in_set"] = np.nan, None
        every = told.reindex(list(self.replays))
        return every.assign(in_set=every["in_set"].where(every["in_set"].notna(), None))

    def summary(self) -> pd.DataFrame:
        """The columns a person reads first, in percent of gross notional where they are margins."""
        table = self.to_frame()
        percent = {
            "margin at equal coverage": table["equal_margin"],
            "low": table["equal_low"],
            "high": table["equal_high"],
            "margin as charged": table["mean_margin"],
            "coverage": table["coverage"],
            "worst 5 % of books": table["coverage_worst_twentieth"],
            "mean shortfall": table["mean_shortfall"],
            "peak shortfall": table["peak_shortfall"],
        }
        shown = pd.DataFrame({f"{name}, %": 100.0 * column for name, column in percent.items()})
        shown.insert(3, "over the best", table["equal_ratio"])
        shown["peak to trough"] = table["peak_to_trough"]
        shown["books rejected, %"] = 100.0 * table["books_rejected"]
        shown["at 5 % false discoveries, %"] = 100.0 * table["books_discovered"]
        shown["power, %"] = 100.0 * table["power"]
        shown["FZ0"] = table["fz0"]
        shown["law rejected, %"] = 100.0 * table["law_rejected"]
        shown.insert(4, "in the confidence set", table["in_set"].map({True: "yes", False: "no"}).fillna("-"))
        shown.insert(5, "p", table["set_p"])
        return shown

    def by_book(self, model: str) -> pd.DataFrame:
        """One row a portfolio of one model's replay."""
        return by_book(self[model])

    def crises(self, periods: Periods) -> pd.DataFrame:
        """How each model fared in each named period: coverage, margin before and at its peak, peak shortfall.

        `periods` give the first and the last day, both included. Periods outside the replay are left out.
        """
        rows = []
        for crisis, (first, last) in periods.items():
            start, stop = np.datetime64(first, "ns"), np.datetime64(last, "ns") + np.timedelta64(1, "D")
            for name, run in self.replays.items():
                inside = (run.end >= start) & (run.time < stop)
                if inside.any():
                    rows.append({"crisis": crisis, "model": name, **_through(run, inside)})
        return pd.DataFrame(rows)

    def __getitem__(self, model: str) -> Replay:
        """One model's replay; ParameterError for an unknown name."""
        if model not in self.replays:
            raise ParameterError(f"no model {model!r} in this comparison, there are {tuple(self.replays)}")
        return self.replays[model]

    def __repr__(self) -> str:
        return f"{self.market}: margin in percent of gross notional\n{self.summary().to_string(float_format='%.3f')}"

    def _repr_html_(self) -> str:
        table = self.summary().to_html(float_format="{:.3f}".format)
        return f"<p>{escape(self.market)}: margin in percent of gross notional</p>{table}"

    @property
    def plot(self) -> "ComparisonPlots":
        """Pictures: `comparison.plot.ranking()`, `.frontier()`, `.coverage()`, `.procyclicality()`, `.margin(name)`."""
        from backtest.plot_accessors import ComparisonPlots

        return ComparisonPlots(self)

    def plot_frontier(self, ax: "Axes | None" = None) -> "Axes":
        """Mean shortfall against mean margin as each model is scaled up and down."""
        from backtest.plots import plot_frontier

        return plot_frontier(self, ax)


def _through(run: Replay, inside: np.ndarray) -> dict[str, float]:
    """One replay over the decisions `inside` a period."""
    held = run.live.sum(axis=1)
    posted = np.where(run.live, run.initial, 0.0).sum(axis=1)
    by_decision = np.divide(posted, held, out=np.full(len(held), np.nan), where=held > 0)
    before = by_decision[: int(np.argmax(inside))]
    return {
        "decisions": float(inside.sum()),
        "coverage": float(1.0 - run.breached[inside].sum() / run.live[inside].sum()),
        "margin before": float(before[-1]) if before.size else float("nan"),
        "peak margin": float(np.fmax.reduce(by_decision[inside])),
        "mean shortfall": float(np.nanmean(run.shortfall[inside])),
        "peak shortfall": float(np.nanmax(run.shortfall[inside])),
    }


def named(models: Models) -> dict[str, MarginModel]:
    """Models by name, their repr where they come without; ParameterError where two share one, or one is no model."""
    _refuse_one(models)
    if isinstance(models, Mapping):
        by_name = dict(models)
    else:
        by_name = {" ".join(repr(model).split()): model for model in models}
        if len(by_name) < len(models):
            raise ParameterError(f"models must differ, got {[repr(model) for model in models]}")
    if not by_name:
        raise ParameterError("at least one model is needed, got none")
    for name, model in by_name.items():
        _refuse_no_model(name, model)
    return by_name


def _refuse_one(models: object) -> None:
    if isinstance(models, MarginModel):
        raise ParameterError(f"models must be a list, or a mapping from names, got one model: [{models!r}]")


def _refuse_no_model(name: str, model: object) -> None:
    if isinstance(model, type):
        raise ParameterError(f"a model must be an instance, got the class itself: {model.__name__}()")
    if not isinstance(model, MarginModel):
        kind = type(model).__name__
        raise ParameterError(f"a model must be a MarginModel (class {kind}(MarginModel): ...), got {kind} as {name!r}")


def _refuse_no_history(history: object) -> None:
    if not isinstance(history, MarketHistory):
        kind = type(history).__name__
        raise ParameterError(
            f"history must be a MarketHistory (MarketHistory.from_frame(closes) makes one), got {kind}"
        )


def compare(
    models: Models,
    history: MarketHistory,
    books: Books | Sequence[Books] | None = None,
    coverage: Coverage | None = None,
    *,
    window: int | None = None,
    refit_every: int = 20,
    every: int = 1,
    cost: LiquidationCost | None = None,
    market: str = "market",
    progress: bool = True,
) -> Comparison:
    """Replay each model over one history; by default the standard books at 99 % over one day (or one session).

    Parameters
    ----------
    models : several models, or a mapping of names to them.
    window : rows a fit sees; None takes 500, or a third of the history where that is less.
    refit_every : decisions between refits.
    every : rows between decisions.
    progress : show a bar over the models.

    Raises
    ------
    HistoryError, ModelError, ParameterError
        As `replay` does.
    """
    by_name = named(models)
    _refuse_no_history(history)
    books = books if books is not None else default_books(history)
    coverage = coverage or default_coverage(history)
    window = window if window is not None else default_window(history, coverage)
    told = outcomes(history, books, coverage, window=window, every=every, cost=cost)
    runs = {}
    for name, model in tqdm(by_name.items(), "models", disable=not progress, leave=False):
        runs[name] = replay(
            model, history, books, coverage, window=window, refit_every=refit_every, outcome=told, name=name
        )
    return Comparison(history.titled(market), runs)


def default_coverage(history: MarketHistory) -> Coverage:
    """99 % over one day, or one session where the market counts in sessions."""
    return Coverage(horizon="1B" if history.clock.by_session else "1D", numeraire=history.numeraire)


def default_window(history: MarketHistory, coverage: Coverage) -> int:
    """500 horizons' worth of rows, or a third of the history where that is less."""
    return max(min(500 * history.steps(coverage), len(history) // 3), 1)
