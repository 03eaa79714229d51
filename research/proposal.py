"""What are the numbers of a proposal?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.disclosure import FIELDS
from backtest.portfolios import Books, struck_on
from backtest.procyclicality import procyclicality
from backtest.replay import Outcome, Replay, outcomes
from data import MarketHistory, ParameterError
from data.quality import check
from data.snapshot import content_hash
from margin_models import MarginModel, StaticMargin
from research import proposal_effects as effects
from research.engines import run
from research.evidence_tables import plain
from research.named_models import asked_of, provenance
from research.proposal_own import own_effects
from research.proposal_request import Request, described, model_of, parameters_that_differ, says_of_itself
from research.proposal_unsaid import days_between, is_told, unsaid
from research.proposal_verdict import BOOK, BOOK_COVERAGE, CAPITAL, COVERAGE, verdict
from research.report import standing_for
from research.reverse_stress import reverse_stress
from research.sensitivity import sensitivity
from research.study import walked

POINTS = 160  # of a curve through time
CRISES_DRAWN = 3
LEAST_DECISIONS, LEAST_AROUND = 2, np.timedelta64(5, "D")  # on either side of a crisis that is drawn
Evidence = dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Held:
    """Books and what they lost."""

    books: Books
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class _Task:
    name: str
    model: MarginModel
    history: MarketHistory
    held: _Held
    request: Request


def evidence_of(request: Request, history: MarketHistory, *, jobs: int = 1, progress: bool = True) -> Evidence:
    """Every number of a proposal, as JSON knows it: the same on any machine and for any number of jobs.

    Raises
    ------
    ParameterError
        Where the history is not the one that the request names.
    HistoryError, ModelError
        As `replay` does.
    """
    found = content_hash(history)
    if found != request.data_hash:
        raise ParameterError(f"the request names the data {request.data_hash[:12]}, got {found[:12]}")
    books = request.books(history)
    outcome = _lost(request, history, books)
    models = {"current": model_of(request.current), "candidate": model_of(request.candidate)}
    own = request.own(history)
    held = _Held(books, outcome), *([_Held(own, _lost(request, history, own))] if own else [])
    tasks = [_Task(name, model, history, one, request) for one in held for name, model in models.items()]
    labels = [f"{task.name}{', own books' if task.held.books is own else ''}" for task in tasks]
    current, candidate, *owned = run(_replayed, tasks, jobs=jobs, labels=labels, progress=progress)
    told = effects.effect(current, candidate)
    affected = effects.affected(current, candidate)
    named = [book["name"] for book in affected["books"]]
    lead = standing_for(current.portfolios, history.underlyings)[0]
    periods = {**request.crises} or dict(effects.worst_periods(current))
    crises = effects.crises(current, candidate, periods)
    if not crises:
        periods = dict(effects.worst_periods(current))
        crises = effects.crises(current, candidate, periods)
    rows = sensitivity(request, history, books, outcome, (current, candidate), jobs=jobs, progress=progress)
    stress = reverse_stress(request, history, books, outcome, named)
    evidence = {
        "market": _facts(request, history, current),
        "models": {name: _model(model, request) for name, model in models.items()},
        "changes": parameters_that_differ(models["current"], models["candidate"]),
        "effect": told,
        "responsiveness": _responsiveness(current, candidate),
        "verdict": verdict(told, affected, request.coverage.level),
        "bounds": {"capital": CAPITAL, "coverage": COVERAGE, "book": BOOK, "book_coverage": BOOK_COVERAGE},
        "affected": affected,
        "variants": effects.variants(current, candidate),
        "crises": crises,
        "sensitivity": rows,
        "stress": stress,
        "unsaid": unsaid(request, books, current, rows, stress),
        "own": own and own_effects(request, history, own, held[1].outcome, (owned[0], owned[1]), periods),
        "disclosure": effects.disclosure(current, candidate),
        "fields": dict(FIELDS),
        "lead": lead,
        "notes": {"current": list(current.notes), "candidate": list(candidate.notes)},
        "figures": _figures(current, candidate, "" if struck_on(books)[0] else lead, crises),
    }
    answer: Evidence = plain(evidence)
    return answer


def _lost(request: Request, history: MarketHistory, books: Books) -> Outcome:
    return outcomes(history, books, request.coverage, window=request.window, every=request.every, cost=request.cost)


def _replayed(task: _Task) -> Replay:
    return walked(task.request, task.model, task.history, task.held.books, task.held.outcome, task.name)


def _facts(request: Request, history: MarketHistory, run: Replay) -> dict[str, Any]:
    flagged = [one for one in check(history.spot, history.time, history.underlyings) if one.check != "hole"]
    return {
        "underlyings": list(history.underlyings),
        "first": f"{str(history.time[0])[:16]}Z",
        "last": f"{str(history.time[-1])[:16]}Z",
        "rows": len(history),
        "clock": history.clock.step,
        "holes": int(np.isnan(history.spot).sum()),
        "flags": [f"{one.check} {one.symbol}: {one.count}, first {str(one.first)[:16]}" for one in flagged],
        "implied": history.implied,
        "hash": request.data_hash,
        "books": len(run.portfolios),
        "decisions": len(run.time),
        "skipped": run.skipped,
        "trials": len(run.disjoint),
        "first_decision": f"{str(run.time[0])[:16]}Z",
        "last_decision": f"{str(run.time[-1])[:16]}Z",
        "level": request.coverage.level,
        "window": request.window,
        "refit_every": request.refit_every,
        "every": request.every,
    }


def _model(model: MarginModel, request: Request) -> dict[str, Any]:
    return {
        "says": says_of_itself(model),
        "parameters": described(model),
        "asked": _asked(model, request),
        "provenance": list(provenance(model)),
    }


def _asked(model: MarginModel, request: Request) -> str:
    """What it must cover; a flat rate that is learned is learned for the level, once."""
    if isinstance(model, StaticMargin) and model.rate is None:
        level, horizon = request.coverage.level, request.coverage.horizon
        return f"{100 * level:g} % of losses over {horizon}, in the first window"
    return asked_of(model, request.coverage)


def _responsiveness(current: Replay, candidate: Replay) -> list[dict[str, Any]]:
    """Peak to trough and largest calls of the book in the middle, and of the worst."""
    tables = [procyclicality(run) for run in (current, candidate)]
    return [
        {
            "measure": str(column),
            "current": float(tables[0][column].median()),
            "candidate": float(tables[1][column].median()),
            "worst_current": float(tables[0][column].max()),
            "worst_candidate": float(tables[1][column].max()),
        }
        for column in tables[0].columns
        if is_told(str(column), days_between(current))
    ]


def _figures(
    current: Replay, candidate: Replay, lead: str, crises: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The series that are drawn and are told nowhere else; each crisis has its own book where none leads."""
    every = np.arange(len(current.time))
    drawn = {"margin": _mean_path(current, candidate, every)}
    for n, crisis in enumerate(crises[:CRISES_DRAWN]):
        drawn[f"crisis{n}"] = _crisis_path(current, candidate, lead or _hit_most(current, crisis), crisis)
    return drawn


