"""Does `marginlab margin` answer a person and a machine, and refuse in a sentence?"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from chain_files import two_chains
from research.cli import app

RUNNER = CliRunner()
BOOK = "portfolio,symbol,quantity\nshort,BTC-16JAN26-100000-C,-1\nshort,BTC-PERP,0.5\nlong,ETH,2\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("margin")
    two_chains(place)
    (place / "book.csv").write_text(BOOK)
    (place / "odd.csv").write_text("symbol,quantity\nBTC-16JAN26-100001-C,1\n")
    moves = np.random.default_rng(5).normal(0.0, 0.02, (300, 2)).cumsum(axis=0)
    closes = pd.DataFrame(np.exp(moves - moves[-1]) * np.array([1e5, 3e3]), columns=["BTC", "ETH"])
    closes.index = pd.date_range(end="2026-01-04", periods=300)
    closes.to_csv(place / "prices.csv", index_label="date", date_format="%Y-%m-%d")
    return place


def asked(folder: Path, *words: str, book: str = "book.csv") -> list[str]:
    every = ["margin", "--book", "{f}/" + book, "--market", "{f}/chain.csv", *words]
    return [word.replace("{f}", str(folder)) for word in every]


def test_a_person_reads_margins_positions_and_quality(folder: Path) -> None:
    told = RUNNER.invoke(app, asked(folder, "--model", "span", "--history", "{f}/prices.csv"))
    assert told.exit_code == 0, told.output
    for word in ("Margin", "Worst", "Positions", "Remarks", "Quarantined quotes: none", "Surface", "short", "long"):
        assert word in told.stdout


def test_the_json_is_all_there_is_on_stdout(folder: Path) -> None:
    told = RUNNER.invoke(app, asked(folder, "--model", "scenario-grid", "--json", "--level", "0.95", "--horizon", "8h"))
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert [one["portfolio"] for one in document["portfolios"]] == ["short", "long"]
    assert (document["level"], document["horizon"]) == (0.95, "8h")
    assert (document["asked"], document["provenance"]) == ("stated rules; options age 8h", [])


def test_a_sample_is_learned_from_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data.sources import samples
    from research.user_data import Prices

    monkeypatch.setattr(samples, "load", lambda name: Prices((folder / "prices.csv",)).read())
    told = RUNNER.invoke(app, asked(folder, "--model", "historical-var", "--history", "btc-daily", "--json"))
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["model"] == "HistoricalVaR()"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nonsense"], "ParameterError: --model must be one of span (worst of sixteen"),
        (["--model", "span"], "HistoryError: span learns from a history: say which with --history"),
        (["--model", "span", "--history", "nowhere"], "SourceError: nowhere"),
        (["--model", "span", "--history", "btc-daily", "--clock", "1D"], "--clock: only with files"),
        (["--model", "deribit", "--window", "5", "--allow-gap"], "--allow-gap, --window: only with --history"),
        (["--model", "deribit", "--tz", "UTC"], "--tz: only with --history"),
        (["--model", "deribit", "--market", "{f}/none.csv"], "none.csv: an option chain must be a CSV file"),
        (
            ["--model", "deribit", "--market", "btc-2021"],
            "sample of a chain (btc-options-2021), and there is no such f",
        ),
        (["--model", "deribit", "--market", "btc-daily"], "there is no such file; that is a history: use --history"),
        (["--model", "deribit", "--market", "{f}/chain.csv"], "got BTC a second time"),
        (["--model", "deribit", "--book", "{f}/odd.csv"], "'BTC-16JAN26-100001-C' is not in the chain, the nearest"),
        (["--model", "deribit", "--book", "{f}/none.csv"], "SourceError"),
        (["--model", "deribit", "--level", "2"], "Coverage.level must lie in"),
        (["--model", "deribit", "--at", "2020-01-01"], "at least one usable quote"),
        (["--model", "deribit", "--at", "2026-01-05T03:59"], "instants are 2026-01-05T04:00:00 (UTC)"),
        (
            ["--model", "deribit", "--at", "noon"],
            "ParameterError: at must be an instant such as 2026-01-05T04:00, got 'noon'",
        ),
        (["--model", "span", "--history", "{f}/prices.csv", "--window", "0"], "window must be at least 1 row"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_2(words: list[str], said: str, folder: Path) -> None:
    told = RUNNER.invoke(app, asked(folder, *words))
    assert told.exit_code == 2, told.output
    assert said in told.stderr
    assert told.stdout == ""
    assert "Traceback" not in told.output


@pytest.mark.parametrize(
    ("model", "words", "noted"),
    [
        ("deribit", ["--level", "0.95"], True),
        ("scenario-grid", ["--level", "0.99"], True),
        ("deribit", [], False),
        ("historical-var", ["--level", "0.95", "--history", "{f}/prices.csv"], False),
    ],
)
def test_a_level_that_stated_rules_do_not_use_is_noted(model: str, words: list[str], noted: bool, folder: Path) -> None:
    told = RUNNER.invoke(app, asked(folder, "--model", model, "--json", *words))
    assert told.exit_code == 0, told.output
    assert ("--level is not used" in told.stderr) == noted
    json.loads(told.stdout)
