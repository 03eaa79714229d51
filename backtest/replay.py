"""Fit on the past, charge now: what happened next?"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from backtest.book_cost import BookCost, closings
from backtest.closeout import LiquidationCost, closeout
from backtest.portfolios import Books, joined
from backtest.priced_rows import priced_rows
from backtest.tail_path import TailPath, TailRecorder, charge_and_law, refuse_broken_law
from data import Coverage, Floats, HistoryError, MarketHistory, ModelError, ParameterError
from data.clock import Stamps
from margin_models import MarginModel, Requirement
from margin_models.base import TailForecast

if TYPE_CHECKING:
    from backtest.plot_accessors import ReplayPlots

Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What each book lost after each decision; the same for every model.

    `rows` (R,) are the decisions' rows in the history, `end` (R,) the instants their horizons end, `loss` and
    `loss_worst` (R, P) per unit of gross notional, NaN where a portfolio held nothing. `skipped` counts decisions left
    out for a hole at either end; `notes` say what else is to be known of the losses.
    """

    coverage: Coverage
    rows: Rows
    time: Stamps
    end: Stamps
    portfolios: tuple[str, ...]
    loss: Floats
    loss_worst: Floats
    skipped: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Replay:
    """What was asked and what was lost, (R, P) per unit of gross notional: rows are decisions, columns portfolios.

    NaN where a portfolio held nothing. `notes` are what a model has to say about itself (fits refused, and why), at how
    many decisions a law was missing where it stated one at others, and what is to be known of the losses; `implied`
    where the surfaces of its history are from. `tail` are the laws that the model stated for the loss, None where it
    stated none.
    """

    model: str
    coverage: Coverage
    time: Stamps
    end: Stamps
    portfolios: tuple[str, ...]
    initial: Floats
    maintenance: Floats
    loss_end: Floats
    loss_worst: Floats
    skipped: int = 0
    notes: tuple[str, ...] = field(default=())
    implied: str = ""
    tail: TailPath | None = None

    @property
    def loss(self) -> Floats:
        """The loss that margin must survive, (R, P): at the horizon's end or, where coverage says so, the worst."""
        return self.loss_worst if self.coverage.path == "worst" else self.loss_end

    @property
    def shortfall(self) -> Floats:
        """The part of the loss that initial margin did not cover, (R, P)."""
        return np.maximum(self.loss - self.initial, 0.0)

    @property
    def breached(self) -> Bools:
        """Where the loss was above initial margin, (R, P); never where a portfolio held nothing."""
        return np.asarray(self.loss > self.initial)

    @property
    def live(self) -> Bools:
        """Where a portfolio held something, (R, P)."""
        return np.asarray(np.isfinite(self.loss))

    @property
    def disjoint(self) -> Rows:
        """Decisions whose horizons do not overlap, earliest first: the independent trials."""
        picked: list[int] = []
        for row, time in enumerate(self.time):
            if not picked or time >= self.end[picked[-1]]:
                picked.append(row)
        return np.array(picked, dtype=np.intp)

    def book(self, portfolio: str) -> pd.DataFrame:
        """One portfolio's margin, loss and shortfall over time; KeyError-like ParameterError for an unknown one."""
        if portfolio not in self.portfolios:
            raise ParameterError(f"no portfolio {portfolio!r} in this replay, there are {self.portfolios[:8]} ...")
        p = self.portfolios.index(portfolio)
        columns = {"initial": self.initial, "maintenance": self.maintenance, "loss": self.loss}
        table = pd.DataFrame({name: panel[:, p] for name, panel in columns.items()})
        table["shortfall"] = self.shortfall[:, p]
        return table.set_axis(pd.DatetimeIndex(self.time, tz="UTC", name="time"))

    def __repr__(self) -> str:
        span = f"{str(self.time[0])[:10]}..{str(self.time[-1])[:10]}"
        return f"Replay({self.model}: {len(self.time)} decisions, {len(self.portfolios)} portfolios, {span})"

    def summary(self) -> pd.DataFrame:
        """One row a portfolio: decisions with a position, breaches, mean margin, mean and peak shortfall."""
        held, short = self.live, np.where(self.live, self.shortfall, 0.0)
        count = held.sum(axis=0)
        columns = {
            "decisions": count,
            "breaches": self.breached.sum(axis=0),
            "mean margin": np.where(held, self.initial, 0.0).sum(axis=0) / np.maximum(count, 1),
            "mean shortfall": short.sum(axis=0) / np.maximum(count, 1),
            "peak shortfall": short.max(axis=0),
        }
        return pd.DataFrame(columns, index=pd.Index(self.portfolios, name="portfolio"))

    def to_frame(self) -> pd.DataFrame:
        """One row a decision and portfolio that held something: initial, maintenance, loss, shortfall, breached."""
        index = pd.MultiIndex.from_product(
            [pd.DatetimeIndex(self.time, tz="UTC"), self.portfolios], names=["time", "portfolio"]
        )
        panels = {"initial": self.initial, "maintenance": self.maintenance, "loss": self.loss}
        columns = {name: panel.ravel() for name, panel in (panels | {"shortfall": self.shortfall}).items()}
        table = pd.DataFrame(columns, index).assign(breached=self.breached.ravel())
        return table[self.live.ravel()]

    @property
    def plot(self) -> "ReplayPlots":
        """Pictures: `replay.plot.margin()`, `.breaches()`, `.coverage()`, `.procyclicality()`, `.pit()`, `.qq()`."""
        from backtest.plot_accessors import ReplayPlots

        return ReplayPlots(self)

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.summary().to_html(max_rows=20, float_format='{:.5f}'.format)}"


