"""Are a poisoned night and a diverged fit refused among nights on a real market, and is the story told right?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data import ConvergenceError, ParameterError
from night_studies import Kept
from research import nightly, rehearsal_study
from research.cli import app
from research.night_state import read_state
from research.nightly_job import read_plan
from research.rehearsal import (
    DIVERGED,
    POISONED,
    Rehearsal,
    RehearsedNight,
    diverging,
    new_folder,
    planned,
    rehearsed,
    spoilt,
    study_file,
)
from research.rehearsal_story import COLUMNS, rows_of, summary, table

STUDY = '''
import numpy as np

from data import Coverage, MarketHistory
from data.sources.samples import load
from margin_models import FilteredHistoricalVaR, GarchVolatility, HistoricalVaR
from research.limits import Limits
from research.study import Market, Study


def prices():
    """Six years of two indices up to October 2014; both come with arch, nothing is fetched."""
    one, other = load("sp500"), load("nasdaq")
    both = MarketHistory(one.time, ("SP500", "NASDAQ"), np.column_stack([one.spot, other.spot]), one.clock)
    return both.rows(2500, 3974)


def study():
    market = Market("indices", "Two indices", prices, Coverage(0.99, "1B"), window=500, refit_every=126)
    garch = FilteredHistoricalVaR(GarchVolatility(student=True))
    return Study("indices", (market,), {"historical": HistoricalVaR(), "FHS, GARCH": garch})


def limits():
    return Limits(shadow=1)
'''


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "indices.py"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept()


@pytest.fixture(scope="module")
def five(study: Path, kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    return rehearsed(study, tmp_path_factory.mktemp("nights") / "state", 5, recorder=kept)


def verdicts(one: Rehearsal) -> list[tuple[str, int, str, str]]:
    told = []
    for night in one.nights:
        market = night.result["markets"]["indices"]
        told.append((night.planted, night.result["exit"], market["verdict"], market["champion"]["name"]))
    return told


def test_both_planted_nights_are_refused_and_a_better_model_is_promoted(five: Rehearsal) -> None:
    assert verdicts(five) == [
        ("", 0, "first", "historical"),
        (POISONED, 4, "refused", "historical"),
        ("", 0, "promoted", "FHS, GARCH"),
        (DIVERGED, 4, "refused", "FHS, GARCH"),
        ("", 0, "recalibrated", "FHS, GARCH"),
    ]
    assert (five.exit, five.caught, five.planted) == (0, 2, 2)


def test_the_gates_name_what_was_planted(five: Rehearsal) -> None:
    _, poisoned, _, diverged, _ = [night.result["markets"]["indices"]["sentences"][0] for night in five.nights]
    assert "data_quality: SP500: the newest price is 0.1" in poisoned
    assert "convergence: a fit was refused: SP500: the optimiser did not converge and 1 more" in diverged


def test_what_was_refused_is_not_what_the_next_night_is_held_to(five: Rehearsal) -> None:
    """The repaired feed of the night after is no restated past."""
    assert five.nights[2].result["markets"]["indices"]["stale"] == ""


def test_a_planted_night_publishes_nothing_and_the_others_do(five: Rehearsal) -> None:
    assert [night.kept for night in five.nights] == [False, True, False, True, False]
    assert [night.result["published"]["version"] for night in five.nights] == [1, 1, 2, 2, 3]


def test_mlflow_is_told_of_every_night_with_its_reasons(five: Rehearsal, kept: Kept) -> None:
    told = list(kept.entries.values())
    assert [entry.tags["exit"] for entry in told] == ["0", "4", "0", "4", "0"]
    verdicts = ("first", "refused", "promoted", "refused", "recalibrated")
    assert [entry.name for entry in told] == [
        f"{night.day} {verdict}, indices" for night, verdict in zip(five.nights, verdicts, strict=True)
    ]
    assert [entry.metrics["version"] for entry in told] == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert "did not converge" in told[3].tags["mlflow.note.content"]
    assert "did not converge" in told[3].tags["indices.why"]
    state = read_state(five.folder).markets["indices"]
    assert state.champion is not None
    assert told[4].aliases["indices.indices"]["champion"] == state.champion.model


def test_the_table_has_a_row_a_night_and_says_why(five: Rehearsal) -> None:
    lines = table(five).splitlines()
    assert lines[0].split() == " ".join(COLUMNS).split()
    assert [line[:10] for line in lines[2:7]] == [night.day for night in five.nights]
    assert "did not converge" in lines[5]
    assert summary(five).splitlines()[:2] == [
        "5 nights: 1 first, 1 recalibrated, 1 promoted, 2 refused",
        "2 of 2 planted nights refused, what was published untouched",
    ]


def test_a_planted_night_that_went_through_is_a_failure(five: Rehearsal) -> None:
    slipped = RehearsedNight(five.nights[1].day, POISONED, {**five.nights[1].result, "exit": 0}, False)
    one = Rehearsal(five.folder, (five.nights[0], slipped))
    assert (one.caught, one.planted, one.exit) == (0, 1, 1)


def test_a_folder_with_nights_too_few_of_them_or_too_few_days_are_refused(five: Rehearsal, study: Path) -> None:
    with pytest.raises(ParameterError, match="a folder without nights"):
        rehearsed(study, five.folder, 5)
    with pytest.raises(ParameterError, match="at least 5 nights"):
        rehearsed(study, five.folder / "none", 4)
    with pytest.raises(ParameterError, match="need more days than indices has: 1474"):
        rehearsed(study, five.folder / "none", 1000)


@pytest.mark.parametrize("count", [5, 6, 10, 30, 365])
def test_two_different_nights_of_a_rehearsal_are_planted(count: int) -> None:
    plants = planned(count)
    assert sorted(plants.values()) == sorted([POISONED, DIVERGED])
    assert all(1 < night <= count for night in plants)


def test_poison_is_one_price_of_one_day(study: Path) -> None:
    plan = read_plan(study).study
    market = plan.markets[0]
    clean, poisoned = market.load(), spoilt(plan, "2014-10-01").markets[0].load()
    changed = (clean.spot != poisoned.spot).nonzero()
    assert [len(one) for one in changed] == [1, 1]
    assert str(clean.time[changed[0][0]])[:10] == "2014-10-01"


def test_a_model_that_searches_nothing_breaks_where_fits_diverge(study: Path) -> None:
    plan = read_plan(study).study
    market = plan.markets[0]
    with diverging(), pytest.raises(ConvergenceError, match="planted by a rehearsal"):
        nightly.fit_tonight(plan.models["historical"], market.load(), market)


def test_prices_of_ones_own_make_a_study(tmp_path: Path, study: Path) -> None:
    closes = read_plan(study).study.markets[0].load().to_frame()
    days = [str(day)[:10] for day in closes.index]
    closes.set_axis(days).to_csv(tmp_path / "prices.csv", index_label="date")
    path = study_file(tmp_path, [tmp_path / "prices.csv"], None)
    made = read_plan(path)
    assert made.study.markets[0].load().underlyings == ("SP500", "NASDAQ")
    assert made.limits.shadow == rehearsal_study.limits().shadow
    with pytest.raises(ParameterError, match="of files or of a study"):
        study_file(tmp_path, [tmp_path / "prices.csv"], study)
    assert read_plan(study_file(tmp_path, [], None)).study.name == "rehearsal"


def test_folders_nobody_named_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path))
    assert new_folder().name == "001"
    (tmp_path / "rehearsals" / "007").mkdir(parents=True)
    assert new_folder().name == "008"


def test_rows_of_a_quiet_night_say_nothing(five: Rehearsal) -> None:
    ((*_, said),) = rows_of(five.nights[4])
    assert said == ""


def asked(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_status_tells_the_nights_to_a_person(five: Rehearsal) -> None:
    said = asked("status", "--state", str(five.folder)).stdout
    assert "indices: current" in said
    assert "champion FHS, GARCH" in said
    assert "previous historical" in said
    lines = said.splitlines()
    assert lines[-5:][1].split()[:5] == [five.nights[1].day, "4", "1", "historical", "indices"]
    assert len(asked("status", "--state", str(five.folder), "--nights", "2").stdout.splitlines()) == len(lines) - 3


def test_the_command_refuses_a_folder_with_nights(five: Rehearsal, study: Path) -> None:
    done = asked("rehearse", "--study", str(study), "--state", str(five.folder), "--no-track", "--json")
    assert done.exit_code == 2
    assert "a folder without nights" in json.loads(done.stdout)["reason"]
