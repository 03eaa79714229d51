"""What does a person who was woken need to read first?

What is in force, whether it is of the newest night, what waits for whom, and the newest nights with their reasons.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from research.night_commit import stored
from research.night_report import DONE, NO_DATA, REFUSED
from research.night_state import MarketState, NightState, Version

MEANING = {
    DONE: "done; there is nothing to do",
    NO_DATA: "data stale or missing: once it is there, run the same night again",
    REFUSED: "a gate refused, or a person must approve; the champion is kept, and nothing has to be done tonight",
}
_GATES = {"passed": "passed its gates", "borderline": "borderline in its gates", "refused": "refused by its gates"}
_WIDE = 160  # characters of a reason among the newest nights: `nights/<key>/result.json` has all of it


def status_text(state: NightState, folder: Path, nights: int = 10) -> str:
    """The state in force and the newest nights; `folder` has their results."""
    if not state.nights:
        return "no night yet"
    return "\n".join([*_head(state), *_markets(state), *_newest(state, folder, nights)])


def _head(state: NightState) -> Iterator[str]:
    newest, code = state.nights[-1], int(state.nights[-1]["exit"])
    yield f"{state.study}: night of {newest['as_of']}, exit {code}: {MEANING.get(code, 'see the runbook')}"
    if state.published:
        told, stale = state.published, ", ".join(state.stale)
        age = f"NOT of the newest night in {stale}" if stale else "of the newest night"
        yield f"parameters: version {told['version']} as of {told['as_of']}, {told['hash'][:12]}, {age}"
    if state.outbox:
        yield f"MLflow: still to be told of {len(state.outbox)}, by the next night or by marginlab recover"


def _markets(state: NightState) -> Iterator[str]:
    needed = _shadow_needed(state)
    for name, one in sorted(state.markets.items()):
        yield ""
        yield f"{name}: " + (f"STALE since {one.since}" if one.stale else "current")
        if one.stale:
            yield f"  why: {one.stale}"
        yield from _roles(one, needed)
        if _for_a_person(one, needed):
            yield "  a person decides, by day: marginlab promote --study STUDY --approve"


def _shadow_needed(state: NightState) -> int | None:
    """Nights that a challenger must be watched, as the newest night had it; None where none says."""
    told = (night["shadow_needed"] for night in reversed(state.nights) if "shadow_needed" in night)
    return next(told, None)


def _roles(one: MarketState, needed: int | None) -> Iterator[str]:
    if one.champion is None:
        yield "  nothing in force"
    for role in ("champion", "challenger", "waiting", "previous"):
        version: Version | None = getattr(one, role)
        if version is not None:
            told = f", {_watched(one, needed)}, {_GATES[version.verdict]}" if role == "challenger" else ""
            yield f"  {role} {version.name} ({version.model[:12]}) as of {version.as_of}{told}"


def _watched(one: MarketState, needed: int | None) -> str:
    return f"watched {len(one.shadow)} nights" if needed is None else f"watched {len(one.shadow)} of {needed} nights"


def _for_a_person(one: MarketState, needed: int | None) -> bool:
    """Whether `promote --approve` would take something now: a challenger has its nights first."""
    if one.waiting is not None:
        return True
    borderline = one.challenger is not None and one.challenger.verdict == "borderline"
    return borderline and needed is not None and len(one.shadow) >= needed


def _newest(state: NightState, folder: Path, nights: int) -> Iterator[str]:
    """A line a night: what it came to, what was in force after it, and where it did not go through, why."""
    results = [stored(folder, str(night["key"]), night) | {"exit": night["exit"]} for night in state.nights[-nights:]]
    rows = [("night", "exit", "version", "in force", "what happened"), *(_row(one) for one in results)]
    wide = [max(len(row[n]) for row in rows) for n in range(4)]
    yield ""
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, wide, strict=False)), row[-1]]).rstrip()


def _row(result: Mapping[str, Any]) -> tuple[str, ...]:
    markets = result.get("markets", {})
    version = str((result.get("published") or {}).get("version", "-"))
    names = [one["champion"]["name"] if one["champion"] else "nothing" for one in markets.values()]
    said = result["sentence"]
    if result["exit"]:
        said += ": " + "; ".join(sentence for one in markets.values() for sentence in one["sentences"])
    told = said if len(said) <= _WIDE else said[: _WIDE - 3].rstrip() + "..."
    return str(result["as_of"]), str(result["exit"]), version, " | ".join(names) or "-", told
