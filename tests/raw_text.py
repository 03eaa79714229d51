"""How do made-up files of venues come on disk, and what was read of them?"""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data.records import Records
from data.sources.recognise import read_records, recognise

SHARED = Path(__file__).parents[2] / "shared" / "data"


def put(folder: Path, name: str, *lines: str) -> Path:
    """A file of lines: plain, in a zip or in gzip by its suffix."""
    path, text = folder / name, "".join(line + "\n" for line in lines)
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name.removesuffix(".zip"), text)
    else:
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def put_json(folder: Path, name: str, *documents: Any) -> Path:
    """A file of one document, or of a document a line."""
    return put(folder, name, *(json.dumps(document) for document in documents))


def read(path: Path) -> Records:
    """What a file of one symbol, one batch, holds."""
    (records,) = read_records(path)
    return records


def layout(path: Path) -> str:
    """The name of what a file is recognised as."""
    return recognise(path).layout.name


def said(records: Records, *names: str) -> list[tuple[Any, ...]]:
    """Rows of some columns as plain values; instants as text to the microsecond."""
    columns = [
        np.datetime_as_string(values, unit="us") if values.dtype.kind == "M" else values
        for values in (records[name] for name in names)
    ]
    return [*zip(*(column.tolist() for column in columns), strict=True)]
