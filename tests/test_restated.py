"""Is a past that was changed seen, where a feed begins a day later every night?"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import Coverage, MarketHistory
from research.limits import Limits
from research.night_data import as_of, night_data
from research.restated import month_digests, remembered, restated
from research.study import Market


def history(days: int = 400) -> MarketHistory:
    moves = np.random.default_rng(1).standard_normal((days, 2)) * 0.02
    closes = np.array([3e4, 2e3]) * np.exp(moves.cumsum(0))
    return MarketHistory.from_frame(pd.DataFrame(closes, pd.date_range("2023-01-10", periods=days), ["BTC", "ETH"]))


def changed(whole: MarketHistory, row: int, factor: float = 1.001) -> MarketHistory:
    spot = np.array(whole.spot)
    spot[row, 1] *= factor
    return replace(whole, spot=spot)


def last_of(night: MarketHistory) -> Mapping[str, Any]:
    """What a night leaves to the next one."""
    return {"first": str(night.time[0]), "rows": len(night), "data": "unknown", **remembered(night)}


def test_a_window_that_moved_on_is_the_same_past() -> None:
    whole = history()
    assert restated(whole.rows(1, 301), last_of(whole.rows(0, 300))) == ()
    assert restated(whole.rows(40, 400), last_of(whole.rows(0, 300))) == ()


@given(st.integers(25, 298), st.integers(1, 3))
def test_a_price_that_was_changed_is_seen_and_its_month_named(row: int, moved: int) -> None:
    whole = history()
    told = restated(changed(whole, row).rows(moved, 300 + moved), last_of(whole.rows(0, 300)))
    assert told == (f"the past was restated in {str(whole.time[row])[:7]}: its rows are not those of the night before",)


def test_what_came_after_the_night_before_is_no_restatement() -> None:
    whole = history()
    assert restated(changed(whole, 300).rows(1, 301), last_of(whole.rows(0, 300))) == ()


def test_the_month_that_was_begun_and_an_earlier_night_cannot_be_compared() -> None:
    whole = history()
    assert restated(changed(whole, 5).rows(1, 301), last_of(whole.rows(0, 300))) == ()
    assert restated(changed(whole, 270).rows(1, 271), last_of(whole.rows(0, 300))) == ()


def test_rows_that_vanished_and_several_months_are_told() -> None:
    whole = history()
    two = changed(changed(whole, 60), 120)
    assert "2023-03 and 1 more of 10 months" in restated(two.rows(1, 301), last_of(whole.rows(0, 300)))[0]
    shorter = whole.rows(100, 300)
    assert restated(shorter, last_of(whole.rows(0, 300))) == ()
    assert restated(shorter, {**last_of(shorter), "first": "2020-01-01", "months": {"2023-06": "0" * 16}}) != ()


def test_states_of_before_have_nothing_to_compare_with() -> None:
    whole = history()
    assert restated(whole, {}) == ()
    assert restated(whole, {"first": "2020-01-01", "rows": 3, "data": "x"}) == ()


def test_a_digest_is_of_its_month_and_its_names() -> None:
    whole = history()
    digests = month_digests(whole)
    assert list(digests)[:2] == ["2023-01", "2023-02"]
    assert len(set(digests.values())) == len(digests)
    other = replace(whole, underlyings=("BTC", "SOL"))
    assert not set(month_digests(other).values()) & set(digests.values())


@pytest.mark.parametrize(("row", "count"), [(None, 0), (150, 1)])
def test_a_night_remarks_it(row: int | None, count: int) -> None:
    whole = history()
    tonight = whole if row is None else changed(whole, row)
    market = Market("coins", "Coins", partial(tonight.rows, 1, 301), Coverage(0.95, "1D"), window=100, refit_every=20)
    day = str(whole.time[300])[:10]
    told = night_data(market, as_of(day), Limits(), last_of(whole.rows(0, 300)))
    assert len([one for one in told.remarks if "restated" in one]) == count
