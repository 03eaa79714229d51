"""Are files taken whole or refused with the reason, and is nothing of a doubtful row lost or let through?"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.brought_files import files_of, period_of
from data.check_results import Check
from data.imports import check_paths, import_paths
from data.pricing import black76
from data.quarantine import Quarantine
from data.records import OPTIONS, Records
from fuzzed_files import fuzz
from records_made import FILES, HOUR, MS, NOW, START, lines_of, put
from research.cli import app

RUNNER = CliRunner()
KLINES, TRADES = FILES[0], FILES[1]
DAY = 86_400_000
_DTYPES = {column.name: column.dtype for column in OPTIONS.columns}
SHARED = Path(__file__).parents[2] / "shared" / "data"
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")


class Shelf:
    """What was handed over to be kept."""

    def __init__(self) -> None:
        self.kept: dict[str, list[Records]] = {}
        self.told: list[dict[str, Any]] = []

    def __call__(self, rows: Any, **told: Any) -> str:
        name = f"set-{len(self.told)}"
        self.kept[name] = list(rows)
        self.told.append(told)
        return name


def written(folder: Path, name: str, lines: list[str]) -> Path:
    return put(folder, name, "".join(line + "\n" for line in lines).encode())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".zip"])
def test_a_whole_file_is_kept_whole(name: str, suffix: str, tmp_path: Path) -> None:
    shelf = Shelf()
    path = written(tmp_path, name.replace(".csv", suffix), lines_of(name))
    report = import_paths([path], tmp_path / "store", now=NOW, write=shelf)
    (file,) = report.files
    assert (file.rows, file.accepted, file.quarantined, file.refused) == (60, 60, 0, "")
    assert (file.results, file.symbol, file.record_set, report.exit_code) == ((), "BTCUSDT", "set-0", 0)
    assert sum(map(len, shelf.kept["set-0"])) == 60
    (told,) = shelf.told
    (source,) = told["sources"]
    assert source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source["size"] == path.stat().st_size
    assert told["findings"] == []
    assert not (tmp_path / "store" / "quarantine").exists()


def test_what_is_set_aside_stays_beside_the_import_with_its_reason(tmp_path: Path) -> None:
    lines = lines_of(KLINES)
    lines[5] = lines[5].replace(",", ",-", 1)  # a negative open
    lines[9] = lines[9].rsplit(",", 3)[0]  # a cut line
    cells = lines[20].split(",")
    cells[6] = str(int(cells[6]) - 1_800_000)  # the venue halted
    lines[20] = ",".join(cells)
    shelf, store = Shelf(), tmp_path / "store"
    report = import_paths([written(tmp_path, KLINES, lines)], store, now=NOW, write=shelf)
    (file,) = report.files
    assert (file.rows, file.accepted, file.quarantined, file.repaired, report.exit_code) == (60, 58, 2, 1, 1)
    away = pq.read_table(store / file.quarantine).to_pydict()
    assert sorted(zip(away["row"], away["reason"], strict=True)) == [(5, "price"), (9, "torn line")]
    (log,) = (store / "quarantine").glob("*.repairs.json")
    (repair,) = json.loads(log.read_text())
    assert (repair["check"], repair["column"], repair["rows"]) == ("short bar", "time", [[20, 20]])
    assert repair["after"][0] - repair["before"][0] == 30 * 60 * 10**9
    assert {one["check"] for one in shelf.told[0]["findings"]} == {"price", "torn line", "short bar", "gap"}


def test_names_that_are_not_there_are_kept_in_quarantine_as_such(tmp_path: Path) -> None:
    told = {"time": [START] * 2, "symbol": [None, "A"], "underlying": ["X"] * 2, "strike": [1.0, -1.0]}
    told |= {"expiry": [START + HOUR] * 2, "call": [True, False]}
    columns = {name: np.array(values, _DTYPES[name]) for name, values in told.items()}
    records = Records(OPTIONS, "v", "s", columns, np.arange(1, 3))
    with Quarantine(tmp_path, "options") as aside:
        aside.add(Check("nameless", "", "quarantine"), records.where(slice(0, 1)))
        aside.add(Check("price", "", "quarantine"), records.where(slice(1, 2)))
    away = pq.read_table(aside.path).to_pydict()
    assert (away["symbol"], away["reason"], away["row"]) == ([None, "A"], ["nameless", "price"], [1, 2])
    assert [path.name for path in tmp_path.iterdir()] == ["options.parquet"]


def test_files_of_one_symbol_are_one_series(tmp_path: Path) -> None:
    lines = lines_of(KLINES)
    (tmp_path / "in").mkdir()
    second = written(tmp_path / "in", "BTCUSDT-1h-b.csv", [lines[0], *lines[30:]])
    written(tmp_path / "in", "BTCUSDT-1h-a.csv", lines[:32])
    put(tmp_path / "in", second.name + ".CHECKSUM", f"{hashlib.sha256(second.read_bytes()).hexdigest()}  x\n".encode())
    shelf = Shelf()
    report = import_paths([tmp_path / "in"], tmp_path / "store", now=NOW, write=shelf)
    assert [(file.file[-5], file.accepted, file.verified) for file in report.files] == [
        ("a", 31, False),
        ("b", 29, True),
    ]
    assert report.files[1].results[0].check.name == "late"
    (kept,) = shelf.kept.values()
    np.testing.assert_array_equal(np.concatenate([part["opened"] for part in kept]), START + np.arange(60) * HOUR)
    assert report.files[0].record_set == report.files[1].record_set == "set-0"


def test_symbols_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    head = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
    rows = [
        f"deribit,{'BTC' if row % 3 else 'ETH'}-PERPETUAL,17040672000000{row},17040672000009{row},{row},buy,9.5,1"
        for row in range(10, 40)
    ]
    shelf = Shelf()
    report = import_paths([written(tmp_path, "trades.csv", [head, *rows])], tmp_path / "s", now=NOW, write=shelf)
    assert {file.symbol: file.accepted for file in report.files} == {"BTC-PERPETUAL": 20, "ETH-PERPETUAL": 10}
    assert sorted(sum(map(len, parts)) for parts in shelf.kept.values()) == [10, 20]


def test_a_symbol_met_late_in_a_file_is_not_lost(tmp_path: Path) -> None:
    head = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
    line = "deribit,{}-PERPETUAL,17040672{},17040672{},{},buy,9.5,1"
    (tmp_path / "in").mkdir()
    for name, symbols, first in (("a.csv", "B", 10), ("b.csv", "ABC", 40)):
        rows = [
            line.format(symbols[row % len(symbols)], *[f"000000{row}"] * 2, row) for row in range(first, first + 30)
        ]
        written(tmp_path / "in", name, [head, *rows])
    report = import_paths([tmp_path / "in"], tmp_path / "s", now=NOW, write=Shelf())
    assert sorted((file.file, file.symbol[0], file.accepted) for file in report.files) == [
        *(("a.csv", "B", 30), ("b.csv", "A", 10), ("b.csv", "B", 10), ("b.csv", "C", 10)),
    ]


def test_bars_of_other_lengths_and_tables_of_other_folders_are_other_series(tmp_path: Path) -> None:
    hours = lines_of(KLINES)
    days = [
        hours[0],
        *(f"{MS + day * DAY},1,2,1,1.{day * day},5,{MS + (day + 1) * DAY - 1},8,9,2,3,0" for day in range(20)),
    ]
    (tmp_path / "in" / "other").mkdir(parents=True)
    written(tmp_path / "in", "BTCUSDT-1h.csv", hours)
    written(tmp_path / "in", "BTCUSDT-1d.csv", days)
    for at, folder in enumerate((tmp_path / "in", tmp_path / "in" / "other")):
        written(
            folder,
            "ETH.csv",
            ["date,close", *(f"2024-01-{day:02d},{90 + at + day * day % 17}" for day in range(1, 20))],
        )
    shelf = Shelf()
    report = import_paths([tmp_path / "in"], tmp_path / "s", now=NOW, write=shelf)
    assert all(file.quarantined == 0 and file.accepted for file in report.files), report
    assert len(shelf.kept) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b,c\n1,2,3\n", "expected a known layout, got csv with the columns 'a, b, c'"),
        (b"Some License\n\nDo with it, and from it,\nwhat you like.\n", "text that is no table, 'Some License'"),
        (b"", "empty file"),
        (b"\x00\x01\x02", "no text"),
    ],
)
def test_what_nobody_knows_is_refused_and_the_rest_is_taken(content: bytes, said: str, tmp_path: Path) -> None:
    strange = put(tmp_path, "strange.csv", content)
    good = written(tmp_path, TRADES, lines_of(TRADES))
    report = import_paths([strange, good, tmp_path / "none"], tmp_path / "s", now=NOW, write=Shelf())
    assert report.exit_code == 2
    refused = {file.file: file.refused for file in report.files if file.refused}
    assert said in refused["strange.csv"]
    assert "expected a file" in refused["none"]
    assert [file.accepted for file in report.files if not file.refused] == [60]


def test_a_file_is_refused_by_its_checksum_and_where_it_breaks_off(tmp_path: Path) -> None:
    path = written(tmp_path, TRADES, lines_of(TRADES))
    beside = put(tmp_path, TRADES + ".CHECKSUM", b"0" * 64 + b"  x\n")
    assert "expected the sha256" in check_paths([path]).files[0].refused
    beside.write_bytes(b"")
    assert "nothing" in check_paths([path]).files[0].refused
    packed = written(tmp_path, TRADES + ".gz", lines_of(TRADES, 3000))
    packed.write_bytes(packed.read_bytes()[:-20])
    shelf = Shelf()
    (file,) = import_paths([packed], tmp_path / "s", now=NOW, write=shelf).files
    assert "unpacked" in file.refused
    assert not shelf.kept


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    first = written(tmp_path, TRADES, lines_of(TRADES))
    second = put(tmp_path, "BTCUSDT-aggTrades-copy.csv", first.read_bytes())
    report = check_paths([first, second, first])
    assert [file.accepted for file in report.files if not file.refused] == [60]
    assert [file.file for file in report.files if "very bytes" in file.refused] == [second.name]


def test_a_shelf_that_fails_refuses_the_file(tmp_path: Path) -> None:
    def full(rows: Any, **told: Any) -> str:
        next(rows)
        raise OSError("no space left")

    lines = lines_of(TRADES)
    lines[3] = "x"
    report = import_paths([written(tmp_path, TRADES, lines)], tmp_path / "s", now=NOW, write=full)
    assert "no space left" in report.files[0].refused
    assert (report.exit_code, report.files[0].accepted) == (2, 0)
    assert [*(tmp_path / "s" / "quarantine").iterdir()] == []


def test_what_was_set_aside_goes_where_a_later_file_is_refused(tmp_path: Path) -> None:
    def full(rows: Any, **told: Any) -> str:
        for _ in rows:
            pass
        raise OSError("no space left")

    lines = lines_of(KLINES)
    (tmp_path / "in").mkdir()
    for name, part in (("a", lines[:32]), ("b", [lines[0], *lines[32:]])):
        cells = part[20].split(",")
        cells[6] = str(int(cells[6]) - 1_800_000)  # repaired, and the next is set aside
        wrong = [*part[:20], ",".join(cells), part[21].replace(",", ",-", 1), *part[22:]]
        written(tmp_path / "in", f"BTCUSDT-1h-{name}.csv", wrong)
    report = import_paths([tmp_path / "in"], tmp_path / "s", now=NOW, write=full)
    assert ["no space left" in file.refused for file in report.files] == [True, True]
    assert [*(tmp_path / "s" / "quarantine").iterdir()] == []
    again = import_paths([tmp_path / "in"], tmp_path / "s", now=NOW, write=Shelf())
    assert [(file.quarantined, file.repaired) for file in again.files] == [(1, 1), (1, 1)]
    assert len([*(tmp_path / "s" / "quarantine").iterdir()]) == 4


def test_a_recorders_file_is_read_stream_by_stream(tmp_path: Path) -> None:
    lines = []
    for n in range(40):
        book = {"e": "depthUpdate", "E": MS + n * 100, "s": "BTCUSDT", "U": n, "u": n, "pu": n - 1, "a": []}
        made = {"e": "trade", "E": MS + n * 100, "T": MS + n * 100, "s": "BTCUSDT", "t": n, "p": "42000", "q": "0.5"}
        ticker = {"e": "bookTicker", "u": n, "s": "BTCUSDT", "b": "9", "B": "1", "a": f"{10 + n / 10}", "A": "2"}
        told = [{**book, "b": [["9", "1"]]}, {**made, "m": True, "X": "MARKET"}]
        told += [{**ticker, "T": MS + n * 100, "E": MS + n * 100}] if n % 2 else []
        lines += [f"{(MS + n * 100) * 10**6} {json.dumps({'stream': 'btcusdt@x', 'data': one})}" for one in told]
    path = written(tmp_path, "btcusdt_20240101.gz", lines)
    shelf = Shelf()
    report = import_paths([path, path], tmp_path / "s", now=NOW, write=shelf)
    assert [(file.kind, file.venue, file.symbol, file.accepted) for file in report.files] == [
        (kind, "binance-futures", "BTCUSDT", rows) for kind, rows in (("book", 40), ("trades", 40), ("quotes", 20))
    ]
    assert [sum(map(len, parts)) for parts in shelf.kept.values()] == [40, 40, 20]
    assert len({file.record_set for file in report.files}) == 3


def test_what_is_hidden_in_a_folder_is_left_alone(tmp_path: Path) -> None:
    for folder in ("in", "in/.cache", "in/deep", "in/deep/.git/x"):
        (tmp_path / folder).mkdir(parents=True)
        written(tmp_path / folder, KLINES, [*lines_of(KLINES), ""])
    written(tmp_path / "in", ".hidden.csv", lines_of(KLINES))
    assert [path.parent.name for path in files_of([tmp_path / "in"])] == ["in", "deep"]
    assert len(files_of([tmp_path / "in" / ".cache"])) == 1
    assert [file.accepted for file in check_paths([tmp_path / "in" / ".hidden.csv"], now=NOW).files] == [60]


def test_files_of_nobody_knows_which_symbol_are_no_one_series(tmp_path: Path) -> None:
    for name, level in (("a", 10), ("b", 900)):
        (tmp_path / name).mkdir()
        chart = {key: [level + n % 3 + 0.5 for n in range(9)] for key in ("open", "high", "low", "close", "volume")}
        paid = [price * price for price in chart["close"]]
        told = {"jsonrpc": "2.0", "result": {**chart, "ticks": [MS + 60_000 * n for n in range(9)], "cost": paid}}
        put(tmp_path / name, "http_get_tradingview_chart_data.json", json.dumps(told).encode())
    report = check_paths([tmp_path], now=NOW)
    assert [(file.symbol, file.rows, file.accepted) for file in report.files] == [("unknown", 9, 9)] * 2, report


def test_a_report_shows_itself(tmp_path: Path) -> None:
    lines = lines_of(TRADES)
    lines[3] = lines[3].replace("True", "Maybe").replace("False", "Maybe")
    path = written(tmp_path, "<b>BTCUSDT.csv", lines)
    report = check_paths([path, tmp_path / "<i>"], now=NOW)
    assert "<b>" not in report._repr_html_()
    assert "&lt;b&gt;" in report._repr_html_()
    told = json.loads(report.to_json())
    assert told["exit_code"] == 2
    assert told["files"][0]["results"][0]["rows"] == [[4, 4]]
    assert len(report.to_frame()) == 2
    assert report.checks()["rows"].tolist() == ["4"]
    assert "unknown side" in repr(report)


def test_the_period_of_a_name() -> None:
    assert period_of("BTCUSDT2020-01-31.csv.gz") == (np.datetime64("2020-01-31"), np.datetime64("2020-02-01"))
    for name in ("BTCUSDT-2020-02-30.csv", "X_2020-01-01_2024-01-01_funding.csv", "BTCUSDT.csv", "x-1234567.csv"):
        assert period_of(name) is None


def test_the_shell_imports_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path / "store"))
    good = written(tmp_path, KLINES, lines_of(KLINES))
    lines = lines_of(KLINES)
    lines[7] = lines[7].replace(",", ",-", 1)
    (tmp_path / "bad").mkdir()
    bad = written(tmp_path / "bad", KLINES, lines)
    told = RUNNER.invoke(app, ["data", "import", str(good), "--json"])
    assert told.exit_code == 0, told.output
    (file,) = json.loads(told.stdout)["files"]
    assert (file["accepted"], bool(file["record_set"])) == (60, True)
    assert RUNNER.invoke(app, ["data", "import", str(bad)]).exit_code == 1
    assert RUNNER.invoke(app, ["data", "import", str(tmp_path / "none")]).exit_code == 2
    checked = RUNNER.invoke(app, ["data", "check", str(bad), "--json"])
    assert checked.exit_code == 1, checked.output
    (kept,) = (tmp_path / "store" / "checks").glob("*.json")
    assert json.loads(kept.read_text()) == json.loads(checked.stdout)
    out = tmp_path / "told.json"
    told = RUNNER.invoke(app, ["data", "check", str(good), "--out", str(out)])
    assert (told.exit_code, out.is_file()) == (0, True), told.output
    assert "BTCUSDT" in told.stdout
    assert RUNNER.invoke(app, ["data", "check", str(tmp_path / "none")]).exit_code == 2


def test_a_store_that_cannot_be_written_costs_no_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").write_text("a file, and no folder")
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path / "store"))
    good = written(tmp_path, KLINES, lines_of(KLINES))
    told = RUNNER.invoke(app, ["data", "check", str(good)])
    assert told.exit_code == 0, told.output
    assert "not kept" in told.output
    asked = RUNNER.invoke(app, ["data", "check", str(good), "--out", str(tmp_path / "store" / "told.json")])
    assert asked.exit_code == 2
    assert isinstance(asked.exception, SystemExit)
    assert "cannot be kept" in asked.output


def test_the_shell_checks_prices_that_are_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path / "store"))
    rows = [f"2024-01-{day:02d},{100 + day},{50 + day}" for day in range(1, 29)]
    told = RUNNER.invoke(app, ["data", "check", str(written(tmp_path, "mine.csv", ["date,A,B", *rows]))])
    assert told.exit_code == 0, told.output
    assert "nothing odd was found" in told.stdout


def chain(strike: str = "{0}") -> list[str]:
    """Calls and puts of one expiry on a flat volatility, as kept in CSV."""
    head = (
        "timestamp,instrument_name,underlying,option_type,strike,expiry_datetime,bid_price,ask_price,mark_price,"
        "implied_volatility,open_interest,volume,currency,index_price"
    )
    out = [head]
    for at, right in ((at, right) for at in range(80, 125, 5) for right in "CP"):
        years = 30 / 365.25
        mark = float(black76(100.0, float(at), 0.6 * years**0.5, right == "C")) / 100
        name = f"BTC-26JAN24-{at}-{right}"
        told = f"{mark - 0.0005:.6f},{mark + 0.0005:.6f},{mark:.6f},0.6,5,2,BTC,100"
        out.append(
            f"2023-12-27 08:00:00+00:00,{name},100,{'call' if right == 'C' else 'put'},{strike.format(at)},"
            f"2024-01-26 08:00:00+00:00,{told}"
        )
    return out


def test_the_shell_checks_chains_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path / "store"))
    (tmp_path / "in").mkdir()
    written(tmp_path / "in", "good.csv", chain())
    told = RUNNER.invoke(app, ["data", "check", str(tmp_path / "in")])
    assert told.exit_code == 0, told.output
    assert "ChainMarket(BTC" in told.stdout
    assert "no quote was left out" in told.stdout
    lines = chain()
    cells = lines[5].split(",")
    cells[6], cells[7] = cells[7], cells[6]
    lines[5] = ",".join(cells)
    written(tmp_path / "in", "worse.csv", lines)
    told = RUNNER.invoke(app, ["data", "check", str(tmp_path / "in")])
    assert told.exit_code == 1, told.output
    assert told.stdout.count("ChainMarket(BTC") == 2
    assert "crossed quotes" in told.stdout


@pytest.mark.shared
@NEEDS_SHARED
def test_the_shell_checks_option_chains_and_says_what_is_no_table_of_prices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARGINLAB_STORE", str(tmp_path))
    folder = SHARED / "znmahbub+SVCJ-Deribit-Inverse-Options-Pricer" / "data"
    chain = folder / "deribit_options_snapshot_20260105T041127Z.csv"
    told = RUNNER.invoke(app, ["data", "check", str(chain)])
    assert told.exit_code == 0, told.output
    assert "ChainMarket(BTC, ETH" in told.stdout
    assert "no quote was left out" in told.stdout
    luna = RUNNER.invoke(app, ["data", "check", str(SHARED / "RobBudaghyan+mark6" / "data" / "LUNAUSDT.csv")])
    assert luna.exit_code == 1
    assert "splice" in luna.stdout
    assert "need a zone" in luna.stderr
    strange = RUNNER.invoke(app, ["data", "check", str(SHARED / "MANIFEST.sha256")])
    assert strange.exit_code == 2
    assert "text that is no table" in strange.stderr


def test_damaged_files_are_refused_quarantined_or_right(tmp_path: Path) -> None:
    tally = fuzz(300, tmp_path)
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.refused + tally.right + sum(tally.as_written.values()) == 300
    assert tally.refused > 100
    assert tally.right > 60
    assert sum(tally.as_written.values()) < 45  # a digit changed in plain text, which nothing but a checksum tells
