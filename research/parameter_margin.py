"""What must a book post if all that is known is a published file of parameters?"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from data import Book, Coverage, DataError, Floats, Instrument, MarketHistory, ParameterError
from data.book_file import BookFile, read_book
from data.chain_market import ChainMarket
from margin_models import MarginModel
from research.parameters import MarginParameters, MarketParameters, read_parameters


class ParameterMargin(MarginModel):
    """The formula of published parameters: scan range times net exposure, pairs offset as they were measured.

    Parameters
    ----------
    parameters : of one market; `fit` checks them against the coverage and learns nothing.
    """

    def __init__(self, parameters: MarketParameters) -> None:
        self.parameters = parameters

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """ParameterError for a coverage other than the one the parameters were measured for."""
        told = self.parameters
        if (coverage.level, coverage.horizon, coverage.numeraire) != (told.level, told.horizon, "USD"):
            raise ParameterError(f"the parameters cover {told.level:g} over {told.horizon} in USD, asked is {coverage}")
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The formula on net exposures, (P,) in USD.

        DataError for an option or a dated future that is held, or an underlying that has no parameters.
        """
        listing, held = book.listing, book.held
        bent = held & (listing.option | listing.future)
        if bent.any():
            name = book.instruments[int(bent.argmax())].symbol
            raise DataError(f"published parameters charge spot and perpetuals, got {name}: ask a model with --market")
        state, known = past.now, tuple(self.parameters.assets)
        exposure = book.linear_exposure(state)
        unknown = [
            name for a, name in enumerate(state.underlyings) if name not in known and (exposure[:, a] != 0).any()
        ]
        if unknown:
            raise DataError(f"the parameters know {', '.join(known)}; the book holds {', '.join(unknown)}")
        onto = np.zeros((len(exposure), len(known)))
        for a, name in enumerate(state.underlyings):
            if name in known:
                onto[:, known.index(name)] = exposure[:, a]
        return self.parameters.charge(onto)


