"""In what do two record sets differ?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.catalog import read_records, record_set
from data.record_set import RecordSet
from data.records import Records, Values


@dataclass(frozen=True)
class Difference:
    """What one of two record sets has and the other has not.

    Parameters
    ----------
    sets : the two.
    facts : facts that differ (kind, venue, symbol, columns, rows), with what either says.
    sources, findings : those of the first alone, and those of the second alone.
    first : where the rows begin to differ, "" where they agree.
    """

    sets: tuple[RecordSet, RecordSet]
    facts: Mapping[str, tuple[Any, Any]]
    sources: tuple[tuple[Any, ...], tuple[Any, ...]]
    findings: tuple[tuple[Any, ...], tuple[Any, ...]]
    first: str

    def __bool__(self) -> bool:
        return bool(self.facts or any(self.sources) or any(self.findings) or self.first)

    def __repr__(self) -> str:
        lines = [f"{what}: {one} | {other}" for what, (one, other) in self.facts.items()]
        for what, pair in (("source", self.sources), ("finding", self.findings)):
            for sign, told in zip("-+", pair, strict=True):
                lines += [f"{sign} {what} {one}" for one in told]
        lines += [f"rows differ from {self.first}"] if self.first else []
        return "\n".join(["{!r}\n{!r}".format(*self.sets), *(lines or ["no difference"])])


def diff(one: str, other: str, store: Path) -> Difference:
    """What is in one record set (a name, or how a hash begins) and not in the other; SnapshotError as `read_records`.

    The rows are only read where their hashes differ, and only up to the first that does.
    """
    left, right = record_set(one, store), record_set(other, store)
    told = ("kind", "venue", "symbol", "columns", "rows")
    facts = {name: (getattr(left, name), getattr(right, name)) for name in told}
    facts = {name: pair for name, pair in facts.items() if pair[0] != pair[1]}
    comparable = left.kind == right.kind and left.content != right.content
    return Difference(
        (left, right),
        facts,
        _apart(left.sources, right.sources),
        _apart(left.findings, right.findings),
        _first(left, right, store) if comparable else "",
    )


def _apart(left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return tuple(x for x in left if x not in right), tuple(x for x in right if x not in left)


def _first(left: RecordSet, right: RecordSet, store: Path) -> str:
    shared = [name for name in left.columns if name in right.columns]
    at = 0
    for one, other in _in_step(read_records(left.hash, store), read_records(right.hash, store)):
        differing = [_unequal(one[name], other[name]) for name in shared]
        places = [int(wrong.argmax()) for wrong in differing if wrong.any()]
        if places:
            place = min(places)
            name = next(name for name, wrong in zip(shared, differing, strict=True) if wrong[place])
            told = f"{name} {one[name][place]} | {other[name][place]}"
            return f"row {at + place + 1} ({one['time'][place]}): {told}"
        at += len(one)
    if left.rows == right.rows:
        return ""
    longer = "first" if left.rows > right.rows else "second"
    return f"row {at + 1}: the {longer} has {abs(left.rows - right.rows)} rows more"


def _in_step(left: Iterator[Records], right: Iterator[Records]) -> Iterator[tuple[Records, Records]]:
    """Batches of the same rows of both, until either ends."""
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        size = min(len(one), len(other))
        yield one.where(slice(0, size)), other.where(slice(0, size))
        one = one.where(slice(size, None)) if len(one) > size else next(left, None)
        other = other.where(slice(size, None)) if len(other) > size else next(right, None)


def _unequal(one: Values, other: Values) -> np.ndarray[Any, np.dtype[np.bool_]]:
    both_unknown = np.zeros(len(one), dtype=bool)
    if one.dtype.kind in "fM":
        both_unknown = np.asarray(np.isnan(one) & np.isnan(other)) if one.dtype.kind == "f" else _nat(one, other)
    return np.asarray(one != other) & ~both_unknown


def _nat(one: Values, other: Values) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(np.isnat(one) & np.isnat(other))
