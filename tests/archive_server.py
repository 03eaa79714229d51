"""What does a server of public archives do, and what may it do wrong?

Files are served with ETag and ranges; a script says what goes wrong at the next requests for a path.
"""

import hashlib
import io
import json
import os
import random
import re
import socket
import struct
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import parse_qsl, unquote, urlsplit

from data.fetch.outcome import Outcome, State
from data.fetch.plan import Wanted
from data.fetch.transfer import fetch
from data.fetch.waiting import Patience, Timing, Waiter
from data.fetch.web import Terms, Web

START = datetime(2024, 3, 10, 12, tzinfo=UTC)


class FakeTime:
    """A clock that goes on when somebody sleeps, or by `tick` whenever it is looked at."""

    def __init__(self, tick: float = 0.0) -> None:
        self.at, self.tick, self.slept = 0.0, tick, list[float]()
        self._lock = threading.Lock()

    def clock(self) -> float:
        with self._lock:
            self.at += self.tick
            return self.at

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.at += seconds
            self.slept.append(seconds)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at)

    @property
    def timing(self) -> Timing:
        return Timing(self.clock, self.sleep, self.now, lambda: 1.0)


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    port: int


Trick = Callable[["Handler", bytes], object]


@dataclass
class Archive:
    """What is served; `answer` makes JSON for paths that are no file, of the path and its query."""

    files: dict[str, bytes] = field(default_factory=dict)
    script: dict[str, deque[Trick]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[str, dict[str, str]], Any] | None = None
    base: str = ""

    def publish(self, path: str, content: bytes, checksum: str | None = "") -> bytes:
        """Serve a file and its checksum: the right one, another, or none."""
        self.files[path] = content
        if checksum is not None:
            right = hashlib.sha256(content).hexdigest()
            self.files[path + ".CHECKSUM"] = f"{checksum or right}  {path.rsplit('/', 1)[-1]}\n".encode()
        return content

    def next(self, path: str, *tricks: Trick) -> None:
        """What goes wrong at the next requests for a path, one each."""
        self.script[path] = deque(tricks)

    def times(self, path: str, method: str = "GET") -> int:
        return sum(one.path == path and one.method == method for one in self.asked)

    def web(self, time: FakeTime, *, attempts: int = 6, **terms: Any) -> Web:
        return Web(self.base, Waiter(time.timing, Patience(attempts)), Terms(**terms))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    archive: Archive

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path).lstrip("/")
        self.archive.asked.append(Asked(self.command, path, dict(self.headers.items()), self.client_address[1]))
        content = self.archive.files.get(path)
        tricks = self.archive.script.get(path)
        if tricks:
            tricks.popleft()(self, content or b"")
        elif content is not None:
            self.serve(content)
        elif self.archive.answer is not None:
            self.answer_json(self.archive.answer(path, dict(parse_qsl(parts.query))))
        else:
            self.say(404, b"<Error><Code>NoSuchKey</Code></Error>")

    do_HEAD = do_GET

    def answer_json(self, document: Any) -> None:
        self.say(200, json.dumps(document).encode())

    def say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self, content: bytes, tag: str = "", ranges: bool = True) -> None:
        """The file, or the rest of it, as S3 does."""
        tag = tag or f'"{hashlib.md5(content).hexdigest()}"'
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not ranges or match is None or self.headers.get("If-Range", tag) != tag:
            return self.say(200, content, ETag=tag)
        begin = int(match[1])
        if begin >= len(content):
            return self.say(416, b"", Content_Range=f"bytes */{len(content)}")
        said = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        return self.say(206, content[begin:], ETag=tag, Content_Range=said)

    def rest(self, content: bytes) -> bytes:
        """Announce the file, or the rest of it that is asked for; what would come then."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(match[1]) if match else 0
        self.send_response(206 if match else 200)
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - begin))
        if match:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.close_connection = True
        return content[begin:]

    def log_message(self, *_: Any) -> None:
        """Nothing: what was asked is in the archive."""


def status(code: int, **headers: str) -> Trick:
    return lambda handler, _: handler.say(code, b"{}", **headers)


def cut(size: int) -> Trick:
    """The whole is announced, and so many bytes come."""
    return lambda handler, content: _write(handler, handler.rest(content)[:size])


def broken(size: int) -> Trick:
    """So many bytes come, and then the connection is reset."""

    def trick(handler: Handler, content: bytes) -> None:
        _write(handler, handler.rest(content)[:size])
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    return trick


def drip(first: int, pause: float = 0.002, pieces: int = 2000) -> Trick:
    """Some bytes come at once, then one at a time."""

    def trick(handler: Handler, content: bytes) -> None:
        left = handler.rest(content)
        _write(handler, left[:first])
        for place in range(first, min(len(left), first + pieces)):
            time.sleep(pause)
            if not _write(handler, left[place : place + 1]):
                return

    return trick


def other(content: bytes) -> Trick:
    """Other bytes than those of the file, as good as they look."""
    return lambda handler, _: handler.serve(content)


def whole(handler: Handler, content: bytes) -> None:
    """The whole file, whatever part is asked for."""
    handler.serve(content, ranges=False)


def announce(size: int) -> Trick:
    """More is announced than comes."""
    return lambda handler, content: _announced(handler, content, size)


def endless(handler: Handler, _: bytes) -> None:
    """Nothing is announced, and bytes come for as long as somebody listens."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while _write(handler, bytes(1 << 16)):
        pass


def moved(address: str, code: int = 302) -> Trick:
    return lambda handler, _: handler.say(code, b"", Location=address)


def _announced(handler: Handler, content: bytes, size: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(size))
    handler.end_headers()
    handler.close_connection = True
    _write(handler, content)


def _write(handler: Handler, content: bytes) -> bool:
    try:
        handler.wfile.write(content)
    except OSError:
        return False
    return True


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""


@contextmanager
def serving() -> Iterator[Archive]:
    """An archive on a port of this machine."""
    archive = Archive()
    server = _Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"archive": archive}))
    archive.base = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        # a proxy of the machine's is not for this server
        with mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}):
            yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def klines(symbol: str, period: str, rows: int = 24) -> bytes:
    """A zip as the archive has it: klines of USD-margined futures, an hour each."""
    begin = int(datetime.fromisoformat(f"{period}-01"[:10]).replace(tzinfo=UTC).timestamp()) * 1000
    names = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume"
    lines = [f"{names},taker_buy_quote_volume,ignore"]
    for number in range(rows):
        opened = begin + 3_600_000 * number
        price = 40_000 + 7 * (number % 11)
        lines.append(
            f"{opened},{price},{price + 9},{price - 9},{price + 1},12.5,{opened + 3_599_999},500000,321,6.25,250000,0"
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{symbol}-1h-{period}.csv"), "\n".join(lines) + "\n")
    return out.getvalue()


PATH = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip"
LARGE = random.Random(5).randbytes(300_000)


def wanted(path: str = PATH, instead: tuple[Wanted, ...] = ()) -> Wanted:
    return Wanted("BTCUSDT klines-1h", "2024-01", path, instead)


def fetched(web: Web, folder: Path, *paths: str, **options: bool) -> list[Outcome]:
    plan = [wanted(path) for path in paths or (PATH,)]
    return fetch(plan, folder, web, jobs=2, progress=False, **options)


def files(folder: Path) -> list[str]:
    """Everything in a folder but lock, journal and checksums."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith((".lock", ".fetched.jsonl", ".CHECKSUM")))


def only(outcomes: list[Outcome], state: State) -> Outcome:
    """The one outcome, which ended so."""
    assert [one.state for one in outcomes] == [state], outcomes
    return outcomes[0]
