"""On which weekdays does a market hold no session?"""

from collections.abc import Callable, Mapping

import pandas as pd
from pandas.tseries.holiday import (
    GoodFriday,
    Holiday,
    USLaborDay,
    USMartinLutherKingJr,
    USMemorialDay,
    USPresidentsDay,
    USThanksgivingDay,
    nearest_workday,
    sunday_to_monday,
)

from data.errors import ParameterError

FIRST_YEAR, LAST_YEAR = 1986, 2030  # Election Day was kept to 1980; what comes after the last year nobody has said

# A holiday on a Saturday is kept on the Friday before, except where that Friday ends the year (exchange rule 7.2):
# a New Year's Day on a Saturday is not kept at all, so its rule moves Sundays only.
_NYSE: tuple[tuple[Holiday, int], ...] = (
    (Holiday("New Year's Day", month=1, day=1, observance=sunday_to_monday), FIRST_YEAR),
    (USMartinLutherKingJr, 1998),
    (USPresidentsDay, FIRST_YEAR),
    (GoodFriday, FIRST_YEAR),
    (USMemorialDay, FIRST_YEAR),
    (Holiday("Juneteenth", month=6, day=19, observance=nearest_workday), 2022),
    (Holiday("Independence Day", month=7, day=4, observance=nearest_workday), FIRST_YEAR),
    (USLaborDay, FIRST_YEAR),
    (USThanksgivingDay, FIRST_YEAR),
    (Holiday("Christmas", month=12, day=25, observance=nearest_workday), FIRST_YEAR),
)

NYSE_CLOSURES: Mapping[str, str] = {
    "1994-04-27": "funeral of President Nixon",
    "2001-09-11": "attack on the World Trade Center",
    "2001-09-12": "attack on the World Trade Center",
    "2001-09-13": "attack on the World Trade Center",
    "2001-09-14": "attack on the World Trade Center",
    "2004-06-11": "mourning for President Reagan",
    "2007-01-02": "mourning for President Ford",
    "2012-10-29": "hurricane Sandy",
    "2012-10-30": "hurricane Sandy",
    "2018-12-05": "mourning for President G. H. W. Bush",
    "2025-01-09": "mourning for President Carter",
}


def nyse_holidays(first_year: int, last_year: int) -> tuple[str, ...]:
    """Weekdays without a session of the New York Stock Exchange, ISO dates, sorted; both years included.

    Half days are sessions. ParameterError outside 1986..2030.

    >>> nyse_holidays(2025, 2025)[:3]
    ('2025-01-01', '2025-01-09', '2025-01-20')
    """
    if not FIRST_YEAR <= first_year <= last_year <= LAST_YEAR:
        raise ParameterError(
            f"NYSE holidays are known for first_year <= last_year in {FIRST_YEAR}..{LAST_YEAR}, "
            f"got {first_year}..{last_year}"
        )
    first, last = pd.Timestamp(first_year, 1, 1), pd.Timestamp(last_year, 12, 31)
    kept = [day for rule, since in _NYSE for day in rule.dates(first, last) if day.year >= since and day.weekday() < 5]
    closed = [day for day in map(pd.Timestamp, NYSE_CLOSURES) if first <= day <= last]
    return tuple(sorted(f"{day:%Y-%m-%d}" for day in kept + closed))


CALENDARS: Mapping[str, Callable[[int, int], tuple[str, ...]]] = {"NYSE": nyse_holidays}


def calendar(name: str, first_year: int, last_year: int) -> tuple[str, ...]:
    """The holidays of a named market; ParameterError lists the names there are."""
    if name not in CALENDARS:
        raise ParameterError(f"a calendar is one of {', '.join(sorted(CALENDARS))}, got {name!r}")
    return CALENDARS[name](first_year, last_year)
