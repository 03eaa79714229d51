"""Is a table whose labels are no instants refused with the first label that is none?"""

import io
from typing import Any

import pandas as pd
import pytest

from data import DataError, MarketHistory
from data.quality import utc_stamps

DAYS = pd.date_range("2024-03-25", periods=10)


def labelled(labels: Any) -> pd.DataFrame:
    return pd.DataFrame({"A": [float(n) for n in range(1, 11)]}, index=labels)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (list(DAYS.strftime("%d/%m/%Y")), r"got Index: '25/03/2024' at row 0 is none, as 2024-01-31 would be"),
        ([*DAYS[:9].strftime("%Y-%m-%d"), "total"], r"'total' at row 9 is none"),
        (
            [f"{day} +0{1 + (day.day == 31)}:00" for day in DAYS],
            r"of mixed time zones, from 2024-03-25 00:00:00 \+01:00",
        ),
        ([day.tz_localize("Europe/Zurich").isoformat() for day in DAYS], r"of mixed time zones, .*\+02:00: pd\.to_dat"),
        (list(DAYS.strftime("%Y-%m-%d")), r"of texts such as 2024-03-25: pd\.to_datetime"),
        (range(10), r"got RangeIndex: the first is 0"),
        (pd.MultiIndex.from_product([["A"], DAYS]), r"got Index: \('A', .* at row 0 is none"),
        (DAYS.to_period("D"), r"got PeriodIndex: the first is 2024-03-25"),
        ([3.5] * 10, r"got Index: the first is 3\.5"),
        ([None] * 10, r"None at row 0 is none"),
    ],
)
def test_the_first_label_that_is_no_instant_is_named(labels: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        MarketHistory.from_frame(labelled(labels))


def test_a_table_between_semicolons_shows_its_first_line() -> None:
    text = "\n".join(["date;A", *(f"{day:%Y-%m-%d};1" for day in DAYS)])
    with pytest.raises(DataError, match="'2024-03-25;1' at row 0 is none"):
        MarketHistory.from_frame(pd.read_csv(io.StringIO(text), index_col=0))


def test_labels_of_two_levels_and_no_labels_are_told() -> None:
    with pytest.raises(DataError, match=r"x: .* got MultiIndex: the first is \('A', "):
        utc_stamps(pd.MultiIndex.from_product([["A"], DAYS]), None, "x")
    with pytest.raises(DataError, match="got Index without a row"):
        utc_stamps(pd.Index([], dtype=object), None, "x")