@dataclass(frozen=True, eq=False)
class ParameterCharge:
    """What P portfolios must post by a published file.

    Parameters
    ----------
    margin, gross : (P,) in USD.
    published : the file; `market` is the one of its markets that was used.
    stale : why the file is not of tonight, "" where its status says nothing of the sort.
    """

    portfolios: tuple[str, ...]
    margin: Floats
    gross: Floats
    published: MarginParameters
    market: str
    stale: str
    remarks: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row a portfolio: margin, gross notional, and the share of it."""
        share = np.divide(self.margin, self.gross, out=np.zeros_like(self.margin), where=self.gross > 0)
        columns = {"margin": self.margin, "gross notional": self.gross, "share": share}
        return pd.DataFrame(columns, index=pd.Index(self.portfolios, name="portfolio"))

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:,.6g}".format)

    def to_json(self) -> str:
        """Everything as one JSON document."""
        rows = zip(self.portfolios, self.margin.tolist(), self.gross.tolist(), strict=True)
        one = self.published.markets[self.market]
        facts = {
            "portfolios": [{"portfolio": name, "margin": margin, "gross": gross} for name, margin, gross in rows],
            "market": self.market,
            "as_of": self.published.as_of,
            "version": self.published.version,
            "parameters": self.published.hash,
            "model": one.model,
            "level": one.level,
            "horizon": one.horizon,
            "stale": self.stale,
            "remarks": list(self.remarks),
        }
        return json.dumps(facts, indent=1, allow_nan=False)

    def __str__(self) -> str:
        one = self.published.markets[self.market]
        head = (
            f"Margin by published parameters, version {self.published.version} as of {self.published.as_of} "
            f"({self.published.hash[:12]}), market {self.market}\n{one.model}: {one.level:.4g} of losses over "
            f"{one.horizon}, prices of {one.time} UTC"
        )
        notes = [f"STALE: {self.stale}"] * bool(self.stale) + [f"note: {remark}" for remark in self.remarks]
        return "\n".join([head, *notes, self.to_frame().to_string(float_format="{:,.6g}".format)])


def charge_book(book: Path, parameters: Path, market: str | None = None) -> ParameterCharge:
    """The margin of a book from a published file alone, at the prices that stand in it.

    Parameters
    ----------
    book : CSV of symbol, quantity and, if need be, portfolio; a symbol is an asset of the file ("BTC", in units) or its
        perpetual ("BTC-PERP", linear).
    market : which market of the file; the only one that has all that the book holds where None.

    Raises
    ------
    SourceError, DataError
        For a file that cannot be read, is not as published, or a book that the parameters do not cover.
    ParameterError
        For an unknown market, or where several would do.
    """
    published = read_parameters(parameters)
    name, told, place = _fitting(book, published, market)
    one = published.markets[name]
    model = ParameterMargin(one).fit(place, Coverage(one.level, one.horizon))
    remarks = told.remarks
    if one.uncovered:
        remarks += (f"the formula asks less than the model of {one.uncovered:.0%} of the test books",)
    state = place.now
    return ParameterCharge(
        told.book.portfolios,
        model.margin(place, told.book),
        told.book.gross(state),
        published,
        name,
        _stale(parameters, published),
        remarks,
    )


def parameter_job(
    book: Path, parameters: Path, market: str | None, *, as_json: bool, say: Callable[[str], None]
) -> None:
    """Print what `charge_book` says; that the parameters are stale goes to `say` as well."""
    told = charge_book(book, parameters, market)
    if told.stale:
        say(f"warning: the parameters are stale: {told.stale}")
    print(told.to_json() if as_json else told, flush=True)


def _fitting(book: Path, published: MarginParameters, market: str | None) -> tuple[str, BookFile, MarketHistory]:
    """The market's name, the book read in it, and its one row of prices."""
    if market is not None and market not in published.markets:
        raise ParameterError(f"the file has the markets {', '.join(published.markets)}, got {market!r}")
    tried = {}
    found = []
    for name in published.markets if market is None else [market]:
        place = _prices(published.markets[name])
        try:
            found.append((name, read_book(book, _listed(place)), place))
        except DataError as error:
            tried[name] = error
    if len(found) > 1:
        names = ", ".join(name for name, *_ in found)
        raise ParameterError(f"{names} all have what {book.name} holds: say which with --parameter-market")
    if not found:
        if len(tried) == 1:
            raise next(iter(tried.values()))
        told = "; ".join(f"{name}: {error}" for name, error in tried.items())
        raise DataError(f"no market of the file has all that {book.name} holds: {told}")
    return found[0]


def _prices(one: MarketParameters) -> MarketHistory:
    """The prices of the file as a history of one row."""
    time = np.array([one.time], dtype="datetime64[ns]")
    spot = np.array([[asset.price for asset in one.assets.values()]])
    return MarketHistory(time, tuple(one.assets), spot, source="published parameters")


def _listed(place: MarketHistory) -> ChainMarket:
    """What can be held of these prices: each asset, and a perpetual on it."""
    held = {name: Instrument(name, name, "spot") for name in place.underlyings}
    perpetuals = {f"{name}-PERP": Instrument(f"{name}-PERP", name) for name in place.underlyings}
    nothing = pd.DataFrame({"symbol": pd.Series(dtype=str), "rule": pd.Series(dtype=str)})
    return ChainMarket(place, {**perpetuals, **held}, {}, nothing)


def _stale(parameters: Path, published: MarginParameters) -> str:
    """Why the parameters are stale, by the status beside the file; "" where there is none or it says they are not.

    A status that cannot be read, or that tells of another publication, says nothing good of this one.
    """
    status = parameters.with_name(f"{parameters.stem}.status.json")
    try:
        told = json.loads(status.read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        return f"{status.name} beside it cannot be read"
    if not isinstance(told, dict) or told.get("hash") != published.hash:
        return f"{status.name} beside it tells of another publication"
    return str(told.get("reason", "no reason said")) if told.get("stale") else ""
