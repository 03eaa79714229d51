"""What of a fetch outlives a kill, a full disk, a second process and a hand that meddles with its files?"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive_server import LARGE, PATH, Archive, FakeTime, cut, drip, fetched, files, only, serving, wanted
from data.errors import ParameterError, SourceError
from data.fetch import transfer
from data.fetch.journal import Journal, alone
from data.fetch.outcome import State
from data.fetch.unfinished import Unfinished
from data.fetch.web import Web


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


def test_a_disk_without_room_is_a_failure_before_the_first_byte(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.publish(PATH, LARGE)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "it needs 300,000 bytes more" in only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED).why


def test_a_disk_that_fails_is_a_failure_and_not_the_servers(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.publish(PATH, LARGE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Unfinished, "finish", full)
    assert "No space left" in only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED).why
    assert archive.times(PATH) == 1
    monkeypatch.undo()
    archive.asked.clear()
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    assert archive.times(PATH) == 0  # all of it had come


def test_a_file_that_is_not_ours_is_left_alone_and_the_right_one_is_taken_over(
    archive: Archive, tmp_path: Path
) -> None:
    archive.publish(PATH, LARGE)
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).write_bytes(b"mine")
    assert "move it away" in only(fetched(archive.web(FakeTime()), tmp_path), State.FAILED).why
    assert (tmp_path / PATH).read_bytes() == b"mine"
    (tmp_path / PATH).write_bytes(LARGE)
    only(fetched(archive.web(FakeTime()), tmp_path), State.HERE)
    assert archive.times(PATH) == 0


def test_a_file_that_was_damaged_since_comes_again(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    fetched(archive.web(FakeTime()), tmp_path)
    (tmp_path / PATH).write_bytes(LARGE[:-1])
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    (tmp_path / PATH).write_bytes(LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
    only(fetched(archive.web(FakeTime()), tmp_path), State.HERE)
    only(fetched(archive.web(FakeTime()), tmp_path, verify=True), State.FETCHED)
    assert (tmp_path / PATH).read_bytes() == LARGE


def test_nobody_there_is_said_without_waiting_for_every_file(tmp_path: Path) -> None:
    with serving() as gone:
        pass
    fake = FakeTime()
    paths = [PATH.replace("-01.zip", f"-{month:02d}.zip") for month in range(1, 11)]
    plan = [wanted(path) for path in paths]
    outcomes = transfer.fetch(plan, tmp_path, gone.web(fake, attempts=2), jobs=1, progress=False)
    assert {one.state for one in outcomes} == {State.FAILED}
    assert sum("could not reach 127.0.0.1" in one.why for one in outcomes) == 3
    assert sum("not tried" in one.why for one in outcomes) == 7
    assert len(fake.slept) == 3


def test_one_process_fetches_to_a_folder(archive: Archive, tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(SourceError, match="another process is fetching"):
        fetched(archive.web(FakeTime()), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="one to write in"):
        fetched(archive.web(FakeTime()), tmp_path / "file")


def test_a_journal_that_a_kill_cut_is_read_and_gone_on_with(archive: Archive, tmp_path: Path) -> None:
    archive.publish(PATH, LARGE)
    fetched(archive.web(FakeTime()), tmp_path)
    journal = tmp_path / ".fetched.jsonl"
    (line,) = journal.read_text().splitlines()
    facts = json.loads(line)
    assert (facts["file"], facts["size"], facts["verified"]) == (PATH, len(LARGE), True)
    journal.write_text(line[:-20])
    archive.asked.clear()
    only(fetched(archive.web(FakeTime()), tmp_path), State.HERE)
    assert archive.times(PATH) == 0
    assert Journal(tmp_path, FakeTime().timing).holds(PATH, verify=True)
    assert len(journal.read_text().splitlines()) == 2


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    for base in ("ftp://x/", "data.binance.vision", "https://me:secret@x/", "https://x/?a=b", "http://[x"):
        with pytest.raises(ParameterError, match="base address") as raised:
            Web(base)
        assert "secret" not in str(raised.value)
    with pytest.raises(ParameterError, match="jobs must be 1 to 32, got 0"):
        transfer.fetch([], tmp_path, Web("http://127.0.0.1:9/"), jobs=0)


CHILD = """
import sys
from pathlib import Path
from data.fetch.plan import Wanted
from data.fetch.transfer import fetch
from data.fetch.web import Web
fetch([Wanted("g", "p", sys.argv[3])], Path(sys.argv[2]), Web(sys.argv[1]), progress=False)
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_in_the_middle_leaves_what_the_next_run_goes_on_from(
    archive: Archive, tmp_path: Path, blow: signal.Signals
) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, drip(150_000, pause=0.01))
    child = subprocess.Popen([sys.executable, "-c", CHILD, archive.base, str(tmp_path), PATH])
    try:
        for _ in range(3000):
            part = next(tmp_path.glob(".unfinished/*.part"), None)
            if (part is not None and part.stat().st_size) or child.poll() is not None:
                break
            time.sleep(0.01)
        os.kill(child.pid, blow)
    finally:
        child.wait(timeout=20)
    assert child.returncode == -blow
    assert not (tmp_path / PATH).exists()
    assert all(path.name.startswith(".") for path in tmp_path.rglob("*") if path.is_file())  # nothing that is read
    only(fetched(archive.web(FakeTime()), tmp_path), State.FETCHED)
    assert (tmp_path / PATH).read_bytes() == LARGE
    assert int(archive.asked[-1].headers["Range"].removeprefix("bytes=").removesuffix("-")) > 0
    assert files(tmp_path) == [PATH]


def test_a_proxy_of_the_environment_is_asked(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.publish(PATH, LARGE)
    monkeypatch.setenv("http_proxy", archive.base)
    only(fetched(Web("http://archive.invalid/"), tmp_path), State.FETCHED)
    assert archive.asked[-1].headers["Host"] == "archive.invalid"
    assert archive.asked[-1].headers["User-Agent"] == "marginlab"


@pytest.mark.parametrize("call", ["replace", "fsync", "open"])
@pytest.mark.parametrize("number", range(1, 8))
def test_a_blow_at_any_write_leaves_whole_files_and_the_next_run_ends_it(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    archive.publish(PATH, LARGE)
    archive.next(PATH, cut(200_000))
    done, calls = getattr(os, call), iter(range(1, 1000))

    def struck(*arguments: object, **more: object) -> object:
        if next(calls) == number:
            raise KeyboardInterrupt
        return done(*arguments, **more)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(os, call, struck)
        fetched(archive.web(FakeTime()), tmp_path)
    assert not (tmp_path / PATH).exists() or (tmp_path / PATH).read_bytes() == LARGE
    (outcome,) = fetched(archive.web(FakeTime()), tmp_path)
    assert outcome.state in (State.FETCHED, State.HERE)
    assert (tmp_path / PATH).read_bytes() == LARGE
    assert Journal(tmp_path, FakeTime().timing).holds(PATH, verify=True)
    assert files(tmp_path) == [PATH]
