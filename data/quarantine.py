"""Where are rows kept that no margin may rest on, and the reason with each?"""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from data.check_results import Check, Repair
from data.records import Records
from data.storage import PARTIAL, is_running, settle, write_whole


class Quarantine:
    """Writes rows set aside to `<name>.parquet`, with the row's number and the check that struck, as they come.

    The file appears when the context ends without an error, and only where there are such rows; what was repaired
    stands beside it in `<name>.repairs.json`.

    Parameters
    ----------
    folder, name : where; the folder is made when it is needed.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.parquet"
        self._partial = folder / f"{PARTIAL}{os.getpid()}-{name}.parquet"
        self._writer: Any = None
        self._repairs: list[Repair] = []

    def add(self, check: Check, records: Records) -> None:
        """Keep some rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        reasons = pa.array([check.name] * len(records), pa.string())
        columns = {"row": records.row, "reason": reasons, **records.columns}
        text = {name for name, values in records.columns.items() if values.dtype == object}
        table = pa.table({name: pa.array(v, pa.string() if name in text else None) for name, v in columns.items()})
        if self._writer is None:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._partial, table.schema, write_page_checksum=True)
        self._writer.write_table(table)

    def end(self, repairs: list[Repair]) -> None:
        """No row comes any more; what was repaired is kept too, so that it can be undone."""
        self._repairs = repairs
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        _sweep(self.path.parent)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
        if kind is not None:
            self._partial.unlink(missing_ok=True)
            return
        if self._writer is not None:
            settle(self._partial, self.path)
        if self._repairs:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            told = json.dumps([repair.to_dict() for repair in self._repairs])
            write_whole(self.path.with_suffix(".repairs.json"), told.encode())


def _sweep(folder: Path) -> None:
    """Remove what processes that have died left unfinished."""
    for path in folder.glob(f"{PARTIAL}*"):
        owner = path.name.removeprefix(PARTIAL).partition("-")[0]
        if owner.isdigit() and not is_running(int(owner)):
            path.unlink(missing_ok=True)
