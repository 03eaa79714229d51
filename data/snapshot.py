"""Is this the very history that was studied?

A snapshot is two files named by the hash of what they hold: `<hash>.parquet` with the numbers, one column a series,
and `<hash>.json`, the manifest, with everything else. The manifest is written last: without it there is no snapshot.
"""

import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.arrays import Floats
from data.clock import Clock
from data.errors import SnapshotError
from data.history import MarketHistory
from data.names import HASH, point, resolved
from data.sealed import encoded, read_whole, sealed, unsealed
from data.storage import alone_in, sha256_of, write_whole

# Of the hash and of the files; a change of either is another number. A history without depth and features is written
# as before there were any, so that it keeps its name.
PLAIN, FORMAT = 2, 3
PANELS = ("spot", "high", "low", "volume", "funding", "marks", "curves", "surfaces", "depth", "features")


@dataclass(frozen=True)
class Snapshot:
    """What a manifest says of its history; `fault` says why a damaged one cannot be read, "" otherwise.

    `first` and `last` are instants in UTC; a listing does not read the numbers, `load` does.
    """

    hash: str
    source: str = ""
    rows: int = 0
    first: str = ""
    last: str = ""
    clock: str = ""
    underlyings: tuple[str, ...] = ()
    fault: str = ""


def content_hash(history: MarketHistory) -> str:
    """The name of a history: sha256 over every fact in it, 64 hex digits.

    Two histories share it when clock, names, numeraire and every series agree bit by bit, whatever their memory
    layout; so -0.0 is not 0.0, but one NaN is another. `source` is a remark and stays out.
    """
    digest = hashlib.sha256(encoded(_header(history)))
    digest.update(np.ascontiguousarray(history.time, dtype="<M8[ns]").tobytes())
    for _, panel in _panels(history):
        digest.update(_canonical(panel).tobytes())
    return digest.hexdigest()


def freeze(history: MarketHistory, folder: Path) -> str:
    """Write a history under its content hash and return the hash; one that is there and whole is left alone.

    A kill at any moment leaves the folder usable. SnapshotError where it cannot be written.
    """
    name = content_hash(history)
    if _is_whole(name, folder):
        return name
    numbers = _parquet(history)
    try:
        with alone_in(folder):
            if not _is_whole(name, folder):
                write_whole(folder / f"{name}.parquet", numbers)
                write_whole(folder / f"{name}.json", _manifest(history, name, numbers))
    except OSError as error:
        raise SnapshotError(f"a snapshot needs a folder that can be written, got {folder}: {error}") from error
    return name


def load(name: str, folder: Path) -> MarketHistory:
    """The history with this content hash, with the only one that begins so (four digits at least), or of this name.

    Checked in this order, the first failure raising SnapshotError: the name, the manifest's own checksum, the sha256
    of the Parquet file before it is parsed, its page checksums, and the content hash of what was read.
    """
    name = resolved(name, folder, _hashes(folder), "snapshot")
    manifest = _read_manifest(name, folder)
    numbers = read_whole(folder / f"{name}.parquet")
    if sha256_of(numbers) != manifest.get("sha256"):
        raise SnapshotError(
            f"{folder / name}.parquet must have the sha256 {manifest.get('sha256')}, got {sha256_of(numbers)} "
            f"({len(numbers)} bytes): the file is damaged"
        )
    try:
        history = _thaw(manifest["header"], str(manifest["source"]), numbers)
    except Exception as error:  # whole files that nobody froze may be wrong in any way
        raise SnapshotError(f"{folder / name} is no readable snapshot of format {FORMAT}: {error}") from error
    if content_hash(history) != name:
        raise SnapshotError(f"{folder / name} must hold what its name says, got the content {content_hash(history)}")
    return history


def listed(folder: Path) -> list[Snapshot]:
    """Every snapshot of a folder by its manifest, sorted by hash; none where there is no such folder."""
    return [_summary(name, folder) for name in _hashes(folder)]


def found(word: str, folder: Path) -> Snapshot:
    """What the manifest of one snapshot says, found as `load` finds it; SnapshotError where there is none."""
    return _summary(resolved(word, folder, _hashes(folder), "snapshot"), folder)


def name_snapshot(name: str, word: str, folder: Path, *, move: bool = False) -> str:
    """Let a name mean a snapshot that is there and whole, and return its hash; `load` takes the name from then on.

    ParameterError where the name means another and is not to be moved, or could be a hash; SnapshotError as `load`.
    """
    full_hash = content_hash(load(word, folder))
    point(folder, name, full_hash, move=move)
    return full_hash


