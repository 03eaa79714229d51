"""Do the results of laboratories, proposals, checks and nights show themselves, and every other that draws itself?"""

import importlib
import json
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest

import backtest
import data
import margin_models
import research
from bundles import history, recomputed, request, seal_again
from data import ParameterError
from data.errors import SnapshotError
from margin_models import FilteredHistoricalVaR, RobustVaR, StaticMargin
from night_studies import DAYS, night, study_file
from research.bundle import write_bundle
from research.lab import OURS, RIVALS, STATIC, Laboratory, Role, laboratory
from research.lab_job import market_of
from research.shown_nights import Nights, read_nights
from research.shown_proposal import EVIDENCE, Proposal, read_proposal
from research.study import Study, run_study
from research.verification import Verification, verify_bundle


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "bundle"
    write_bundle(request(title="<b>Synthetic</b>"), history(), folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def proposal(bundle: Path) -> Proposal:
    return read_proposal(bundle)


@pytest.fixture(scope="module")
def verification(bundle: Path) -> Verification:
    return verify_bundle(bundle, recompute=recomputed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights: first, recalibrated, promoted."""
    place = tmp_path_factory.mktemp("nights")
    for day in DAYS[:3]:
        assert night(place, day, study_file(place))["exit"] == 0
    return place / "state"


@pytest.fixture(scope="module")
def nights(folder: Path) -> Nights:
    return read_nights(folder)


@pytest.fixture(scope="module")
def lab() -> Laboratory:
    models = {
        STATIC: StaticMargin(cross=True),
        RIVALS[0]: FilteredHistoricalVaR(),
        RIVALS[1]: FilteredHistoricalVaR(lookback=120),
        OURS: RobustVaR(),
    }
    roles: dict[str, Role] = {STATIC: "rival", RIVALS[0]: "rival", RIVALS[1]: "rival", OURS: "proposal"}
    study = Study("lab", (market_of(history(), request().coverage, 150),), models)
    return laboratory(run_study(study, progress=False).markets[0].comparison, roles)


PICTURES = {"lab": "frontier ranking", "proposal": "margin variants tornado", "nights": "scan_ranges"}


@pytest.mark.parametrize("name", ["lab", "proposal", "nights", "verification"])
def test_a_result_shows_itself_in_words_and_as_a_table(name: str, request: pytest.FixtureRequest) -> None:
    result: Any = request.getfixturevalue(name)
    assert "<table" in result._repr_html_()
    assert isinstance(result.summary(), pd.DataFrame)
    assert len(result.summary())
    assert isinstance(result.to_frame(), pd.DataFrame)
    assert "object at 0x" not in repr(result)
    if name in PICTURES:
        assert repr(result.plot) == ".plot: " + ", ".join(PICTURES[name].split())


@pytest.mark.parametrize("picture", [f"{name}.{one}" for name, many in PICTURES.items() for one in many.split()])
def test_a_picture_is_drawn_on_the_axes_given_and_on_new_ones(picture: str, request: pytest.FixtureRequest) -> None:
    from matplotlib import pyplot

    name, _, what = picture.partition(".")
    draw = getattr(request.getfixturevalue(name).plot, what)
    given = pyplot.subplots()[1]
    assert draw(ax=given) is given
    assert given.has_data()
    assert given.get_xlabel() or given.get_ylabel()
    fresh = draw()
    assert fresh is not given
    fresh.figure.canvas.draw()


def classes() -> Iterator[type]:
    """Every class of the four packages."""
    packages: tuple[ModuleType, ...] = (data, margin_models, backtest, research)
    for package in packages:
        for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(one.name)
            yield from (
                kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == one.name
            )


def test_whatever_draws_itself_has_a_summary_a_table_and_html_and_whatever_has_html_has_a_table() -> None:
    shown = [kind for kind in classes() if "_repr_html_" in vars(kind)]
    drawn = [kind for kind in classes() if isinstance(vars(kind).get("plot"), property)]
    assert len(shown) > 15
    names = {kind.__name__ for kind in drawn}
    assert names >= {"Replay", "Scorecard", "Comparison", "Requirement", "MarketHistory"}
    assert names >= {"Laboratory", "Proposal", "Nights"}
    assert [kind.__name__ for kind in shown if not hasattr(kind, "to_frame")] == []
    for name in ("_repr_html_", "summary", "to_frame"):
        assert [kind.__name__ for kind in drawn if not hasattr(kind, name)] == [], name


def test_a_proposal_shows_what_its_evidence_says_and_escapes_what_its_author_wrote(
    bundle: Path, proposal: Proposal
) -> None:
    evidence = json.loads((bundle / EVIDENCE).read_text())
    table = proposal.to_frame()
    assert table.loc["coverage, %", "candidate"] == 100.0 * evidence["effect"]["candidate"]["coverage"]
    assert table.loc["peak to trough", "current"] == evidence["effect"]["current"]["peak_to_trough"]
    change = evidence["effect"]["margin_change"]["value"]
    assert proposal.summary().loc["mean margin", "change"] == f"{100 * change:+.1f}\xa0%"
    html = proposal._repr_html_()
    assert proposal.verdict in html
    assert "<b>Synthetic" not in html
    assert "&lt;b&gt;Synthetic" in html
    assert proposal.identity == verify_bundle(bundle, recompute=recomputed).identity


def test_the_tornado_reaches_as_far_as_the_evidence(proposal: Proposal) -> None:
    ax = proposal.plot.tornado()
    rows = proposal.evidence["sensitivity"]
    known = [100.0 * way["margin_change"] for row in rows for way in row["ways"] if way["margin_change"] is not None]
    drawn = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in ax.lines if line.get_marker() == "o"])
    assert sorted(drawn) == pytest.approx(sorted(known))


def test_a_folder_without_a_whole_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="a bundle is a folder with a"):
        read_proposal(tmp_path)
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / EVIDENCE).write_text("{}")
    with pytest.raises(SnapshotError, match="is not the file that the manifest names"):
        read_proposal(copy)
    seal_again(copy)
    with pytest.raises(SnapshotError, match="must hold the evidence of a proposal"):
        read_proposal(copy)


def test_a_verification_shows_what_is_wrong(bundle: Path, verification: Verification, tmp_path: Path) -> None:
    assert verification.holds
    assert "does not hold" not in verification._repr_html_()
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "proposal.md").write_text("<script>")
    wrong = verify_bundle(copy, recompute=recomputed)
    assert "does not hold" in wrong._repr_html_()
    assert "<script>" not in wrong._repr_html_()
    told = wrong.to_frame().to_numpy().tolist()
    assert tuple(text for kind, text in told if kind == "problem") == wrong.problems
    assert len(wrong.problems)


def test_nights_show_what_was_in_force_after_each(nights: Nights) -> None:
    table = nights.to_frame()
    assert table["in force"].tolist() == ["static", "static", "historical"]
    assert table["verdict"].tolist() == ["first", "recalibrated", "promoted"]
    assert table["version"].tolist() == [1, 2, 3]
    assert nights.summary()[["in force", "as of", "is"]].to_numpy().tolist() == [["historical", DAYS[2], "current"]]


def test_scan_ranges_are_those_that_were_published(nights: Nights, folder: Path) -> None:
    files = [json.loads(path.read_text()) for path in sorted((folder / "published").glob("*.json"))]
    ax = nights.plot.scan_ranges()
    drawn = {str(line.get_label()): np.asarray(line.get_ydata(), dtype=float) for line in ax.lines}
    for asset in ("BTC", "ETH"):
        told = [100.0 * one["markets"]["two"]["assets"][asset]["scan_range"] for one in files]
        assert drawn[asset] == pytest.approx(told)
    with pytest.raises(ParameterError, match=r"published markets are \['two'\], got 'other'"):
        nights.plot.scan_ranges("other")


def test_a_folder_of_no_night_and_a_damaged_one_say_so(folder: Path, tmp_path: Path) -> None:
    none = read_nights(tmp_path)
    assert none.sentence == "no night yet"
    assert "no night yet" in none._repr_html_()
    with pytest.raises(ParameterError, match="published markets are none"):
        none.plot.scan_ranges()
    with pytest.raises(ParameterError, match="nights must be at least 1"):
        read_nights(folder, 0)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for path in (copy / "nights").rglob("result.json"):
        path.write_text("{}")
    for path in (copy / "published").glob("*.json"):
        path.write_text("{}")
    damaged = read_nights(copy)
    assert damaged.to_frame()["verdict"].tolist() == ["-"] * 3
    assert damaged.published == ()
