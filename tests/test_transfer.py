"""Does a file come whole from a server that misbehaves, or not at all?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_server import (
    LARGE,
    PATH,
    Archive,
    FakeTime,
    Trick,
    announce,
    broken,
    cut,
    drip,
    endless,
    fetched,
    files,
    klines,
    moved,
    only,
    other,
    serving,
    status,
    wanted,
    whole,
)
from data.fetch import transfer
from data.fetch.outcome import State
from data.sources.recognise import recognise

DAYS = tuple(PATH.replace("monthly", "daily").replace("-01.zip", f"-01-{day:02d}.zip") for day in (1, 2))


@pytest.fixture(scope="module")
def server() -> Iterator[Archive]:
    with serving() as archive:
        yield archive


@pytest.fixture
def archive(server: Archive) -> Archive:
    """The server, which has forgotten what other tests did."""
    server.files, server.script, server.answer = {}, {}, None
    server.asked.clear()
    return server


def test_files_come_whole_and_are_asked_for_once(archive: Archive, tmp_path: Path) -> None:
    content, more = archive.publish(PATH, klines("BTCUSDT", "2024-01")), PATH.replace("BTC", "ETH")
    archive.publish(more, klines("ETHUSDT", "2024-01"))
    first = fetched(archive.web(FakeTime()), tmp_path, PATH, more)
    assert (first[0].state, first[0].file, first[0].size) == (State.FETCHED, PATH, len(content))
    assert (tmp_path / PATH).read_bytes() == content
    assert (tmp_path / f"{PATH}.CHECKSUM").read_bytes() == archive.files[f"{PATH}.CHECKSUM"]
    assert files(tmp_path) == sorted([PATH, more])
    archive.asked.clear()
    again = fetched(archive.web(FakeTime()), tmp_path, PATH, more)
    assert [one.state for one in again] == [State.HERE, State.HERE]
    assert archive.asked == []
    bars = [*recognise(tmp_path / PATH).records()]
    assert sum(len(batch) for batch in bars) == 24
    np.testing.assert_array_equal(bars[0]["close"][:3], [40_001.0, 40_008.0, 40_015.0])


def test_a_month_that_is_not_published_is_a_finding_and_its_days_come_instead(archive: Archive, tmp_path: Path) -> None:
    archive.publish(DAYS[1], klines("BTCUSDT", "2024-01-02"))
    found = only(fetched(archive.web(FakeTime()), tmp_path), State.ABSENT)
    assert found.size == 0
    days = tuple(wanted(path) for path in DAYS)
    outcomes = transfer.fetch([wanted(instead=days)], tmp_path, archive.web(FakeTime()), progress=False)
    assert [(one.file, one.state) for one in outcomes] == [(DAYS[0], State.ABSENT), (DAYS[1], State.FETCHED)]
    assert files(tmp_path) == [DAYS[1]]


def test_one_connection_asks_for_many_files(archive: Archive, tmp_path: Path) -> None:
    paths = [PATH.replace("-01.zip", f"-{month:02d}.zip") for month in range(1, 13)]
    archive.publish(paths[-1], LARGE)
    plan = [wanted(path) for path in paths]
    found = transfer.fetch(plan, tmp_path, archive.web(FakeTime()), jobs=1, progress=False)
    assert [one.state for one in found] == [State.ABSENT] * 11 + [State.FETCHED]
    assert len({one.port for one in archive.asked}) == 1


@pytest.mark.parametrize(
    ("code", "header", "seconds"),
    [(429, "17", 17.0), (418, "Sun, 10 Mar 2024 12:02:00 GMT", 120.0), (503, "0", 0.0)],
)
def test_a_server_that_asks_for_time_gets_it(
    archive: Archive, tmp_path: Path, code: int, header: str, seconds: float
) -> None:
    fake = FakeTime()
    archive.publish(PATH, LARGE)
    archive.next(PATH, status(code, Retry_After=header))
    only(fetched(archive.web(fake), tmp_path), State.FETCHED)
    assert sum(fake.slept) == pytest.approx(seconds)
    assert archive.times(PATH) == 2


def test_a_server_that_asks_for_hours_is_given_up_with_its_words(archive: Archive, tmp_path: Path) -> None:
    fake = FakeTime()
    archive.publish(PATH, LARGE)
    archive.next(PATH, status(429, Retry_After="7200"))
    found = only(fetched(archive.web(fake), tmp_path), State.FAILED)
    assert "429" in found.why
    assert "7200 s" in found.why
    assert (fake.slept, files(tmp_path)) == ([], [])


def test_pauses_double_and_end(archive: Archive, tmp_path: Path) -> None:
    fake = FakeTime()
    archive.publish(PATH, LARGE)
    archive.next(PATH, *[status(500)] * 9)
    found = only(fetched(archive.web(fake), tmp_path), State.FAILED)
    assert found.why == "the server answered 500 (6 attempts)"
    assert fake.slept == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_refusal_is_not_repeated(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, status(451))
    found = only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED)
    assert "451 (not served where you are?)" in found.why
    assert archive.times(PATH) == 1


@pytest.mark.parametrize(("trick", "least"), [(cut(123_457), 123_457), (broken(123_457), 0)])
def test_what_broke_off_goes_on_where_it_was(archive: Archive, tmp_path: Path, trick: Trick, least: int) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, trick)
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    assert (tmp_path / PATH).read_bytes() == LARGE
    first, second = [one.headers for one in archive.asked if one.path == PATH]
    assert "Range" not in first
    begin = int(second.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    assert least <= begin <= 123_457  # a reset may take with it what had not been read
    assert files(tmp_path) == [PATH]


def test_what_broke_off_for_good_goes_on_in_the_next_run(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, cut(100_000), status(403))
    only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED)
    assert not (tmp_path / PATH).exists()
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    assert archive.asked[-1].headers["Range"] == "bytes=100000-"
    assert (tmp_path / PATH).read_bytes() == LARGE


def test_a_transfer_that_gets_on_is_not_given_up(archive: Archive, tmp_path: Path) -> None:
    content = archive.publish(PATH, LARGE * 16)
    archive.next(PATH, *[cut(1_200_000)] * 3)
    only(fetched(archive.web(FakeTime(), attempts=2), tmp_path), State.FETCHED)
    assert (tmp_path / PATH).read_bytes() == content
    archive.next(DAYS[0], *[cut(1_000)] * 3)
    archive.publish(DAYS[0], content)
    only(fetched(archive.web(FakeTime(), attempts=2), tmp_path, DAYS[0]), State.FAILED)


def test_a_server_without_ranges_sends_all_again(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, cut(100_000), whole)
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    assert (tmp_path / PATH).read_bytes() == LARGE


def test_a_file_that_changes_meanwhile_is_not_joined_of_two(archive: Archive, tmp_path: Path) -> None:
    newer = bytes(reversed(LARGE)) + b"more"

    def republished(handler: object, content: bytes) -> None:
        cut(100_000)(handler, content)  # type: ignore[arg-type]
        archive.publish(PATH, newer)

    archive.publish(PATH, LARGE)
    archive.next(PATH, republished)
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    assert (tmp_path / PATH).read_bytes() == newer
    assert archive.times(PATH) == 2


def test_a_server_that_goes_on_with_another_file_is_noticed(archive: Archive, tmp_path: Path) -> None:
    def another(handler: object, content: bytes) -> None:
        handler.say(206, content[99:], ETag='"x"', Content_Range=f"bytes 99-{len(content) - 1}/{len(content)}")  # type: ignore[attr-defined]

    archive.publish(PATH, LARGE)
    archive.next(PATH, cut(100), another)
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    assert (tmp_path / PATH).read_bytes() == LARGE
    assert archive.times(PATH) == 3


def test_wrong_bytes_are_asked_for_once_more_and_never_put_in_place(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, other(LARGE[::-1]))
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    wrong = PATH.replace("01.zip", "02.zip")
    archive.publish(wrong, LARGE, "0" * 64)
    found = only(fetched(archive.web(FakeTime()), tmp_path, wrong), State.FAILED)
    assert "expected the sha256 0000" in found.why
    assert (archive.times(wrong), files(tmp_path)) == (2, [PATH])


def test_without_a_checksum_only_a_whole_zip_is_taken_and_only_if_asked(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, klines("BTCUSDT", "2024-01"), None)
    found = only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED)
    assert "no checksum is published" in found.why
    assert archive.times(PATH) == 0
    assert only(fetched(archive.web(FakeTime()), tmp_path, unverified=True), State.FETCHED).why.startswith(
        "no checksum"
    )
    damaged = bytearray(klines("BTCUSDT", "2024-02"))
    damaged[100] ^= 1
    archive.publish(PATH.replace("-01.zip", "-02.zip"), bytes(damaged), None)
    refused = fetched(archive.web(FakeTime()), tmp_path, PATH.replace("-01.zip", "-02.zip"), unverified=True)
    only(refused, State.FAILED)
    assert files(tmp_path) == [PATH]


@pytest.mark.parametrize("said", [b"<html>sorry</html>", b"", b"ab  BTCUSDT.zip", b"0" * 64 + b"  another.zip"])
def test_a_checksum_that_is_none_is_a_failure(archive: Archive, tmp_path: Path, said: bytes) -> None:
    archive.publish(PATH, LARGE)
    archive.files[PATH + ".CHECKSUM"] = said
    assert "must be a sha256" in only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED).why
    assert archive.times(PATH) == 0


def test_a_slow_drip_ends(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, drip(0), drip(0))
    web = archive.web(FakeTime(tick=1.0), attempts=2)
    found = only(fetched(web, tmp_path), State.FAILED)
    assert "slower than 1024 bytes a second" in found.why
    assert archive.asked[-1].headers["Range"].startswith("bytes=")


def test_a_stall_ends(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, drip(1000, pause=0.5, pieces=1))
    only(fetched(archive.web(FakeTime(), read=0.05), tmp_path), State.FETCHED)
    assert archive.times(PATH) == 2


@pytest.mark.parametrize("address", ["https://127.0.0.1/x.zip", "file:///etc/passwd", "ftp://127.0.0.1/x.zip"])
def test_a_redirect_to_another_scheme_is_refused(archive: Archive, tmp_path: Path, address: str) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, moved(address))
    found = only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED)
    assert found.why.startswith("redirected from http to ")
    assert files(tmp_path) == []


def test_a_redirect_within_the_scheme_is_followed_but_not_for_ever(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.files["elsewhere.zip"] = LARGE
    archive.next(PATH, moved("/elsewhere.zip"))
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    circle = PATH.replace("-01.zip", "-02.zip")
    archive.publish(circle, LARGE)
    archive.next(circle, *[moved(f"/{circle}")] * 20)
    found = only(fetched(archive.web(FakeTime()), tmp_path, circle), State.FAILED)
    assert found.why == "redirected more than 5 times"


def test_a_gigantic_file_is_refused_by_what_it_announces(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, announce(1 << 50))
    found = only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED)
    assert "it announces 1,125,899,906,842,624 bytes" in found.why
    assert archive.times(PATH) == 1


def test_an_endless_answer_is_cut(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, endless)
    found = only(fetched(archive.web(FakeTime(), largest=1_000_000), tmp_path), State.FAILED)
    assert found.why == "expected 1,000,000 bytes at most, got more"
    archive.next(PATH + ".CHECKSUM", endless)
    assert "65,536 bytes at most" in only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED).why


TRICKS = st.one_of(
    st.integers(0, 3000).map(cut),
    st.integers(0, 3000).map(broken),
    st.sampled_from([status(500), status(429, Retry_After="3"), status(416), status(404), status(403), whole]),
    st.sampled_from([announce(4000), announce(2000), other(LARGE[:3000][::-1]), other(b"")]),
)


@settings(max_examples=25, deadline=None)
@given(tricks=st.lists(TRICKS, max_size=7), runs=st.integers(1, 3))
def test_whatever_goes_wrong_the_file_is_the_right_one_or_none(
    server: Archive, tmp_path_factory: pytest.TempPathFactory, tricks: list[Trick], runs: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    server.files, server.script = {}, {}
    content = server.publish(PATH, LARGE[:3000])
    server.next(PATH, *tricks)
    for _ in range(runs):
        (outcome,) = fetched(server.web(FakeTime()), folder)
        there = (folder / PATH).exists()
        assert there == (outcome.state in (State.FETCHED, State.HERE))
        assert not there or (folder / PATH).read_bytes() == content
    server.script = {}
    fetched(server.web(FakeTime()), folder)
    assert (folder / PATH).read_bytes() == content
    assert files(folder) == [PATH]
