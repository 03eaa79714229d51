import warnings
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from arch.bootstrap import MCS, SPA, CircularBlockBootstrap, StationaryBootstrap
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import Replay, compare
from backtest.block_means import CircularBlocks, DrawnDates, StationaryBlocks
from backtest.comparison import Comparison
from backtest.confidence_kernels import fixed_means, larger_ranges, pair_variances, running_sums, stationary_means
from backtest.date_losses import date_losses
from backtest.loss_comparison import compare_dates, compare_losses
from backtest.loss_differences import diebold_mariano, resampled_difference
from backtest.model_confidence_set import long_run_variance, model_confidence_set, superior_ability
from data import Coverage, Floats, ParameterError
from data.compiled import plain
from data.sources.synthetic import garch_t
from margin_models import CorrelationVaR, HistoricalVaR, StaticMargin


def losses_of(models: int, rows: int = 300, seed: int = 0, step: float = 0.02) -> Floats:
    """Losses that share a common part; each model loses `step` more than the one before."""
    rng = np.random.default_rng(seed)
    own = 0.4 * rng.standard_t(5, (rows, models))
    return np.asarray(rng.standard_normal((rows, 1)) + own + step * np.arange(models))


def arch_set(losses: Floats, method: Literal["R", "max"], bootstrap: Any, block: int, seed: int) -> Floats:
    told = MCS(losses, 0.1, 500, block, method, bootstrap, seed=seed)
    told.compute()
    return told.pvalues["Pvalue"].sort_index().to_numpy(np.float64)


@pytest.mark.parametrize("block", [1, 7, 60])
@pytest.mark.parametrize("method", ["R", "max"])
@pytest.mark.parametrize(("bootstrap", "blocks"), [("stationary", StationaryBlocks), ("circular", CircularBlocks)])
def test_a_set_is_archs_on_the_same_draws(
    bootstrap: str, blocks: type[StationaryBlocks] | type[CircularBlocks], method: Literal["R", "max"], block: int
) -> None:
    for seed, step in enumerate((0.0, 0.03, 0.1)):
        losses = losses_of(6, 251, seed, step)
        ours = model_confidence_set(losses, blocks(block, 500, seed), pairwise=method == "R")
        np.testing.assert_array_equal(ours.p_value, arch_set(losses, method, bootstrap, block, seed))
        assert ours.testable
        assert sorted(ours.order) == list(range(6))


@pytest.mark.parametrize("block", [1, 10])
def test_superior_ability_is_archs_on_the_same_draws(block: int) -> None:
    losses = losses_of(5, 400, 3)
    for benchmark in range(5):
        told = SPA(losses[:, benchmark], np.delete(losses, benchmark, 1), block, 500, seed=4)
        told.compute()
        ours = superior_ability(losses, benchmark, StationaryBlocks(block, 500, 4))
        assert [ours.lower, ours.consistent, ours.upper] == told.pvalues.tolist()
        apart = losses[:, [benchmark]] - np.delete(losses, benchmark, 1)
        np.testing.assert_allclose(long_run_variance(apart, block), told._loss_diff_var, rtol=1e-10)


