from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import Listing, ParameterError
from margin_models.crises import ALL_DOWN, CRISES, Crisis, crisis_scenarios
from margin_models.revalue import instrument_pnl
from margin_models.scenarios import PARALLEL, Scenarios, VolTerm, grid, historical, skewed, span16, usd_moves
from markets import coins_with_options, option_on

# SPAN's risk array: thirds of the price scan range and the sign of the volatility move, scenarios 1 to 14.
ARRAY = [
    (0, 1),
    (0, -1),
    (1, 1),
    (1, -1),
    (-1, 1),
    (-1, -1),
    (2, 1),
    (2, -1),
    (-2, 1),
    (-2, -1),
    (3, 1),
    (3, -1),
    (-3, 1),
    (-3, -1),
]


def some(size: int = 2, **facts: Any) -> Scenarios:
    return Scenarios(np.zeros((size, 1)), np.zeros((size, 1)), tuple(f"s{n}" for n in range(size)), **facts)


def test_the_sixteen_stand_in_the_order_of_the_risk_arrays() -> None:
    price, vol = np.array([0.12, 0.3]), np.array([0.25, 0.4])
    told = span16(price, vol, extreme=3.0, cover=0.33)
    assert len(told) == 16
    assert_allclose(told.spot[:14], [third / 3 * price for third, _ in ARRAY])
    assert_allclose(told.vol[:14], [sign * vol for _, sign in ARRAY])
    assert_allclose(told.spot[14:], [3 * price, -3 * price])
    assert_allclose(told.vol[14:], 0.0)
    assert told.weight is not None
    assert_allclose(told.weight, [1.0] * 14 + [0.33] * 2)
    assert told.names[2] == "price +1/3, vol up"
    assert told.names[15] == "extreme -3x at 0.33"
    assert told.term == VolTerm()


def test_an_extreme_fall_is_never_beyond_the_whole_price() -> None:
    told = span16(np.array([0.5]), np.array([0.0]))
    assert_allclose(told.spot[14:, 0], [1.5, -1.0])


@pytest.mark.parametrize("days", [0.2, 1.0, 7.0, 29.999, 30.0, 30.001, 90.0, 365.0])
def test_a_volatility_shock_fades_with_tenor_as_published(days: float) -> None:
    # Deribit and Derive: (30 / days)^0.30 to 30 days and (30 / days)^0.13 beyond, days not below one.
    power = 0.30 if days <= 30 else 0.13
    assert_allclose(VolTerm().scale(np.array([days])), [(30 / max(days, 1.0)) ** power])


def test_the_term_is_continuous_falls_and_may_be_flat() -> None:
    days = np.linspace(0.1, 400, 4000)
    scale = VolTerm().scale(days)
    assert np.all(np.diff(scale) <= 0)
    assert np.abs(np.diff(scale[days > 1])).max() < 0.09
    assert_array_equal(PARALLEL.scale(days), 1.0)
    assert_allclose(VolTerm(floor_days=7.0).scale(np.array([0.5])), VolTerm().scale(np.array([7.0])))


def test_a_grid_is_every_price_with_every_volatility() -> None:
    prices, vols = np.array([[-0.1, -0.2], [0.0, 0.0], [0.1, 0.2]]), np.array([[0.4, 0.5], [-0.2, -0.3]])
    told = grid(prices, vols, PARALLEL)
    assert_allclose(told.spot, np.repeat(prices, 2, axis=0))
    assert_allclose(told.vol, np.tile(vols, (3, 1)))
    assert len(set(told.names)) == len(told) == 6
    assert told.term is PARALLEL


def test_what_is_joined_keeps_its_weights_and_shocks_and_fills_the_others() -> None:
    first = some(2, weight=np.array([0.5, 0.6]), skew=np.array([0.1, 0.2]))
    both = first.joined(some(1, rate=np.array([0.01])))
    assert both.names == ("s0", "s1", "s0")
    assert both.weight is not None
    assert both.skew is not None
    assert both.rate is not None
    assert_allclose(both.weight, [0.5, 0.6, 1.0])
    assert_allclose(both.skew, [0.1, 0.2, 0.0])
    assert_allclose(both.rate, [0.0, 0.0, 0.01])
    assert both.wings is None
    with pytest.raises(ParameterError, match="share their vol term"):
        first.joined(some(1, term=PARALLEL))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"spot": np.zeros((2, 1))}, r"\(S, A\) moves of 3 names, got \(2, 1\)"),
        ({"spot": np.zeros(3)}, r"moves of 3 names, got \(3,\)"),
        ({"spot": np.array([[-1.1], [0.0], [0.0]])}, "more than all of it, got a move of -1.1"),
        ({"spot": np.array([[np.nan], [0.0], [0.0]])}, "finite spot"),
        ({"vol": np.zeros((3, 2))}, r"finite vol of shape \(3, 1\), got \(3, 2\)"),
        ({"vol": np.full((3, 1), np.inf)}, "finite vol"),
        ({"weight": np.ones(2)}, r"finite weight of shape \(3,\), got \(2,\)"),
        ({"skew": np.full(3, np.nan)}, "finite skew"),
        ({"wings": np.ones((3, 1))}, "finite wings"),
        ({"rate": np.ones(4)}, "finite rate"),
    ],
)
def test_scenarios_that_make_no_sense_are_refused(facts: dict[str, Any], why: str) -> None:
    moves = {"spot": np.zeros((3, 1)), "vol": np.zeros((3, 1))} | facts
    vol = moves["vol"] if "vol" in facts else np.zeros(moves["spot"].shape)
    with pytest.raises(ParameterError, match=why):
        Scenarios(**(moves | {"vol": vol, "names": ("a", "b", "c")}))


