"""Who is in force after tonight, who is watched, and what is the operator told?

Pure: the aliases of yesterday and what tonight says in, the aliases of tomorrow out. Nothing is written here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from data import ParameterError
from research.gates import MERIT, OVERNIGHT
from research.limits import Limits
from research.night_state import MarketState, Version
from research.nightly import new_candidates

REMEMBERED = (
    "data",
    "first",
    "rows",
    "until",
    "months",
)  # of a night's data, to see whether its past is restated later


@dataclass(frozen=True)
class Story:
    """What became of one market: its verdict, sentences for a person, and whether somebody has to look.

    `verdict` is first, recalibrated, promoted, waiting or refused; `refused` is True where what should have come into
    force, or be watched further, did not come through its gates.
    """

    market: str
    verdict: str
    refused: bool
    sentences: tuple[str, ...] = field(default=())


def decided(state: MarketState, facts: Mapping[str, Any], limits: Limits, as_of: str) -> tuple[MarketState, Story]:
    """The market after tonight.

    First the model in force: tonight's recalibration takes its place where every gate passes, waits for a person where
    one is borderline, or none refuses but those that compare with yesterday, and else what was published stays and is
    stale. Then the challenger: one that lacks merit is dropped,
    one that came through a night has it counted, and one that has its nights is promoted, or waits for a person.
    """
    seen = replace(state, candidates=(*state.candidates, *_new(state, facts)))
    if not facts["doubts"]:  # what was refused is not what a later night is held to
        seen = replace(seen, last={name: facts[name] for name in REMEMBERED if name in facts})
    after, verdict, told = _recalibrated(seen, facts["champion"], as_of)
    refused = verdict in ("waiting", "refused")
    if state.champion is not None:
        after, promotion, dropped, more = _watched(after, facts, limits, as_of)
        verdict, refused, told = promotion or verdict, refused or dropped, (*told, *more)
    return after, Story(str(facts["market"]), verdict, refused, told)


def promoted(state: MarketState, limits: Limits, *, approve: bool) -> tuple[MarketState, str]:
    """What a person's `promote` does: a version that waits comes into force, or a challenger that has its nights.

    ParameterError where there is nothing to promote, nights lack, or a borderline gate was not approved.
    """
    if state.waiting is not None:
        if not approve:
            one = state.waiting
            raise ParameterError(f"{one.name} of {one.as_of} was {one.verdict} at its gates: say --approve")
        kept = replace(state, champion=state.waiting, waiting=None, stale="", since="")
        return kept, f"{state.waiting.name} of {state.waiting.as_of} is in force, approved by a person"
    challenger = state.challenger
    if challenger is None:
        raise ParameterError("there is no challenger, and nothing waits: nothing to promote")
    if challenger.verdict == "refused":
        raise ParameterError(f"{challenger.name} did not come through its gates on {challenger.as_of}")
    if len(state.shadow) < limits.shadow:
        raise ParameterError(f"{challenger.name} was watched {len(state.shadow)} of {limits.shadow} nights")
    if challenger.verdict == "borderline" and not approve:
        raise ParameterError(f"{challenger.name} is borderline: say --approve")
    return _in_force(state, challenger), f"{challenger.name} of {challenger.as_of} is in force, promoted by a person"


def rolled_back(state: MarketState) -> tuple[MarketState, str]:
    """The model before is in force again, as it was published last; what was in force is `previous` now.

    ParameterError where there was none before.
    """
    if state.previous is None:
        raise ParameterError("no model was in force before: nothing to roll back to")
    back = state.previous
    why = f"rolled back to {back.name} of {back.as_of}"
    after = replace(state, champion=back, previous=state.champion, waiting=None, challenger=None, shadow=())
    return replace(after, stale=why, since=back.as_of), why


def _new(state: MarketState, facts: Mapping[str, Any]) -> list[str]:
    return new_candidates(state, [one["configuration"] for one in facts["candidates"]])


def _recalibrated(state: MarketState, told: Mapping[str, Any], as_of: str) -> tuple[MarketState, str, tuple[str, ...]]:
    """The market after its model's recalibration, the verdict, and why."""
    version = Version(**told["version"]) if "version" in told else None
    first = state.champion is None
    if version is not None and version.verdict == "passed":
        fresh = replace(state, champion=version, waiting=None, stale="", since="")
        return fresh, "first" if first else "recalibrated", (f"{version.name} is in force as of {as_of}",)
    why = _why(told)
    if version is not None and version.verdict == "borderline":
        told_so = f"{version.name} waits for promote --approve: {why}"
        return _stale(replace(state, waiting=version), told_so, as_of), "waiting", (told_so,)
    told_so = f"{told['name']} is refused: {why}"
    # Else nothing could ever be published again: what is in force stays, and tomorrow is further away from it.
    kept = version if version is not None and _overnight_alone(told) else None
    if kept is not None:
        told_so += "; if the market moved, and not the data, promote --approve takes it"
    return _stale(replace(state, waiting=kept), told_so, as_of), "refused", (told_so,)


