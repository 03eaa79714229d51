"""What do tonight's data say of the model in force, of the one that is watched, and of those that would take its place?

One market at a time: every model is replayed up to tonight, fitted on the newest window, asked for what it would
publish, and put through its gates. The answer is plain data, so that it can be kept as a checkpoint.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from backtest.portfolios import Books, default_books
from backtest.replay import Outcome, outcomes, replay
from backtest.scores import judge
from data import MarketHistory
from data.snapshot import content_hash
from margin_models import MarginModel
from research import gates
from research.engines import one_thread, run
from research.gates import Case, GateResult, Judged
from research.limits import Limits
from research.measured_parameters import measured, refused_fits
from research.model_files import hash_of, read_model, to_files, write_model
from research.night_data import NightData
from research.night_state import MarketState, Version
from research.parameters import MarketParameters
from research.study import Market, Study


@dataclass(frozen=True, eq=False)
class Night:
    """What all markets of a night share; `models` is the folder of model files, and `keep` whether to write there."""

    as_of: str
    key: str
    study: Study
    limits: Limits
    models: Path
    jobs: int = 1
    keep: bool = True


@dataclass(frozen=True, eq=False)
class _Task:
    name: str
    model: MarginModel
    market: Market
    history: MarketHistory
    books: Books
    outcome: Outcome


def configuration_of(model: MarginModel) -> str:
    """The sha256 of a model's files, unfitted: which model it is, by its parameters."""
    return hash_of(to_files(clone(model)))


def judged_market(night: Night, told: NightData, state: MarketState) -> dict[str, Any]:
    """What tonight says of one market, as plain data.

    `models`: by name, its configuration, scores, notes, or the error that keeps it out. `champion` (in the first night
    the study's first model) and `candidates`: its gates and, where it could be fitted, its version and gain. `chosen`
    is the candidate to be watched, "" for none. Files of the versions that may come into force are written.
    """
    models = _models(night, told.market, state)
    incumbent = _named(models, state.champion) if state.champion else next(iter(models))
    if state.champion is None:
        models = {incumbent: models[incumbent]}  # there is nothing yet that another could be better than
    examiner = _Examiner(night, told, state, models, _replayed(night, told, models), incumbent)
    others = [name for name in models if name != incumbent] if state.champion else []
    facts: dict[str, Any] = {
        "market": told.market.name,
        "given": state.digest,
        **told.facts,
        "doubts": list(told.doubts),
        "remarks": list(told.remarks),
        "models": {name: _scores(models[name], one) for name, one in examiner.replayed.items()},
        "champion": examiner.examined(incumbent),
        "candidates": [examiner.examined(name) for name in others],
    }
    facts["chosen"] = chosen(facts["candidates"], state)
    if night.keep:
        examiner.keep([incumbent, facts["chosen"]])
    return facts


def chosen(candidates: list[dict[str, Any]], state: MarketState) -> str:
    """The candidate to be watched: the one that is, else the one that saves most of those no gate refuses; or ""."""
    if state.challenger is not None:
        standing = state.challenger.configuration
        return next((one["name"] for one in candidates if one["configuration"] == standing), "")
    free = [one for one in candidates if "version" in one and one["version"]["verdict"] != "refused"]
    return str(max(free, key=lambda one: float(one["gain"]))["name"]) if free else ""


def _models(night: Night, market: Market, state: MarketState) -> dict[str, MarginModel]:
    """Every model to be asked by name: the study's, the market's, and those in force that the study no longer has."""
    models = {**night.study.models, **market.models}
    known = {configuration_of(model) for model in models.values()}
    for role, version in (("champion", state.champion), ("challenger", state.challenger)):
        if version is not None and version.configuration not in known:
            name = version.name if version.name not in models else f"{version.name} ({role})"
            models[name] = read_model(night.models, version.configuration)
    return models


def _named(models: Mapping[str, MarginModel], version: Version) -> str:
    """The name under which tonight's models have a version's configuration."""
    return next(name for name, model in models.items() if configuration_of(model) == version.configuration)


def _replayed(night: Night, told: NightData, models: Mapping[str, MarginModel]) -> dict[str, Judged | str]:
    """A judged replay of every model, or why there is none: one model's failure is not the others'."""
    plan, history = told.market, told.history
    books = _books(told)
    lost = outcomes(history, books, plan.coverage, window=plan.window, every=plan.every, cost=night.study.cost)
    # Without what the study file defines: a worker could not import it.
    bare = replace(plan, load=_loaded_before, books=None, models={})
    tasks = [_Task(name, model, bare, history, books, lost) for name, model in models.items()]
    labels = [f"{plan.name}: {name}" for name in models]
    ran = run(_charge, tasks, jobs=night.jobs, labels=labels, progress=False)
    return dict(zip(models, ran, strict=True))


def _loaded_before() -> MarketHistory:
    raise AssertionError("a task has its history")


def _charge(task: _Task) -> Judged | str:
    plan = task.market
    asked: dict[str, Any] = {"window": plan.window, "refit_every": plan.refit_every}
    try:
        ran = replay(task.model, task.history, task.books, plan.coverage, **asked, outcome=task.outcome, name=task.name)
        ran = replace(ran, tail=None)  # no gate asks for tests of the law, which take longer than all the rest
        return Judged(ran, judge(ran))
    except (OSError, MemoryError):  # the machine's fault, not the model's: the night is to be tried again
        raise
    except Exception as error:  # a model that breaks, whoever wrote it, is out of the night and does not end it
        return f"{type(error).__name__}: {error}"


