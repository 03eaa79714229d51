"""Are depth and features of a history what they say, through cuts, checks and audits?"""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backtest.lookahead import REWRITINGS, audit
from backtest.planted_leaks import Leak
from backtest.portfolios import standard_books
from data import Coverage, DataError, Floats, MarketHistory

BANDS = (0.001, 0.01, 0.05)


def closes(rows: int = 60) -> MarketHistory:
    rng = np.random.default_rng(3)
    spot = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (rows, 2)), axis=0))
    return MarketHistory.from_frame(pd.DataFrame(spot, pd.date_range("2024-01-01", periods=rows), ["BTC", "ETH"]))


def furnished(rows: int = 60) -> MarketHistory:
    rng = np.random.default_rng(4)
    depth = np.cumsum(rng.uniform(1e5, 1e6, (rows, 2, 2, 3)), axis=3)
    return closes(rows).with_depth(depth, BANDS).with_features(rng.normal(size=(rows, 2, 2)), ("imbalance", "vpin"))


def test_cuts_and_states_carry_both_panels() -> None:
    history = furnished()
    assert history.depth is not None
    assert history.features is not None
    cut = history.rows(10, 20)
    np.testing.assert_array_equal(cut.depth, history.depth[10:20])
    np.testing.assert_array_equal(cut.features, history.features[10:20])
    np.testing.assert_array_equal(cut.now.depth, history.depth[19])
    assert (cut.depth_bands, cut.feature_names) == (BANDS, ("imbalance", "vpin"))
    assert cut.now.depth_bands == BANDS
    assert closes().now.depth is None
    again = pickle.loads(pickle.dumps(history))
    np.testing.assert_array_equal(again.depth, history.depth)
    assert again.feature_names == history.feature_names


def test_a_summary_counts_the_rows_that_lack_some() -> None:
    history = furnished()
    depth = np.array(history.depth)
    depth[3:7, 1, 0, 2] = np.nan
    assert history.with_depth(depth, BANDS).summary()["depth holes"].tolist() == [0, 4]
    assert history.summary()["feature holes"].tolist() == [0, 0]
    assert "depth holes" not in closes().summary()


def _depth(value: float, place: tuple[int, int, int, int]) -> Floats:
    depth = np.cumsum(np.ones((60, 2, 2, 3)), axis=3)
    depth[place] = value
    return depth


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"depth": _depth(-1.0, (5, 1, 0, 0)), "bands": BANDS}, "depth of ETH at 2024-01-06.* >= 0 and finite, got bids"),
    ({"depth": _depth(np.inf, (5, 0, 1, 2)), "bands": BANDS}, "depth of BTC at 2024-01-06.* finite, got asks"),
    ({"depth": _depth(0.5, (5, 0, 1, 2)), "bands": BANDS}, "rising outwards, got asks"),
    ({"depth": _depth(1.0, (0, 0, 0, 0)), "bands": BANDS[:2]}, r"depth must have the shape \(60, 2, 2, 2\)"),
    ({"depth": _depth(1.0, (0, 0, 0, 0)), "bands": ()}, "shape"),
    ({"depth": _depth(1.0, (0, 0, 0, 0)), "bands": (0.01, 0.01, 0.05)}, "rise from above 0"),
    ({"depth": _depth(1.0, (0, 0, 0, 0)), "bands": (0.0, 0.01, 0.05)}, "rise from above 0"),
    ({"depth": _depth(1.0, (0, 0, 0, 0)), "bands": (0.001, 0.01, np.inf)}, "finite shares of the mid"),
    ({"depth": np.empty((60, 2, 2, 0)), "bands": ()}, "only depth, has bands"),
]


@pytest.mark.parametrize(("given", "why"), BROKEN)
def test_depth_that_no_book_has_is_refused_with_its_place(given: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        closes().with_depth(**given)


def test_unknown_depth_is_not_wrong_even_between_known_bands() -> None:
    depth = _depth(np.nan, (5, 0, 0, 1))
    history = closes().with_depth(depth, BANDS)
    assert history.depth is not None
    assert np.isnan(history.depth).sum() == 1
    depth[5, 0, 0, 2] = 0.5  # less than the first band, across the hole
    with pytest.raises(DataError, match="rising outwards"):
        closes().with_depth(depth, BANDS)


@pytest.mark.parametrize(
    ("features", "names", "why"),
    [
        (np.zeros((60, 2, 2)), ("a",), "shape"),
        (np.zeros((60, 2, 2)), ("a", "a"), "names that differ"),
        (np.zeros((60, 2, 1)), ("",), "names that differ"),
        (np.zeros((60, 2, 0)), (), "only features, have names"),
        (np.full((60, 2, 1), np.inf), ("a",), "a of BTC at 2024-01-01.* finite or NaN"),
    ],
)
def test_features_without_a_name_or_a_figure_are_refused(features: Floats, names: tuple[str, ...], why: str) -> None:
    with pytest.raises(DataError, match=why):
        closes().with_features(features, names)


def test_bands_and_names_alone_are_refused() -> None:
    frame = closes()
    with pytest.raises(DataError, match="only depth, has bands"):
        MarketHistory(frame.time, frame.underlyings, frame.spot, frame.clock, depth_bands=BANDS)
    with pytest.raises(DataError, match="only features, have names"):
        MarketHistory(frame.time, frame.underlyings, frame.spot, frame.clock, feature_names=("a",))


def _by_depth(history: MarketHistory, row: int) -> Floats:
    assert history.depth is not None
    return np.nan_to_num(1e4 / history.depth[min(row, len(history) - 1), :, 0, 0])


def _by_feature(history: MarketHistory, row: int) -> Floats:
    assert history.features is not None
    return np.nan_to_num(np.abs(history.features[min(row, len(history) - 1), :, 0]))


class Told(Leak):
    """Margin by a figure of the book so many rows ahead."""

    def __init__(self, figure: Callable[[MarketHistory, int], Floats] = _by_depth, ahead: int = 0) -> None:
        self.figure, self.ahead = figure, ahead

    def _deviation(self, history: MarketHistory, stop: int, coverage: Coverage) -> Floats:
        return self.figure(history, stop - 1 + self.ahead)


@pytest.mark.parametrize("figure", [_by_depth, _by_feature])
def test_a_model_that_sees_tomorrows_book_is_caught(figure: Callable[[MarketHistory, int], Floats]) -> None:
    history = furnished()
    books = standard_books(history.underlyings)
    coverage = Coverage(0.9)
    caught = audit(Told(figure, ahead=1), history, books, coverage, window=20, rows=3)
    assert {leak.split(":")[0] for leak in caught.leaks} == set(REWRITINGS)
    assert audit(Told(figure), history, books, coverage, window=20, rows=3).passed
