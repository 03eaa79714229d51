"""What were the best quotes and the depth of an order book that comes as snapshots and changes?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.arrays import Floats, Ints
from data.errors import DataError, ParameterError
from data.flow import book_kernels as kernel
from data.records import BOOK, DEPTH, QUOTES, UNKNOWN, Kind, Records, Values

CHUNK = 1 << 14  # rows at a time, so that what may come of them is small
MOST_LEVELS = 1 << 21  # a side: a book with more never loses any, which is a fault of its source
KEPT = 1 << 16  # changes that may have come before a snapshot arrives that lacks them: some 40 s of a busy market
_NUMBERS = ("first_update", "last_update", "previous_update", "message")


@dataclass(frozen=True)
class BookFaults:
    """What was wrong with the messages of a book.

    `gaps` counts messages whose sequence number is not the next, `gap_rows` are the first hundred rows that show one;
    `crossed` counts messages after which a bid was at or above an ask, `repeated` those that came twice and were passed
    over, `refused` rows that are no level: each loses the book, as a gap does.
    """

    messages: int
    gaps: int
    gap_rows: tuple[int, ...]
    crossed: int
    repeated: int
    refused: int

    def __str__(self) -> str:
        told = f"{self.messages} messages: {self.gaps} gaps, {self.crossed} crossed, {self.repeated} repeated"
        return f"{told}, {self.refused} rows refused" + (f", gaps at rows {self.gap_rows}" if self.gaps else "")


@dataclass(frozen=True, eq=False)
class BookPath:
    """What a book showed: QUOTES after each message that changed the best of it, and DEPTH at the instants of a clock.

    A quote is NaN from where the book is not known (see `BookFold`), and while it is crossed; an empty side of a known
    book is a NaN price of size 0. DEPTH has a row a band and side, bids below 0.
    """

    quotes: Records
    depth: Records
    faults: BookFaults


class BookFold:
    """A book that is followed message by message as batches come; what it shows is the same bits however they are cut.

    A snapshot replaces the book. Changes that it has already are passed over, and those that it lacks, where it arrives
    late, are put into it again. A change must follow the one before: by
    `previous_update` where the venue says it (Binance futures), else by `first_update` (spot). After a gap the book is
    unknown until the next snapshot. A source without any snapshot is believed from where both sides have been seen, and
    anew after a gap; its book lacks what has not changed since, so that what it shows is at most what was offered.

    Parameters
    ----------
    bands : K distances from the mid at which depth is measured, rising, as shares of it.
    step : seconds between samples of depth, at multiples of it in UTC; one is made where a message came since the last.
    multiplier : quote currency that one of `size` is worth a unit of price or, `inverse`, whatever the price.
    inverse : whether size counts contracts of a fixed value in quote currency.

    Raises
    ------
    ParameterError
        For bands that do not rise from above 0 or reach 1, or a step or multiplier that is not positive.
    """

    def __init__(
        self, bands: Sequence[float] = (), step: float = 60.0, multiplier: float = 1.0, *, inverse: bool = False
    ) -> None:
        if not ((np.diff(bands, prepend=0.0) > 0).all() and all(band < 1 for band in bands)):
            raise ParameterError(f"bands must rise within (0, 1), got {tuple(bands)}. Typical: 0.001, 0.01, 0.05.")
        if not (1e-3 <= step < np.inf and 0 < multiplier < np.inf):
            raise ParameterError(f"expected a step of at least 1 ms and a multiplier > 0, got {step}, {multiplier}")
        self.bands, self.step, self.multiplier, self.inverse = tuple(bands), step, multiplier, inverse
        self._bands = np.array(self.bands, dtype=np.float64)
        self._every = round(step * 1e9) if self.bands else 0
        self._keys, self._sizes = np.empty((2, 2, CHUNK))
        self._count = np.zeros(2, dtype=np.int64)
        self._memory = np.zeros(kernel.MEMORY, dtype=np.int64)
        self._memory[[kernel.SEQUENCE, kernel.MESSAGE, kernel.LAST]] = UNKNOWN
        self._memory[kernel.DUE] = kernel.UNSET
        self._memory[[kernel.NEWEST, kernel.COVERED]] = kernel.UNSET, kernel.NOTHING
        self._ring, self._ring_last = np.empty((KEPT, 3)), np.empty(KEPT, dtype=np.int64)
        self._shown = np.full(4, np.nan)
        self._gap_rows: list[int] = []
        self._of: tuple[str, str] | None = None

    @property
    def faults(self) -> BookFaults:
        """What was wrong up to here, the message that is open being taken for whole."""
        counted = self._now()[1][kernel.MESSAGES :].tolist()
        return BookFaults(counted[0], counted[1], tuple(self._gap_rows[:100]), *counted[2:])

    def levels(self) -> tuple[Floats, Floats]:
        """Price and size of the bids and of the asks that stand now, (levels, 2) each, the best first."""
        _, _, (keys, sizes, count) = self._now()
        bids, asks = (
            np.column_stack([np.abs(keys[side, :n]), sizes[side, :n]])[::-1] for side, n in enumerate(count.tolist())
        )
        return bids, asks

    def add(self, records: Records) -> tuple[Records, Records]:
        """The QUOTES and DEPTH that these rows of BOOK bring; a message's quote comes once the next has begun.

        DataError for rows of another kind, venue or symbol than before, an unknown instant, or a book without end.
        """
        self._refuse_foreign(records)
        numbers = np.full((len(records), 4), UNKNOWN)
        for at, name in enumerate(_NUMBERS):
            if name in records.columns:
                numbers[:, at] = records[name]
        parts = [
            self._followed(records.where(slice(at, at + CHUNK)), numbers[at : at + CHUNK])
            for at in range(0, max(len(records), 1), CHUNK)
        ]
        quotes, depth = ([part[which] for part in parts] for which in (0, 1))
        return _joined(quotes), _joined(depth)

    def finish(self) -> Records:
        """The quote after the last message, as if the source ended here: one or none. The fold can go on all the same.

        A sample of depth whose instant no message has passed is none.
        """
        best, memory, _ = self._now()
        changed = not kernel.same(best, self._shown)
        stamps = memory[[kernel.TIME, kernel.RECEIVED, kernel.LAST]]
        return self._quotes(best[None][: int(changed)], stamps[None][: int(changed)])

    def _now(self) -> tuple[Floats, Ints, tuple[Floats, Floats, Ints]]:
        """The quote, the memory and the book if the open message ended here."""
        best, memory = self._shown.copy(), self._memory.copy()
        book = (self._keys.copy(), self._sizes.copy(), self._count.copy())
        if memory[kernel.OPEN]:
            kernel.close(memory, *book, self._ring, self._ring_last)
            kernel.quote(memory, *book, best)
        return best, memory, book

    def _refuse_foreign(self, records: Records) -> None:
        self._of = self._of or (records.venue, records.symbol)
        if records.kind is not BOOK or (records.venue, records.symbol) != self._of:
            raise DataError(
                f"expected rows of the book of {self._of}, got {records.kind.name} of {records.venue, records.symbol}"
            )
        unknown = np.isnat(records["time"])
        if unknown.any():
            raise DataError(f"a change of a book needs an instant, got none at row {records.row[unknown.argmax()]}")

    def _followed(self, records: Records, numbers: Ints) -> tuple[Records, Records]:
        self._make_room(len(records))
        size, bands = len(records) + 1, len(self.bands)
        quotes, stamps = np.empty((size, 4)), np.empty((size, 3), dtype=np.int64)
        depth, instants = np.empty((size, 2, 2, bands)), np.empty(size, dtype=np.int64)
        gaps = np.empty(size, dtype=np.int64)
        received = records.columns.get("received", records["time"])
        stamped = (np.ascontiguousarray(column).view(np.int64) for column in (records["time"], received))
        level = (np.ascontiguousarray(records[name]) for name in ("side", "price", "size", "snapshot"))
        book = (self._keys, self._sizes, self._count, self._memory, self._ring, self._ring_last, self._shown)
        asked: tuple[Any, ...] = (self._bands, self.inverse, self._every)
        shown = (quotes, stamps, depth, instants, gaps)
        given: tuple[Any, ...] = (*stamped, *level, numbers, *book, *asked, *shown)
        quoted, sampled, missed = kernel.follow(*given)
        if len(self._gap_rows) < 100:
            self._gap_rows += records.row[gaps[:missed]].tolist()
        return self._quotes(quotes[:quoted], stamps[:quoted]), self._depth(depth[:sampled], instants[:sampled])

    def _make_room(self, rows: int) -> None:
        """Room for as many levels more on either side as there are rows, and as a late snapshot may bring back."""
        needed = int(self._count.max()) + rows + int(self._memory[kernel.HEAD] - self._memory[kernel.TAIL])
        if needed > MOST_LEVELS:
            raise DataError(
                f"expected a book of at most {MOST_LEVELS} levels, got {needed}: levels are never taken away"
            )
        if needed > self._keys.shape[1]:
            more = ((0, 0), (0, max(needed - self._keys.shape[1], self._keys.shape[1])))
            self._keys, self._sizes = np.pad(self._keys, more), np.pad(self._sizes, more)

    def _quotes(self, quotes: Floats, stamps: Ints) -> Records:
        time, received = (stamps[:, at].copy().view("datetime64[ns]") for at in (0, 1))
        figures = dict(zip(("bid", "ask", "bid_size", "ask_size"), quotes.T.copy(), strict=True))
        columns = {"time": time, **figures, "update": stamps[:, 2].copy(), "received": received}
        return self._records(QUOTES, columns)

    def _depth(self, depth: Floats, instants: Ints) -> Records:
        """(S, 2 figures, 2 sides, K) as rows: at each instant bids from the nearest band on, and then asks."""
        bands = np.concatenate([-self._bands, self._bands])
        time = np.repeat(instants.view("datetime64[ns]"), len(bands))
        size, notional = (depth[:, which].ravel() for which in (0, 1))
        columns = {
            "time": time,
            "band": np.tile(bands, len(instants)),
            "size": size,
            "notional": notional * self.multiplier,
        }
        return self._records(DEPTH, columns)

    def _records(self, kind: Kind, columns: Mapping[str, Values]) -> Records:
        venue, symbol = self._of or ("", "")
        return Records(kind, venue, symbol, columns, np.arange(1, len(columns["time"]) + 1))


def follow(
    records: Iterable[Records],
    bands: Sequence[float] = (),
    step: float = 60.0,
    multiplier: float = 1.0,
    *,
    inverse: bool = False,
) -> BookPath:
    """What a whole book showed, batch by batch; parameters and errors as of `BookFold`, DataError where no batch comes.

    Memory is that of one batch, of the book and of what is shown.
    """
    fold = BookFold(bands, step, multiplier, inverse=inverse)
    parts = [fold.add(batch) for batch in records]
    if not parts:
        raise DataError("expected the rows of a book, got no batch")
    quotes, depth = zip(*parts, strict=True)
    return BookPath(_joined([*quotes, fold.finish()]), _joined(depth), fold.faults)


def mid(quotes: Records) -> Floats:
    """Middle of the best bid and ask, (R,), in quote currency; NaN where either is unknown."""
    return np.asarray((quotes["bid"] + quotes["ask"]) / 2.0)


def _joined(parts: Sequence[Records]) -> Records:
    """Rows one after another, numbered through."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns}
    one = parts[0]
    return Records(one.kind, one.venue, one.symbol, columns, np.arange(1, len(columns["time"]) + 1))
