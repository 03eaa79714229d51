"""What did the nights come to, to somebody who has their folder and a notebook?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data import MarginlabError, ParameterError
from data.axes import axes
from research.night_commit import stored
from research.night_report import published_file
from research.night_state import MarketState, NightState, Version, read_state
from research.night_status import MEANING
from research.parameters import MarginParameters, read_parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LATELY = 60  # nights, where nobody says how many
_COLUMNS = ("exit", "version", "verdict", "in force", "why")


@dataclass(frozen=True, eq=False, repr=False)
class Nights:
    """What is in force in a folder of nights, and what the newest of them came to.

    Parameters
    ----------
    state : what is in force.
    results : of the nights, oldest first, as each was told; of one whose file is damaged only what the state says.
    published : the files of parameters that these nights published, oldest first.
    """

    state: NightState
    results: tuple[Mapping[str, Any], ...]
    published: tuple[MarginParameters, ...]

    def summary(self) -> pd.DataFrame:
        """One row a market: what is in force, as of when, whether of the newest night, and who waits."""
        rows = {name: _market(one) for name, one in sorted(self.state.markets.items())}
        columns = ["in force", "as of", "is", "watched", "nights watched", "waiting"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("market")

    def to_frame(self) -> pd.DataFrame:
        """One row a night and market: exit code, version published, verdict, what was in force, and why."""
        rows = [row for result in self.results for row in _rows(result)]
        index = pd.MultiIndex.from_tuples([row[:2] for row in rows], names=["night", "market"])
        return pd.DataFrame([row[2:] for row in rows], index=index, columns=list(_COLUMNS))

    @property
    def plot(self) -> "NightPlots":
        """Pictures: `nights.plot.scan_ranges()`."""
        return NightPlots(self)

    @property
    def sentence(self) -> str:
        """What the newest night came to."""
        if not self.state.nights:
            return "no night yet"
        newest = self.state.nights[-1]
        meaning = MEANING.get(int(newest["exit"]), "see the runbook")
        return f"{self.state.study}: night of {newest['as_of']}, exit {newest['exit']}: {meaning}"

    def __repr__(self) -> str:
        return f"Nights({self.sentence})"

    def _repr_html_(self) -> str:
        newest = self.to_frame().iloc[::-1].head(20).to_html(max_rows=None)
        return f"<p>{escape(self.sentence)}</p>{self.summary().to_html()}<p>newest first</p>{newest}"


@dataclass(frozen=True, eq=False, repr=False)
class NightPlots:
    """Pictures of nights; each takes the axes to draw on and returns them."""

    nights: Nights

    def __repr__(self) -> str:
        return ".plot: scan_ranges"

    def scan_ranges(self, market: str | None = None, ax: "Axes | None" = None) -> "Axes":
        """Published scan ranges of a market (the first where None) by underlying, in percent, night by night.

        ParameterError where no such market was ever published.
        """
        files = self.nights.published
        known = sorted({name for one in files for name in one.markets})
        if not known or (market or known[0]) not in known:
            raise ParameterError(f"published markets are {known or 'none'}, got {market!r}")
        name = market or known[0]
        told = [(one.as_of, one.markets[name]) for one in files if name in one.markets]
        days = pd.DatetimeIndex([as_of for as_of, _ in told], tz="UTC")
        ranges = pd.DataFrame(
            [{asset: 100.0 * facts.scan_range for asset, facts in one.assets.items()} for _, one in told], index=days
        )
        ax, marked = axes(ax), days[:: 1 + len(days) // 8]
        for asset, path in ranges.items():
            ax.step(days, path, where="post", marker="o", markersize=3, label=str(asset))
        ax.set(ylabel="scan range, % of price", title=f"{self.nights.state.study}: {name}")
        ax.set_ylim(0.0, 1.15 * float(np.nanmax(ranges)))
        ax.set_xticks(marked.to_numpy(), list(marked.strftime("%Y-%m-%d")))
        ax.legend(loc="lower left", frameon=False, fontsize=8, ncols=4)
        return ax


def read_nights(folder: Path, nights: int = LATELY) -> Nights:
    """The newest nights of a folder; ParameterError for fewer than one, SnapshotError for a damaged state."""
    if nights < 1:
        raise ParameterError(f"nights must be at least 1, got {nights}")
    state = read_state(folder)
    results = tuple(_result(folder, night) for night in state.nights[-nights:])
    return Nights(state, results, tuple(_published(folder, state, results)))


def _result(folder: Path, night: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**stored(folder, str(night["key"]), night), "exit": night["exit"]}


def _published(folder: Path, state: NightState, results: Sequence[Mapping[str, Any]]) -> list[MarginParameters]:
    """Each publication once, its hash verified; one whose file is damaged or gone is left out."""
    files = {}
    for told in [result.get("published") or {} for result in results] + [state.published]:
        path = published_file(folder, NightState(published=told)) if told else None
        if path is not None and path not in files:
            try:
                files[path] = read_parameters(path)
            except MarginlabError:
                continue
    return sorted(files.values(), key=lambda one: one.version)


def _market(one: MarketState) -> tuple[str, str, str, str, int, str]:
    names = [_name(version) for version in (one.champion, one.challenger, one.waiting)]
    is_current = f"stale since {one.since}: {one.stale}" if one.stale else "current"
    return names[0], one.champion.as_of if one.champion else "-", is_current, names[1], len(one.shadow), names[2]


def _name(version: Version | None) -> str:
    return version.name if version else "-"


def _rows(result: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """A row a market; one row where the night never came to its markets."""
    version = (result.get("published") or {}).get("version", 0)
    night, head = pd.Timestamp(result["as_of"]), (result["exit"], version)
    told = [
        (night, name, *head, one["verdict"], (one["champion"] or {}).get("name", "-"), "; ".join(one["sentences"]))
        for name, one in result.get("markets", {}).items()
    ]
    return told or [(night, "-", *head, "-", "-", result["sentence"])]
