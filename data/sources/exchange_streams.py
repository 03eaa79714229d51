"""What did a recorder of Binance's streams write down, a message a line?

Lines are `<local nanoseconds> <message>`, as hftbacktest's recorder writes them, or messages alone. One file has
several streams: it is recognised by the richest, its book, and `beside` gives the layouts of the rest. The recorder's
clock need not agree with the venue's: where a message has no stamp of the venue (spot tickers and snapshots), the
recorder's is put right by the furthest that the venue's stamps have been ahead so far.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from data.records import BOOK, LIQUIDATIONS, METRICS, QUOTES, TRADES, UNKNOWN, Kind, Records, Values
from data.sources.epochs import instants
from data.sources.json_rows import columns_of, field, moments, numbers, parsed, pieces, stamped_lines, texts, whole
from data.sources.layout import Head, Layout, RawFile
from data.sources.owners import Owners, symbol_in

_MESSAGES = 1 << 12  # lines of a batch
_EVENT = re.compile(rb'"e"\s*:\s*"(\w+)"|"(lastUpdateId)"|"stream"\s*:\s*"[^"@]*@(bookTicker)')
_SENT = re.compile(rb'"E"\s*:\s*(\d{13})')
_STREAM = re.compile(r'"stream"\s*:\s*"([^"@]+)@')
_MILLISECOND = 1_000_000
_LARGEST_LEAD, _LARGEST_LEAP = 3_600_000_000_000, 1_000_000_000  # nanoseconds


@dataclass(frozen=True, eq=False)
class Line:
    """A message: its line, when the recorder had it (`UNKNOWN` where it does not say), and that on the venue's clock.

    `found` is None where the line is no JSON.
    """

    number: int
    received: int
    arrived: int
    found: Any


def _event(text: bytes) -> str:
    """What a message is, "" where it does not say."""
    match = _EVENT.search(text)
    return next(word for word in match.groups() if word).decode() if match else ""


def _lines(raw: RawFile, events: Sequence[str]) -> Iterator[Line]:
    """The messages of some events, and every line that nobody can read."""
    ahead: int | None = None
    for number, received, text in stamped_lines(raw):
        sent = _SENT.search(text)
        if sent and received != UNKNOWN:
            ahead = _further(ahead, int(sent[1]) * _MILLISECOND - received)
        event = _event(text)
        if event in events or (not event and parsed(text) is None):
            found = parsed(text)
            message = found.get("data", found) if isinstance(found, dict) else None
            arrived = received + (ahead or 0) if received != UNKNOWN else UNKNOWN
            yield Line(number, received, arrived, message if isinstance(message, dict) else None)


def _further(ahead: int | None, lead: int) -> int | None:
    """How far the venue's clock is ahead at most, in nanoseconds; a leap is of a stamp that was damaged."""
    if ahead is None:
        return lead if abs(lead) < _LARGEST_LEAD else None
    return lead if ahead < lead < ahead + _LARGEST_LEAP else ahead


def _of(lines: Sequence[Line], *names: str) -> list[Any]:
    return field([line.found for line in lines], *names)


def _stamps(lines: Sequence[Line]) -> dict[str, Values]:
    """When it was so, by the venue where it says so; and when the recorder had it."""
    told = moments(_of(lines, "T", "E"))
    arrived = instants(np.array([line.arrived if line.found is not None else UNKNOWN for line in lines], np.int64))
    received = instants(np.array([line.received for line in lines], np.int64))
    return {"time": np.where(np.isnat(told), arrived, told), "received": received}


def _read(
    kind: Kind,
    events: Sequence[str],
    columns: Callable[[Sequence[Line]], tuple[Mapping[str, Values], Values]],
    raw: RawFile,
) -> Iterator[Records]:
    """Records of a stream; `columns` tells the line that each row is of too."""
    symbol = symbol_of(raw.head)
    owners = Owners(_venue(raw.head), symbol, carries=True)
    for lines in pieces(_lines(raw, events), _MESSAGES):
        made, place = columns(lines)
        stamps = {name: values[place] for name, values in _stamps(lines).items()}
        row = np.array([line.number for line in lines], np.int64)[place]
        symbols = texts(_of(lines, "s", "symbol"))[place]
        yield from owners.records(kind, {**stamps, **made}, row, symbols)


def symbol_of(head: Head) -> str:
    """By the name of the first stream, else of the file."""
    streams = [match[1] for line in head.lines if (match := _STREAM.search(line))]
    return streams[0].upper() if streams else symbol_in(head)


def _venue(head: Head) -> str:
    """Futures tell when a trade matched and which update came before; those margined in coin name their pair."""
    text = "\n".join(head.lines)
    if '"ps"' in text or '"pair"' in text:
        return "binance-delivery"
    return "binance-futures" if re.search(r'"pu":|"X":|"e":"bookTicker"', text) else "binance"


