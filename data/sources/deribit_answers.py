"""What is a message or an answer of Deribit about, and is it of the market at all?"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from data.errors import SourceError
from data.sources.json_rows import documents
from data.sources.layout import Head, RawFile

OPTION = re.compile(r"[A-Z0-9_]+-\d{1,2}[A-Z]{3}\d{2}-\d+(d\d+)?-[CP]")
_CHANNELS = {
    **{"trades": "trades", "book": "book", "ticker": "ticker", "incremental_ticker": "ticker", "quote": "quote"},
    **{"chart": "bar", "deribit_volatility_index": "volatility"},
}
_REFUSED: Mapping[str, str] = {
    **{
        "summaries": "the summaries of an account",
        "order": "the answer to an order",
        "order_id": "the answer to an order",
    },
    **{"legs": "a list of combinations", "expiration_timestamp": "the terms of instruments", "email": "an account"},
    **{"option": "a list of expiries", "future": "a list of expiries"},
}


def topic(document: Any) -> str:
    """What a document is.

    "trades", "book" (its changes), "whole book" (an answer), "grouped book" (levels joined), "ticker",
    "option ticker", "quote", "bar", "bars", "volatility", "volatility bars", "funding", "summary" or
    "option summary"; "not market data: ..." of Deribit's other answers, "" of others' files.
    """
    if not isinstance(document, dict):
        return "trades" if isinstance(document, list) and document and _is_trade(document[0]) else ""
    if "method" in document:
        return _of_message(document)
    if "error" in document and "jsonrpc" in document:
        return f"not market data: an error, {str(document['error'])[:80]}"
    if "result" not in document:
        return ""
    found = _of_result(document["result"])
    return found or ("not market data: an answer of another kind" if "jsonrpc" in document else "")


def _of_message(document: Mapping[str, Any]) -> str:
    params = document.get("params")
    if document["method"] == "heartbeat" or not isinstance(params, dict):
        return "not market data: a heartbeat"
    channel = str(params.get("channel", ""))
    if channel.startswith("user."):
        return f"not market data: an account's own channel, {channel}"
    told = _CHANNELS.get(channel.split(".")[0], "")
    if told == "book" and len(channel.split(".")) == 5:  # instrument, group, depth and interval
        return "grouped book"
    if told == "ticker" and OPTION.fullmatch(channel.split(".")[1] if "." in channel else ""):
        return "option ticker"
    return told or f"not market data that is read: the channel {channel!r}"


def _of_result(result: Any) -> str:
    if isinstance(result, list):
        return _of_list(result)
    if not isinstance(result, dict):
        return "not market data: a time, or a word"
    if isinstance(result.get("trades"), list) and "order" not in result:
        return "trades"
    if "bids" in result and "asks" in result:
        return "whole book"
    if isinstance(result.get("close"), list):  # the first column, which may be all that a head shows
        return "bars"
    if isinstance(result.get("data"), list):
        return "volatility bars"
    if "mark_price" in result and "open_interest" in result:
        return "option ticker" if "mark_iv" in result else "ticker"
    inner = next((value for value in result.values() if isinstance(value, dict)), {})
    return _refused({**inner, **result})


def _of_list(result: list[Any]) -> str:
    first = result[0] if result else None
    if isinstance(first, str):
        return "not market data: the answer to a subscription"
    if not isinstance(first, dict):
        return "not market data: an empty list" if first is None else ""
    if _is_trade(first):
        return "trades"
    if "mark_price" in first and "creation_timestamp" in first:
        return "option summary" if OPTION.fullmatch(str(first.get("instrument_name"))) else "summary"
    if {"timestamp", "interest_1h", "interest_8h"} <= set(first):
        return "funding"
    return _refused(first)


def _refused(found: Mapping[str, Any]) -> str:
    return next((f"not market data: {said}" for key, said in _REFUSED.items() if key in found), "")


def _is_trade(found: Any) -> bool:
    return isinstance(found, dict) and {"trade_seq", "instrument_name", "direction", "price"} <= set(found)


def head_topic(head: Head) -> str:
    """The topic of a file's first document."""
    return topic(head.sample) if head.form in ("json", "jsonl") else ""


def contents(raw: RawFile, wanted: str) -> Iterator[tuple[int, int, Any]]:
    """The rows of a topic in a file's documents, with the number of each and the stamp before its document.

    Of one document the rows are numbered from 1; of a document a line, a row's number is its line's. Heartbeats and
    other answers that are no market data are passed over; a line that nobody can read is None.

    Raises
    ------
    SourceError
        For a document about something else of the market: no row of it would be read.
    """
    if isinstance(raw.head.sample, list):
        yield from documents(raw)
        return
    for number, stamp, document in documents(raw):
        found = topic(document) if document is not None else wanted
        if found == wanted:
            by_line = raw.head.form == "jsonl"
            yield from ((number if by_line else at, stamp, row) for at, row in enumerate(rows_of(document), 1))
        elif not found.startswith("not market data"):
            where = f"{raw.head.file}, document {number}"
            raise SourceError(f"{where}: expected {wanted} throughout, got {found or 'another'}")


def rows_of(document: Any) -> list[Any]:
    """The rows of a document: what it lists, or the one thing that it tells."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        return [None]
    params = document.get("params")
    told = params.get("data") if isinstance(params, dict) else document.get("result")
    if not isinstance(told, dict):
        return told if isinstance(told, list) else [None]
    if isinstance(told.get("close"), list):
        return _turned(told)
    listed: list[Any] | None = next(
        (told[name] for name in ("trades", "data") if isinstance(told.get(name), list)), None
    )
    if listed is not None:
        return listed
    words = str((params or {}).get("channel")).split(".")
    named = {"instrument_name": words[2], "resolution": words[3]} if words[0] == "chart" and len(words) == 4 else {}
    return [{**told, **named}]


def _turned(chart: Mapping[str, Any]) -> list[Any]:
    """Bars out of a chart, which tells them column by column; a bar that some column lacks is of nothing."""
    names = {"ticks": "tick", **{name: name for name in ("open", "high", "low", "close", "volume", "cost")}}
    columns = [chart.get(name) for name in names]
    lists = [column if isinstance(column, list) else [] for column in columns]
    bars = [dict(zip(names.values(), cells, strict=True)) for cells in zip(*lists, strict=False)]
    return [*bars, *([None] * (max(map(len, lists)) - len(bars)))]