def _hit_most(run: Replay, crisis: Mapping[str, Any]) -> str:
    """The book with the largest loss in a crisis: no option book stands for a market."""
    start, stop = _days(crisis)
    inside = (run.end >= start) & (run.time < stop)
    worst = np.where(run.live & inside[:, None], run.loss, -np.inf).max(axis=0)
    return run.portfolios[int(np.round(worst, effects.DIGITS).argmax())]


def _days(crisis: Mapping[str, Any]) -> tuple[np.datetime64, np.datetime64]:
    """Its first instant, and that at which it is over."""
    return np.datetime64(crisis["first"], "ns"), np.datetime64(crisis["last"], "ns") + np.timedelta64(1, "D")


def _mean_path(current: Replay, candidate: Replay, rows: Any) -> dict[str, Any]:
    """Mean margin over the books held, and the mean loss where it is one, at evenly chosen decisions."""
    held = np.maximum(current.live.sum(axis=1), 1)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, POINTS).astype(np.intp))]
    means = [np.where(run.live, run.initial, 0.0).sum(axis=1) / held for run in (current, candidate)]
    return {
        "time": [f"{str(current.time[row])[:16]}Z" for row in chosen],
        "current": means[0][chosen].tolist(),
        "candidate": means[1][chosen].tolist(),
    }


def _crisis_path(current: Replay, candidate: Replay, lead: str, crisis: dict[str, Any]) -> dict[str, Any]:
    """Margins and losses of one book around a crisis, half as long on either side, and no less than shows something."""
    first, last = _days(crisis)
    apart = np.timedelta64(round(LEAST_DECISIONS * 24 * np.nan_to_num(days_between(current))), "h")
    around = max((last - first) / 2, LEAST_AROUND, apart)
    rows = np.flatnonzero((current.end >= first - around) & (current.time < last + around))
    if len(rows) > POINTS:
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, POINTS).astype(np.intp))]
    p = current.portfolios.index(lead)
    return {
        "name": crisis["name"],
        "book": lead,
        "time": [f"{str(current.time[row])[:16]}Z" for row in rows],
        "loss": current.loss[rows, p].tolist(),
        "current": current.initial[rows, p].tolist(),
        "candidate": candidate.initial[rows, p].tolist(),
    }