def _book(lines: Sequence[Line]) -> tuple[Mapping[str, Values], Values]:
    """A row a level; a message of no level, or none at all, is a row of nothing."""
    place, side, levels = [], [], []
    for at, line in enumerate(lines):
        rungs = [(sign, level) for sign, name in ((1, "b"), (-1, "a")) for level in _rungs(line.found, name)]
        for sign, level in rungs or [(0, None)]:
            place.append(at)
            side.append(sign)
            levels.append(level)
    price, size = columns_of(levels, 2)
    where = np.array(place, np.intp)
    snapshot = np.array([isinstance(line.found, dict) and "lastUpdateId" in line.found for line in lines], bool)
    told = {"first_update": ("U", "lastUpdateId"), "last_update": ("u", "lastUpdateId"), "previous_update": ("pu",)}
    made: dict[str, Values] = {
        "side": np.array(side, np.int8),
        "price": numbers(price),
        "size": numbers(size),
        "snapshot": snapshot[where],
        **{ours: whole(_of(lines, *theirs))[where] for ours, theirs in told.items()},
        "message": np.array([line.number - 1 for line in lines], np.int64)[where],
    }
    return made, where


def _rungs(message: Any, name: str) -> list[Any]:
    rungs = (message or {}).get(name, (message or {}).get({"b": "bids", "a": "asks"}[name]))
    return rungs if isinstance(rungs, list) else []


def _each(lines: Sequence[Line]) -> Values:
    return np.arange(len(lines))


def _trades(number: str, lines: Sequence[Line]) -> tuple[Mapping[str, Values], Values]:
    made = {"price": numbers(_of(lines, "p")), "size": numbers(_of(lines, "q")), "id": whole(_of(lines, number))}
    side = [-1 if maker is True else 1 if maker is False else 0 for maker in _of(lines, "m")]  # the buyer had offered
    return {**made, "side": np.array(side, np.int8)}, _each(lines)


def _quotes(lines: Sequence[Line]) -> tuple[Mapping[str, Values], Values]:
    said = {"bid": "b", "ask": "a", "bid_size": "B", "ask_size": "A"}
    made = {ours: numbers(_of(lines, theirs)) for ours, theirs in said.items()}
    return {**made, "update": whole(_of(lines, "u"))}, _each(lines)


def _marks(lines: Sequence[Line]) -> tuple[Mapping[str, Values], Values]:
    """`T` is of the funding to come here, `E` of the message."""
    said = {"mark": "p", "index": "i", "funding_rate": "r"}
    made = {ours: numbers(_of(lines, theirs)) for ours, theirs in said.items()}
    return {**made, "time": moments(_of(lines, "E"))}, _each(lines)


def _liquidations(lines: Sequence[Line]) -> tuple[Mapping[str, Values], Values]:
    """At the average price of what was filled so far."""
    orders = _of(lines, "o")
    side = [{"BUY": 1, "SELL": -1}.get(str(word), 0) for word in field(orders, "S")]
    made = {"price": numbers(field(orders, "ap")), "size": numbers(field(orders, "z"))}
    return {**made, "side": np.array(side, np.int8), "time": moments(field(orders, "T"))}, _each(lines)


@dataclass(frozen=True, eq=False)
class _Stream:
    name: str
    kind: Kind
    events: tuple[str, ...]
    columns: Callable[[Sequence[Line]], tuple[Mapping[str, Values], Values]]
    verified: bool

    def layout(self, claims: Callable[[Head], bool]) -> Layout:
        read = partial(_read, self.kind, self.events, self.columns)
        return Layout(
            *(f"binance stream of {self.name}", self.kind, claims, read),
            verified=self.verified,
            documented="https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams",
        )


_STREAMS = (
    _Stream("depth", BOOK, ("depthUpdate", "lastUpdateId"), _book, True),
    _Stream("trades", TRADES, ("trade",), partial(_trades, "t"), True),
    _Stream("aggregate trades", TRADES, ("aggTrade",), partial(_trades, "a"), False),
    _Stream("tickers", QUOTES, ("bookTicker",), _quotes, True),
    _Stream("mark prices", METRICS, ("markPriceUpdate",), _marks, False),
    _Stream("liquidations", LIQUIDATIONS, ("forceOrder",), _liquidations, False),
)


def _events(head: Head) -> set[str]:
    """What the first lines are."""
    if head.form != "jsonl" and (head.form != "json" or len(head.lines) > 1):
        return set()
    return {event for line in head.lines if (event := _event(line.encode()))}


def _is(stream: _Stream, head: Head) -> bool:
    """Whether this is the richest stream of a file."""
    found = _events(head)
    richest = next((one for one in _STREAMS if found.intersection(one.events)), None)
    return richest is stream


LAYOUTS = tuple(stream.layout(partial(_is, stream)) for stream in _STREAMS)


def beside(raw: RawFile) -> tuple[Layout, ...]:
    """Layouts of the other streams that a file's first two thousand lines or so have; () for a file of one.

    Aggregate trades say again what trades say: they are left out where both are there.
    """
    seen: set[str] = set()
    for number, _, text in stamped_lines(raw):
        seen.add(_event(text))
        if number >= 2000:
            break
    there = [stream for stream in _STREAMS if seen.intersection(stream.events)]
    names = [stream.name for stream in there]
    return tuple(
        layout
        for stream, layout in zip(_STREAMS, LAYOUTS, strict=True)
        if stream in there[1:] and not (stream.name == "aggregate trades" and "trades" in names)
    )
