"""Does a history know of the depth of its books what was known at each row, and no more?"""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from data import DataError, MarketHistory, ParameterError
from data.flow.book import follow
from data.flow.depth import lay_depth
from data.records import BOOK, DEPTH, QUOTES, Records

HOUR = np.timedelta64(1, "h")
START = np.datetime64("2024-03-01T00:00", "ns")


def hourly(rows: int = 6) -> MarketHistory:
    closes = pd.DataFrame(
        np.full((rows, 2), [60_000.0, 3_000.0]),
        pd.date_range("2024-03-01", periods=rows, freq="1h", tz="UTC"),
        ["BTC", "ETH"],
    )
    return MarketHistory.from_frame(closes)


def samples(
    minutes: list[float], notional: list[list[float]], bands: tuple[float, ...] = (-0.01, -0.05, 0.01, 0.05)
) -> Records:
    time = np.repeat(START + np.array([round(m * 60e9) for m in minutes]).astype("timedelta64[ns]"), len(bands))
    values = np.array(notional, dtype=np.float64).ravel()
    columns: dict[str, Any] = {
        "time": time,
        "band": np.tile(np.array(bands), len(minutes)),
        "size": values / 1e4,
        "notional": values,
    }
    return Records(DEPTH, "made", "BTC", columns, np.arange(1, len(time) + 1))


def test_each_row_knows_the_newest_sample_by_then() -> None:
    depth = samples([55, 60, 60.1, 175], [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]])
    history = lay_depth(hourly(), {"BTC": depth})
    assert history.depth_bands == (0.01, 0.05)
    assert history.depth is not None
    np.testing.assert_array_equal(history.depth[1, 0], [[5, 6], [7, 8]])  # at 01:00 itself, not six seconds later
    np.testing.assert_array_equal(history.depth[3, 0], [[13, 14], [15, 16]])
    assert np.isnan(history.depth[[0, 2, 4]]).all()  # nothing yet, 59.9 minutes old, 65 minutes old
    assert np.isnan(history.depth[:, 1]).all()


def test_what_is_known_later_is_known_later() -> None:
    depth = samples([55, 60], [[1, 2, 3, 4], [5, 6, 7, 8]])
    late = lay_depth(hourly(), {"BTC": depth}, latency=60.0)
    assert late.depth is not None
    np.testing.assert_array_equal(late.depth[1, 0], [[1, 2], [3, 4]])
    never = lay_depth(hourly(), {"BTC": depth}, latency=60.0, stale=200.0)
    assert never.depth is not None
    assert np.isnan(never.depth).all()


def test_bands_of_all_sources_are_there_and_unknown_where_one_has_them_not() -> None:
    fine = samples([60], [[1, 3]], (-0.002, 0.002))
    history = lay_depth(hourly(), {"BTC": samples([60], [[1, 2, 3, 4]]), "ETH": fine})
    assert history.depth_bands == (0.002, 0.01, 0.05)
    assert history.depth is not None
    np.testing.assert_array_equal(
        history.depth[1], [[[np.nan, 1, 2], [np.nan, 3, 4]], [[1, np.nan, np.nan], [3, np.nan, np.nan]]]
    )


def test_order_of_the_rows_and_cuts_do_not_matter() -> None:
    depth = samples([55, 60], [[1, 2, 3, 4], [5, 6, 7, 8]])
    turned = depth.where(np.arange(len(depth))[::-1])
    pieces = [depth.where(slice(at, at + 3)) for at in range(0, len(depth), 3)]
    one, other = (lay_depth(hourly(), {"BTC": rows}).depth for rows in (depth, turned))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, lay_depth(hourly(), {"BTC": iter(pieces)}).depth)


def test_a_book_becomes_depth_of_a_history() -> None:
    prices, sizes, sides = [59_700.0, 50_000.0, 60_300.0, 70_000.0], [2.0, 1.0, 3.0, 1.0], [1, 1, -1, -1]
    columns: dict[str, Any] = {
        "time": np.array([START + np.timedelta64(30, "m")] * 4 + [START + HOUR * 3]),
        "side": np.array([*sides, 1], np.int8),
        "price": np.array([*prices, 59_800.0]),
        "size": np.array([*sizes, 1.0]),
        "snapshot": np.array([True] * 4 + [False]),
    }
    book = follow([Records(BOOK, "made", "BTC", columns, np.arange(1, 6))], (0.004, 0.05), step=3600.0)
    history = lay_depth(hourly(), {"BTC": book.depth})
    assert history.depth is not None
    np.testing.assert_array_equal(history.depth[1, 0], [[0.0, 119_400.0], [0.0, 180_900.0]])


@pytest.mark.parametrize(
    ("sources", "why"),
    [
        ({"SOL": samples([60], [[1, 2, 3, 4]])}, "none of"),
        ({"BTC": samples([60, 60], [[1, 2, 3, 4], [1, 2, 3, 4]])}, "again at row 5"),
        ({"BTC": samples([60], [[1, 2]], (0.0, 0.01))}, "got row 1 without"),
        ({"BTC": samples([60], [[2, 1, 3, 4]])}, "rising outwards"),
        (
            {
                "BTC": Records(
                    QUOTES,
                    "made",
                    "BTC",
                    {"time": np.array([START]), "bid": np.ones(1), "ask": np.ones(1)},
                    np.ones(1, int),
                )
            },
            "got quotes",
        ),
        ({"BTC": []}, "got no batch"),
        ({}, "only depth, has bands"),
    ],
)
def test_depth_that_cannot_be_laid_is_refused(sources: dict[str, Records | list[Records]], why: str) -> None:
    with pytest.raises(DataError, match=why):
        lay_depth(hourly(), sources)


def test_a_latency_or_a_limit_that_cannot_be_is_refused() -> None:
    for wrong in ({"latency": -1.0}, {"stale": 0.0}):
        with pytest.raises(ParameterError):
            lay_depth(hourly(), {"BTC": samples([60], [[1, 2, 3, 4]])}, **wrong)
