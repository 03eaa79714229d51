"""What could be traded where an option chain was quoted, and at what marks?"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from data.arrays import Floats
from data.errors import DataError, ParameterError, SourceError
from data.history import MarketHistory, MarketState
from data.instruments import Instrument
from data.option_quotes import STALE, OptionQuotes, read_chain
from data.smiles import SurfaceFit, fit_surface
from data.sources.chain_samples import CHAINS, load_chain

QUARANTINE = ["underlying", "row", "symbol", "rule"]
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True, eq=False)
class ChainMarket:
    """One instant of one or several option chains, and what can be held there.

    Parameters
    ----------
    history : one row: spot, curves and surfaces fitted to the quotes, and the options' own marks in USD.
    contracts : by symbol, what can be held: the options that were not quarantined, under their names in the chain,
        and of each underlying X its spot "X", a linear perpetual "X-PERP" of one unit, a perpetual "X-PERPETUAL" and a
        future for each expiry (an option's symbol up to the strike, as "BTC-27MAR26"). The last two settle as the
        options do: where these are paid in coin, one contract is 1 USD, inverse. An option is on one unit.
    fits : the surface of each underlying, and how well it tells the quotes.
    quarantine : quotes that were left out: underlying, row of its source (from 0), symbol, rule.
    remarks : what was guessed of the sources.
    """

    history: MarketHistory
    contracts: Mapping[str, Instrument]
    fits: Mapping[str, SurfaceFit]
    quarantine: pd.DataFrame
    remarks: tuple[str, ...] = ()

    @property
    def state(self) -> MarketState:
        """The instant."""
        return self.history.now

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What can be held."""
        return tuple(self.contracts.values())

    @property
    def quality(self) -> pd.DataFrame:
        """How well each surface tells its quotes, a row an underlying and expiry (see SurfaceFit)."""
        reports = [fit.report.assign(underlying=name) for name, fit in self.fits.items()]
        table = pd.concat(reports, ignore_index=True)
        return table[["underlying", *(column for column in table.columns if column != "underlying")]]

    def __repr__(self) -> str:
        options = sum(instrument.kind == "option" for instrument in self.instruments)
        instant = str(self.state.time)[:16]
        names = ", ".join(self.state.underlyings)
        return f"ChainMarket({names}; {instant} UTC; {options} options, {len(self.quarantine)} left out)"


def read_chain_market(sources: str | Path | Sequence[str | Path], at: str | None = None) -> ChainMarket:
    """The market of one chain file, or of several that have different underlyings, as `read_chain` reads each.

    A source may be the name of a chain in data/sources/chain_samples.py, which comes before a file of that name.

    Raises
    ------
    ParameterError
        If `at` is no instant.
    SourceError
        If a file cannot be read.
    DataError
        If one is no chain, an underlying is in two files, or what `chain_market` refuses.
    """
    _refuse_no_instant(at)
    paths = [sources] if isinstance(sources, (str, Path)) else list(sources)
    chains: dict[str, OptionQuotes] = {}
    for path in map(Path, paths):
        for underlying, quotes in _read(path, at).items():
            if underlying in chains:
                raise DataError(f"{path.name}: an underlying must be in one chain, got {underlying} a second time")
            chains[underlying] = quotes
    return chain_market(chains, ", ".join(Path(path).name for path in paths))


def _refuse_no_instant(at: str | None) -> None:
    try:
        missing = at is not None and pd.isna(pd.Timestamp(at))
    except ValueError:
        missing = True
    if missing:
        raise ParameterError(f"at must be an instant such as 2026-01-05T04:00, got {at!r}")


def _read(path: Path, at: str | None) -> dict[str, OptionQuotes]:
    if str(path) in CHAINS:
        return load_chain(str(path), at)
    unreadable = (OSError, EOFError, zlib.error, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError)
    try:
        return read_chain(path, at)
    except FileNotFoundError as error:
        from data.sources.samples import SAMPLES

        hint = "; that is a history: use --history" if str(path) in SAMPLES else ""
        raise SourceError(
            f"{path}: an option chain must be a CSV file or a sample of a chain ({', '.join(CHAINS)}), "
            f"and there is no such file{hint}"
        ) from error
    except unreadable as error:
        raise SourceError(f"{path}: an option chain must be a CSV file that can be read: {error}") from error


def chain_market(chains: Mapping[str, OptionQuotes], source: str = "quotes") -> ChainMarket:
    """The market that quotes make; its instant is the latest of theirs.

    An underlying without a usable quote is left out, and its quarantine says why.

    Raises
    ------
    DataError
        If no underlying has a usable quote, instants are more than an hour apart, a spot price is not > 0, or two
        contracts share a symbol.
    """
    time = _instant(chains, source)
    timed = {name: _as_of(quotes, time) for name, quotes in chains.items()}
    usable = {name: quotes for name, quotes in timed.items() if len(quotes)}
    if not usable:
        raise DataError(f"{source}: at least one underlying with a usable quote is needed, got none")
    spots = {name: quotes.spot for name, quotes in usable.items()}
    if not all(np.isfinite(spot) and spot > 0 for spot in spots.values()):
        raise DataError(f"{source}: spot prices must be > 0, got {spots}")
    fits = {name: fit_surface(quotes) for name, quotes in usable.items()}
    contracts: dict[str, Instrument] = {}
    for quotes in usable.values():
        for one in _contracts(quotes):
            if one.symbol in contracts:
                raise DataError(f"{source}: contracts must differ in symbol, got {one.symbol} twice")
            contracts[one.symbol] = one
    left_out = [quotes.quarantine.assign(underlying=name)[QUARANTINE] for name, quotes in timed.items()]
    # A row without an underlying stands in every quarantine of its file.
    quarantine = pd.concat(left_out, ignore_index=True)
    homeless = quarantine["rule"] == "missing underlying"
    quarantine.loc[homeless, "underlying"] = ""
    remarks = [f"{name}: {remark}" for name, quotes in timed.items() for remark in quotes.remarks]
    remarks += [f"{name}: no usable quote, so that nothing of it can be held" for name in timed if name not in usable]
    return ChainMarket(
        _one_row(usable, fits, time, source), contracts, fits, quarantine.drop_duplicates(), tuple(remarks)
    )


def _instant(chains: Mapping[str, OptionQuotes], source: str) -> np.datetime64:
    times = [quotes.time for quotes in chains.values() if len(quotes)]
    if not times:
        raise DataError(f"{source}: at least one underlying with a usable quote is needed, got none")
    if max(times) - min(times) > STALE:
        told = {name: str(quotes.time)[:16] for name, quotes in chains.items() if len(quotes)}
        raise DataError(f"{source}: chains of one market must be taken within an hour of each other, got {told}")
    return max(times)


def _as_of(quotes: OptionQuotes, time: np.datetime64) -> OptionQuotes:
    """The quotes at the market's instant; what has expired since they were taken is quarantined."""
    gone = quotes.expiry <= time
    expired = pd.DataFrame({"row": -1, "symbol": quotes.symbol[gone], "rule": "expired"})
    quarantine = pd.concat([quotes.quarantine, expired], ignore_index=True) if gone.any() else quotes.quarantine
    return replace(quotes.only(~gone), time=time, quarantine=quarantine)


def _one_row(
    chains: Mapping[str, OptionQuotes], fits: Mapping[str, SurfaceFit], time: np.datetime64, source: str
) -> MarketHistory:
    return MarketHistory(
        np.array([time], dtype="datetime64[ns]"),
        tuple(chains),
        np.array([[quotes.spot for quotes in chains.values()]]),
        listed=tuple(str(symbol) for quotes in chains.values() for symbol in quotes.symbol),
        marks=np.concatenate([_marks_now(quotes) for quotes in chains.values()])[None],
        curves=_stacked([fit.curve for fit in fits.values()])[None],
        surfaces=_stacked([fit.surface for fit in fits.values()])[None],
        implied="quotes",
        source=source,
    )


def _marks_now(quotes: OptionQuotes) -> Floats:
    """USD paid now for one option, (N,): a coin premium counts at spot, and a chain tells no rate to discount at."""
    return np.asarray(quotes.mark / quotes.forward * quotes.spot if quotes.inverse else quotes.mark)


def _stacked(tables: list[Floats]) -> Floats:
    """(A, K, C) of tables with K rows at most; NaN where one has fewer."""
    stacked = np.full((len(tables), max(map(len, tables)), tables[0].shape[1]), np.nan)
    for place, table in zip(stacked, tables, strict=True):
        place[: len(table)] = table
    return stacked


def _contracts(quotes: OptionQuotes) -> list[Instrument]:
    """Spot, perpetuals, a future for each expiry, and the options of one underlying."""
    name = quotes.underlying
    settled: Literal["linear", "inverse"] = "inverse" if quotes.inverse else "linear"
    futures: dict[np.datetime64, Instrument] = {}
    options = []
    for symbol, strike, expiry, call in zip(quotes.symbol, quotes.strike, quotes.expiry, quotes.call, strict=True):
        until = str(expiry)
        futures.setdefault(
            expiry, Instrument(_future_symbol(name, symbol, expiry), name, "future", settlement=settled, expiry=until)
        )
        right: Literal["call", "put"] = "call" if call else "put"
        options.append(
            Instrument(str(symbol), name, "option", settlement=settled, expiry=until, strike=float(strike), right=right)
        )
    # Where two expiries share a day and symbols do not tell them apart, only the nearer one can be held.
    dated = {future.symbol: future for _, future in sorted(futures.items(), reverse=True)}
    return [
        Instrument(name, name, "spot"),
        Instrument(f"{name}-PERP", name),
        Instrument(f"{name}-PERPETUAL", name, settlement=settled),
        *reversed(dated.values()),
        *options,
    ]


def _future_symbol(underlying: str, option: str, expiry: np.datetime64) -> str:
    """What the venue would call the future: an option's symbol up to the strike, else BTC-9JAN26."""
    parts = option.split("-")
    if len(parts) > 3 and option.startswith(f"{underlying}-"):
        return "-".join(parts[:-2])
    day = pd.Timestamp(expiry)
    return f"{underlying}-{day.day}{MONTHS[day.month - 1]}{day.year % 100:02d}"
