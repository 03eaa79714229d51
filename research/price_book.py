"""What must a book that somebody brings post, and what in it asks for that?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from sklearn.base import clone

from data import (
    Book,
    Coverage,
    Floats,
    HistoryError,
    MarketHistory,
    ModelError,
    ParameterError,
)
from data.arguments import refuse_other_types
from data.book_file import read_book
from data.chain_history import ChainPast, after_history, only_chain
from data.chain_market import ChainMarket, read_chain_market
from data.snapshot import content_hash
from data.valuation import unit_values
from margin_models import MarginModel, Requirement
from margin_models.contributions import leave_one_out, shared_part
from margin_models.greeks import NetGreeks, net_greeks
from research.named_models import provenance
from research.position_table import positions_frame, surface_doubts

COVERAGE = Coverage(0.99, "1D")
HORIZONS = 500  # about how many a fit sees where no window is asked for
MOST_LEFT_OUT = 200  # instruments; leaving each out in turn would take too long for more


@runtime_checkable
class _Contributing(Protocol):
    """A model that can split its margin itself."""

    def contributions(self, past: MarketHistory, book: Book) -> Floats: ...


@dataclass(frozen=True, eq=False)
class Priced:
    """What P portfolios must post at a chain's instant, in USD, and why.

    Parameters
    ----------
    model, coverage : the fitted model, and what it was asked to survive.
    time : the chain's instant, UTC.
    requirement : initial and maintenance margin, components and what was worst, gross of option value.
    option_value : (P,) what the options held are worth.
    positions : a row a position: what it is, price and from where, value, notional, contribution to the initial
        margin, delta in units of the underlying, vega in USD per point (0.01) of volatility. Where positions were left
        out in turn, each portfolio ends with a row "shared": what of the margin they do not sum to.
    split : how contributions were had, "" where they were not.
    greeks : net sensitivities by underlying.
    quality : how well the surfaces of what is held tell their quotes, a row an underlying and expiry.
    quarantine : quotes of the chain that were left out.
    remarks : what was guessed, summed, moved, extended or left out on the way.
    provenance : for a venue's model, how sure its parameters and formulas are, and what is not in it.
    data_hash : content hash of the market the model saw.
    """

    model: MarginModel
    coverage: Coverage
    time: np.datetime64
    requirement: Requirement
    option_value: Floats
    positions: pd.DataFrame
    split: str
    greeks: NetGreeks
    quality: pd.DataFrame
    quarantine: pd.DataFrame
    remarks: tuple[str, ...] = ()
    provenance: tuple[str, ...] = ()
    data_hash: str = field(default="", repr=False)

    @property
    def net_of_option_value(self) -> Floats:
        """The initial margin less the options' value, (P,): negative where they are worth more."""
        return self.requirement.initial - self.option_value

    def to_frame(self) -> pd.DataFrame:
        """One row a portfolio: components, initial, maintenance, what was worst, option value and the net figure."""
        table = self.requirement.to_frame()
        table["option value"], table["net of option value"] = self.option_value, self.net_of_option_value
        return table

    def _repr_html_(self) -> str:
        shown = (self.to_frame(), self.positions.set_index(["portfolio", "symbol"]), self.quality, self.quarantine)
        return "".join(table.to_html(float_format="{:,.6g}".format) for table in shown)

    def to_json(self) -> str:
        """Everything as one JSON document; numbers that are not known are null."""
        from research.priced_tables import as_json

        return as_json(self)

    def __str__(self) -> str:
        from research.priced_tables import text

        return text(self)


