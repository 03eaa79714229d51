"""Do `marginlab disclose`, `monitor` and `venues` answer a person and a machine, and refuse in a sentence?"""

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from data.sources.synthetic import garch_t
from research.cli import app

RUNNER = CliRunner()
CHOSEN = ["--level", "0.95", "--jobs", "1", "--model", "static, cross", "--model", "EWMA normal"]
NAMES = ["static, cross", "correlation VaR, EWMA normal"]


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("prices") / "prices.csv"
    closes = garch_t(560, (0.02, 0.03), seed=4).history.to_frame()
    closes.to_csv(path, index_label="date", date_format="%Y-%m-%d")
    return str(path)


def answered(*words: str) -> str:
    told = RUNNER.invoke(app, [*words])
    assert told.exit_code == 0, told.output
    return told.stdout


def test_a_person_reads_the_supervisors_table(prices: str) -> None:
    page = answered("disclose", prices, *CHOSEN)
    for word in ("All books", "coverage, %", "peak uncovered, %", "zones", "independent trials", *NAMES, "from memory"):
        assert word in page
    assert "By book" not in page
    assert "By book" in answered("disclose", prices, *CHOSEN[:6])


def test_the_csv_and_the_json_hold_every_model_and_book_and_nothing_else(prices: str) -> None:
    table = pd.read_csv(io.StringIO(answered("disclose", prices, *CHOSEN, "--csv")))
    document = json.loads(answered("disclose", prices, *CHOSEN, "--json"), parse_constant=pytest.fail)
    assert table["model"].unique().tolist() == [one["model"] for one in document["models"]] == NAMES
    for one in document["models"]:
        rows = table[table["model"] == one["model"]]
        assert [book["portfolio"] for book in one["books"]] == rows["portfolio"].tolist()
        assert [book["breaches"] for book in one["books"]] == rows["breaches"].tolist()
        assert one["books"][0]["portfolio"] == "all books"
        assert one["books"][0]["breaches"] == rows["breaches"].iloc[1:].sum()
    assert (document["level"], len(document["data_hash"])) == (0.95, 64)


def test_the_last_months_alone_are_disclosed(prices: str) -> None:
    all_of_it, recent = (
        json.loads(answered("disclose", prices, *CHOSEN, "--json", *words)) for words in ([], ["--months", "2"])
    )
    seen = [document["models"][0]["books"][0]["observations"] for document in (all_of_it, recent)]
    assert 0 < seen[1] < seen[0]


def test_a_monitor_says_when_evidence_crossed(prices: str) -> None:
    page = answered("monitor", prices, *CHOSEN, "--book", "SYN1 long")
    for word in ("crossed 2", "crossed 5", "crossed 10", "Book 'SYN1 long'", *NAMES):
        assert word in page
    document = json.loads(answered("monitor", prices, *CHOSEN, "--json"), parse_constant=pytest.fail)
    assert document["book"] == "basket long"
    for one in document["models"]:
        path = [day["evidence"] for day in one["days"]]
        assert one["highest"] == max([1.0, *path])
        assert one["now"] == path[-1]
        first = next((day["time"] for day in one["days"] if day["evidence"] >= 2), None)
        assert one["crossed"]["2"] == first


def test_the_catalogue_of_venues_is_printed() -> None:
    assert "deribit" in answered("venues")
    rows = json.loads(answered("venues", "aevo", "--json"))
    assert {row["venue"] for row in rows} == {"aevo"}
    assert {row["label"] for row in rows} <= {"V", "S", "3P", "M"}


def test_the_legend_tells_every_label_and_date_of_the_catalogue() -> None:
    page, rows = answered("venues"), json.loads(answered("venues", "--json"))
    labels = re.search(r"^label: (.*)$", page, re.MULTILINE)
    assert labels
    assert [told.split()[0] for told in labels[1].split(", ")] == ["V", "S", "3P", "M"]
    assert {row["label"] for row in rows} == {"V", "S", "3P", "M"}
    assert re.search(r"^date: .*blank where it tells none", page, re.MULTILINE)
    assert all(re.fullmatch(r"(\d{4}(-\d\d-\d\d)?|genesis)?", row["date"]) for row in rows)
    assert any(not row["date"] for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["disclose", "nowhere"], "SourceError: nowhere"),
        (["disclose", "sp500", "--json", "--csv"], "--csv: not with --json"),
        (["disclose", "sp500", "--months", "0"], "--months must be >= 1, got 0"),
        (["disclose", "sp500", "--model", "nonsense"], "--model must match one of"),
        (["disclose", "sp500", "--clock", "1D"], "--clock: only with files"),
        (["disclose", "btc-options", "--tz", "UTC"], "--tz: only with files"),
        (["disclose", "btc-options", "--level", "0.95"], "btc-options is replayed as the default study has it"),
        (["monitor", "{prices}", *CHOSEN, "--book", "none"], "--book must be one of"),
        (["venues", "nowhere"], "a venue is one of aevo"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_2(words: list[str], said: str, prices: str) -> None:
    told = RUNNER.invoke(app, [word.replace("{prices}", prices) for word in words])
    assert told.exit_code == 2, told.output
    assert said in told.stderr
    assert "Traceback" not in told.output


def test_the_figure_in_the_docs_is_there() -> None:
    assert (Path(__file__).parents[1] / "docs" / "correlation-break.svg").is_file()
