"""Does a synthetic tape obey its law, and do its files say what it holds?"""

from pathlib import Path

import numpy as np
import pytest

from data import ParameterError
from data.catalog import read_records
from data.flow.book import BookPath, follow, mid
from data.imports import import_paths
from data.sources.recognise import read_records as raw_records
from data.sources.synthetic_files import PLANTED, TORN_STEPS, torn_step, write_stream, write_trades
from data.sources.synthetic_tape import STEP, SyntheticTape, TapeLaw, crash_tape

SHORT = TapeLaw(steps=1600, crash=1200, levels=30)
LONG = TapeLaw(steps=60_000, crash=59_000, levels=2)
WIDTH = 10


@pytest.fixture(scope="module")
def tape() -> SyntheticTape:
    return crash_tape(SHORT)


@pytest.fixture(scope="module")
def book(tape: SyntheticTape, tmp_path_factory: pytest.TempPathFactory) -> BookPath:
    path = write_stream(tape, tmp_path_factory.mktemp("stream"), planted=False)
    return follow(raw_records(path), bands=(0.001, 0.002), step=1.0)


def correlations(tape: SyntheticTape, ahead: int) -> float:
    """Of flow with the move of the quoted mid so many intervals later, before the crash."""
    rows = tape.law.crash // WIDTH
    flow = tape.flow[: rows * WIDTH].reshape(rows, WIDTH).sum(axis=1)
    move = np.diff(tape.quotes.mean(axis=1)[: rows * WIDTH + 1 : WIDTH])
    return float(np.corrcoef(flow[: rows - ahead], move[ahead:])[0, 1])


def test_flow_leads_the_mid_by_as_much_as_the_law_says() -> None:
    long = crash_tape(LONG, seed=1)
    error = 4.0 / np.sqrt(LONG.crash / WIDTH)
    truth = {ahead: LONG.correlation(WIDTH, WIDTH * ahead) for ahead in range(5)}
    assert truth[0] > 0.45
    assert truth[2] > 0.45
    assert truth[1] == truth[3] == truth[4] == 0.0
    for ahead, true in truth.items():
        assert abs(correlations(long, ahead) - true) < error, ahead


@pytest.mark.parametrize(("width", "ahead"), [(30, 0), (30, 1), (15, 1), (15, 2)])
def test_the_law_also_holds_where_intervals_and_lead_overlap(width: int, ahead: int) -> None:
    long = crash_tape(LONG, seed=2)
    rows = LONG.crash // width
    flow = long.flow[: rows * width].reshape(rows, width).sum(axis=1)
    move = np.diff(long.quotes.mean(axis=1)[: rows * width + 1 : width])
    got = np.corrcoef(flow[: rows - ahead], move[ahead:])[0, 1]
    assert abs(got - LONG.correlation(width, width * ahead)) < 4.0 / np.sqrt(rows)


def test_the_best_quotes_lean_the_way_the_price_will_go() -> None:
    long = crash_tape(LONG, seed=3)
    at = np.arange(LONG.lead, LONG.crash - LONG.lead, LONG.lead)
    come = long.mid[at + LONG.lead] - long.mid[at]
    slope = np.sum(come * long.pending[at]) / np.sum(long.pending[at] ** 2)
    assert slope == pytest.approx(1.0, abs=0.15)  # what is pending is what is expected
    lean = np.log(long.best[at, 0] / long.best[at, 1])
    assert np.corrcoef(lean, come)[0, 1] > 0.3


def test_flow_brings_the_price_down_in_the_crash_and_depth_is_gone_by_then(tape: SyntheticTape) -> None:
    law = tape.law
    after = law.crash + law.crash_steps + law.lead
    assert tape.mid[after] / tape.mid[law.crash] - 1 == pytest.approx(-law.fall, abs=0.006)
    assert tape.rest[law.crash + law.lead] == pytest.approx(law.thinned * law.size)
    assert tape.rest[: law.crash + 1].min() == law.size


def test_signed_trades_of_a_step_add_up_to_its_flow(tape: SyntheticTape) -> None:
    trades = tape.trades
    step = ((trades["time"] - tape.time[0]) // STEP).astype(int)
    signed = np.bincount(step, trades["side"] * trades["size"], minlength=tape.law.steps)
    np.testing.assert_allclose(signed, tape.flow, atol=1e-9)
    quoted = tape.quotes[step, np.where(trades["side"] > 0, 1, 0)]
    assert np.array_equal(trades["price"], quoted)


def test_the_stream_gives_back_the_book(tape: SyntheticTape, book: BookPath) -> None:
    assert (book.faults.gaps, book.faults.crossed, book.faults.refused) == (0, 0, 0)
    quotes = book.quotes
    at = np.searchsorted(quotes["time"], tape.time[2:], side="right") - 1
    for place, side in enumerate(("bid", "ask")):
        assert np.array_equal(quotes[side][at], tape.quotes[2:, place])
        np.testing.assert_allclose(quotes[f"{side}_size"][at], tape.best[2:, place], atol=1e-9)
    assert np.array_equal(mid(quotes)[at], tape.quotes[2:].mean(axis=1))


def test_what_was_planted_is_found_by_name_and_nothing_else_is_lost(tape: SyntheticTape, tmp_path: Path) -> None:
    files = write_trades(tape, tmp_path), write_stream(tape, tmp_path)
    trades, book = import_paths(files, tmp_path / "store").files
    found = {one.check.name: one.count for one in trades.results}
    assert found == dict.fromkeys(PLANTED, 1) | {"out of order": 2}
    (kept,) = read_records(trades.record_set, tmp_path / "store")
    for name in ("time", "price", "size", "side", "id"):
        assert np.array_equal(kept[name], tape.trades[name]), name
    assert [one.check.name for one in book.results if one.check.outcome == "quarantine"] == ["torn line"]


def test_a_torn_message_loses_the_book_until_the_next_whole_one(tape: SyntheticTape, tmp_path: Path) -> None:
    (brought,) = import_paths([write_stream(tape, tmp_path)], tmp_path / "store").files
    path = follow(read_records(brought.record_set, tmp_path / "store"))
    assert path.faults.repeated == 1
    quotes, torn = path.quotes, torn_step(tape)
    at = np.searchsorted(quotes["time"], tape.time, side="right") - 1
    step = np.arange(len(tape.time))
    lost = (step > torn) & (step <= torn + TORN_STEPS)
    there = (step > 1) & (step < torn) | (step > torn + TORN_STEPS + 2)
    assert np.isnan(quotes["bid"][at[lost]]).mean() > 0.7  # at most until the next message shows it
    assert np.array_equal(quotes["bid"][at[there]], tape.quotes[there, 0])


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "other"
    written = []
    for folder in folders:
        folder.mkdir()
        made = crash_tape(SHORT)
        written.append([write(made, folder).read_bytes() for write in (write_trades, write_stream)])
    assert written[0] == written[1]


@pytest.mark.parametrize(
    "change", [{"crash": 7150}, {"now": 0.6, "later": 0.6}, {"fall": 0.9}, {"levels": 1}, {"lead": 0}, {"thinned": 0.0}]
)
def test_a_law_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="a tape needs"):
        TapeLaw(**change)  # type: ignore[arg-type]
