"""What happened in each rehearsed night, in a table that is read in one look?"""

from collections.abc import Iterator
from typing import Any

from research.rehearsal import Rehearsal, RehearsedNight

COLUMNS = ("night", "planted", "exit", "market", "verdict", "in force", "watched", "version", "what the gates said")
_SAID = 100  # characters of the last column: the whole sentence is in the night's result.json


def rows_of(one: RehearsedNight) -> Iterator[tuple[str, ...]]:
    """A row a market: as COLUMNS."""
    result = one.result
    version = str((result.get("published") or {}).get("version", "-"))
    for market, told in result["markets"].items():
        verdict, champion, challenger = told["verdict"], told["champion"], told["challenger"]
        held = champion["name"] if champion else "nothing"
        watched = f"{challenger['name']}, {len(told['shadow'])} nights" if challenger else "-"
        said = "; ".join(told["sentences"]) if result["exit"] else _promotion(told)
        yield (one.day, one.planted, str(result["exit"]), market, verdict, held, watched, version, _shortened(said))


def line(one: RehearsedNight) -> str:
    """A night as soon as it is done."""
    return "; ".join("  ".join(cell for cell in row if cell) for row in rows_of(one))


def table(rehearsal: Rehearsal) -> str:
    """All nights, and what they come to."""
    rows = [COLUMNS, *(row for one in rehearsal.nights for row in rows_of(one))]
    wide = [max(len(row[n]) for row in rows) for n in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", summary(rehearsal)])


def summary(rehearsal: Rehearsal) -> str:
    """Counts, in sentences."""
    verdicts = [told["verdict"] for one in rehearsal.nights for told in one.result["markets"].values()]
    names = {
        "first": "first",
        "recalibrated": "recalibrated",
        "promoted": "promoted",
        "waiting": "left to a person",
        "refused": "refused",
    }
    counts = ", ".join(f"{verdicts.count(name)} {said}" for name, said in names.items() if name in verdicts)
    caught = f"{rehearsal.caught} of {rehearsal.planted} planted nights refused, what was published untouched"
    return f"{len(rehearsal.nights)} nights: {counts}\n{caught}\nmarginlab status --state {rehearsal.folder}"


def told(rehearsal: Rehearsal) -> dict[str, Any]:
    """The same as plain data."""
    nights = [
        {"night": one.day, "planted": one.planted, "caught": one.caught, "result": one.result}
        for one in rehearsal.nights
    ]
    counts = {"planted": rehearsal.planted, "caught": rehearsal.caught}
    return {"exit": rehearsal.exit, "folder": str(rehearsal.folder), **counts, "nights": nights}


def _promotion(one: dict[str, Any]) -> str:
    """What is worth saying of a night in which nobody has to look."""
    return "; ".join(one["sentences"][1:]) if one["verdict"] in ("promoted", "first") else ""


def _shortened(said: str) -> str:
    return said if len(said) <= _SAID else said[: _SAID - 3].rstrip() + "..."
