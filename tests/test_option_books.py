import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr, ndtri

from backtest import replay, standard_books
from backtest.lookahead import audit
from backtest.option_books import Leg, OptionRecipe, Scheduled, exactly, fridays, option_books, structures
from backtest.portfolios import Books, Joined, struck_on
from backtest.strikes import listed_strikes, log_strikes
from data import Book, Coverage, DataError, HistoryError, Instrument, MarketHistory, MarketState, ParameterError
from data.surface import implied_volatility
from data.valuation import option_terms
from margin_models import HistoricalVaR, StaticMargin
from markets import coins_with_options, some_books, two_coins

FINE = 1e-6  # a strike step that rounds next to nothing
STRANGLE = {"strangle": (Leg(-1, "call", delta=0.25), Leg(-1, "put", delta=0.1))}
SMILE = np.array([[0.1, 0.0, 0.01, 0.05, -0.4, 0.02, 0.1], [0.5, 0.0, 0.06, 0.1, -0.4, 0.0, 0.2]])


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return coins_with_options()


@pytest.fixture(scope="module")
def state(history: MarketHistory) -> MarketState:
    return history.at(100)


def row_of(book: Book, portfolio: str) -> dict[str, float]:
    """What one portfolio holds, by symbol."""
    held = np.asarray(book.quantity)[book.portfolios.index(portfolio)]
    return {i.symbol: float(q) for i, q in zip(book.instruments, held, strict=True) if q}


def legs_of(book: Book, portfolio: str) -> list[tuple[Instrument, float]]:
    held = np.asarray(book.quantity)[book.portfolios.index(portfolio)]
    return [(i, float(q)) for i, q in zip(book.instruments, held, strict=True) if q]


def without(state: MarketState, column: int, *names: str) -> MarketState:
    """The state with holes in some panels of one underlying."""
    panels: dict[str, Any] = {}
    for name in names:
        panel = np.array(getattr(state, name))
        panel[column] = np.nan
        panels[name] = panel
    return replace(state, **panels)


@pytest.mark.parametrize(
    ("time", "days", "expiry"),
    [
        ("2024-01-05T08:00", 0.0001, "2024-01-12T08:00"),  # a Friday, just past 08:00
        ("2024-01-05T08:00", 7.0, "2024-01-12T08:00"),  # on the dot
        ("2024-01-01T00:00", 4.0, "2024-01-05T08:00"),
        ("2024-01-01T09:00", 4.0, "2024-01-12T08:00"),  # an hour too late for the Friday
        ("1969-12-30T00:00", 1.0, "1970-01-02T08:00"),
    ],
)
def test_listed_expiries_are_fridays_at_eight(time: str, days: float, expiry: str) -> None:
    assert fridays(np.datetime64(time, "ns"), np.array([days]))[0] == np.datetime64(expiry)


@given(st.integers(0, 20_000 * 24), st.floats(0.01, 400))
def test_a_listed_expiry_is_the_first_friday_far_enough(hour: int, days: float) -> None:
    now = np.datetime64("1970-01-01", "ns") + np.timedelta64(hour, "h")
    got = pd.Timestamp(fridays(now, np.array([days]))[0])
    assert (got.day_of_week, got.hour, got.minute) == (4, 8, 0)
    least = now + np.timedelta64(int(days * 86_400e9), "ns")
    assert np.timedelta64(0) <= got.to_datetime64() - least + np.timedelta64(1, "us") < np.timedelta64(7, "D")


def test_an_exact_tenor_is_exact() -> None:
    got = exactly(np.datetime64("2024-01-01T10:30", "ns"), np.array([1.5, 30.0]))
    assert_array_equal(got, np.array(["2024-01-02T22:30", "2024-01-31T10:30"], dtype="datetime64[ns]"))


