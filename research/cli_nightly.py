"""What can an operator, or a scheduler, ask of the nights, and with which exit code do they answer?

0 done or already done, 2 usage, 3 data stale or missing, 4 a gate refused (the champion is kept), 5 another run holds
the lock, 75 try again (disk, workers), 1 a bug or damaged files, 143 on SIGTERM. Events are JSON lines on stderr; the
result is on stdout, one JSON document with --json, else sentences. Nothing of ours is imported at the top.
"""

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from research.cli_options import AsJson, Jobs, cores

if TYPE_CHECKING:
    from research.night_journal import Recorder
    from research.night_report import Log

StudyFile = Annotated[Path, typer.Option("--study", help="Python file that defines study() and, if need be, limits().")]
State = Annotated[
    Path | None,
    typer.Option("--state", help="Folder of the nights; $MARGINLAB_NIGHTLY, or by the study's name in the store."),
]
Track = Annotated[bool, typer.Option(help="Tell MLflow; what it cannot be told now it is told by the next night.")]
Uri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's store; the usual one if not given.")]
KEEP = 400  # nights: a year of sessions and the quarter after it
Keep = Annotated[int, typer.Option(help="Newest nights whose reports, models and publications are kept.")]
MarketOption = Annotated[str | None, typer.Option("--market", help="Which market; the only one if not given.")]


def nightly(
    as_of: Annotated[str, typer.Option("--as-of", help="The day (UTC) up to which data counts: 2024-02-29.")],
    study: StudyFile,
    state: State = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge and tell, change nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Take up the markets a night that died had done.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Do a night again that is done, or an earlier one.")] = False,
    jobs: Jobs = 1,
    textfile: Annotated[Path | None, typer.Option(help="Where the Prometheus textfile goes.")] = None,
    keep: Keep = KEEP,
    track: Track = True,
    tracking_uri: Uri = None,
    as_json: AsJson = False,
) -> None:
    """Recalibrate, judge, promote or keep, and publish margin parameters: one night."""

    def work(say: "Log") -> dict[str, Any]:
        from research.night_state import state_folder
        from research.nightly_job import NightRequest, read_plan, run_night

        folder = state_folder(state, read_plan(study).study.name)
        _refuse_keep(keep)
        request = NightRequest(as_of, study, folder, dry_run, resume, force, cores(jobs), textfile)
        result = run_night(request, None if dry_run else _recorder(track, tracking_uri, say), say)
        if not dry_run:
            _pruned(folder, keep, say)
        return result

    _answer(work, as_json)


def status(
    state: State = None,
    nights: Annotated[int, typer.Option(min=1, help="How many of the newest nights are shown.")] = 10,
    as_json: AsJson = False,
) -> None:
    """What is in force, what is watched, what is stale, and what the newest nights came to."""

    def work(_: "Log") -> dict[str, Any]:
        from dataclasses import asdict

        from research.night_report import status_of
        from research.night_state import read_state, state_folder
        from research.night_status import status_text

        folder = state_folder(state)
        found = read_state(folder)
        return {**status_of(found), "state": asdict(found), "text": status_text(found, folder, nights)}

    _answer(work, as_json)


