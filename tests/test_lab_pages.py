"""Does the page of the laboratory tell what was found, whole and safe?"""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as XML

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from backtest.alarm_plots import alarm_trade_off
from data import Coverage, HistoryError, MarketHistory, ParameterError
from data.sources.synthetic import garch_t
from margin_models import (
    BoostedVolatility,
    CombinedVolatility,
    CorrelationVaR,
    EwmaVolatility,
    FilteredHistoricalVaR,
    HistoricalVaR,
    RobustVaR,
    StaticMargin,
)
from margin_models.overlays import CircuitBreaker, RateLimit
from research.lab import OURS, RIVALS, STATIC, Candidate, Laboratory, laboratory, told_shares
from research.lab_extras import (
    ALL,
    BREAKER,
    CRASH,
    Extras,
    alarm_table,
    breaker_chart,
    breaker_sentence,
    impulse_table,
    lab_extras,
    learned_weights,
    weights_svg,
)
from research.lab_job import long_and_short, market_of
from research.lab_pages import lab_page
from research.sightings import BASKET, crash_days
from research.study import Market, Study, run_study

DAY = Coverage()
EVIL = 'with <script>alert("x")</script> & more'
CANDIDATES = {
    STATIC: Candidate(StaticMargin(cross=True), "rival"),
    RIVALS[0]: Candidate(FilteredHistoricalVaR(EwmaVolatility()), "rival"),
    RIVALS[1]: Candidate(HistoricalVaR(), "rival"),
    OURS: Candidate(RobustVaR(), "proposal"),
    "without the tail": Candidate(CorrelationVaR(), "without"),
    BREAKER: Candidate(CircuitBreaker(RobustVaR()), "overlay"),
    EVIL: Candidate(RateLimit(RobustVaR(), lookback=20), "overlay"),
}


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return garch_t(500, (0.02, 0.03), seed=21).history


@pytest.fixture(scope="module")
def market(history: MarketHistory) -> Market:
    return replace(market_of(history, DAY, 300), refit_every=150)


@pytest.fixture(scope="module")
def lab(market: Market) -> Laboratory:
    study = Study("lab", (market,), {name: one.model for name, one in CANDIDATES.items()})
    roles = {name: one.role for name, one in CANDIDATES.items()}
    return laboratory(
        run_study(study, progress=False).markets[0].comparison, roles, ("a <i>note</i>",), ("order flow",)
    )


@pytest.fixture(scope="module")
def extras(lab: Laboratory, history: MarketHistory, market: Market) -> Extras:
    return lab_extras(lab, history, market, CANDIDATES)


@pytest.fixture(scope="module")
def page(lab: Laboratory, extras: Extras) -> str:
    return lab_page(lab, extras, command="marginlab lab --out <here>", code_version="1.2")


