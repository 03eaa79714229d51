"""Is a wrong newest price told from a move, and a crash let through?"""

import numpy as np
import pandas as pd
import pytest

from data import MarketHistory
from research.night_data import ALONE, _without_company

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
