"""What do the exchanges that ccxt speaks to say of their past candles and funding?

ccxt is an extra. A file is a list as `fetch_ohlcv` or `fetch_funding_rate_history` gives it, a month each.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from typing import Any

from data.errors import ParameterError, SourceError
from data.fetch.pages import LATE, Piece, by_month
from data.fetch.waiting import TryAgain, Waiter

KINDS = ("ohlcv", "funding")
_COUNT = 1000  # rows that are asked for at a time; some exchanges give fewer


@dataclass(frozen=True, eq=False)
class Exchange:
    """One exchange.

    Parameters
    ----------
    name : as ccxt has it, "binanceusdm".
    client : ccxt's object of it.
    passing : what it raises where it may go well later; ccxt's own rate limit paces the requests.
    waiter : repeats requests.
    """

    name: str
    client: Any
    passing: tuple[type[BaseException], ...]
    waiter: Waiter

    def pieces(self, kinds: Sequence[str], symbols: Sequence[str], first: date, last: date) -> list[Piece]:
        """The files of some kinds and symbols between two days, both included.

        Parameters
        ----------
        kinds : "ohlcv-1h" (any step that the exchange has) and "funding".
        symbols : as ccxt has them, "BTC/USDT" or "BTC/USDT:USDT".

        Raises
        ------
        ParameterError
            If one of them is not as described, or the exchange has no such list.
        """
        if not kinds or not symbols:
            raise ParameterError("a symbol and a kind at least must be asked for, got none")
        return [
            piece
            for symbol in dict.fromkeys(symbols)
            for kind in dict.fromkeys(kinds)
            for piece in self._pieces(_checked(symbol), kind, first, last)
        ]

    def _pieces(self, symbol: str, kind: str, first: date, last: date) -> list[Piece]:
        name, _, step = kind.partition("-")
        if name not in KINDS or (name == "ohlcv") != bool(step):
            raise ParameterError(f"the kinds must be ohlcv-STEP, such as ohlcv-1h, or funding, got {kind!r}")
        asked = "fetchOHLCV" if step else "fetchFundingRateHistory"
        if not self.client.has.get(asked):
            raise ParameterError(f"{self.name} has no {asked}, which {kind!r} needs")
        offered = self.client.timeframes or {}
        if step and step not in offered:
            raise ParameterError(f"{self.name} has the steps {', '.join(offered)}, got {kind!r}")
        plain = re.sub(r"[/:]", "-", symbol)
        return [
            Piece(
                f"{symbol} {kind}",
                period,
                f"{self.name}/{kind}/{plain}/{self.name}_{plain}_{step or 'funding'}_{period}.json",
                begin,
                end,
                rows=lambda begin, end: self._rows(symbol, step, begin, end),
                document=list,
                width=int(self.client.parse_timeframe(step)) * 1000 if step else LATE,
            )
            for period, begin, end in by_month(first, last)
        ]

    def _rows(self, symbol: str, step: str, begin: int, end: int) -> list[Any]:
        if step:
            width = int(self.client.parse_timeframe(step)) * 1000
            return _walk(
                lambda since: self._ask(self.client.fetch_ohlcv, symbol, step, since, _COUNT),
                *(lambda row: row[0], begin, end, width * _COUNT),
            )
        return _walk(
            lambda since: self._ask(self.client.fetch_funding_rate_history, symbol, since, _COUNT),
            *(lambda row: row["timestamp"], begin, end, end - begin),
        )

    def _ask(self, method: Callable[..., Any], *arguments: Any) -> list[Any]:
        def once() -> Any:
            self.waiter.turn()
            try:
                return method(*arguments)
            except self.passing as error:
                raise TryAgain(f"{self.name}: {type(error).__name__}: {str(error)[:200]}") from error
            except Exception as error:  # ccxt's many own types, of which none need be installed here
                raise SourceError(f"{self.name}: {type(error).__name__}: {str(error)[:200]}") from error

        rows = self.waiter.persist(once)
        if not isinstance(rows, list):
            raise SourceError(f"{self.name} must answer with a list, got {str(rows)[:80]}")
        return rows


def exchange(name: str, waiter: Waiter | None = None) -> Exchange:
    """An exchange by its name in ccxt; SourceError where ccxt is missing, ParameterError where it knows no such."""
    try:
        ccxt = import_module("ccxt")
    except ImportError as error:
        raise SourceError("ccxt is not installed, being an extra: pip install ccxt brings it") from error
    if name not in ccxt.exchanges:
        raise ParameterError(f"ccxt {ccxt.__version__} must know the exchange, got {name!r}")
    client = getattr(ccxt, name)({"enableRateLimit": True})
    return Exchange(name, client, (ccxt.NetworkError,), waiter or Waiter())


def _walk(page: Callable[[int], list[Any]], stamp: Callable[[Any], int], begin: int, end: int, reach: int) -> list[Any]:
    """Rows from `begin` to before `end`, asked for forwards; an empty page is stepped over by `reach` milliseconds."""
    found: dict[int, Any] = {}
    since = begin
    while since < end:
        try:
            stamps = {stamp(row): row for row in page(since)}
            fresh = {at: row for at, row in stamps.items() if since <= at < end and at not in found}
            latest = max(stamps, default=None)
        except (TypeError, KeyError, IndexError) as error:
            raise SourceError(f"rows must be stamped in milliseconds, got one without ({error!r})") from error
        found.update(fresh)
        if latest is not None and latest >= end:
            break
        since = max(fresh) + 1 if fresh else since + reach
    return [found[at] for at in sorted(found)]


def _checked(symbol: str) -> str:
    if not re.fullmatch(r"[\w-]+/[\w-]+(:[\w-]+)?", symbol):
        raise ParameterError(f"a symbol must be as ccxt has it, such as BTC/USDT or BTC/USDT:USDT, got {symbol!r}")
    return symbol
