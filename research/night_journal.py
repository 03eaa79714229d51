"""What must MLflow be told, and has it been told exactly once, whenever it was down?

An entry is a file that was on disk before its night came into force. The state lists the entries that are still to be
told (its outbox): they are told in order, each under an id of its own that the other side is asked for first, and
struck off when it has confirmed. A kill in between tells again, and the other side knows the id.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

from data import MarginlabError
from data.errors import SnapshotError
from data.sealed import encoded, sealed, unsealed
from data.storage import sha256_of, write_whole
from research.night_state import NightState, commit


@dataclass(frozen=True)
class Entry:
    """One night, or one act of a person, as it is recorded.

    Parameters
    ----------
    name : of the run; `parameters`, `metrics` and `tags` are what is in it.
    files : artifact names and the files, under the state's folder, that they are copies of.
    models : registered name and sha256 of the model files of every version to be registered.
    aliases : by registered name: the sha256 that champion, challenger and previous mean from now on, "" for none.
    """

    experiment: str
    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    models: tuple[tuple[str, str], ...] = ()
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The sha256 of all of it."""
        return sha256_of(encoded(asdict(self)))

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """What `asdict` told."""
        return cls(**{**told, "models": tuple((name, model) for name, model in told["models"])})


class Recorder(Protocol):
    """Where entries go."""

    def receive(self, entry: Entry, id: str, folder: Path) -> str:  # noqa: A002  that is what it is
        """Take an entry in, once however often it is told, and say what it was; MarginlabError where it is down."""


def write_entry(folder: Path, entry: Entry) -> str:
    """Put an entry on disk, and return its id; it counts from the moment that a state lists it."""
    (folder / "journal").mkdir(parents=True, exist_ok=True)
    write_whole(folder / "journal" / f"{entry.id}.json", sealed({"entry": asdict(entry)}))
    return entry.id


def read_entry(folder: Path, id: str) -> Entry:  # noqa: A002  that is what it is
    """An entry of the outbox; SnapshotError where it is damaged, or another."""
    facts = unsealed(folder / "journal" / f"{id}.json")
    try:
        entry = Entry.of(facts["entry"])
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"{folder / 'journal' / id}.json is no entry: {error}") from error
    if entry.id != id:
        raise SnapshotError(f"{folder / 'journal' / id}.json must be what its name says, got {entry.id}")
    return entry


def told(folder: Path, state: NightState, recorder: Recorder, say: Callable[..., None]) -> NightState:
    """Tell what is in the outbox, until it is empty or the other side is down; the state that is left.

    An entry that is damaged is struck off and said: it can be told no more, and must not hold up those after it.
    """
    for id in state.outbox:  # noqa: A001
        try:
            what = recorder.receive(read_entry(folder, id), id, folder)
            say("recorded", entry=id[:12], what=what)
        except SnapshotError as error:
            say("entry_damaged", level="error", entry=id[:12], reason=str(error))
        except MarginlabError as error:
            say("tracking_down", level="warning", reason=str(error), waiting=len(state.outbox))
            return state
        state = commit(folder, replace(state, outbox=state.outbox[1:]))
        (folder / "journal" / f"{id}.json").unlink(missing_ok=True)
    return state


def result_line(result: Mapping[str, Any]) -> str:
    """A result as JSON in one line."""
    return json.dumps(result, sort_keys=True, allow_nan=False)
