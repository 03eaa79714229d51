"""Does the laboratory judge what it says it judges?"""

import json
from pathlib import Path
from xml.etree import ElementTree as XML

import numpy as np
import pytest
from typer.testing import CliRunner

from backtest.equal_coverage import at_equal_coverage
from backtest.scores import peak_to_trough
from data import Coverage, MarketHistory, ParameterError
from data.sources.synthetic import garch_t
from margin_models import FilteredHistoricalVaR, RobustVaR, StaticMargin
from margin_models.overlays import RateLimit
from research.cli import app
from research.lab import OURS, RIVALS, STATIC, Laboratory, Role, candidates, laboratory
from research.lab_figures import frontier_svg
from research.lab_job import asked_for, long_and_short, market_of
from research.study import Study, run_study

DAY = Coverage()
ROLES: dict[str, Role] = {
    STATIC: "rival",
    RIVALS[0]: "rival",
    RIVALS[1]: "rival",
    OURS: "proposal",
    "with falls of 10 % a day": "overlay",
}


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return garch_t(560, (0.02, 0.03), seed=21).history


@pytest.fixture(scope="module")
def lab(history: MarketHistory) -> Laboratory:
    """The roles filled by models that fit in no time: what is tested is how they are judged."""
    models = {
        STATIC: StaticMargin(cross=True),
        RIVALS[0]: FilteredHistoricalVaR(),
        RIVALS[1]: FilteredHistoricalVaR(lookback=150),
        OURS: RobustVaR(),
        "with falls of 10 % a day": RateLimit(RobustVaR(), fall=0.005, lookback=20),
    }
    study = Study("lab", (market_of(history, DAY, 300),), models)
    return laboratory(run_study(study, progress=False).markets[0].comparison, ROLES, ("a note",))


def test_the_axes_are_those_of_their_definitions(lab: Laboratory) -> None:
    table = lab.to_frame()
    for name, run in lab.comparison.replays.items():
        assert table.loc[name, "equal_margin"] == pytest.approx(np.nanmean(at_equal_coverage(run).margin))
        ratio = (run.loss / run.initial)[run.live & (run.initial > 1e-6)]
        scaled = np.quantile(ratio, 0.99, method="weibull") * run.initial
        assert table.loc[name, "equal_shortfall"] == pytest.approx(np.nanmean(np.maximum(run.loss - scaled, 0.0)))
        assert table.loc[name, "peak_to_trough"] == pytest.approx(np.nanmedian(peak_to_trough(run.initial)))
    assert list(table.index) == list(ROLES)
    assert (table[["ratio", "ratio_low", "ratio_high"]].to_numpy()[list(ROLES).index(lab.mark)] == 1.0).all()
    assert lab.mark == min(RIVALS, key=lambda name: float(table["equal_margin"][name]))
    assert (table["ratio_low"] <= table["ratio"]).all()
    assert (table["ratio"] <= table["ratio_high"]).all()


def test_overlays_have_a_price(lab: Laboratory) -> None:
    prices = lab.prices()
    runs = lab.comparison.replays
    slower = "with falls of 10 % a day"
    assert list(prices.index) == [OURS, slower]
    extra = np.nanmean(runs[slower].initial) / np.nanmean(runs[OURS].initial) - 1.0
    assert prices.loc[slower, "extra_margin"] == pytest.approx(extra)
    assert extra > 0.0
    assert prices.loc[OURS, "extra_margin"] == 0.0


def test_it_says_in_words_what_the_table_says(lab: Laboratory) -> None:
    ratio = float(lab.to_frame()["ratio"][OURS])
    way = "less" if ratio < 1.0 else "more"
    assert f"asks for {100.0 * abs(1.0 - ratio):.1f} % {way} margin than {lab.mark}" in lab.sentences[0]
    assert any(sentence.startswith(f"Against the static rate ({STATIC})") for sentence in lab.sentences)
    assert "a note" in repr(lab)
    told = json.loads(lab.to_json())
    assert [row["model"] for row in told["candidates"]] == list(ROLES)
    assert told["verdict"] == list(lab.sentences)


def test_the_figure_has_every_candidate_and_a_text(lab: Laboratory) -> None:
    figure = frontier_svg(lab)
    XML.fromstring(figure)
    assert all(name in figure for name in ROLES)
    assert f"{float(lab.to_frame()['ratio'][OURS]):.3f} times" in figure


def test_candidates_are_one_configuration_and_what_is_taken_from_it(history: MarketHistory) -> None:
    every = candidates(history)
    assert {one.role for one in every.values()} == {"rival", "forecaster", "proposal", "without", "overlay"}
    assert list(asked_for(["static, isolated"], every)) == ["static, isolated", *RIVALS, OURS]
    assert set(asked_for([], every)) == set(every)
    assert {"with circuit breaker", "with 25 % buffer"} <= set(asked_for(["with "], every))
    with pytest.raises(ParameterError, match="no candidate is named 'astrology'"):
        asked_for(["astrology"], every)
    assert not any("implied" in name for name in every)


def test_books_are_long_and_short_and_baskets() -> None:
    assert long_and_short(("A", "B")).portfolios == (
        "A long",
        "A short",
        "B long",
        "B short",
        "basket long",
        "basket short",
    )


def test_a_wrong_candidate_is_refused_by_the_command(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["lab", str(tmp_path / "absent"), "--jobs", "1"])
    assert told.exit_code != 0
    assert "absent" in told.output
