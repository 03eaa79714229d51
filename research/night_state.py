"""Which model is in force, which was before, which is being watched, and what must still be told?

The folder of a study's nights; every file is put in place whole (`data.storage.write_whole`):

    state.json              sealed; the one file that decides. Its rename is the moment at which a night happens
    states/NNNNNNNN.json    the same bytes, by number, of the newest nights: what `recover` falls back on
    models/<sha256>/        model files by content (`research.model_files`)
    nights/<key>/           checkpoints market by market, and result.json
    published/NNNNNNNN-<hash>.json    every publication of parameters, and its .diff.txt
    margin_parameters.json, margin_parameters.diff.txt, margin_parameters.status.json    copies of the newest
    journal/<id>.json       what is to be told to MLflow; only what state.json lists is told
    metrics.prom            Prometheus textfile
    .lock, owner.json       who works here

Whatever state.json does not name is as if it were not there, so that a kill at any moment leaves the night before or
the night after. Copies, MLflow and metrics follow from state.json, and `settle` brings them up again.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from data import ParameterError
from data.errors import SnapshotError
from data.sealed import encoded, sealed, unsealed
from data.storage import PARTIAL, sha256_of, store_folder, write_whole

FORMAT = 1
KEPT_STATES, KEPT_NIGHTS = 30, 500
RECOVER, RESTORE = "run marginlab recover", "restore the folder from a copy"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Version:
    """One fitted model: its name in the study, sha256 of its files fitted and unfitted, and what it was fitted on.

    `data`, `first` and `rows` are the content hash, first instant and length of the history; `parameters` what it
    publishes; `verdict` how it came through the gates.
    """

    name: str
    model: str
    configuration: str
    as_of: str
    night: str
    data: str
    first: str
    rows: int
    parameters: Mapping[str, Any]
    verdict: str = "passed"


@dataclass(frozen=True)
class MarketState:
    """The aliases of one market, and what they rest on.

    Parameters
    ----------
    champion, challenger, previous : in force, watched, and in force before.
    waiting : a version of the champion, or the very first one, that waits for `promote --approve`.
    shadow : as-of dates of the nights that the challenger came through.
    candidates : configurations that were ever put to the gates, in order: each has its share of alpha.
    last : data, first and rows of the newest night, to see whether the past was restated.
    stale : why what is published is not of the newest night, "" where it is; `since` which night that was.
    """

    champion: Version | None = None
    challenger: Version | None = None
    previous: Version | None = None
    waiting: Version | None = None
    shadow: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    last: Mapping[str, Any] = field(default_factory=dict)
    stale: str = ""
    since: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """What `asdict` told."""
        roles = {role: _version(told[role]) for role in ("champion", "challenger", "previous", "waiting")}
        lists = {name: tuple(told[name]) for name in ("shadow", "candidates")}
        return cls(**{**told, **roles, **lists})

    @property
    def digest(self) -> str:
        """Sha256 of all of it."""
        return sha256_of(encoded(asdict(self)))


def _version(told: Mapping[str, Any] | None) -> Version | None:
    return None if told is None else Version(**told)


@dataclass(frozen=True)
class NightState:
    """All that is in force in a folder.

    Parameters
    ----------
    number : counts commits.
    study : whose folder it is.
    markets : by name.
    nights : what the newest nights came to: as_of, key, exit, sentence and result (its sha256), oldest first.
    published : version, hash and as_of of the newest publication; empty where there is none.
    outbox : journal entries that MLflow has not confirmed, in order.
    """

    number: int = 0
    study: str = ""
    markets: Mapping[str, MarketState] = field(default_factory=dict)
    nights: tuple[Mapping[str, Any], ...] = ()
    published: Mapping[str, Any] = field(default_factory=dict)
    outbox: tuple[str, ...] = ()

    def night(self, key: str) -> Mapping[str, Any] | None:
        """The newest night of this key that counts, None where there is none."""
        return next((night for night in reversed(self.nights) if night["key"] == key), None)

    def with_night(self, told: Mapping[str, Any]) -> "NightState":
        """One night more; the oldest are forgotten."""
        return replace(self, nights=(*self.nights, told)[-KEPT_NIGHTS:])

    @property
    def stale(self) -> dict[str, str]:
        """Why, by market."""
        return {name: one.stale for name, one in self.markets.items() if one.stale}


def state_folder(folder: Path | None, study: str | None = None) -> Path:
    """Where a study's nights are: as said, or $MARGINLAB_NIGHTLY, or under the store by the study's name.

    ParameterError where neither a folder nor a study is said and not exactly one study has nights, or the study's name
    could be a path.
    """
    import os

    said = folder or (Path(os.environ["MARGINLAB_NIGHTLY"]) if os.environ.get("MARGINLAB_NIGHTLY") else None)
    if said is not None:
        return said.expanduser().resolve()
    root = store_folder() / "nightly"
    if study is not None:
        if not _NAME.fullmatch(study):
            raise ParameterError(
                f"a study with nights needs a name of letters, digits, '.', '_' and '-', got {study!r}"
            )
        return root / study
    signs = ("state.json", "states", "margin_parameters.json")  # a folder whose state was lost is one still
    found = sorted({path.parent for sign in signs for path in root.glob(f"*/{sign}")})
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ParameterError(f"say which nights with --state FOLDER: {root} has those of {names}")
    return found[0]


def read_state(folder: Path) -> NightState:
    """What is in force; a state of nothing where no night was.

    SnapshotError, with what is to be done, where the file is damaged, or gone and something was published.
    """
    try:
        return _in_force(folder)
    except SnapshotError as error:
        whole = any(_whole(path) is not None for path in _copies(folder))
        raise SnapshotError(f"{error}: {RECOVER if whole or _unseen(folder) else RESTORE}") from error


def _in_force(folder: Path) -> NightState:
    if (folder / "state.json").exists() or _copies(folder):
        return _parsed(folder / "state.json")
    if not _unseen(folder):
        raise SnapshotError(f"{folder}: something is published, but no state")
    return NightState()


def _copies(folder: Path) -> list[Path]:
    """Copies of states, the newest first."""
    return sorted((folder / "states").glob("*.json"), reverse=True)


def _unseen(folder: Path) -> bool:
    """Whether no night was ever in force: a first one that died leaves a first publication, and no copy of it."""
    shown = any((folder / f"margin_parameters.{end}").exists() for end in ("json", "diff.txt"))
    later = any(not path.name.startswith("00000001-") for path in (folder / "published").glob("[0-9]*-*.json"))
    return not (_copies(folder) or shown or later)


def _whole(path: Path) -> NightState | None:
    try:
        return _parsed(path)
    except SnapshotError:
        return None


def _parsed(path: Path) -> NightState:
    facts = unsealed(path)
    try:
        if facts.pop("format") != FORMAT:
            raise SnapshotError(f"{path} must be a state of format {FORMAT}")
        markets = {name: MarketState.of(one) for name, one in facts.pop("markets").items()}
        nights, outbox = tuple(facts.pop("nights")), tuple(facts.pop("outbox"))
        state = NightState(markets=markets, nights=nights, outbox=outbox, **facts)
    except (KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(f"{path} is no state of nights: {type(error).__name__} {error}") from error
    head = {"number": int, "study": str, "published": dict}
    wrong = [name for name, kind in head.items() if type(getattr(state, name)) is not kind]
    if wrong or not all(isinstance(id, str) for id in outbox):  # noqa: A001
        raise SnapshotError(f"{path} is no state of nights: {', '.join(wrong) or 'outbox'} of another type")
    return state


def commit(folder: Path, state: NightState) -> NightState:
    """Put a state in force, numbered: all of it or nothing. What it names must be on disk by then."""
    made = replace(state, number=state.number + 1)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "state.json", _payload(made))
    keep(folder, made)
    return made


def keep(folder: Path, state: NightState) -> None:
    """See that the copy to fall back on is there and whole, and the oldest ones are not.

    It follows its state: a copy without one would be a night that never was, and the very first a damaged folder.
    """
    place, payload = folder / "states" / f"{state.number:08d}.json", _payload(state)
    if place.exists() and place.read_bytes() == payload:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, payload)
    for old in sorted(place.parent.glob("*.json"))[:-KEPT_STATES]:
        old.unlink(missing_ok=True)


def _payload(state: NightState) -> bytes:
    return sealed({"format": FORMAT, **asdict(state)})


def rescued(folder: Path) -> tuple[NightState, str]:
    """The state in force or, where its file is damaged or gone, the newest one that is whole; and what was wrong.

    SnapshotError where none is, and something was published.
    """
    try:
        return _in_force(folder), ""
    except SnapshotError as error:
        fault = str(error)
    for path in _copies(folder):
        state = _whole(path)
        if state is not None:
            write_whole(folder / "state.json", path.read_bytes())
            return state, f"{fault}; {path.name} took its place"
    if _unseen(folder):
        (folder / "state.json").unlink()  # the very first, and nobody outside has seen anything of it
        return NightState(), f"{fault}; nothing was published by then: the first night is to be done again"
    raise SnapshotError(f"{fault}{'; and no earlier state is whole' * bool(_copies(folder))}: {RESTORE}")


def sweep(folder: Path, state: NightState) -> list[str]:
    """Remove what killed nights left: unfinished files, and journal entries that no state names; return their names."""
    gone = []
    named = {f"{entry}.json" for entry in state.outbox}
    for path in [*folder.rglob(f"{PARTIAL}*"), *(folder / "journal").glob("*.json")]:
        if path.is_file() and path.name not in named:
            path.unlink(missing_ok=True)
            gone.append(path.name)
    return gone