def decisions(
    history: MarketHistory, books: Books, window: int, coverage: Coverage, every: int = 1
) -> tuple[Rows, int]:
    """Rows with `window` rows up to and including them, a whole horizon ahead and every price known at both ends.

    Every price is that of every underlying and of the numeraire, the mark of every listed instrument that the books may
    hold, and what their other options and futures are valued by: the surface and the curve of each underlying. What
    expires on the way needs none at the end, as it settles at spot, and an option on a worthless coin needs none.

    Each `every`-th of them is taken, and how many of these were skipped for a hole is told. HistoryError where none is
    left, or where books strike options on a history without surfaces; ParameterError where `every` is below 1.
    """
    if every < 1:
        raise ParameterError(f"decisions are taken every >= 1 rows, got {every}")
    ahead = history.steps(coverage)
    if window < 1 or window + ahead > len(history):
        raise HistoryError(
            f"a replay needs window + horizon = {window} + {ahead} rows, got {len(history)} rows: "
            "shorten the window or bring more history"
        )
    rows = np.arange(window - 1, len(history) - ahead, every)
    start, end = priced_rows(history, books)
    chosen = rows[start[rows] & end[rows + ahead]]
    if not chosen.size:
        raise HistoryError(f"no decision has every price at both ends: all {len(rows)} were skipped")
    return chosen, len(rows) - len(chosen)


def outcomes(
    history: MarketHistory,
    books: Books | Sequence[Books],
    coverage: Coverage,
    *,
    window: int,
    every: int = 1,
    cost: LiquidationCost | None = None,
) -> Outcome:
    """What each book lost after every decision.

    Books are rebuilt to unit gross notional at each decision, from what is known then.
    """
    history, source = history.valued_in(coverage.numeraire), joined(books)
    rows, skipped = decisions(history, source, window, coverage, every)
    cost = cost or LiquidationCost()
    seen = np.zeros(2, dtype=np.int64)
    loss, worst = np.empty((2, len(rows), len(source.portfolios)))
    for step, row in enumerate(rows.tolist()):
        state = history.at(row)
        book = source.at(state)
        gross = book.gross(state)
        unit = np.divide(1.0, gross, out=np.full_like(gross, np.nan), where=gross > 0)
        end, along = closeout(book, history, row, coverage, cost)
        loss[step], worst[step] = end * unit, along * unit
        if isinstance(cost, BookCost):
            seen += closings(book, history, row, coverage)
    ends = history.time[rows + history.steps(coverage)]
    notes = (f"depth unknown at {seen[1]} of {seen[0]} closings: charged by the square-root law",) if seen[1] else ()
    return Outcome(coverage, rows, history.time[rows], ends, source.portfolios, loss, worst, skipped, notes)


