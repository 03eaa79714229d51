"""What does a plain table say, a stamp and a figure or two a row, whose only words are its columns and its name?

A bar that tells when it began ends one step later, where a step is the most frequent time between two rows; a level of
a day is known when the day is over. Nothing says whose rows they are but the file's name, nor in which zone: that is
left to the checks. A volume is not read at all: such tables count it in coins (Binance), in dollars (Yahoo) or in
contracts, and do not say in which.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import SourceError
from data.records import BARS, FUNDING, INDEX, TRADES, Records, Values
from data.sources.ccxt_rows import is_stamp
from data.sources.cells import NUMBER
from data.sources.csv_batches import batches
from data.sources.epochs import Instants, instants, text_instants
from data.sources.freqtrade import NAME
from data.sources.json_rows import columns_of, documents, moments, numbers, pieces, sides, whole
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in, venue_in
from data.sources.steps import DAY, Step, step_of
from data.sources.typed_tables import figures, times, typed_batches, where

_TIMES = ("date", "datetime", "time", "timestamp", "opentime", "unix")
_PRICES = ("open", "high", "low", "close")
_BARS = {*_PRICES, "price", "volume"}
_LEVELS = ("vix", "dvol", "vvix", "move", "sofr", "dff", "dgs3mo", "value", "fundingmean")
_BESIDE = {"fundingabs", "adjclose", ""}  # columns that may be there and are not read
_RATES = ("fundingrate",)
_TRADES = {"timestamp", "tradeid", "price", "quantity", "buyermaker"}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())


def _names(head: Head) -> tuple[str, ...]:
    return tuple(_plain(name) for name in head.columns)


def _stamp(names: Sequence[str]) -> str:
    """The one column that is of instants, "" where there is none or several."""
    found = [name for name in names if name in _TIMES]
    return found[0] if len(found) == 1 else ""


def _beside_stamp(head: Head) -> set[str]:
    """What a table has beside its stamps; nothing where it has no stamps."""
    names = _names(head)
    return set(names) - {_stamp(names)} - _BESIDE if _stamp(names) and head.form == "csv" else set()


def _is_bars(head: Head) -> bool:
    """Prices at their close, or open, high, low and close."""
    if head.form in ("parquet", "arrow") and not NAME.fullmatch(head.file):
        head = Head(head.file, "csv", (), head.columns)
    found = _beside_stamp(head)
    closes, rest = found & {"close", "price"}, found - {"volume"}
    return len(closes) == 1 and found <= _BARS and (rest == closes or rest == set(_PRICES))


def _is_level(head: Head) -> bool:
    found = _beside_stamp(head)
    return len(found) == 1 and found <= set(_LEVELS)


def _is_funding(head: Head) -> bool:
    found = _beside_stamp(head) - {"symbol"}
    return len(found) == 1 and found <= set(_RATES)


def _is_pairs(head: Head) -> bool:
    rows = head.sample if head.form in ("json", "jsonl") and isinstance(head.sample, list) else []
    row = rows[0] if rows else None
    return isinstance(row, list) and len(row) == 2 and is_stamp(row[0]) and isinstance(row[1], int | float)


def _is_pairs_of_levels(head: Head) -> bool:
    return _is_pairs(head) and bool(re.search(r"dvol|vol|vix", head.file.lower()))


def _is_pairs_of_funding(head: Head) -> bool:
    """SourceError for pairs whose file does not say what they are."""
    if not _is_pairs(head):
        return False
    funds = "funding" in head.file.lower()
    if not funds and not _is_pairs_of_levels(head):
        raise SourceError(f"{head.file}: expected a name that says what its pairs are, with 'funding' or 'dvol' in it")
    return funds and not _is_pairs_of_levels(head)


def _is_typed_trades(head: Head) -> bool:
    return head.form in ("parquet", "arrow") and {_plain(name) for name in head.columns} == _TRADES


def _counted(head: Head, at: int) -> bool:
    """Whether stamps count, rather than being written as dates."""
    cells = head.cells
    return len(cells) > at and bool(re.fullmatch(NUMBER, cells[at]))


def _step(shown: Instants, file: str) -> Step:
    """How long a row is of; dates alone are of a day each, weekends or not."""
    known = shown[~np.isnat(shown)]
    if known.size == 1 and known[0] == known[0].astype("datetime64[D]"):
        return Step(DAY)
    return step_of(shown, file)


def _cells(
    raw: RawFile, only: Sequence[str], text: Sequence[str] = ()
) -> Iterator[tuple[Mapping[str, Values], Values]]:
    """The columns of each batch with `time` as stamped, and the number of each row."""
    names = _names(raw.head)
    stamp = _stamp(names)
    if raw.head.form != "csv":
        real = dict(zip(names, raw.head.columns, strict=True))
        for columns, row in typed_batches(raw, [real[name] for name in (stamp, *only)]):
            told = {name: figures(columns[real[name]], where(raw, real[name])) for name in only}
            yield {"time": times(columns[real[stamp]], where(raw, real[stamp])), **told}, row
        return
    counted = _counted(raw.head, names.index(stamp))
    texts = (*text, *(() if counted else (stamp,)))
    for batch in batches(raw, names, text=texts, only=(*only, *((stamp,) if counted else ()))):
        opened = instants(batch[stamp]) if counted else text_instants(batch[stamp])
        yield {"time": opened, **{name: batch[name] for name in (*only, *text)}}, batch.row


def _bars(raw: RawFile) -> Iterator[Records]:
    """What a table does not tell of a bar is NaN: a close alone says nothing of high and low.

    Its volume is left out, for it may count coins, dollars or contracts.
    """
    names = set(_names(raw.head))
    close = "close" if "close" in names else "price"
    told: dict[str, str] = {
        "close": close,
        **{name: name for name in ("open", "high", "low") if name in names},
    }
    step: Step | None = None
    for columns, row in _cells(raw, tuple(told.values())):
        step = _step(columns["time"], raw.head.file) if step is None else step
        blank = np.full(len(row), np.nan)
        prices = {name: columns[told[name]] if name in told else blank for name in _PRICES}
        made = {"time": step.ends(columns["time"]), "opened": columns["time"], **prices}
        yield Records(BARS, venue_in(raw.head), symbol_in(raw.head), made, row)


def _levels(raw: RawFile) -> Iterator[Records]:
    (name,) = _beside_stamp(raw.head)
    symbol = symbol_in(raw.head) if name == "value" else raw.head.columns[_names(raw.head).index(name)].upper()
    for columns, row in _cells(raw, (name,)):
        stamps = columns["time"]
        yield Records(INDEX, venue_in(raw.head), symbol, {"time": _known(stamps), "value": columns[name]}, row)


def _known(stamps: Instants) -> Instants:
    """When a level was known: at the end of a day where a date is all that is told, else at its stamp."""
    dates = np.isnat(stamps) | (stamps == stamps.astype("datetime64[D]"))
    return np.where(dates.all(), stamps + DAY, stamps)


def _funding(raw: RawFile) -> Iterator[Records]:
    (name,) = _beside_stamp(raw.head) - {"symbol"}
    owners, text = Owners(venue_in(raw.head), symbol_in(raw.head)), ("symbol",) if "symbol" in _names(raw.head) else ()
    for columns, row in _cells(raw, (name,), text):
        symbols = columns["symbol"] if text else [None] * len(row)
        yield from owners.records(FUNDING, {"time": columns["time"], "rate": columns[name]}, row, symbols)


def _pairs(raw: RawFile) -> Iterator[tuple[Instants, Values, Values]]:
    for piece in pieces(documents(raw)):
        stamp, value = columns_of([row for _, _, row in piece], 2)
        yield moments(stamp), numbers(value), np.array([row for row, _, _ in piece], np.int64)


def _pairs_of_levels(raw: RawFile) -> Iterator[Records]:
    symbol = symbol_in(raw.head)
    step = _step(moments([row[0] for row in raw.head.sample[:1000] if isinstance(row, list) and row]), raw.head.file)
    for stamps, value, row in _pairs(raw):
        yield Records(INDEX, _whose(raw.head), symbol, {"time": step.ends(stamps), "value": value}, row)


def _pairs_of_funding(raw: RawFile) -> Iterator[Records]:
    for stamps, rate, row in _pairs(raw):
        yield Records(FUNDING, venue_in(raw.head), symbol_in(raw.head), {"time": stamps, "rate": rate}, row)


def _whose(head: Head) -> str:
    """DVOL is Deribit's."""
    return "deribit" if "dvol" in head.file.lower() else venue_in(head)


