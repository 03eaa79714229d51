"""Do the pages of Deribit and of ccxt become files that hold every row once, and no bar that still runs?"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archive_server import START, Archive, FakeTime, serving, status
from data.errors import ParameterError, SourceError
from data.fetch import exchanges, pages
from data.fetch.deribit import Deribit
from data.fetch.exchanges import Exchange
from data.fetch.outcome import Outcome, State
from data.fetch.pages import milliseconds
from data.fetch.waiting import Patience, Waiter
from data.records import Records
from data.sources import ccxt_rows, deribit
from data.sources.raw_files import raw

HOUR = 3_600_000
FEBRUARY, MARCH = (milliseconds(date(2024, month, 1)) for month in (2, 3))
NOW = int(START.timestamp() * 1000)
DAYS = date(2024, 2, 1), date(2024, 3, 9)
INDEX = "public/get_volatility_index_data"
TRADES = "public/get_last_trades_by_instrument_and_time"


class Venue:
    """Deribit's answers, in pages as small as a test likes."""

    def __init__(self, size: int = 100) -> None:
        self.size, self.errors = size, list[dict[str, Any]]()
        draw = random.Random(3)
        stamps = sorted(MARCH + draw.randrange(86_400_000 // 20) * 20 for _ in range(450))
        stamps[200:230] = [stamps[200]] * 30  # one sweep through the book
        self.tape: list[dict[str, Any]] = [
            {"trade_seq": seq, "trade_id": str(1000 + seq), "timestamp": stamp, "price": 60_000.5, "amount": 10.0}
            | {"direction": "buy", "instrument_name": "BTC-PERPETUAL", "index_price": 60_000.1, "mark_price": 60_000.2}
            for seq, stamp in enumerate(sorted(stamps))
        ]

    def __call__(self, path: str, query: dict[str, str]) -> Any:
        if self.errors:
            return {"jsonrpc": "2.0", "error": self.errors.pop(0)}
        begin, end = int(query["start_timestamp"]), int(query["end_timestamp"])
        if path == INDEX:
            return {"jsonrpc": "2.0", "result": self._index(begin, min(end, NOW))}
        if path == TRADES:
            found = [row for row in self.tape if begin <= row["timestamp"] <= end]
            return {"jsonrpc": "2.0", "result": {"trades": found[: self.size], "has_more": len(found) > self.size}}
        hours = range(-(-begin // HOUR) * HOUR, min(end, NOW) + 1, HOUR)
        return {"jsonrpc": "2.0", "result": [{"timestamp": stamp, "interest_1h": 1e-5} for stamp in hours]}

    def _index(self, begin: int, end: int) -> dict[str, Any]:
        stamps = [*range(-(-begin // HOUR) * HOUR, end + 1, HOUR)]
        page = [[stamp, 50.0, 52.0, 49.0, 50.0 + stamp % 7] for stamp in stamps[-self.size :]]
        left = stamps[: -self.size]
        return {"data": page, "continuation": left[-1] if left else None}


@pytest.fixture(scope="module")
def server() -> Iterator[Archive]:
    with serving() as archive:
        yield archive


@pytest.fixture
def archive(server: Archive) -> Archive:
    server.files, server.script, server.answer = {}, {}, Venue()
    server.asked.clear()
    return server


def _deribit(archive: Archive, folder: Path, kind: str, fake: FakeTime | None = None, **asked: Any) -> list[Outcome]:
    web = archive.web(fake or FakeTime())
    first, last = asked.pop("days", DAYS)
    pieces = Deribit(web).pieces([kind], "btc", (), first, last, asked.pop("resolution", "3600"))
    return pages.collect(pieces, folder, web.waiter, progress=False)


def _read(path: Path, layouts: tuple[Any, ...]) -> Records:
    """The one Records of a file, by the one layout that claims it."""
    file = raw(path)
    (layout,) = [layout for layout in layouts if layout.claims(file.head)]
    (found,) = layout.read(file)
    return found  # type: ignore[no-any-return]


def test_pages_that_go_backwards_are_joined_and_a_bar_that_runs_is_left_out(archive: Archive, tmp_path: Path) -> None:
    february, march = _deribit(archive, tmp_path, "dvol")
    assert (february.state, march.state) == (State.FETCHED, State.FETCHED)
    assert "not over" in march.why
    assert february.why == ""
    index = _read(tmp_path / february.file, deribit.LAYOUTS)
    assert (index.kind.name, index.symbol, len(index)) == ("index", "BTC", 29 * 24)
    np.testing.assert_array_equal(np.diff(index["time"]), np.timedelta64(HOUR, "ms"))
    stamps = [row[0] for row in json.loads((tmp_path / march.file).read_text())["result"]["data"]]
    assert stamps == [*range(MARCH, NOW, HOUR)]


def test_a_month_that_is_over_is_asked_for_once_and_the_running_one_again(archive: Archive, tmp_path: Path) -> None:
    _deribit(archive, tmp_path, "dvol")
    archive.asked.clear()
    later = FakeTime()
    later.at = 7200.0
    february, march = _deribit(archive, tmp_path, "dvol", later)
    assert (february.state, march.state) == (State.HERE, State.FETCHED)
    assert archive.times(INDEX) == 3


def test_trades_of_one_instant_on_two_pages_come_once_each(archive: Archive, tmp_path: Path) -> None:
    march = date(2024, 3, 1), date(2024, 3, 2)
    first, second = _deribit(archive, tmp_path, "trades", days=march)
    assert (first.state, second.state) == (State.FETCHED, State.ABSENT)
    assert not (tmp_path / second.file).exists()
    trades = _read(tmp_path / first.file, deribit.LAYOUTS)
    assert trades.symbol == "BTC-PERPETUAL"
    np.testing.assert_array_equal(trades["id"], np.arange(450))


def test_more_trades_at_one_instant_than_a_page_holds_are_not_lost_in_silence(archive: Archive, tmp_path: Path) -> None:
    archive.answer = Venue(size=20)
    (found,) = _deribit(archive, tmp_path, "trades", days=(date(2024, 3, 1), date(2024, 3, 1)))
    assert found.state is State.FAILED
    assert "does not lead on to the next" in found.why
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_funding_is_whole_hours_of_a_month(archive: Archive, tmp_path: Path) -> None:
    february, _ = _deribit(archive, tmp_path, "funding")
    rows = json.loads((tmp_path / february.file).read_text())["result"]
    assert [row["timestamp"] for row in rows] == [*range(FEBRUARY, MARCH, HOUR)]


def test_a_busy_venue_is_asked_again_and_one_that_refuses_is_not(archive: Archive, tmp_path: Path) -> None:
    assert isinstance(archive.answer, Venue)
    archive.answer.errors = [{"code": 10028, "message": "too_many_requests"}]
    archive.next(INDEX, status(502))
    fake = FakeTime()
    assert {one.state for one in _deribit(archive, tmp_path, "dvol", fake)} == {State.FETCHED}
    assert fake.slept == [1.0, 2.0]
    archive.answer.errors = [{"code": -32602, "message": "Invalid params"}] * 2
    found = _deribit(archive, tmp_path / "again", "dvol")
    assert {one.why for one in found} == {f"{INDEX}: Invalid params (-32602)"}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"result": None},
        {"result": {"data": None}},
        {"result": {"data": [["x", 1, 2, 3, 4]]}},
        {"result": {"data": [[FEBRUARY, 1, 2, 3]]}},
        {"result": {"data": [[FEBRUARY, 1, 2, 3, 4]], "continuation": NOW * 2}},
        {"result": {"data": [], "continuation": FEBRUARY + 5}},
    ],
)
def test_an_answer_of_another_form_is_a_failure(archive: Archive, tmp_path: Path, answer: Any) -> None:
    archive.answer = lambda path, query: answer
    days = date(2024, 2, 1), date(2024, 2, 2)
    assert {one.state for one in _deribit(archive, tmp_path, "dvol", days=days)} == {State.FAILED}


def test_an_answer_that_is_cut_is_asked_for_again(archive: Archive, tmp_path: Path) -> None:
    archive.next(INDEX, lambda handler, _: handler.say(200, b'{"result"', Content_Length="5000", Connection="close"))
    fake = FakeTime()
    web = archive.web(fake, read=0.05)
    pieces = Deribit(web).pieces(["dvol"], "BTC", (), *DAYS, "3600")
    assert {one.state for one in pages.collect(pieces, tmp_path, web.waiter, progress=False)} == {State.FETCHED}
    assert fake.slept == [1.0]


def test_requests_keep_their_distance(archive: Archive, tmp_path: Path) -> None:
    fake = FakeTime()
    web = archive.web(fake)
    web.waiter.interval = 0.25
    pages.collect(Deribit(web).pieces(["dvol"], "BTC", (), *DAYS, "3600"), tmp_path, web.waiter, progress=False)
    assert fake.slept == [0.25] * (archive.times(INDEX) - 1)


def test_what_is_in_a_files_place_and_not_ours_stays(archive: Archive, tmp_path: Path) -> None:
    place = tmp_path / "dvol/BTC/BTC-DVOL_3600_2024-02.json"
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    february, march = _deribit(archive, tmp_path, "dvol")
    assert (february.state, march.state) == (State.FAILED, State.FETCHED)
    assert place.read_text() == "mine"


def test_a_kill_while_a_file_is_written_leaves_none(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("data.storage.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            _deribit(archive, tmp_path, "dvol")
    assert not [*tmp_path.rglob("*.json")]
    assert {one.state for one in _deribit(archive, tmp_path, "dvol")} == {State.FETCHED}


@pytest.mark.parametrize(
    ("kinds", "currency", "resolution", "said"),
    [
        (["dvol"], "BTC", "7", "the resolution must be one of"),
        (["quotes"], "BTC", "60", "the kinds must be of"),
        ([], "BTC", "60", "the kinds must be of"),
        (["dvol"], "../x", "60", "must be a name such as BTC"),
    ],
)
def test_what_deribit_has_not_is_refused(
    archive: Archive, kinds: list[str], currency: str, resolution: str, said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        Deribit(archive.web(FakeTime())).pieces(kinds, currency, (), *DAYS, resolution)


class Passing(Exception):
    """What ccxt raises where the network is at fault."""


class Client:
    """An exchange as ccxt has it, listed from 2024-02-03, that fails now and then."""

    listed = FEBRUARY + 48 * HOUR

    def __init__(self, fails: int = 0, limit: int = 300) -> None:
        self.has = {"fetchOHLCV": True, "fetchFundingRateHistory": True}
        self.timeframes = {"1h": "1h", "1d": "1d"}
        self.fails, self.limit, self.asked = fails, limit, Counter[str]()

    def parse_timeframe(self, step: str) -> int:
        return {"1h": 3600, "1d": 86_400}[step]

    def fetch_ohlcv(self, symbol: str, step: str, since: int, limit: int) -> list[list[float]]:
        self._ask(symbol)
        return [[stamp, 1.0, 3.0, 0.5, 2.0, 7.0] for stamp in self._stamps(since, HOUR)]

    def fetch_funding_rate_history(self, symbol: str, since: int, limit: int) -> list[dict[str, Any]]:
        self._ask(symbol)
        return [
            {"symbol": symbol, "fundingRate": 1e-4, "timestamp": stamp, "datetime": "", "info": {}}
            for stamp in self._stamps(since, 8 * HOUR)
        ]

    def _stamps(self, since: int, step: int) -> list[int]:
        begin = max(self.listed, -(-since // step) * step)
        return [*range(begin, NOW + 1, step)][: self.limit]

    def _ask(self, symbol: str) -> None:
        self.asked[symbol] += 1
        if self.fails:
            self.fails -= 1
            raise Passing("timed out")


def _ccxt(client: Any, folder: Path, kinds: list[str], symbols: list[str]) -> list[Outcome]:
    waiter = Waiter(FakeTime().timing, Patience(3))
    asked = Exchange("binance", client, (Passing,), waiter)
    return pages.collect(asked.pieces(kinds, symbols, *DAYS), folder, waiter, progress=False)


def test_candles_and_funding_of_an_exchange_are_whole_and_readable(tmp_path: Path) -> None:
    found = _ccxt(Client(fails=2), tmp_path, ["ohlcv-1h", "funding"], ["BTC/USDT:USDT"])
    assert [one.state for one in found] == [State.FETCHED] * 4
    candles = _read(tmp_path / found[0].file, ccxt_rows.LAYOUTS)
    assert (candles.venue, candles.symbol, len(candles)) == ("binance", "BTC-USDT-USDT", 27 * 24)
    running = _read(tmp_path / found[1].file, ccxt_rows.LAYOUTS)
    assert running["time"].max() == np.datetime64(START.replace(tzinfo=None), "ns")
    funding = _read(tmp_path / found[2].file, ccxt_rows.LAYOUTS)
    assert (funding.kind.name, funding.symbol, len(funding)) == ("funding", "BTC/USDT:USDT", 27 * 3)


def test_an_exchange_that_stays_away_is_a_failure(tmp_path: Path) -> None:
    client = Client(fails=99)
    (february, _) = _ccxt(client, tmp_path, ["ohlcv-1h"], ["BTC/USDT"])
    assert (february.state, february.why) == (State.FAILED, "binance: Passing: timed out (3 attempts)")


def _broken(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


@pytest.mark.parametrize("answer", [None, {}, ["x"], [{}], [[None, 1]], [[]]])
def test_rows_without_a_stamp_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    client = Client()
    monkeypatch.setattr(client, "fetch_ohlcv", _broken(answer))
    assert {one.state for one in _ccxt(client, tmp_path, ["ohlcv-1h"], ["BTC/USDT"])} == {State.FAILED}


@pytest.mark.parametrize(
    ("kinds", "symbols", "said"),
    [
        (["ohlcv"], ["BTC/USDT"], "the kinds must be"),
        (["funding-8h"], ["BTC/USDT"], "the kinds must be"),
        (["ohlcv-7h"], ["BTC/USDT"], "binance has the steps 1h, 1d"),
        (["funding"], ["../../BTC"], "a symbol must be as ccxt has it"),
        (["funding"], [], "a symbol and a kind at least"),
    ],
)
def test_what_the_exchange_has_not_is_refused(tmp_path: Path, kinds: list[str], symbols: list[str], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        _ccxt(Client(), tmp_path, kinds, symbols)
    client = Client()
    client.has = {}
    with pytest.raises(ParameterError):
        _ccxt(client, tmp_path, kinds, symbols)


def test_without_ccxt_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(exchanges, "import_module", missing)
    with pytest.raises(SourceError, match="pip install ccxt"):
        exchanges.exchange("binance")
