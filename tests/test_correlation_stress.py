import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import Book, BookRecipe, Coverage, Floats, Instrument, MarketHistory, ParameterError
from data.sources.synthetic import correlation_break, normal_market
from margin_models import CorrelationBreakdown, CorrelationVaR, EwmaCovariance, LedoitWolfCovariance, Severity
from margin_models.correlation_stress import (
    MILD,
    MODERATE,
    SEVERE,
    nearest_correlation,
    past_correlations,
    stressed_correlations,
)
from margin_models.covariance import correlation_of

COVERAGE = Coverage(0.99)
ALONE = CorrelationBreakdown(window=None)


def three(rows: int = 400, correlation: float = 0.5) -> MarketHistory:
    return normal_market(rows, (0.02, 0.03, 0.04), correlation, seed=11).history


def books_of(history: MarketHistory, **held: list[float]) -> Book:
    """Perpetuals on each underlying in the proportions of notional given, one portfolio a name."""
    listed = tuple(Instrument(f"{name}-PERP", name) for name in history.underlyings)
    legs = {
        name: {i.symbol: w for i, w in zip(listed, weights, strict=True) if w != 0} for name, weights in held.items()
    }
    return BookRecipe.of(listed, legs).at(history.now)


def some(history: MarketHistory) -> Book:
    return books_of(history, one=[1, 0, 0], pair=[1, -1, 0], basket=[1, 1, 1], mix=[2, -1, 1], none=[0, 0, 0])


def random_correlation(size: int, seed: int) -> Floats:
    root = np.random.default_rng(seed).standard_normal((size, size))
    return correlation_of(root @ root.T)


# ---- Matrices.


def test_three_assets_cannot_all_move_against_each_other() -> None:
    against = 2.0 * np.eye(3) - 1.0
    assert_allclose(nearest_correlation(against), 1.5 * np.eye(3) - 0.5, atol=1e-12)  # a half is as far as it goes


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([MILD, MODERATE, SEVERE, Severity("all", 1, 1, 1)]))
def test_whatever_is_stressed_stays_a_correlation_matrix(size: int, seed: int, severity: Severity) -> None:
    for matrix in stressed_correlations(random_correlation(size, seed), severity).values():
        assert np.linalg.eigvalsh(matrix).min() > -1e-9
        assert_allclose(np.diag(matrix), 1.0, atol=1e-12)
        assert_allclose(matrix, matrix.T, atol=1e-12)


def test_shares_of_the_way_are_what_they_say() -> None:
    told = stressed_correlations(np.array([[1.0, 0.6], [0.6, 1.0]]), Severity("mine", 0.5, 0.25, 0.1))
    assert {end: round(float(matrix[0, 1]), 12) for end, matrix in told.items()} == {
        "towards 1": 0.8,
        "towards 0": 0.45,
        "towards -1": 0.44,
    }
    assert list(stressed_correlations(np.eye(2), MILD)) == ["towards 1", "towards 0"]


def test_the_named_severities_grow() -> None:
    assert [s.name for s in (MILD, MODERATE, SEVERE)] == ["mild", "moderate", "severe"]
    for end in ("to_one", "to_zero", "to_opposite"):
        mild, moderate, severe = (getattr(s, end) for s in (MILD, MODERATE, SEVERE))
        assert 0 <= mild < moderate < severe <= 1


@pytest.mark.parametrize(
    ("end", "shares"), [("to_one", (1.5, 0.1, 0.1)), ("to_zero", (0.1, 1.5, 0.1)), ("to_opposite", (0.1, 0.1, 1.5))]
)
def test_a_share_outside_its_range_is_refused(end: str, shares: tuple[float, float, float]) -> None:
    with pytest.raises(ParameterError, match=rf"Severity.{end} must lie in \[0, 1\], got 1.5"):
        Severity("mine", *shares)


# ---- Past windows.


