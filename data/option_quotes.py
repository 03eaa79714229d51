"""What did the option market of one underlying quote at one instant, and which of its rows cannot be right?"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.arrays import Bools, Floats
from data.clock import Stamps
from data.coverage import DAYS_A_YEAR
from data.errors import DataError
from data.sources.chain_layouts import plain_chain
from data.sources.csv_rows import read_rows

NOISE = 1e-4  # share of the forward by which a price may pass its bound: a mark and its forward differ in instant
STALE = np.timedelta64(1, "h")  # a quote older than this, when the chain is taken, is no part of it
SHOWN = 5  # instants told where none is early enough
LARGEST_FRACTION = 3.0  # a chain whose median volatility is larger is in percent
_DAY = np.timedelta64(1, "D") / np.timedelta64(1, "ns")
_RIGHTS = {"call": True, "c": True, "put": False, "p": False}
_FIGURES = ("strike", "forward", "bid", "ask", "mark", "volatility", "spot")


@dataclass(frozen=True, eq=False)
class OptionQuotes:
    """The options of one underlying at one instant, N of them; prices in USD per unit of the underlying.

    Parameters
    ----------
    underlying, time : whose options, and when (UTC).
    spot : price of the underlying; where the source has none, the forward of the nearest expiry.
    symbol, strike, expiry, call : (N,) what each is; expiry datetime64[ns], call True and put False.
    forward : (N,) price of the underlying for delivery at expiry, as each quote saw it.
    bid, ask, mark : (N,) paid at expiry, undiscounted; NaN where missing. A coin price counts times the forward.
    mark_volatility : (N,) the source's own implied volatility as a fraction, NaN where it gives none.
    inverse : whether premiums and payoffs are in the underlying.
    quarantine : rows of the source that were left out: row (from 0), symbol, rule.
    remarks : what was guessed of the source.
    """

    underlying: str
    time: np.datetime64
    spot: float
    symbol: NDArray[np.str_]
    strike: Floats
    expiry: Stamps
    call: Bools
    forward: Floats
    bid: Floats
    ask: Floats
    mark: Floats
    mark_volatility: Floats
    inverse: bool
    quarantine: pd.DataFrame
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.symbol)

    def __repr__(self) -> str:
        left_out = len(self.quarantine)
        return f"OptionQuotes({self.underlying}, {str(self.time)[:16]} UTC; {len(self)} options, {left_out} left out)"

    def tenor(self, day_count: float = DAYS_A_YEAR) -> Floats:
        """Years to expiry, (N,)."""
        return np.asarray((self.expiry - self.time) / np.timedelta64(1, "ns") / _DAY / day_count, dtype=np.float64)

    @property
    def log_moneyness(self) -> Floats:
        """ln(strike / forward), (N,)."""
        return np.asarray(np.log(self.strike / self.forward))

    def only(self, kept: Bools) -> "OptionQuotes":
        """Some of the options."""
        every = {item.name: getattr(self, item.name) for item in fields(self)}
        cut: dict[str, Any] = {name: v[kept] for name, v in every.items() if isinstance(v, np.ndarray)}
        return replace(self, **cut)


def read_chain(source: str | Path | pd.DataFrame, at: str | None = None) -> dict[str, OptionQuotes]:
    """The quotes of each underlying in an option chain, its faulty rows in quarantine.

    Recognised by their columns: a Deribit snapshot, a Tardis options_chain, or the plain columns: time (UTC), symbol,
    underlying, strike, expiry, right ("call" or "put"), forward, and as far as known bid, ask, mark, volatility, spot,
    inverse. Prices are in USD, or in coin where `inverse` is true. A bid or ask of 0 is none.

    Parameters
    ----------
    source : a CSV file (gzipped or not) or a frame.
    at : the instant, in UTC, at which the chain is taken: later rows are not seen, of earlier ones the last of each
        symbol counts. None takes the last instant in the source.

    Raises
    ------
    DataError
        If the columns are of no known chain, a line has more fields than the header, an underlying is both coin- and
        dollar-settled, every row is later than `at`, or no row is usable.
    """
    name = "frame" if isinstance(source, pd.DataFrame) else Path(source).name
    frame = source if isinstance(source, pd.DataFrame) else read_rows(source)
    plain = plain_chain(frame.reset_index(drop=True), name)
    plain = plain.assign(row=np.arange(len(plain)))
    if at is not None:
        stamp = pd.Timestamp(at)
        stamp = stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")
        _refuse_too_early(plain["time"], stamp, name)
        plain = plain[~(plain["time"] > stamp)]
    homeless = plain["underlying"].isna()
    chain = {
        str(underlying): _underlying_quotes(str(underlying), rows, name)
        for underlying, rows in plain[~homeless].groupby("underlying", sort=True)
    }
    if not any(len(quotes) for quotes in chain.values()):
        told = {name: quotes.quarantine["rule"].value_counts().to_dict() for name, quotes in chain.items()}
        raise DataError(f"{name}: at least one usable quote is needed, got none of {len(plain)} rows: {told}")
    lost = _quarantined(plain[homeless], "missing underlying")
    return {
        underlying: replace(quotes, quarantine=pd.concat([quotes.quarantine, lost], ignore_index=True))
        for underlying, quotes in chain.items()
    }


def _refuse_too_early(time: pd.Series, at: pd.Timestamp, source: str) -> None:
    known = time.dropna()
    if len(known) and (known > at).all():
        instants = [f"{instant:%Y-%m-%dT%H:%M:%S}" for instant in sorted(known.unique())]
        more = f" and {len(instants) - SHOWN} later" if len(instants) > SHOWN else ""
        raise DataError(
            f"{source}: at least one usable quote is needed, got none as early as {at:%Y-%m-%dT%H:%M:%S}; "
            f"instants are {', '.join(instants[:SHOWN])}{more} (UTC)"
        )


def _underlying_quotes(underlying: str, rows: pd.DataFrame, source: str) -> OptionQuotes:
    inverse = rows["inverse"].astype(bool) if "inverse" in rows else pd.Series(False, index=rows.index)
    if inverse.any() and not inverse.all():
        raise DataError(f"{source}: {underlying} must be settled in coin or in dollars, got both")
    table = rows.assign(
        **{name: pd.to_numeric(rows[name], errors="coerce") if name in rows else np.nan for name in _FIGURES},
        call=rows["right"].astype(str).str.strip().str.lower().map(_RIGHTS),
    )
    told_volatility = "volatility" in rows
    remarks = _scale_volatility(table)
    for side in ("bid", "ask"):
        table[side] = table[side].where(table[side] != 0)
    if inverse.iloc[0]:
        table[["bid", "ask", "mark"]] = table[["bid", "ask", "mark"]].mul(table["forward"], axis=0)
    kept, quarantine = _sift(table, told_volatility)
    if kept["spot"].notna().any():
        spot = float(kept["spot"].median())
    else:
        spot = float(kept.loc[kept["expiry"] == kept["expiry"].min(), "forward"].median())
        remarks = (*remarks, "no spot in the source: the forward of the nearest expiry stands in for it")
    return OptionQuotes(
        underlying,
        _nanoseconds(rows["time"]).max() if rows["time"].notna().any() else np.datetime64("NaT", "ns"),
        spot,
        kept["symbol"].to_numpy(dtype=str),
        kept["strike"].to_numpy(np.float64),
        _nanoseconds(kept["expiry"]),
        kept["call"].to_numpy(dtype=bool),
        kept["forward"].to_numpy(np.float64),
        kept["bid"].to_numpy(np.float64),
        kept["ask"].to_numpy(np.float64),
        kept["mark"].to_numpy(np.float64),
        kept["volatility"].to_numpy(np.float64),
        bool(inverse.iloc[0]),
        quarantine,
        remarks,
    )


def _nanoseconds(instants: pd.Series) -> Stamps:
    return np.asarray(instants.dt.tz_convert(None).to_numpy(dtype="datetime64[ns]"))


def _scale_volatility(table: pd.DataFrame) -> tuple[str, ...]:
    """Percent turned into fractions, in place, and the remark that says so."""
    given = table["volatility"][table["volatility"] > 0]
    if not len(given):
        return ()
    median = float(given.median())
    if median > LARGEST_FRACTION:
        table["volatility"] /= 100.0
        return (f"volatility read as percent: its median is {median:.4g}",)
    return (f"volatility read as a fraction: its median is {median:.4g}",)


def _sift(table: pd.DataFrame, told_volatility: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The usable rows, and those in quarantine by the first rule that they break."""
    rule = pd.Series("", index=table.index)
    for name, broken in _rules(table, told_volatility).items():
        rule[broken & (rule == "")] = name
    usable = table[rule == ""]
    # The newest quote of a symbol stands; of one instant's, the last row.
    newest = usable.sort_values(["time", "row"]).drop_duplicates("symbol", keep="last").index
    rule[usable.index.difference(newest)] = "duplicate symbol"
    return table[rule == ""], _quarantined(table[rule != ""], rule[rule != ""])


