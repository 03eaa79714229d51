"""How would a venue have published a synthetic tape: its trades, its book, and the odd line that is wrong?

Trades are written as Binance's archive has them (aggTrades of spot, microseconds, no header, zipped), the book as a
recorder of its depth stream writes it (a message a line, gzipped). Wrong lines come besides the right ones.
"""

import gzip
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data.arrays import Floats, Ints
from data.sources.synthetic_tape import SYMBOL, SyntheticTape
from data.storage import write_whole

# Which check each wrong line breaks, and where in the tape it stands, as a share of its length.
PLANTED: Mapping[str, float] = {
    "torn line": 0.1,
    "duplicate": 0.2,
    "no instant": 0.3,
    "price": 0.4,
    "lone price": 0.5,
    "future": 0.6,
    "misplaced": 0.7,
    "not a number": 0.8,
    "out of order": 0.9,
}
_YEARS = 30 * 365 * 86_400 * 10**6  # microseconds
_LATE = 20_000_000  # ns from a message's stamp until the recorder had it
SNAPSHOT_STEPS = 1200  # between whole books
TORN_STEPS = 10


def write_trades(tape: SyntheticTape, folder: Path, *, planted: bool = True) -> Path:
    """Write the trades to the archive's zip for their day, with the lines of `PLANTED` if asked; raises OSError."""
    lines = [*_lines(tape)]
    if planted:
        lines = _with_planted(lines)
    day = str(tape.time[0])[:10]
    path = folder / f"{SYMBOL}-aggTrades-{day}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(f"{path.stem}.csv", (1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, "\n".join(lines) + "\n")
    return path


def write_stream(tape: SyntheticTape, folder: Path, *, planted: bool = True) -> Path:
    """Write the book as a recorded depth stream, with a message twice and one cut short if asked; raises OSError.

    From that of step `torn_step` the book is not known until the whole one that is told `TORN_STEPS` later.
    """
    messages = [*_messages(tape)]
    if planted:
        torn = torn_step(tape)
        cut = torn + 1 + (torn - 1) // SNAPSHOT_STEPS  # whole books come between
        messages[cut] = messages[cut][:90]
        messages.insert(cut // 2, messages[cut // 2 - 1])
    path = folder / f"{SYMBOL.lower()}_{str(tape.time[0])[:10].replace('-', '')}.gz"
    write_whole(path, gzip.compress(("\n".join(messages) + "\n").encode(), 3, mtime=0))
    return path


def torn_step(tape: SyntheticTape) -> int:
    """The step whose message is cut short: shortly before a whole book, one in the middle where there are several."""
    last = (tape.law.steps - 1) // SNAPSHOT_STEPS
    return max(max(last // 2, 1) * SNAPSHOT_STEPS - TORN_STEPS, 1)


def _lines(tape: SyntheticTape) -> Iterator[str]:
    trades = tape.trades
    stamps = trades["time"].astype("datetime64[us]").astype(np.int64).tolist()
    rows = (trades[name].tolist() for name in ("id", "price", "size", "side"))
    for number, price, size, side, stamp in zip(*rows, stamps, strict=True):
        yield f"{number},{price:.2f},{size:.5f},{number},{number},{stamp},{side < 0},True"


def _with_planted(lines: list[str]) -> list[str]:
    """The lines with each wrong one after the right one that it copies, in disorder the next one before it."""
    after = {round(share * len(lines)): name for name, share in PLANTED.items()}
    out: list[str] = []
    for at, line in enumerate(lines):
        out.append(line)
        if (name := after.get(at)) == "out of order":
            out[-2:] = out[:-3:-1]
        elif name is not None:
            out.append(_wrong(name, line))
    return out


def _wrong(name: str, line: str) -> str:
    """A line that breaks a rule in one cell."""
    cells = line.split(",")
    told = {
        "torn line": cells[:3],
        "duplicate": cells,
        "no instant": [*cells[:5], "n/a", *cells[6:]],
        "price": [cells[0], f"-{cells[1]}", *cells[2:]],
        "lone price": [cells[0], f"{10 * float(cells[1]):.2f}", *cells[2:]],
        "future": [*cells[:5], str(int(cells[5]) + _YEARS), *cells[6:]],
        "misplaced": [*cells[:5], str(int(cells[5]) - 10**9), *cells[6:]],
        "not a number": [cells[0], "price", *cells[2:]],
    }
    return ",".join(told[name])


def _messages(tape: SyntheticTape) -> Iterator[str]:
    """A change of the book a step, each numbered from the one before, and a whole book now and then."""
    books = tape.books()
    ticks, offered = next(books)
    number, tick = 1_000_000, tape.law.tick
    stamps = tape.time.astype(np.int64).tolist()
    for step, (next_ticks, next_offered) in enumerate(books):
        if step % SNAPSHOT_STEPS == 0:
            whole = {"lastUpdateId": number, **_sides(ticks, offered, tick, ("bids", "asks"))}
            snapshot = f"{stamps[step + 1] + _LATE + 1_000_000} {json.dumps(whole, separators=(',', ':'))}"
        changed, now = _changes(ticks, offered, next_ticks, next_offered)
        first, number = number + 1, number + max(len(changed), 1)
        sides = _sides(changed, now, tick, ("b", "a"))
        sent = stamps[step + 1] // 1_000_000
        update = {"e": "depthUpdate", "E": sent, "s": SYMBOL, "U": first, "u": number, **sides}
        told = {"stream": f"{SYMBOL.lower()}@depth@100ms", "data": update}
        yield f"{stamps[step + 1] + _LATE} {json.dumps(told, separators=(',', ':'))}"
        if step % SNAPSHOT_STEPS == 0:
            yield snapshot
        ticks, offered = next_ticks, next_offered


def _changes(ticks: Ints, offered: Floats, later_ticks: Ints, later: Floats) -> tuple[Ints, Floats]:
    """Prices at which something changed and what is offered there now, (C,) each; bids below 0, -0.0 where one went."""
    first = min(ticks[0], later_ticks[0])
    before, after = np.zeros((2, max(ticks[-1], later_ticks[-1]) - first + 1))
    before[ticks - first], after[later_ticks - first] = offered, later
    # A level that turned from bid to ask is taken away on one side and stands on the other.
    turned = np.flatnonzero(before * after < 0)
    at = np.flatnonzero(before != after)
    gone = np.copysign(0.0, before[at])
    now = np.where(after[at] == 0, gone, after[at])
    return np.concatenate([turned, at]) + first, np.concatenate([np.copysign(0.0, before[turned]), now])


def _sides(ticks: Ints, offered: Floats, tick: float, names: tuple[str, str]) -> dict[str, list[list[str]]]:
    out: dict[str, list[list[str]]] = {name: [] for name in names}
    rows = zip((ticks * tick).tolist(), np.abs(offered).tolist(), np.signbit(offered).tolist(), strict=True)
    for price, size, bid in rows:
        out[names[0 if bid else 1]].append([f"{price:.2f}", f"{size:.5f}"])
    return out
