"""Does the laboratory judge what it says it judges?"""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as XML

import numpy as np
import pytest
from typer.testing import CliRunner

from backtest.bootstrap import block_length
from backtest.equal_coverage import at_equal_coverage
from backtest.scores import peak_to_trough
from data import Coverage, MarketHistory, ParameterError
from data.sources.synthetic import garch_t
from margin_models import FilteredHistoricalVaR, RobustVaR, StaticMargin
from margin_models.overlays import RateLimit
from research.cli import app
from research.lab import FZ0, OURS, PINBALL, RIVALS, STATIC, Laboratory, Role, candidates, laboratory, told_shares
from research.lab_figures import frontier_svg
from research.lab_job import asked_for, long_and_short, market_of
from research.lab_power import SHIFTS
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
    return lab_of(history)


def lab_of(history: MarketHistory) -> Laboratory:
    """The roles filled by models that fit in no time: what is tested is how they are judged."""
    models = {
        STATIC: StaticMargin(cross=True),
        RIVALS[0]: FilteredHistoricalVaR(),
        RIVALS[1]: FilteredHistoricalVaR(lookback=150),
        OURS: RobustVaR(),
        "with falls of 10 % a day": RateLimit(RobustVaR(), fall=0.005, lookback=20),
    }
    study = Study("lab", (market_of(history, DAY, 300),), models)
    return laboratory(run_study(study, progress=False).markets[0].comparison, ROLES, ("a note",), ("macro series",))


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
    assert tuple(prices.loc[OURS, ["extra_low", "extra_high", "equal_low", "equal_high"]]) == (0.0, 0.0, 0.0, 0.0)
    equal = np.nanmean(at_equal_coverage(runs[slower]).margin) / np.nanmean(at_equal_coverage(runs[OURS]).margin) - 1.0
    assert prices.loc[slower, "equal_extra"] == pytest.approx(equal)
    for what in ("extra", "equal"):
        first = {"extra": "extra_margin", "equal": "equal_extra"}[what]
        low, share, high = (float(prices[name][slower]) for name in (f"{what}_low", first, f"{what}_high"))
        assert low < share < high
        assert f"{100 * share:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})" in repr(lab)


def test_the_interval_of_a_price_is_that_of_a_plain_bootstrap_of_dates(lab: Laboratory) -> None:
    """Each draw of blocks of dates by a loop, its ratio of means, the middle laid upon the figure."""
    above, ours = (lab.comparison.replays[name].initial for name in ("with falls of 10 % a day", OURS))
    pairs = np.column_stack([np.nanmean(above, axis=1), np.nanmean(ours, axis=1)])
    block, random = block_length(len(pairs), 1), np.random.default_rng(5)
    drawn = []
    for _ in range(4000):
        starts = random.integers(len(pairs), size=-(-len(pairs) // block))
        rows = ((starts[:, None] + np.arange(block)) % len(pairs)).ravel()[: len(pairs)]
        drawn.append(pairs[rows, 0].mean() / pairs[rows, 1].mean())
    row = lab.prices().loc["with falls of 10 % a day"]
    low, high = np.quantile(np.array(drawn) / np.median(drawn), [0.05, 0.95]) * (1.0 + row["extra_margin"]) - 1.0
    assert row["extra_high"] - row["extra_low"] == pytest.approx(high - low, rel=0.3)


def test_the_set_is_told_with_its_power(lab: Laboratory) -> None:
    assert set(lab.power) == {PINBALL, FZ0}
    for one in lab.power.values():
        assert one.model == lab.mark
        assert one.sentence in lab.sentences
        assert list(one.left_out) == list(SHIFTS)
        assert one.left_out[0.10] >= one.left_out[0.05] >= one.left_out[0.02]
    assert json.loads(lab.to_json())["power"][PINBALL]["0.05"] == lab.power[PINBALL].left_out[0.05]


def test_it_says_in_words_what_the_table_says(lab: Laboratory) -> None:
    ratio = float(lab.to_frame()["ratio"][OURS])
    way = "less" if ratio < 1.0 else "more"
    assert f"asks for {100.0 * abs(1.0 - ratio):.1f} % {way} margin than {lab.mark}" in lab.sentences[0]
    (static,) = (sentence for sentence in lab.sentences if sentence.startswith(f"Against the static rate ({STATIC})"))
    table = lab.to_frame()
    for column, scale in (("equal_margin", 100), ("equal_shortfall", 1000), ("mean_margin", 100)):
        assert f"{scale * table[column][OURS]:.2f} against {scale * table[column][STATIC]:.2f}" in static
    assert f"the rate {100 * table['coverage'][STATIC]:.1f} %" in static
    assert "a note" in repr(lab)
    assert "without macro series: not in the data" in repr(lab)
    assert json.loads(lab.to_json())["not_in_the_data"] == ["macro series"]
    told = json.loads(lab.to_json())
    assert [row["model"] for row in told["candidates"]] == list(ROLES)
    assert told["verdict"] == list(lab.sentences)


@pytest.mark.parametrize("decisions", [3, 11, 40])
def test_on_few_dates_it_says_that_they_are_too_few_and_nothing_else(history: MarketHistory, decisions: int) -> None:
    few = lab_of(history.rows(0, 300 + decisions))
    assert len(few.comparison.replays[OURS].time) == decisions
    assert few.sentences == (f"Too few dates to judge ({decisions}; 60 or more wanted).",)
    assert few.power == {}
    assert "nan" not in " ".join([*few.summary()["over the mark (90 %)"], *told_shares(few.prices(), "equal")])
    assert few.sentences[0] in repr(few)
    assert json.loads(few.to_json())["verdict"] == list(few.sentences)


def test_each_axis_says_for_itself_that_its_dates_are_too_few(history: MarketHistory) -> None:
    """Dates have a walk-forward scale some time after the first decision only."""
    some = lab_of(history.rows(0, 365))
    assert len(some.comparison.replays[OURS].time) == 65
    known = int(np.isfinite(some.comparison.judgements[OURS].by_date).sum())
    assert 0 <= known < 60
    assert some.sentences[0] == f"Margin at equal coverage: too few dates to judge ({known}; 60 or more wanted)."
    assert some.sentences[1] == f"Its {PINBALL}: too few dates to judge ({known}; 60 or more wanted)."
    assert PINBALL not in some.power
    assert any(sentence.startswith("Its peak-to-trough is") for sentence in some.sentences)
    assert not any("nan" in sentence for sentence in some.sentences)


def test_a_rival_of_unknown_margin_is_not_the_mark(lab: Laboratory) -> None:
    judged = lab.comparison.judgements
    for lost, other in (RIVALS, RIVALS[::-1]):
        card = replace(judged[lost].card, equal_margin=np.nan)
        known = {**judged, lost: replace(judged[lost], card=card)}
        assert Laboratory(replace(lab.comparison, judged=known), lab.roles).mark == other


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
