"""Does every line of a CSV file have as many fields as its header?"""

import csv
import gzip
from pathlib import Path
from typing import Any

import pandas as pd

from data.errors import DataError

SHOWN = 80  # characters of a faulty line
SEMICOLONS = "; separated by semicolons? commas are expected"


def read_rows(path: str | Path, **options: Any) -> pd.DataFrame:
    """A CSV file as `pandas.read_csv` reads it with `options`; no line may have more fields than the header.

    pandas would take the surplus of the first line for row names, and so put every figure under the wrong column.

    Raises
    ------
    DataError
        If a line has a field too many; says which and what it holds.
    OSError, UnicodeDecodeError, pandas.errors.ParserError, pandas.errors.EmptyDataError
        As pandas does.
    """
    try:
        frame: pd.DataFrame = pd.read_csv(path, **options)
    except pd.errors.ParserError as error:
        told = _surplus(Path(path))
        if told:
            raise DataError(f"{Path(path).name}: {told}") from error
        raise
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    told = _surplus(Path(path)) or "line 2: more fields than the header has"
    raise DataError(f"{Path(path).name}: {told}")


def semicolons(columns: pd.Index) -> str:
    """The question to ask where the names of columns hold semicolons, "" where they do not."""
    return SEMICOLONS if any(";" in str(column) for column in columns) else ""


def _surplus(path: Path) -> str:
    """What is wrong with the first line that has a field too many, "" where none is found."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", errors="replace", newline="")
        ) as file:
            rows = csv.reader(file)
            header = next(row for row in rows if row)
            for row in rows:
                if len(row) > len(header):
                    line = ",".join(row)
                    got = line if len(line) <= SHOWN else f"{line[:SHOWN]}..."
                    asked = f"{len(header)} fields, as the header has, are expected, got {len(row)}: {got!r}"
                    return f"line {rows.line_num}: {asked}{semicolons(pd.Index(header))}"
    except (OSError, EOFError, StopIteration, csv.Error):
        return ""
    return ""