@pytest.mark.parametrize(
    ("strike", "spot", "step", "listed"),
    [
        (63_211.0, 63_000.0, 0.01, 63_000.0),  # 630 allows steps of 500
        (63_251.0, 63_000.0, 0.01, 63_500.0),
        (0.4567, 0.5, 0.01, 0.455),
        (1234.0, 2000.0, 0.01, 1240.0),
        (0.001, 100.0, 0.01, 1.0),  # never zero
        (119.0, 100.0, 0.05, 120.0),
    ],
)
def test_strikes_are_round(strike: float, spot: float, step: float, listed: float) -> None:
    assert listed_strikes(np.array([strike]), spot, step).tolist() == [listed]


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1.0, 3e7])
def test_rounding_moves_a_strike_by_less_than_half_a_step(scale: float) -> None:
    raw = scale * np.linspace(0.3, 3.0, 500)
    assert np.abs(listed_strikes(raw, scale, 0.01) - raw).max() <= 0.005 * scale * (1 + 1e-9)


def test_strikes_have_the_delta_asked_for_on_the_smile_by_an_independent_root() -> None:
    from scipy.optimize import brentq

    tenor = np.array([0.05, 0.1, 0.3, 0.5, 1.5])
    for delta in (0.05, 0.25, 0.5, 0.75):
        got = log_strikes(SMILE, tenor, np.full(5, ndtri(delta)))

        def miss(k: float, t: float, want: float = float(ndtri(delta))) -> float:
            deviation = float(implied_volatility(SMILE, np.array([k]), np.array([t]))[0]) * t**0.5
            return float(-k / deviation + deviation / 2 - want)

        assert_allclose(got, [brentq(miss, -3, 3, args=(t,), xtol=1e-12) for t in tenor], atol=1e-8)


@settings(max_examples=50)
@given(st.floats(0.02, 0.98), st.floats(0.01, 2.0))
def test_a_strike_from_delta_gives_that_delta_back(delta: float, tenor: float) -> None:
    k = log_strikes(SMILE, np.array([tenor]), np.array([ndtri(delta)]))
    deviation = implied_volatility(SMILE, k, np.array([tenor])) * np.sqrt(tenor)
    assert_allclose(ndtr(-k / deviation + deviation / 2), delta, atol=1e-7)


def test_a_delta_that_no_strike_has_is_nan_and_so_is_a_surface_without_a_smile() -> None:
    wild = np.array([[1.0, 0.0, 400.0, 0.0, 0.0, 0.0, 1.0]])  # 2000 % a year
    assert np.isnan(log_strikes(wild, np.array([1.0]), np.array([ndtri(0.05)]))).all()
    assert np.isnan(log_strikes(np.full((2, 7), np.nan), np.array([1.0]), np.array([0.0]))).all()


@pytest.mark.parametrize("inverse", [True, False])
def test_a_recipe_holds_what_it_says(state: MarketState, inverse: bool) -> None:
    recipe = OptionRecipe(("BTC",), STRANGLE, inverse=inverse, step=FINE)
    book = recipe.at(state)
    assert_allclose(book.gross(state), 1.0)
    terms = option_terms(book.listing, state)
    d1 = np.log(terms.forward / terms.strike) / terms.deviation + terms.deviation / 2
    assert_allclose(np.where(terms.call, ndtr(d1), ndtr(-d1)), [0.25, 0.1], atol=1e-4)
    for instrument, quantity in legs_of(book, "BTC strangle"):
        assert instrument.settlement == ("inverse" if inverse else "linear")
        assert_allclose(quantity, -0.5 / state.spot[0])
        assert instrument.expiry is not None
        expiry = pd.Timestamp(instrument.expiry)
        assert (expiry.day_of_week, expiry.hour) == (4, 8)
        assert 30 <= (expiry - pd.Timestamp(state.time)) / pd.Timedelta("1D") < 37