@pytest.mark.parametrize("studentised", [True, False])
def test_a_twin_of_the_best_model_does_not_beat_it(studentised: bool) -> None:
    rng = np.random.default_rng(0)
    best = rng.random(300)
    losses = np.column_stack([best, best, best + 0.5 + 0.1 * rng.random(300)])
    told = superior_ability(losses, 0, StationaryBlocks(10), studentised=studentised)
    assert told == superior_ability(losses[:, [0, 2]], 0, StationaryBlocks(10), studentised=studentised)
    assert told.testable
    assert min(told.lower, told.consistent, told.upper) > 0.4
    if studentised:
        assert (told.statistic, told.lower, told.consistent, told.upper) == (0.0, 1.0, 1.0, 1.0)
    worst = superior_ability(losses, 2, StationaryBlocks(10), studentised=studentised)
    assert worst.consistent < 0.01
    table = compare_dates(dict(zip(("best", "twin", "worse"), losses.T, strict=True)), 1, "losses").to_frame()
    assert table.loc[["best", "twin"], "spa_p"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("studentised", [True, False])
def test_a_benchmark_that_is_worse_by_a_constant_is_always_beaten(studentised: bool) -> None:
    best = losses_of(1, 60)[:, 0]
    wild = losses_of(1, 60, seed=1)[:, 0]
    for others in ([best], [best, wild], [best, best + 0.3]):
        told = superior_ability(
            np.column_stack([best + 0.4, *others]), 0, StationaryBlocks(4, 50), studentised=studentised
        )
        assert (told.lower, told.consistent, told.upper, told.testable) == (0.0, 0.0, 0.0, True)
        assert told.statistic == pytest.approx(0.4)
        assert "always loses less" in told.notes
    kept = superior_ability(np.column_stack([best, best + 0.4]), 0, StationaryBlocks(4, 50), studentised=studentised)
    assert (kept.lower, kept.consistent, kept.upper) == (1.0, 1.0, 1.0)
    assert "always loses more" in kept.notes


@pytest.mark.parametrize("size", [1e11, 1e13])
def test_one_exploding_model_does_not_make_the_others_alike(size: float) -> None:
    losses, blocks = losses_of(4, 300, 2, 0.2), StationaryBlocks(5, 300, 1)
    wild = np.column_stack([losses, size * (1.0 + losses[:, 0] ** 2)])
    told, without = model_confidence_set(wild, blocks), model_confidence_set(losses, blocks)
    np.testing.assert_array_equal(told.p_value, [*without.p_value, 0.0])
    assert (told.alike, told.testable) == ((), True)
    assert model_confidence_set(wild, blocks, pairwise=False).included.tolist() == [*without.included, False]
    for studentised in (True, False):
        beaten, alone = (superior_ability(side, 3, blocks, studentised=studentised) for side in (wild, losses))
        assert beaten.testable
        if studentised:
            assert beaten.statistic == pytest.approx(alone.statistic)
            assert beaten.consistent == alone.consistent


def test_dates_drawn_by_arch_give_the_same_means_as_our_blocks() -> None:
    losses = losses_of(3, 101)
    for theirs, ours in (
        (StationaryBootstrap, StationaryBlocks(8, 40, 9)),
        (CircularBlockBootstrap, CircularBlocks(8, 40, 9)),
    ):
        drawn = np.array([data[0][0] for data in theirs(8, np.arange(101), seed=9).bootstrap(40)])
        np.testing.assert_allclose(ours.means(losses), DrawnDates(drawn).means(losses), rtol=0, atol=1e-14)
        one = model_confidence_set(losses, DrawnDates(drawn))
        np.testing.assert_array_equal(one.p_value, model_confidence_set(losses, drawn=ours.means(losses)).p_value)


def test_kernels_are_their_plain_loops() -> None:
    losses = losses_of(4, 60)
    sums = running_sums(losses)
    np.testing.assert_array_equal(sums, plain(running_sums)(losses))
    starts = np.random.default_rng(1).integers(60, size=(20, 9))
    told = []
    for stationary, fixed in ((stationary_means, fixed_means), (plain(stationary_means), plain(fixed_means))):
        means = np.zeros((2, 20, 4))
        stationary(sums, np.random.default_rng(5), 0.2, means[0])
        fixed(sums, starts, 7, means[1])
        told.append(means)
    np.testing.assert_allclose(told[0], told[1], rtol=0, atol=1e-14)
    error = told[0][0] - losses.mean(axis=0)
    variance = pair_variances(error)
    np.testing.assert_allclose(variance, ((error[:, :, None] - error[:, None]) ** 2).mean(axis=0), atol=1e-15)
    deviation = np.where(variance > 0, np.sqrt(variance), np.inf)
    order, statistic = np.array([2, 0, 3, 1]), np.array([1.0, 0.8, 0.1])
    count = larger_ranges(error, deviation, order, statistic)
    np.testing.assert_array_equal(count, plain(larger_ranges)(error, deviation, order, statistic))
    range_of = np.abs((error[:, :, None] - error[:, None]) / deviation)
    here = [range_of[:, order[k:]][:, :, order[k:]].max(axis=(1, 2)) > statistic[k] for k in range(3)]
    np.testing.assert_array_equal(count, np.sum(here, axis=1))


@pytest.mark.parametrize("pairwise", [True, False])
def test_size_and_power(pairwise: bool) -> None:
    """Equal models all stay in 90 % of the time or more; those that are worse leave, and the best hardly ever does."""
    sets = [
        model_confidence_set(losses_of(5, 250, seed, 0.0), StationaryBlocks(3, 300, seed), pairwise=pairwise)
        for seed in range(300)
    ]
    kept = np.mean([one.included.all() for one in sets])
    assert 0.84 < kept <= 0.96  # 0.9 within three standard errors, and what 250 dates leave of the asymptotics
    apart = [
        model_confidence_set(losses_of(5, 250, seed, 0.15), StationaryBlocks(3, 300, seed), pairwise=pairwise)
        for seed in range(60)
    ]
    included = np.mean([one.included for one in apart], axis=0)
    assert included[0] > 0.95
    assert included[2:].max() < 0.1


@pytest.mark.parametrize("studentised", [True, False])
def test_size_and_power_of_superior_ability(studentised: bool) -> None:
    def p_values(step: float, benchmark: int) -> Floats:
        told = [
            superior_ability(
                losses_of(5, 250, seed, step), benchmark, StationaryBlocks(3, 300, seed), studentised=studentised
            )
            for seed in range(300)
        ]
        assert all(one.lower <= one.consistent <= one.upper for one in told)
        return np.array([one.consistent for one in told])

    assert (p_values(0.0, 0) < 0.05).mean() < 0.10
    assert (p_values(0.1, 0) < 0.05).mean() < 0.01
    assert (p_values(0.1, 4) < 0.05).mean() > 0.95


def test_studentised_it_finds_a_better_model_beside_a_wild_one() -> None:
    """Hansen's (2005) point: a poor and noisy alternative must not hide a good one."""
    losses = np.column_stack([losses_of(2, 400, 1, -0.15), 30 * np.random.default_rng(2).standard_normal(400)])
    plainly, scaled = (
        superior_ability(losses, 0, StationaryBlocks(3, 1000, 1), studentised=one).consistent for one in (False, True)
    )
    assert scaled < 0.05
    assert plainly > 0.1


@pytest.mark.parametrize("pairwise", [True, False])
def test_identical_models_stay_or_leave_together_and_are_named(pairwise: bool) -> None:
    few = losses_of(3, 200, 1, 0.4)
    for twice in (0, 2):
        losses = np.column_stack([few, few[:, twice]])
        told = model_confidence_set(losses, StationaryBlocks(5, 300, 2), pairwise=pairwise)
        assert told.p_value[3] == told.p_value[twice]
        assert told.included.tolist() == [True, False, False, twice == 0]
        assert told.alike == ((twice, 3),)
    every = model_confidence_set(np.repeat(few[:, :1], 3, axis=1), StationaryBlocks(5, 300, 2), pairwise=pairwise)
    assert (every.testable, every.p_value.tolist(), len(every.alike)) == (False, [1.0, 1.0, 1.0], 3)
    shifted = model_confidence_set(few[:, :1] + [[0.0, 0.1]], StationaryBlocks(5, 300, 2), pairwise=pairwise)
    assert (shifted.testable, shifted.p_value.tolist()) == (False, [1.0, 1.0])


def test_one_model_is_its_own_set_and_nothing_beats_it() -> None:
    alone = losses_of(1, 50)
    told = model_confidence_set(alone, StationaryBlocks(5, 50))
    assert (told.p_value.tolist(), told.included.tolist(), told.testable) == ([1.0], [True], False)
    for losses in (alone, np.repeat(alone, 3, axis=1)):
        for studentised in (True, False):
            ability = superior_ability(losses, 0, StationaryBlocks(5, 50), studentised=studentised)
            assert (ability.lower, ability.consistent, ability.upper, ability.testable) == (1.0, 1.0, 1.0, False)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(5)), st.sampled_from([1e-6, 1.0, 1e6]), st.booleans())
