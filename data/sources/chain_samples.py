"""Which option chains can be had on a fresh machine, and what must be known before believing them?"""

import ast
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.arrays import Floats
from data.clock import Stamps
from data.errors import DataError, ParameterError, SourceError
from data.option_quotes import OptionQuotes, read_chain
from data.pricing import black76
from data.sources.readers import Members
from data.sources.wheels import Wheel, fetch, member
from data.storage import store_folder

_STOCHVOLMODELS = Wheel("stochvolmodels", "2.6.0", "cb569698068105fe81f84fbfc04029d943216bf90004cbb359410deb24f3277b")
_BTC_EXPIRIES = {
    "5NOV21": "2021-11-05T08:00",
    "26NOV21": "2021-11-26T08:00",
    "31DEC21": "2021-12-31T08:00",
    "25MAR22": "2022-03-25T08:00",
}
_FILE_YEAR, _VENUE_YEAR = 360, 365  # days: of the file's tenors, and of the volatilities that Deribit quotes
_FILE_CLOCK = np.timedelta64(2, "h")  # by which the file's clock is ahead of UTC
_AGREEMENT = np.timedelta64(1, "s")
_DAY = np.timedelta64(1, "D") / np.timedelta64(1, "ns")

# The variables of one chain in the file: a figure an expiry, and a figure an option within each expiry.
_PER_EXPIRY = {"tenor": "ttms", "forward": "forwards"}
_PER_OPTION = {"strike": "strikes_ttms", "right": "optiontypes_ttms", "bid": "bid_ivs", "ask": "ask_ivs"}


@dataclass(frozen=True)
class ChainSample:
    """An option chain that can be had by name; `read` makes of the files of its wheel a plain frame for read_chain."""

    name: str
    title: str
    licence: str
    remarks: str
    read: Callable[[Members], pd.DataFrame]
    wheel: Wheel

    @property
    def source(self) -> str:
        """The line that says where the chain is from."""
        return f"{self.name}: {self.wheel} (sha256 {self.wheel.sha256[:12]})"


def load_chain(
    name: str, at: str | None = None, *, progress: bool = True, store: Path | None = None
) -> dict[str, OptionQuotes]:
    """The quotes of each underlying in a chain of CHAINS, which is fetched at its first use.

    `at` is read as `read_chain` does. The remarks of the quotes begin with where they are from and what to mind.

    Raises
    ------
    ParameterError
        If there is no chain of that name.
    SourceError
        If its wheel is neither in the store nor to be had, or does not hold what it should.
    DataError
        If the chain was taken after `at`.
    """
    if name not in CHAINS:
        raise ParameterError(f"a sample of an option chain is one of {', '.join(CHAINS)}, got {name!r}")
    sample = CHAINS[name]
    try:
        (path,) = fetch([sample.wheel], store or store_folder(), progress)
    except SourceError as error:
        raise SourceError(f"{error}; what works without it: option chains in your own files") from error
    plain = sample.read(functools.partial(member, path.read_bytes()))
    try:
        chain = read_chain(plain, at)
    except DataError as error:
        raise DataError(f"{name}, taken {plain['time'].max()} UTC: {error}") from error
    return {
        underlying: replace(quotes, remarks=(sample.source, sample.remarks, *quotes.remarks))
        for underlying, quotes in chain.items()
    }


def chain_in(code: bytes, function: str) -> pd.DataFrame:
    """The chain that a Python function writes down, read from its text; nothing of it is ever run.

    The function may only assign literals, or arrays of them, to ticker, ttms, forwards, strikes_ttms,
    optiontypes_ttms ("C" or "P"), bid_ivs and ask_ivs, and then return.

    Returns
    -------
    A row an option: underlying, place (of its expiry, from 0), tenor (years, as the file counts them), forward,
    strike, right, bid and ask (volatilities).

    Raises
    ------
    SourceError
        Where the text is no such function, or its figures do not fit together.
    """
    written = _assignments(code, function)
    ticker = _literal(written, "ticker", function)
    if not isinstance(ticker, str) or not ticker:
        raise SourceError(f"{function}: ticker must be a name, got {_short(ticker)}")
    by_expiry = {column: _rows(written, name, function) for column, name in _PER_EXPIRY.items()}
    by_option = {column: _nested_rows(written, name, function) for column, name in _PER_OPTION.items()}
    lengths = {_PER_OPTION[column]: [len(row) for row in rows] for column, rows in by_option.items()}
    counts = lengths["strikes_ttms"]
    expiries = {len(counts), *map(len, by_expiry.values())}
    if len(expiries) != 1 or any(told != counts for told in lengths.values()) or not all(counts) or not counts:
        raise SourceError(f"{function} must tell as much of every option and expiry, got {sorted(expiries)}, {lengths}")
    frame = pd.DataFrame(
        {"underlying": ticker, "place": np.repeat(np.arange(len(counts)), counts)}
        | {column: np.repeat(np.array(row), counts) for column, row in by_expiry.items()}
        | {column: [figure for row in rows for figure in row] for column, rows in by_option.items()}
    )
    _require_figures(frame, function)
    return frame


