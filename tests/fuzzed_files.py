"""Can damage to a file turn into a wrong number that nobody is told of? `python tests/fuzzed_files.py 10000` tries.

A damaged file must be refused, or each row accepted of it must be one of the file before the damage. One thing no
reader can know: a digit that became another digit, in a file that says nothing of its own checksum. Such a row counts
as "as written" if a second, independent reading of that very line gives the same figures; archives, whose checksum is
inside, and files with a .CHECKSUM beside them must have none.
"""

import csv
import hashlib
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.brought_files import period_of
from data.check_results import Ledger
from data.checking import RecordChecker
from data.errors import DataError
from data.imports import check_paths
from data.records import UNKNOWN, Records
from data.sources.recognise import recognise
from records_made import FILES, KLINES, NOW, lines_of, put

Row = dict[str, Any]
Damage = Callable[[bytes, np.random.Generator], bytes]


def one_bit(content: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(content)
    out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def some_bits(content: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(2, 12))):
        content = one_bit(content, rng)
    return content


def cut_off(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def hole(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 200)) :]


def lines_moved(content: bytes, rng: np.random.Generator) -> bytes:
    """Lines lost, doubled or exchanged."""
    lines = content.splitlines(keepends=True)
    for _ in range(int(rng.integers(1, 5))):
        a, b, way = int(rng.integers(1, len(lines))), int(rng.integers(1, len(lines))), int(rng.integers(3))
        if way == 0:
            lines[a], lines[b] = lines[b], lines[a]
        elif way == 1:
            lines.insert(a, lines[b])
        else:
            del lines[a]
    return b"".join(lines)


def columns_exchanged(content: bytes, rng: np.random.Generator) -> bytes:
    """Two columns in each other's place, names and all in half of the cases."""
    rows = [line.split(b",") for line in content.splitlines()]
    a, b = rng.choice(len(rows[0]), 2, replace=False)
    for row in rows[int(rng.integers(2)) :]:
        row[a], row[b] = row[b], row[a]
    return b"\n".join(b",".join(row) for row in rows) + b"\n"


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage for damage in (one_bit, some_bits, cut_off, hole, lines_moved, columns_exchanged)
}
PACKED = ("one_bit", "some_bits", "cut_off", "hole")  # what can befall an archive


@dataclass
class Tally:
    """What became of damaged files."""

    refused: int = 0
    right: int = 0
    as_written: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def fuzz(variants: int, folder: Path, seed: int = 0) -> Tally:
    """Damage files of six formats in turn, plain, packed, and with a checksum beside them."""
    tally = Tally()
    whole = {name: "\n".join(lines_of(name)).encode() + b"\n" for name in FILES}
    known = {name: accepted(put(folder, name, whole[name])) for name in FILES}
    for number in range(variants):
        rng = np.random.default_rng([seed, number])
        name, kind = FILES[number % len(FILES)], int(rng.integers(5))
        suffix = ".zip" if kind == 0 else ".csv.gz" if kind == 1 else ".csv"
        told = [*DAMAGES] if suffix == ".csv" else PACKED
        damage = str(rng.choice(told))
        path = put(folder, name.replace(".csv", suffix), whole[name])
        before = path.read_bytes()
        path.write_bytes(DAMAGES[damage](before, rng))
        label = f"variant {number} of seed {seed}: {damage} in {path.name}"
        if kind == 2:
            _beside(path, before, label, tally)
        else:
            _judge(path, known[name], kind < 2, label, damage, tally)
        path.unlink()
    return tally


def _beside(path: Path, before: bytes, label: str, tally: Tally) -> None:
    beside = path.with_name(path.name + ".CHECKSUM")
    beside.write_text(f"{hashlib.sha256(before).hexdigest()}  {path.name}\n")
    report = check_paths([path], now=NOW)
    beside.unlink()
    if path.read_bytes() != before and report.exit_code != 2:
        tally.wrong.append(f"{label}: another checksum, and yet not refused")
    tally.refused += report.exit_code == 2
    tally.right += report.exit_code != 2


def _judge(
    path: Path, known: tuple[tuple[str, ...], list[Row]], packed: bool, label: str, damage: str, tally: Tally
) -> None:
    try:
        series, rows = accepted(path)
    except DataError:
        tally.refused += 1
        return
    whole = {_frozen(row) for row in known[1]}
    others = [row for row in rows if _frozen(row) not in whole]
    if series != known[0]:
        others = rows
    if not others:
        tally.right += 1
        return
    lines = [] if packed else path.read_bytes().decode("utf-8", errors="replace").split("\n")
    strange = [row for row in others if not lines or not _written(lines, row)]
    if strange:
        tally.wrong.append(f"{label}: {series} {strange[0]}")
    else:
        tally.as_written[damage] += 1