def _hashes(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json") if HASH.fullmatch(path.stem))


def _summary(name: str, folder: Path) -> Snapshot:
    try:
        facts = _read_manifest(name, folder)
        header = facts["header"]
        shape = (header["rows"], facts["first"], facts["last"], header["clock"], tuple(header["underlyings"]))
        return Snapshot(name, facts["source"], *shape)
    except (SnapshotError, KeyError, TypeError) as error:
        return Snapshot(name, fault=str(error))


def _panels(history: MarketHistory) -> Iterator[tuple[str, Floats]]:
    """Every series that is there, (T, columns) each, in the one order of hash and file."""
    for name in PANELS:
        panel = getattr(history, name)
        if panel is not None:
            yield name, panel.reshape(len(history), math.prod(panel.shape[1:]))
    for currency in sorted(history.fx):
        yield f"fx {currency}", history.fx[currency][:, None]


def _canonical(panel: Floats) -> Floats:
    """Little-endian, row by row, and with one bit pattern for NaN."""
    return np.ascontiguousarray(np.where(np.isnan(panel), np.nan, panel), dtype="<f8")


def _header(history: MarketHistory) -> dict[str, Any]:
    """Everything but the numbers, and the shape of the numbers."""
    extended = history.depth is not None or history.features is not None
    facts: dict[str, Any] = {
        "format": FORMAT if extended else PLAIN,
        "clock": history.clock.step,
        "holidays": list(history.clock.holidays),
        "underlyings": list(history.underlyings),
        "listed": list(history.listed),
        "numeraire": history.numeraire,
        "rows": len(history),
        "implied": history.implied,
        "panels": [[name, list(panel.shape[1:])] for name in PANELS if (panel := getattr(history, name)) is not None],
        "fx": sorted(history.fx),
    }
    if extended:
        facts |= {
            "depth_bands": [float(band) for band in history.depth_bands],
            "feature_names": list(history.feature_names),
        }
    return facts


def _manifest(history: MarketHistory, name: str, numbers: bytes) -> bytes:
    """The manifest's bytes, sealed by a checksum of its other entries."""
    ends = [str(stamp) for stamp in (*history.time[:1], *history.time[-1:])] or ["", ""]
    facts = {
        "hash": name,
        "sha256": sha256_of(numbers),
        "header": _header(history),
        "first": ends[0],
        "last": ends[1],
        "source": history.source,
    }
    return sealed(facts)


def _read_manifest(name: str, folder: Path) -> dict[str, Any]:
    """A manifest whose bytes are exactly those that were written under this name; SnapshotError otherwise."""
    path = folder / f"{name}.json"
    facts = unsealed(path)
    if facts.get("hash") != name:
        raise SnapshotError(f"{path} must be the manifest of {name}, got that of {facts.get('hash')}")
    return facts


def _is_whole(name: str, folder: Path) -> bool:
    try:
        load(name, folder)
    except SnapshotError:
        return False
    return True


def _parquet(history: MarketHistory) -> bytes:
    """One column a series; names are for human readers, `_thaw` goes by position."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [pa.array(history.time.astype("datetime64[ns]"), pa.timestamp("ns", "UTC"))]
    labels = ["time"]
    for name, panel in _panels(history):
        columns += [pa.array(column) for column in _canonical(panel).T]
        labels += [f"{name}.{series}".encode("utf-8", "backslashreplace").decode() for series in _series(history, name)]
    buffer = io.BytesIO()
    table = pa.table(columns, names=labels)
    # Without page checksums a flipped bit comes back as another price, in silence.
    pq.write_table(table, buffer, write_page_checksum=True, use_dictionary=False, store_schema=False)
    return buffer.getvalue()


def _series(history: MarketHistory, name: str) -> list[str]:
    """The columns of one panel, by name; those of a term structure are numbered within their underlying."""
    if name.startswith("fx "):
        return ["rate"]
    if name == "marks":
        return list(history.listed)
    if name == "features":
        return [f"{underlying}.{feature}" for underlying in history.underlyings for feature in history.feature_names]
    inner = math.prod(getattr(history, name).shape[2:])
    if inner == 1:
        return list(history.underlyings)
    return [f"{underlying}.{n}" for underlying in history.underlyings for n in range(inner)]


def _thaw(header: Mapping[str, Any], source: str, numbers: bytes) -> MarketHistory:
    """A history from a header and the bytes of its Parquet file, arrays row by row in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if header["format"] not in (PLAIN, FORMAT):
        raise ValueError(f"expected format {PLAIN} or {FORMAT}, got {header['format']}")
    extended = header["format"] == FORMAT
    table = pq.ParquetFile(pa.BufferReader(numbers), page_checksum_verification=True).read(use_threads=False)
    underlyings, symbols = tuple(header["underlyings"]), tuple(header["listed"])
    columns = iter(table.columns)
    time = np.array(next(columns).to_numpy(), dtype="datetime64[ns]")

    def panel(shape: list[int]) -> Floats:
        block = np.empty((len(time), math.prod(shape)))
        for position in range(block.shape[1]):
            block[:, position] = next(columns).to_numpy()
        return block.reshape(len(time), *shape)

    panels = {name: panel(shape) for name, shape in header["panels"]}
    rates = {currency: panel([1])[:, 0] for currency in header["fx"]}
    clock = Clock(header["clock"], tuple(header["holidays"]))
    return MarketHistory(
        time,
        underlyings,
        clock=clock,
        listed=symbols,
        fx=rates,
        numeraire=header["numeraire"],
        implied=header["implied"],
        source=source,
        depth_bands=tuple(header["depth_bands"]) if extended else (),
        feature_names=tuple(header["feature_names"]) if extended else (),
        **panels,
    )
