"""What became of each file that was brought: what was it, what was kept, and what was not, and why?"""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data.check_results import CheckResult

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("file", "layout", "kind", "venue", "symbol", "rows", "accepted", "repaired", "quarantined", "first", "last")


@dataclass(frozen=True)
class FileReport:
    """One symbol of one file.

    Parameters
    ----------
    file, sha256 : its name and what is in it.
    layout, kind, venue, symbol : what it was recognised as.
    rows, accepted, repaired, quarantined : how many; the repaired are among the accepted.
    first, last : instants of the accepted rows, UTC.
    results : what each check found.
    record_set : where the accepted rows are kept, "" where they are not.
    quarantine : the file of those set aside, in the store, "" where there is none.
    refused : why nothing of the file was taken, "" where something was.
    verified : whether a checksum beside the file said the same.
    """

    file: str
    sha256: str = ""
    layout: str = ""
    kind: str = ""
    venue: str = ""
    symbol: str = ""
    rows: int = 0
    accepted: int = 0
    repaired: int = 0
    quarantined: int = 0
    first: str = ""
    last: str = ""
    results: tuple[CheckResult, ...] = ()
    record_set: str = ""
    quarantine: str = ""
    refused: str = ""
    verified: bool = False

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {**vars(self), "results": [result.to_dict() for result in self.results]}


@dataclass(frozen=True)
class ImportReport:
    """What became of files, one entry a file and symbol."""

    files: Sequence[FileReport]

    @property
    def exit_code(self) -> int:
        """2 where a file was refused, 1 where rows were quarantined, else 0."""
        if any(file.refused for file in self.files) or not self.files:
            return 2
        return int(any(file.quarantined for file in self.files))

    def to_frame(self) -> "pd.DataFrame":
        """A row a file and symbol."""
        import pandas as pd

        told = [[*(getattr(file, name) for name in _COLUMNS), file.record_set, file.refused] for file in self.files]
        return pd.DataFrame(told, columns=[*_COLUMNS, "record_set", "refused"])

    def checks(self) -> "pd.DataFrame":
        """A row a check that struck, file by file."""
        import pandas as pd

        names = ["file", "symbol", "check", "outcome", "count", "rows", "rule", "first"]
        told = [
            [
                file.file,
                file.symbol,
                one.check.name,
                one.check.outcome,
                one.count,
                _runs(one),
                one.check.rule,
                one.first,
            ]
            for file in self.files
            for one in file.results
        ]
        return pd.DataFrame(told, columns=names)

    def to_json(self) -> str:
        """All of it."""
        told = {"exit_code": self.exit_code, "files": [file.to_dict() for file in self.files]}
        return json.dumps(told, indent=1, allow_nan=False)

    def __repr__(self) -> str:
        """The files, and what struck."""
        lines = [self.to_frame().to_string(index=False, max_colwidth=40) if self.files else "no file was brought"]
        lines += [f"{file.file}: refused: {file.refused}" for file in self.files if file.refused]
        checks = self.checks()
        if len(checks):
            lines += ["", checks.drop(columns="first").to_string(index=False)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        tables = [self.to_frame().to_html(index=False), self.checks().to_html(index=False)]
        title = f"{len(self.files)} files, {sum(file.accepted for file in self.files):,} rows accepted"
        return f"<p>{html.escape(title)}</p>" + "".join(tables)


def _runs(result: CheckResult) -> str:
    """A few of the runs of rows, as "3-7, 12 and more"."""
    told = [str(first) if first == last else f"{first}-{last}" for first, last in result.runs[:4]]
    return ", ".join(told) + (" and more" if len(result.runs) > 4 else "")
