"""What was fetched, what was here already, what is not published, and what failed and why?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.fetch.outcome import Outcome, State
from data.fetch.plan import Wanted

REASONS_SHOWN = 10  # the JSON has all


def counted(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many files ended in each way, by the words of State."""
    return {state.value: sum(one.state is state for one in outcomes) for state in State}


def table(outcomes: Sequence[Outcome]) -> str:
    """A line a group, columns aligned, and below it what else must be known."""
    groups = list(dict.fromkeys(one.group for one in outcomes))
    heads = ("", *(state.value for state in State), "MB")
    lines = [heads, *(_line(group, [one for one in outcomes if one.group == group]) for group in groups)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    text = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([*text, *_absent(outcomes), *_reasons(outcomes)])


def document(outcomes: Sequence[Outcome], folder: Path) -> dict[str, Any]:
    """The same for a machine: the folder, counts, and every file."""
    files = [
        {
            "group": one.group,
            "period": one.period,
            "file": one.file,
            "state": one.state.value,
            "bytes": one.size,
            "why": one.why,
        }
        for one in outcomes
    ]
    return {"folder": str(folder), **counted(outcomes), "files": files}


def tell(outcomes: Sequence[Outcome], folder: Path, as_json: bool) -> int:
    """Print it; the exit code, 1 where something failed."""
    print(json.dumps(document(outcomes, folder), indent=1) if as_json else table(outcomes), flush=True)
    return int(any(one.state is State.FAILED for one in outcomes))


def tell_plan(files: Sequence[Wanted], base: str, as_json: bool) -> None:
    """Print the addresses that would be asked for; those of days that stand in for a month in brackets."""
    if as_json:
        print(
            json.dumps(
                [{"url": base + one.path, "instead": [base + day.path for day in one.instead]} for one in files],
                indent=1,
            )
        )
        return
    for one in files:
        stand_in = f"  (or {len(one.instead)} days, where the month is not published yet)" if one.instead else ""
        print(base + one.path + stand_in)


def superseded(outcomes: Sequence[Outcome], folder: Path) -> list[str]:
    """Files of days that lie beside the file of their whole month, by names below the folder."""
    found: list[str] = []
    for one in outcomes:
        if "/monthly/" in one.file and one.state in (State.FETCHED, State.HERE):
            place = folder / one.file.replace("/monthly/", "/daily/")
            found += [str(day.relative_to(folder)) for day in sorted(place.parent.glob(f"{place.stem}-??.zip"))]
    return found


def _line(group: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    megabytes = sum(one.size for one in outcomes) / 1e6
    return (group, *(str(count) for count in counted(outcomes).values()), f"{megabytes:.1f}")


def _absent(outcomes: Sequence[Outcome]) -> list[str]:
    """Which periods have no file, a line a group."""
    found: dict[str, list[str]] = {}
    for one in outcomes:
        if one.state is State.ABSENT:
            found.setdefault(one.group, []).append(one.period)
    return [f"not published: {group}, {_periods(periods)}" for group, periods in found.items()]


def _periods(periods: Sequence[str]) -> str:
    return ", ".join(periods) if len(periods) < 4 else f"{len(periods)} files between {min(periods)} and {max(periods)}"


def _reasons(outcomes: Sequence[Outcome]) -> list[str]:
    said = [f"{one.state.value}: {one.file}: {one.why}" for one in outcomes if one.why]
    more = len(said) - REASONS_SHOWN
    return [*said[:REASONS_SHOWN], f"and {more} more, all in --json"] if more > 0 else said
