"""Is tonight's data there, is it of tonight, and is it what it was yesterday?"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import DataError, MarginlabError, MarketHistory, ParameterError
from data.arrays import Bools, Floats
from data.errors import SourceError
from data.quality import SPIKE, STALE, check
from data.snapshot import content_hash
from research.limits import Limits
from research.restated import remembered, restated
from research.study import Market

_DAY = np.timedelta64(1, "D")
AROUND, LEAST = 250, 60  # rows that tell how much an asset moves, and the fewest that can
ALONE = 8.0  # a newest return of so many robust standard deviations is looked at, unless it has company
COMPANY = 0.25  # and that is another asset, which moved the same way by that share as many of its own
EXCHANGED = 4.0  # robust standard deviations that each of two newest returns must come to, to look like the other's


@dataclass(frozen=True)
class AsOf:
    """A night: the date or instant that was asked, and the last instant whose rows belong to it (UTC)."""

    text: str
    until: np.datetime64


@dataclass(frozen=True, eq=False)
class NightData:
    """One market's history up to the night.

    `doubts` stop whatever rests on the newest rows; `remarks` are for a person to look at.
    """

    market: Market
    history: MarketHistory
    hash: str
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """Hash, first instant and length, and what is remembered of the months: what a later night compares with."""
        cut = self.history
        return {"data": self.hash, "first": str(cut.time[0]), "rows": len(cut), **remembered(cut)}


def as_of(text: str, now: datetime | None = None) -> AsOf:
    """A date (all of that day) or an instant, in UTC.

    ParameterError for anything else, and for a day or instant that has not come yet.

    >>> as_of("2024-02-29").until
    np.datetime64('2024-02-29T23:59:59.999999999')
    """
    try:
        told = np.datetime64(text)
        unit = np.datetime_data(told.dtype)[0]
    except ValueError as error:
        raise ParameterError(f"--as-of must be a date such as 2024-02-29, in UTC, got {text!r}") from error
    if unit not in ("D", "h", "m", "s") or np.isnat(told):
        raise ParameterError(f"--as-of must be a date such as 2024-02-29, in UTC, got {text!r}")
    start = told.astype("datetime64[ns]")
    if start.astype(told.dtype) != told:  # beyond what 64 bits of ns hold, it comes back another
        raise ParameterError(f"--as-of must be a date such as 2024-02-29, in UTC, got {text!r}")
    until = start + _DAY.astype("timedelta64[ns]") - np.timedelta64(1, "ns") if unit == "D" else start
    today = np.datetime64((now or datetime.now(UTC)).replace(tzinfo=None), "ns")
    if start > today:
        raise ParameterError(f"--as-of must not lie in the future, got {text}; it is {str(today)[:16]} UTC")
    return AsOf(str(told), until)


def night_data(market: Market, night: AsOf, limits: Limits, last: Mapping[str, Any]) -> NightData:
    """The history of a market cut at the night, and what is doubtful about it.

    DataError where there are no rows, the newest one is not the night's (`Limits.late` rows may lack), or a price is
    missing in it; SourceError where it cannot be loaded. `last` are the facts of the night before.
    """
    history = _loaded(market)
    cut = history.rows(0, int(np.searchsorted(history.time, night.until, side="right")))
    if not len(cut):
        raise DataError(f"{market.name}: no row up to {night.text}, the first is of {str(history.time[0])[:16]}")
    _refuse_late(market.name, cut, night, limits)
    _refuse_missing(market.name, cut, market.window)
    doubts, remarks = _doubts(cut, limits)
    looks = (*remarks, *_exchanged(cut), *_without_company(cut), *_restated(cut, last))
    return NightData(market, cut, content_hash(cut), doubts, looks)


def _loaded(market: Market) -> MarketHistory:
    """The history; where the operator's own code breaks, at a column that was renamed say, there is no data."""
    try:
        history: object = market.load()
    except (MarginlabError, MemoryError):
        raise
    except Exception as error:
        raise SourceError(f"{market.name}: its load() broke: {type(error).__name__}: {error}") from error
    if not isinstance(history, MarketHistory):
        raise SourceError(f"{market.name}: load() must give a MarketHistory, got {type(history).__name__}")
    return history


def _refuse_late(name: str, cut: MarketHistory, night: AsOf, limits: Limits) -> None:
    newest = cut.time[-1]
    late = len(cut.clock.grid(newest, night.until)) - 1
    if late > limits.late:
        raise DataError(
            f"{name}: the newest row must be of {night.text}, got {str(newest)[:16]}: {late} row(s) late, "
            f"{limits.late} allowed"
        )


