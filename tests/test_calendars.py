"""Are the sessions of the calendar those of the exchange?"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from data import MarketHistory, ParameterError, SourceError
from data.calendars import NYSE_CLOSURES, calendar, nyse_holidays
from data.sources import samples


def _weekdays_without_a_row(history: MarketHistory) -> list[str]:
    days = pd.bdate_range(history.time[0], history.time[-1])
    return [f"{day:%Y-%m-%d}" for day in days.difference(pd.DatetimeIndex(history.time))]


def _within(history: MarketHistory, holidays: Callable[[int, int], tuple[str, ...]]) -> list[str]:
    first, last = (str(stamp)[:10] for stamp in (history.time[0], history.time[-1]))
    return [day for day in holidays(int(first[:4]), int(last[:4])) if first <= day <= last]


@pytest.mark.parametrize("name", ["sp500", "nasdaq", "vix"])
def test_sessions_of_the_indices_are_exactly_those_of_the_calendar(name: str) -> None:
    history = samples.load(name)
    assert not np.isnan(history.spot).any()
    assert _weekdays_without_a_row(history) == _within(history, nyse_holidays)


@pytest.mark.network
def test_sessions_of_thirty_three_years_of_stocks_are_exactly_those_of_the_calendar() -> None:
    try:
        history = samples.load("us-stocks", progress=False)
    except SourceError as error:
        pytest.skip(str(error))
    assert len(history) == 8313
    assert not np.isnan(history.spot).any()
    assert _weekdays_without_a_row(history) == _within(history, nyse_holidays)


PUBLISHED = {  # the exchange's own lists
    1990: "01-01 02-19 04-13 05-28 07-04 09-03 11-22 12-25",
    2021: "01-01 01-18 02-15 04-02 05-31 07-05 09-06 11-25 12-24",
    2022: "01-17 02-21 04-15 05-30 06-20 07-04 09-05 11-24 12-26",
    2025: "01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25",
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
    2027: "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24",
    2028: "01-17 02-21 04-14 05-29 06-19 07-04 09-04 11-23 12-25",
}


@pytest.mark.parametrize("year", PUBLISHED)
def test_a_year_is_as_the_exchange_published_it(year: int) -> None:
    assert nyse_holidays(year, year) == tuple(f"{year}-{day}" for day in PUBLISHED[year].split())


def test_a_new_year_on_a_saturday_closes_no_friday() -> None:
    fridays = {"1993-12-31", "1999-12-31", "2004-12-31", "2010-12-31", "2021-12-31", "2027-12-31"}
    assert fridays.isdisjoint(nyse_holidays(1990, 2030))


def test_holidays_are_sorted_distinct_weekdays_and_years_join_up() -> None:
    days = nyse_holidays(1990, 2030)
    assert list(days) == sorted(set(days))
    assert np.is_busday(np.array(days, dtype="datetime64[D]")).all()
    assert set(NYSE_CLOSURES) <= set(days)
    assert days == tuple(day for year in range(1990, 2031) for day in nyse_holidays(year, year))


@pytest.mark.parametrize("years", [(1985, 1990), (2020, 2031), (2020, 2019)])
def test_years_that_nobody_checked_are_refused(years: tuple[int, int]) -> None:
    with pytest.raises(ParameterError, match=rf"1986\.\.2030, got {years[0]}\.\.{years[1]}"):
        nyse_holidays(*years)


def test_a_calendar_is_found_by_name_or_refused_with_the_names_there_are() -> None:
    assert calendar("NYSE", 2025, 2025) == nyse_holidays(2025, 2025)
    with pytest.raises(ParameterError, match="one of NYSE, got 'nyse2'"):
        calendar("nyse2", 2025, 2025)
