"""Where do the nights that faults strike start, what do they come to undisturbed, and what did they compute?"""

import pickle
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from night_judge import DEEDS, Deed, Facts, Steps, charged, ended, fingerprint, killed, roles_of

from night_studies import DAYS, night, study_file
from research import nightly, nightly_job
from research.model_files import write_model
from research.night_data import NightData
from research.night_state import MarketState, read_state
from research.nightly import judged_market


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


def prepare(world: World) -> None:
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
        for deed in DEEDS:
            world.facts[deed.name] = undisturbed(world, deed)


def undisturbed(world: World, deed: Deed) -> Facts:
    """What a deed starts from and comes to."""
    folder, steps = world.begin(deed.base, world.place / f"{deed.name}-done"), Steps(10**9, killed)
    facts = Facts([roles_of(read_state(folder / "state"))], [], [charged(folder)])
    with steps.hooked():
        assert deed.do(folder) == 0, deed.name
    facts.roles.append(roles_of(read_state(folder / "state")))
    facts.margins.append(charged(folder))
    facts.hashes.append(fingerprint(folder))
    facts.steps = steps.seen
    return facts


def loaded(place: Path) -> World:
    """The world, prepared in a child: what it computes may start threads."""
    world = World(place)

    def work() -> int:
        prepare(world)
        (place / "world").write_bytes(pickle.dumps((world.facts, world.memory)))
        return 0

    assert ended(work, sys.stderr) == 0, "the undisturbed nights must end well"
    world.facts, world.memory = pickle.loads((place / "world").read_bytes())
    return world