def _assignments(code: bytes, function: str) -> dict[str, ast.expr]:
    """What a function assigns to each name; a function that does anything else could change it, and is refused."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SourceError(f"the text of {function} must be Python, got: {error}") from error
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    if len(found) != 1:
        raise SourceError(f"the file must hold one function {function}, got {len(found)}")
    written: dict[str, ast.expr] = {}
    for statement in found[0].body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in written:
                written[name] = value
            case ast.Return() | ast.Expr(value=ast.Constant()):
                pass
            case _:
                raise SourceError(
                    f"{function} must assign each of its names once and return, got {type(statement).__name__} "
                    f"in line {statement.lineno}"
                )
    return written


def _literal(written: Mapping[str, ast.expr], name: str, function: str) -> Any:
    """The value of a name as numbers, strings and lists of them."""
    if name not in written:
        raise SourceError(f"{function} must assign {name}, got {', '.join(written) or 'nothing'}")
    try:
        return _value(written[name])
    except (ValueError, TypeError) as error:
        raise SourceError(f"{function}: {name} must be written out in figures, got: {error}") from error


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id="array") | ast.Attribute(attr="array"), args=[inner]):
            return _value(inner)
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return [_value(item) for item in items]
    return ast.literal_eval(node)


def _rows(written: Mapping[str, ast.expr], name: str, function: str) -> list[Any]:
    row = _literal(written, name, function)
    if not _is_row(row):
        raise SourceError(f"{function}: {name} must be an array of figures, got {_short(row)}")
    return list(row)


def _nested_rows(written: Mapping[str, ast.expr], name: str, function: str) -> list[list[Any]]:
    rows = _literal(written, name, function)
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise SourceError(f"{function}: {name} must be an array of figures for each expiry, got {_short(rows)}")
    return rows


def _is_row(value: object) -> bool:
    return isinstance(value, list) and not any(isinstance(figure, list) for figure in value)


def _require_figures(frame: pd.DataFrame, function: str) -> None:
    """Positive and finite numbers, and rights that are C or P."""
    for column, name in {**_PER_EXPIRY, **_PER_OPTION}.items():
        told = frame[column]
        if column == "right":
            broken = ~told.isin(["C", "P"])
        elif told.dtype.kind in "if":
            broken = ~(np.isfinite(told) & (told > 0))
        else:
            broken = ~told.isna()
        if broken.any():
            wanted = "'C' or 'P'" if column == "right" else "finite numbers > 0"
            raise SourceError(f"{function}: {name} must be {wanted}, got {_short(told[broken].tolist())}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _btc_options(members: Members) -> pd.DataFrame:
    """Deribit's chain in coin: what Black (1976) makes of each volatility, by the year that Deribit counts."""
    function = "get_btc_test_chain_data"
    chain = chain_in(members("stochvolmodels/data/sample_option_chains.py"), function)
    names = list(_BTC_EXPIRIES)
    if len(names) != chain["place"].iloc[-1] + 1:
        raise SourceError(f"{function} must hold {len(names)} expiries, got {chain['place'].iloc[-1] + 1}")
    expiry = np.array(list(_BTC_EXPIRIES.values()), dtype="datetime64[ns]")[chain["place"]]
    time = _instant(expiry, chain["tenor"].to_numpy(np.float64), function)
    deviation = np.sqrt((expiry - time) / np.timedelta64(1, "ns") / _DAY / _VENUE_YEAR)
    forward, strike, right = chain["forward"], chain["strike"], chain["right"]
    coin = {side: black76(forward, strike, chain[side] * deviation, right == "C") / forward for side in ("bid", "ask")}
    symbol = [
        f"BTC-{names[place]}-{level:.0f}-{side}"
        for place, level, side in zip(chain["place"], strike, right, strict=True)
    ]
    plain = chain[["underlying", "strike", "right", "forward"]]
    return plain.assign(time=pd.Timestamp(time), symbol=symbol, expiry=expiry, inverse=True, **coin)


def _instant(expiry: Stamps, tenor: Floats, function: str) -> np.datetime64:
    """When the chain was taken, in UTC to the second, which the tenor of every expiry must tell alike."""
    told = expiry - np.rint(tenor * _FILE_YEAR * _DAY).astype("timedelta64[ns]") - _FILE_CLOCK
    if told.max() - told.min() > _AGREEMENT:
        raise SourceError(f"{function}: the expiries must tell one instant, got {told.min()} to {told.max()}")
    instant: np.datetime64 = np.rint(told.min().astype(np.int64) / 1e9).astype("datetime64[s]")
    return instant


CHAINS: Mapping[str, ChainSample] = {
    sample.name: sample
    for sample in (
        ChainSample(
            "btc-options-2021",
            "BTC options of Deribit at one instant, 2021-10-20: 49 quotes, 4 expiries (a chain, no history)",
            "MIT",
            "Bid and ask volatilities, of options out of the money only; prices are Black's of them. The file has no "
            "marks, no sizes and no spot, one forward an expiry, and no instant: it dates the chain 2021-10-21, but "
            "its tenors, in years of 360 days on a clock two hours ahead of UTC, tell 2021-10-20 19:24:34 UTC, where "
            "every price in coin lies within a seventh of Deribit's tick (0.0005) of one; two hours off, they do not.",
            _btc_options,
            _STOCHVOLMODELS,
        ),
    )
}
