import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ParameterError
from data.compiled import plain
from margin_models import AgeWeightedVaR, EwmaVolatility, FilteredHistoricalVaR, HistoricalVaR
from margin_models.base import MarginModel
from margin_models.historical_law import LEAST_SIGMA, beyond_the_quantile, floored
from margin_models.kernels.tails import book_tails, needed, supports, upper_quantile, upper_tails
from markets import book_of, market, some_books, two_coins

MOVES = [0.10, -0.10, 0.0, 0.05]


def test_the_fourth_of_four_known_moves() -> None:
    history = market(MOVES)
    price = history.now.spot[0]
    fitted = HistoricalVaR().fit(history, Coverage(0.8))  # (4 + 1) * 0.8 = the 4th, the worst
    assert_allclose(fitted.margin(history, book_of(1.0, -1.0)), [0.10 * price, 0.10 * price])
    assert_allclose(fitted.tail(history, book_of(1.0, -1.0)).es, [0.10 * price, 0.10 * price])


def test_explain_names_the_day_that_made_the_quantile() -> None:
    history = market(MOVES)
    told = HistoricalVaR().fit(history, Coverage(0.8)).explain(history, book_of(1.0, -1.0))
    assert told.worst == ("2024-01-02T00:00", "2024-01-01T00:00")
    assert_allclose(told.components["X"], told.initial)


def test_explain_names_no_day_that_weighs_nothing() -> None:
    history = market([-0.01 * n for n in range(1, 20)])  # at 95 % the 19th of 19: nothing lies beyond it
    told = HistoricalVaR().fit(history, Coverage(0.9)).explain(history, book_of(1.0))  # the 18th of 19, exactly
    assert told.worst == ("2024-01-18T00:00",)
    assert_allclose(told.initial / history.now.spot, 0.18)


def test_a_quantile_that_is_a_gain_is_charged_as_nothing() -> None:
    history = market([0.01] * 9)
    assert_array_equal(HistoricalVaR().fit(history, Coverage(0.9)).margin(history, book_of(1.0, 0.0)), [0.0, 0.0])


def test_a_level_beyond_the_sample_is_refused() -> None:
    history = market(MOVES)
    with pytest.raises(HistoryError, match=r"needs 9 complete horizon returns, got 4 of 4"):
        HistoricalVaR().fit(history, Coverage(0.9)).margin(history, book_of(1.0))
    with pytest.raises(ParameterError, match="lookback must be >= 1, got 0"):
        HistoricalVaR(lookback=0).fit(history, Coverage(0.8)).margin(history, book_of(1.0))


def test_filtering_scales_the_past_to_today() -> None:
    calm, wild = [0.01, -0.01] * 100, [0.04, -0.04] * 60
    history = market(calm + wild)
    unfiltered = HistoricalVaR().fit(history, Coverage(0.95)).margin(history, book_of(1.0))[0]
    model = FilteredHistoricalVaR(EwmaVolatility(half_life=5)).fit(history, Coverage(0.95))
    price, sigma = history.now.spot[0], model.volatility_.forecast(history)[0]
    filtered = model.margin(history, book_of(1.0))[0]
    assert sigma == pytest.approx(0.04, rel=1e-3)
    assert filtered == pytest.approx(sigma * price, rel=0.02)  # |return| over forecast is 1 but for the switch
    assert unfiltered == pytest.approx(0.04 * price, rel=1e-6)
    past = history.rows(0, 202)
    assert model.fit(past, Coverage(0.95)).margin(past, book_of(1.0))[0] < 0.03 * price


def test_an_asset_that_was_listed_late_is_forecast_from_its_own_start() -> None:
    history = two_coins(500)
    spot = history.spot.copy()
    spot[:150, 1] = np.nan
    late = MarketHistory(history.time, history.underlyings, spot, history.clock)
    forecaster = EwmaVolatility(half_life=10).fit(late, Coverage(0.95))
    told = forecaster.forecasts(late, 480)
    first = int(np.isfinite(told[:, 1]).argmax())
    assert first == 150 + 10 - 20  # ten returns after its first price; the newest 480 rows begin at row 20
    assert np.isfinite(told[first:, 1]).all()
    assert_allclose(told[-1], forecaster.forecasts(history, 480)[-1], rtol=1e-6)
    alone = EwmaVolatility(half_life=10).fit(late.rows(150, 500), Coverage(0.95))
    assert_allclose(told[-300:, 1], alone.forecasts(late.rows(150, 500), 300)[:, 1], rtol=1e-12)
    margin = FilteredHistoricalVaR(EwmaVolatility(half_life=10), lookback=480).fit(late, Coverage(0.95))
    assert np.isfinite(margin.margin(late, some_books().at(late.now))).all()