class _Page(HTMLParser):
    """Tags that are open, and what is referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        told = dict(attrs)
        self.ids += [told["id"] or ""] if "id" in told else []
        self.links += [told[name] or "" for name in ("href", "src") if name in told]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    read = _Page()
    read.feed(page)
    read.close()
    assert not read.open
    assert len(set(read.ids)) == len(read.ids)
    assert read.links
    assert all(link[1:] in read.ids if link[0] == "#" else link.startswith("data:image/png") for link in read.links)
    assert not read.seen & {"script", "link", "img", "iframe"}
    assert page.count("<svg") == 4


def test_the_same_laboratory_gives_the_same_page(page: str, lab: Laboratory, extras: Extras) -> None:
    assert page == lab_page(lab, extras, command="marginlab lab --out <here>", code_version="1.2")


def test_the_page_tells_every_part_and_escapes_it(page: str, lab: Laboratory, extras: Extras) -> None:
    for title in ("Does prediction pay?", "Three axes", "What each part is worth", "What calmness costs"):
        assert f". {title}</h2>" in page
    for title in ("How margin answers a shock", "What drives the forecast", "What it saw before each crisis", "Limits"):
        assert f". {title}</h2>" in page
    assert "&lt;script&gt;" in page
    assert "--out &lt;here&gt;" in page
    assert "a &lt;i&gt;note&lt;/i&gt;" in page
    assert lab.sentences[0] in page
    assert any(one.sentence in page for one in lab.power.values())
    assert re.search(r"without order flow</th><td[^>]*>not in the data</td>", page)
    for share in told_shares(lab.prices(), "extra")[1:] + told_shares(lab.prices(), "equal")[1:]:
        assert f">{share}</td>" in page
    assert extras.sightings.seen[0].crisis in page
    ours = 100.0 * float(lab.to_frame()["equal_margin"][OURS])
    assert f">{ours:.2f}</td>" in page


def test_a_page_without_extras_is_a_page(lab: Laboratory) -> None:
    page = lab_page(lab)
    assert page.count("<svg") == 1
    assert "What calmness costs" in page
    assert "circuit breaker: missed" not in page


def test_alarms_are_those_of_the_trade_off_and_of_crash_days(lab: Laboratory, history: MarketHistory) -> None:
    run, books = lab.comparison.replays[OURS], long_and_short(history.underlyings)
    breaker = CircuitBreaker(RobustVaR())
    told = alarm_table(run, history, books, breaker, crashes=2, trips=(1.0, 3.0))
    whole = alarm_trade_off(run, history, books, breaker, (1.0, 3.0))
    assert_allclose(told.loc[ALL].to_numpy(), whole.to_numpy())
    near = np.zeros(len(run.time), dtype=np.bool_)
    for worst in crash_days(run, BASKET, 2):
        near[max(worst - 1, 0) : worst + 2] = True
    assert told.loc[CRASH]["breaches"].tolist() == 2 * [float(run.breached[near].sum())]
    XML.fromstring(breaker_chart(told))


def test_alarms_that_nothing_can_be_said_of_are_told_so() -> None:
    index = pd.MultiIndex.from_product([[CRASH], [1.0, 2.0]], names=["days", "trip"])
    told = breaker_sentence(pd.DataFrame({"missed": [np.nan, np.nan], "false": [0.5, 0.1]}, index=index))
    assert "nan" not in told
    assert "too few breaches" in told


def test_impulses_answer_or_say_why_not() -> None:
    some = {name: CANDIDATES[name] for name in (STATIC, RIVALS[0])}
    some[OURS] = Candidate(FilteredHistoricalVaR(BoostedVolatility(folds=6)), "proposal")
    told = impulse_table(some)
    assert told.index.get_level_values("kind").unique().tolist() == ["volatility", "correlation"]
    assert told.loc[("volatility", STATIC), "settled"] == pytest.approx(1.0)
    assert told.loc[("volatility", RIVALS[0]), "settled"] == pytest.approx(2.0, rel=0.15)
    assert 4.0 < float(told["half_life"]["volatility", RIVALS[0]]) < 20.0
    assert told["note"]["volatility", STATIC] == ""
    assert "needs 351 rows to fit" in str(told["note"]["volatility", OURS])
    assert np.isnan(told["settled"]["volatility", OURS])


def test_weights_are_those_of_a_walk(history: MarketHistory) -> None:
    parts = {"fast": EwmaVolatility(), "slow": EwmaVolatility(half_life=60.0)}
    told = learned_weights(parts, history, DAY, window=300, refit_every=50, every=2)
    assert list(told.columns) == ["fast", "slow"]
    assert_allclose(told.sum(axis=1), 1.0)
    assert_array_equal(pd.DatetimeIndex(told.index).tz_localize(None).to_numpy(), history.time[299::2])
    fitted = CombinedVolatility(list(parts.values())).fit(history.rows(100, 400), DAY)
    assert_allclose(told.iloc[50], fitted.weights_)
    assert re.search(r"on average fast \d+%, slow \d+%", weights_svg(told))
    with pytest.raises(HistoryError, match="a window of 1 to 500"):
        learned_weights(parts, history, DAY, window=700, refit_every=1)


def test_what_cannot_be_shown_is_refused(lab: Laboratory, history: MarketHistory, market: Market) -> None:
    with pytest.raises(ParameterError, match="must say what its books"):
        lab_extras(lab, history, replace(market, books=None), CANDIDATES)
    wrong = {**CANDIDATES, BREAKER: CANDIDATES[OURS]}
    with pytest.raises(ParameterError, match="must be a circuit breaker"):
        lab_extras(lab, history, market, wrong)
