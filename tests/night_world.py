"""Where do the nights that faults strike start, what do they come to undisturbed, and what did they compute?"""

import pickle
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from night_judge import NAMED, Calls, Deed, Facts, Reads, Steps, charged, ended, fingerprint, killed, roles_of

from night_studies import DAYS, Kept, night, study_file
from research import nightly, nightly_job
from research.model_files import write_model
from research.night_data import NightData
from research.night_state import MarketState, read_state
from research.nightly import judged_market
from research.registry import Registry

STORE = "mlruns"  # MLflow's, beside the state


@dataclass
class World:
    """Where nights start, what undisturbed deeds come to, and what was computed."""

    place: Path
    facts: dict[str, Facts] = field(default_factory=dict)
    memory: dict[Any, Any] = field(default_factory=dict)

    def begin(self, base: str, folder: Path) -> Path:
        """A copy of a base."""
        shutil.copytree(self.place / base, folder)
        return folder


def _known(night: nightly.Night, told: NightData, state: MarketState) -> tuple[str, str, str]:
    return night.key, told.hash, replace(state, stale="", since="").digest


def remembering(memory: dict[Any, Any]) -> Callable[..., dict[str, Any]]:
    """`judged_market`, that remembers what it answered and which models it wrote."""

    def judged(night: nightly.Night, told: NightData, state: MarketState) -> dict[str, Any]:
        written = []

        def write(model: Any, folder: Path) -> str:
            written.append(model)
            return write_model(model, folder)

        with mock.patch.object(nightly, "write_model", write):
            facts = judged_market(night, told, state)
        memory[_known(night, told, state)] = (facts, written)
        return facts

    return judged


def remembered(memory: dict[Any, Any]) -> Callable[..., dict[str, Any]]:
    """`judged_market`, that writes what it wrote then and answers as it did then."""

    def judged(night: nightly.Night, told: NightData, state: MarketState) -> dict[str, Any]:
        if _known(night, told, state) not in memory:
            return judged_market(night, told, state)
        facts, written = memory[_known(night, told, state)]
        for model in written:
            write_model(model, night.models)
        return {**facts, "given": state.digest}

    return judged


def prepare_store(place: Path) -> None:
    """Three nights, told to a store of MLflow beside them; one file of it, without a log that is still to be read."""
    registry = Registry(root=place)
    for day in DAYS[:3]:
        assert night(place, day, place / "study.py", registry)["exit"] == 0
    with closing(sqlite3.connect(place / STORE / "mlflow.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def prepare(world: World, store: bool) -> None:
    """Every base, and every deed undisturbed: its roles, hash, margins and number of moments."""
    place = world.place
    with mock.patch.object(nightly_job, "judged_market", remembering(world.memory)):
        (place / "nothing" / "state").mkdir(parents=True)
        study_file(place / "nothing")
        for base, before, days in (("two", "nothing", DAYS[:2]), ("three", "two", DAYS[2:3])):
            folder = world.begin(before, place / base)
            for day in days:
                assert night(folder, day, folder / "study.py")["exit"] == 0
        folder = world.begin("three", place / "waiting")
        assert night(folder, DAYS[3], study_file(folder, spoil="closes.iloc[10] *= 1.01"))["exit"] == 4
        folder = world.begin("two", place / "started")
        with suppress(KeyboardInterrupt), mock.patch.object(nightly_job, "put_in_force", side_effect=KeyboardInterrupt):
            night(folder, DAYS[2], folder / "study.py")
        folder, down = world.begin("nothing", place / "untold"), Kept()
        down.down = True
        for day in DAYS[:3]:
            assert night(folder, day, folder / "study.py", down)["exit"] == 0
        if store:
            prepare_store(world.begin("nothing", place / "told"))
        for deed in NAMED.values():
            world.facts[deed.name] = undisturbed(world, deed)
    with mock.patch.object(nightly_job, "judged_market", remembered(world.memory)):
        for deed in NAMED.values():
            count_moments(world, deed)


def undisturbed(world: World, deed: Deed) -> Facts:
    """What a deed starts from and comes to."""
    folder = world.begin(deed.base, world.place / f"{deed.name}-done")
    facts = Facts([roles_of(read_state(folder / "state"))], [], [charged(folder)])
    assert deed.do(folder) == 0, deed.name
    facts.roles.append(roles_of(read_state(folder / "state")))
    facts.margins.append(charged(folder))
    facts.hashes.append(fingerprint(folder))
    return facts


def count_moments(world: World, deed: Deed) -> None:
    """How many moments of each sort a deed has that a fault may strike at."""
    facts = world.facts[deed.name]
    for name, sort in (("steps", Steps), ("reads", Reads), ("calls", Calls)):
        folder, moments = world.begin(deed.base, world.place / f"{deed.name}-{name}"), sort(10**9, killed)
        with moments.hooked():
            assert deed.do(folder) == 0, deed.name
        assert fingerprint(folder) == facts.hashes[-1]
        setattr(facts, name, moments.seen)


def loaded(place: Path, store: bool = True) -> World:
    """The world, prepared in a child: what it computes may start threads."""
    world = World(place)

    def work() -> int:
        prepare(world, store)
        (place / "world").write_bytes(pickle.dumps((world.facts, world.memory)))
        return 0

    assert ended(work, sys.stderr) == 0, "the undisturbed nights must end well"
    world.facts, world.memory = pickle.loads((place / "world").read_bytes())
    return world