def test_a_window_is_the_correlation_of_its_rows() -> None:
    history = three(100)
    told = past_correlations(history, COVERAGE, 40)
    assert list(told) == [f"window from {str(history.time[k])[:10]}" for k in (0, 20, 40)]
    rows = history.returns(COVERAGE)[20:60]
    assert_allclose(list(told.values())[1], correlation_of(rows.T @ rows), rtol=1e-12)


def test_what_was_seen_stays_seen_and_tomorrow_is_not() -> None:
    history = three(200)
    now, later = (past_correlations(history.rows(0, stop), COVERAGE, 30) for stop in (120, 200))
    assert len(later) > len(now) > 0
    for name, matrix in now.items():
        assert_array_equal(later[name], matrix)


def test_a_window_of_holes_is_none() -> None:
    history = three(200)
    spot = history.spot.copy()
    spot[0:60, 1] = np.nan
    holed = MarketHistory(history.time, history.underlyings, spot, history.clock)
    told = past_correlations(holed, COVERAGE, 40)
    assert next(iter(told)) == f"window from {str(history.time[40])[:10]}"  # half of it known
    assert past_correlations(history.rows(0, 10), COVERAGE, 40) == {}


# ---- The model.


def test_a_pair_by_hand() -> None:
    history = three()
    model = CorrelationBreakdown(severities=(Severity("half", 0.5, 0.5),), window=None, largest_offset=1.0)
    fitted, book = model.fit(history, COVERAGE), books_of(history, pair=[1, -1, 0])
    covariance = EwmaCovariance().fit(history, COVERAGE).estimate(history)
    s, rho = 2.3263478740 * np.sqrt(np.diag(covariance)[:2]) / 2, correlation_of(covariance)[0, 1]
    base = np.sqrt(s[0] ** 2 + s[1] ** 2 - 2 * rho * s[0] * s[1])
    stressed = np.sqrt(s[0] ** 2 + s[1] ** 2 - rho * s[0] * s[1])  # half as correlated
    told = fitted.requirement(history, book)
    assert_allclose(told.components["base"], base, rtol=1e-9)
    assert_allclose(told.components["correlation breakdown"], stressed - base, rtol=1e-9)
    assert_allclose(told.initial, stressed, rtol=1e-9)
    assert told.worst == ("half: correlations towards 0",)


def test_the_base_is_the_margin_without() -> None:
    history, estimator = three(), LedoitWolfCovariance()
    book = some(history)
    told = CorrelationBreakdown(estimator, 4.0).fit(history, COVERAGE).requirement(history, book)
    without = CorrelationVaR(estimator, 4.0).fit(history, COVERAGE).margin(history, book)
    assert_allclose(told.components["base"], without, rtol=1e-9, atol=1e-15)
    assert set(told.components) == {"base", "correlation breakdown", "offset cap"}
    assert np.all(told.initial >= without - 1e-15)


def test_a_book_that_offsets_nothing_has_no_add_on() -> None:
    history = three()
    told = CorrelationBreakdown().fit(history, COVERAGE).requirement(history, some(history))
    addon = dict(zip(told.portfolios, told.initial - told.components["base"], strict=True))
    assert addon["one"] == pytest.approx(0.0, abs=1e-15)
    assert min(addon["pair"], addon["basket"], addon["mix"]) > 0
    assert addon["none"] == 0.0
    worst = dict(zip(told.portfolios, told.worst, strict=True))
    assert worst["basket"] == "severe: correlations towards 1"
    assert worst["none"] == ""


def test_several_severities_are_averaged() -> None:
    history = three()
    book = some(history)
    apart = [
        CorrelationBreakdown(severities=(s,), window=None, largest_offset=1.0)
        .fit(history, COVERAGE)
        .requirement(history, book)
        .components["correlation breakdown"]
        for s in (MILD, MODERATE, SEVERE)
    ]
    together = CorrelationBreakdown(severities=(MILD, MODERATE, SEVERE), window=None, largest_offset=1.0)
    told = together.fit(history, COVERAGE).requirement(history, book)
    assert_allclose(told.components["correlation breakdown"], np.mean(apart, axis=0), atol=1e-15)
    assert apart[0][1] < apart[1][1] < apart[2][1]


