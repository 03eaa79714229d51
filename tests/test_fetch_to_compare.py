"""Does a shell get from a venue's archive to judged models, with nothing but our commands?"""

import io
import json
import zipfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from archive_server import serving
from data.arrays import Floats
from data.snapshot import load
from research.cli import app

MONTHS = {"2024-01": 31, "2024-02": 29}
SYMBOLS = ("BTCUSDT", "ETHUSDT")
FOLDER = "data/futures/um/monthly"
HEAD = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def zipped(name: str, lines: list[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), "".join(line + "\n" for line in lines))
    return out.getvalue()


def begin(month: str) -> int:
    """Its first millisecond."""
    return int(datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC).timestamp()) * 1000


def klines(closes: list[float], opened: int) -> list[str]:
    """An hour each, from the close before on."""
    out = [HEAD]
    for n, (price, close) in enumerate(pairwise(closes)):
        high, low, start = max(price, close) * 1.001, min(price, close) * 0.999, opened + 3_600_000 * n
        paid = f"{20 * close:.4f},90,8,{8 * close:.4f},0"
        out.append(f"{start},{price:.4f},{high:.4f},{low:.4f},{close:.4f},20,{start + 3_599_999},{paid}")
    return out


def published(rng: np.random.Generator) -> tuple[dict[str, bytes], list[Floats]]:
    """Two months of two contracts, hourly klines and funding every eight hours; and their prices, hour by hour."""
    files: dict[str, bytes] = {}
    prices: list[Floats] = []
    for symbol in SYMBOLS:
        walk = 2000 * np.exp(np.cumsum(np.concatenate([[0.0], rng.standard_t(4, sum(MONTHS.values()) * 24) * 0.004])))
        prices.append(walk)
        place = 0
        for month, days in MONTHS.items():
            rows = days * 24
            name = f"{symbol}-1h-{month}"
            lines = klines(walk[place : place + rows + 1].tolist(), begin(month))
            files[f"{FOLDER}/klines/{symbol}/1h/{name}.zip"] = zipped(f"{name}.csv", lines)
            place += rows
            name, head = f"{symbol}-fundingRate-{month}", "calc_time,funding_interval_hours,last_funding_rate"
            paid = [f"{begin(month) + 28_800_000 * n},8,{rng.normal(1e-4, 5e-5):.8f}" for n in range(3 * days)]
            files[f"{FOLDER}/fundingRate/{symbol}/{name}.zip"] = zipped(f"{name}.csv", [head, *paid])
    return files, prices


def run(*words: str) -> str:
    told = CliRunner().invoke(app, [*words])
    assert told.exit_code == 0, told.output
    return told.stdout


def test_from_an_archive_to_judged_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path / "store"))
    files, prices = published(np.random.default_rng(5))
    with serving() as archive:
        for path, content in files.items():
            archive.publish(path, content)
        asked = [
            "--symbols",
            ",".join(SYMBOLS),
            "--kind",
            "klines-1h,fundingRate",
            "--from",
            "2024-01",
            "--to",
            "2024-02",
        ]
        run("data", "fetch", "binance", *asked, "--base-url", archive.base, "--out", str(tmp_path / "raw"))
    report = json.loads(run("data", "import", str(tmp_path / "raw"), "--json"))["files"]
    assert sorted((file["kind"], file["symbol"], file["accepted"]) for file in report) == [
        (kind, symbol, days * each)
        for kind, each in (("bars", 24), ("funding", 3))
        for symbol in SYMBOLS
        for days in sorted(MONTHS.values())
    ]
    assert all(file["verified"] and file["venue"] == "binance-futures" for file in report)
    sets = {(file["kind"], file["symbol"]): file["record_set"] for file in report}
    assert len({*sets.values()}) == 4
    named = [word for (kind, _), found in sets.items() for word in (f"--{kind}", found)]
    frozen = run("data", "build", "--clock", "1h", *named, "--name", "two-months").strip()
    shown = json.loads(run("data", "catalog", "show", "two-months"))
    assert (shown["underlyings"], shown["hash"]) == ([*SYMBOLS], frozen)
    history = load("two-months", tmp_path / "store" / "snapshots")
    np.testing.assert_allclose(history.spot, np.transpose(prices)[1:], atol=1e-4)
    assert history.funding is not None
    assert np.isfinite(history.funding).sum(axis=0).tolist() == [179, 179]  # the first was paid before the first close
    words = ["--model", "static, cross", "--level", "0.95", "--horizon", "8h", "--window", "240", "--jobs", "1"]
    (market,) = json.loads(run("compare", "snapshot:two-months", *words, "--json"))["markets"]
    (model,) = [row for row in market["models"] if row["model"] == "static, cross"]
    assert market["title"] == "snapshot:two-months"
    assert 0.9 < model["coverage"] <= 1.0
    assert 0.0 < model["equal_margin"] < model["mean_margin"] < 0.1
    assert (model["skipped"], model["decisions"]) == (0.0, len(prices[0]) - 1 - 240 - 7)
