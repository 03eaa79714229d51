"""Is the stand-in surface made of the past alone, free of arbitrage, and where realised volatility says?"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Floats, MarketHistory
from data.proxy_surface import LARGEST_DEVIATION, PREMIUM, PROXY, TENORS, proxy_surfaces
from data.quality import sound_smiles
from data.surface import butterfly_violation, calendar_violation, implied_volatility, volatilities_at

YEAR = 365.25


def _history(moves: Floats, step: str = "1D") -> MarketHistory:
    moves = moves if moves.ndim == 2 else moves[:, None]
    closes = 100 * np.exp(np.vstack([np.zeros(moves.shape[1]), moves.cumsum(axis=0)]))
    index = pd.date_range("2022-01-01", periods=len(closes), freq=step, tz="UTC")
    return MarketHistory.from_frame(pd.DataFrame(closes, index=index).rename(columns=str), step, missing="hole")


def _steady(volatility: float, rows: int, rows_a_day: int = 1) -> Floats:
    """Moves of one size and either sign."""
    size = volatility / np.sqrt(YEAR * rows_a_day)
    return np.asarray(size * np.random.default_rng(3).choice([-1.0, 1.0], rows))


def _normal(rows: int, assets: int = 2) -> Floats:
    return np.asarray(0.03 * np.random.default_rng(5).standard_t(4, (rows, assets)))


@pytest.mark.parametrize(("step", "rows_a_day"), [("1D", 1), ("1h", 24)])
def test_steady_volatility_is_implied_at_every_tenor(step: str, rows_a_day: int) -> None:
    surfaces = proxy_surfaces(_history(_steady(0.6, 60 * rows_a_day, rows_a_day), step))
    assert surfaces.shape == (60 * rows_a_day + 1, 1, len(TENORS), 7)
    for days in TENORS:
        assert volatilities_at(surfaces[-1], np.zeros(1), days / YEAR)[0] == pytest.approx(PREMIUM * 0.6, rel=1e-9)


def test_tomorrow_cannot_change_today() -> None:
    moves = _normal(200)
    before = proxy_surfaces(_history(moves))
    shocked = moves.copy()
    shocked[150:] = 0.3
    after = proxy_surfaces(_history(shocked))
    np.testing.assert_array_equal(after[:151], before[:151])
    assert (after[151:] != before[151:]).any()


def test_cutting_the_future_off_changes_nothing() -> None:
    history = _history(_normal(120))
    np.testing.assert_array_equal(proxy_surfaces(history.rows(0, 80)), proxy_surfaces(history)[:80])


def test_before_thirty_days_of_returns_nothing_is_implied() -> None:
    surfaces = proxy_surfaces(_history(_normal(50)))
    assert np.isnan(surfaces[:30]).all()
    assert np.isfinite(surfaces[30:]).all()


def test_a_shock_lifts_the_near_more_than_the_far() -> None:
    moves = np.r_[_steady(0.5, 200), -0.4, _steady(0.5, 60)]
    surfaces = proxy_surfaces(_history(moves))[:, 0]
    week, half_year = (volatilities_at(surfaces, np.zeros(len(surfaces)), days / YEAR) for days in (7.0, 180.0))
    assert week[200] == pytest.approx(half_year[200], rel=1e-6)
    assert week[201] > half_year[201] > week[200]
    assert week[261] < week[201]


def test_a_hole_spreads_its_return_over_its_rows() -> None:
    moves = _steady(0.5, 100)
    whole = _history(moves)
    spot = whole.spot.copy()
    spot[60:63] = np.nan
    holed = proxy_surfaces(replace(whole, spot=spot))
    assert np.isfinite(holed[30:]).all()
    np.testing.assert_array_equal(holed[60], holed[59])
    spread = np.log(spot[63, 0] / spot[59, 0]) ** 2 / 4
    assert spread < 4 * moves[0] ** 2 + 1e-12
    assert volatilities_at(holed[63], np.zeros(1), 0.1)[0] != volatilities_at(holed[59], np.zeros(1), 0.1)[0]


def test_the_dead_and_the_unmoved_imply_nothing() -> None:
    index = pd.date_range("2022-01-01", periods=60)
    closes = pd.DataFrame({"DEAD": 100 * np.exp(np.r_[0, _steady(0.5, 59)]), "STILL": 1.0}, index=index)
    surfaces = proxy_surfaces(MarketHistory.from_frame(closes, defaults={"DEAD": "2022-02-20"}))
    dead = index >= pd.Timestamp("2022-02-20")
    assert np.isnan(surfaces[dead, 0]).all()
    assert np.isfinite(surfaces[30:, 0][~dead[30:]]).all()
    assert np.isnan(surfaces[:, 1]).all()


@settings(max_examples=40, deadline=None)
@given(st.floats(0.001, 1.5), st.floats(0.001, 1.5))
def test_no_level_gives_an_arbitrage(calm: float, wild: float) -> None:
    """Daily moves of up to 150 %, far past the cap."""
    moves = np.r_[np.full(40, calm), np.full(10, -wild)] * np.tile([1.0, -1.0], 25)
    for surface in proxy_surfaces(_history(moves))[[30, 39, 41, 50], 0]:
        assert sound_smiles(surface).all()
        assert all(butterfly_violation(smile) >= 0 for smile in surface)
        assert calendar_violation(surface) >= -1e-12
        deviation = implied_volatility(surface, np.zeros(4), surface[:, 0]) * np.sqrt(surface[:, 0])
        assert deviation.max() <= LARGEST_DEVIATION * (1 + 1e-12)


def test_the_smile_is_the_average_one() -> None:
    """Mean volatility over that at the forward on Deribit's chains, one and two deviations either way: within 2 %."""
    surface = proxy_surfaces(_history(_steady(0.5, 40)))[-1, 0]
    for tenor in surface[:, 0]:
        level = implied_volatility(surface, np.zeros(1), np.full(1, tenor))[0]
        z = np.array([-2.0, -1.0, 1.0, 2.0]) * level * np.sqrt(tenor)
        ratio = implied_volatility(surface, z, np.full(4, tenor)) / level
        np.testing.assert_allclose(ratio, [1.311, 1.121, 0.986, 1.078], atol=0.02)


def test_a_history_carries_it_under_its_label() -> None:
    history = _history(_normal(50))
    labelled = replace(history, surfaces=proxy_surfaces(history), implied=PROXY)
    assert labelled.now.implied == PROXY
    assert PROXY.startswith("proxy: ")
