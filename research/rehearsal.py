"""Would these nights have gone well, and would two bad ones among them have been caught?

Nights are run one after the other on a market's real past, exactly as `marginlab nightly` runs them. Into two of them
something is planted: the newest price of one asset is a tenth of what it was, and the search of the newest fit is
asked for more than a number can hold, so that it never arrives. Both have to be refused, and what was in force has to
stay in force, byte for byte.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from data import ConvergenceError, MarketHistory, ParameterError
from data.storage import sha256_of, store_folder, write_whole
from margin_models import MarginModel
from margin_models.volatility.garch_fits import fit_windows
from research import nightly, rehearsal_study
from research.measured_parameters import refused_fits
from research.night_journal import Recorder
from research.night_report import DONE, PARAMETERS, REFUSED, Log
from research.night_state import read_state
from research.nightly_job import NightRequest, read_plan, run_night
from research.study import Market, Study

POISONED, DIVERGED = "poisoned data", "diverged fit"
TENTH = 0.1
_NEVER = -1.0  # what a last step of the search must promise less than: none does
_STUDY = '''"""Written by `marginlab rehearse`: the study, with {what}."""

from pathlib import Path

from research import rehearsal
from research.nightly_job import read_plan

_PLAN = read_plan(Path({study!r}))


def study():
    return rehearsal.spoilt(_PLAN.study, {day!r})


def limits():
    return _PLAN.limits
'''

_FILES = '''"""Written by `marginlab rehearse`: a study of prices of one's own."""

from research import rehearsal_study


def study():
    return rehearsal_study.of_files({files!r})


