"""What is written down about a run, and who wrote it with what code?"""

import json
import math
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from data.errors import ParameterError
from data.storage import is_running
from data.version import __version__

Artifact = Path | bytes

HEARTBEAT = "marginlab.heartbeat"
OWN_PAGES = "http://127.0.0.1:5000"  # where `marginlab ui` serves what is in a database
CODE = Path(__file__).resolve().parents[1]
_PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "numba", "lightgbm", "arch", "statsmodels", "mlflow")
_LONGEST_NAME, _LONGEST_TEXT = 240, 6000  # MLflow refuses names over 250 and parameters over 6000 characters


@dataclass(frozen=True)
class Record:
    """What is written to a run: text parameters and tags, float metrics, files by their path inside the run."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)


def acceptable(record: Record) -> Record:
    """A record as every store takes it, whatever the names, the numbers and the lengths of texts.

    Characters that MLflow refuses in names are replaced ("%" by "pct", others by "_"). NaN metrics are left out,
    infinite ones become the tag `marginlab.infinite`. Long texts are cut, named in the tag `marginlab.cut`, and kept
    whole in the artifact `long_texts.json`.
    """
    metrics = {name: float(value) for name, value in _named(record.metrics).items()}
    parameters, tags = _named_texts(record.parameters), _named_texts(record.tags)
    long = {name: text for name, text in {**tags, **parameters}.items() if len(text) > _LONGEST_TEXT}
    notes = {
        "marginlab.infinite": ", ".join(f"{name}={value:+}" for name, value in metrics.items() if math.isinf(value)),
        "marginlab.cut": ", ".join(long),
    }
    kept = {"long_texts.json": json.dumps(long, indent=1).encode()} if long else {}
    return Record(
        {name: text[:_LONGEST_TEXT] for name, text in parameters.items()},
        {name: value for name, value in metrics.items() if math.isfinite(value)},
        {name: text[:_LONGEST_TEXT] for name, text in {**tags, **notes}.items() if text},
        {**record.artifacts, **kept},
    )


def _named_texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in _named(values).items()}


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in values.items():
        clean = _acceptable_name(name)
        while clean in named:
            clean += "_"
        named[clean] = value
    return named


def _acceptable_name(name: str) -> str:
    """A name that MLflow takes: word characters, dots, dashes, colons, spaces; slashes only between parts."""
    plain = re.sub(r"[^\w.\-: /]+", "_", name.replace("%", "pct"))
    return "/".join(part for part in plain.split("/") if part.strip("."))[:_LONGEST_NAME].rstrip("/") or "unnamed"


def folder_name(experiment: str) -> str:
    """An experiment's name as the name of a folder."""
    return re.sub(r"[^\w.-]+", "_", experiment).lstrip(".") or "unnamed"


def inside(folder: Path, name: str) -> Path:
    """The path of an artifact in a run's folder; ParameterError if its name leads elsewhere."""
    target = (folder / name).resolve()
    if not name or folder.resolve() not in target.parents:
        raise ParameterError(f"an artifact's name must be a path inside its run, got {name!r}")
    return target


def put(content: Artifact, target: Path) -> None:
    """Write a file whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                _copy(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as content:
        shutil.copyfileobj(content, file)


def provenance() -> dict[str, str]:
    """Tags that say where and with what code a run was made: host, process, heartbeat, versions, commit."""
    process = {"host": socket.gethostname(), "pid": str(os.getpid()), "process_start": _process_start(os.getpid())}
    tags = {f"marginlab.{name}": text for name, text in {**process, **code_version()}.items() if text}
    return {**tags, HEARTBEAT: now()}


@cache
def code_version() -> Mapping[str, str]:
    """Versions of this package, of Python and of what it stands on; the commit, if this is a checkout."""
    facts = {"version": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            facts[f"with.{package}"] = version(package)
    # Installed inside a virtual environment, the package may sit in somebody else's repository.
    if _git("rev-parse", "--show-toplevel") == str(CODE):
        facts["git_commit"] = _git("rev-parse", "--verify", "--quiet", "HEAD")
        facts["git_dirty"] = str(bool(_git("status", "--porcelain"))).lower()
    return facts


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(CODE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def is_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that opened a run was on this host and has ended.

    A process id that came round again and a process that waits to be reaped count as ended.
    """
    if tags.get("marginlab.host") != socket.gethostname() or os.name == "nt":
        return False
    pid = int(tags["marginlab.pid"])
    return not is_running(pid) or tags.get("marginlab.process_start", "") != _process_start(pid)


def _process_start(pid: int) -> str:
    """When a process began, in clock ticks since boot; "" if it has ended, and where the system has no /proc."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if facts[0] == "Z" else facts[19]


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def public(uri: str) -> str:
    """A URI without user, password and query; the last @ ends a password that holds others, or slashes."""
    scheme, mark, rest = uri.partition("://")
    if rest.startswith("/"):
        return uri.partition("?")[0]  # a file: an @ is part of its path
    return scheme + mark + re.split(r"[?&#]", rest.rpartition("@")[2])[0]


def masked(text: str, uri: str) -> str:
    """A text without what `public` hides, be it quoted whole, decoded, or in the parts that a driver made of it."""
    text = text.replace(uri, public(uri))
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text


def _secrets(uri: str) -> set[str]:
    rest = uri.partition("://")[2]
    before, _, after = ("", *rest.partition("?")[1:]) if rest.startswith("/") else rest.rpartition("@")
    whole = [before, before.partition(":")[2], *re.findall(r"=([^&#]*)", after)]
    found = {form for text in whole for form in (text, unquote(text))}
    return {part for text in found for part in (text, *re.split(r"[:/@?&#=]", text)) if part}
