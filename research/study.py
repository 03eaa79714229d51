"""What is asked of which models on which markets, and what came out?

A study is Python objects: markets, each with its books and its way of being replayed, and models by name. Running it
gives one comparison a market.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from backtest.closeout import LiquidationCost
from backtest.comparison import Comparison, Periods, named
from backtest.equal_coverage import oracle_constant
from backtest.portfolios import Books, default_books
from backtest.replay import Outcome, Replay, outcomes, replay
from backtest.scores import Judgement, judge
from data import Coverage, MarketHistory, ParameterError
from data.snapshot import content_hash
from margin_models import MarginModel
from research.engines import run

ORACLE = "oracle constant"


@dataclass(frozen=True, eq=False)
class Market:
    """One history and how it is replayed.

    Parameters
    ----------
    name : short, also the name of its runs.
    title : what a reader is told it is.
    load : gives the history; called once a study.
    coverage : what margin must survive.
    window : rows a fit sees.
    refit_every : decisions between fits.
    every : rows between decisions.
    books : made from the underlyings; `default_books` of the history where None.
    crises : named periods, first and last day.
    models : further models that only this market is asked about, by name.
    remarks : what a reader must know (survivorship, say).
    """

    name: str
    title: str
    load: Callable[[], MarketHistory]
    coverage: Coverage
    window: int
    refit_every: int
    books: Callable[[tuple[str, ...]], Books] | None = None
    every: int = 1
    crises: Periods = field(default_factory=dict)
    models: Mapping[str, MarginModel] = field(default_factory=dict)
    remarks: str = ""


@dataclass(frozen=True, eq=False)
class Study:
    """Markets and models. `oracle` names the model whose rates, known in hindsight, are shown but never ranked.

    ParameterError where two markets share a name, a model has the oracle's, or `oracle` names no model.
    """

    name: str
    markets: tuple[Market, ...]
    models: Mapping[str, MarginModel]
    oracle: str | None = None
    cost: LiquidationCost = field(default_factory=LiquidationCost)

    def __post_init__(self) -> None:
        names = [market.name for market in self.markets]
        if len(set(names)) < len(names):
            raise ParameterError(f"markets of a study must differ in name, got {names}")
        for market in self.markets:
            twice = self.models.keys() & market.models.keys()
            if twice:
                raise ParameterError(f"{market.name} asks about {sorted(twice)}, which every market is asked about")
        if ORACLE in self.every_model:
            raise ParameterError(f"no model may be named {ORACLE!r}: the hindsight rate is shown under that name")
        if self.oracle is not None and self.oracle not in self.models:
            raise ParameterError(f"oracle must be one of {list(self.models)} or None, got {self.oracle!r}")

    @property
    def every_model(self) -> dict[str, MarginModel]:
        """The models of all markets and those of single ones; two markets may share one by name if they are equal."""
        every = dict(self.models)
        for market in self.markets:
            for name, model in market.models.items():
                if repr(every.setdefault(name, model)) != repr(model):
                    raise ParameterError(f"two models are named {name!r}: {every[name]!r} and {model!r}")
        return every


@dataclass(frozen=True, eq=False)
class Judged:
    """One market of a study, judged."""

    market: Market
    history: MarketHistory
    data_hash: str
    comparison: Comparison


@dataclass(frozen=True, eq=False)
class StudyResult:
    """Everything a report, a tracker or a table needs, in the order of the study's markets."""

    study: Study
    markets: tuple[Judged, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class _Task:
    name: str
    model: MarginModel
    market: Market
    history: MarketHistory
    books: Books
    cost: LiquidationCost
    outcome: Outcome | None = None


def _lose(task: _Task) -> Outcome:
    plan = task.market
    return outcomes(task.history, task.books, plan.coverage, window=plan.window, every=plan.every, cost=task.cost)


class Plan(Protocol):
    """How a market is replayed: a `Market` is one, a proposal's request too."""

    @property
    def coverage(self) -> Coverage:
        """What margin must survive."""

    @property
    def window(self) -> int:
        """Rows a fit sees."""

    @property
    def refit_every(self) -> int:
        """Decisions between fits."""


def walked(
    plan: Plan, model: MarginModel, history: MarketHistory, books: Books, outcome: Outcome | None, name: str
) -> Replay:
    """One model replayed as planned, over what happened; raises what `replay` raises."""
    return replay(
        model,
        history,
        books,
        plan.coverage,
        window=plan.window,
        refit_every=plan.refit_every,
        outcome=outcome,
        name=name,
    )


def _charge(task: _Task) -> tuple[Replay, Judgement]:
    run = walked(task.market, task.model, task.history, task.books, task.outcome, task.name)
    return run, judge(run)


def run_study(study: Study, *, jobs: int = 1, progress: bool = True) -> StudyResult:
    """Load every market, replay every model on each, and compare.

    The result does not depend on `jobs`. Raises what `replay` raises, with the market and the model named.
    """
    started = time.perf_counter()
    models = named(study.models)
    histories = [market.load() for market in study.markets]
    markets = [
        replace(market, title=history.titled(market.title))
        for market, history in zip(study.markets, histories, strict=True)
    ]
    books = [
        market.books(history.underlyings) if market.books else default_books(history)
        for market, history in zip(markets, histories, strict=True)
    ]
    anyone = next(iter(models.values()))
    plans = [
        _Task("what happened", anyone, market, history, held, study.cost)
        for market, history, held in zip(markets, histories, books, strict=True)
    ]
    labels = [f"{market.name}: what happened next" for market in study.markets]
    told = run(_lose, plans, jobs=jobs, labels=labels, progress=progress)
    tasks = [
        replace(plan, name=name, model=model, outcome=outcome)
        for plan, outcome in zip(plans, told, strict=True)
        for name, model in {**models, **plan.market.models}.items()
    ]
    # The last are the dearest, as a rule: they go first, so that no process waits for one of them at the end.
    tasks.reverse()
    replays = run(_charge, tasks, jobs=jobs, labels=[f"{t.market.name}: {t.name}" for t in tasks], progress=progress)
    by_market: dict[str, list[tuple[Replay, Judgement]]] = {}
    for task, ran in zip(reversed(tasks), reversed(replays), strict=True):
        by_market.setdefault(task.market.name, []).append(ran)
    judged = tuple(
        Judged(market, history, content_hash(history), _compared(market, by_market[market.name], study.oracle))
        for market, history in zip(markets, histories, strict=True)
    )
    return StudyResult(study, judged, time.perf_counter() - started)


def _compared(market: Market, told: list[tuple[Replay, Judgement]], oracle: str | None) -> Comparison:
    """The comparison of one market, the hindsight rate beside the ranked models."""
    runs = {run.model: run for run, _ in told}
    judged = {run.model: judgement for run, judgement in told}
    if oracle is None:
        return Comparison(market.title, runs, judged=judged)
    return Comparison(market.title, {**runs, ORACLE: oracle_constant(runs[oracle], ORACLE)}, (ORACLE,), judged)