def test_past_horizons_are_named_by_their_starts() -> None:
    time = np.array(["2024-01-01T08:00", "2024-01-02T08:00"], dtype="datetime64[ns]")
    told = historical(np.array([[0.1], [-1.5]]), np.array([[0.2], [-2.0]]), time)
    assert told.names == ("2024-01-01T08:00", "2024-01-02T08:00")
    assert_allclose(told.spot[:, 0], [0.1, -1.0])
    assert_allclose(told.vol[:, 0], [0.2, -1.0])
    assert told.weight is None


@given(st.floats(-0.9, 3.0), st.floats(-0.9, 3.0))
def test_moves_in_coin_are_turned_back_into_usd(coin: float, other: float) -> None:
    usd = np.array([[coin, other]])
    counted = usd / (1.0 + coin)
    assert_allclose(usd_moves(counted, 0), usd, rtol=1e-9, atol=1e-12)
    assert usd_moves(usd, None) is usd


def test_crises_are_the_days_that_happened() -> None:
    told = crisis_scenarios(("BTC", "ETH"))
    assert len(told) == len(CRISES) + 1
    assert told.names[0].startswith("2020-03-12")
    assert_allclose(np.log1p(told.spot[0]), [-0.503, -0.591])
    assert_allclose(np.log1p(told.spot[1]), [-0.155, -0.325])
    assert_allclose(told.vol, 0.5)
    assert all("vol +50%" in name for name in told.names)


def test_a_move_that_nobody_listed_is_the_deepest_of_its_day_and_says_so() -> None:
    told = crisis_scenarios(("SOL", "XRP"))
    assert_allclose(np.log1p(told.spot[:, 0]), [-0.591, -0.470, -0.273, -0.549, -0.250, -0.549])
    assert_allclose(np.log1p(told.spot[:, 1]), [-0.591, -0.470, -0.273, -0.549, -0.250, -0.591])
    assert "assumed: SOL, XRP" in told.names[0]
    assert "assumed: XRP" in told.names[3]
    assert told.names[-1].startswith(ALL_DOWN)
    assert "XRP" in told.names[-1]
    assert "SOL" not in told.names[-1]


def test_all_down_together_is_at_least_as_bad_for_each_as_any_day_that_lists_it() -> None:
    names = ("BTC", "ETH", "SOL", "DOGE")
    told = crisis_scenarios(names, vol=1.0)
    listed = np.array([[np.expm1(c.moves.get(a, 0.0)) for a in names] for c in CRISES])
    assert_allclose(told.spot[-1], listed.min(axis=0))
    assert_allclose(told.vol, 1.0)


def test_crises_keep_their_facts_and_refuse_a_volatility_that_is_none() -> None:
    moves = {"BTC": -0.1}
    crisis = Crisis("one", "2024-01-01", moves)
    moves["BTC"] = -0.9
    assert crisis.worst == -0.1
    assert crisis_scenarios(()).spot.shape == (len(CRISES) + 1, 0)
    for vol in (np.nan, -1.5):
        with pytest.raises(ParameterError, match="vol must be a finite relative change"):
            crisis_scenarios(("BTC",), vol)


def test_a_skew_shock_moves_wings_apart_and_leaves_the_money_alone() -> None:
    history = coins_with_options()
    state = history.now
    strikes = [option_on(state, "BTC", "call", multiple) for multiple in (0.9, 1.1)]
    pnl = instrument_pnl(Listing(tuple(strikes)), state, skewed(2, (0.1, -0.1), (0.2,)))
    low, high = pnl
    assert low[0] < 0 < high[0]
    assert high[1] < 0 < low[1]
    assert (pnl[:, 2] > 0).all()
