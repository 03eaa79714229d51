"""What do the files of CryptoDataDownload say, of any venue?

They begin with a banner, and mostly with the newest bar; a stamp is of a bar's beginning, in seconds or milliseconds
since 1970 (both occur in one file), in old files as 2019-07-04 01-AM. Rows come as the file has them: it is for the
checks to turn them round.
"""

import re
from collections.abc import Iterator

import numpy as np

from data.records import BARS, Records, Values
from data.sources.csv_batches import batches
from data.sources.epochs import Instants, instants, text_instants
from data.sources.json_rows import numbers
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in, venue_in
from data.sources.steps import step_of

_PRICES = ("open", "high", "low", "close")
_COUNTS = ("tradecount", "trade count", "trades")
_VOLUME = re.compile(r"volume ?[a-z0-9]+")
_HOUR = re.compile(r"(\d{4}-\d{2}-\d{2}) (0[1-9]|1[0-2])-(AM|PM)")


def _names(head: Head) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in head.columns)


def _is_bars(head: Head) -> bool:
    """By its banner, or by columns that nobody else has together: a symbol, prices, and two volumes by currency."""
    names = set(_names(head))
    volumes = {name for name in names if _VOLUME.fullmatch(name)}
    if head.form != "csv" or not {"date", "symbol", *_PRICES} <= names:
        return False
    banner = head.banner and "cryptodatadownload" in head.lines[0].lower()
    return bool(banner) or (len(volumes) == 2 and names - volumes <= {"unix", "date", "symbol", *_PRICES, *_COUNTS})


def _bars(raw: RawFile) -> Iterator[Records]:
    names = _names(raw.head)
    told = {"volume": _volume(names, _symbols(raw.head), 0), "quote_volume": _volume(names, _symbols(raw.head), 1)}
    told["count"] = next((name for name in _COUNTS if name in names), "")
    said = {**dict(zip(_PRICES, _PRICES, strict=True)), **{ours: name for ours, name in told.items() if name}}
    counted = "unix" in names
    text, whole = ("symbol",) if counted else ("symbol", "date"), ("unix",) if counted else ()
    step = step_of(_shown(raw.head, names), raw.head.file)
    owners = Owners(venue_in(raw.head), symbol_in(raw.head))
    for batch in batches(raw, names, text=text, whole=whole, only=tuple(said.values())):
        opened = instants(batch["unix"]) if counted else _instants(batch["date"])
        made = {"time": step.ends(opened), "opened": opened, **{ours: batch[name] for ours, name in said.items()}}
        symbols = [symbol.replace("/", "") if isinstance(symbol, str) else None for symbol in batch["symbol"]]
        yield from owners.records(BARS, made, batch.row, symbols)


def _rows(head: Head) -> list[list[str]]:
    """The first lines of data, cell by cell."""
    return [[cell.strip() for cell in line.split(",")] for line in head.lines[head.banner + 1 :]]


def _shown(head: Head, names: tuple[str, ...]) -> Instants:
    """The first stamps."""
    counted = "unix" in names
    at = names.index("unix" if counted else "date")
    cells = [row[at] for row in _rows(head) if len(row) == len(names)]
    return instants(numbers(cells)) if counted else _instants(np.array(cells, dtype=object))


def _symbols(head: Head) -> str:
    at = _names(head).index("symbol")
    return next((row[at].upper() for row in _rows(head) if len(row) > at), "")


def _volume(names: tuple[str, ...], symbol: str, place: int) -> str:
    """The column of the volume in base (0) or quote currency (1); "" where a name does not tell which it is.

    The symbol tells: it begins with the base. Without its help, the base is "from".
    """
    found = [name for name in names if name.startswith("volume")]
    words = {name: name.removeprefix("volume").strip().upper() for name in found}
    base = [name for name, word in words.items() if word == "FROM" or (word and symbol.startswith(word))]
    rest = [
        name for name, word in words.items() if name not in base and (word == "TO" or (word and symbol.endswith(word)))
    ]
    chosen = rest if place else base
    return chosen[0] if len(chosen) == 1 else ""


def _instants(cells: Values) -> Instants:
    """Instants of dates, and of hours such as 01-AM."""
    return text_instants(np.array([_iso(cell) if isinstance(cell, str) else None for cell in cells], dtype=object))


def _iso(cell: str) -> str:
    match = _HOUR.fullmatch(cell.strip())
    if not match:
        return cell
    hour = int(match[2]) % 12 + (12 if match[3] == "PM" else 0)
    return f"{match[1]} {hour:02d}:00:00"


LAYOUTS = (
    Layout(
        *("cryptodatadownload bars", BARS, _is_bars, _bars),
        verified=False,
        documented="https://www.cryptodatadownload.com/data/",
    ),
)