def _stale(state: MarketState, why: str, as_of: str) -> MarketState:
    """What is published stays, and says since which night it is not of the newest."""
    return replace(state, stale=why, since=state.since or as_of)


def _watched(
    state: MarketState, facts: Mapping[str, Any], limits: Limits, as_of: str
) -> tuple[MarketState, str, bool, tuple[str, ...]]:
    """The market after its challenger's night, a promotion's verdict or "", whether it was refused, and why."""
    told = next((one for one in facts["candidates"] if one["name"] == facts["chosen"]), None)
    if told is None:
        gone = () if state.challenger is None else (f"{state.challenger.name} is no longer asked: dropped",)
        return replace(state, challenger=None, shadow=()), "", False, gone
    version = Version(**told["version"]) if "version" in told else None
    if version is None or version.verdict == "refused":
        return _held_back(state, told)
    counted = (*(night for night in state.shadow if night != as_of), as_of)
    after = replace(state, challenger=version, shadow=counted)
    progress = f"{version.name} watched {len(counted)} of {limits.shadow} nights"
    if len(counted) < limits.shadow:
        return after, "", False, (progress,)
    if version.verdict == "borderline":
        return after, "", True, (f"{progress}, waits for promote --approve: {_why(told)}",)
    if state.stale:
        return after, "", False, (f"{progress}; nothing is promoted on a night that was refused",)
    return _in_force(after, version), "promoted", False, (f"{progress}: promoted",)


def _held_back(state: MarketState, told: Mapping[str, Any]) -> tuple[MarketState, str, bool, tuple[str, ...]]:
    """A challenger that a gate refuses: dropped where it lacks merit, else this night does not count."""
    if state.challenger is None:
        return state, "", False, ()
    lacks = any(gate["gate"] in MERIT and gate["verdict"] == "refused" for gate in told["gates"])
    what = "dropped" if lacks else "this night does not count"
    after = replace(state, challenger=None, shadow=()) if lacks else _refused(state)
    return after, "", True, (f"challenger {told['name']} is refused, {what}: {_why(told)}",)


def _refused(state: MarketState) -> MarketState:
    assert state.challenger is not None
    return replace(state, challenger=replace(state.challenger, verdict="refused"))


def _in_force(state: MarketState, version: Version) -> MarketState:
    """A challenger takes the champion's place, which is kept as `previous`."""
    after = replace(state, champion=version, previous=state.champion, challenger=None, waiting=None, shadow=())
    return replace(after, stale="", since="")


def _overnight_alone(told: Mapping[str, Any]) -> bool:
    """Whether nothing but a comparison with yesterday refuses."""
    return all(gate["gate"] in OVERNIGHT for gate in told["gates"] if gate["verdict"] == "refused")


def _why(told: Mapping[str, Any]) -> str:
    """The sentences of the gates that did not pass, refusals first."""
    bad = [gate for verdict in ("refused", "borderline") for gate in told["gates"] if gate["verdict"] == verdict]
    return "; ".join(f"{gate['gate']}: {gate['sentence']}" for gate in bad)
