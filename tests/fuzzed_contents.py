"""What is read of a file whose content is another, under a checksum that is right?"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzzed_draws import (
    Draw,
    WrongAnswerError,
    holds,
    models,
    published,
    state,
)

from data.sealed import encoded, sealed, unsealed
from data.storage import sha256_of
from margin_models import MarginModel
from research.model_files import MANIFEST, from_files, to_files
from research.night_state import commit, read_state
from research.parameters import parse_parameters


def mutated(draw: Draw, value: Any) -> Any:
    """Plain data with one thing in it changed, lost or added."""
    if isinstance(value, dict) and value and draw.chance(0.9):
        name = draw.one(sorted(value))
        changed = {**value, name: mutated(draw, value[name])}
        if draw.chance(0.1):
            del changed[name]
        if draw.chance(0.05):
            changed[draw.one(("extra", "", "hash", "../x"))] = 1
        return changed
    if isinstance(value, list | tuple) and value and draw.chance(0.9):
        at = int(draw.rng.integers(len(value)))
        told = [*value]
        told[at] = mutated(draw, told[at])
        return told[: len(told) - draw.chance(0.1)]
    return draw.like(value, 0.3)


def read_published(draw: Draw) -> str:
    """A published file with a bit flipped, or with another content and a right hash; and what it charges."""
    told, payload = published()
    exposure = draw.numbers((3, 3), 0.0) * 10.0 ** draw.rng.integers(-3, 9)
    if draw.chance(0.3):
        damaged = bytearray(payload)
        damaged[int(draw.rng.integers(len(damaged)))] ^= 1 << int(draw.rng.integers(8))
        parse_parameters(bytes(damaged[: len(damaged) - int(draw.chance(0.2)) * int(draw.rng.integers(1, 99))]))
        raise WrongAnswerError("a damaged file was read")
    facts = mutated(draw, {name: value for name, value in json.loads(payload).items() if name != "hash"})
    if not isinstance(facts, dict):
        facts = {"facts": facts}
    try:
        forged = encoded({**facts, "hash": sha256_of(encoded(facts))})
    except (ValueError, TypeError):
        return "not written"
    read = parse_parameters(forged)
    for one in read.markets.values():
        if len(one.assets) == len(told.assets):
            margin = one.charge(exposure)
            holds(bool((np.isfinite(margin) & (margin >= 0)).all()), margin)
    return "answered"


def read_files(draw: Draw) -> str:
    """A state, a sealed file or a model, whose content is another under a right checksum."""
    if draw.chance(0.5):
        with tempfile.TemporaryDirectory(dir=_memory()) as place:
            folder = Path(place)
            commit(folder, state())
            path = folder / "state.json"
            facts = mutated(draw, unsealed(path))
            try:
                path.write_bytes(sealed(facts) if isinstance(facts, dict) else json.dumps(facts).encode())
            except (ValueError, TypeError):
                return "not written"
            told = read_state(folder)
            holds(isinstance(told.number, int), told.number)
        return "answered"
    model = draw.one(models())
    files = to_files(model if draw.chance(0.5) else type(model)(**model.get_params(deep=False)))
    content = mutated(draw, json.loads(files["model.json"]))
    try:
        files["model.json"] = encoded(content if isinstance(content, dict) else {"x": content})
        facts = json.loads(files[MANIFEST])
        facts.pop("manifest")
        facts["files"]["model.json"] = {
            "sha256": sha256_of(files["model.json"]),
            "bytes": len(files["model.json"]),
        }
        files[MANIFEST] = sealed(facts)
    except (ValueError, TypeError):
        return "not written"
    holds(isinstance(from_files(files), MarginModel), "no model")
    return "answered"


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