def test_filtered_innovations_by_hand() -> None:
    """r = 1, -2, 1, -1 over sigma = 1, 2, 1, 1 at a forecast of 2: scenarios 2, -2, 2, -2."""

    class Told(EwmaVolatility):
        def forecasts(self, past: object, count: int) -> Floats:
            return np.array([1.0, 2.0, 1.0, 1.0, 2.0])[-count:, None]

    moves = np.array([0.01, -0.02, 0.01, -0.01])
    history = market(moves.tolist())
    fitted = FilteredHistoricalVaR(Told()).fit(history, Coverage(0.75))
    sample = fitted.tail(history, book_of(-1.0)).sample
    assert sample is not None
    assert_allclose(sample[0] / history.now.spot[0], [0.02, -0.02, 0.02, -0.02])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 4), st.sampled_from([0.6, 0.9, 0.975, 0.99]), st.integers(0, 10**6))
def test_the_selection_gives_what_sorting_gives(size: int, books: int, level: float, seed: int) -> None:
    if not supports(size, level):
        assert size < needed(level)
        return
    rng = np.random.default_rng(seed)
    losses = np.round(rng.standard_t(3, (books, size)), 1)  # rounded, so that there are ties
    quantile, beyond = book_tails(losses, level)
    assert_allclose(quantile, upper_quantile(losses, level), rtol=1e-12, atol=1e-12)
    for p in range(books):
        tail = np.sort(losses[p])[int((size + 1) * level + 1e-9) - 1 :]  # of ties with the quantile, what lies above it
        assert beyond[p] == pytest.approx(tail[tail >= quantile[p]].mean(), abs=1e-12)
    looped = np.empty((2, books))
    plain(upper_tails)(losses, level, *looped)
    assert_allclose(looped, [quantile, beyond], rtol=1e-15)


# ---- Assets that stand still, come late, or count.

DAY = Coverage(0.99)


def moving(returns: Floats, names: tuple[str, ...] = ("A", "B")) -> MarketHistory:
    """Daily prices from simple returns (T, A)."""
    table = pd.DataFrame(100.0 * np.cumprod(1.0 + returns, axis=0), columns=list(names))
    table.index = pd.date_range("2020-01-01", periods=len(table))
    return MarketHistory.from_frame(table)


def long_each(history: MarketHistory, quantity: Floats) -> Book:
    """Perpetuals on every underlying: (P, A) shares of today's prices."""
    instruments = tuple(Instrument(f"{name}-PERP", name) for name in history.underlyings)
    return Book(instruments, tuple(f"p{i}" for i in range(len(quantity))), quantity / history.spot[-1])


def with_a_peg(before: float) -> Floats:
    """Returns of A, which moves by 3 %, and of B, a peg of that much noise until both fall on day 500 of 600."""
    rng = np.random.default_rng(0)
    returns = np.column_stack([0.03 * rng.standard_normal(600), before * rng.standard_normal(600)])
    returns[500] = -0.25, -0.12
    returns[501:, 1] = 0.002 * rng.standard_normal(99)
    return returns


@pytest.mark.parametrize("before", [0.0, 1e-9])
def test_the_day_on_which_a_peg_breaks_is_neither_lost_nor_boundless(before: float) -> None:
    returns = with_a_peg(before)
    history = moving(returns)
    book = long_each(history, np.array([[1.0, 0.0], [0.0, 1.0]]))
    model = FilteredHistoricalVaR(shortfall=True).fit(history, DAY)
    sample = model.tail(history, book).sample
    assert sample is not None
    worst = np.argmax(sample[1])
    assert model._horizons(history, book).scenarios.names[worst] == str(history.time[499])[:16]
    sigma = model.volatility_.forecasts(history, 600)[-1, 1]
    usual = np.sqrt(np.mean(returns[1:, 1] ** 2))
    assert sample[1, worst] == pytest.approx(0.12 * sigma / (LEAST_SIGMA * usual), rel=1e-6)
    assert sample[1, worst] < 0.7
    assert sample[0, worst] > 0.15  # the same day of A is kept with it
    plainly = HistoricalVaR(shortfall=True).fit(history, DAY).margin(history, book)
    assert model.margin(history, book)[1] >= plainly[1]


