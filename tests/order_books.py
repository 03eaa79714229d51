"""The order books that tests make up, message by message, and a plain one to hold ours against."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.flow.book import BookPath
from data.records import BOOK, Records

SECOND = 1_000_000_000
NAN = float("nan")
Level = tuple[int, float, float]  # side, price, size


class Message:
    """A message of a made book: its second, levels and numbers."""

    def __init__(
        self,
        second: float,
        levels: Sequence[Level],
        *,
        whole: bool = False,
        first: int = -1,
        last: int = -1,
        pu: int = -1,
    ) -> None:
        self.second, self.levels, self.whole = second, levels, whole
        self.first, self.last, self.pu = first, last, pu

    def __repr__(self) -> str:
        return f"Message({self.second}, {self.levels}, whole={self.whole}, first={self.first}, last={self.last})"


def rows_of(messages: Sequence[Message], *, numbered: bool = True) -> Records:
    """Their rows; without numbers of messages they are told apart by instant and update."""
    rows = [(n, message, level) for n, message in enumerate(messages) for level in message.levels]
    stamp = np.array([int(message.second * SECOND) for _, message, _ in rows]).astype("datetime64[ns]")
    columns: dict[str, Any] = {
        "time": stamp,
        "side": np.array([level[0] for *_, level in rows], np.int8),
        "price": np.array([level[1] for *_, level in rows], np.float64),
        "size": np.array([level[2] for *_, level in rows], np.float64),
        "snapshot": np.array([message.whole for _, message, _ in rows], bool),
        "first_update": np.array([message.first for _, message, _ in rows], np.int64),
        "last_update": np.array([message.last for _, message, _ in rows], np.int64),
        "previous_update": np.array([message.pu for _, message, _ in rows], np.int64),
    }
    if numbered:
        columns["message"] = np.array([n for n, *_ in rows], np.int64)
    return Records(BOOK, "made", "X", columns, np.arange(1, len(rows) + 1))


def shown(path: BookPath) -> list[tuple[float, ...]]:
    """Second, bid, bid size, ask, ask size of each quote."""
    names = ("bid", "bid_size", "ask", "ask_size")
    seconds = path.quotes["time"].astype(np.int64) / SECOND
    return list(zip(seconds.tolist(), *(path.quotes[name].tolist() for name in names), strict=True))


class PlainBook:
    """The same book, level by level in two dictionaries, by the rules of `BookFold`."""

    def __init__(self) -> None:
        self.side: dict[int, dict[float, float]] = {1: {}, -1: {}}
        self.known, self.whole, self.at = False, False, -1
        self.fresh, self.late = False, False
        self.kept: list[Message] = []  # since the last gap

    def lose(self) -> None:
        self.side, self.known, self.kept = {1: {}, -1: {}}, False, []

    def take(self, message: Message) -> bool:
        """Whether the message changes the book."""
        if message.whole:
            self.side, self.known, self.whole = {1: {}, -1: {}}, True, True
            self.late = message.last < self.at and bool(self.kept) and self.kept[0].first <= message.last + 1
            if not self.late:
                self.kept = self.kept if message.last == self.at else []
                self.at, self.fresh = message.last, True
            return True
        numbered = self.at >= 0 and message.last >= 0
        if numbered and (message.last == self.at or (self.fresh and message.last < self.at)):
            return False
        if numbered:
            gap = message.first > self.at + 1 if self.fresh else message.first != self.at + 1
            if gap:
                self.lose()
        self.fresh = False
        self.kept.append(message)
        self.at = message.last if message.last >= 0 else self.at
        return self.known or not self.whole

    def apply(self, message: Message) -> tuple[float, ...]:
        if self.take(message):
            late = [one for one in self.kept if message.whole and self.late and one.last > message.last]
            for sign, price, size in [level for one in (message, *late) for level in one.levels]:
                self.side[sign][price] = size
                if size == 0:
                    del self.side[sign][price]
        bids, asks = self.side[1], self.side[-1]
        self.known = self.known or (not self.whole and bool(bids) and bool(asks))
        if not self.known or (bids and asks and max(bids) >= min(asks)):
            return (NAN,) * 4
        bid, ask = max(bids, default=NAN), min(asks, default=NAN)
        return bid, ask, bids.get(bid, 0.0), asks.get(ask, 0.0)