limits = rehearsal_study.limits
'''


@dataclass(frozen=True)
class RehearsedNight:
    """One night of a rehearsal.

    `planted` is POISONED, DIVERGED or ""; `result` what the night answered; `kept` whether what is published are the
    bytes of the night before.
    """

    day: str
    planted: str
    result: dict[str, Any]
    kept: bool

    @property
    def caught(self) -> bool:
        """Whether a planted night was refused, and changed nothing that is published; True where nothing was."""
        return not self.planted or (self.result["exit"] == REFUSED and self.kept)


@dataclass(frozen=True)
class Rehearsal:
    """The nights, and the folder that they are in: `marginlab status --state` shows it."""

    folder: Path
    nights: tuple[RehearsedNight, ...]

    @property
    def caught(self) -> int:
        """How many of the planted nights were refused."""
        return sum(bool(one.planted) and one.caught for one in self.nights)

    @property
    def planted(self) -> int:
        """How many nights something was planted in."""
        return sum(bool(one.planted) for one in self.nights)

    @property
    def exit(self) -> int:
        """0 where every planted night was refused, and no other one ended with anything but 0 or 4; else 1."""
        sound = all(one.result["exit"] in (DONE, REFUSED) for one in self.nights)
        return DONE if sound and all(one.caught for one in self.nights) else 1


def rehearsed(
    study: Path,
    folder: Path,
    count: int = 30,
    *,
    plant: bool = True,
    jobs: int = 1,
    recorder: Recorder | None = None,
    say: Log | None = None,
    told: Callable[[RehearsedNight], None] = lambda _: None,
) -> Rehearsal:
    """Run the newest `count` nights that a study's markets have, in a new folder; `told` hears of each when it is done.

    Raises
    ------
    ParameterError
        If the folder has nights already, there are fewer than five nights, or the markets have fewer days.
    MarginlabError
        What a night raises (`research.nightly_job.run_night`).
    """
    if read_state(folder).nights:
        raise ParameterError(f"a rehearsal needs a folder without nights, got {folder}")
    days = _days(read_plan(study).study, count)
    plants = planned(count) if plant else {}
    nights = []
    for number, day in enumerate(days, start=1):
        nights.append(_night(study, folder, day, plants.get(number, ""), jobs, recorder, say or Log(quiet=True)))
        told(nights[-1])
    return Rehearsal(folder, tuple(nights))


def planned(count: int) -> dict[int, str]:
    """Which nights, from 1 on, something is planted in: before a challenger usually has its nights, and after.

    >>> planned(30), planned(5)
    ({8: 'poisoned data', 20: 'diverged fit'}, {2: 'poisoned data', 4: 'diverged fit'})
    """
    return {max(round(0.27 * count), 2): POISONED, max(round(0.67 * count), 4): DIVERGED}


def new_folder() -> Path:
    """A folder for a rehearsal that nobody named: the next free number in the store."""
    root = store_folder() / "rehearsals"
    taken = [int(path.name) for path in root.glob("*") if path.name.isdigit()]
    return root / f"{max(taken, default=0) + 1:03d}"


def study_file(folder: Path, files: Sequence[Path], study: Path | None) -> Path:
    """The study that is asked for: a file's, that of prices of one's own, or the one that comes with us.

    ParameterError where both prices and a study are said.
    """
    if files and study is not None:
        raise ParameterError(f"a rehearsal is of files or of a study, got {files[0]} and {study}")
    if study is not None or not files:
        return study or Path(rehearsal_study.__file__)
    place = folder / "rehearsal" / "study.py"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, _FILES.format(files=[str(file.resolve()) for file in files]).encode())
    return place


def spoilt(study: Study, day: str) -> Study:
    """The study, the first asset of its first market a tenth of its price at the end of a day."""
    first, *others = study.markets
    return replace(study, markets=(replace(first, load=partial(_poisoned, first, day)), *others))


def _poisoned(market: Market, day: str) -> MarketHistory:
    history = market.load()
    spot = np.array(history.spot)
    row = int(np.searchsorted(history.time, np.datetime64(day, "D") + np.timedelta64(1, "D"))) - 1
    spot[row, 0] *= TENTH
    return replace(history, spot=spot)


@contextmanager
def diverging() -> Iterator[None]:
    """Fits of the newest window do not converge: a GARCH's search never arrives, a model without a search breaks."""
    fit = nightly.fit_tonight

    def starved(model: MarginModel, history: MarketHistory, plan: Market) -> MarginModel:
        with mock.patch("margin_models.volatility.garch.fit_windows", partial(fit_windows, tolerance=_NEVER)):
            found = fit(model, history, plan)
        if not refused_fits(found):
            raise ConvergenceError(f"{found!r}: planted by a rehearsal: the fit did not converge")
        return found

    with mock.patch.object(nightly, "fit_tonight", starved):
        yield


def _days(study: Study, count: int) -> list[str]:
    """The newest days of which every market has a row, as ISO dates."""
    if count < 5:
        raise ParameterError(f"a rehearsal has at least 5 nights, got {count}")
    each = [np.unique(market.load().time.astype("datetime64[D]")) for market in study.markets]
    common = sorted(set.intersection(*(set(days.tolist()) for days in each)))
    if len(common) < count + max(market.window for market in study.markets):
        raise ParameterError(f"{count} nights and a window need more days than {study.name} has: {len(common)}")
    return [day.isoformat() for day in common[-count:]]


def _night(
    study: Path, folder: Path, day: str, planted: str, jobs: int, recorder: Recorder | None, say: Log
) -> RehearsedNight:
    file = _study_of(study, folder, day) if planted == POISONED else study
    before = _published(folder)
    with diverging() if planted == DIVERGED else nullcontext():
        result = run_night(NightRequest(day, file, folder, jobs=jobs), recorder, say)
    return RehearsedNight(day, planted, result, _published(folder) == before)


def _study_of(study: Path, folder: Path, day: str) -> Path:
    """The study file of a poisoned night."""
    place = folder / "rehearsal" / f"poisoned_{day.replace('-', '_')}.py"
    place.parent.mkdir(parents=True, exist_ok=True)
    what = f"the newest price of its first asset a tenth of what it was on {day}"
    write_whole(place, _STUDY.format(study=str(study.resolve()), day=day, what=what).encode())
    return place


def _published(folder: Path) -> str:
    path = folder / PARAMETERS
    return sha256_of(path.read_bytes()) if path.exists() else ""