def healthcheck(
    state: State = None,
    max_age: Annotated[
        float, typer.Option(help="Days since the newest night's day ended: 4 for a market with weekends.")
    ] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Exit 0 where all is well, 1 where a file is damaged, 3 without a recent night or a champion, 4 where stale."""

    def work(_: "Log") -> dict[str, Any]:
        from datetime import UTC, datetime

        from research.night_report import health
        from research.night_state import state_folder

        code, wrong = health(state_folder(state), datetime.now(UTC), max_age)
        return {"exit": code, "wrong": wrong, "text": "\n".join(wrong) or "all is well"}

    _answer(work, as_json)


def recover(state: State = None, track: Track = True, tracking_uri: Uri = None, as_json: AsJson = False) -> None:
    """Make good what a night that died left: state, copies, leftovers, and what MLflow was not told."""

    def work(say: "Log") -> dict[str, Any]:
        from research.night_acts import recover as make_good
        from research.night_state import state_folder

        told = make_good(state_folder(state), _recorder(track, tracking_uri, say), say)
        good = [told["rescued"]] * bool(told["rescued"]) + [f"made good: {one}" for one in told["healed"]]
        lines = [*good, *told["damaged"]] or ["in order"]
        lines += [f"{told['waiting']} entries wait for MLflow"]
        return {**told, "text": "\n".join(lines)}

    _answer(work, as_json)


def promote(
    study: StudyFile,
    state: State = None,
    market: MarketOption = None,
    approve: Annotated[bool, typer.Option("--approve", help="Take what gates left to a person.")] = False,
    track: Track = True,
    tracking_uri: Uri = None,
    as_json: AsJson = False,
) -> None:
    """Put in force what waits for a person, or a challenger that has its nights."""

    def work(say: "Log") -> dict[str, Any]:
        from research.night_acts import promote as put_in_force
        from research.night_state import state_folder
        from research.nightly_job import read_plan

        plan = read_plan(study)
        folder, recorder = state_folder(state, plan.study.name), _recorder(track, tracking_uri, say)
        return put_in_force(folder, market, recorder, say, approve=approve, limits=plan.limits)

    _answer(work, as_json)


def rollback(
    state: State = None,
    market: MarketOption = None,
    track: Track = True,
    tracking_uri: Uri = None,
    as_json: AsJson = False,
) -> None:
    """Put the model before in force again, with the parameters it published last."""

    def work(say: "Log") -> dict[str, Any]:
        from research.night_acts import rollback as put_back
        from research.night_state import state_folder

        return put_back(state_folder(state), market, _recorder(track, tracking_uri, say), say)

    _answer(work, as_json)


def prune(state: State = None, keep: Keep = KEEP, as_json: AsJson = False) -> None:
    """Remove what only nights before the newest --keep named; every night does this by itself."""

    def work(say: "Log") -> dict[str, Any]:
        from research.night_prune import prune as remove
        from research.night_state import state_folder

        gone = vars(remove(state_folder(state), say, keep))
        return {**gone, "text": ", ".join(f"{count} {what}" for what, count in gone.items()) + " removed"}

    _answer(work, as_json)


def rehearse(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Prices of your own, as after compare; twenty US stocks if none.")
    ] = None,
    nights: Annotated[int, typer.Option(help="How many, the newest that the prices have.")] = 30,
    study: Annotated[
        Path | None, typer.Option("--study", help="Python file that defines study(), in place of prices.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="A folder without nights; a new one in the store if not given.")
    ] = None,
    plant: Annotated[
        bool, typer.Option(help="Poison the data of one night, and keep a fit of another from converging.")
    ] = True,
    jobs: Jobs = 0,
    track: Track = True,
    tracking_uri: Uri = None,
    as_json: AsJson = False,
) -> None:
    """Run nights one after the other on the past, two bad ones planted, and tell what became of each."""

    def work(say: "Log") -> dict[str, Any]:
        from research.night_report import Log
        from research.rehearsal import new_folder, rehearsed, study_file
        from research.rehearsal_story import line, table, told

        folder = (state or new_folder()).expanduser().resolve()
        path = study_file(folder, files or [], study)
        recorder = _recorder(track, tracking_uri, say)
        asked: dict[str, Any] = {"plant": plant, "jobs": cores(jobs), "recorder": recorder}
        done = rehearsed(path, folder, nights, **asked, say=Log(quiet=True), told=lambda one: _say(line(one)))
        return {**told(done), "text": table(done)}

    _answer(work, as_json)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _refuse_keep(keep: int) -> None:
    """Before the night, not after it."""
    from data import ParameterError

    if keep < 1:
        raise ParameterError(f"--keep must be at least 1 night, got {keep}")


def _pruned(folder: Path, keep: int, say: "Log") -> None:
    """Prune after a night; the night is done, and stands whatever becomes of this."""
    from data.errors import MarginlabError
    from research.night_prune import prune as remove

    try:
        remove(folder, say, keep)
    except (MarginlabError, OSError) as error:
        say("not_pruned", level="warning", reason=str(error))


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (nightly, status, healthcheck, recover, promote, rollback, prune, rehearse):
        app.command()(command)


def _recorder(track: bool, uri: str | None, say: "Log") -> "Recorder | None":
    """MLflow, unless it is not to be told, or is not installed."""
    if not track:
        return None
    from data.errors import MarginlabError
    from research.registry import recorder

    try:
        return recorder(uri)
    except MarginlabError as error:
        say("tracking_down", level="warning", reason=str(error))
        return None


def _answer(work: "Callable[[Log], dict[str, Any]]", as_json: bool) -> None:
    """Print a result, and end with its exit code."""
    from research.engines import sigterm_raises
    from research.night_report import Log

    say = Log()
    with sigterm_raises(), _errors_as_codes(say, as_json):
        result = work(say)
    text = result.pop("text", None) or _sentences(result)
    typer.echo(json.dumps(result, sort_keys=True, allow_nan=False) if as_json else text)
    if result.get("exit"):
        raise typer.Exit(int(result["exit"]))


def _sentences(result: dict[str, Any]) -> str:
    """A night's result for a person."""
    head = f"{result.get('as_of', '')} {'(done before) ' * bool(result.get('noop'))}{result.get('sentence', '')}"
    lines = [f"  {market}: {said}" for market, one in result.get("markets", {}).items() for said in one["sentences"]]
    published = result.get("published") or {}
    if published:
        lines.append(f"  parameters: version {published['version']}, {published['hash'][:12]}")
    return "\n".join([head.strip(), *lines])


@contextmanager
def _errors_as_codes(say: "Log", as_json: bool) -> Iterator[None]:
    """Whatever ends a command early becomes an event, a result and an exit code; a bug keeps its traceback."""
    from data.errors import MarginlabError
    from research.engines import TERMINATED

    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != TERMINATED:
            raise
        code = TERMINATED if isinstance(error, SystemExit) else _code_of(error)
        told = {"exit": code, "error": type(error).__name__, "reason": _reason(error)}
        # What we raise on purpose says what is damaged; a trace is for what nobody thought of.
        bug = code == 1 and not isinstance(error, MarginlabError)
        say("failed", level="error", **told, **({"trace": traceback.format_exc()} if bug else {}))
        if as_json:
            typer.echo(json.dumps(told, sort_keys=True, allow_nan=False))
        raise typer.Exit(code) from error


def _reason(error: BaseException) -> str:
    """Why, and for a damaged file what is to be done, unless it says so itself."""
    from data.errors import SnapshotError
    from research.night_state import RECOVER, RESTORE

    if isinstance(error, SystemExit):
        return "ended by SIGTERM"
    said = isinstance(error, SnapshotError) and not any(remedy in str(error) for remedy in (RECOVER, RESTORE))
    return f"{error}: {RECOVER}" if said else str(error)


def _code_of(error: Exception) -> int:
    from data.errors import DataError, HistoryError, MarginlabError, ModelError, ParameterError, SnapshotError
    from research.night_report import AGAIN, BUG, HELD, NO_DATA, REFUSED, USAGE, LockHeldError

    codes: tuple[tuple[type[Exception], int], ...] = (
        (LockHeldError, HELD),
        (ParameterError, USAGE),
        (SnapshotError, BUG),
        (DataError, NO_DATA),
        (HistoryError, NO_DATA),
        (ModelError, REFUSED),
        (MarginlabError, AGAIN),
        (OSError, AGAIN),
        (MemoryError, AGAIN),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), BUG)
