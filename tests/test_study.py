from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from backtest import standard_books
from backtest.comparison import Comparison
from backtest.portfolios import default_books
from data import Coverage, HistoryError, MarketHistory, ParameterError
from data.proxy_surface import with_proxy_surfaces
from data.sources.samples import SAMPLES
from data.sources.synthetic import garch_t
from margin_models import (
    BoostedVolatility,
    CorrelationVaR,
    FilteredHistoricalVaR,
    GarchVolatility,
    HistoricalVaR,
    MarginModel,
    ScenarioMargin,
    SpanLike,
    StaticMargin,
)
from research.default_study import MODELS, default_study
from research.figures import frontier_svg, margin_svg, ranking_svg
from research.study import ORACLE, Market, Study, run_study
from research.tables import as_json, headline, notes_text, text
from research.user_data import least_window, market_of


def small_history() -> MarketHistory:
    return garch_t(560, (0.02, 0.03), seed=4).history


def small_books(underlyings: tuple[str, ...]) -> object:
    return standard_books(underlyings, makers=4)


def small_study(models: dict[str, MarginModel]) -> Study:
    market = Market(
        "small",
        "A small market",
        small_history,
        Coverage(0.95),
        window=420,
        refit_every=60,
        books=partial(small_books),  # type: ignore[arg-type]
        crises={"spring": ("2016-05-01", "2016-06-01"), "long ago": ("1990-01-01", "1990-02-01")},
    )
    return Study("small", (market,), models, oracle="static")


FEW: dict[str, MarginModel] = {
    "static": StaticMargin(cross=True),
    "correlation": CorrelationVaR(),
    "garch": FilteredHistoricalVaR(GarchVolatility()),
    "boosted": FilteredHistoricalVaR(BoostedVolatility(trees=5)),
}


def test_processes_change_nothing_to_the_last_bit() -> None:
    serial = run_study(small_study(FEW), jobs=1, progress=False)
    spread = run_study(small_study(FEW), jobs=2, progress=False)
    for one, two in zip(serial.markets, spread.markets, strict=True):
        assert one.data_hash == two.data_hash
        for name, run in one.comparison.replays.items():
            assert_array_equal(run.initial, two.comparison[name].initial)
            assert_array_equal(run.loss, two.comparison[name].loss)
    assert as_json(serial) == as_json(spread)


@pytest.fixture(scope="module")
def told() -> object:
    return run_study(small_study({"static": StaticMargin(cross=True), "history": HistoricalVaR()}), progress=False)


def test_the_oracle_is_shown_and_never_ranked(told: object) -> None:
    comparison = told.markets[0].comparison  # type: ignore[attr-defined]
    table = comparison.to_frame()
    assert table.index[-1] == ORACLE
    assert not table.loc[ORACLE, "ranked"]
    assert headline(comparison).index[-1] == f"({ORACLE})"
    pairs = comparison["static"].live
    assert (comparison[ORACLE].loss <= comparison[ORACLE].initial)[pairs].mean() == pytest.approx(0.95, abs=0.002)


def test_the_text_tells_every_market_model_and_crisis(told: object) -> None:
    page = text(told)  # type: ignore[arg-type]
    for word in ("A small market", "static", "history", "spring", "independent trials", "breaches a book expected"):
        assert word in page
    assert "long ago" not in page


def test_what_models_noted_is_told_once_and_in_few_lines(told: object) -> None:
    assert notes_text(told.markets[0].comparison) == ""  # type: ignore[attr-defined]
    judged = told.markets[0]  # type: ignore[attr-defined]
    many = tuple(f"refused {n} (1 fits)" for n in range(6))
    runs = {name: replace(judged.comparison[name], notes=many) for name in ("static", "history")}
    said = replace(judged, comparison=replace(judged.comparison, replays=runs))
    page = text(replace(told, markets=(said,)))  # type: ignore[type-var,arg-type]
    assert "  static; history: refused 3 (1 fits)\n  and 2 more" in page
    assert "refused 4" not in page


def test_breaches_are_told_for_each_book_that_held_something(told: object) -> None:
    comparison = told.markets[0].comparison  # type: ignore[attr-defined]
    run = comparison["history"]
    books = len(run.portfolios)
    before = float(headline(comparison)["breaches"]["history"])
    assert before == pytest.approx(comparison.scores["history"].breaches / books, abs=0.051)
    empty = replace(run, initial=run.initial.copy(), loss_end=run.loss_end.copy(), loss_worst=run.loss_worst.copy())
    for panel in (empty.initial, empty.loss_end, empty.loss_worst):
        panel[:, 0] = np.nan
    alone = Comparison("one idle book", {"history": empty})
    assert float(headline(alone)["breaches"]["history"]) == pytest.approx(
        alone.scores["history"].breaches / (books - 1), abs=0.051
    )


def test_a_study_that_cannot_be_told_is_refused_at_once() -> None:
    models: dict[str, MarginModel] = {"static": StaticMargin()}
    market = small_study(models).markets[0]
    with pytest.raises(ParameterError, match=r"oracle must be one of \['static'\] or None, got 'statik'"):
        Study("x", (market,), models, oracle="statik")
    with pytest.raises(ParameterError, match="no model may be named 'oracle constant'"):
        Study("x", (market,), {ORACLE: StaticMargin()})
    with pytest.raises(ParameterError, match="must differ in name"):
        Study("x", (market, market), models)


