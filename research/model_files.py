"""How is a margin model kept as files that anybody can read, and nobody can slip a program into?

Never a pickle. `model.json` says what the model is: the names of our classes, their parameters and their fitted state
(everything that an instance holds); `arrays.npz` holds the arrays, `booster-N.txt` LightGBM's own text. The manifest
(`manifest.json`, sealed by a checksum of its own) names every file by its sha256, and the sha256 of the manifest names
the model. Reading goes the other way: the manifest, the hash of every file, and only then is a byte of one interpreted;
classes are looked up in the list of ours, so that a file can name no other. The fitted state is stored, not refitted:
it is exact to the last bit on any machine, and yesterday's model can be asked without yesterday's data.
"""

import dataclasses
import importlib
import io
import json
import math
import pkgutil
import re
import zipfile
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data import Coverage, ParameterError
from data.errors import SnapshotError
from data.sealed import SEAL, encoded, sealed, unsealed
from data.storage import sha256_of, write_whole
from margin_models import MarginModel
from margin_models.overlays.memory import Memory

FORMAT = 1
MANIFEST, MODEL, ARRAYS = "manifest.json", "model.json", "arrays.npz"
MOST_BYTES = 1 << 30  # of one file, and of all arrays together: what declares more is refused unread
_NAME = re.compile(r"model\.json|arrays\.npz|booster-[0-9]{1,4}\.txt")
_DEEPEST = 60
Files = dict[str, bytes]


def to_files(model: MarginModel) -> Files:
    """A model, fitted or not, as files by name, the manifest among them; the same model gives the same bytes.

    ParameterError for a model, or a part of one, that is not ours or is no plain data.
    """
    writer = _Writer()
    root = writer.node(model, "model")
    files = {MODEL: encoded({"format": FORMAT, "model": root}), **writer.boosters}
    if writer.arrays:
        buffer = io.BytesIO()
        arrays: dict[str, Any] = dict(writer.arrays)
        np.savez(buffer, allow_pickle=False, **arrays)
        files[ARRAYS] = buffer.getvalue()
    told = {name: {"sha256": sha256_of(files[name]), "bytes": len(files[name])} for name in sorted(files)}
    return {**files, MANIFEST: sealed({"format": FORMAT, "class": type(model).__name__, "files": told})}


def hash_of(files: Mapping[str, bytes]) -> str:
    """The name of a model: sha256 of its manifest, and so of everything in it."""
    return sha256_of(files[MANIFEST])


def write_model(model: MarginModel, folder: Path) -> str:
    """Put a model under its hash in a folder of models, the manifest last; what is there and whole stays.

    Raises ParameterError as `to_files`, and OSError where the folder cannot be written.
    """
    files = to_files(model)
    name = hash_of(files)
    place = folder / name
    try:
        verified(place, name)
    except SnapshotError:
        place.mkdir(parents=True, exist_ok=True)
        for file in sorted(files, key=lambda file: file == MANIFEST):
            write_whole(place / file, files[file])
    return name


def read_model(folder: Path, name: str) -> MarginModel:
    """The model of this hash; SnapshotError unless every byte is what was written under that name."""
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        raise SnapshotError(f"a model is named by 64 hex digits, got {name!r}")
    return from_files(verified(folder / name, name))


def verified(place: Path, name: str) -> Files:
    """The files of a model in a folder, every one checked against the manifest, and that against the model's name.

    SnapshotError for another byte, a file too few or too many, or one that is a link or leads elsewhere. Nothing is
    interpreted but the manifest, and that only after its own checksum.
    """
    if not place.is_dir():
        raise SnapshotError(f"expected the model {name[:12]} in {place}, got no such folder")
    found = sorted(path.name for path in place.iterdir() if not path.name.startswith("."))
    if any((place / file).is_symlink() or not (place / file).is_file() for file in found):
        raise SnapshotError(f"{place} must hold plain files alone, got a link or a folder among {found}")
    payloads = {file: _bounded(place / file) for file in found if file == MANIFEST}
    if MANIFEST not in payloads or sha256_of(payloads[MANIFEST]) != name:
        raise SnapshotError(f"{place / MANIFEST} must have the sha256 {name}: the model is not the one that was kept")
    told = unsealed(place / MANIFEST)["files"]
    if sorted([*told, MANIFEST]) != found or not all(_NAME.fullmatch(file) for file in told):
        raise SnapshotError(f"{place} must hold {sorted(told)} and a manifest, got {found}")
    for file, facts in told.items():
        payloads[file] = _bounded(place / file)
        if sha256_of(payloads[file]) != facts["sha256"]:
            raise SnapshotError(f"{place / file} must have the sha256 {facts['sha256']}: the file is damaged")
    return payloads


def from_files(files: Mapping[str, bytes]) -> MarginModel:
    """The model that `to_files` told; SnapshotError for anything else. Files of a disk are `verified` first."""
    facts = json.loads(files[MANIFEST])
    seal = facts.pop(SEAL, None)
    told = facts.get("files", {})
    if seal != sha256_of(encoded(facts)) or any(sha256_of(files[file]) != told[file]["sha256"] for file in told):
        raise SnapshotError("the files of a model must match their manifest, got other bytes")
    try:
        arrays = _arrays(files[ARRAYS]) if ARRAYS in told else {}
        content = json.loads(files[MODEL])
        if content["format"] != FORMAT:
            raise SnapshotError(f"expected a model of format {FORMAT}, got {content['format']!r}")
        model = _Reader(arrays, files).value(content["model"])
    except SnapshotError:
        raise
    except Exception as error:  # whole files that nobody of ours wrote may be wrong in any way
        raise SnapshotError(f"these files hold no model of format {FORMAT}: {type(error).__name__}: {error}") from error
    if not isinstance(model, MarginModel):
        raise SnapshotError(f"expected a margin model, got {type(model).__name__}")
    return model


