import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import Book, BookRecipe, Coverage, Floats, Instrument, MarketHistory, ParameterError
from data.sources.synthetic import correlation_break, normal_market
from margin_models import (
    CorrelationBreakdown,
    CorrelationVaR,
    EwmaCovariance,
    LedoitWolfCovariance,
    Severity,
    correlation_stress,
)
from margin_models.correlation_breakdown import stated_excess
from margin_models.correlation_stress import MILD, MODERATE, SEVERE, past_correlations, stressed_margins
from margin_models.correlation_var import deviation
from margin_models.covariance import correlation_of
from margin_models.kernels.correlations import nearest_correlation

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


def stressed_matrices(correlation: Floats, exposure: Floats, severity: Severity) -> list[Floats]:
    """The correlation matrices that a severity means for one book, (A,)."""
    signs = np.outer(np.sign(exposure), np.sign(exposure))
    np.fill_diagonal(signs, 1.0)
    goals = [np.ones_like(correlation), np.eye(len(correlation)), signs]
    shares = (severity.to_one, severity.to_zero, severity.to_opposite)
    return [(1 - share) * correlation + share * goal for share, goal in zip(shares, goals, strict=True)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6), st.tuples(*[st.floats(0.01, 1.0)] * 3))
def test_stressed_margins_are_those_of_correlation_matrices(
    size: int, seed: int, shares: tuple[float, float, float]
) -> None:
    correlation, severity = random_correlation(size, seed), Severity("s", *shares)
    exposure = np.random.default_rng(seed).standard_normal((4, size))
    told = stressed_margins(exposure, deviation(exposure, correlation), severity)
    for p, one in enumerate(exposure):
        for margin, matrix in zip(told.values(), stressed_matrices(correlation, one, severity), strict=True):
            assert np.linalg.eigvalsh(matrix)[0] > -1e-9
            assert_allclose(margin[p], deviation(one[None], matrix)[0], rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10**6), st.integers(0, 2), st.floats(0, 1), st.floats(0, 1))
def test_more_of_any_stress_never_asks_for_less(size: int, seed: int, end: int, one: float, other: float) -> None:
    correlation = random_correlation(size, seed)
    exposure = np.random.default_rng(seed).standard_normal((4, size))
    base, shares = deviation(exposure, correlation), np.array([0.2, 0.3, 0.1])
    told = []
    for share in sorted((one, other)):
        shares[end] = share
        told.append(stated_excess(exposure, base, Severity("s", *shares)).excess)
    assert np.all(told[0] >= 0)
    assert np.all(told[1] >= told[0] - 1e-12)


@pytest.mark.parametrize("bystanders", [1, 3, 18])
def test_what_a_book_does_not_hold_does_not_weaken_its_add_on(bystanders: int) -> None:
    pair, size = np.array([[1.0, -1.0]]), 2 + bystanders
    correlation = random_correlation(size, 3)
    exposure = np.zeros((1, size))
    exposure[:, :2] = pair
    told = stated_excess(exposure, deviation(exposure, correlation), SEVERE)
    alone = stated_excess(pair, deviation(pair, correlation[:2, :2]), SEVERE)
    assert_allclose(told.excess, alone.excess, rtol=1e-12)
    assert told.excess[0] > 0


def test_shares_of_the_way_are_what_they_say() -> None:
    hedge, held = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[1.0, 0.6], [0.6, 1.0]])
    told = stressed_margins(hedge, deviation(hedge, held), Severity("mine", 0.5, 0.25, 0.1))
    correlations = {  # variance is 2 -+ 2 times the correlation
        end: (round((2 - margin[0] ** 2) / 2, 12), round((margin[1] ** 2 - 2) / 2, 12)) for end, margin in told.items()
    }
    assert correlations == {"towards 1": (0.8, 0.8), "towards 0": (0.45, 0.45), "against the book": (0.44, 0.64)}
    assert list(stressed_margins(hedge, deviation(hedge, held), MILD)) == ["towards 1", "towards 0"]


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


def windows_of(history: MarketHistory, window: int) -> dict[str, Floats]:
    """All windows by the day each begins."""
    batches = past_correlations(history, COVERAGE, window)
    return {day: one for days, some in batches for day, one in zip(days, some, strict=True)}


