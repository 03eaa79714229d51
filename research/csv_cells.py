"""How is a table written so that a spreadsheet that opens it runs nothing, and numbers stay numbers?

A text that a spreadsheet would take for a formula is led by an apostrophe (OWASP, "CSV Injection").
"""

import csv
import io
from collections.abc import Iterable
from typing import Any

import pandas as pd

from research.figures import writable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff0b", "\uff0d", "\uff1d", "\uff20")  # and their full-width forms


def cell(value: Any) -> Any:
    """A value as it may stand in a file: text on one line and no formula, whole numbers whole, None and NaN blank.

    >>> cell("=1+1"), cell(" @a"), cell(-0.5), cell(3.0), cell(None)
    ("'=1+1", "'@a", '-0.5', 3, '')
    """
    if isinstance(value, str):
        line = " ".join(writable(value).split())
        return f"'{line}" if value.startswith(FORMULA) or line.startswith(FORMULA) else line
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else repr(float(value))
    return value


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV, the first being the headings."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)
    return table.getvalue()


def frame_csv(table: pd.DataFrame) -> str:
    """A frame as CSV, its index first."""
    whole = table.reset_index()
    return csv_text([whole.columns.tolist(), *whole.astype(object).to_numpy().tolist()])