class Charge(NamedTuple):
    """One decision: the fitted model, what it asked, the books' gross notional (P,), and the law it stated."""

    fitted: MarginModel
    requirement: Requirement
    gross: Floats
    law: TailForecast | None


def charges(
    model: MarginModel,
    history: MarketHistory,
    books: Books | Sequence[Books],
    coverage: Coverage,
    rows: Sequence[int],
    *,
    window: int,
    refit_every: int,
) -> Iterator[tuple[MarginModel, Requirement, Floats]]:
    """The fitted model, its requirement and the books' gross notional (P,) at each row, in order, as `walk` does."""
    told = walk(model, history, books, coverage, rows, window=window, refit_every=refit_every)
    return ((one.fitted, one.requirement, one.gross) for one in told)


def walk(
    model: MarginModel,
    history: MarketHistory,
    books: Books | Sequence[Books],
    coverage: Coverage,
    rows: Sequence[int],
    *,
    window: int,
    refit_every: int,
) -> Iterator[Charge]:
    """What is charged, and by which law, at each row, in order.

    Refits every `refit_every` decisions on the `window` rows up to then. Nothing here looks beyond a row.
    """
    if refit_every < 1:
        raise ParameterError(f"refit_every must be >= 1 decision, got {refit_every}")
    history, source = history.valued_in(coverage.numeraire), joined(books)
    fits = model.fit_many(history, [row + 1 for row in rows[::refit_every]], window, coverage)
    for step, row in enumerate(rows):
        if step % refit_every == 0:
            fitted = next(fits)
            _refuse_no_fit(model, fitted)
        past = history.rows(0, row + 1)
        book = source.at(past.now)
        asked, law = charge_and_law(fitted, past, book)
        _refuse_broken(model, asked, book.portfolios, past.now.time)
        refuse_broken_law(model, law, book.portfolios, past.now.time)
        yield Charge(fitted, asked, book.gross(past.now), law)


def replay(
    model: MarginModel,
    history: MarketHistory,
    books: Books | Sequence[Books],
    coverage: Coverage,
    *,
    window: int,
    refit_every: int,
    every: int = 1,
    cost: LiquidationCost | None = None,
    outcome: Outcome | None = None,
    name: str | None = None,
    progress: bool = False,
) -> Replay:
    """Walk forward: refit every `refit_every` decisions on the last `window` rows, charge with all of the past.

    Parameters
    ----------
    books : one or several; rebuilt to unit gross notional at each decision (a fixed Book keeps its proportions).
    window : rows a fit sees.
    refit_every : decisions between fits.
    every : rows between decisions.
    cost : what getting out costs; `LiquidationCost()` where None, `BookCost()` for what the order books offer.
    outcome : the losses, where they are known from another model's replay over the same decisions.
    name : what tables call the model; its repr where None.
    progress : show a bar over the decisions.

    Raises
    ------
    HistoryError
        If the history is too short for the window and the horizon.
    ModelError
        If the model returns a margin that is NaN, infinite, negative or of the wrong shape, or states a law that is
        not finite or whose expected shortfall lies below its value at risk.
    ParameterError
        If an outcome is given that was told for another coverage or other books.
    """
    if outcome is not None and (outcome.coverage, outcome.portfolios) != (coverage, joined(books).portfolios):
        raise ParameterError(f"the outcome was told for {outcome.coverage} and other books, asked is {coverage}")
    told = outcome or outcomes(history, books, coverage, window=window, every=every, cost=cost)
    with threadpool_limits(1):
        asked = walk(model, history, books, coverage, told.rows.tolist(), window=window, refit_every=refit_every)
        shown = tqdm(asked, name or repr(model), len(told.rows), leave=False, disable=not progress)
        lost = told.loss_worst if coverage.path == "worst" else told.loss
        initial, maintenance, said, tail = _per_unit(shown, lost, 1.0 - coverage.level)
    return Replay(
        name or repr(model),
        coverage,
        told.time,
        told.end,
        told.portfolios,
        initial,
        maintenance,
        told.loss,
        told.loss_worst,
        told.skipped,
        (*said, *told.notes),
        history.implied,
        tail,
    )