def test_a_window_is_the_correlation_of_its_rows() -> None:
    history = three(100)
    told = windows_of(history, 40)
    assert list(told) == [str(history.time[k])[:10] for k in range(0, 60, 4)]
    rows = history.returns(COVERAGE)[20:60]
    assert_allclose(told[str(history.time[20])[:10]], correlation_of(rows.T @ rows), rtol=1e-12)


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    history = three(200)
    whole = windows_of(history, 30)
    monkeypatch.setattr(correlation_stress, "_AT_ONCE", 200)
    apart = windows_of(history, 30)
    assert list(apart) == list(whole)
    for day, matrix in whole.items():
        assert_allclose(apart[day], matrix, rtol=1e-12)


def test_what_was_seen_stays_seen_and_tomorrow_is_not() -> None:
    history = three(200)
    now, later = (windows_of(history.rows(0, stop), 30) for stop in (120, 200))
    assert len(later) > len(now) > 0
    for name, matrix in now.items():
        assert_array_equal(later[name], matrix)


def test_a_window_tells_nothing_of_pairs_that_had_holes_or_stood_still() -> None:
    history = three(200)
    spot = history.spot.copy()
    spot[0:60, 1] = np.nan
    spot[100:160, 2] = spot[100, 2]
    holed = MarketHistory(history.time, history.underlyings, spot, history.clock)
    told = windows_of(holed, 40)
    before, half, still = (told[str(history.time[k])[:10]] for k in (36, 40, 100))
    assert np.isnan(before[1]).all()
    assert np.isfinite(before[0, 2])
    assert np.isfinite(half).all()
    assert np.isnan(still[2, :2]).all()
    assert np.isfinite(still[0, 1])
    assert windows_of(history.rows(0, 10), 40) == {}


def test_a_listing_takes_no_past_window_from_the_others() -> None:
    broken = correlation_break(600, 120, (0.03, 0.03, 0.04), before=-0.45, after=0.9, seed=12).history
    spot = broken.spot.copy()
    spot[:550, 2] = np.nan
    young = MarketHistory(broken.time, broken.underlyings, spot, broken.clock)
    pair = MarketHistory(broken.time, broken.underlyings[:2], broken.spot[:, :2].copy(), broken.clock)
    model = CorrelationBreakdown(severities=(), largest_offset=1.0)
    told, alone = (
        model.fit(one, COVERAGE).requirement(one, books_of(one, pair=held))
        for one, held in ((young, [1.0, -1.0, 0.0]), (pair, [1.0, -1.0]))
    )
    assert_allclose(told.initial, alone.initial, rtol=1e-6)
    assert told.worst == alone.worst
    assert told.components["correlation breakdown"][0] > told.components["base"][0]
    with_it = model.fit(young, COVERAGE).requirement(young, books_of(young, pair=[1.0, -1.0, 0.01]))
    assert with_it.components["correlation breakdown"][0] > 0.9 * told.components["correlation breakdown"][0]


def test_the_worst_window_is_found_wherever_it_begins() -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        moves, at = normal_market(600, (0.03, 0.03), 0.8, seed=seed).history.returns(COVERAGE), rng.integers(60, 400)
        moves[at : at + 60, 1] *= -1.0
        spot = 100 * np.vstack([np.ones(2), np.cumprod(1 + moves, axis=0)])
        history = normal_market(600, (0.03, 0.03), 0.8, seed=seed).history
        history = MarketHistory(history.time, history.underlyings, spot, history.clock)
        model = CorrelationBreakdown(severities=(), window=60, largest_offset=1.0).fit(history, COVERAGE)
        told = model.requirement(history, books_of(history, pair=[1, -1])).components
        covariance = model.covariance_.estimate(history)
        alone = 2.3263478740 * 0.5 * np.array([[1, -1]]) * np.sqrt(np.diag(covariance))
        every = [deviation(alone, correlation_of(moves[k : k + 60].T @ moves[k : k + 60]))[0] for k in range(540)]
        assert told["correlation breakdown"][0] > 0.9 * (max(every) - told["base"][0])


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
    assert np.all(more - few == len(windows_of(history, 60)) * 12)
