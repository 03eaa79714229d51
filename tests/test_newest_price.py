"""Is a wrong newest price told from a move, and a crash let through?"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data import MarketHistory
from data.sources.samples import load
from research.default_study import default_study
from research.limits import Limits
from research.night_data import ALONE, _exchanged, _without_company, as_of, night_data

DAYS = pd.date_range("2020-01-01", periods=300)
NAMES = ("BTC", "ETH", "SOL")


def market(newest: tuple[float, ...], rows: int = 300) -> MarketHistory:
    """Calm assets that move together, and then so many times their price in the newest row."""
    moves = np.random.default_rng(2).standard_normal((300, 3)) @ np.array([[1, 0.6, 0.6], [0, 0.8, 0], [0, 0, 0.8]])
    closes = 100.0 * np.exp(0.02 * moves.cumsum(0))
    closes[-1] = closes[-2] * np.array(newest)
    names = NAMES[: len(newest)]
    frame = pd.DataFrame(closes[-rows:, : len(newest)], DAYS[-rows:], list(names))
    return MarketHistory.from_frame(frame)


@pytest.mark.parametrize("factor", [1.5, 0.6, 2.9])
@pytest.mark.parametrize("asset", range(3))
def test_one_price_that_leaps_alone_is_looked_at_and_named(factor: float, asset: int) -> None:
    newest = [1.01, 0.99, 1.0]
    newest[asset] = factor
    told = _without_company(market(tuple(newest)))
    assert len(told) == 1
    assert told[0].startswith(f"{NAMES[asset]}: the newest price is {factor:.3g} times the one before")


def test_a_crash_that_all_share_goes_through() -> None:
    assert _without_company(market((0.61, 0.55, 0.61))) == ()  # BTC, ETH and LTC on 12 March 2020


def test_a_market_that_moves_as_it_does_is_not_looked_at() -> None:
    past = market((1.02, 0.98, 1.01))
    assert not any(_without_company(past.rows(0, stop)) for stop in range(80, 301))


def test_nobody_is_asked_where_nobody_can_tell() -> None:
    assert _without_company(market((1.5,))) == ()
    assert _without_company(market((1.5, 1.0, 1.0), rows=40)) == ()


def test_the_threshold_is_in_deviations_of_the_asset_itself() -> None:
    spot = np.asarray(market((1.0, 1.0, 1.0)).spot)
    scale = 1.4826 * np.median(np.abs(np.diff(np.log(spot[-251:, 0])))[:-1])
    for share, looked_at in ((0.9, 0), (1.1, 1)):
        assert len(_without_company(market((float(np.exp(share * ALONE * scale)), 1.0, 1.0)))) == looked_at


def priced(last: tuple[float, ...], newest: tuple[float, ...]) -> MarketHistory:
    """Calm assets of these prices before, and these now."""
    past = market((1.0, 1.0, 1.0))
    closes = np.array(past.spot) / past.spot[-2] * np.array(last)
    closes[-1] = newest
    return MarketHistory.from_frame(pd.DataFrame(closes, DAYS, list(NAMES)))


@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 2), (1, 2)])
def test_two_newest_prices_in_each_others_place_are_named(a: int, b: int) -> None:
    last = (100.0, 140.0, 220.0)
    newest = [101.0, 139.0, 221.0]
    newest[a], newest[b] = newest[b], newest[a]
    (told,) = _exchanged(priced(last, tuple(newest)))
    assert told.startswith(f"the newest prices of {NAMES[a]} and {NAMES[b]} look exchanged")
    assert _exchanged(priced(last, (101.0, 139.0, 221.0))) == ()


@pytest.mark.parametrize(
    "newest",
    [
        (138.0, 139.0, 221.0),  # one alone comes to where another stands
        (70.0, 98.0, 154.0),  # all fall together, each to where the one below stood
        (140.0, 320.0, 221.0),  # one comes to where another stood, which goes elsewhere
    ],
)
def test_moves_that_are_no_exchange_are_let_through(newest: tuple[float, ...]) -> None:
    assert _exchanged(priced((100.0, 140.0, 220.0), newest)) == ()


def test_neighbours_in_price_may_change_places() -> None:
    """A deviation is about 2 %: three percent apart, two assets pass each other on many a day."""
    assert _exchanged(priced((100.0, 103.0, 220.0), (103.0, 100.0, 220.0))) == ()
    assert len(_exchanged(priced((100.0, 125.0, 220.0), (125.0, 100.0, 220.0)))) == 1


def test_nobody_is_exchanged_where_nobody_can_tell() -> None:
    assert _exchanged(market((1.5,))) == ()
    assert _exchanged(priced((100.0, 140.0, 220.0), (140.0, 100.0, 220.0)).rows(250, 300)) == ()


def test_an_exchange_makes_the_night_borderline() -> None:
    """The remark comes before those of each price alone: it says what is wrong."""
    past = priced((100.0, 140.0, 220.0), (140.0, 100.0, 220.0))
    plan = replace(default_study().markets[0], load=lambda: past, window=100)
    told = night_data(plan, as_of(str(DAYS[-1])[:10]), Limits(), {})
    assert told.doubts == ()
    assert told.remarks[0].startswith("the newest prices of BTC and ETH look exchanged")


def test_two_hundred_assets_and_one_exchange_give_one_remark() -> None:
    rng = np.random.default_rng(5)
    closes = np.exp(rng.uniform(2.0, 8.0, 200) + 0.02 * rng.standard_normal((300, 200)).cumsum(0))
    closes[-1, [3, 70]] = closes[-1, [70, 3]]
    names = [f"A{n}" for n in range(200)]
    told = _exchanged(MarketHistory.from_frame(pd.DataFrame(closes, DAYS, names)))
    assert [one.split(" look")[0] for one in told] == ["the newest prices of A3 and A70"]


def test_twenty_stocks_over_two_years_are_never_taken_for_exchanged() -> None:
    stocks = load("us-stocks")
    assert not any(_exchanged(stocks.rows(stop - 260, stop)) for stop in range(len(stocks) - 499, len(stocks) + 1))