def _per_unit(
    asked: Iterable[Charge], loss: Floats, rate: float
) -> tuple[Floats, Floats, tuple[str, ...], TailPath | None]:
    """Both margins per unit of gross notional, (R, P), NaN where nothing is held; notes; and the laws."""
    initial, maintenance = np.empty((2, *loss.shape))
    laws = TailRecorder(loss, rate)
    notes: dict[str, int] = {}
    seen: MarginModel | None = None
    for step, (fitted, requirement, gross, law) in enumerate(asked):
        unit = np.divide(1.0, gross, out=np.full_like(gross, np.nan), where=gross > 0)
        initial[step], maintenance[step] = requirement.initial * unit, requirement.maintenance * unit
        laws.put(step, law, gross, unit)
        if fitted is not seen:
            _collect(seen, notes)
            seen = fitted
    _collect(seen, notes)
    refused = tuple(f"{note} ({count} fits)" for note, count in notes.items())
    return initial, maintenance, (*refused, *laws.notes), laws.path


def _collect(fitted: MarginModel | None, notes: dict[str, int]) -> None:
    """Count what the parts of a fitted model, at the end of its use, say about fits they refused.

    They say {symbol: why} or, where a fit is a book's and made anew at each decision, {why: how many}.
    """
    parts = () if fitted is None else (fitted, *(value for key, value in vars(fitted).items() if key.endswith("_")))
    for part in parts:
        for key, said in getattr(part, "failures_", {}).items():
            counted = isinstance(said, int)
            note = key if counted else f"{key}: {said.partition(' (')[0]}"  # without the figures of one fit
            notes[note] = notes.get(note, 0) + (said if counted else 1)


def _refuse_no_fit(model: MarginModel, fitted: object) -> None:
    if not isinstance(fitted, MarginModel):
        raise ModelError(f"{model!r}: fit must return self, got {fitted!r:.60}")


def _refuse_broken(model: MarginModel, asked: Requirement, portfolios: tuple[str, ...], time: np.datetime64) -> None:
    """ModelError for a requirement that is not one finite number >= 0 a portfolio."""
    # Any object: a model of someone's own may be untyped.
    margins: dict[str, object] = {"initial": asked.initial, "maintenance": asked.maintenance}
    for kind, margin in margins.items():
        if not isinstance(margin, np.ndarray) or margin.shape != (len(portfolios),):
            raise ModelError(
                f"{model!r}: {kind} margin at {str(time)[:19]} must have the shape ({len(portfolios)},), "
                f"got {None if margin is None else np.asarray(margin).shape}"
            )
        wrong = np.flatnonzero(~(np.isfinite(margin) & (margin >= 0)))
        if wrong.size:
            raise ModelError(
                f"{model!r}: {kind} margin at {str(time)[:19]} must be finite and >= 0, got {margin[wrong[0]]} "
                f"for {portfolios[wrong[0]]!r} ({wrong.size} of {len(portfolios)} portfolios)"
            )