def test_a_forecast_is_floored_by_its_own_asset_and_stood_in_for_where_another_has_one() -> None:
    moves = np.array([[0.1, 1.0], [-0.1, np.nan], [0.1, -1.0]])
    sigma = np.array([[np.nan, np.nan], [0.002, np.nan], [0.3, 0.05], [0.0, 2.0]])
    assert_allclose(floored(sigma, moves), [[np.nan, np.nan], [0.01, 1.0], [0.3, 0.1], [0.01, 2.0]])


@pytest.mark.parametrize("model", [HistoricalVaR(), FilteredHistoricalVaR(), AgeWeightedVaR(0.995)], ids=repr)
def test_a_listing_changes_nothing_for_those_who_do_not_hold_it(model: MarginModel) -> None:
    returns = with_a_peg(0.02)
    spot: Floats = np.asarray(100.0 * np.cumprod(1.0 + returns, axis=0), dtype=np.float64)
    spot[:590, 1] = np.nan
    time = moving(returns).time
    late = MarketHistory(time, ("A", "B"), spot)
    alone = MarketHistory(time, ("A",), np.ascontiguousarray(spot[:, :1]))
    held = long_each(late, np.array([[1.0, 0.0], [-2.0, 0.0]]))
    expected = model.fit(alone, DAY).margin(alone, long_each(alone, np.array([[1.0], [-2.0]])))
    assert_array_equal(model.fit(late, DAY).margin(late, held), expected)
    with pytest.raises(HistoryError, match=r"needs 99 complete horizon returns, got 9 of 599 \(B has 9\)"):
        model.fit(late, DAY).margin(late, long_each(late, np.eye(2)))


def test_no_row_is_lost_to_an_asset_without_a_forecast_yet() -> None:
    returns = with_a_peg(0.02)
    spot: Floats = np.asarray(100.0 * np.cumprod(1.0 + returns, axis=0), dtype=np.float64)
    spot[:200, 1] = np.nan
    history = MarketHistory(moving(returns).time, ("A", "B"), spot)
    assert len(FilteredHistoricalVaR().fit(history, DAY)._horizons(history).scenarios) == 399  # every move that B has


def test_what_is_filtered_are_dollar_moves_whatever_is_counted_in() -> None:
    rng = np.random.default_rng(7)
    scale = np.r_[np.full(460, 0.02), np.full(40, 0.10)][:, None]
    history = moving(np.clip(scale * 0.7 * rng.standard_t(4, (500, 2)), -0.6, 2.0))
    coin = history.valued_in("A")
    in_coin = Coverage(0.99, numeraire="A")
    model = FilteredHistoricalVaR()
    usd = model.fit(history, DAY)._horizons(history).scenarios
    own = model.fit(coin, in_coin)._horizons(coin).scenarios
    assert_array_equal(usd.spot, own.spot)
    book = long_each(history, np.array([[1.0, 0.0], [0.0, -1.0]]))
    sample = model.tail(coin, book).sample
    assert sample is not None
    moves = usd.spot.T
    assert_allclose(sample, -np.array([1.0, -1.0])[:, None] * moves / (1.0 + moves[0]) / coin.now.rate, rtol=1e-9)
    with pytest.raises(HistoryError, match="coverage counts in A, this history in USD"):
        model.fit(history, in_coin).margin(history, book)


def test_a_quantile_rounded_above_the_largest_loss_has_a_mean_beyond_it() -> None:
    losses = np.full((1, 30), 0.1)
    _, weight = beyond_the_quantile(losses, np.nextafter(losses[:, 0], 1.0), 0.9)
    assert weight.sum() == pytest.approx(1.0)