def accepted(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Of which series, and every row that the checks let pass, with its number."""
    rows: list[Row] = []
    series: tuple[str, ...] = ()
    checks = RecordChecker(NOW).check(recognise(path).records(), Ledger(), period_of(path.name))
    for records in (one.accepted for one in checks):
        series = (records.kind.name, records.venue, records.symbol)
        rows += _rows(records)
    return series, rows


def _rows(records: Records) -> list[Row]:
    plain = {n: v.view(np.int64) if v.dtype.kind == "M" else v for n, v in records.columns.items()}
    return [
        {"row": int(records.row[at]), **{name: values[at].item() for name, values in plain.items()}}
        for at in range(len(records))
    ]


def _frozen(row: Row) -> tuple[Any, ...]:
    return tuple((name, None if value != value else value) for name, value in row.items() if name != "row")


_NAMES = {
    **{"volume": "volume", "quantity": "size", "last_funding_rate": "rate", "depth": "size", "notional": "notional"},
    **{"sum_open_interest": "open_interest", "sum_open_interest_value": "open_interest_value"},
    **{"count_long_short_ratio": "long_short_ratio", "sum_taker_long_short_vol_ratio": "taker_ratio"},
    **{"best_bid_price": "bid", "best_ask_price": "ask", "best_bid_qty": "bid_size", "best_ask_qty": "ask_size"},
    **{"funding_interval_hours": "interval", "percentage": "band", "agg_trade_id": "id", "update_id": "update"},
}
_BARE_BY_WIDTH = {
    8: "agg_trade_id,price,quantity,first,last,transact_time,is_buyer_maker,best",
    7: "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event",
    12: KLINES,
}


def _written(lines: list[str], row: Row) -> bool:
    try:
        return _says(lines, row)
    except (ValueError, LookupError, csv.Error):
        return False


def _says(lines: list[str], row: Row) -> bool:
    """Whether the row's line, read once more and simply, has each of its figures."""
    first = next(csv.reader([lines[0]]), []) if '"' in lines[0] else lines[0].split(",")
    header = any(re.search("[A-Za-z]{3}", cell) for cell in first if cell.lower() not in ("true", "false"))
    names = [re.sub(r"[\s-]+", "_", cell.strip().lower()) for cell in first] if header else []
    line = lines[row["row"] - (0 if header else 1)].removesuffix("\r")
    cells = next(csv.reader([line]), []) if '"' in line else line.split(",")
    names = names or _BARE_BY_WIDTH[len(cells)].split(",")
    for name, cell in zip(names, cells, strict=True):
        ours = _NAMES.get(name, name)
        if ours not in row or ours in ("time", "side") or row[ours] != row[ours]:
            continue
        if ours in ("id", "update") and row[ours] == UNKNOWN:
            continue
        said = float(cell) / 100 if ours == "band" else float(cell)
        if said != row[ours]:
            return False
    told = dict(zip(names, cells, strict=True))
    if "side" in row and row["side"] != (-1 if told["is_buyer_maker"].strip().lower() == "true" else 1):
        return False
    return _time_is(told, row)


def _time_is(cells: dict[str, str], row: Row) -> bool:
    """The instant, to the unit that its line counts; the end of a bar may have been moved to its interval's."""
    stamps = ("open_time", "transact_time", "transaction_time", "calc_time", "create_time", "timestamp")
    told = next((cells[name].strip() for name in stamps if name in cells), "")
    ours = row.get("opened", row["time"])
    if re.fullmatch(r"\d+", told):
        count = int(told)
        return any(count * scale == ours for scale in (1, 10**3, 10**6, 10**9))
    return bool(np.datetime64(told.replace(" ", "T").rstrip("Zz"), "ns").astype(np.int64) == ours)


def main() -> None:
    variants = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        tally = fuzz(variants, Path(folder), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    written = sum(tally.as_written.values())
    print(f"{variants} damaged files: {tally.refused} refused, {tally.right} with right rows alone")
    print(f"{written} with a digit that only a checksum could have told: {dict(tally.as_written)}")
    print("\n".join(tally.wrong) or "no wrong row was accepted")
    sys.exit(bool(tally.wrong))


if __name__ == "__main__":
    main()
