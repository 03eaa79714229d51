"""What happens in a night, in which order, so that whatever ends it early leaves yesterday or tomorrow?

Lock, data, key, markets one by one (each a checkpoint), decisions; then every file that the new state will name; then
the state itself, in one rename; then what follows from it: copies, metrics, MLflow. A key is a sha256 over the as-of,
the study and its limits, the data of every market, and our own code: a night whose key is done is not done again.
"""

import importlib.util
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data import DataError, HistoryError, MarginlabError, ParameterError
from data.code_version import told_version
from data.errors import SnapshotError
from data.sealed import encoded, sealed, unsealed
from data.storage import sha256_of, write_whole
from research.limits import Limits
from research.model_files import verified
from research.night_commit import put_in_force, result_of, settle, stored
from research.night_data import AsOf, NightData, as_of, file_digest, night_data
from research.night_decisions import Story, decided
from research.night_journal import Recorder
from research.night_report import DONE, NO_DATA, REFUSED, Log, alone
from research.night_state import MarketState, NightState, commit, read_state
from research.nightly import Night, configuration_of, judged_market
from research.study import Study

HEADROOM = 256 * 2**20  # bytes that a night must be able to ask for


@dataclass(frozen=True)
class NightRequest:
    """What was asked of a night.

    Parameters
    ----------
    as_of : the date, or instant (UTC), up to which data counts.
    study : a Python file that defines `study()` and, if its operator wants other ones, `limits()`.
    folder : of the nights (`night_state.state_folder`).
    dry_run : judge and tell, change nothing.
    resume : take up the checkpoints of a night of the same key that did not end.
    force : do a night again whose key is done, or one before the newest.
    jobs : worker processes.
    textfile : where Prometheus metrics go; in the folder where None.
    """

    as_of: str
    study: Path
    folder: Path
    dry_run: bool = False
    resume: bool = False
    force: bool = False
    jobs: int = 1
    textfile: Path | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """A study file that was read: the study, its limits, and the sha256 of the file."""

    study: Study
    limits: Limits
    digest: str


