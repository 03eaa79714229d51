"""What do those who look at the nights from outside see: a venue, a monitor, a person?

Everything here follows from the state and can be made again from it.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from data import MarginlabError
from data.errors import SnapshotError
from data.sealed import encoded
from data.storage import is_running, sha256_of, write_whole
from research.model_files import read_model
from research.night_state import RECOVER, RESTORE, NightState, read_state
from research.parameter_diff import diff
from research.parameters import MarginParameters, MarketParameters, parse_parameters, read_parameters

PARAMETERS, STATUS, DIFF = "margin_parameters.json", "margin_parameters.status.json", "margin_parameters.diff.txt"
DONE, USAGE, NO_DATA, REFUSED, HELD, AGAIN, BUG = 0, 2, 3, 4, 5, 75, 1


class LockHeldError(MarginlabError):
    """Another process works on these nights."""


@dataclass(frozen=True)
class Log:
    """Events as JSON lines on stderr: time, level, event, and what else is to be known."""

    quiet: bool = False

    def __call__(self, event: str, *, level: str = "info", **facts: Any) -> None:
        """One line."""
        if self.quiet:
            return
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "event": event}
        with suppress(OSError):  # a log on a full disk ends nothing
            print(json.dumps({**line, **facts}, default=str), file=sys.stderr, flush=True)


@contextmanager
def alone(folder: Path, say: Log) -> Iterator[None]:
    """Hold the lock of a folder of nights; the kernel frees it when its owner dies, however that is.

    LockHeldError, with the owner, where another process has it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    owner, lock = folder / "owner.json", FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise LockHeldError(f"process {_owner(owner).get('pid', 'unknown')} works in {folder}") from error
    with lock:
        before = _owner(owner).get("pid")
        if isinstance(before, int) and 0 < before < 2**31 and not is_running(before):
            say("stale_lock", level="warning", reason=f"process {before} died while it held the lock")
        try:
            write_whole(owner, encoded({"pid": os.getpid()}))
        except OSError as error:  # a name for whoever finds the lock held; to free a full disk it is not needed
            say("owner_not_written", level="warning", reason=f"{owner}: {error.strerror or error}")
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()