def _typed_trades(raw: RawFile) -> Iterator[Records]:
    """Binance's trades as some keep them: the side that offered, in words or truth values."""
    real = {_plain(name): name for name in raw.head.columns}
    for columns, row in typed_batches(raw, tuple(real.values())):
        told: Mapping[str, Any] = {name: columns[theirs] for name, theirs in real.items()}
        said = {name: where(raw, theirs) for name, theirs in real.items()}
        offered = [
            {"true": "sell", "false": "buy"}.get(str(word).lower(), "?") for word in told["buyermaker"].to_pylist()
        ]
        made = {"time": times(told["timestamp"], said["timestamp"]), "price": figures(told["price"], said["price"])}
        made = {
            **made,
            "size": figures(told["quantity"], said["quantity"]),
            "side": sides(offered),
            "id": whole(told["tradeid"].to_pylist()),
        }
        yield Records(TRADES, "binance", symbol_in(raw.head), made, row)


_PAGE = "plain tables: column names as `data/sources/tables.py` lists them"
LAYOUTS = (
    Layout(
        "table of bars",
        BARS,
        _is_bars,
        _bars,
        verified=True,
        documented=f"{_PAGE}; no volume, whose unit they do not tell",
    ),
    Layout("table of a level", INDEX, _is_level, _levels, verified=True, documented=_PAGE),
    Layout("table of funding", FUNDING, _is_funding, _funding, verified=True, documented=_PAGE),
    Layout("pairs of levels", INDEX, _is_pairs_of_levels, _pairs_of_levels, verified=True, documented=_PAGE),
    Layout("pairs of funding", FUNDING, _is_pairs_of_funding, _pairs_of_funding, verified=True, documented=_PAGE),
    Layout("table of binance trades", TRADES, _is_typed_trades, _typed_trades, verified=True, documented=_PAGE),
)
