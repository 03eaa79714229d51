"""Losses of option books against hand computations with an independent Black formula."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from backtest import replay
from backtest.closeout import FREE, LiquidationCost, closeout
from backtest.option_books import Leg, OptionRecipe, option_books
from backtest.priced_rows import priced_rows
from backtest.replay import decisions, outcomes
from backtest.settlement import payoffs, settlements
from data import Book, Clock, Coverage, DataError, Floats, HistoryError, Instrument, Listing, MarketHistory
from margin_models import Scenarios, StaticMargin, VolTerm
from margin_models.revalue import book_pnl
from markets import coins_with_options, option_book, some_books
from priced_options import black

CARRY, RATE = 0.08, 0.03
COIN, PERP = Instrument("BTC", "BTC", "spot"), Instrument("BTC-PERP", "BTC")
START = np.datetime64("2024-01-01", "ns")


def option(right: Any, strike: float = 100.0, expiry: str = "2024-01-31T08:00", **facts: Any) -> Instrument:
    facts = {"settlement": "linear", **facts}
    return Instrument(
        f"{right}{strike}{expiry}{facts}", "BTC", "option", expiry=expiry, strike=strike, right=right, **facts
    )


def history_of(
    spot: list[float], vol: list[float], *, carry: float = CARRY, rate: float = RATE, step: str = "1D", **facts: Any
) -> MarketHistory:
    """BTC from the start of 2024, with a flat surface a row (none where the volatility is NaN), carry and rate."""
    size = len(spot)
    span = np.timedelta64(pd.Timedelta(step).as_unit("ns").value, "ns")
    surfaces = np.full((size, 1, 2, 7), np.nan)
    for row, sigma in enumerate(vol):
        if np.isfinite(sigma):
            surfaces[row, 0, 0] = [0.25, 0.0, sigma**2 * 0.25, 0.0, 0.0, 0.0, 1.0]
            surfaces[row, 0, 1] = [1.0, 0.0, sigma**2, 0.0, 0.0, 0.0, 1.0]
    curves = np.tile(np.array([[0.25, carry, rate], [1.0, carry, rate]]), (size, 1, 1, 1))
    panels: dict[str, Any] = {name: np.array(panel, dtype=np.float64)[:, None] for name, panel in facts.items()}
    panels |= {"surfaces": surfaces, "curves": curves, "implied": "quotes"}
    prices = np.array(spot, dtype=np.float64)[:, None]
    return MarketHistory(START + np.arange(size) * span, ("BTC",), prices, Clock(step), **panels)


def premium(
    spot: float, vol: float, at: str, held: Instrument, carry: float = CARRY, rate: float = RATE, inverse: bool = False
) -> float:
    """USD an option on one coin is worth: Black (1976), written again."""
    assert held.strike is not None
    assert held.expiry is not None
    tenor = (pd.Timestamp(held.expiry) - pd.Timestamp(at)) / pd.Timedelta("365.25D")
    forward, deviation = spot * np.exp(carry * tenor), vol * np.sqrt(tenor)
    worth = black(forward, held.strike, deviation, held.right == "call")
    return float(worth * (spot / forward if inverse else np.exp(-rate * tenor)))


def book_of(*held: Instrument, **portfolios: list[float]) -> Book:
    return Book(held, tuple(portfolios), np.array(list(portfolios.values())))


def lost(book: Book, history: MarketHistory, horizon: str = "1D", row: int = 0, **facts: Any) -> Floats:
    return closeout(book, history, row, Coverage(horizon=horizon, **facts), FREE)[0]


@pytest.mark.parametrize("settlement", ["linear", "inverse"])
def test_a_long_call_loses_what_black_says_on_the_later_surface(settlement: str) -> None:
    call, inverse = option("call", 105.0, settlement=settlement, multiplier=2.0), settlement == "inverse"
    history = history_of([100.0, 90.0, 112.0], [0.5, 0.8, 0.4])
    before = premium(100, 0.5, "2024-01-01", call, inverse=inverse)
    for horizon, spot, vol, at in (("1D", 90, 0.8, "2024-01-02"), ("2D", 112, 0.4, "2024-01-03")):
        after = premium(spot, vol, at, call, inverse=inverse)
        assert_allclose(
            lost(book_of(call, long=[1.0], short=[-1.0]), history, horizon), 2 * (before - after) * np.array([1, -1])
        )


def test_time_alone_costs_a_long_option() -> None:
    call = option("call")
    history = history_of([100.0, 100.0], [0.5, 0.5], carry=0.0, rate=0.0)
    decay = lost(book_of(call, long=[1.0]), history)[0]
    assert_allclose(decay, premium(100, 0.5, "2024-01-01", call, 0, 0) - premium(100, 0.5, "2024-01-02", call, 0, 0))
    assert decay > 0


def test_a_short_straddle_over_a_crash_loses_the_move_and_the_volatility() -> None:
    call, put = option("call"), option("put")
    history = history_of([100.0, 60.0], [0.5, 1.5])
    told = lost(book_of(call, put, straddle=[-1.0, -1.0]), history)[0]
    by_hand = sum(premium(60, 1.5, "2024-01-02", leg) - premium(100, 0.5, "2024-01-01", leg) for leg in (call, put))
    assert_allclose(told, by_hand)
    assert told > 25  # 40 of intrinsic less a premium of about 12
    calm = lost(book_of(call, put, straddle=[-1.0, -1.0]), history_of([100.0, 60.0], [0.5, 0.5]))[0]
    assert told > calm


def test_a_smile_moves_with_the_forward_of_the_later_instant() -> None:
    call = option("call", 120.0)
    history = history_of([100.0, 80.0], [0.5, 0.5], carry=0.0, rate=0.0)
    steep = np.array(history.surfaces)
    steep[..., :, 2], steep[..., 3], steep[..., 6] = 0.02, 0.2, 0.1
    told = lost(book_of(call, long=[1.0]), replace(history, surfaces=steep))[0]

    def vol(spot: float) -> float:  # before the first tenor volatility is flat: that of the first smile
        k = np.log(120 / spot)
        edge = 5 * np.sqrt(0.02 + 0.2 * 0.1)
        return float(np.sqrt((0.02 + 0.2 * np.hypot(min(k, edge), 0.1)) / 0.25))

    before, after = premium(100, vol(100), "2024-01-01", call, 0, 0), premium(80, vol(80), "2024-01-02", call, 0, 0)
    assert_allclose(told, before - after)


@pytest.mark.parametrize(("right", "payoff"), [("call", 12.0), ("put", 0.0)])
def test_what_expires_at_eight_settles_at_the_first_daily_row_after(right: str, payoff: float) -> None:
    held = option(right, 100.0, "2024-01-02T08:00")
    history = history_of([100.0, 105.0, 112.0, 130.0], [0.5, 0.6, 0.7, 0.8])
    before = premium(100, 0.5, "2024-01-01", held)
    alive = premium(105, 0.6, "2024-01-02", held)  # eight hours to go at the first midnight
    book = book_of(held, long=[1.0])
    assert_allclose(
        [lost(book, history, h)[0] for h in ("1D", "2D", "3D")], [before - alive, before - payoff, before - payoff]
    )


def test_an_hourly_history_settles_at_the_hour_of_expiry() -> None:
    held = option("call", 100.0, "2024-01-01T03:30")
    history = history_of([100.0, 101.0, 102.0, 103.0, 104.0, 110.0], [0.5] * 6, step="1h")
    before = premium(100, 0.5, "2024-01-01", held)
    told = [lost(book_of(held, long=[1.0]), history, f"{h}h")[0] for h in (3, 4, 5)]
    assert_allclose(told, [before - premium(103, 0.5, "2024-01-01T03:00", held), before - 4.0, before - 4.0])
    on_the_dot = option("call", 100.0, "2024-01-01T03:00")
    assert_allclose(
        lost(book_of(on_the_dot, long=[1.0]), history, "3h")[0], premium(100, 0.5, "2024-01-01", on_the_dot) - 3
    )


def test_what_expires_into_a_hole_settles_at_the_next_known_price_and_needs_no_surface() -> None:
    held = option("call", 100.0, "2024-01-02T08:00")
    history = history_of([100.0, 101.0, np.nan, 107.0, 150.0], [0.5, 0.5, np.nan, np.nan, np.nan])
    told = lost(book_of(held, long=[1.0]), history, "4D")
    assert_allclose(told, premium(100, 0.5, "2024-01-01", held) - 7.0)


def test_a_coin_settled_call_pays_coin_which_then_moves() -> None:
    call = option("call", 100.0, "2024-01-02T08:00", settlement="inverse")
    history = history_of([100.0, 110.0, 125.0, 80.0], [0.5] * 4)
    before = premium(100, 0.5, "2024-01-01", call, inverse=True)
    book = book_of(call, long=[1.0])
    assert_allclose(lost(book, history, "2D"), before - 25.0)
    coins = 25.0 / 125.0
    assert_allclose(lost(book, history, "3D"), before - coins * 80.0)
    linear = book_of(replace(call, symbol="linear", settlement="linear"), long=[1.0])
    assert_allclose(lost(linear, history, "3D"), premium(100, 0.5, "2024-01-01", call) - 25.0)


def test_in_coin_the_dollar_loss_counts_at_the_later_price() -> None:
    held = [
        option("call", settlement="inverse"),
        option("call"),
        option("put", 100.0, "2024-01-02T08:00", settlement="inverse"),
    ]
    dollars = history_of([100.0, 110.0, 80.0], [0.5, 0.6, 0.9])
    book = book_of(*held, inverse=[1, 0, 0], linear=[0, -1, 0], settled=[0, 0, 1])
    coin = lost(book, dollars.valued_in("BTC"), "2D", numeraire="BTC")
    assert_allclose(coin * 80.0, lost(book, dollars, "2D"))
    # The put ends in the money at 80 and pays 20 / 80 coins there.
    assert_allclose(coin[2], (premium(100, 0.5, "2024-01-01", held[2], inverse=True) - 20.0) / 80.0)
    cost = LiquidationCost(half_spread=0.001, impact=0.0)
    paid = closeout(book, dollars.valued_in("BTC"), 0, Coverage(horizon="2D", numeraire="BTC"), cost)[0]
    assert_allclose(paid - coin, [100 * 0.001 / 80.0] * 2 + [0.0], atol=1e-12)  # what settled needs no exit


@pytest.mark.parametrize("settlement", ["linear", "inverse"])
def test_a_future_that_expires_inside_settles_at_spot(settlement: str) -> None:
    future = Instrument("F", "BTC", "future", settlement=settlement, expiry="2024-01-02T08:00")  # type: ignore[arg-type]
    history = history_of([100.0, 104.0, 110.0, 90.0], [0.5] * 4)
    forward = 100 * np.exp(CARRY * (32 / 24) / 365.25)
    later = 104 * np.exp(CARRY * (8 / 24) / 365.25)
    told = [lost(book_of(future, long=[1.0]), history, h)[0] for h in ("1D", "2D", "3D")]
    if settlement == "linear":
        assert_allclose(told, [forward - later, forward - 110, forward - 110])
    else:  # one USD of face gains 1/entry - 1/exit coins
        assert_allclose(told, [-(1 / forward - 1 / p) * s for p, s in ((later, 104), (110, 110), (110, 90))])


def test_a_curve_that_has_a_hole_on_the_way_passes_the_row_over() -> None:
    future = Instrument("F", "BTC", "future", expiry="2024-06-28")
    history = history_of([100.0, 50.0, 110.0], [0.5] * 3)
    holes = np.array(history.curves)
    holes[1] = np.nan
    book = book_of(future, PERP, future=[1.0, 0.0], perpetual=[0.0, 1.0])
    end, worst = closeout(book, replace(history, curves=holes), 0, Coverage(horizon="2D"), FREE)
    assert_allclose(end, lost(book, history, "2D"))
    assert_allclose(worst, [end[0], 50.0])
    with pytest.raises(DataError, match=r"F is held but has no price at 2024-01-02.*, the end of the horizon"):
        closeout(book, replace(history, curves=holes), 0, Coverage(), FREE)
    curves = np.array(history.curves)
    curves[2] = np.nan
    dead = replace(history, curves=curves, spot=np.array([[100.0], [50.0], [0.0]]))
    assert_allclose(lost(book_of(future, long=[1.0]), dead, "2D"), 100 * np.exp(CARRY * 179 / 365.25))


def test_where_the_coin_dies_a_put_is_worth_its_strike_and_a_call_nothing() -> None:
    put, call = option("put", 80.0), option("call", 80.0)
    gone = option("put", 130.0, "2024-01-02T08:00", settlement="inverse")  # pays coin at 120 before they are worthless
    history = history_of([100.0, 110.0, 120.0, 0.0, 0.0], [0.5, 0.5, 0.5, np.nan, np.nan])
    book = book_of(put, call, gone, PERP, put=[1, 0, 0, 0], call=[0, 1, 0, 0], settled=[0, 0, 1, 0], all=[1, 0, 0, 1])
    told = lost(book, history, "4D")
    first = premium(100, 0.5, "2024-01-01", put)
    assert_allclose(told[0], first - 80.0)
    assert_allclose(told[1], premium(100, 0.5, "2024-01-01", call))
    assert_allclose(told[2], premium(100, 0.5, "2024-01-01", gone, inverse=True))
    assert_allclose(told[3], first - 80.0 + 100.0)


def test_the_worst_of_a_short_gamma_book_is_seen_at_both_ends() -> None:
    call, put = option("call"), option("put")
    quiet = history_of([100.0, 100.0], [0.5, 0.5], carry=0.0, rate=0.0)
    book = book_of(call, put, PERP, short=[-1, -1, 0], hedged=[-1, -1, 0.1], long=[1, 1, 0])
    end = lost(book, quiet)

    def at(spot: float) -> float:
        return sum(premium(spot, 0.5, "2024-01-02", leg, 0, 0) for leg in (call, put))

    before = sum(premium(100, 0.5, "2024-01-01", leg, 0, 0) for leg in (call, put))
    for high, low in ((120.0, 99.0), (101.0, 85.0), (110.0, 95.0)):
        ends = replace(quiet, high=np.array([[100.0], [high]]), low=np.array([[100.0], [low]]))
        again, worst = closeout(book, ends, 0, Coverage(path="worst"), FREE)
        assert_array_equal(again, end)
        assert_allclose(worst[0], max(at(high), at(low)) - before)
        assert_allclose(worst[1], max(at(high) - 0.1 * (high - 100), at(low) + 0.1 * (100 - low)) - before)
        assert_allclose(worst[2], before - min(at(high), at(low), at(100)))
    assert worst[0] > end[0]


def test_a_low_of_zero_is_a_price_too() -> None:
    put = option("put")
    history = history_of([100.0, 90.0], [0.5, 0.5], high=[100, 90], low=[100, 0], carry=0.0, rate=0.0)
    worst = closeout(book_of(put, short=[-1.0]), history, 0, Coverage(path="worst"), FREE)[1]
    assert_allclose(worst, 100.0 - premium(100, 0.5, "2024-01-01", put, 0, 0))


def test_highs_and_lows_after_expiry_concern_nobody() -> None:
    call = option("call", 100.0, "2024-01-02T08:00")
    history = history_of([100.0, 100.0, 104.0], [0.5] * 3, high=[100, 100, 500], low=[100, 100, 10])
    end, worst = closeout(book_of(call, short=[-1.0]), history, 0, Coverage(horizon="2D", path="worst"), FREE)
    assert_allclose(end, 4.0 - premium(100, 0.5, "2024-01-01", call))
    assert_allclose(worst, end)


@pytest.mark.parametrize("thin", [False, True])
def test_a_hole_in_the_surface_on_the_way_concerns_the_books_that_hold_options_alone(thin: bool) -> None:
    call = option("call")
    history = history_of([100.0, 50.0, 100.0], [0.5, np.nan, 0.5])
    quantity = np.array([[1.0, 1.0], [0.0, 1.0]])
    book = Book((call, PERP), ("both", "perpetual"), sparse.csr_array(quantity) if thin else quantity)
    end, worst = closeout(book, history, 0, Coverage(horizon="2D"), FREE)
    assert_allclose(end[0], premium(100, 0.5, "2024-01-01", call) - premium(100, 0.5, "2024-01-03", call))
    assert_allclose(worst, [end[0], 50.0])


def test_an_option_without_a_price_at_an_end_is_never_passed_over_in_silence() -> None:
    book = book_of(option("call"), PERP, call=[1.0, 0.0], perpetual=[0.0, 1.0])
    with pytest.raises(DataError, match="neither a mark nor an implied volatility at 2024-01-01"):
        lost(book, history_of([100.0, 101.0], [np.nan, 0.5]))
    with pytest.raises(DataError, match=r"is held but has no price at 2024-01-02.*, the end of the horizon"):
        lost(book, history_of([100.0, 101.0], [0.5, np.nan]))
    linear = book_of(option("call"), PERP, perpetual=[0.0, 1.0])
    assert_allclose(lost(linear, history_of([100.0, 101.0], [np.nan, np.nan])), -1.0)


def test_settlement_takes_the_first_known_spot_from_expiry_on() -> None:
    listing = Listing((option("call", 100, "2024-01-02"), option("put", 100, "2024-01-02T00:01"), COIN))
    history = history_of([100.0, np.nan, 90.0, 95.0], [0.5] * 4)
    told = settlements(listing, history, 1, 4)
    assert_array_equal(told.by, [[False] * 3, [True, True, False], [True, True, False]])
    assert_allclose(told.spot, [90.0, 90.0, np.nan])
    assert_allclose(payoffs(listing, told.spot), [0.0, 10.0, np.nan])


def coins(rows: int) -> MarketHistory:
    return coins_with_options(210).rows(0, rows)


def holed(history: MarketHistory, *places: tuple[str, int, int]) -> MarketHistory:
    panels: dict[str, Any] = {name: np.array(getattr(history, name)) for name, *_ in places}
    for name, row, column in places:
        panels[name][row, column] = np.nan
    return replace(history, **panels)


def test_a_decision_whose_end_has_no_surface_is_skipped_and_counted() -> None:
    history = holed(coins(80), ("surfaces", 60, 0), ("surfaces", 70, 1), ("curves", 50, 1))
    both, coin = option_books(("BTC", "ETH")), OptionRecipe(("BTC",), {"call": (Leg(1, "call"),)})
    linear = some_books()
    window, coverage = 40, Coverage(horizon="2D")
    every = decisions(history, linear, window, coverage)[0]
    for books, rows in ((linear, []), (coin, [58, 60]), (both, [48, 50, 58, 60, 68, 70])):
        chosen, skipped = decisions(history, books, window, coverage)
        assert skipped == len(rows)
        assert_array_equal(chosen, [row for row in every if row not in rows])
    told = outcomes(history, [linear, coin], coverage, window=window)
    assert told.skipped == 2
    assert np.isfinite(told.loss[:, -1]).all()
    assert np.isfinite(outcomes(history, both, coverage, window=window).loss).all()


def test_a_surface_with_a_hole_inside_is_no_surface_and_padding_is_none() -> None:
    history = coins(30)
    surfaces, books = np.array(history.surfaces), option_books(("BTC",))
    surfaces[:, :, 2] = np.nan  # padding
    surfaces[10, 0, 1, 4] = np.nan  # a figure missing
    start, end = priced_rows(replace(history, surfaces=surfaces), books)
    assert_array_equal(np.flatnonzero(~start), [10])
    assert_array_equal(start, end)


def test_a_fixed_option_needs_a_surface_until_it_has_expired() -> None:
    call = option("call", 100.0, "2024-01-03T08:00")
    history = history_of([100.0, 101.0, 102.0, 103.0, 0.0], [0.5, np.nan, 0.5, np.nan, np.nan])
    start, end = priced_rows(history, book_of(call, long=[1.0]))
    assert_array_equal(start, [True, False, True, False, False])
    assert_array_equal(end, [True, False, True, True, True])
    marked = replace(history, listed=(call.symbol,), marks=np.array([[5.0], [5.0], [np.nan], [np.nan], [np.nan]]))
    assert_array_equal(priced_rows(marked, book_of(call, long=[1.0]))[0], [True, True, True, False, False])


def test_a_numeraire_without_a_rate_is_a_hole() -> None:
    history = history_of([100.0, 101.0, 102.0, 0.0], [0.5] * 4)
    euro = replace(history, fx={"EUR": np.array([1.1, np.nan, 1.2, 1.2])}, numeraire="EUR")
    assert_array_equal(priced_rows(euro, book_of(PERP, long=[1.0]))[0], [True, False, True, True])
    assert_array_equal(priced_rows(history.valued_in("BTC"), book_of(PERP, long=[1.0]))[0], [True, True, True, False])


def test_books_that_can_never_be_priced_are_refused_by_name() -> None:
    history = replace(coins(60), surfaces=None, implied="")
    with pytest.raises(HistoryError, match=r"strike options on \('BTC',\), but MarketHistory.* has no surfaces"):
        decisions(history, option_books(("BTC",)), 30, Coverage())
    book = option_book(coins(60).at(40))
    with pytest.raises(HistoryError, match="has neither a mark nor what it is valued by in any row"):
        replay(StaticMargin(rate=0.1), history, book, Coverage(), window=30, refit_every=10)


def test_losses_of_a_book_add_up_over_its_legs() -> None:
    history = coins(80)
    book = option_book(history.at(40))
    legs = Book(book.instruments, tuple(i.symbol for i in book.instruments), np.eye(len(book.instruments)))
    for horizon in ("1D", "7D", "35D"):  # the last beyond the expiry of most
        coverage = Coverage(horizon=horizon)
        whole, apart = (closeout(b, history, 40, coverage, FREE)[0] for b in (book, legs))
        assert_allclose(whole, np.asarray(book.quantity) @ apart, atol=1e-9)
    thin = Book(book.instruments, book.portfolios, sparse.csr_array(np.asarray(book.quantity)))
    assert_allclose(closeout(thin, history, 40, coverage, FREE), closeout(book, history, 40, coverage, FREE), atol=1e-9)


def test_the_worst_in_coin_counts_at_the_price_that_the_move_brings() -> None:
    history = history_of([100.0, 100.0], [0.5] * 2, high=[100.0, 200.0], low=[100.0, 60.0]).valued_in("BTC")
    book = book_of(PERP, long=[1.0], short=[-1.0])
    worst = closeout(book, history, 0, Coverage(path="worst", numeraire="BTC"), FREE)[1]
    assert_allclose(worst, [40 / 60, 100 / 200])


def test_what_has_settled_no_longer_swings() -> None:
    future = Instrument("F", "BTC", "future", expiry="2024-01-02T08:00")
    history = history_of(
        [100.0, 100.0, 100.0], [0.5] * 3, carry=0.0, high=[100.0, 101.0, 103.0], low=[100.0, 99.0, 50.0]
    )
    worst = closeout(book_of(future, PERP, future=[1, 0], perpetual=[0, 1]), history, 0, Coverage(horizon="2D"), FREE)[
        1
    ]
    assert_allclose(worst, [1.0, 50.0])


SESSIONS = Clock("1B")


def test_a_scenario_that_comes_true_loses_what_was_said_over_a_weekend_too() -> None:
    days = np.array(["2024-01-05", "2024-01-08", "2024-01-09"], dtype="datetime64[ns]")
    surfaces = np.tile(np.array([[[[1.0, 0.0, 0.36, 0.0, 0.0, 0.0, 1.0]]]]), (3, 1, 1, 1))
    curves = np.tile(np.array([[[[1.0, CARRY, RATE]]]]), (3, 1, 1, 1))
    spot = np.array([[100.0], [93.0], [110.0]])
    history = MarketHistory(days, ("BTC",), spot, SESSIONS, surfaces=surfaces, curves=curves, implied="quotes")
    ends = {"near": "2024-01-08", "far": "2024-03-29T08:00"}
    held = [
        option(right, strike, expiry, settlement=settled)
        for right, strike in (("call", 95.0), ("put", 105.0))
        for expiry in ends.values()
        for settled in ("linear", "inverse")
    ]
    dated = [
        Instrument(f"{settled} {name}", "BTC", "future", 50.0, settled, expiry)
        for name, expiry in ends.items()
        for settled in ("linear", "inverse")
    ]
    listing = (*held, *dated, PERP, COIN)
    book = Book(listing, tuple(i.symbol for i in listing), np.eye(len(listing)))
    for numeraire in ("USD", "BTC"):
        coverage = Coverage(horizon="1B", numeraire=numeraire)
        counted = history.valued_in(numeraire)
        for row in (0, 1):
            move = spot[row + 1] / spot[row] - 1.0
            state = counted.at(row)
            alive = np.array([not i.expiry or np.datetime64(i.expiry) > state.time for i in listing])
            part = Book(tuple(np.array(listing)[alive]), tuple(np.array(book.portfolios)[alive]), np.eye(alive.sum()))
            told = Scenarios(move[None, :], np.zeros((1, 1)), ("it",))
            said = book_pnl(part, state, told, state.years_ahead(coverage))[:, 0]
            assert_allclose(-closeout(part, counted, row, coverage, FREE)[0], said, rtol=1e-10, atol=1e-12)


def test_a_mark_without_time_value_leaves_the_volatility_to_the_surface() -> None:
    put = option("put", 75.0, "2024-01-06T08:00")
    history = history_of([100.0, 100.0], [0.6] * 2, carry=0.0, rate=0.0)
    listed = replace(history, listed=(put.symbol,), marks=np.zeros((2, 1)))
    bare = replace(listed, surfaces=None, implied="")
    told = Scenarios(np.array([[-0.2]]), np.array([[0.5]]), ("fall",), term=VolTerm(least=0.5))
    book = book_of(put, PERP, short=[-1.0, 0.0], other=[0.0, 1.0])
    surface, marked = (book_pnl(book, it.at(0), told)[0, 0] for it in (history, listed))
    assert_allclose(marked, surface)
    assert np.isfinite(book_pnl(book, bare.at(0), told)).all()
    below = replace(bare, marks=np.full((2, 1), 0.0), spot=np.array([[60.0], [60.0]]))
    with pytest.raises(DataError, match="has a mark of 0, outside what any volatility gives"):
        book_pnl(book, below.at(0), told)
