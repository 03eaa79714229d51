"""How does a decided night come into force, whole or not at all, and what follows from it?

First every file that the new state names (models are there already): the publication and its diff, the result, the
entry for MLflow. Then the state, in one rename. Then what can always be made again.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from data.code_version import told_version
from data.sealed import encoded
from data.storage import sha256_of, write_whole
from research import night_journal
from research.night_decisions import Story
from research.night_journal import Entry, Recorder, write_entry
from research.night_report import Log, publication, published_file, same_content, show, whole_publication
from research.night_state import NightState, commit, keep, sweep
from research.parameter_diff import diff
from research.parameters import MarginParameters, parse_parameters

EXPERIMENT = "nightly"


def result_of(as_of: str, key: str, state: NightState, stories: list[Story], code: int) -> dict[str, Any]:
    """What is printed and kept: the same for the same night, whenever and however often it was begun."""
    sentence = "; ".join(f"{story.market} {story.verdict}" for story in stories)
    markets = {}
    for story in stories:
        one = state.markets[story.market]
        roles = {
            "champion": one.champion,
            "challenger": one.challenger,
            "previous": one.previous,
            "waiting": one.waiting,
        }
        held = {
            role: None if v is None else {"name": v.name, "model": v.model, "as_of": v.as_of}
            for role, v in roles.items()
        }
        told = {"verdict": story.verdict, "refused": story.refused, "sentences": list(story.sentences)}
        markets[story.market] = {**told, **held, "shadow": list(one.shadow), "stale": one.stale}
    head = {"as_of": as_of, "key": key, "study": state.study, "exit": code, "sentence": sentence}
    return {**head, "markets": markets, "noop": False, "dry_run": False}


def put_in_force(
    folder: Path, state: NightState, result: dict[str, Any], every: Mapping[str, Mapping[str, Any]], record: bool
) -> NightState:
    """Write everything that the new state names, and then the state.

    `every` is what was judged, by market, and `record` whether MLflow is to be told.
    """
    state = published(folder, state, str(result["as_of"]))
    kept = {**result, "published": dict(state.published)}
    payload = encoded(kept)
    place = folder / "nights" / result["key"]
    place.mkdir(parents=True, exist_ok=True)
    write_whole(place / "result.json", payload)
    outbox = (*state.outbox, write_entry(folder, _entry(folder, state, kept, every))) if record else state.outbox
    names = ("as_of", "key", "exit", "sentence", "shadow_needed")  # the last of nights only, not of acts
    told: dict[str, Any] = {name: result[name] for name in names if name in result}
    state = state.with_night({**told, "judged": len(every), "result": sha256_of(payload)})
    return commit(folder, replace(state, outbox=outbox))


def published(folder: Path, state: NightState, night: str) -> NightState:
    """The state with a publication of its champions; the one before where nothing changed, or nothing can be said."""
    fresh, before = publication(state, night, told_version()), _newest(folder, state)
    of_tonight = any(not one.stale for one in state.markets.values())
    news = before is None or (of_tonight and before.as_of != night)
    if fresh is None or not (news or not same_content(fresh, before)):
        return state
    (folder / "published").mkdir(parents=True, exist_ok=True)
    change = diff(before, fresh).encode()
    facts = {"version": fresh.version, "hash": fresh.hash, "as_of": night, "diff": sha256_of(change)}
    made = replace(state, published=facts)
    place = published_file(folder, made)
    assert place is not None
    write_whole(place, fresh.payload())
    write_whole(place.with_suffix(".diff.txt"), change)
    return made


def _newest(folder: Path, state: NightState) -> MarginParameters | None:
    payload = whole_publication(folder, state)
    return None if payload is None else parse_parameters(payload)


def _entry(folder: Path, state: NightState, result: Mapping[str, Any], every: Mapping[str, Mapping[str, Any]]) -> Entry:
    """The night as MLflow is to be told it."""
    metrics = {
        f"{market}/{name}/{score}": value
        for market, facts in every.items()
        for name, told in facts["models"].items()
        for score, value in told.get("scores", {}).items()
    }
    story = {f"{name}.verdict": one["verdict"] for name, one in result["markets"].items()}
    why = {f"{name}.why": "; ".join(one["sentences"]) or "none" for name, one in result["markets"].items()}
    tags = {
        "sentence": result["sentence"],
        "exit": str(result["exit"]),
        **story,
        **why,
        "commit": str(state.number + 1),
    }
    place = published_file(folder, state)
    files = {"result.json": f"nights/{result['key']}/result.json"}
    if place is not None:
        files |= {"margin_parameters.json": f"published/{place.name}"}
        files |= {"margin_parameters.diff.txt": f"published/{place.with_suffix('.diff.txt').name}"}
    parameters = {"as_of": result["as_of"], "key": result["key"], "code": told_version(), "study": state.study}
    parameters |= {f"{name}.data": facts["data"] for name, facts in every.items()}
    # What is seen first in a list of runs: which night, and what it came to; a page of the run opens on its reasons.
    verdicts = ", ".join(dict.fromkeys(str(one["verdict"]) for one in result["markets"].values()))
    name = f"{result['as_of']} {verdicts}, {state.study}"
    metrics |= {"exit": float(result["exit"]), "version": float(state.published.get("version", 0))}
    tags["mlflow.note.content"] = _note(state, result)
    return Entry(EXPERIMENT, name, parameters, metrics, tags, files, *aliases_of(state))


def _note(state: NightState, result: Mapping[str, Any]) -> str:
    """A night's description: exit code, publication, and by market what became of it and why."""
    lines = [f"{result['as_of']} ended with {result['exit']}; parameters: version {state.published.get('version', 0)}."]
    for market, told in result["markets"].items():
        lines.append(f"\n**{escape(market)}**: {told['verdict']}\n")
        lines += [f"- {escape(sentence)}" for sentence in told["sentences"]]
    return "\n".join(lines)


def aliases_of(state: NightState) -> tuple[tuple[tuple[str, str], ...], dict[str, dict[str, str]]]:
    """Versions to be registered, and what the aliases of each market mean."""
    models: dict[tuple[str, str], None] = {}
    aliases = {}
    for market, one in sorted(state.markets.items()):
        name = f"{state.study}.{market}"
        roles = {"champion": one.champion, "challenger": one.challenger, "previous": one.previous}
        models |= {(name, version.model): None for version in roles.values() if version is not None}
        aliases[name] = {role: "" if version is None else version.model for role, version in roles.items()}
    return tuple(models), aliases


def stored(folder: Path, key: str, night: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a night that is done; what the state says of it where its file is damaged."""
    try:
        payload = (folder / "nights" / key / "result.json").read_bytes()
    except OSError:
        payload = b""
    if sha256_of(payload) != night["result"]:
        return {name: night[name] for name in ("as_of", "key", "sentence")}
    return dict(json.loads(payload))


def settle(
    folder: Path, state: NightState, recorder: Recorder | None, say: Log, textfile: Path | None = None
) -> NightState:
    """Bring up what follows from a state: leftovers swept, copies, metrics, and MLflow told; the state that is left.

    A publication that is damaged past its copy is published anew from the state, as another version.
    """
    left = sweep(folder, state)
    if left:
        say("swept", level="warning", files=left[:20], count=len(left))
    if state.published and whole_publication(folder, state) is None:
        say("publication_damaged", level="error", version=state.published["version"])
        state = commit(folder, published(folder, state, str(state.published["as_of"])))
    if state.number:
        keep(folder, state)
        show(folder, state, textfile)
    if recorder is not None and state.outbox:
        state = night_journal.told(folder, state, recorder, say)
        show(folder, state, textfile)
    return state
