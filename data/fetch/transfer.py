"""How does a file of an archive come here: resumed, checked by its checksum, and only then put where it is read?"""

import contextlib
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import ParameterError, SourceError
from data.fetch.journal import Journal, alone, sha256_of_file
from data.fetch.outcome import Outcome, State
from data.fetch.plan import Wanted
from data.fetch.unfinished import FOLDER as UNFINISHED
from data.fetch.unfinished import Unfinished, Version
from data.fetch.waiting import TryAgain
from data.fetch.web import Absent, Web, length_of
from data.storage import write_whole

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CHECKSUM = ".CHECKSUM"
MOST_JOBS = 32
_LINE = re.compile(r"([0-9a-fA-F]{64})(?:\s+\*?(\S.*?))?\s*")
_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")
_MISMATCHES = 2  # of one file: a whole transfer is dear, and the archive's own mistake does not go away


def fetch(
    plan: Sequence[Wanted],
    folder: Path,
    web: Web,
    *,
    jobs: int = 4,
    unverified: bool = False,
    verify: bool = False,
    progress: bool = True,
) -> list[Outcome]:
    """Bring the files of a plan into a folder, skipping those that are there; one failure does not stop the others.

    A kill at any moment leaves whole files and a journal; the next call goes on from there, within a file too.

    Parameters
    ----------
    jobs : transfers at a time, 1 to 32.
    unverified : take a zip without a published checksum, if its own sums are right.
    verify : read the files that are here again, and fetch those that changed since.

    Raises
    ------
    SourceError
        Where the folder cannot be written, or another process fetches to it.
    ParameterError
        If `jobs` is out of range.
    """
    if not 1 <= jobs <= MOST_JOBS:
        raise ParameterError(f"jobs must be 1 to {MOST_JOBS}, got {jobs}")
    with alone(folder):
        transfer = Transfer(folder, web, Journal(folder, web.waiter.timing), unverified=unverified, verify=verify)
        found = dict(_all(transfer, plan, jobs, progress))
        _clear(folder)
    return [outcome for wanted in plan for outcome in found[wanted]]


def _all(
    transfer: "Transfer", plan: Sequence[Wanted], jobs: int, progress: bool
) -> Iterator[tuple[Wanted, list[Outcome]]]:
    from tqdm.auto import tqdm

    with ThreadPoolExecutor(jobs) as threads, tqdm(total=len(plan), unit="file", disable=not progress) as bar:
        running = {threads.submit(transfer.bring, wanted): wanted for wanted in dict.fromkeys(plan)}
        size = 0
        try:
            for done in as_completed(running):
                outcomes = done.result()
                size += sum(outcome.size for outcome in outcomes if outcome.state is State.FETCHED)
                bar.set_postfix_str(f"{size / 1e6:.1f} MB, {running[done].group}", refresh=False)
                bar.update()
                yield running[done], outcomes
        except BaseException:
            transfer.web.waiter.stop.set()
            threads.shutdown(wait=True, cancel_futures=True)
            raise


def _clear(folder: Path) -> None:
    """Take the folder of what is unfinished away where nothing is."""
    with contextlib.suppress(OSError):
        (folder / UNFINISHED).rmdir()