def test_default_books_have_coin_settled_contracts_only_where_there_are_no_sessions() -> None:
    around_the_clock = small_history()
    closes = around_the_clock.to_frame()
    weekdays = closes.set_axis(pd.bdate_range("2020-01-01", periods=len(closes), tz="UTC"))
    sessions = MarketHistory.from_frame(weekdays, clock="1B")
    for history, inverse in ((around_the_clock, True), (sessions, False)):
        instruments = default_books(history).instruments
        assert any(i.settlement == "inverse" for i in instruments) == inverse


def test_json_is_strict_and_whole(told: object) -> None:
    import json

    read = json.loads(as_json(told), parse_constant=lambda word: pytest.fail(f"not JSON: {word}"))  # type: ignore[arg-type]
    (market,) = read["markets"]
    assert {row["model"] for row in market["models"]} == {"static", "history", ORACLE}
    assert len(market["data_hash"]) == 64
    assert market["crises"][0]["crisis"] == "spring"


def test_the_default_study_is_what_was_promised() -> None:
    study = default_study()
    assert len(study.models) == 14
    assert len(study.every_model) == 25
    assert [market.coverage.level for market in study.markets] == [0.99] * 4
    assert [market.coverage.horizon for market in study.markets] == ["1D", "1D", "1B", "1D"]
    assert study.oracle in study.models
    assert SAMPLES["btc-daily"].licence in study.markets[1].remarks
    for names in (("BTC", "ETH", "LTC", "XRP", "EOS"), ("BTC",)):
        assert len(standard_books(names).portfolios) > 100


def test_the_option_market_is_labelled_a_proxy_and_holds_no_book_without_its_legs() -> None:
    history = with_proxy_surfaces(small_history())
    first = history.underlyings[0]
    plan = replace(default_study().markets[3], load=lambda: history, window=300, every=20)
    models: dict[str, MarginModel] = {"SPAN-like": SpanLike(), "static": StaticMargin(cross=True)}
    plan = replace(plan, models={"grid": ScenarioMargin()})
    result = run_study(Study("options", (plan,), models), progress=False)
    told = result.markets[0]
    assert told.market.title.endswith("[implied volatility: proxy]")
    assert told.comparison.market == told.market.title
    assert list(told.comparison.replays) == ["SPAN-like", "static", "grid"]
    span = told.comparison["SPAN-like"]
    assert np.isfinite(span.loss).all()
    long, short = (span.portfolios.index(f"{first} {side} straddle") for side in ("long", "short"))
    assert (span.initial[:, short] > span.initial[:, long]).all()
    assert "implied volatility: proxy" in text(result)
    # A figure may be passed on without its page.
    for figure in (ranking_svg(told.comparison), frontier_svg(told.comparison), margin_svg(span, span.portfolios[0])):
        assert "implied volatility: proxy" in figure


def test_a_model_of_one_market_may_not_share_its_name_with_one_of_all() -> None:
    market = replace(market_of(small_history(), "mine"), models={"static": StaticMargin()})
    with pytest.raises(ParameterError, match="your-data asks about"):
        Study("twice", (market,), {"static": StaticMargin(cross=True)})
    other = replace(market, name="other", models={"mine": StaticMargin(cross=True)})
    with pytest.raises(ParameterError, match="two models are named 'mine'"):
        Study("both", (replace(market, models={"mine": StaticMargin()}), other), {"span": SpanLike()})


def test_prices_of_ones_own_get_a_window_that_every_model_can_use() -> None:
    market = market_of(small_history(), "mine")
    assert market.window >= 252
    days = pd.date_range("2020-01-01", periods=5000, freq="h", tz="UTC")
    hourly = MarketHistory.from_frame(pd.DataFrame({"X": np.linspace(1, 2, 5000)}, index=days))
    plan = market_of(hourly, "mine")
    assert (plan.every, plan.coverage.horizon) == (4, "1D")
    assert plan.window >= 100 * 24
    assert market_of(hourly, "mine", level=0.95).window < plan.window
    assert [least_window(level, 1) for level in (0.9, 0.99, 0.999)] == [252, 252, 1001]
    assert least_window(0.9, 24) == 45 * 24 + 4 * (24 + 50) + 24  # the boosted volatility asks for the most
    with pytest.raises(HistoryError, match=r"need a window of .* got 250 rows in all"):
        market_of(small_history().rows(0, 250), "short")


def test_every_default_model_runs_on_the_shortest_window_that_is_promised() -> None:
    history = small_history()
    market = market_of(history, "mine")
    short = replace(market, refit_every=10**6, window=market_of(history.rows(0, 460), "x").window)
    models = {"boosted": MODELS["FHS, LightGBM"], "gjr": MODELS["FHS, GJR-t"]}
    result = run_study(Study("short", (short,), models), progress=False)
    assert np.isfinite(result.markets[0].comparison.to_frame()["mean_margin"]).all()