def _quarantined(rows: pd.DataFrame, rule: pd.Series | str) -> pd.DataFrame:
    return pd.DataFrame({"row": rows["row"], "symbol": rows["symbol"], "rule": rule}).reset_index(drop=True)


def _rules(table: pd.DataFrame, told_volatility: bool) -> dict[str, pd.Series]:
    """Which rows break each rule; a price that is NaN breaks none, as it is merely missing."""
    strike, forward, mark, bid, ask = (table[name] for name in ("strike", "forward", "mark", "bid", "ask"))
    call = table["call"].eq(True)
    intrinsic = (forward - strike).where(call, strike - forward).clip(lower=0)
    bound, noise = forward.where(call, strike), NOISE * forward
    volatility, told = table["volatility"], table["volatility"].gt(0) & np.isfinite(table["volatility"])
    return {
        "missing instant": table["time"].isna(),
        "stale quote": table["time"] < table["time"].max() - pd.Timedelta(STALE),
        "unknown right": table["call"].isna(),
        "strike not positive": ~(np.isfinite(strike) & (strike > 0)),
        "missing expiry": table["expiry"].isna(),
        "expired": table["expiry"] <= table["time"].max(),
        "missing forward": ~(np.isfinite(forward) & (forward > 0)),
        "negative quote": (bid < 0) | (ask < 0) | (mark < 0),
        "infinite quote": np.isinf(bid) | np.isinf(ask) | np.isinf(mark),
        "crossed quotes": bid > ask,
        "volatility not positive": ~told & told_volatility,
        "mark below intrinsic": mark < intrinsic - noise,
        "mark above its bound": mark > bound + noise,
        "ask below intrinsic": ask < intrinsic - noise,
        "bid above its bound": bid > bound + noise,
        "no price": mark.isna() & volatility.isna() & (bid.isna() | ask.isna()),
    }
