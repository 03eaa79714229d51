"""What did Deribit's public interface publish of the past: its volatility index, trades and funding?

Methods of https://docs.deribit.com. Each file is one answer in the venue's own form, its pages joined in the order of
time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from data.errors import ParameterError, SourceError
from data.fetch.pages import LATE, Piece, by_day, by_month
from data.fetch.waiting import TryAgain
from data.fetch.web import Web

BASE = "https://www.deribit.com/api/v2/"
INTERVAL = 0.1  # seconds between two requests: half of what the venue grants those without an account
KINDS = ("dvol", "trades", "funding")
RESOLUTIONS = ("1", "60", "3600", "43200", "1D")
_COUNT = 1000  # rows of a page
_FUNDING_SPAN = 10 * 86_400_000  # milliseconds, hourly rows of which stay within a page
_BUSY = (10028, 10047, 11051, 13503, 13888)  # error codes of too many requests, of matching stopped, and of timeouts
_NAME = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,63}")


class Deribit:
    """Deribit's public history.

    Parameters
    ----------
    web : asks the interface; `history.deribit.com/api/v2/` has older trades than `www`.
    """

    def __init__(self, web: Web) -> None:
        self._web = web

    def pieces(
        self, kinds: Sequence[str], currency: str, instruments: Sequence[str], first: date, last: date, resolution: str
    ) -> list[Piece]:
        """The files of some kinds between two days, both included.

        Parameters
        ----------
        kinds : of KINDS. The volatility index is of the currency, trades and funding of each instrument.
        instruments : the currency's perpetual where none is named.
        resolution : of the volatility index, seconds or "1D".

        Raises
        ------
        ParameterError
            If one of them is not as described.
        """
        names = [_name(name) for name in instruments] or [f"{_name(currency)}-PERPETUAL"]
        strange = [kind for kind in kinds if kind not in KINDS]
        if strange or not kinds:
            raise ParameterError(f"the kinds must be of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}")
        if resolution not in RESOLUTIONS:
            raise ParameterError(f"the resolution must be one of {', '.join(RESOLUTIONS)}, got {resolution!r}")
        found: list[Piece] = []
        for kind in dict.fromkeys(kinds):
            if kind == "dvol":
                found += self._dvol(_name(currency), resolution, first, last)
            else:
                found += [piece for name in names for piece in self._of(kind, name, first, last)]
        return found

    def volatility(self, currency: str, resolution: str, begin: int, end: int) -> list[Any]:
        """Rows [ms, open, high, low, close] from `begin` to before `end`; the venue gives the newest page first."""
        found: dict[int, Any] = {}
        last = end - 1
        while True:
            asked = {"currency": currency, "resolution": resolution, "start_timestamp": begin, "end_timestamp": last}
            result = self._result("public/get_volatility_index_data", asked, "data")
            rows, before = result["data"], result.get("continuation")
            if not all(isinstance(row, list) and len(row) == 5 and isinstance(row[0], int) for row in rows):
                raise SourceError(f"rows of the volatility index must be five numbers, got {str(rows)[:80]}")
            for row in rows:
                found.setdefault(row[0], row)
            if before is None or (isinstance(before, int) and before < begin):
                return [found[stamp] for stamp in sorted(found) if begin <= stamp < end]
            if not isinstance(before, int) or before >= last or not rows:
                raise SourceError(f"a continuation must go back from {last}, got {before!r} after {len(rows)} rows")
            last = before

    def trades(self, instrument: str, begin: int, end: int) -> list[Any]:
        """Trades from `begin` to before `end` in the order of time, each once."""
        found: dict[str, Any] = {}
        since = begin
        while True:
            asked = {"instrument_name": instrument, "start_timestamp": since, "end_timestamp": end - 1}
            paged = {**asked, "count": _COUNT, "sorting": "asc"}
            result = self._result("public/get_last_trades_by_instrument_and_time", paged, "trades")
            rows = result["trades"]
            new = [row for row in rows if _stamped(row)["trade_id"] not in found]
            found.update({row["trade_id"]: row for row in new})
            if not result.get("has_more"):
                return sorted(found.values(), key=lambda row: (row["timestamp"], row.get("trade_seq", 0)))
            latest = max((row["timestamp"] for row in rows), default=since)
            if not new or latest < since:
                raise SourceError(f"{instrument}: a page of {len(rows)} trades at {since} does not lead on to the next")
            since = latest

    def funding(self, instrument: str, begin: int, end: int) -> list[Any]:
        """Hourly funding rows from `begin` to before `end`."""
        found: dict[int, Any] = {}
        for start in range(begin, end, _FUNDING_SPAN):
            stop = min(start + _FUNDING_SPAN, end) - 1
            asked = {"instrument_name": instrument, "start_timestamp": start, "end_timestamp": stop}
            for row in self._answer("public/get_funding_rate_history", asked, list):
                if not isinstance(row, dict) or not isinstance(row.get("timestamp"), int):
                    raise SourceError(f"a funding row must have a timestamp, got {str(row)[:80]}")
                found[row["timestamp"]] = row
        return [found[stamp] for stamp in sorted(found) if begin <= stamp < end]

    def _dvol(self, currency: str, resolution: str, first: date, last: date) -> Iterator[Piece]:
        for period, begin, end in (by_day if resolution == "1" else by_month)(first, last):
            path = f"dvol/{currency}/{currency}-DVOL_{resolution}_{period}.json"
            yield Piece(
                *(f"{currency} dvol-{resolution}", period, path, begin, end),
                rows=lambda begin, end: self.volatility(currency, resolution, begin, end),
                document=lambda rows: {"jsonrpc": "2.0", "result": {"data": rows, "continuation": None}},
                width=86_400_000 if resolution == "1D" else int(resolution) * 1000,
            )

    def _of(self, kind: str, instrument: str, first: date, last: date) -> Iterator[Piece]:
        trades = kind == "trades"
        for period, begin, end in (by_day if trades else by_month)(first, last):
            yield Piece(
                *(f"{instrument} {kind}", period, f"{kind}/{instrument}/{instrument}_{kind}_{period}.json", begin, end),
                rows=lambda begin, end: (self.trades if trades else self.funding)(instrument, begin, end),
                document=lambda rows: {"jsonrpc": "2.0", "result": _traded(rows) if trades else rows},
                width=LATE,
            )

    def _result(self, method: str, query: Mapping[str, Any], listed: str) -> dict[str, Any]:
        """A result that lists something."""
        result: dict[str, Any] = self._answer(method, query, dict)
        if not isinstance(result.get(listed), list):
            raise SourceError(f"{method} must list {listed}, got {str(result)[:80]}")
        return result

    def _answer(self, method: str, query: Mapping[str, Any], form: type) -> Any:
        return self._web.waiter.persist(lambda: self._asked(method, query, form))

    def _asked(self, method: str, query: Mapping[str, Any], form: type) -> Any:
        document = self._web.document(method, query)
        error = document.get("error") if isinstance(document, dict) else None
        if isinstance(error, dict):
            said = f"{method}: {error.get('message')} ({error.get('code')})"
            raise (TryAgain if error.get("code") in _BUSY else SourceError)(said)
        if not isinstance(document, dict) or not isinstance(document.get("result"), form):
            raise SourceError(f"{method} must answer with a result, got {str(document)[:80]}")
        return document["result"]


def _traded(rows: list[Any]) -> dict[str, Any]:
    return {"trades": rows, "has_more": False}


def _stamped(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("timestamp"), int) or "trade_id" not in row:
        raise SourceError(f"a trade must have a timestamp and a trade_id, got {str(row)[:80]}")
    return row


def _name(text: str) -> str:
    name = text.strip().upper()
    if not _NAME.fullmatch(name):
        raise ParameterError(f"a currency or instrument must be a name such as BTC or BTC-PERPETUAL, got {text!r}")
    return name
