"""Which positions does a file hold, and is each of them to be had in the market?"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.books import Book
from data.chain_market import MONTHS, ChainMarket
from data.errors import DataError, SourceError
from data.instruments import Instrument
from data.sources.csv_rows import read_rows, semicolons

COLUMNS = ("portfolio", "symbol", "quantity")
PORTFOLIO = "book"  # the name of the one portfolio where a file has no such column
SHOWN = 5  # faults told at once
SETTLES = np.timedelta64(8, "h")  # of an expiry day, in UTC, where all that is known of an option is its name

_DATED = re.compile(r"-(\d{1,2})([A-Z]{3})(\d{2})(?:-|$)")


@dataclass(frozen=True, eq=False)
class BookFile:
    """A book that was read, and what was done on the way: rows summed, columns not used."""

    book: Book
    remarks: tuple[str, ...] = ()


def read_book(source: str | Path | pd.DataFrame, market: ChainMarket) -> BookFile:
    """Positions by the columns symbol, quantity and, where there are several portfolios, portfolio.

    Symbols are those of `market.contracts`; a quantity is signed contracts. Rows of one portfolio and symbol are
    summed. Portfolios and instruments keep the order in which they first stand.

    Raises
    ------
    SourceError
        If the file cannot be read.
    DataError
        If a column or every row is missing, or a row has a field too many, no portfolio, a symbol that is unknown,
        expired or quarantined, or a quantity that is no finite number. A book is never read without one of its rows.
    """
    name, word = ("frame", "row") if isinstance(source, pd.DataFrame) else (Path(source).name, "line")
    table, unused = _table(source, name)
    remarks = [f"columns not used: {', '.join(unused)}"] if unused else []
    known, left_out = market.contracts, _rules(market)
    faults: list[str] = []
    held: dict[tuple[str, str], float] = {}
    seen: dict[tuple[str, str], int] = {}
    for row, (portfolio, symbol, told) in zip(table.index, table.itertuples(index=False), strict=True):
        quantity = _quantity(told)
        fault = "the portfolio is blank" if not portfolio else _unknown(symbol, market, known, left_out)
        if not fault and not math.isfinite(quantity):
            fault = f"the quantity of {symbol} must be a finite number, got {told!r}"
        if fault:
            faults.append(f"{word} {row}: {fault}")
            continue
        held[portfolio, symbol] = held.get((portfolio, symbol), 0.0) + quantity
        seen[portfolio, symbol] = seen.get((portfolio, symbol), 0) + 1
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(f"{name}: {'; '.join(faults[:SHOWN])}{more}")
    remarks += [
        f"{count} rows of {symbol} in {portfolio} summed to {held[portfolio, symbol]:g}"
        for (portfolio, symbol), count in seen.items()
        if count > 1
    ]
    remarks += [f"{symbol} in {portfolio} comes to nothing" for (portfolio, symbol), q in held.items() if q == 0]
    return BookFile(_book(held, known), tuple(remarks))


def _book(held: Mapping[tuple[str, str], float], known: Mapping[str, Instrument]) -> Book:
    portfolios = tuple(dict.fromkeys(portfolio for portfolio, _ in held))
    symbols = tuple(dict.fromkeys(symbol for _, symbol in held))
    quantity = np.array([[held.get((portfolio, symbol), 0.0) for symbol in symbols] for portfolio in portfolios])
    return Book(tuple(known[symbol] for symbol in symbols), portfolios, quantity)


def _table(source: str | Path | pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    """Texts under COLUMNS, labelled by row (of a file: its line), blank rows left out; and the other columns."""
    if isinstance(source, pd.DataFrame):
        frame = source.astype(object).where(source.notna(), "").astype(str).reset_index(drop=True)
    else:
        unreadable = (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError)
        try:
            frame = read_rows(source, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig")
        except unreadable as error:
            raise SourceError(f"{source}: a book must be a CSV file that can be read: {error}") from error
        frame.index += 2
    frame.columns = [str(column).strip().lower() for column in frame.columns]
    missing = [column for column in COLUMNS[1:] if column not in frame.columns]
    if missing or not frame.columns.is_unique:
        raise DataError(
            f"{name}: a book has the columns symbol, quantity and, if need be, portfolio, each once; "
            f"got {list(frame.columns)}{semicolons(frame.columns)}"
        )
    unused = [column for column in frame.columns if column not in COLUMNS]
    if "portfolio" not in frame.columns:
        frame["portfolio"] = PORTFOLIO
    frame = frame.fillna("").apply(lambda column: column.str.strip())
    frame = frame[(frame[["symbol", "quantity"]] != "").any(axis=1)]
    if frame.empty:
        raise DataError(f"{name}: a book needs at least one position, got none")
    return frame[list(COLUMNS)], unused


def _quantity(text: str) -> float:
    """The number, NaN for what is none."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _rules(market: ChainMarket) -> dict[str, str]:
    """The rules that each quarantined symbol breaks."""
    rules = market.quarantine.groupby("symbol", sort=False)["rule"].unique()
    return {str(symbol): ", ".join(broken) for symbol, broken in rules.items()}


def _unknown(symbol: str, market: ChainMarket, known: Mapping[str, Instrument], left_out: Mapping[str, str]) -> str:
    """Why a symbol cannot be held, "" where it can."""
    if symbol in known:
        return ""
    if not symbol:
        return "the symbol is blank"
    if symbol in left_out:
        return f"{symbol} is quarantined in the chain, which cannot be right about it: {left_out[symbol]}"
    expiry, now = _named_expiry(symbol), market.state.time
    if expiry is not None and expiry <= now:
        return f"{symbol} expired on {str(expiry)[:10]}, the chain is of {str(now)[:16]} UTC"
    nearest = _nearest(symbol, known)
    hint = f", the nearest are {', '.join(nearest)}" if nearest else f"; underlyings are {market.state.underlyings}"
    return f"{symbol!r} is not in the chain{hint}"


def _nearest(symbol: str, known: Mapping[str, Instrument]) -> list[str]:
    """At most three symbols that may have been meant: the nearest strikes, or else what is spelt alike."""
    head, _, strike = symbol.rpartition("-")[0].rpartition("-")
    right = symbol.rpartition("-")[2]
    wanted = _quantity(strike)
    strikes = {
        name: abs(one.strike - wanted)
        for name, one in known.items()
        if one.strike is not None and name.startswith(f"{head}-") and name.endswith(f"-{right}")
    }
    if strikes and math.isfinite(wanted):
        return sorted(strikes, key=lambda name: strikes[name])[:3]
    return difflib.get_close_matches(symbol.upper(), known, 3, 0.6)


def _named_expiry(symbol: str) -> np.datetime64 | None:
    """When a contract named like BTC-9JAN26-90000-C settles; None for any other name."""
    found = _DATED.search(symbol)
    if found is None or found[2] not in MONTHS:
        return None
    try:
        day = np.datetime64(f"20{found[3]}-{MONTHS.index(found[2]) + 1:02d}-{int(found[1]):02d}")
    except ValueError:
        return None
    settled: np.datetime64 = day.astype("datetime64[ns]") + SETTLES
    return settled
