"""Is the same instant read from every unit and zone?"""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources.epochs import instants, text_instants

SCALES = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@given(st.lists(st.tuples(st.integers(631_152_000, 9_000_000_000), st.sampled_from([*SCALES])), min_size=1, max_size=8))
def test_magnitude_tells_the_unit_value_by_value(counts: list[tuple[int, str]]) -> None:
    values = np.array([seconds * SCALES[unit] for seconds, unit in counts])
    expected = np.array([seconds for seconds, _ in counts]).astype("datetime64[s]")
    np.testing.assert_array_equal(instants(values), expected)
    assert instants(values).dtype == np.dtype("datetime64[ns]")


@pytest.mark.parametrize(
    "value",
    [-1, 0, 1, 631_151_999, 202413310800, 202401310860, 20240131080060, 9_200_000_001, 92 * 10**17 + 1, -(2**63)],
)
def test_other_counts_are_no_instant(value: int) -> None:
    assert np.isnat(instants(np.array([value]))).all()
    assert np.isnat(instants(np.array([value, 1_700_000_000]))).tolist() == [True, False]


def test_fractions_of_a_second_are_kept_to_the_microsecond() -> None:
    stamps = instants(np.array([1577836800.123456, np.nan, 1577836800123.456, np.inf, -np.inf]))
    assert stamps.astype("datetime64[us]").astype(str).tolist() == [
        *("2020-01-01T00:00:00.123456", "NaT", "2020-01-01T00:00:00.123456", "NaT", "NaT"),
    ]
    assert instants(np.array([1577836800.0, 1577836800.5]))[1] == np.datetime64("2020-01-01T00:00:00.5", "ns")


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 12, 31)), st.sampled_from([np.int64, np.float64]))
def test_dates_without_marks_are_no_counts(instant: datetime, dtype: type) -> None:
    stamps: np.ndarray = np.array([int(f"{instant:%Y%m%d%H%M}"), int(f"{instant:%Y%m%d%H%M%S}")], dtype)
    expected = [np.datetime64(instant, "m"), np.datetime64(instant, "s")]
    assert instants(stamps).tolist() == [one.astype("datetime64[ns]").item() for one in expected]


def test_nanoseconds_lose_nothing() -> None:
    assert instants(np.array([1723161255030314667])).astype(np.int64).item() == 1723161255030314667


def test_nothing_is_nothing() -> None:
    assert instants(np.array([], np.int64)).dtype == text_instants(np.array([], object)).dtype


@given(st.datetimes(datetime(1975, 1, 1), datetime(2200, 1, 1)), st.sampled_from(["", "Z", "+00:00", " UTC", "+0000"]))
def test_text_in_utc(instant: datetime, zone: str) -> None:
    cells = np.array([instant.isoformat() + zone, instant.isoformat(" ") + zone, None], object)
    expected = np.datetime64(instant.replace(tzinfo=None), "ns")
    got = text_instants(cells)
    assert (got[0], got[1], np.isnat(got[2])) == (expected, expected, True)


def test_text_in_a_zone() -> None:
    cells = np.array(["2024-07-01 12:00", "2024-07-01 12:00:00+03:00", "2024-03-10 02:30:00", "2024-11-03 01:30:00"])
    got = text_instants(cells, "America/New_York").astype("datetime64[m]").astype(str)
    assert got.tolist() == ["2024-07-01T16:00", "2024-07-01T09:00", "NaT", "NaT"]
    assert text_instants(np.array(["2024-07-01"]))[0] == np.datetime64(
        datetime(2024, 7, 1, tzinfo=UTC).replace(tzinfo=None)
    )


@pytest.mark.parametrize(
    "cell",
    ["", "2024", "2024-01", "2024-01-", "2024-02-30", "20240101", "01/02/2024", "2024-01-01 24:61:00", "now", "nan"],
)
def test_a_stamp_that_was_cut_is_no_instant(cell: str) -> None:
    assert np.isnat(text_instants(np.array([cell, "2024-01-01"]))).tolist() == [True, False]