def test_the_default_set_is_what_its_names_say(state: MarketState) -> None:
    book = option_books(("BTC", "ETH")).at(state)
    assert len(book.portfolios) == 2 * len(structures()) == 38
    assert_allclose(book.gross(state), 1.0)

    def shape(name: str) -> list[tuple[str, float, float | None]]:
        told = [(i.right or i.kind, q * state.spot[0], i.strike) for i, q in legs_of(book, f"BTC {name}")]
        return [(kind, float(np.round(q, 9)), strike) for kind, q, strike in told]

    (call, _, at_call), (put, _, at_put) = shape("long straddle")
    assert (call, put, at_call) == ("call", "put", at_put)
    assert [q for _, q, _ in shape("short straddle")] == [-0.5, -0.5]
    body, wing, inner = (
        sorted(shape("long butterfly"), key=lambda leg: leg[1])[0],
        *sorted((leg for leg in shape("long butterfly") if leg[1] > 0), key=lambda leg: -(leg[2] or 0)),
    )
    assert (inner[2] or 0) < (body[2] or 0) < (wing[2] or 0)
    assert (inner[1], body[1], wing[1]) == (0.25, -0.5, 0.25)
    near, far = sorted((i for i, _ in legs_of(book, "BTC long calendar")), key=lambda i: str(i.expiry))
    assert near.strike == far.strike
    assert near.expiry != far.expiry
    third = round(1 / 3, 9)
    assert {(kind, q) for kind, q, _ in shape("collar")} == {("spot", third), ("put", third), ("call", -third)}
    assert [kind for kind, *_ in shape("cash and carry")] == ["spot", "future"]
    assert sum(q for _, q, _ in shape("long box")) == 0.0
    kinds = {i.settlement for i in book.instruments if i.kind == "option"}
    assert kinds == {"inverse"}


def test_a_box_pays_the_distance_of_its_strikes_whatever_happens(state: MarketState) -> None:
    book = OptionRecipe(("BTC",), {"box": structures()["long box"]}, inverse=False).at(state)
    legs = legs_of(book, "BTC box")
    for settled in (1.0, 4e4, 4.5e4, 1e6):
        pay = sum(q * max((settled - i.strike) * (1 if i.right == "call" else -1), 0) for i, q in legs if i.strike)
        strikes = sorted({i.strike for i, _ in legs if i.strike})
        assert_allclose(pay, abs(legs[0][1]) * (strikes[1] - strikes[0]))


def test_a_hedge_brings_delta_to_zero(state: MarketState) -> None:
    hedged = {
        "straddle": (*STRANGLE["strangle"], Leg(None, "perpetual")),
        "with a future": (Leg(2, "call", delta=0.3), Leg(None, "future", days=60)),
        "in coins": (Leg(1, "put", delta=0.4), Leg(None, "spot")),
        "naked": STRANGLE["strangle"],
    }
    book = OptionRecipe(("ETH", "BTC"), hedged).at(state)
    exposure = book.exposure(state)
    for name in hedged:
        for coin, column in (("BTC", 0), ("ETH", 1)):
            left = exposure[book.portfolios.index(f"{coin} {name}")]
            assert_allclose(left[1 - column], 0.0, atol=1e-15)
            assert (abs(left[column]) < 1e-12) == (name != "naked")
    assert row_of(book, "BTC with a future").keys() == {
        i.symbol for i, _ in legs_of(book, "BTC with a future") if i.kind in ("option", "future")
    }


def test_a_portfolio_that_lacks_a_leg_is_empty_and_the_others_are_not(state: MarketState) -> None:
    recipe = option_books(("BTC", "ETH"))
    needs_curve = {"cash and carry", "long future calendar", "short future calendar"}
    bare = recipe.at(without(state, 1, "surface"))
    for name, gross in zip(bare.portfolios, bare.gross(state), strict=True):
        live = name.startswith("BTC") or name.removeprefix("ETH ") in needs_curve
        assert_allclose(gross, 1.0 if live else 0.0, err_msg=name)
    flat = without(state, 0, "curve")
    bare = recipe.at(flat)
    for name, gross in zip(bare.portfolios, bare.gross(flat), strict=True):
        assert_allclose(gross, float(name.removeprefix("BTC ") not in needs_curve), err_msg=name)
    for hole in (np.nan, 0.0):
        spot = state.spot * np.array([1.0, hole])
        gone = replace(state, spot=spot)
        gross = recipe.at(gone).gross(gone)
        assert_allclose(gross, np.repeat([1.0, 0.0], len(structures())))
    plain = replace(state, curve=None, surface=None)
    assert_allclose(recipe.at(plain).gross(plain), 0.0)


