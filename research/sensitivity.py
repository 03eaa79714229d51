"""Which choice behind a proposal do its effects hang on?

One choice is changed at a time, for both models alike, and both are replayed again over the same decisions.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backtest.closeout import LiquidationCost
from backtest.portfolios import Books, struck_on
from backtest.replay import Outcome, Replay, outcomes
from data import Coverage, MarginlabError, MarketHistory
from data.surface import SVI
from margin_models import MarginModel
from research.engines import run
from research.proposal_effects import DIGITS
from research.proposal_request import Request, model_of
from research.study import walked

MOST_PARAMETERS = 5
MULTIPLES = (0.9, 1.1)
COSTS = (0.0, 4.0)
IMPLIED = (0.8, 1.2)


@dataclass(frozen=True, eq=False)
class _Change:
    """One choice taken otherwise; None is as it was."""

    choice: str
    value: str
    coverage: Coverage
    window: int
    refit_every: int
    cost: LiquidationCost
    candidate: MarginModel
    multiple: float = 1.0
    implied: float = 1.0


@dataclass(frozen=True, eq=False)
class _Task:
    change: _Change
    current: MarginModel
    history: MarketHistory
    books: Books
    every: int
    base: _Change
    outcome: Outcome
    told: tuple[Replay, Replay]


def sensitivity(
    request: Request,
    history: MarketHistory,
    books: Books,
    outcome: Outcome,
    told: tuple[Replay, Replay],
    *,
    jobs: int = 1,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """One row a choice: the proposal's effect as it is taken lower and higher; what cannot be replayed says why.

    `told` are the replays of the current model and the candidate as requested, over `outcome`.
    """
    base = _Change(
        "as proposed",
        "",
        request.coverage,
        request.window,
        request.refit_every,
        request.cost,
        model_of(request.candidate),
    )
    current = model_of(request.current)
    changes = list(_changes(base, struck_on(books)[0]))
    tasks = [_Task(change, current, history, books, request.every, base, outcome, told) for change in changes]
    labels = [f"{change.choice} {change.value}" for change in changes]
    effects = run(_effect, tasks, jobs=jobs, labels=labels, progress=progress)
    rows: dict[str, dict[str, Any]] = {}
    for change, effect in zip(changes, effects, strict=True):
        row = rows.setdefault(change.choice, {"choice": change.choice, "ways": []})
        row["ways"].append({"value": change.value, **effect})
    paid = [float(run.initial[told[0].live & told[1].live].mean()) for run in told]
    proposed = paid[1] / paid[0] - 1.0 if paid[0] > 0 else 0.0
    return sorted(rows.values(), key=lambda row: -_swing(row, proposed))


def _changes(base: _Change, options_on: Sequence[str]) -> Iterator[_Change]:
    rate = 1.0 - base.coverage.level
    for level in (1.0 - 2.0 * rate, 1.0 - 0.5 * rate):
        if level > 0.5:
            yield replace(_as("level", f"{100 * level:g} %", base), coverage=replace(base.coverage, level=level))
    for horizon in _horizons(base.coverage.horizon):
        yield replace(_as("horizon", horizon, base), coverage=replace(base.coverage, horizon=horizon))
    for window in (base.window // 2, 2 * base.window):
        yield replace(_as("window", f"{window} rows", base), window=max(window, 1))
    for refit_every in (max(base.refit_every // 2, 1), 2 * base.refit_every):
        yield replace(_as("decisions between fits", str(refit_every), base), refit_every=refit_every)
    for times in COSTS:
        dearer = replace(base.cost, half_spread=times * base.cost.half_spread, impact=times * base.cost.impact)
        yield replace(_as("cost of closing out", f"{times:g} times", base), cost=dearer)
    for implied in IMPLIED if options_on else ():
        yield replace(_as("implied volatility", f"{implied:g} times", base), implied=implied)
    for multiple in MULTIPLES:
        yield replace(_as("multiple of the candidate", f"{multiple:g}", base), multiple=multiple)
    for name, value in _parameters(base.candidate):
        model: MarginModel = model_with(base.candidate, name, value)
        yield replace(_as(f"candidate: {name}", f"{value:g}", base), candidate=model)


def _as(choice: str, value: str, base: _Change) -> _Change:
    return replace(base, choice=choice, value=value)


def _horizons(horizon: str) -> Sequence[str]:
    """Half of it where that is whole, and twice.

    >>> _horizons("1D"), _horizons("4h")
    (('2D',), ('2h', '8h'))
    """
    count, unit = re.fullmatch(r"(\d*)(\D+)", horizon).groups()  # type: ignore[union-attr]
    size = int(count or 1)
    half = (f"{size // 2}{unit}",) if size % 2 == 0 else ()
    return (*half, f"{2 * size}{unit}")


def model_with(model: MarginModel, name: str, value: float) -> MarginModel:
    """A fresh model with one parameter changed."""
    from sklearn.base import clone

    fresh: MarginModel = clone(model)
    fresh.set_params(**{name: value})
    return fresh


def _parameters(model: MarginModel) -> Iterator[tuple[str, float]]:
    """Numeric parameters halved and doubled; a share above a half is moved by its distance from one."""
    numeric = {
        name: value
        for name, value in sorted(model.get_params(deep=True).items())
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < np.inf
    }
    for name, value in list(numeric.items())[:MOST_PARAMETERS]:
        if isinstance(value, float) and 0.5 < value < 1.0:
            yield name, 1.0 - 2.0 * (1.0 - value)
            yield name, 1.0 - 0.5 * (1.0 - value)
        else:
            yield name, max(value // 2, 1) if isinstance(value, int) else 0.5 * value
            yield name, 2 * value


def _effect(task: _Task) -> dict[str, Any]:
    """Change of mean margin, of shortfall and of coverage; NaN and a reason where the models refuse."""
    unknown = {"margin_change": float("nan"), "shortfall_change": float("nan"), "coverage": float("nan")}
    try:
        current, candidate = _replayed(task)
    except MarginlabError as error:
        return {**unknown, "idle": False, "refused": f"{type(error).__name__}: {error}"[:240]}
    live = current.live & candidate.live
    paid = float(current.initial[live].mean()), task.change.multiple * float(candidate.initial[live].mean())
    margin, loss = task.change.multiple * candidate.initial[live], candidate.loss[live]
    short = np.maximum(loss - margin, 0.0)
    return {
        "idle": task.change.multiple == 1.0 and _same_margins((current, candidate), task.told),
        "margin_change": paid[1] / paid[0] - 1.0 if paid[0] > 0 else float("nan"),
        "shortfall_change": float(short.mean() - current.shortfall[live].mean()),
        "coverage": float(1.0 - (loss > margin).mean()),
        "refused": "",
    }


def _same_margins(runs: tuple[Replay, Replay], told: tuple[Replay, Replay]) -> bool:
    """Whether both models charge at every decision what they charge as proposed."""
    pairs = zip(runs, told, strict=True)
    return all(np.array_equal(run.time, was.time) and np.array_equal(run.initial, was.initial) for run, was in pairs)


def _replayed(task: _Task) -> tuple[Replay, Replay]:
    """Both models under the change; what the change does not touch is not replayed again."""
    change, base = task.change, task.base
    if change.implied != base.implied:
        task = replace(task, history=with_implied(task.history, change.implied))
    outcome = _outcome(task)
    if _walks_as(change) == _walks_as(base):
        current, candidate = (replace(run, loss_end=outcome.loss, loss_worst=outcome.loss_worst) for run in task.told)
        if change.candidate is base.candidate:
            return current, candidate
        return current, _walked(task, change.candidate, outcome)
    return _walked(task, task.current, outcome), _walked(task, change.candidate, outcome)


def _walks_as(change: _Change) -> tuple[object, ...]:
    return change.coverage, change.window, change.refit_every, change.implied


def with_implied(history: MarketHistory, times: float) -> MarketHistory:
    """All implied volatilities multiplied, as a share of at-the-money deviations the smile stays: no new arbitrage.

    With k in units that grow as volatility does, raw SVI's (a, b, rho, m, s) become (f^2 a, f b, rho, f m, f s) and
    the total variances of a cubic f^2 of what they were.
    """
    if history.surfaces is None:
        return history
    figures = np.array(history.surfaces, dtype=np.float64)
    raw = figures[..., 1] == SVI
    svi, cubic = np.array([times**2, times, 1.0, times, times]), np.full(5, times**2)
    figures[..., 2:] *= np.where(raw[..., None], svi, cubic)
    return replace(history, surfaces=figures)


def _walked(task: _Task, model: MarginModel, outcome: Outcome) -> Replay:
    return walked(task.change, model, task.history, task.books, outcome, task.change.choice)


def _outcome(task: _Task) -> Outcome:
    """What the books lost; decisions stay those of the proposal, but for another horizon's."""
    change, base = task.change, task.base
    if (change.cost, change.coverage.horizon, change.implied) != (base.cost, base.coverage.horizon, base.implied):
        return outcomes(
            task.history, task.books, change.coverage, window=base.window, every=task.every, cost=change.cost
        )
    return replace(task.outcome, coverage=change.coverage)


def _swing(row: dict[str, Any], proposed: float) -> float:
    """How far the effect is swung, from what is proposed or from end to end; -1 where every way was refused."""
    known = [way["margin_change"] for way in row["ways"] if np.isfinite(way["margin_change"])]
    return round(max(*known, proposed) - min(*known, proposed), DIGITS) if known else -1.0