class Transfer:
    """Brings files of one archive into one folder; its methods may run in any thread.

    Parameters are those of `fetch`.
    """

    def __init__(
        self, folder: Path, web: Web, journal: Journal, *, unverified: bool = False, verify: bool = False
    ) -> None:
        self.folder, self.web, self.journal = folder.resolve(), web, journal
        self.unverified, self.verify = unverified, verify

    def bring(self, wanted: Wanted) -> list[Outcome]:
        """What became of a file, and of those that stand in for it where it is not published yet."""
        try:
            outcome = self._outcome(wanted)
        except TryAgain as error:
            self.web.lost(error)
            outcome = self._ended(wanted, State.FAILED, str(error))
        except (SourceError, OSError) as error:
            outcome = self._ended(wanted, State.FAILED, str(error))
        if outcome.state is State.ABSENT and wanted.instead:
            return [one for day in wanted.instead for one in self.bring(day)]
        return [outcome]

    def _outcome(self, wanted: Wanted) -> Outcome:
        path = wanted.path
        place = (self.folder / path).resolve()
        if not place.is_relative_to(self.folder):
            raise SourceError(f"{path} must stay inside {self.folder}, got {place}")
        if self.journal.holds(path, self.verify):
            return self._ended(wanted, State.HERE)
        self.web.reachable()
        part = Unfinished(self.folder, path)
        mismatches: list[str] = []
        return self.web.waiter.persist(lambda: self._attempt(wanted, place, part, mismatches), lambda: part.size)

    def _attempt(self, wanted: Wanted, place: Path, part: Unfinished, mismatches: list[str]) -> Outcome:
        expected = self._expected(wanted.path)
        if expected is None and not self.web.exists(wanted.path):
            return self._ended(wanted, State.ABSENT)
        if expected is None and not self.unverified:
            raise SourceError(
                f"no checksum is published beside it ({CHECKSUM}), so nobody can tell whether it is whole"
            )
        if place.exists() and self._is_here(wanted.path, place, expected):
            _note(place, expected)
            part.drop()
            self._enter(wanted.path, expected)
            return self._ended(wanted, State.HERE)
        self._receive(wanted.path, part)
        _check(part, expected, mismatches)
        _note(place, expected)
        part.finish(place)
        self._enter(wanted.path, expected)
        return self._ended(
            wanted, State.FETCHED, "" if expected else "no checksum published, the zip's own sums are right"
        )

    def _is_here(self, path: str, place: Path, expected: str | None) -> bool:
        """Whether what is in the file's place is the file; SourceError where it is another and not of ours."""
        got = sha256_of_file(place)
        if got == expected:
            return True
        if path not in self.journal:
            raise SourceError(f"another file of that name is here already (sha256 {got[:12]}...): move it away")
        return False

    def _expected(self, path: str) -> str | None:
        """The published sha256, None where there is none."""
        try:
            said = self.web.small(self.web.url(path + CHECKSUM), 1 << 16).decode("utf-8", "replace")
        except Absent:
            return None
        match = _LINE.fullmatch(said.strip())
        name = path.rsplit("/", 1)[-1]
        if match is None or match[2] not in (None, name):
            raise SourceError(f"{name}{CHECKSUM} must be a sha256 and the file's name, got {said[:100]!r}")
        return match[1].lower()

    def _receive(self, path: str, part: Unfinished) -> None:
        """Add to what has come until all has."""
        url = self.web.url(path)
        kept = part.version(url)
        if kept is not None and kept.total == part.size:
            return
        begin = {"Range": f"bytes={part.size}-", "If-Range": kept.tag} if kept else {}
        with self.web.opened(url, begin) as response:
            total = _goes_on(response, part, kept) if response.status != 200 else _begins(response, part, url)
            self._room(total, part.size)
            with part.part.open("ab") as out:
                for piece in self.web.chunks(response, self.web.terms.largest - part.size):
                    out.write(piece)
        if total is not None and part.size != total:
            said = f"the file ended after {part.size:,} of {total:,} bytes"
            if part.size > total:
                part.drop()
            raise TryAgain(said)

    def _room(self, total: int | None, have: int) -> None:
        """SourceError where a file is larger than what is allowed, or than the disk has left."""
        if total is None:
            return
        if total > self.web.terms.largest:
            raise SourceError(f"it announces {total:,} bytes, {self.web.terms.largest:,} are allowed")
        free = shutil.disk_usage(self.folder).free
        if total - have > free:
            raise SourceError(f"it needs {total - have:,} bytes more, the disk of {self.folder} has {free:,} left")

    def _enter(self, path: str, expected: str | None) -> None:
        sha256 = expected or sha256_of_file(self.folder / path)
        self.journal.add(path, sha256=sha256, url=self.web.url(path), verified=expected is not None)

    def _ended(self, wanted: Wanted, state: State, why: str = "") -> Outcome:
        place = self.folder / wanted.path
        size = place.stat().st_size if state in (State.FETCHED, State.HERE) else 0
        return Outcome(wanted.group, wanted.period, wanted.path, state, size, why)


def _note(place: Path, expected: str | None) -> None:
    """Keep the checksum beside a file, as the archive does: who reads it later can ask whether it changed."""
    if expected is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place.with_name(place.name + CHECKSUM), f"{expected}  {place.name}\n".encode())


def _begins(response: "BaseHTTPResponse", part: Unfinished, url: str) -> int | None:
    """The whole file comes: the bytes that it will have."""
    total = length_of(response)
    part.begin(Version(url, _tag(response), total))
    return total


def _goes_on(response: "BaseHTTPResponse", part: Unfinished, kept: Version | None) -> int | None:
    """The rest of a file comes, if it is the rest of what is here: the bytes that the whole will have."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    total = int(match[2]) if match and match[2] != "*" else None
    same = kept is not None and match is not None and int(match[1]) == part.size and kept.total in (None, total)
    if response.status != 206 or kept is None or not same or _tag(response) not in ("", kept.tag):
        part.drop()
        raise TryAgain("the server went on with another file than it began")
    return total


def _tag(response: "BaseHTTPResponse") -> str:
    """What names a version of a file; a weak ETag does not."""
    tag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _check(part: Unfinished, expected: str | None, mismatches: list[str]) -> None:
    """Drop what is not the file: TryAgain at first, SourceError where it comes so again."""
    wrong = _broken_zip(part.part) if expected is None else _mismatch(part.part, expected)
    if wrong:
        part.drop()
        mismatches.append(wrong)
        raise (TryAgain if len(mismatches) < _MISMATCHES else SourceError)(wrong)


def _mismatch(path: Path, expected: str) -> str:
    got = sha256_of_file(path)
    return "" if got == expected else f"expected the sha256 {expected}, got {got}"


def _broken_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        return f"expected a zip, as no checksum is published: {error}"
    return f"the zip's own sum of {broken} is wrong" if broken else ""
