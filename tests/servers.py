"""Servers that a test starts and kills: PostgreSQL, MLflow, and one that loses answers."""

import http.client
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from research.tracking import ENVIRONMENT

USER, PASSWORD = "recorder", "gehe@im/nis"
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}"
START = 90.0  # seconds that a server may take on a machine that has other things to do
PACKAGED = Path("/usr/lib/postgresql")  # Debian keeps the server's programs off the PATH
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "20",
}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"a server did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def unprivileged() -> dict[str, Any]:
    """How to start a process as somebody else where this one is root, whom PostgreSQL refuses."""
    if os.geteuid():
        return {}
    import pwd

    names = {one.pw_name: one for one in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def postgres_folder() -> Path:
    """Where PostgreSQL's programs are; the test skips, or fails where the system's components are required, without."""
    packaged = sorted(PACKAGED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb") or (str(packaged[-1]) if packaged else None)
    if found is None:
        why = f"PostgreSQL is not installed: no initdb on PATH or under {PACKAGED}"
        if os.environ.get("MARGINLAB_REQUIRE_SYSTEM") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return Path(found).resolve().parent


@dataclass
class Postgres:
    """A PostgreSQL of its own on loopback, with a user and a password, in a folder that whoever runs it can reach."""

    programs: Path = field(default_factory=postgres_folder)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="marginlab-postgres-"))
        self.log = self.folder / "log"
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        somebody = unprivileged()
        for path in (self.folder, secret):
            os.chown(path, somebody.get("user", -1), somebody.get("group", -1))
        options = ["--auth=scram-sha-256", f"--pwfile={secret}", f"--username={USER}", "--encoding=UTF8", "--no-sync"]
        command = [str(self.programs / "initdb"), "-D", str(self.folder / "data"), "--no-locale", *options]
        made = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60, **somebody)
        assert made.returncode == 0, made.stderr

    def uri(self, database: str, login: str = LOGIN) -> str:
        return f"postgresql+psycopg://{login}@127.0.0.1:{self.port}/{database}"

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.runs:
            return
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *settings]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **unprivileged())
        wait_until(self._answers, self.process, self.log)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        import psycopg

        options: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD}
        with psycopg.connect(dbname=database, autocommit=True, connect_timeout=10, **options) as connection:
            told = connection.execute(statement.encode())
            return told.fetchall() if told.description else []

    def stop(self) -> None:
        """At once, as when the machine goes down: no farewell to those who are connected."""
        if self.process is not None and self.runs:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=20)

    def hold(self) -> None:
        """Stop it from answering, and leave its port open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


@dataclass
class MlflowServer:
    """The server that a team runs: `mlflow server`, on a database that is there, serving artifacts."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://{LOGIN}@127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.process is not None and self.process.poll() is None:
            return
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", "--serve-artifacts"]
        places = ["--artifacts-destination", str(self.folder / "artifacts")]
        store = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.folder}/mlflow.db"}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options, *places],
                cwd=self.folder,
                env={**clean, **ENVIRONMENT, **store},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, self.process, self.log)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Without a word, and its workers with it."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=20)


class Lossy:
    """Stands before a server: passes every request on, and loses the answers to the first one on each of some paths."""

    def __init__(self, port: int, *paths: str) -> None:
        lossy, self.lost = self, []
        left = set(paths)

        class Handler(http.server.BaseHTTPRequestHandler):
            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                onward = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                onward.request(self.command, self.path, body, {**dict(self.headers), "Connection": "close"})
                answer = onward.getresponse()
                content = answer.read()
                path = self.path.partition("?")[0]
                self.close_connection = True
                if path in left:
                    left.discard(path)
                    lossy.lost.append(path)
                    return
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    lost: list[str]

    def __enter__(self) -> "Lossy":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