@dataclass
class _Gathered:
    """The data of a night: what is there, and why the rest is not."""

    found: dict[str, NightData] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def read_plan(path: Path) -> Plan:
    """The study that a file defines; ParameterError where there is none, or its code breaks."""
    path = path.resolve()
    if not path.is_file():
        raise ParameterError(f"--study must be a Python file that defines study(), got {path}")
    spec = importlib.util.spec_from_file_location(f"marginlab_study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # worker processes and pickled loaders look for it
    try:
        spec.loader.exec_module(module)
        study, limits = module.study(), getattr(module, "limits", Limits)()
    except (MarginlabError, MemoryError):
        raise
    except Exception as error:
        raise ParameterError(f"{path}: study() cannot be had: {type(error).__name__}: {error}") from error
    if not isinstance(study, Study) or not isinstance(limits, Limits):
        raise ParameterError(f"{path}: expected a Study of study() and Limits of limits(), got {study!r}, {limits!r}")
    return Plan(study, limits, file_digest(path))


@cache
def code_digest() -> str:
    """The sha256 over the bytes of all our modules: what `told_version` cannot say of files that were changed."""
    root = Path(__file__).resolve().parents[1]
    files = sorted(
        path for name in ("data", "margin_models", "backtest", "research") for path in (root / name).rglob("*.py")
    )
    return sha256_of(encoded({str(path.relative_to(root)): file_digest(path) for path in files}))


def run_night(request: NightRequest, recorder: Recorder | None, say: Log) -> dict[str, Any]:
    """Do the night, and return its result; `exit` in it is the code to end with.

    Raises
    ------
    LockHeldError
        If another process works in the folder.
    ParameterError
        For a study, a date or a folder that cannot be.
    SnapshotError
        If the state is damaged (`marginlab recover`).
    OSError
        If the disk fails; nothing has happened then.
    """
    night = as_of(request.as_of)
    plan = read_plan(request.study)
    with alone(request.folder, say):
        state = read_state(request.folder)
        _refuse_foreign(state, plan, night, request.force)
        if not request.dry_run:
            state = settle(request.folder, state, recorder, say, request.textfile)
        try:
            return _night(request, plan, night, state, recorder, say)
        except Exception as error:
            _mark_stale(request, night, f"{type(error).__name__}: {error}", say)
            raise


def _night(
    request: NightRequest, plan: Plan, night: AsOf, state: NightState, recorder: Recorder | None, say: Log
) -> dict[str, Any]:
    """The night under its lock."""
    _refuse_cramped()
    gathered = _gather(plan, night, state, say)
    key = _key(night, plan, gathered)
    done = state.night(key)
    if done is not None and not request.force and not gathered.missing:
        say("no_op", key=key[:12], as_of=night.text)
        return {**stored(request.folder, key, done), "noop": True, "exit": DONE}
    return _judge(request, plan, night, key, state, gathered, recorder, say)


def _refuse_cramped() -> None:
    """MemoryError now, while nothing is begun, where the address space ends within HEADROOM.

    OpenBLAS that finds no memory for its buffer ends the process with 1, as if it were a bug; it takes the buffer here.
    """
    np.empty(HEADROOM, dtype=np.uint8)
    np.ones((64, 64)) @ np.ones((64, 64))


def _mark_stale(request: NightRequest, night: AsOf, why: str, say: Log) -> None:
    """Say beside what is published that this night failed, if the disk still takes it."""
    if request.dry_run:
        return
    with suppress(Exception):
        state = read_state(request.folder)
        done = any(one["as_of"] == night.text for one in state.nights)
        if state.markets and not done:
            stale = {
                name: replace(one, stale=why, since=one.since or night.text) for name, one in state.markets.items()
            }
            settle(request.folder, commit(request.folder, replace(state, markets=stale)), None, say, request.textfile)


def _refuse_foreign(state: NightState, plan: Plan, night: AsOf, force: bool) -> None:
    if state.study not in ("", plan.study.name):
        raise ParameterError(f"the folder has the nights of {state.study}, got the study {plan.study.name}")
    judged = [as_of(str(one["as_of"])) for one in state.nights if one["judged"]]
    newest = max(judged, key=lambda one: one.until, default=night)
    if newest.until > night.until and not force:
        raise ParameterError(f"the newest night is of {newest.text}, got {night.text}: an earlier one needs --force")


def _gather(plan: Plan, night: AsOf, state: NightState, say: Log) -> _Gathered:
    """Load and check every market; what cannot be had is told, and does not end the night of the others."""
    gathered = _Gathered()
    for market in plan.study.markets:
        last = state.markets.get(market.name, MarketState()).last
        try:
            told = night_data(market, night, plan.limits, last)
        except (DataError, HistoryError) as error:
            gathered.missing[market.name] = f"{type(error).__name__}: {error}"
            say("data_refused", level="error", market=market.name, reason=str(error))
            continue
        gathered.found[market.name] = told
        say("data", market=market.name, rows=len(told.history), hash=told.hash[:12], doubts=list(told.doubts))
    return gathered


def _key(night: AsOf, plan: Plan, gathered: _Gathered) -> str:
    study = plan.study
    markets = {
        one.name: [repr(one.coverage), one.window, one.refit_every, one.every, sorted(one.models)]
        for one in study.markets
    }
    models = {name: configuration_of(model) for name, model in study.every_model.items()}
    facts = {
        "as_of": night.text,
        "study": [study.name, plan.digest, repr(plan.limits), repr(study.cost), markets, models],
        "data": {name: told.hash for name, told in gathered.found.items()} | gathered.missing,
        "code": [told_version(), code_digest()],
    }
    return sha256_of(encoded(facts))


def _judge(
    request: NightRequest,
    plan: Plan,
    night: AsOf,
    key: str,
    state: NightState,
    gathered: _Gathered,
    recorder: Recorder | None,
    say: Log,
) -> dict[str, Any]:
    """Judge every market, decide, and, unless it is a dry run, put it in force."""
    folder = request.folder
    shared = Night(night.text, key, plan.study, plan.limits, folder / "models", request.jobs, not request.dry_run)
    markets, stories, every = dict(state.markets), [], {}
    for name, told in gathered.found.items():
        before = markets.get(name, MarketState())
        try:
            facts = _checkpointed(request, shared, told, before, say)
        except SnapshotError:
            raise
        except (DataError, HistoryError) as error:  # too short for its window, say: the other markets have their night
            gathered.missing[name] = f"{type(error).__name__}: {error}"
            say("data_refused", level="error", market=name, reason=str(error))
            continue
        markets[name], story = decided(before, facts, plan.limits, night.text)
        every[name] = facts
        stories.append(story)
        say(
            "market",
            level="warning" if story.refused else "info",
            market=name,
            verdict=story.verdict,
            why=story.sentences,
        )
    for name, why in gathered.missing.items():
        before = markets.get(name, MarketState())
        markets[name] = replace(before, stale=why, since=before.since or night.text)
        stories.append(Story(name, "no data", True, (why,)))
    after = replace(state, study=plan.study.name, markets=markets)
    code = NO_DATA if gathered.missing else REFUSED if any(story.refused for story in stories) else DONE
    result = {**result_of(night.text, key, after, stories, code), "shadow_needed": plan.limits.shadow}
    if request.dry_run:
        return {**result, "dry_run": True}
    after = put_in_force(folder, after, result, every, recorder is not None)
    result = {**result, "published": dict(after.published)}
    settle(folder, after, recorder, say, request.textfile)
    return result


def _checkpointed(request: NightRequest, night: Night, told: NightData, state: MarketState, say: Log) -> dict[str, Any]:
    """What the market's checkpoint says, where it is to be resumed and rests on the same; else judged, and kept."""
    path = request.folder / "nights" / night.key / f"{sha256_of(told.market.name.encode())[:16]}.json"
    if request.resume and path.exists():
        try:
            facts = unsealed(path)
            if facts["given"] == state.digest:
                _refuse_damaged(night.models, facts)
                say("resumed", market=told.market.name)
                return facts
        except (SnapshotError, KeyError) as error:
            say("checkpoint_damaged", level="warning", market=told.market.name, reason=str(error))
    facts = judged_market(night, told, state)
    if night.keep:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, sealed(facts))
    return facts


def _refuse_damaged(models: Path, facts: Mapping[str, Any]) -> None:
    """SnapshotError where a checkpoint names a version that may come into force, and its files are damaged since."""
    standing = (facts["champion"]["name"], facts["chosen"])
    for told in (facts["champion"], *facts["candidates"]):
        if told["name"] in standing and "version" in told:
            for name in (told["version"]["model"], told["configuration"]):
                verified(models / name, name)