def _bounded(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SnapshotError(f"{path} must have at most {MOST_BYTES} bytes, got {size}")
        return path.read_bytes()
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror}") from error


def _arrays(payload: bytes) -> dict[str, np.ndarray]:
    """Arrays of plain numbers and texts; an archive that would unpack to more than MOST_BYTES is not unpacked."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MOST_BYTES:
        raise SnapshotError(f"the arrays of a model must have at most {MOST_BYTES} bytes, got {size}")
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@cache
def known_classes() -> Mapping[str, type]:
    """Every class that a model's files may name: models, forecasters, estimators and records of `margin_models`.

    >>> "margin_models.span.SpanLike" in known_classes(), "builtins.eval" in known_classes()
    (True, False)
    """
    from sklearn.base import BaseEstimator

    import margin_models

    found: dict[str, type] = {"data.coverage.Coverage": Coverage}
    for module in pkgutil.walk_packages(margin_models.__path__, "margin_models."):
        for value in vars(importlib.import_module(module.name)).values():
            ours = isinstance(value, type) and value.__module__.startswith("margin_models.")
            kept = (BaseEstimator, tuple, Enum, Memory)
            if ours and (issubclass(value, kept) or dataclasses.is_dataclass(value)):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


class _Writer:
    """Plain data as JSON, arrays and boosters beside it."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.boosters: Files = {}

    def node(self, value: object, where: str) -> Any:
        """One value; `where` is its place, for the error."""
        if where.count(".") > _DEEPEST:
            raise ParameterError(f"a model must be at most {_DEEPEST} parts deep, got {where}")
        if value is None or isinstance(value, bool | str) or type(value) is int:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"is": "float", "of": repr(value)}
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value, where)
        if type(value).__module__.partition(".")[0] == "lightgbm" and hasattr(value, "model_to_string"):
            name = f"booster-{len(self.boosters)}.txt"
            self.boosters[name] = value.model_to_string(num_iteration=-1).encode()
            return {"is": "booster", "of": name}
        return self._composed(value, where)

    def _array(self, value: np.ndarray | np.generic, where: str) -> Any:
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise ParameterError(f"{where} must be numbers or texts, got an array of {array.dtype}")
        name = f"a{len(self.arrays)}"
        self.arrays[name] = array
        return {"is": "array" if isinstance(value, np.ndarray) else "scalar", "of": name}

    def _composed(self, value: object, where: str) -> Any:
        kind = type(value)
        if type(value) is tuple or type(value) is list:
            items = [self.node(item, f"{where}.{n}") for n, item in enumerate(value)]
            return {"is": kind.__name__, "of": items}
        if isinstance(value, bytes):
            return {"is": "bytes", "of": value.hex()}
        if isinstance(value, type) and known_classes().get(_name(value)) is value:
            return {"is": "class", "of": _name(value)}
        if isinstance(value, Mapping):
            pairs = [[self.node(key, where), self.node(item, f"{where}.{key}")] for key, item in value.items()]
            return {"is": "dict", "of": pairs}
        name = _name(kind)
        if known_classes().get(name) is not kind:
            raise ParameterError(
                f"{where} must be plain data or one of our classes, got {name}: it is not ours to keep"
            )
        state = {key: self.node(item, f"{where}.{key}") for key, item in sorted(_held(value).items())}
        return {"is": "object", "class": name, "of": state}


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _held(value: Any) -> dict[str, Any]:
    """What makes up an object of ours; what it only remembers, to be faster, is left out."""
    if isinstance(value, tuple):
        return dict(zip(type(value)._fields, value, strict=True))  # type: ignore[attr-defined]
    if isinstance(value, Memory):
        return {}
    if isinstance(value, Enum):
        return {"name": value.name}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return dict(vars(value))


class _Reader:
    """The values that a writer told."""

    def __init__(self, arrays: Mapping[str, np.ndarray], files: Mapping[str, bytes]) -> None:
        self._arrays = arrays
        self._files = files

    def value(self, node: Any) -> Any:
        """One value; KeyError, TypeError or SnapshotError for what was not written by a writer."""
        if not isinstance(node, dict):
            return node
        kind, of = node["is"], node["of"]
        if kind == "float":
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[of]
        if kind in ("array", "scalar"):
            return self._arrays[of] if kind == "array" else self._arrays[of][()]
        if kind == "booster":
            from lightgbm import Booster

            return Booster(model_str=self._files[of].decode())
        if kind in ("tuple", "list"):
            return (tuple if kind == "tuple" else list)(self.value(item) for item in of)
        if kind == "bytes":
            return bytes.fromhex(of)
        if kind == "class":
            return known_classes()[of]
        if kind == "dict":
            return {self.value(key): self.value(item) for key, item in of}
        return self._object(known_classes()[node["class"]], {key: self.value(item) for key, item in of.items()})

    @staticmethod
    def _object(kind: type, state: dict[str, Any]) -> Any:
        if issubclass(kind, Enum):
            return kind[state["name"]]
        if issubclass(kind, tuple | Memory):
            return kind(**state)
        made = object.__new__(kind)
        for key, value in state.items():
            object.__setattr__(made, key, value)
        return made