def _refuse_missing(name: str, cut: MarketHistory, window: int) -> None:
    """Who had a price in the window must have one in the newest row."""
    lacking = np.isnan(cut.spot[-1]) & np.isfinite(cut.spot[-window:]).any(axis=0)
    if lacking.any():
        names = ", ".join(np.array(cut.underlyings)[lacking])
        raise DataError(f"{name}: the newest row, {str(cut.time[-1])[:16]}, must have every price, lacks {names}")


def _doubts(cut: MarketHistory, limits: Limits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    tail = cut.last(limits.recent + STALE + 1)
    doubts, remarks = [], []
    for found in check(np.asarray(tail.spot), tail.time, tail.underlyings):
        told = f"{found.symbol}: {found.check} price {found.count}x from {found.first} ({found.rule})"
        if found.check in ("spike", "stale"):
            doubts.append(told)
        elif found.check == "hole" and np.isnan(cut.spot[-limits.recent :, cut.underlyings.index(found.symbol)]).any():
            remarks.append(told)
    if len(cut) > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            move = cut.spot[-1] / cut.spot[-2]
        jumped = np.flatnonzero((move > SPIKE) | (move < 1.0 / SPIKE))
        doubts += [f"{cut.underlyings[a]}: the newest price is {move[a]:.3g} times the one before" for a in jumped]
    return tuple(doubts), tuple(remarks)


def _without_company(cut: MarketHistory) -> tuple[str, ...]:
    """Newest returns that are wild for their asset, and that no other asset shares: a wrong price looks like that.

    In a crash assets fall together (12 March 2020), and a market of one asset has nobody to ask: neither is remarked.
    The scale is 1.4826 times the median absolute return of the rows before, for which a few outliers are nothing.
    """
    asked, move, wild = _newest_moves(cut)
    told = []
    for a in np.flatnonzero(np.abs(wild) > ALONE):
        company = np.delete(wild * np.sign(wild[a]), a).max()
        if company < COMPANY * abs(wild[a]):
            ratio = float(np.exp(move[a]))
            told.append(
                f"{cut.underlyings[asked[a]]}: the newest price is {ratio:.3g} times the one before, "
                f"{abs(wild[a]):.0f} of its robust standard deviations, and no other asset moved like that"
            )
    return tuple(told)


def _exchanged(cut: MarketHistory) -> tuple[str, ...]:
    """Pairs whose newest prices are each nearer to the other's price before, in logarithms, than to their own.

    Assets that trade close to each other change places on many a day, so each must have moved by `EXCHANGED` as well.
    """
    asked, move, wild = _newest_moves(cut)
    if not len(asked):
        return ()
    before = np.log(cut.spot[-2, asked])
    nearer = np.abs((before + move)[:, None] - before) < np.abs(move)[:, None]
    pairs = np.argwhere(np.triu(nearer & nearer.T & _both(np.abs(wild) > EXCHANGED)))
    names = np.array(cut.underlyings)[asked]
    return tuple(
        f"the newest prices of {names[a]} and {names[b]} look exchanged: each is nearer to the other's price before "
        f"than to its own, {abs(wild[a]):.0f} and {abs(wild[b]):.0f} robust standard deviations away"
        for a, b in pairs
    )


def _both(one: Bools) -> Bools:
    return one[:, None] & one


def _newest_moves(cut: MarketHistory) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Assets that can be asked, their newest log returns, and these in robust standard deviations; none of one asset.

    An asset needs `LEAST` returns before its newest.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        move = np.diff(np.log(cut.spot[-AROUND - 1 :]), axis=0)
    known = np.isfinite(move)
    asked = np.flatnonzero(known[-1:].all(axis=0) & (known[:-1].sum(axis=0) >= LEAST))
    if len(asked) < 2:
        return asked[:0], np.zeros(0), np.zeros(0)
    scale = 1.4826 * np.nanmedian(np.abs(np.where(known, move, np.nan)[:-1, asked]), axis=0)
    newest = move[-1, asked]
    return asked, newest, np.divide(newest, scale, out=np.zeros(len(asked)), where=scale > 0)


def _restated(cut: MarketHistory, last: Mapping[str, Any]) -> tuple[str, ...]:
    """Whether what was known last night is no longer what it was.

    All of it is compared where the history begins where it did; else its months are: a panel may begin later every
    night, but its stamps may not shift. Nothing can be said of a night before the newest.
    """
    if not last:
        return ()
    if str(cut.time[0]) == last["first"] and len(cut) >= int(last["rows"]):
        if content_hash(cut.rows(0, int(last["rows"]))) == last["data"]:
            return ()
        return (f"the past was restated: the {last['rows']} rows of the night before have another content hash",)
    until = np.datetime64(last.get("until", "NaT"), "ns")
    if np.isnat(until) or until > cut.time[-1]:
        return ()
    if cut.time[int(np.searchsorted(cut.time, until))] != until:
        return (f"the newest row of the night before, {str(until)[:16]}, is no row tonight: stamps were shifted",)
    return restated(cut, last)


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
