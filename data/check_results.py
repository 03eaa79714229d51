"""What did a check find in a file, what was changed for it, and how is that undone?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.arrays import Bools
from data.records import Kind, Records, Values

Outcome = Literal["accept", "repair", "quarantine"]
RUNS = 100  # runs of rows that a result names; the count is of all


@dataclass(frozen=True)
class Check:
    """A rule with a name, and what becomes of a row that breaks it: noted, repaired or set aside."""

    name: str
    rule: str
    outcome: Outcome

    @property
    def named(self) -> tuple[str, str]:
        """Name and outcome."""
        return self.name, self.outcome


@dataclass(frozen=True)
class Rule:
    """A check: which kinds it is asked of, and the rows that it strikes, (R,)."""

    check: Check
    kinds: tuple[Kind, ...]
    strikes: Callable[[Records], Bools]


@dataclass(frozen=True)
class CheckResult:
    """How often a check struck in one file, and where.

    Parameters
    ----------
    count : rows struck, all of them.
    runs : first and last row of each of the first `RUNS` runs of neighbouring rows, numbered as in the file from 1.
    first : what the first of them says.
    """

    check: Check
    count: int
    runs: tuple[tuple[int, int], ...]
    first: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        told = {"check": self.check.name, "outcome": self.check.outcome, "rule": self.check.rule}
        return {**told, "count": self.count, "rows": [list(run) for run in self.runs], "first": self.first}


@dataclass(frozen=True, eq=False)
class Repair:
    """What a check changed: (R,) rows of the file, and what one column said there before and after.

    A repair of the order names no column and no rows: their own numbers tell how all of them stood.
    """

    check: Check
    column: str
    row: NDArray[np.int64]
    before: Values
    after: Values

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it; instants in ns since 1970."""
        whole = {"check": self.check.name, "column": self.column, "rows": [list(run) for run in runs(self.row)]}
        return {**whole, "before": _plain(self.before), "after": _plain(self.after)}


def undo(records: Records, repairs: Iterable[Repair]) -> Records:
    """The rows as the file had them: every repaired figure and the order of the file restored.

    Rows that were quarantined after a repair are not there to be restored, and stay away.
    """
    inverse = np.argsort(records.row, kind="stable")
    restored = records.where(inverse)
    columns = {name: values.copy() for name, values in restored.columns.items()}
    for repair in reversed([*repairs]):
        if repair.column:
            here = np.isin(repair.row, restored.row)
            columns[repair.column][np.searchsorted(restored.row, repair.row[here])] = repair.before[here]
    return Records(records.kind, records.venue, records.symbol, columns, restored.row)


def runs(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Row numbers as runs of neighbours, first and last.

    >>> runs(np.array([7, 1, 2, 3]))
    [(1, 3), (7, 7)]
    """
    told = np.unique(rows)
    if not told.size:
        return []
    breaks = np.flatnonzero(np.diff(told) > 1)
    return [*zip(told[[0, *(breaks + 1)]].tolist(), told[[*breaks, -1]].tolist(), strict=True)]


@dataclass
class Ledger:
    """All that the checks find in one file, as its batches pass: results by check, and repairs.

    It is complete when the last batch has passed.
    """

    repairs: list[Repair] = field(default_factory=list)
    rows: int = 0
    accepted: int = 0
    quarantined: int = 0
    _found: dict[Check, CheckResult] = field(default_factory=dict)

    def strike(self, check: Check, records: Records, struck: Bools) -> None:
        """Note the rows that a check struck."""
        if not struck.any():
            return
        before = self._found.get(check)
        kept = before.runs if before else ()
        if len(kept) < RUNS:
            kept = tuple(_touching([*kept, *runs(records.row[struck])])[:RUNS])
        first = before.first if before else _shown(records, int(struck.argmax()))
        self._found[check] = CheckResult(check, int(struck.sum()) + (before.count if before else 0), kept, first)

    def set_aside(self, check: Check, records: Records, struck: Bools, away: list[tuple[Check, Records]]) -> Records:
        """Note the rows that a check struck and move them to `away`; the records that are left."""
        if not struck.any():
            return records
        self.strike(check, records, struck)
        away.append((check, records.where(struck)))
        return records.where(~struck)

    def repaired(self, repair: Repair) -> None:
        """Keep a repair, so that it can be undone; of the order once, however many batches it was made in."""
        if repair.column or not any(one.check == repair.check for one in self.repairs):
            self.repairs.append(repair)

    def results(self) -> list[CheckResult]:
        """What struck, the gravest first."""
        gravity = ("quarantine", "repair", "accept")
        return sorted(self._found.values(), key=lambda one: gravity.index(one.check.outcome))


def _touching(told: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs with those that touch made one."""
    out: list[tuple[int, int]] = []
    for first, last in told:
        if out and out[-1][1] + 1 == first:
            out[-1] = (out[-1][0], last)
        else:
            out.append((first, last))
    return out


def _shown(records: Records, at: int) -> str:
    told = {name: values[at] for name, values in records.columns.items()}
    return ", ".join(f"{name} {str(value)[:29]}" for name, value in [*told.items()][:8])


def _plain(values: Values) -> list[Any]:
    plain = values.view(np.int64) if values.dtype.kind == "M" else values
    return list(plain.tolist())