def test_a_past_window_speaks_where_no_severity_does() -> None:
    broken = correlation_break(400, 120, (0.02, 0.03, 0.04), before=0.0, after=0.9, seed=12).history
    book = books_of(broken, pair=[3, -2, 0])
    told = CorrelationBreakdown(severities=(), window=60).fit(broken, COVERAGE).requirement(broken, book)
    assert told.worst[0].startswith("window from 2015-0")
    assert told.initial[0] > 1.5 * told.components["base"][0]
    silent = CorrelationBreakdown(severities=(), window=None).fit(broken, COVERAGE).requirement(broken, book)
    assert silent.components["correlation breakdown"][0] == 0.0
    assert silent.worst == ("",)


def test_no_more_than_four_fifths_of_an_offset_are_granted() -> None:
    history = three(correlation=0.95)
    book = books_of(history, pair=[3, -2, 0])
    model = CorrelationBreakdown(severities=(), window=None).fit(history, COVERAGE)
    told = model.requirement(history, book)
    gross = np.abs(book.exposure(history.now)) @ np.sqrt(np.diag(model.covariance_.estimate(history))) * 2.3263478740
    assert_allclose(told.initial, gross - 0.8 * (gross - told.components["base"]), rtol=1e-9)
    assert told.components["offset cap"][0] > 0


@pytest.mark.parametrize("limits", [(0.0, 0.2), (0.5, 0.6), (0.95, 1.0)])
def test_limits_bound_the_add_on_in_shares_of_the_offset(limits: tuple[float, float]) -> None:
    history = three()
    book = some(history)

    def asked(bounds: tuple[float, float]) -> CorrelationBreakdown:
        return CorrelationBreakdown(window=None, limits=bounds, largest_offset=1.0).fit(history, COVERAGE)

    free, bound = (asked(bounds).requirement(history, book).components for bounds in ((0.0, 1.0), limits))
    spread = 2.3263478740 * np.sqrt(np.diag(asked(limits).covariance_.estimate(history)))
    offset = np.abs(book.exposure(history.now)) @ spread - free["base"]
    name = "correlation breakdown"
    assert_allclose(bound[name], np.clip(free[name], limits[0] * offset, limits[1] * offset), rtol=1e-7, atol=1e-12)
    assert np.any(bound[name] != free[name])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.floats(0.1, 1.0))
def test_the_margin_lies_between_the_base_and_all_underlyings_alone(held: list[float], share: float) -> None:
    history = three(300)
    book = books_of(history, book=held, some=[1, -1, 1])
    model = CorrelationBreakdown(severities=(Severity("s", share, share, share),), window=50).fit(history, COVERAGE)
    told = model.requirement(history, book)
    gross = np.abs(book.exposure(history.now)) @ np.sqrt(np.diag(model.covariance_.estimate(history))) * 2.3263478740
    assert np.all(told.initial >= told.components["base"] * (1 - 1e-9))
    assert np.all(told.initial <= gross * (1 + 1e-9) + 1e-15)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (CorrelationBreakdown(degrees=2.0), "degrees must be > 2, got 2"),
        (CorrelationBreakdown(window=10), "window must be >= 20 horizons or None, got 10"),
        (CorrelationBreakdown(limits=(0.5, 0.2)), "limits must be two shares in"),
        (CorrelationBreakdown(limits=(0.0, 1.2)), "limits must be two shares in"),
        (CorrelationBreakdown(largest_offset=1.1), "largest_offset must lie in"),
    ],
    ids=repr,
)
def test_parameters_out_of_range_are_refused(model: CorrelationBreakdown, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        model.fit(three(), COVERAGE)


def test_multiplications_count_every_matrix() -> None:
    history = three(100)
    book = some(history)
    few, more = (m.fit(history, COVERAGE).multiplications(history, book) for m in (ALONE, CorrelationBreakdown()))
    assert np.all(more - few == (len(past_correlations(history, COVERAGE, 60))) * 12)
