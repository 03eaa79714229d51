"""What does each position of a book come to: its price, value, sensitivities and share of the margin?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from data import Book, Floats, Instrument, MarketState
from data.chain_market import ChainMarket
from data.smiles import SurfaceFit
from data.valuation import notionals, option_terms, prices, unit_values
from margin_models.greeks import contract_greeks

SHARED = "shared"  # the symbol of the row that holds what no position adds alone


def positions_frame(
    book: Book, state: MarketState, parts: Floats | None = None, shared: Floats | None = None
) -> pd.DataFrame:
    """A row a position held, in USD.

    What one contract is, quantity, price per unit and from where, volatility, value, notional, contribution to the
    initial margin (from `parts` (P, N), NaN without), delta in units of the underlying, vega per point (0.01). With
    `shared` (P,), each portfolio ends with a row SHARED that has this contribution and no other figure.
    """
    listing, quantity = book.listing, book.dense
    figures = _unit_figures(book, state)
    portfolio, n = np.nonzero(quantity)
    held = quantity[portfolio, n]
    greeks = contract_greeks(listing, state)
    spot = state.spot[listing.columns(state.underlyings)]
    parts = np.full(quantity.shape, np.nan) if parts is None else parts
    table: Mapping[str, Any] = {
        "portfolio": np.array(book.portfolios, dtype=object)[portfolio],
        "symbol": [book.instruments[i].symbol for i in n],
        "contract": [in_words(book.instruments[i]) for i in n],
        "quantity": held,
        "price": figures["price"][n],
        "volatility": figures["volatility"][n],
        "priced_from": [_priced_from(book.instruments[i], bool(figures["marked"][i])) for i in n],
        # Adding zero makes zeros of negative ones.
        "value": held * figures["value"][n] + 0.0,
        "notional": held * figures["notional"][n] + 0.0,
        "contribution": parts[portfolio, n] + 0.0,
        "delta_units": held * (greeks.delta / spot)[n] + 0.0,
        "vega_per_point": held * greeks.vega[n] / 100.0 + 0.0,
    }
    positions = pd.DataFrame(table)
    return positions if shared is None else _with_shared(positions, book.portfolios, shared)


def _with_shared(positions: pd.DataFrame, portfolios: tuple[str, ...], shared: Floats) -> pd.DataFrame:
    """The positions of each portfolio, then what they share; texts of that row are blank, other figures NaN."""
    told: dict[Any, Any] = {
        "portfolio": portfolios,
        "symbol": SHARED,
        "contract": "",
        "priced_from": "",
        "contribution": shared + 0.0,
    }
    rest = pd.DataFrame({name: told.get(name, np.nan) for name in positions}, index=range(len(portfolios)))
    order = [*(portfolios.index(name) for name in positions["portfolio"]), *range(len(portfolios))]
    both = pd.concat([positions, rest], ignore_index=True)
    return both.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def surface_doubts(book: Book, market: ChainMarket) -> tuple[str, ...]:
    """What to mind about the surface or curve of what is held: a remark a reason, after the symbols it is about."""
    told: dict[str, list[str]] = {}
    for one, held in zip(book.instruments, book.held, strict=True):
        if held and one.expiry is not None and one.underlying in market.fits:
            told.setdefault(_doubt(one, market.fits[one.underlying]), []).append(one.symbol)
    return tuple(f"{', '.join(symbols)}: {doubt}" for doubt, symbols in told.items() if doubt)


def _doubt(instrument: Instrument, fit: SurfaceFit) -> str:
    """Why a dated contract is priced less surely than by an SVI smile of its own expiry, "" where it is not."""
    expiry, quoted, fitted = np.datetime64(str(instrument.expiry), "ns"), fit.report["expiry"], fit.expiries
    day, last = str(expiry)[:10], str(quoted.max())[:10]
    if expiry > quoted.max():
        return f"expires {day}, beyond the last quoted expiry, {last}: priced as if the market went on as there"
    if instrument.kind != "option":
        return ""
    forms = fit.report.loc[quoted == expiry, "form"]
    form = str(forms.iloc[0]) if len(forms) else "not quoted"
    if form in ("left out", "not quoted"):
        beside = [*fitted[fitted < expiry][-1:], *fitted[fitted > expiry][:1]]
        return f"expiry {day} is {form}: volatility is read from {' and '.join(str(other)[:10] for other in beside)}"
    return {
        "flat": f"expiry {day} has a flat smile: one volatility for every strike",
        "cubic": f"expiry {day} is fitted by a cubic, not by SVI",
    }.get(form, "")


def _unit_figures(book: Book, state: MarketState) -> dict[str, Floats]:
    """Price, volatility, value, notional and whether there is a mark, of one contract each, (N,)."""
    listing, terms = book.listing, option_terms(book.listing, state)
    volatility = np.full(len(book.instruments), np.nan)
    volatility[terms.at] = terms.volatility
    return {
        "price": prices(listing, state),
        "volatility": volatility,
        "value": unit_values(listing, state),
        "notional": notionals(listing, state),
        "marked": np.isfinite(listing.marked(state)) * 1.0,
    }


def in_words(instrument: Instrument) -> str:
    """What one contract is.

    >>> in_words(Instrument("BTC-PERPETUAL", "BTC", settlement="inverse"))
    'inverse perpetual, 1 USD'
    """
    size = f"{instrument.multiplier:g} {'USD' if instrument.settlement == 'inverse' else instrument.underlying}"
    if instrument.kind != "option":
        return f"{instrument.settlement + ' ' if instrument.kind != 'spot' else ''}{instrument.kind}, {size}"
    paid = "coin-settled " if instrument.settlement == "inverse" else ""
    return f"{paid}{instrument.right}, {instrument.multiplier:g} {instrument.underlying}"


def _priced_from(instrument: Instrument, marked: bool) -> str:
    if marked:
        return "mark"
    return {"option": "surface", "future": "curve"}.get(instrument.kind, "spot")
