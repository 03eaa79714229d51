"""Where is a comparison written down, so that it can be found again?

A comparison is a parent run and each model on each market a child of it. Only values reach this file, no backtest, and
only the process that opens a comparison writes to it. Nothing here deletes a record.
"""

import json
import os
import sqlite3
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from data.errors import MarginlabError, ParameterError
from research import records
from research.engines import TERMINATED, sigterm_raises
from research.reachability import is_database, knock, sqlite_file
from research.records import Artifact, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Read by MLflow at its import, and by the server that `ui_command` starts: no telemetry, no look-ups, no job
# runners, no addresses among our results.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # with the password in it, amid a result in JSON
}


class Tracker(Protocol):
    """Somewhere runs can go: five primitives, from which comparisons and recovery follow."""

    @abstractmethod
    def start(self, experiment: str, name: str, parent: str | None, tags: Mapping[str, str]) -> str:
        """Open a run, under a parent or at the top, and return its id."""

    @abstractmethod
    def write(self, run: str, record: Record) -> None:
        """Add to a run; a parameter is written once."""

    @abstractmethod
    def end(self, run: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""

    @abstractmethod
    def running(self) -> Iterable[tuple[str, Mapping[str, str]]]:
        """The id and the tags of every run that nobody closed."""

    @abstractmethod
    def url(self, run: str) -> str:
        """Where a run can be looked at."""

    @contextmanager
    def comparison(
        self, experiment: str, name: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> Iterator["Comparison"]:
        """Open a parent run; it ends FINISHED, FAILED on an exception, KILLED on Ctrl-C or SIGTERM.

        Tags that the caller should give: the hash of the data. Host, process and versions are added.
        """
        tags = {**records.provenance(), **tags}
        with sigterm_raises(), _open_run(self, experiment, name, None, Record(parameters, tags=tags)) as run:
            yield Comparison(self, experiment, run, tags)

    def recover(self) -> list[str]:
        """End as KILLED every open run whose process was on this host and is gone; return their ids."""
        stale = [run for run, tags in self.running() if records.is_gone(tags)]
        for run in stale:
            self.end(run, "KILLED")
        return stale


@dataclass(frozen=True)
class Comparison:
    """An open parent run; `tags` are those that its children inherit."""

    tracker: Tracker
    experiment: str
    id: str
    tags: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where the parent run can be looked at."""
        return self.tracker.url(self.id)

    def child(
        self,
        name: str,
        parameters: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str] | None = None,
        artifacts: Mapping[str, Artifact] | None = None,
    ) -> str:
        """Record one model on one market, and return the id of its run.

        `records.acceptable` tells what becomes of odd names, of metrics that are not finite and of long texts.
        """
        record = Record(
            parameters, metrics, {**self.tags, records.HEARTBEAT: records.now(), **(tags or {})}, artifacts or {}
        )
        with _open_run(self.tracker, self.experiment, name, self.id, record) as run:
            pass
        self.tracker.write(self.id, Record(tags={records.HEARTBEAT: records.now()}))
        return run

    def log(self, metrics: Mapping[str, float], artifacts: Mapping[str, Artifact] | None = None) -> None:
        """Add metrics and files to the parent run."""
        record = Record({}, metrics, {records.HEARTBEAT: records.now()}, artifacts or {})
        self.tracker.write(self.id, records.acceptable(record))


@contextmanager
def _open_run(tracker: Tracker, experiment: str, name: str, parent: str | None, record: Record) -> Iterator[str]:
    record = records.acceptable(record)
    run = tracker.start(experiment, name, parent, record.tags)
    try:
        tracker.write(run, replace(record, tags={}))
        yield run
    except BaseException as error:
        # The first error is the one to be seen, also where the store is what failed.
        with suppress(Exception):
            tracker.write(run, records.acceptable(Record(tags={"marginlab.error": f"{type(error).__name__}: {error}"})))
            tracker.end(run, _status(error))
        raise
    tracker.end(run, "FINISHED")


def _status(error: BaseException) -> str:
    killed = isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code == TERMINATED)
    return "KILLED" if killed else "FAILED"


class NullTracker(Tracker):
    """Writes nothing."""

    def start(self, *_: Any, **__: Any) -> str:
        """No run."""
        return ""

    def write(self, *_: Any, **__: Any) -> None:
        """Forget it."""

    def end(self, *_: Any, **__: Any) -> None:
        """Nothing to close."""

    def running(self) -> Iterable[tuple[str, Mapping[str, str]]]:
        """None."""
        return ()

    def url(self, *_: Any, **__: Any) -> str:
        """Nowhere."""
        return ""


class JsonTracker(Tracker):
    """One JSON file a run, `<folder>/<experiment>/<id>.json`, with its files beside it in `<id>/`; needs no package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def start(self, experiment: str, name: str, parent: str | None, tags: Mapping[str, str]) -> str:
        """Open a run as a file with status RUNNING."""
        run = f"{records.folder_name(experiment)}/{uuid4().hex}"
        facts = {"id": run, "experiment": experiment, "name": name, "parent": parent, "status": "RUNNING"}
        parts = {"parameters": {}, "metrics": {}, "tags": dict(tags)}
        self._save(run, {**facts, "started": records.now(), "ended": None, **parts})
        return run

    def write(self, run: str, record: Record) -> None:
        """Replace the run's file as a whole, and put its artifacts beside it."""
        content = self._load(run)
        for part in ("parameters", "metrics", "tags"):
            content[part].update(getattr(record, part))
        for name, artifact in record.artifacts.items():
            records.put(artifact, records.inside(self.folder / run, name))
        self._save(run, content)

    def end(self, run: str, status: str) -> None:
        """Note the status and the time."""
        self._save(run, {**self._load(run), "status": status, "ended": records.now()})

    def running(self) -> Iterable[tuple[str, Mapping[str, str]]]:
        """Runs whose file says RUNNING."""
        for path in sorted(self.folder.glob("*/*.json")):
            content = json.loads(path.read_bytes())
            if content["status"] == "RUNNING":
                yield content["id"], content["tags"]

    def url(self, run: str) -> str:
        """The address of the run's file."""
        return self._path(run).as_uri()

    def _path(self, run: str) -> Path:
        return self.folder / f"{run}.json"

    def _load(self, run: str) -> dict[str, Any]:
        return dict(json.loads(self._path(run).read_bytes()))

    def _save(self, run: str, content: Mapping[str, Any]) -> None:
        records.put(json.dumps(content, indent=1, allow_nan=False).encode(), self._path(run))


class MlflowTracker(Tracker):
    """Runs in an MLflow store, by default `sqlite:///<root>/mlruns/mlflow.db`; opened at the first use.

    Parameters
    ----------
    uri : the store; default MLFLOW_TRACKING_URI, and then the database under the root.
    root : the folder that holds `mlruns`; default MARGINLAB_MLRUNS, then the checkout, then the current folder.

    Raises
    ------
    MarginlabError
        If mlflow is missing, or the store cannot be opened or fails.
    """

    def __init__(self, uri: str | None = None, root: Path | None = None) -> None:
        self.uri = tracking_uri(uri, root)
        self.artifacts = _home(self.uri, root) / "artifacts"

    @cached_property
    def client(self) -> "MlflowClient":
        """The open store."""
        return open_store(self.uri, self.artifacts)

    def start(self, experiment: str, name: str, parent: str | None, tags: Mapping[str, str]) -> str:
        """Create the run, and its experiment where it is new."""
        family = {"mlflow.parentRunId": parent} if parent else {}
        with in_store(self.uri):
            run = self.client.create_run(self._experiment(experiment), run_name=name, tags={**tags, **family})
        return str(run.info.run_id)

    def write(self, run: str, record: Record) -> None:
        """One batch, and one copy of all files."""
        from mlflow.entities import Metric, Param, RunTag

        stamp = self._instant(run)
        metrics = [Metric(name, value, stamp, 0) for name, value in record.metrics.items()]
        parameters = [Param(name, text) for name, text in record.parameters.items()]
        tags = [RunTag(name, text) for name, text in record.tags.items()]
        with in_store(self.uri), tempfile.TemporaryDirectory(prefix="marginlab-") as folder:
            self.client.log_batch(run, metrics, parameters, tags)
            for name, artifact in record.artifacts.items():
                records.put(artifact, records.inside(Path(folder), name))
            if record.artifacts:
                self.client.log_artifacts(run, folder)

    def _instant(self, run: str) -> int:  # noqa: ARG002  a registry's depends on it
        """When metrics were measured, in milliseconds since 1970."""
        return int(datetime.now(UTC).timestamp() * 1000)

    def end(self, run: str, status: str) -> None:
        """Set the final status."""
        with in_store(self.uri):
            self.client.set_terminated(run, status)

    def running(self) -> Iterable[tuple[str, Mapping[str, str]]]:
        """Runs of every experiment that MLflow has as RUNNING."""
        with in_store(self.uri):
            experiments = [one.experiment_id for one in _every_page(self.client.search_experiments)]
            open_runs = list(_every_page(self.client.search_runs, experiments, "attributes.status = 'RUNNING'"))
        return [(run.info.run_id, run.data.tags) for run in open_runs]

    def url(self, run: str) -> str:
        """The run's page, on the server of the store or on that of `marginlab ui`."""
        server = records.OWN_PAGES if is_database(self.uri) else records.public(self.uri).rstrip("/")
        with in_store(self.uri):
            return f"{server}/#/experiments/{self.client.get_run(run).info.experiment_id}/runs/{run}"

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            return self._new_experiment(name)
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _new_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        kind = {"mlflow.experimentKind": "custom_model_development"}  # or its page opens on language-model traces
        location = (self.artifacts / records.folder_name(name)).as_uri() if is_database(self.uri) else None
        try:
            return str(self.client.create_experiment(name, location, tags=kind))
        except MlflowException:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)  # another process made it in the meantime


def tracking_uri(uri: str | None = None, root: Path | None = None) -> str:
    """The store: an explicit URI or root, else MLFLOW_TRACKING_URI, else the database under the default root."""
    if uri or (root is None and (uri := os.environ.get("MLFLOW_TRACKING_URI"))):
        return uri
    return f"sqlite:///{mlruns_folder(root) / 'mlflow.db'}"


def mlruns_folder(root: Path | None = None) -> Path:
    """`<root>/mlruns`, absolute; the root is MARGINLAB_MLRUNS, else the checkout, else the current folder."""
    checkout = records.CODE if (records.CODE / "pyproject.toml").is_file() else Path.cwd()
    return (root or Path(os.environ.get("MARGINLAB_MLRUNS") or checkout)).resolve() / "mlruns"


def open_store(uri: str, artifacts: Path) -> "MlflowClient":
    """Open a store; a database is set up first, by one process at a time and in WAL mode.

    Raises
    ------
    MarginlabError
        If mlflow is missing or the store cannot be opened.
    """
    os.environ.update(ENVIRONMENT)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MarginlabError(f"MlflowTracker needs mlflow ({error}): install it, or record with JsonTracker") from error
    from filelock import FileLock

    with in_store(uri):
        knock(uri)
        if not is_database(uri):
            return MlflowClient(uri)
        artifacts.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(artifacts.parent / "mlflow.lock", timeout=120):
            _set_up(uri, artifacts)
            return MlflowClient(uri)


@contextmanager
def in_store(uri: str) -> Iterator[None]:
    """Whatever the store raises within becomes a MarginlabError that names it, without its credentials."""
    try:
        yield
    except MarginlabError:
        raise
    except Exception as error:
        reason = records.masked(" ".join(str(error).split()), uri)[:300]
        public = records.public(uri)
        # A traceback would show the driver's own text, and with it what is masked here.
        raise MarginlabError(f"the store of runs {public} failed: {reason}") from error if public == uri else None


def _set_up(uri: str, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if file := sqlite_file(uri):
        with closing(sqlite3.connect(file, timeout=60)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    # Told where artifacts go, or its default experiment would point into the current folder.
    SqlAlchemyStore(uri, artifacts.as_uri())  # type: ignore[no-untyped-call]


def ui_command(root: Path | None = None, port: int = 5000, host: str = "127.0.0.1") -> list[str]:
    """The command that shows the store in a browser; its settings go into this process's environment, to be inherited.

    Raises
    ------
    ParameterError
        If the store is a server, which has a page of its own.
    """
    uri = tracking_uri(None, root)
    if not is_database(uri):
        raise ParameterError(f"expected a database of runs, got {records.public(uri)}: open the page of that server")
    # Not an argument: a command line, and a password in it, can be read by everybody on the machine.
    os.environ.update(ENVIRONMENT, MLFLOW_BACKEND_STORE_URI=uri)
    artifacts = (_home(uri, root) / "artifacts").as_uri()
    options = ["--default-artifact-root", artifacts, "--host", host, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *options]


def _every_page(search: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    page = search(*arguments)
    yield from page
    while page.token:
        page = search(*arguments, page_token=page.token)
        yield from page


def _home(uri: str, root: Path | None) -> Path:
    """The folder of a database's lock and artifacts: its own for a file, `mlruns` for others."""
    file = sqlite_file(uri)
    return file.parent if file else mlruns_folder(root)