def test_neither_the_order_of_models_nor_the_unit_matters(
    seed: int, order: list[int], unit: float, pairwise: bool
) -> None:
    losses, blocks = losses_of(5, 80, seed, 0.1), StationaryBlocks(4, 100, seed)
    told = model_confidence_set(losses, blocks, pairwise=pairwise).p_value
    again = model_confidence_set(unit * losses[:, order], blocks, pairwise=pairwise).p_value
    np.testing.assert_allclose(again, told[order], atol=0.0101)  # rounding may tip a draw that ties
    assert told.max() == 1.0


def test_what_cannot_be_compared_is_refused() -> None:
    losses = losses_of(3, 20)
    blocks = StationaryBlocks(3, 10)
    holed = losses.copy()
    holed[4, 1] = np.nan
    for losses_refused, told in ((holed, "row 4, column 1"), (losses[:, 0], "must be"), (losses[:1], "two dates")):
        with pytest.raises(ParameterError, match=told):
            model_confidence_set(losses_refused, blocks)
        with pytest.raises(ParameterError, match=told):
            superior_ability(losses_refused, 0, blocks)
    for size in (0.0, 1.0):
        with pytest.raises(ParameterError, match="size must lie"):
            model_confidence_set(losses, blocks, size=size)
    with pytest.raises(ParameterError, match="a column of 0 to 2"):
        superior_ability(losses, 3, blocks)
    with pytest.raises(ParameterError, match="drawn means"):
        model_confidence_set(losses, drawn=np.zeros((10, 2)))
    for wrong in (StationaryBlocks(21), CircularBlocks(0), StationaryBlocks(2, 0)):
        with pytest.raises(ParameterError, match="blocks of 1 to 20 rows"):
            wrong.means(losses)
    with pytest.raises(ParameterError, match="row numbers below 20"):
        DrawnDates(np.full((2, 20), 20)).means(losses)


