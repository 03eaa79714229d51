"""Is the buffer there in calm times, and gone when it was for?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from margin_models import Buffer, FilteredHistoricalVaR, HistoricalVaR, LookbackFloor, MarginModel, StaticMargin
from margin_models.overlays.buffers import buffered
from markets import book_of, market

COVERAGE = Coverage(0.95)
FLAT = market([0.0] * 9)  # ten days
positive = st.floats(1e-4, 10.0)


class Told(MarginModel):
    """Charges a told share of gross notional at each row."""

    def __init__(self, shares: tuple[float, ...]) -> None:
        self.shares = shares

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        return self.shares[len(past) - 1] * book.gross(past.now)


def unit_charge(model: MarginModel, stop: int) -> float:
    past, book = FLAT.rows(0, stop), book_of(1.0)
    return float(model.fit(FLAT, COVERAGE).margin(past, book)[0] / book.gross(past.now)[0])


def test_the_buffer_is_whole_in_calm_is_used_up_and_comes_back() -> None:
    shares = (0.1, 0.1, 0.1, 0.1, 0.11, 0.12, 0.2, 0.2, 0.1, 0.08)
    told = [unit_charge(Buffer(Told(shares), lookback=20, every=1), stop) for stop in range(1, 11)]
    assert_allclose(told, [0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.2, 0.2, 0.125, 0.1])


def test_a_buffer_says_what_is_left_of_it() -> None:
    shares = (0.1, *[0.1] * 8, 0.12)
    asked = Buffer(Told(shares), lookback=9, every=1).fit(FLAT, COVERAGE).requirement(FLAT, book_of(1.0))
    assert_allclose(asked.components["buffer"], 0.5)  # 12.5 less 12
    assert_allclose(asked.initial, 12.5)
    assert_allclose(asked.maintenance, 12.5)


def test_a_crisis_in_the_lookback_moves_the_reference_little() -> None:
    shares = (0.1, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.12)
    assert_allclose(unit_charge(Buffer(Told(shares), lookback=9, every=1), 10), 0.125)


@given(charge=positive, reference=positive, share=st.floats(0.0, 1.0), more=st.floats(1.0, 3.0))
def test_a_buffer_is_between_none_and_whole_and_never_lets_margin_fall_as_the_model_rises(
    charge: float, reference: float, share: float, more: float
) -> None:
    told, higher = (buffered(np.array([c]), np.array([reference]), share)[0] for c in (charge, charge * more))
    assert charge <= told <= charge * (1 + share) * (1 + 1e-12)
    assert higher >= told * (1 - 1e-12)
    assert higher - told <= (charge * more - charge) * (1 + share) + 1e-12  # the call is never a larger one
    if charge <= reference:
        assert_allclose(told, charge * (1 + share))
    if charge >= reference * (1 + share):
        assert told == charge


CRISIS = market([0.002, -0.002] * 50 + [0.05, -0.05] * 60 + [0.002, -0.002] * 300)  # wild from day 100 to 220


def test_a_floor_by_the_years_is_an_unfiltered_margin_over_them() -> None:
    book, window = book_of(1.0, -1.0), CRISIS.rows(720, 821)
    fitted = LookbackFloor(FilteredHistoricalVaR(), years=2.2).fit(window, COVERAGE)
    rows = CRISIS.time >= CRISIS.time[-1] - np.timedelta64(round(2.2 * 365.25 * 24), "h")
    expected = HistoricalVaR(lookback=int(rows.sum())).fit(CRISIS, COVERAGE).margin(CRISIS, book)
    free = FilteredHistoricalVaR().fit(window, COVERAGE).margin(CRISIS, book)
    assert_allclose(fitted.margin(CRISIS, book), np.maximum(expected, free))
    assert np.all(expected > free)
    asked = fitted.explain(CRISIS, book)
    assert_allclose(asked.components["lookback floor"], expected - free)


def test_what_lies_beyond_the_years_is_forgotten_and_a_young_market_gives_what_it_has() -> None:
    book = book_of(1.0)
    one, ten = (LookbackFloor(HistoricalVaR(50), years=years).fit(CRISIS, Coverage(0.95)) for years in (1.0, 10.0))
    plain = HistoricalVaR(50).fit(CRISIS, COVERAGE).margin(CRISIS, book)
    assert_array_equal(one.margin(CRISIS, book), plain)
    assert ten.margin(CRISIS, book)[0] > 5 * plain[0] > 0


def test_another_model_may_be_the_floor() -> None:
    book = book_of(1.0)
    floored = LookbackFloor(HistoricalVaR(50), StaticMargin(rate=0.3)).fit(CRISIS, COVERAGE)
    assert_allclose(floored.margin(CRISIS, book), 0.3 * book.gross(CRISIS.now))


@pytest.mark.parametrize(
    "wrong",
    [
        Buffer(HistoricalVaR(), share=-0.1),
        Buffer(HistoricalVaR(), share=np.nan),
        Buffer(HistoricalVaR(), every=0),
        LookbackFloor(HistoricalVaR(), years=0.0),
        LookbackFloor(HistoricalVaR(), years=np.nan),
    ],
    ids=repr,
)
def test_what_is_out_of_range_is_refused(wrong: MarginModel) -> None:
    with pytest.raises(ParameterError):
        wrong.fit(CRISIS, COVERAGE)
