"""What does a proposal say, to somebody who has its folder and a notebook?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data import ParameterError
from data.axes import ALARM, FAINT, INK, QUIET, axes
from data.errors import SnapshotError
from data.sealed import read_whole, unsealed
from data.storage import sha256_of
from research.bundle import MANIFEST
from research.proposal_figures import label, shortened
from research.proposal_pages import told_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVIDENCE = "evidence.json"
_LEVELS = {
    "mean_margin": "mean margin, % of gross notional",
    "equal_margin": "margin at equal coverage, %",
    "coverage": "coverage, %",
    "coverage_worst_book": "coverage of the worst book, %",
    "mean_shortfall": "mean shortfall, %",
    "peak_shortfall": "peak shortfall, %",
    "peak_to_trough": "peak to trough",
}
_PLAIN = {"peak_to_trough"}
_CHANGES = {
    "margin_change": ("mean margin", "signed1"),
    "equal_change": ("margin at equal coverage", "signed1"),
    "coverage_change": ("coverage", "points2"),
    "shortfall_change": ("mean shortfall", "signedbp2"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Proposal:
    """A bundle as it lies in a folder. What it says is its author's, until `verify_bundle` has computed it again.

    Parameters
    ----------
    title, models : the market in words, and what each of "current" and "candidate" says of itself.
    evidence : every number, by name.
    identity : sha256 of the manifest.
    """

    title: str
    models: Mapping[str, str]
    evidence: Mapping[str, Any]
    identity: str

    @property
    def verdict(self) -> str:
        """Whether it is worth a vote."""
        return str(self.evidence["verdict"]["word"])

    def to_frame(self) -> pd.DataFrame:
        """One row a measure, the current model beside the candidate; percent where the name says so."""
        both = {who: self.evidence["effect"][who] for who in ("current", "candidate")}
        told = {
            who: [_figure(level[name], 1.0 if name in _PLAIN else 100.0) for name in _LEVELS]
            for who, level in both.items()
        }
        return pd.DataFrame(told, index=pd.Index(list(_LEVELS.values()), name="measure"))

    def summary(self) -> pd.DataFrame:
        """The changes a reader asks for first, in words, with 95 % intervals."""
        rows = {}
        for key, (name, form) in _CHANGES.items():
            change = self.evidence["effect"][key]
            value, low, high = (told_number(change[part], form) for part in ("value", "low", "high"))
            rows[name] = (value, f"{low} to {high}")
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["change", "95 % interval"])
        return table.rename_axis("candidate against current")

    @property
    def plot(self) -> "ProposalPlots":
        """Pictures: `proposal.plot.margin()`, `.variants()`, `.tornado()`."""
        return ProposalPlots(self)

    def __repr__(self) -> str:
        return f"Proposal({self.title}: {self.verdict}; {self.identity[:12]})"

    def _repr_html_(self) -> str:
        head = f"<p>{escape(self.title)}: {escape(self.models['candidate'])} in place of "
        head += f"{escape(self.models['current'])}. <b>{escape(self.verdict)}</b></p>"
        why = "".join(f"<li>{escape(str(reason))}</li>" for reason in self.evidence["verdict"]["reasons"])
        return f"{head}<ul>{why}</ul>{self.summary().to_html()}{self.to_frame().to_html(float_format='{:.3f}'.format)}"


@dataclass(frozen=True, eq=False, repr=False)
class ProposalPlots:
    """Pictures of a proposal; each takes the axes to draw on and returns them."""

    proposal: Proposal

    def __repr__(self) -> str:
        return ".plot: margin, variants, tornado"

    def margin(self, ax: "Axes | None" = None) -> "Axes":
        """Mean margin of all books through time, the current model and the candidate, in percent of gross notional."""
        told, ax = self.proposal.evidence["figures"]["margin"], axes(ax)
        days = pd.to_datetime(told["time"], utc=True)
        for who, color in (("current", QUIET), ("candidate", INK)):
            ax.plot(days, 100.0 * np.array(told[who], dtype=np.float64), color=color, linewidth=1.2, label=who)
        ax.set(ylabel="mean margin, % of gross notional", title=self.proposal.title)
        ax.set_ylim(0.0, 1.15 * max(100.0 * max(told["current"] + told["candidate"]), 1e-9))
        ax.legend(loc="lower left", frameon=False, fontsize=8, ncols=2)
        return ax

    def variants(self, ax: "Axes | None" = None) -> "Axes":
        """Mean shortfall against mean margin of the current model and of each variant of the candidate."""
        ax = axes(ax, 7.0, 4.0)
        for row in self.proposal.evidence["variants"]:
            at = _figure(row["margin"], 100.0), _figure(row["shortfall"], 1e4)
            ax.plot(*at, "o", color=ALARM if row["name"] == "current model" else INK)
            ax.annotate(row["name"], at, (6.0, 5.0), textcoords="offset points", fontsize=8)
        ax.margins(0.2)
        ax.set(xlabel="mean margin, % of gross notional", ylabel="mean shortfall, bp", title=self.proposal.title)
        return ax

    def tornado(self, ax: "Axes | None" = None) -> "Axes":
        """The change of the mean margin, in percent, as one choice at a time is taken otherwise; widest on top."""
        rows = [row for row in map(_reach, self.proposal.evidence["sensitivity"]) if row[1]]
        centre = 100.0 * (self.proposal.evidence["effect"]["margin_change"]["value"] or 0.0)
        rows.sort(key=lambda row: max(*row[1], centre) - min(*row[1], centre))
        ax = axes(ax, 8.0, 1.0 + 0.3 * len(rows))
        for height, (_, values) in enumerate(rows):
            ax.hlines(height, min(*values, centre), max(*values, centre), color=QUIET, linewidth=6.0)
            ax.plot(values, [height] * len(values), "o", color=INK, markersize=4)
        ax.axvline(centre, color=ALARM, linewidth=0.9)
        ax.annotate("as proposed", (centre, 1.0), (0, 3), ("data", "axes fraction"), "offset points", color=FAINT)
        ax.set_yticks(range(len(rows)), [name for name, _ in rows])
        ax.set(xlabel="change of the mean margin, %")
        return ax


def read_proposal(folder: Path) -> Proposal:
    """The proposal in a bundle's folder.

    Raises
    ------
    ParameterError
        If there is no bundle.
    SnapshotError
        If its evidence is not the file that its manifest names, or says other things than evidence does.
    """
    if not (folder / MANIFEST).is_file():
        raise ParameterError(f"a bundle is a folder with a {MANIFEST}, got {folder}")
    manifest, payload = unsealed(folder / MANIFEST), read_whole(folder / EVIDENCE)
    try:
        if sha256_of(payload) != manifest["files"][EVIDENCE]:
            raise SnapshotError(f"{folder / EVIDENCE} is not the file that the manifest names by its sha256")
        evidence = json.loads(payload)
        asked = manifest["request"]
        models = {who: str(asked[who]) for who in ("current", "candidate")}
        missing = sorted({"effect", "verdict", "variants", "sensitivity", "figures"} - set(evidence))
        if missing:
            raise SnapshotError(f"{folder / EVIDENCE} must hold the evidence of a proposal, got none of {missing}")
        return Proposal(str(asked["title"]), models, evidence, sha256_of(read_whole(folder / MANIFEST)))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SnapshotError(f"{folder} must hold a bundle of evidence: {type(error).__name__} {error}") from error


def _figure(value: float | None, times: float) -> float:
    return float("nan") if value is None else times * value


def _reach(row: Mapping[str, Any]) -> tuple[str, list[float]]:
    """A choice in words, and the changes of margin, in percent, that its ways come to."""
    changes = [way["margin_change"] for way in row["ways"]]
    return shortened(label(row["choice"]), 48), [100.0 * change for change in changes if change is not None]