def replayed(initial: Floats, loss: Floats, hours: int = 24) -> Replay:
    time = (np.datetime64("2024-01-01", "ns") + np.arange(len(loss)) * np.timedelta64(1, "D")).astype("datetime64[ns]")
    names = tuple(f"book {p}" for p in range(loss.shape[1]))
    end = (time + np.timedelta64(hours, "h")).astype("datetime64[ns]")
    return Replay("model", Coverage(0.9), time, end, names, initial, initial, loss, loss)


def test_losses_of_a_date_are_the_mean_over_the_books_held() -> None:
    loss = np.array([[1.0, -1.0], [np.nan, 2.0], [np.nan, np.nan]])
    margin = np.where(np.isfinite(loss), 0.5, np.nan)
    run = replayed(margin, loss)
    # pinball: 0.9 of the excess, or 0.1 of what was too much
    np.testing.assert_allclose(date_losses(run), [(0.9 * 0.5 + 0.1 * 1.5) / 2, 0.9 * 1.5, np.nan])
    np.testing.assert_allclose(date_losses(run, margin=2 * margin), [(0.0 + 0.1 * 2.0) / 2, 0.9 * 1.0, np.nan])
    es = 2 * margin
    fz0 = [(0.5 / 0.1 + 0.5 + 0.5) / 2 - 1.0, 1.5 / 0.1 + 0.5 - 1.0, np.nan]
    np.testing.assert_allclose(date_losses(run, "fz0", es=es), fz0)
    with pytest.raises(ParameterError, match="FZ0 needs the expected shortfall that model states"):
        date_losses(run, "fz0")
    with pytest.raises(ParameterError, match=r"below 0.5 in row 0, portfolio 0 \(3 pairs\)"):
        date_losses(run, "fz0", es=0.9 * margin)
    with pytest.raises(ParameterError, match="kind must be"):
        date_losses(run, "absolute")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"must be \(3, 2\)"):
        date_losses(run, margin=margin[:2])
    endless = np.where(np.arange(2) == 1, np.inf, margin)
    with pytest.raises(ParameterError, match=r"margin must be finite.* row 0, portfolio 1"):
        date_losses(run, margin=endless)
    with pytest.raises(ParameterError, match=r"es must be finite.* row 0, portfolio 1"):
        date_losses(run, "fz0", es=endless)
    with pytest.raises(ParameterError, match=r"loss must be finite.* row 0, portfolio 1"):
        date_losses(replace(run, loss_end=endless, loss_worst=endless))


def test_fz0_of_a_model_that_posts_nothing_is_that_of_the_other_books() -> None:
    loss, margin = np.array([[1.0, 50.0]]), np.array([[2.0, 0.0]])
    told = date_losses(replayed(margin, loss), "fz0", es=1.2 * margin)
    np.testing.assert_array_equal(
        told, date_losses(replayed(margin[:, :1], loss[:, :1]), "fz0", es=1.2 * margin[:, :1])
    )


def test_dates_are_the_trials_and_blocks_hold_whole_horizons() -> None:
    panel = losses_of(3, 600, 4, 0.1)
    panel[5, 1] = np.nan
    told = compare_dates({"a": panel[:, 0], "b": panel[:, 1], "c": panel[:, 2]}, 6, "losses")
    assert (told.dates, told.best, told.overlap) == (599, "a", 6)
    assert told.block >= 12
    rows = np.isfinite(panel[:, 1])
    against = diebold_mariano(panel[rows, 2], panel[rows, 0], 6)
    assert told.p_value[2] == pytest.approx(against.p_value)
    assert told.statistic[2] == pytest.approx(against.statistic)
    assert told.statistic[2] > 0
    frame = told.to_frame()
    assert frame.index.tolist() == ["a", "b", "c"]
    assert frame["set_p"].tolist()[0] == 1.0
    resampled = resampled_difference(panel[rows, 2], panel[rows, 0], StationaryBlocks(told.block))
    assert told.resampled_p[2] == pytest.approx(resampled.p_value)
    assert "Model confidence set at 90 % by losses (599 dates" in told.sentence
    assert "<table" in told._repr_html_()


