"""Where can a team look up which margin model is in force, what came before, and load it without trusting the store?

On MLflow: a registered model a market, a version a fitted model, the aliases champion, challenger and previous. A
version is a folder of `research.model_files` among the artifacts of the night that made it, with its sha256 as a tag;
it is never a pickle and never opened by `mlflow.pyfunc`. The state of the nights is what counts; this follows it,
entry by entry, each taken in once however often it is told. Aliases move one at a time, `previous` before `champion`:
whoever asks in between gets the old champion or the new one.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import MarginlabError, SnapshotError
from margin_models import MarginModel
from research import records
from research.model_files import from_files, verified
from research.night_journal import Entry
from research.reachability import knock
from research.records import Artifact, Record, acceptable
from research.tracking import MlflowTracker, in_store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ENTRY, MODEL = "marginlab.entry", "marginlab.model"
ALIASES = ("previous", "champion", "challenger")  # in the order in which they move


class Registry(MlflowTracker):
    """Nights and models in an MLflow store; `uri` and `root` as of `MlflowTracker`.

    Raises
    ------
    MarginlabError
        If mlflow is missing, or the store cannot be opened or fails.
    SnapshotError
        If what it holds is not what was registered.
    """

    def __init__(self, uri: str | None = None, root: Path | None = None) -> None:
        # An answer that was lost, asked for again by MLflow, makes a second run; the journal looks for the first.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        super().__init__(uri, root)

    def receive(self, entry: Entry, id: str, folder: Path) -> str:  # noqa: A002  as the protocol has it
        """Take an entry in once: run, files, versions, aliases; "known" where it was there, whole."""
        with in_store(self.uri):
            knock(self.uri)  # again: it may have died since it was opened, hours ago
            run, known = self._run(entry, id)
            if known:
                return "known"
            files = {name: _inside(folder, place) for name, place in entry.files.items()}
            for _, model in entry.models:
                files |= {f"models/{model}/{path.name}": path for path in _files_of(folder, model)}
            self.write(run, acceptable(_record(entry, files)))
            for name, model in entry.models:
                self._register(name, model, run)
            for name, told in entry.aliases.items():
                self._move(name, told)
            self.end(run, "FINISHED")
        return f"run {run}"

    def _instant(self, run: str) -> int:
        """The run's own: a metric that is told again is then the same point, and not a second one."""
        return int(self.client.get_run(run).info.start_time)

    def aliases(self, name: str) -> dict[str, str]:
        """What the aliases of a registered model mean: sha256 of model files by alias; empty where it is unknown."""
        with in_store(self.uri):
            found = self._versions(name)
            told = self.client.get_registered_model(name).aliases if found else {}
            by_version = {str(version.version): str(version.tags.get(MODEL, "")) for version in found}
            return {alias: by_version.get(str(version), "") for alias, version in told.items()}

    def load(self, name: str, alias: str = "champion", expected: str | None = None) -> MarginModel:
        """The model that an alias means, its files verified before a byte of them is interpreted.

        `expected` is the sha256 that a caller knows from elsewhere (`marginlab status`); the registry's own tag where
        None. SnapshotError where the files are other ones, or the alias means nothing.
        """
        model = expected or self.aliases(name).get(alias, "")
        version = next((one for one in self._versions(name) if one.tags.get(MODEL) == model), None)
        if not re.fullmatch(r"[0-9a-f]{64}", model) or version is None:
            raise SnapshotError(f"{name} must have a version that {alias} means, got {model or 'none'}")
        with tempfile.TemporaryDirectory(prefix="marginlab-") as place:
            with in_store(self.uri):
                found = self.client.download_artifacts(str(version.run_id), f"models/{model}", place)
            return from_files(verified(Path(found), model))

    def _run(self, entry: Entry, id: str) -> tuple[str, bool]:  # noqa: A002
        """The run of an entry, and whether it was told to its end before."""
        experiment = self._experiment(entry.experiment)
        found = list(self.client.search_runs([experiment], f"tags.`{ENTRY}` = '{id}'"))
        whole = [run for run in found if run.info.status == "FINISHED"]
        if found:
            return str((whole or found)[0].info.run_id), bool(whole)
        tags = acceptable(Record(tags={**records.provenance(), ENTRY: id})).tags
        return self.start(entry.experiment, entry.name, None, tags), False

    def _versions(self, name: str) -> "list[ModelVersion]":
        return list(self.client.search_model_versions(f"name = '{_quoted(name)}'", max_results=10_000))

    def _register(self, name: str, model: str, run: str) -> None:
        """A version of these files, unless there is one."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if all(version.tags.get(MODEL) != model for version in self._versions(name)):
            source = f"runs:/{run}/models/{model}"
            self.client.create_model_version(name, source, run, {MODEL: model}, await_creation_for=0)

    def _move(self, name: str, told: Mapping[str, str]) -> None:
        """Let the aliases mean what they are told to, one at a time."""
        by_model = {str(version.tags.get(MODEL)): str(version.version) for version in self._versions(name)}
        before = self.client.get_registered_model(name).aliases if by_model else {}
        for alias in ALIASES:
            wanted = by_model.get(told.get(alias, ""))
            if wanted is not None and str(before.get(alias)) != wanted:
                self.client.set_registered_model_alias(name, alias, wanted)
            if wanted is None and alias in before:
                self.client.delete_registered_model_alias(name, alias)


def recorder(uri: str | None = None) -> Registry:
    """The registry of a store, or of the default one; MarginlabError where mlflow is missing."""
    from importlib.util import find_spec

    if find_spec("mlflow") is None:
        raise MarginlabError("the registry needs mlflow: install it, or say --no-track")
    return Registry(uri)


def _record(entry: Entry, files: Mapping[str, Path]) -> Record:
    artifacts: dict[str, Artifact] = dict(files)
    return Record(entry.parameters, entry.metrics, entry.tags, artifacts)


def _inside(folder: Path, place: str) -> Path:
    """A file of the state's folder; SnapshotError where it leads elsewhere or is gone."""
    path = (folder / place).resolve()
    if folder.resolve() not in path.parents or not path.is_file():
        raise SnapshotError(f"an entry names files of {folder}, got {place!r}")
    return path


def _files_of(folder: Path, model: str) -> list[Path]:
    place = folder / "models" / model
    if not re.fullmatch(r"[0-9a-f]{64}", model) or not place.is_dir():
        raise SnapshotError(f"an entry names models of {folder}, got {model!r}")
    return sorted(path for path in place.iterdir() if not path.name.startswith("."))


def _quoted(name: str) -> str:
    if "'" in name or '"' in name:
        raise SnapshotError(f"a registered model has no quotes in its name, got {name!r}")
    return name
