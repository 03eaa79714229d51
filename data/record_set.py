"""What is known of a set of rows, and is it what its name says?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from data.errors import SnapshotError
from data.record_files import Part
from data.records import KINDS
from data.sealed import encoded, unsealed
from data.storage import sha256_of

FORMAT = 1  # of the hash and of the files; a change of either is another number
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class RecordSet:
    """What a manifest says of its rows.

    Parameters
    ----------
    hash : its name: rows, sources and findings.
    kind, venue, symbol, columns : what the rows are.
    rows : how many.
    first, last : the earliest and the latest instant, in UTC.
    content : hash of the rows alone: two sets that share it hold the same.
    places : hash of the rows' numbers in their files.
    sources : a dict a file it was made of: name, sha256, size, layout.
    findings : what the checks found, as JSON can hold it.
    code : the version that wrote it.
    parts : its files.
    fault : why a damaged one cannot be read, "" otherwise.
    """

    hash: str
    kind: str = ""
    venue: str = ""
    symbol: str = ""
    columns: tuple[str, ...] = ()
    rows: int = 0
    first: str = ""
    last: str = ""
    content: str = ""
    places: str = ""
    sources: tuple[Mapping[str, Any], ...] = ()
    findings: tuple[Any, ...] = ()
    code: str = ""
    parts: tuple[Part, ...] = ()
    fault: str = ""

    def __repr__(self) -> str:
        if self.fault:
            return f"RecordSet({self.hash[:12]}: {self.fault})"
        span = f"{self.first[:16]}..{self.last[:16]} UTC"
        return f"RecordSet({self.hash[:12]}: {self.rows:,} {self.kind} of {self.venue} {self.symbol}, {span})"


def opened(name: str, folder: Path) -> RecordSet:
    """The set of this hash in a folder of sets; SnapshotError unless its manifest is the one that was written.

    The hash is over all but `code` and `parts`, which the manifest's seal holds.
    """
    path = folder / name / MANIFEST
    facts = unsealed(path)
    made = {key: facts.pop(key, None) for key in ("hash", "code", "parts")}
    if sha256_of(encoded(facts)) != name or made["hash"] != name:
        raise SnapshotError(f"{path} must be the manifest of {name}, got that of {made['hash']}")
    try:
        if facts.pop("format") != FORMAT or facts["kind"] not in KINDS:
            raise ValueError(f"expected {facts['kind']!r} of format {FORMAT}")
        parts = tuple(_part(**part) for part in made["parts"])
        if sum(part.rows for part in parts) != facts["rows"]:
            raise ValueError(f"expected parts with {facts['rows']} rows together")
        facts |= {key: tuple(facts[key]) for key in ("columns", "sources", "findings")}
        return RecordSet(hash=name, **facts, code=str(made["code"]), parts=parts)
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"{path} is no manifest of records: {error}") from error


def _part(**told: Any) -> Part:
    part = Part(**told)
    datetime.strptime(part.month, "%Y-%m")  # becomes part of a path
    if type(part.number) is not int:
        raise ValueError(f"expected the number of a part, got {part.number!r}")
    return part