def price_book(
    book: Book | str | Path | pd.DataFrame,
    market: ChainMarket | str | Path,
    model: MarginModel,
    history: MarketHistory | None = None,
    *,
    coverage: Coverage = COVERAGE,
    window: int | None = None,
    allow_gap: bool = False,
) -> Priced:
    """The margin of every portfolio of a book in the market of an option chain.

    Parameters
    ----------
    book : positions, or a file or frame that `read_book` reads.
    market : a chain's market, or the file it is in.
    model : fitted here, on the newest `window` rows (500 horizons if None) of the history up to the chain's instant,
        which is their last row (`after_history`); on that instant alone where there is no history.
    coverage : what margin must cover; in USD.
    allow_gap : take a history that ends more than a week before the chain.

    Raises
    ------
    DataError, SourceError
        For a book or chain that cannot be right.
    HistoryError
        If the model learns and there is no history, or the history does not fit the chain.
    ParameterError
        For an argument of another type, a window below 1, or a coverage in another numeraire than USD.
    ModelError
        If the model's margin is not one finite number >= 0 a portfolio.
    """
    from threadpoolctl import threadpool_limits

    _refuse_other_arguments(book, market, model, history, coverage)
    if window is not None:
        refuse_other_types("window", window, "a number of rows", int, np.integer)
    if window is not None and window < 1:
        raise ParameterError(f"window must be at least 1 row, got {window}")
    if coverage.numeraire != "USD":
        raise ParameterError(f"an option chain is counted in USD, got a coverage in {coverage.numeraire}")
    market = market if isinstance(market, ChainMarket) else read_chain_market(market)
    remarks = market.remarks
    if not isinstance(book, Book):
        told = read_book(book, market)
        book, remarks = told.book, (*remarks, *told.remarks)
    joined = only_chain(market, book) if history is None else after_history(history, market, book, allow_gap=allow_gap)
    with threadpool_limits(1):
        try:
            fitted = _fitted(model, joined, coverage, window)
            asked = fitted.explain(joined.past, book)
            parts, shared, split = _contributions(fitted, joined.past, book, asked.initial)
        except HistoryError as error:
            if history is not None:
                raise
            raise HistoryError(f"{model!r} learns from a history, and none was given (--history): {error}") from error
    _refuse_broken(fitted, asked, book)
    return _told(
        fitted,
        coverage,
        market,
        book,
        joined,
        asked,
        positions_frame(book, joined.past.now, parts, shared),
        split,
        remarks,
    )


def _refuse_other_arguments(book: object, market: object, model: object, history: object, coverage: object) -> None:
    """ParameterError for a market that is a history, a model that is a name, and the like."""
    refuse_other_types("book", book, "a Book, or a file or frame of positions", Book, str, Path, pd.DataFrame)
    refuse_other_types("market", market, "the market of an option chain, or its file", ChainMarket, str, Path)
    refuse_other_types("model", model, "a model such as SpanLike(), not its name or class", MarginModel)
    refuse_other_types("history", history, "a MarketHistory or None", MarketHistory, type(None))
    refuse_other_types("coverage", coverage, "a Coverage such as Coverage(0.99, '1D')", Coverage)


def _fitted(model: MarginModel, joined: ChainPast, coverage: Coverage, window: int | None) -> MarginModel:
    """A fresh model, fitted on the window's rows; holes before the chain do not count."""
    fresh: MarginModel = clone(model)
    if not joined.known:
        return fresh.fit(joined.past, coverage)
    rows = HORIZONS * joined.past.steps(coverage) if window is None else window
    return fresh.fit(joined.past.last(rows + joined.holes), coverage)


def _contributions(
    model: MarginModel, past: MarketHistory, book: Book, margin: Floats
) -> tuple[Floats | None, Floats | None, str]:
    """What each position adds (P, N), what none adds alone (P,), where there is such a part, and how these were had."""
    if isinstance(model, _Contributing):
        return model.contributions(past, book), None, "each position's loss in what is worst"
    if int(book.held.sum()) > MOST_LEFT_OUT:
        return None, None, ""
    parts = leave_one_out(model, past, book)
    return parts, shared_part(parts, margin), "margin less the margin without the position; shared: the rest of it"


def _refuse_broken(model: MarginModel, asked: Requirement, book: Book) -> None:
    for kind, margin in (("initial", asked.initial), ("maintenance", asked.maintenance)):
        if margin.shape != (len(book.portfolios),) or not (np.isfinite(margin) & (margin >= 0)).all():
            raise ModelError(f"{model!r}: {kind} margin must be one finite number >= 0 a portfolio, got {margin}")


def _told(
    model: MarginModel,
    coverage: Coverage,
    market: ChainMarket,
    book: Book,
    joined: ChainPast,
    asked: Requirement,
    positions: pd.DataFrame,
    split: str,
    remarks: tuple[str, ...],
) -> Priced:
    state = joined.past.now
    listing = book.listing
    options = np.where(listing.option, book.known(unit_values(listing, state), state), 0.0)
    underlyings = market.quality["underlying"].isin(state.underlyings)
    learned = (f"fitted on {model.window_ - joined.holes} rows, the chain's among them",) if joined.known else ()
    return Priced(
        model,
        coverage,
        state.time,
        asked,
        np.asarray(book.quantity @ options),
        positions,
        split,
        net_greeks(book, state),
        market.quality[underlyings].reset_index(drop=True),
        market.quarantine,
        (*remarks, *surface_doubts(book, market), *joined.remarks, *learned, *_refused_fits(model)),
        provenance(model),
        content_hash(joined.past),
    )


def _refused_fits(model: MarginModel) -> tuple[str, ...]:
    """What the parts of a fitted model say about fits they refused."""
    found = [getattr(part, "failures_", {}) for part in (model, *vars(model).values())]
    return tuple(f"{symbol}: {reason}" for failures in found for symbol, reason in failures.items())
