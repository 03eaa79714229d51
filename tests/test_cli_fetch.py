"""What does a person at a shell see of fetching, and which exit code does a script get?"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from archive_server import Archive, klines, serving
from data.fetch.outcome import Outcome, State
from research.cli import app
from research.fetch_job import table

MONTHLY = "data/futures/um/monthly/klines/{0}/1h/{0}-1h-{1}.zip"


@pytest.fixture
def archive() -> Iterator[Archive]:
    with serving() as served:
        yield served


def _run(archive: Archive, folder: Path, *more: str) -> Result:
    asked = ["--symbols", "BTCUSDT,ETHUSDT", "--kind", "klines-1h", "--from", "2020-01", "--to", "2020-03"]
    place = ["--base-url", archive.base, "--out", str(folder)]
    return CliRunner().invoke(app, ["data", "fetch", "binance", *asked, *place, *more])


def _publish(archive: Archive) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for period in ("2020-02", "2020-03"):
            archive.publish(MONTHLY.format(symbol, period), klines(symbol, period))


def test_a_table_says_what_became_of_each_file(archive: Archive, tmp_path: Path) -> None:
    _publish(archive)
    first = _run(archive, tmp_path)
    assert first.exit_code == 0, first.output
    heads, *groups = [line.split() for line in first.stdout.splitlines() if "klines-1h " in line or "MB" in line]
    assert heads == ["fetched", "already", "here", "not", "published", "failed", "MB"]
    assert [group[:6] for group in groups] == [
        [name, "klines-1h", "2", "0", "1", "0"] for name in ("BTCUSDT", "ETHUSDT")
    ]
    assert "not published: BTCUSDT klines-1h, 2020-01" in first.stdout
    assert f"marginlab data import {tmp_path}" in first.stderr
    assert "6/6" in first.stderr  # the progress bar
    archive.asked.clear()
    again = _run(archive, tmp_path, "--json")
    said = json.loads(again.stdout)
    assert (again.exit_code, said["already here"], said["not published"], said["fetched"]) == (0, 4, 2, 0)
    assert {one.path.removesuffix(".CHECKSUM")[-11:] for one in archive.asked} == {"2020-01.zip"}


def test_a_failure_is_named_and_the_exit_code_is_1(archive: Archive, tmp_path: Path) -> None:
    _publish(archive)
    path = MONTHLY.format("BTCUSDT", "2020-02")
    del archive.files[path + ".CHECKSUM"]
    result = _run(archive, tmp_path)
    assert result.exit_code == 1
    assert f"failed: {path}: no checksum is published" in result.stdout
    assert (tmp_path / MONTHLY.format("BTCUSDT", "2020-03")).exists()
    assert _run(archive, tmp_path, "--allow-unverified").exit_code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--market", "moon"], "the market must be one of"),
        (["--kind", "candles"], "the um market has klines"),
        (["--from", "yesterday"], "a date must be given as"),
        (["--jobs", "0"], "jobs must be 1 to 32"),
        (["--base-url", "gopher://x"], "the base address must be"),
    ],
)
def test_a_bad_request_is_one_sentence_and_exit_code_2(
    archive: Archive, tmp_path: Path, more: list[str], said: str
) -> None:
    result = _run(archive, tmp_path, *more)
    assert result.exit_code == 2
    assert said in result.stderr
    assert archive.asked == []


def test_a_dry_run_asks_for_nothing(archive: Archive, tmp_path: Path) -> None:
    result = _run(archive, tmp_path / "none", "--dry-run")
    assert result.stdout.splitlines()[0] == archive.base + MONTHLY.format("BTCUSDT", "2020-01")
    assert len(json.loads(_run(archive, tmp_path / "none", "--dry-run", "--json").stdout)) == 6
    assert archive.asked == []
    assert not (tmp_path / "none").exists()


def test_days_beside_their_month_are_pointed_out(archive: Archive, tmp_path: Path) -> None:
    _publish(archive)
    day = MONTHLY.format("BTCUSDT", "2020-02-07").replace("monthly", "daily")
    (tmp_path / day).parent.mkdir(parents=True)
    (tmp_path / day).write_bytes(klines("BTCUSDT", "2020-02-07"))
    assert f"1 files of days are of months that are here whole too (import one or the other): {day}" in _run(
        archive, tmp_path
    ).stderr.replace("\n", "")


def test_deribits_index_comes_through_the_shell(archive: Archive, tmp_path: Path) -> None:
    rows = [[1_580_515_200_000 + 3_600_000 * hour, 50.0, 51.0, 49.0, 50.5] for hour in range(5)]
    archive.answer = lambda path, query: {"result": {"data": rows, "continuation": None}}
    asked = ["--currency", "BTC", "--kind", "dvol", "--from", "2020-02", "--to", "2020-02"]
    command = ["data", "fetch", "deribit", *asked, "--base-url", archive.base, "--out", str(tmp_path)]
    assert CliRunner().invoke(app, [*command, "--dry-run"]).stdout == "dvol/BTC/BTC-DVOL_3600_2020-02.json\n"
    result = CliRunner().invoke(app, [*command, "--json"])
    assert (result.exit_code, json.loads(result.stdout)["fetched"]) == (0, 1)
    kept = json.loads((tmp_path / "dvol/BTC/BTC-DVOL_3600_2020-02.json").read_text())
    assert kept["result"]["data"] == rows


def test_many_failures_are_cut_short_and_periods_counted() -> None:
    failed = [Outcome("A", f"2020-{month:02d}", f"f{month}", State.FAILED, why="x") for month in range(1, 13)]
    absent = [Outcome("B", f"2020-{month:02d}", f"g{month}", State.ABSENT) for month in range(1, 13)]
    said = table([*failed, *absent]).splitlines()
    assert "not published: B, 12 files between 2020-01 and 2020-12" in said
    assert said[-2:] == ["failed: f10: x", "and 2 more, all in --json"]
