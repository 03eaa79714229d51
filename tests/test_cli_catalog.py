"""Can a shell list, name, compare, clear and use what is in the store?"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from record_sets import keep
from typer.testing import CliRunner

from data.records import BARS, FUNDING, Records
from data.snapshot import load
from data.sources.synthetic import garch_t
from data.storage import sha256_of
from research.cli import app
from research.user_data import Prices

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with daily bars of two coins and fundings of one."""
    folder = tmp_path_factory.mktemp("store")
    history = garch_t(560, (0.02, 0.03), seed=4).history
    for column, symbol in enumerate(("BTC", "ETH")):
        close = np.ascontiguousarray(history.spot[:, column])
        columns = {"time": history.time, "opened": history.time - np.timedelta64(1, "D"), "open": close}
        columns |= {"high": close * 1.1, "low": close * 0.9, "close": close}
        keep(folder, Records(BARS, "venue", symbol, columns, np.arange(1, len(close) + 1)), findings=[symbol])
    rates = {"time": history.time, "rate": np.full(len(history), 1e-4)}
    keep(folder, Records(FUNDING, "venue", "BTC", rates, np.arange(1, len(history) + 1)))
    return folder


def _told(store: Path, *words: str, code: int = 0) -> str:
    told = RUNNER.invoke(app, ["data", *words, "--store", str(store)])
    assert told.exit_code == code, told.output
    return told.stdout if code != 2 else told.output


def _hashes(store: Path) -> dict[str, str]:
    return {row["holds"]: row["hash"] for row in json.loads(_told(store, "catalog", "list", "--json"))}


def test_records_are_named_built_into_a_history_and_compared_by_its_name(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = _hashes(store)
    assert set(held) >= {"bars venue BTC", "bars venue ETH", "funding venue BTC"}
    for name, holds in {"btc": "bars venue BTC", "eth": "bars venue ETH", "paid": "funding venue BTC"}.items():
        assert _told(store, "catalog", "name", name, held[holds]).startswith(held[holds])
    bars = ["--bars", "btc", "--bars", "ETHER=eth", "--funding", "paid"]
    built = _told(store, "build", "--clock", "1D", *bars, "--features", "--name", "coins").strip()
    assert len(built) == 64
    assert json.loads(_told(store, "catalog", "show", "coins"))["underlyings"] == ["BTC", "ETHER"]
    assert "every byte is what was written" in _told(store, "catalog", "show", "coins", "--verify")
    assert "every byte is what was written" in _told(store, "catalog", "show", "btc", "--verify")
    monkeypatch.setenv("MARGINLAB_STORE", str(store))
    history = Prices(files=(Path("snapshot:coins"),)).read()
    assert history.underlyings == ("BTC", "ETHER")
    assert "close_to_close" in history.feature_names
    words = ["compare", "snapshot:coins", "--model", "static, cross", "--level", "0.95", "--json", "--jobs", "1"]
    told = RUNNER.invoke(app, words)
    assert told.exit_code == 0, told.output
    (market,) = json.loads(told.stdout)["markets"]
    assert market["title"] == "snapshot:coins"
    assert "static, cross" in {row["model"] for row in market["models"]}


def test_a_history_with_features_says_how_much_of_them_is_unknown(store: Path) -> None:
    held = _hashes(store)
    words = ["data", "build", "--clock", "1D", "--bars", held["bars venue BTC"], "--store", str(store)]
    told = RUNNER.invoke(app, [*words, "--features"])
    assert told.exit_code == 0, told.output
    (line,) = (line for line in told.stderr.splitlines() if line.startswith("features unknown of "))
    counts = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)(?:,|$)", line.partition(": ")[2])}
    history = load(told.stdout.strip(), store / "snapshots")
    assert history.features is not None
    holes = np.isnan(history.features).sum(axis=(0, 1))
    assert counts == {name: n for name, n in zip(history.feature_names, holes.tolist(), strict=True) if n}
    assert counts
    assert line.startswith(f"features unknown of {len(history)} rows each")
    assert "features unknown" not in RUNNER.invoke(app, words).stderr


def test_a_difference_has_an_exit_code(store: Path) -> None:
    held = _hashes(store)
    assert "no difference" in _told(store, "catalog", "diff", held["bars venue BTC"], held["bars venue BTC"])
    told = _told(store, "catalog", "diff", held["bars venue BTC"], held["bars venue ETH"], code=1)
    assert "symbol: BTC | ETH" in told
    assert "- finding BTC" in told
    assert "rows differ from row 1 " in told


def test_garbage_is_listed_and_goes_when_asked(tmp_path: Path) -> None:
    rates = {"time": np.array(["2024-01-01"], dtype="M8[ns]"), "rate": np.array([0.1])}
    made = keep(tmp_path, Records(FUNDING, "venue", "BTC", rates, np.array([1])))
    assert made.hash[:12] in _told(tmp_path, "catalog", "gc")
    assert _told(tmp_path, "catalog", "gc", "--keep", made.hash[:6]) == ""
    assert made.hash[:12] in _told(tmp_path, "catalog", "gc", "--remove")
    assert "the store is empty" in _told(tmp_path, "catalog", "list")


def test_damage_is_told_with_an_exit_code(tmp_path: Path) -> None:
    rates = {"time": np.array(["2024-01-01"], dtype="M8[ns]"), "rate": np.array([0.1])}
    made = keep(tmp_path, Records(FUNDING, "venue", "BTC", rates, np.array([1])))
    part = next(tmp_path.rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    told = _told(tmp_path, "catalog", "show", made.hash[:6], "--verify", code=1)
    assert "the file is damaged" in told


def test_a_damaged_name_is_listed_and_can_be_given_again(tmp_path: Path) -> None:
    rates = {"time": np.array(["2024-01-01"], dtype="M8[ns]"), "rate": np.array([0.1])}
    made = keep(tmp_path, Records(FUNDING, "venue", "BTC", rates, np.array([1])))
    _told(tmp_path, "catalog", "name", "mine", made.hash)
    (tmp_path / "records" / "names" / "mine.json").write_bytes(b"{}")
    assert [row["fault"] != "" for row in json.loads(_told(tmp_path, "catalog", "list", "--json"))] == [False, True]
    assert "manifest" in _told(tmp_path, "catalog", "name", "mine", made.hash, code=2)
    _told(tmp_path, "catalog", "name", "mine", made.hash, "--move")
    assert _told(tmp_path, "catalog", "gc") == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["catalog", "show", "absent"], "none called 'absent'"),
        (["catalog", "name", "x", "absent"], "none called 'absent'"),
        (["catalog", "gc", "--keep", "absent"], "must be there"),
        (["build", "--clock", "1D", "--bars", "absent"], "none called 'absent'"),
        (["build", "--clock", "1D", "--bars", "X=absent", "--default", "X"], "none called 'absent'|SYMBOL=DATE"),
    ],
)
def test_what_is_not_there_is_one_sentence(store: Path, words: list[str], why: str) -> None:
    told = _told(store, *words, code=2)
    assert any(part in told.replace("\n", "") for part in why.split("|"))


def test_a_snapshot_is_not_read_in_another_way(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINLAB_STORE", str(store))
    for more in (["--clock", "1D"], ["--allow-missing"], ["prices.csv"]):
        told = RUNNER.invoke(app, ["compare", "snapshot:coins", *more])
        assert told.exit_code == 2
        assert "stands alone" in told.output.replace("\n", " ")
    unknown = sha256_of(b"nobody froze this")
    told = RUNNER.invoke(app, ["compare", f"snapshot:{unknown}"])
    assert told.exit_code == 2
    assert "one snapshot" in told.output