def _owner(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def publication(state: NightState, as_of: str, code: str) -> MarginParameters | None:
    """What the champions of a state publish; None while there is none."""
    markets = {
        name: MarketParameters.of(one.champion.parameters, name)
        for name, one in sorted(state.markets.items())
        if one.champion is not None
    }
    if not markets:
        return None
    before = state.published
    version = int(before.get("version", 0)) + 1
    return MarginParameters(state.study, as_of, version, str(before.get("hash", "")), code, markets)


def same_content(one: MarginParameters, other: MarginParameters | None) -> bool:
    """Whether two publications say the same of every market, whatever night they are for."""
    if other is None:
        return False
    return {n: m.told() for n, m in one.markets.items()} == {n: m.told() for n, m in other.markets.items()}


def published_file(folder: Path, state: NightState) -> Path | None:
    """The file of the newest publication."""
    if not state.published:
        return None
    return folder / "published" / f"{int(state.published['version']):08d}-{state.published['hash'][:12]}.json"


def whole_publication(folder: Path, state: NightState) -> bytes | None:
    """The bytes of the newest publication, from its file or its copy, whichever is whole; None where neither is."""
    place = published_file(folder, state)
    if place is None:
        return None
    for path in (place, folder / PARAMETERS):
        with suppress(OSError):
            payload = path.read_bytes()
            if _is_published(state, payload):
                return payload
    return None


def _is_published(state: NightState, payload: bytes) -> bool:
    try:
        return parse_parameters(payload).hash == str(state.published["hash"])
    except MarginlabError:
        return False


def whole_change(folder: Path, state: NightState) -> bytes | None:
    """What changed with the newest publication: its file's bytes, its copy's, or told again; None where none is whole.

    States of before 2026-11-22 have no seal for it: what is there is taken then.
    """
    place = published_file(folder, state)
    if place is None:
        return None
    seal = state.published.get("diff")
    for path in (place.with_suffix(".diff.txt"), folder / DIFF):
        payload = path.read_bytes() if path.is_file() else None
        if payload is not None and seal in (None, sha256_of(payload)):
            return payload
    again = _told_again(folder, state)
    return again if again is not None and seal in (None, sha256_of(again)) else None


def _told_again(folder: Path, state: NightState) -> bytes | None:
    """What changed, from the publication before and the newest one, where both are whole."""
    try:
        newest = parse_parameters(whole_publication(folder, state) or b"")
        before = folder / "published" / f"{newest.version - 1:08d}-{newest.previous[:12]}.json"
        return diff(read_parameters(before) if newest.previous else None, newest).encode()
    except MarginlabError:
        return None


def show(folder: Path, state: NightState, textfile: Path | None = None) -> None:
    """Bring the copies up to what is in force: parameters, diff, status and metrics, each put in place whole.

    SnapshotError where the publication is damaged, and so is its copy; the copies stay as they are then.
    """
    place = published_file(folder, state)
    if place is not None:
        payload = whole_publication(folder, state)
        if payload is None:
            raise SnapshotError(f"{place} and {folder / PARAMETERS} are not what was published: {RECOVER}")
        _bring(place, payload)
        _bring(folder / PARAMETERS, payload)
        change = whole_change(folder, state)
        if change is not None:
            _bring(place.with_suffix(".diff.txt"), change)
        _bring(folder / DIFF, change or b"the difference was lost\n")
    _bring(folder / STATUS, encoded(status_of(state)))
    target = textfile or folder / "metrics.prom"
    target.parent.mkdir(parents=True, exist_ok=True)
    _bring(target, metrics(state).encode())


def _bring(path: Path, payload: bytes) -> None:
    if not path.exists() or path.read_bytes() != payload:
        write_whole(path, payload)


def status_of(state: NightState) -> dict[str, Any]:
    """What stands beside the published file: whether it is of the newest night, and why not."""
    stale = state.stale
    reason = "; ".join(f"{name}: {why}" for name, why in stale.items())
    newest = state.nights[-1]["as_of"] if state.nights else ""
    return {
        "hash": state.published.get("hash", ""),
        "diff": state.published.get("diff", ""),
        "as_of": state.published.get("as_of", ""),
        "newest_night": newest,
        "stale": bool(stale),
        "reason": reason,
        "markets": {name: {"stale": bool(one.stale), "since": one.since} for name, one in state.markets.items()},
    }


def metrics(state: NightState) -> str:
    """A Prometheus textfile; only what the state says, so that it is the same whenever it is written."""
    newest: Mapping[str, Any] = state.nights[-1] if state.nights else {"exit": 0, "as_of": ""}
    rows: list[tuple[str, str, dict[str, str], float]] = [
        ("nightly_exit_code", "Exit code of the newest night.", {}, float(newest["exit"])),
        ("nightly_as_of_seconds", "As-of of the newest night, Unix time.", {}, _unix(str(newest["as_of"]))),
        ("parameters_version", "Version of the published parameters.", {}, float(state.published.get("version", 0))),
        ("parameters_as_of_seconds", "As-of they are of.", {}, _unix(str(state.published.get("as_of", "")))),
        ("journal_entries", "Entries that MLflow has not confirmed.", {}, float(len(state.outbox))),
    ]
    for name, one in sorted(state.markets.items()):
        market = {"market": name}
        rows.append(
            ("parameters_stale", "1 where what is published is not of the newest night.", market, 1.0 * bool(one.stale))
        )
        rows.append(("shadow_nights", "Nights the challenger came through.", market, float(len(one.shadow))))
        if one.champion is not None:
            labels = {**market, "model": one.champion.name, "hash": one.champion.model[:12]}
            rows.append(("champion", "The model in force.", labels, 1.0))
            for asset, told in one.champion.parameters["assets"].items():
                labels = {**market, "asset": asset}
                rows.append(("scan_range", "Margin of a unit of notional.", labels, float(told["scan_range"])))
    return _textfile(rows)


def _textfile(rows: list[tuple[str, str, dict[str, str], float]]) -> str:
    lines, seen = [], set()
    for name, said, labels, value in sorted(rows, key=lambda row: row[0]):
        if name not in seen:
            lines += [f"# HELP marginlab_{name} {said}", f"# TYPE marginlab_{name} gauge"]
            seen.add(name)
        told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"marginlab_{name}{{{told}}} {value!r}" if told else f"marginlab_{name} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _unix(as_of: str) -> float:
    return float(np.datetime64(as_of, "s").astype(np.int64)) if as_of else 0.0


def health(folder: Path, now: datetime, most_days: float) -> tuple[int, list[str]]:
    """An exit code, and what is wrong: 0 nothing, 1 a damaged file, 3 no recent night or champion, 4 stale.

    The age of a night counts from the end of its day.
    """
    try:
        state = read_state(folder)
    except SnapshotError as error:
        return BUG, [str(error)]
    damaged = damage(folder, state)
    late = [f"{name} has no champion" for name, one in state.markets.items() if one.champion is None]
    late += _late(state, now, most_days)
    stale = [f"{name} is stale since {state.markets[name].since}: {why}" for name, why in state.stale.items()]
    code = BUG if damaged else NO_DATA if late else REFUSED if stale else DONE
    return code, [*damaged, *late, *stale]


def _late(state: NightState, now: datetime, most_days: float) -> list[str]:
    if not state.nights:
        return ["no night yet"]
    newest = str(state.nights[-1]["as_of"])
    since = (now.timestamp() - _unix(newest)) / 86400
    age = since - (1.0 if len(newest) == len("2024-02-29") else 0.0)  # an instant has no day that ends
    if age > most_days:
        return [f"the newest night is of {newest}, which ended {age:.1f} days ago, {most_days:g} allowed (--max-age)"]
    return [f"the newest night is of {newest}, but the clock says {now:%Y-%m-%d}"] if since < 0 else []


def damage(folder: Path, state: NightState) -> list[str]:
    """What is not what the state says, a sentence each: models in force, publication, copies, results of nights."""
    return [*_models(folder, state), *_publication(folder, state), *_results(folder, state)]


def _models(folder: Path, state: NightState) -> Iterator[str]:
    for name, one in state.markets.items():
        try:
            if one.champion is not None:
                read_model(folder / "models", one.champion.model)
        except SnapshotError as error:
            yield f"{name}: {error}: {RESTORE}"


def _publication(folder: Path, state: NightState) -> Iterator[str]:
    place, seal = published_file(folder, state), state.published.get("diff")
    if place is not None:
        for path in (folder / PARAMETERS, place):
            yield from _other(path, lambda payload: _is_published(state, payload), "published")
        for path in (folder / DIFF, place.with_suffix(".diff.txt")) if seal is not None else ():
            yield from _other(path, lambda payload: sha256_of(payload) == seal, "published")
    if state.number:
        yield from _other(folder / STATUS, lambda payload: payload == encoded(status_of(state)), "in force")


def _other(path: Path, right: Callable[[bytes], bool], what: str) -> Iterator[str]:
    try:
        if not right(path.read_bytes()):
            yield f"{path} is not what is {what}: {RECOVER}"
    except FileNotFoundError:
        yield f"{path} is missing: {RECOVER}"
    except OSError as error:
        yield f"{path} cannot be read ({error.strerror}): {RECOVER}"


def _results(folder: Path, state: NightState) -> Iterator[str]:
    """A result that is gone may have been pruned; one that is there must be the newest of its key."""
    results = {str(night["key"]): str(night["result"]) for night in state.nights}
    paths = {folder / "nights" / key / "result.json": seal for key, seal in results.items()}
    wrong = [path for path, seal in paths.items() if path.is_file() and _sha256(path) != seal]
    if wrong:
        names = ", ".join(str(path) for path in wrong[:3]) + ", ..." * (len(wrong) > 3)
        yield f"{len(wrong)} result(s) of nights damaged, which no night needs: {names}: {RESTORE}"


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path.read_bytes())
    except OSError:
        return ""