def test_repeating_a_book_brings_no_evidence() -> None:
    rng = np.random.default_rng(2)
    loss = rng.standard_normal((300, 1))
    runs = {name: replayed(np.full((300, 1), height), loss) for name, height in (("low", 1.0), ("right", 1.3))}
    once = compare_losses(Comparison("m", runs), as_charged=True)
    many = {
        name: replayed(np.repeat(run.initial, 50, axis=1), np.repeat(run.loss, 50, axis=1))
        for name, run in runs.items()
    }
    np.testing.assert_allclose(compare_losses(Comparison("m", many), as_charged=True).p_value, once.p_value)


def test_at_equal_coverage_a_scaled_model_is_the_same_model() -> None:
    rng = np.random.default_rng(6)
    loss = rng.standard_normal((400, 3))
    margin = np.exp(0.1 * rng.standard_normal((400, 3)))
    runs = {"once": replayed(margin, loss), "twice": replayed(2 * margin, loss)}
    comparison = Comparison("m", runs)
    told = comparison.losses
    assert told.confidence_set.included.all()
    assert set(comparison.confidence_set()) == {"once", "twice"}
    charged = compare_losses(comparison, as_charged=True)
    assert charged.included == ("once",)
    assert charged.p_value[1] < 0.01


def test_a_comparison_tells_its_confidence_set_and_leaves_the_oracle_out() -> None:
    history = garch_t(700, (0.02, 0.03), seed=4).history
    models = {"static": StaticMargin(cross=True), "history": HistoricalVaR(150), "correlation": CorrelationVaR()}
    told = compare(models, history, coverage=Coverage(0.95), window=200, refit_every=60, progress=False)
    oracle = replace(told, unranked=("static",))
    frame, shown = oracle.to_frame(), oracle.summary()
    assert frame.loc["static", "in_set"] is None
    assert frame["set_p"].isna().tolist() == [False, False, True]
    assert oracle.losses.models == ("history", "correlation")
    assert shown.loc["static", "in the confidence set"] == "-"
    assert set(shown["in the confidence set"][:2]) <= {"yes", "no"}
    assert frame["set_p"].max() == 1.0
    assert told.by_book("history")["kupiec_q"].between(0, 1).all()


def test_too_few_dates_test_nothing_and_say_so() -> None:
    short = {"a": np.arange(12.0), "b": np.ones(12)}
    for losses in (short, {name: np.full(12, np.nan) for name in short}):
        told = compare_dates(losses, 3, "losses")
        assert not told.testable
        assert told.included == ("a", "b")
        assert told.p_value.tolist() == told.resampled_p.tolist() == [1.0, 1.0]
        assert "not testable" in told.sentence
        assert "fewer than 5 blocks" in told.notes
    rng = np.random.default_rng(0)
    run = replayed(np.ones((12, 2)), rng.standard_normal((12, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        early = Comparison("m", {"a": run, "b": replace(run, model="b")})
        assert early.to_frame()["in_set"].tolist() == [None, None]
        assert early.summary()["in the confidence set"].tolist() == ["-", "-"]
    with pytest.raises(ParameterError, match="equally many dates"):
        compare_dates({"a": np.ones(3), "b": np.ones(4)}, 1, "losses")
    with pytest.raises(ParameterError, match="equally many dates"):
        compare_dates({}, 1, "losses")


def test_one_model_and_identical_ones_are_noted_by_name() -> None:
    series = np.random.default_rng(0).standard_normal(200)
    alone = compare_dates({"a": series}, 1, "losses")
    assert (alone.testable, alone.included) == (False, ("a",))
    assert "one model" in alone.sentence
    both = compare_dates({"a": series, "b": series, "c": series + losses_of(1, 200)[:, 0] + 1.0}, 1, "losses")
    assert both.testable
    assert "not told apart" in both.sentence
    assert "a and b" in both.sentence
    assert both.included == ("a", "b")
    same = compare_dates({"a": series, "b": series}, 1, "losses")
    assert not same.testable
    assert same.resampled_p.tolist() == same.p_value.tolist() == [1.0, 1.0]


def test_infinite_losses_are_refused_not_dropped() -> None:
    ours, theirs = np.random.default_rng(1).random((2, 300))
    theirs[:50] = np.inf
    with pytest.raises(ParameterError, match="infinite ones of"):
        compare_dates({"ours": ours, "theirs": theirs}, 1, "x")
