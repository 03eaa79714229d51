"""What may a person, or a restart, do to what is in force: make good, promote, roll back?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from data import ParameterError
from data.sealed import encoded
from data.storage import sha256_of
from research.limits import Limits
from research.model_files import verified
from research.night_commit import put_in_force, result_of, settle, stored
from research.night_decisions import Story, promoted, rolled_back
from research.night_journal import Recorder
from research.night_report import BUG, DONE, Log, alone, damage, status_of
from research.night_state import RECOVER, MarketState, NightState, read_state, rescued


def recover(folder: Path, recorder: Recorder | None, say: Log) -> dict[str, Any]:
    """Make good what a dead night left: a damaged state, missing copies, entries that were not told.

    `healed` says what was, `damaged` what only a copy of the folder can mend. SnapshotError where no state is whole.
    """
    with alone(folder, say):
        state, fault = rescued(folder)
        if fault:
            say("state_rescued", level="warning", reason=fault)
        before = damage(folder, state)
        state = settle(folder, state, recorder, say)
        left = damage(folder, state)
    healed = [sentence.removesuffix(f": {RECOVER}") for sentence in before if sentence not in left]
    told = {"rescued": fault, "healed": healed, "damaged": left, "waiting": len(state.outbox)}
    return {**told, "exit": BUG if left else DONE, **status_of(state)}


def act(
    folder: Path,
    change: Callable[[MarketState], tuple[MarketState, str]],
    market: str | None,
    what: str,
    recorder: Recorder | None,
    say: Log,
) -> dict[str, Any]:
    """An act of a person on one market (the only one where None): decided, published and recorded like a night.

    SnapshotError where the files of what would come into force are damaged; what is in force stays.
    """
    with alone(folder, say):
        state = settle(folder, read_state(folder), recorder, say)
        name = _market(state, market)
        try:
            after, sentence = change(state.markets[name])
        except ParameterError:
            if not _just_done(state, name, what):
                raise
            return _done_before(folder, state, name)
        if after.champion is not None:  # what was kept for a while may be damaged since
            for model in (after.champion.model, after.champion.configuration):
                verified(folder / "models" / model, model)
        night = str(state.nights[-1]["as_of"])
        told = replace(state, markets={**state.markets, name: after})
        key = sha256_of(
            encoded({"act": what, "market": name, "commit": state.number + 1, "before": state.markets[name].digest})
        )
        result = result_of(night, key, told, [Story(name, what, False, (sentence,))], DONE)
        made = put_in_force(folder, told, result, {}, recorder is not None)
        settle(folder, made, recorder, say)
        say(what, market=name, sentence=sentence)
    return {**result, "published": dict(made.published)}


def _just_done(state: NightState, market: str, what: str) -> bool:
    """Whether the very same act is the newest that happened: it was killed before it could say so, say."""
    newest = state.nights[-1]
    return newest["sentence"] == f"{market} {what}" and not newest["judged"]


def _done_before(folder: Path, state: NightState, market: str) -> dict[str, Any]:
    newest, champion = state.nights[-1], state.markets[market].champion
    told = f"{champion.name} of {champion.as_of}" if champion is not None else "nothing"
    result = stored(folder, str(newest["key"]), newest)
    return {**result, "sentence": f"{market}: {told} is already in force", "noop": True, "exit": DONE}


def _market(state: NightState, market: str | None) -> str:
    if not state.nights:
        raise ParameterError("no night yet: nothing to act on")
    if market is None and len(state.markets) == 1:
        return next(iter(state.markets))
    if market is None or market not in state.markets:
        raise ParameterError(f"--market must be one of {', '.join(state.markets)}, got {market!r}")
    return market


def promote(
    folder: Path, market: str | None, recorder: Recorder | None, say: Log, *, approve: bool, limits: Limits
) -> dict[str, Any]:
    """What waits, or the challenger, comes into force; ParameterError as `night_decisions.promoted`."""
    return act(folder, lambda one: promoted(one, limits, approve=approve), market, "promoted", recorder, say)


def rollback(folder: Path, market: str | None, recorder: Recorder | None, say: Log) -> dict[str, Any]:
    """The model before is in force again; ParameterError as `night_decisions.rolled_back`."""
    return act(folder, rolled_back, market, "rolled back", recorder, say)