def _scores(model: MarginModel, one: Judged | str) -> dict[str, Any]:
    head = {"model": " ".join(repr(model).split()), "configuration": configuration_of(model)}
    if isinstance(one, str):
        return {**head, "error": one}
    card = {name: value for name, value in asdict(one.judgement.card).items() if np.isfinite(value)}
    return {**head, "scores": card, "notes": list(one.replay.notes)}


@dataclass(frozen=True, eq=False)
class _Examiner:
    """Puts one model after the other through its gates, on the same replays; what it fitted it keeps in `fitted`."""

    night: Night
    told: NightData
    state: MarketState
    models: Mapping[str, MarginModel]
    replayed: Mapping[str, Judged | str]
    incumbent: str
    fitted: dict[str, MarginModel] = field(default_factory=dict)

    def examined(self, name: str) -> dict[str, Any]:
        """Name, configuration, gates and, where it can be fitted tonight, its version and gain."""
        head = {"name": name, "configuration": configuration_of(self.models[name])}
        mine = self.replayed[name]
        if isinstance(mine, str):
            return {**head, "gates": [asdict(GateResult("replay", "refused", f"{name} cannot be judged: {mine}"))]}
        try:
            case, version = self._case(name, mine, head["configuration"])
        except (OSError, MemoryError):
            raise
        except Exception as error:  # as in `_charge`
            why = f"{name} cannot be fitted tonight: {type(error).__name__}: {error}"
            return {**head, "gates": [asdict(GateResult("fit", "refused", why))]}
        results = gates.through(self._gates(name), case, self.night.limits)
        gain = next((result.evidence.get("gain", 0.0) for result in results if result.gate == "efficiency"), 0.0)
        version = replace(version, verdict=gates.outcome(results))
        return {**head, "gates": [asdict(result) for result in results], "gain": gain, "version": asdict(version)}

    def keep(self, names: list[str]) -> None:
        """Write the files of these models, fitted and not."""
        for name in names:
            if name in self.fitted:
                write_model(self.fitted[name], self.night.models)
                write_model(clone(self.models[name]), self.night.models)

    def _gates(self, name: str) -> tuple[gates.Gate, ...]:
        if name != self.incumbent:
            return gates.PROMOTION
        return gates.RECALIBRATION if self.state.champion else gates.FIRST

    def _case(self, name: str, mine: Judged, configuration: str) -> tuple[Case, Version]:
        """Tonight's fit, what it would publish, and what it is compared with."""
        night, told = self.night, self.told
        fitted = fit_tonight(self.models[name], told.history, told.market)
        model_hash = hash_of(to_files(fitted))
        with one_thread():
            books = _books(told)
            found = measured(
                fitted, told.history, books, told.market.coverage, model_hash=model_hash, data_hash=told.hash
            )
        self.fitted[name] = fitted
        theirs = self.replayed[self.incumbent]
        before, champion = _before(self.state, configuration), self.state.champion
        case = Case(
            mine,
            None if name == self.incumbent or isinstance(theirs, str) else theirs,
            found,
            MarketParameters.of(before.parameters) if before else None,
            MarketParameters.of(champion.parameters) if champion else None,
            refused_fits(fitted),
            (*told.doubts, *_vanished(champion, found)),
            (*told.remarks, *_not_reproduced(told, self.models[name], before)),
            self._share(name, configuration),
        )
        facts = told.facts
        seen = (str(facts["data"]), str(facts["first"]), int(facts["rows"]))
        version = Version(name, model_hash, configuration, night.as_of, night.key, *seen, found.told(), "refused")
        return case, version

    def _share(self, name: str, configuration: str) -> float:
        """The candidate's part of alpha; candidates never seen before follow in the study's order."""
        if name == self.incumbent:
            return 1.0
        new = new_candidates(self.state, [configuration_of(m) for n, m in self.models.items() if n != self.incumbent])
        return gates.spent([*self.state.candidates, *new], configuration)


def new_candidates(state: MarketState, configurations: list[str]) -> list[str]:
    """Configurations that were never put to the gates before, each once."""
    return [one for one in dict.fromkeys(configurations) if one not in state.candidates]


def _books(told: NightData) -> Books:
    return told.market.books(told.history.underlyings) if told.market.books else default_books(told.history)


def fit_tonight(model: MarginModel, history: MarketHistory, plan: Market) -> MarginModel:
    """The model, fitted on the newest window of a market."""
    with one_thread():
        fresh: MarginModel = clone(model)
        return fresh.fit(history.last(plan.window), plan.coverage)


def _before(state: MarketState, configuration: str) -> Version | None:
    """The version of this configuration that was published or watched last."""
    roles = (state.champion, state.challenger)
    return next((one for one in roles if one is not None and one.configuration == configuration), None)


def _vanished(champion: Version | None, found: MarketParameters) -> tuple[str, ...]:
    """Assets that are in force and would no longer be published."""
    gone = [] if champion is None else [name for name in champion.parameters["assets"] if name not in found.assets]
    return (f"published yesterday and gone tonight: {', '.join(gone)}",) if gone else ()


def _not_reproduced(told: NightData, model: MarginModel, before: Version | None) -> tuple[str, ...]:
    """Whether the version before, fitted again on the rows it saw, is another; nothing where those rows are gone."""
    if before is None or str(told.history.time[0]) != before.first or len(told.history) < before.rows:
        return ()
    seen = told.history.rows(0, before.rows)
    if content_hash(seen) != before.data:
        return ()  # restated, which is a remark of its own
    again = hash_of(to_files(fit_tonight(model, seen, told.market)))
    if again == before.model:
        return ()
    return (
        f"the version of {before.as_of} is not reproduced: a refit has the hash {again[:12]}, not {before.model[:12]}",
    )