def test_a_portfolio_without_its_hedge_is_empty(state: MarketState) -> None:
    legs = {"hedged": (Leg(1, "call"), Leg(None, "future")), "naked": (Leg(1, "call"),)}
    flat = without(state, 0, "curve")
    assert_allclose(OptionRecipe(("BTC",), legs).at(flat).gross(flat), [0.0, 1.0])


def test_legs_that_round_to_one_strike_are_one_position(state: MarketState) -> None:
    low, mid, high = (Leg(q, "call", delta=d) for q, d in ((1, 0.51), (-2, 0.5), (1, 0.49)))
    fly = OptionRecipe(("BTC",), {"fly": (low, mid, high)}, step=0.4).at(state)
    assert_allclose(fly.gross(state), 0.0)
    some = OptionRecipe(("BTC",), {"some": (low, Leg(2, "call", delta=0.5), Leg(-1, "put"))}, step=0.4).at(state)
    calls, puts = (quantity for _, quantity in legs_of(some, "BTC some"))
    assert_allclose(calls / puts, -3.0)


def test_a_book_depends_on_its_instant_alone(history: MarketHistory) -> None:
    recipe = option_books(("BTC", "ETH"))
    one, two = recipe.at(history.at(50)), recipe.at(history.rows(0, 51).now)
    assert one.instruments == two.instruments
    assert_array_equal(one.quantity, two.quantity)
    copy = pickle.loads(pickle.dumps(recipe)).at(history.at(50))
    assert_array_equal(copy.quantity, one.quantity)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Leg(1, "swap"), "a leg is a call"),  # type: ignore[arg-type]
        (lambda: Leg(None, "call"), "a hedge is a future"),
        (lambda: Leg(1, "put", delta=-0.25), r"delta must lie in \(0, 1\), unsigned, got -0.25"),
        (lambda: Leg(1, "put", moneyness=0.0), "moneyness and days must be > 0"),
        (lambda: Leg(1, "put", days=float("inf")), "days of a leg must be a finite number, got inf"),
        (lambda: OptionRecipe(("BTC",), STRANGLE, step=0.0), "step must lie in"),
        (lambda: OptionRecipe(("BTC",), {"nothing": ()}), "'nothing' needs a leg"),
        (lambda: OptionRecipe(("BTC",), {"two": (Leg(None, "spot"), Leg(None, "perpetual"))}), "at most one hedge"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        make()


def test_an_underlying_that_the_market_lacks_is_named(state: MarketState) -> None:
    with pytest.raises(DataError, match="option books on 'DOGE' need that underlying"):
        option_books(("DOGE",)).at(state)


def test_a_schedule_strikes_on_its_days_and_holds_in_between(history: MarketHistory) -> None:
    recipe = OptionRecipe(("BTC", "ETH"), STRANGLE)
    weekly = Scheduled(recipe, history, every="7D")
    for row in (0, 3, 6, 7, 13):
        state, struck = history.at(row), recipe.at(history.at(row - row % 7))
        book = weekly.at(state)
        assert book.instruments == struck.instruments
        assert_allclose(book.gross(state), 1.0)
        ratio = np.asarray(book.quantity)[0][:2] / np.asarray(struck.quantity)[0][:2]
        assert_allclose(ratio, history.spot[row - row % 7, 0] / history.spot[row, 0])
    assert (weekly.portfolios, weekly.instruments) == (recipe.portfolios, recipe.instruments)


def test_a_schedule_knows_nothing_of_the_future(history: MarketHistory) -> None:
    recipe = OptionRecipe(("BTC",), STRANGLE)
    other = replace(history, spot=np.where(np.arange(len(history))[:, None] > 40, history.spot * 2, history.spot))
    for row in (30, 40):
        one, two = (Scheduled(recipe, h).at(h.at(row)) for h in (history, other))
        assert one.instruments == two.instruments
        assert_array_equal(one.quantity, two.quantity)
    one, two = (Scheduled(recipe, h).at(h.at(60)) for h in (history, other))
    assert one.instruments != two.instruments


def test_a_schedule_that_falls_on_a_hole_waits_for_the_next_row(history: MarketHistory) -> None:
    assert np.isnan(history.spot[200]).all()
    daily = Scheduled(OptionRecipe(("BTC",), STRANGLE), history, every="10D")
    assert daily.at(history.at(201)).instruments == daily.recipe.at(history.at(201)).instruments
    assert daily.at(history.at(199)).instruments == daily.recipe.at(history.at(190)).instruments


def test_a_schedule_empties_what_has_expired_or_has_no_price(history: MarketHistory) -> None:
    blank = np.array(history.spot)
    blank[7:25] = np.nan  # no roll for two weeks and more
    legs = {"week": (Leg(1, "call", days=7),), "month": (Leg(1, "call", days=30),), "coin": (Leg(1, "spot"),)}
    weekly = Scheduled(OptionRecipe(("BTC",), legs), replace(history, spot=blank), every="7D")
    state = history.at(24)
    assert_allclose(weekly.at(state).gross(state), [0.0, 1.0, 1.0])
    bare = without(state, 0, "surface")
    assert_allclose(weekly.at(bare).gross(bare), [0.0, 0.0, 1.0])


def test_a_schedule_that_cannot_be_kept_is_refused(history: MarketHistory) -> None:
    recipe = OptionRecipe(("BTC",), {"week": (Leg(1, "call", days=7),)})
    with pytest.raises(ParameterError, match="expire before they are rolled"):
        Scheduled(recipe, history, every="8D")
    weekly = Scheduled(recipe, history.rows(10, 100))
    for row in (9, 100):
        with pytest.raises(HistoryError, match="the schedule runs from"):
            weekly.at(history.at(row))
    with pytest.raises(HistoryError, match="a row with every spot"):
        Scheduled(recipe, history.rows(200, 201))


def test_joined_books_hold_what_their_parts_hold_at_each_instant(history: MarketHistory) -> None:
    recipe, linear = option_books(("BTC",)), standard_books(("BTC", "ETH"), makers=3)
    both = Joined((linear, recipe))
    assert struck_on(both) == (("BTC",), ("BTC",))
    assert struck_on(linear) == ((), ())
    for row in (20, 300):
        state = history.at(row)
        book, alone = both.at(state), (linear.at(state), recipe.at(state))
        assert book.portfolios == both.portfolios
        assert_allclose(book.exposure(state), np.vstack([part.exposure(state) for part in alone]), atol=1e-15)
        assert len(book.instruments) == len(set(alone[0].instruments + alone[1].instruments))


def test_joined_linear_books_are_as_they_were() -> None:
    history = two_coins()
    parts = (some_books(), standard_books(("BTC", "ETH"), makers=2))
    with pytest.raises(DataError, match="differ in symbol"):
        Joined(parts).at(history.now)  # two instruments of one name
    linear = (standard_books(("BTC",), makers=2), Book((Instrument("ETH-PERP", "ETH"),), ("x",), np.ones((1, 1))))
    both = Joined(linear)
    book = both.at(history.now)
    assert book.instruments == both.instruments
    assert_array_equal(np.asarray(book.quantity)[:-1, :-1], linear[0].at(history.now).quantity)


@pytest.mark.parametrize("model", [StaticMargin(), HistoricalVaR()], ids=repr)
def test_option_books_are_replayed(history: MarketHistory, model: Any) -> None:
    books: list[Books] = [standard_books(("BTC", "ETH"), makers=2), option_books(("BTC", "ETH"))]
    told = replay(model, history.rows(0, 260), books, Coverage(), window=150, refit_every=50)
    assert told.skipped == 2
    assert np.isfinite(told.loss).all()
    assert (told.book("BTC short straddle")["loss"] > 0).any()
    box = told.book("BTC long box")["loss"]
    assert box.abs().max() < 0.02  # only the premium, held in dollars here, and the costs move it


def test_the_audit_of_tomorrow_takes_option_books(history: MarketHistory) -> None:
    told = audit(HistoricalVaR(), history.rows(0, 150), option_books(("BTC",)), Coverage(), window=110, rows=3)
    assert (told.rows, told.leaks) == (3, ())
