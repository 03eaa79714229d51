"""How much is prediction worth, as margin?

One market, one list of candidates (`lab_candidates`), judged on three axes at once: capital at equal coverage,
shortfall, and procyclicality.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backtest.block_means import StationaryBlocks
from backtest.bootstrap import block_length, interval
from backtest.comparison import Comparison
from backtest.date_losses import law_losses, scored_by_law
from backtest.equal_coverage import oracle_constant
from backtest.loss_comparison import LossComparison
from backtest.procyclicality import DAYS, largest_call
from backtest.scores import peak_to_trough
from data import Floats
from research.lab_candidates import OURS, RIVALS, STATIC, Candidate, Role, candidates, members
from research.lab_power import LEAST_DATES, Power, power_of_set, too_few

if TYPE_CHECKING:
    from research.shown_lab import LaboratoryPlots

__all__ = [
    "OURS",
    "RIVALS",
    "STATIC",
    "Candidate",
    "Laboratory",
    "Role",
    "candidates",
    "laboratory",
    "members",
    "told_shares",
]

SHARE = 0.9  # of the intervals
PINBALL, FZ0 = "pinball loss", "FZ0"
_ABSOLUTE = ("equal_margin", "equal_shortfall", "mean_margin", "mean_shortfall", "coverage")


@dataclass(frozen=True, eq=False)
class Laboratory:
    """Candidates judged on one market.

    Parameters
    ----------
    comparison : their replays, by name.
    roles : what each is there for.
    notes : what to know before believing the table.
    absent : kinds of knowledge that could not be taken away, as the data has nothing of them.
    """

    comparison: Comparison
    roles: Mapping[str, Role]
    notes: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @cached_property
    def mark(self) -> str:
        """The better rival: that of `RIVALS` with less margin at equal coverage; the first where neither's is known."""
        margins = {name: self.comparison.scores[name].equal_margin for name in RIVALS}
        return min(margins, key=lambda name: margins[name] if np.isfinite(margins[name]) else np.inf)

    def to_frame(self) -> pd.DataFrame:
        """One row a candidate: the three axes at equal coverage, losses, and the ratio to the mark.

        `equal_margin` (walk-forward), `equal_shortfall` and `peak_to_trough` (as charged) are the three axes; `ratio`
        is of the first to the mark's, `ratio_low` and `ratio_high` a 90 % interval by blocks of dates, drawn for both
        alike. `equal_shortfall` is at the scale that meets the target exactly over all dates, known in hindsight: the
        walk-forward scales of two models leave them at coverages that differ a little, and shortfall tells that more
        than anything. `pinball` is at the walk-forward scale, `fz0` of the law stated; `in_set` says whether a
        candidate is in the model confidence set of each.
        """
        cards = self.comparison.scores
        columns: dict[str, object] = {
            "role": self.roles,
            "equal_margin": {name: card.equal_margin for name, card in cards.items()},
            "equal_coverage": {name: card.equal_coverage for name, card in cards.items()},
            "mean_margin": {name: card.mean_margin for name, card in cards.items()},
            "coverage": {name: card.coverage for name, card in cards.items()},
        }
        table = pd.DataFrame(columns).join(self._ratios()).join(self._axes())
        for what, losses in (("pinball", self.comparison.losses), ("fz0", self.comparison.law_losses)):
            if losses is not None:
                table = table.join(_told(what, losses))
        return table.rename_axis("model")

    def _ratios(self) -> pd.DataFrame:
        """Margin at equal coverage over the mark's, with the interval of the paired draws laid about it."""
        judged, mark = self.comparison.judgements, self.comparison.judgements[self.mark]
        rows = {}
        for name, one in judged.items():
            ratio = one.card.equal_margin / mark.card.equal_margin
            low, high = _about(ratio - 1.0, one.drawn / mark.drawn)
            rows[name] = (ratio, 1.0 + low, 1.0 + high)
        return pd.DataFrame.from_dict(rows, orient="index", columns=["ratio", "ratio_low", "ratio_high"])

    def _axes(self) -> pd.DataFrame:
        """Shortfall at equal coverage, and procyclicality as charged."""
        rows = {}
        for name, run in self.comparison.replays.items():
            scaled = oracle_constant(run, name).shortfall
            rows[name] = (
                _mean(scaled),
                _mean(run.shortfall),
                float(np.nanmax(run.shortfall)),
                _median(peak_to_trough(np.where(run.live, run.initial, np.nan))),
                *(_median(_calls(run.initial, run.time, days)) for days in DAYS),
            )
        calls = [f"call_{days}d" for days in DAYS]
        columns = ["equal_shortfall", "mean_shortfall", "peak_shortfall", "peak_to_trough", *calls]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def prices(self) -> pd.DataFrame:
        """What each overlay costs and brings: margin as charged over the proposal's, and its procyclicality.

        `extra_margin` is the share by which the mean margin rises, `equal_extra` the same at equal coverage; each has a
        90 % interval (`_low`, `_high`) by blocks of dates, drawn for both alike.
        """
        table = self.to_frame()
        shown = table[table["role"].isin(["proposal", "overlay"])]
        judged = self.comparison.judgements
        charged = {name: _by_date(self.comparison.replays[name].initial) for name in shown.index}
        rows = {}
        for name in shown.index:
            extra = shown["mean_margin"][name] / shown["mean_margin"][OURS] - 1.0
            equal = shown["equal_margin"][name] / shown["equal_margin"][OURS] - 1.0
            rows[name] = (
                extra,
                *_about(extra, self._drawn_ratio(charged[name], charged[OURS])),
                equal,
                *_about(equal, judged[name].drawn / judged[OURS].drawn),
            )
        columns = ["extra_margin", "extra_low", "extra_high", "equal_extra", "equal_low", "equal_high"]
        told = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        more = ["coverage", "mean_shortfall", "peak_to_trough", *(f"call_{days}d" for days in DAYS)]
        return told.join(shown[more]).rename_axis("model")

    def _drawn_ratio(self, above: Floats, below: Floats) -> Floats:
        """Ratio of the means of two figures, one a date, on each draw of the dates, (B,)."""
        panel = np.column_stack([above, below])
        panel = panel[np.isfinite(panel).all(axis=1)]
        if len(panel) < 2:
            return np.empty(0)
        means = StationaryBlocks(block_length(len(panel), self.comparison.losses.overlap)).means(panel)
        return np.asarray(means[:, 0] / means[:, 1])

    @cached_property
    def power(self) -> dict[str, Power]:
        """What the model confidence set of each loss can see, had the mark been worse than all the others.

        Not told of a loss that is known on fewer than 60 dates.
        """
        told = {}
        losses, laws = self.comparison.losses, self.comparison.law_losses
        if _judged(losses):
            by_date = {name: self.comparison.judgements[name].by_date for name in losses.models}
            told[PINBALL] = power_of_set(by_date, self.mark, losses.block, relative=True)
        if laws is not None and _judged(laws):
            runs = {name: self.comparison.replays[name] for name in laws.models}
            pairs = np.logical_and.reduce([scored_by_law(run) for run in runs.values()])
            stated = {name: law_losses(run, pairs) for name, run in runs.items()}
            told[FZ0] = power_of_set(stated, self.mark, laws.block, relative=False)
        return told

    @property
    def sentences(self) -> tuple[str, ...]:
        """Whether prediction pays here, on each axis, in words; what rests on fewer than 60 dates is not judged."""
        return tuple(_verdicts(self))

    def summary(self) -> pd.DataFrame:
        """The columns a person reads first, in percent of gross notional where they are margins."""
        table = self.to_frame()
        shown = {
            "for": table["role"],
            "margin at equal coverage, %": 100.0 * table["equal_margin"],
            "over the mark (90 %)": [
                f"{r:.3f} ({low:.3f} to {high:.3f})" if np.isfinite([r, low, high]).all() else "n/a"
                for r, low, high in table[["ratio", "ratio_low", "ratio_high"]].to_numpy()
            ],
            "shortfall, bp": 1e4 * table["equal_shortfall"],
            "peak to trough": table["peak_to_trough"],
            "as charged, %": 100.0 * table["mean_margin"],
            "coverage, %": 100.0 * table["coverage"],
            "pinball, bp": 1e4 * table["pinball"],
        }
        if "fz0" in table:
            shown["FZ0"] = table["fz0"]
        return pd.DataFrame(shown)

    @property
    def plot(self) -> "LaboratoryPlots":
        """Pictures: `lab.plot.frontier()`, `.ranking()`."""
        from research.shown_lab import LaboratoryPlots

        return LaboratoryPlots(self)

    def to_json(self) -> str:
        """The tables, the sentences and the notes."""
        told = {
            "market": self.comparison.market,
            "mark": self.mark,
            "verdict": list(self.sentences),
            "candidates": json.loads(self.to_frame().reset_index().to_json(orient="records", double_precision=15)),
            "overlays": json.loads(self.prices().reset_index().to_json(orient="records", double_precision=15)),
            "power": {what: dict(one.left_out) for what, one in self.power.items()},
            "notes": list(self.notes),
            "not_in_the_data": list(self.absent),
        }
        return json.dumps(told, indent=1)

    def __repr__(self) -> str:
        text = self.summary().to_string(float_format="{:.3f}".format)
        head = f"{self.comparison.market}; the mark is {self.mark}"
        return "\n".join([head, text, "", *self.sentences, "", self._priced(), *self._untaken, *self.notes])

    def _priced(self) -> str:
        """The price of each overlay as text."""
        table = self.prices()
        shown = pd.DataFrame(
            {
                "extra margin, % (90 %)": told_shares(table, "extra"),
                "at equal coverage, % (90 %)": told_shares(table, "equal"),
                "coverage, %": 100.0 * table["coverage"],
                "peak to trough": table["peak_to_trough"],
            }
        ).drop(index=OURS)
        return shown.to_string(float_format="{:.2f}".format) if len(shown) else ""

    @property
    def _untaken(self) -> tuple[str, ...]:
        return tuple(f"without {kind}: not in the data" for kind in self.absent)

    def _repr_html_(self) -> str:
        table = self.summary().to_html(float_format="{:.3f}".format)
        told = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences)
        return f"<p>{escape(self.comparison.market)}; the mark is {escape(self.mark)}</p>{table}{told}"


def laboratory(
    comparison: Comparison, roles: Mapping[str, Role], notes: tuple[str, ...] = (), absent: tuple[str, ...] = ()
) -> Laboratory:
    """The laboratory of what was replayed; the order of the roles is kept."""
    runs = {name: comparison[name] for name in roles}
    return Laboratory(replace(comparison, replays=runs), dict(roles), notes, absent)


def _verdicts(lab: Laboratory) -> list[str]:
    decisions = len(lab.comparison.replays[OURS].time)
    if decisions < LEAST_DATES:
        return [_sentence(too_few(decisions))]
    table = lab.to_frame()
    told = [_capital(lab, table)]
    for what, losses in ((PINBALL, lab.comparison.losses), (FZ0, lab.comparison.law_losses)):
        if losses is not None and _judged(losses):
            told += [_told_of(what, losses, lab.mark), lab.power[what].sentence]
        elif losses is not None and losses.dates < LEAST_DATES:
            told.append(f"Its {what}: {too_few(losses.dates)}.")
    ours, mark = (float(table["peak_to_trough"][name]) for name in (OURS, lab.mark))
    if np.isfinite([ours, mark]).all():
        word = "no higher than" if ours <= mark else "higher than"
        told.append(f"Its peak-to-trough is {ours:.1f}, {word} the {mark:.1f} of {lab.mark}.")
    if STATIC in table.index and np.isfinite(table.loc[[OURS, STATIC], list(_ABSOLUTE)].to_numpy(float)).all():
        told.append(_against_static(table))
    return told


def _capital(lab: Laboratory, table: pd.DataFrame) -> str:
    judged = lab.comparison.judgements
    dates = int((np.isfinite(judged[OURS].by_date) & np.isfinite(judged[lab.mark].by_date)).sum())
    ratio, low, high = (float(table[name][OURS]) for name in ("ratio", "ratio_low", "ratio_high"))
    if dates < LEAST_DATES:
        return f"Margin at equal coverage: {too_few(dates)}."
    if not np.isfinite([ratio, low, high]).all():
        return f"Margin at equal coverage: not known of both the prediction and {lab.mark}."
    sure = "beyond chance" if high < 1.0 or low > 1.0 else "which may be chance"
    return (
        f"At equal coverage the prediction asks for {_less(ratio)} margin than {lab.mark} "
        f"(ratio {ratio:.3f}, 90 % interval {low:.3f} to {high:.3f}), {sure}."
    )


def _judged(losses: LossComparison) -> bool:
    return losses.testable and losses.dates >= LEAST_DATES


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _against_static(table: pd.DataFrame) -> str:
    """Both in absolute figures: a ratio of shortfalls says nothing where a rate covers nearly everything."""
    ours, static = table.loc[OURS], table.loc[STATIC]

    def both(column: str, scale: float) -> str:
        return f"{scale * ours[column]:.2f} against {scale * static[column]:.2f}"

    return (
        f"Against the static rate ({STATIC}), at equal coverage: margin of {both('equal_margin', 100.0)} % of exposure "
        f"and shortfall of {both('equal_shortfall', 1000.0)} per 1,000 of exposure. As charged, where the prediction "
        f"covers {100.0 * ours['coverage']:.1f} % and the rate {100.0 * static['coverage']:.1f} %: margin of "
        f"{both('mean_margin', 100.0)} % and shortfall of {both('mean_shortfall', 1000.0)} per 1,000. "
        "A flat rate has the least procyclicality there can be."
    )


def _less(ratio: float) -> str:
    return f"{100.0 * abs(1.0 - ratio):.1f} % {'less' if ratio < 1.0 else 'more'}"


def _told_of(what: str, losses: LossComparison, mark: str) -> str:
    means = dict(zip(losses.models, losses.mean_loss, strict=True))
    way = "lower" if means[OURS] < means[mark] else "not lower"
    place = "in" if OURS in losses.included else "out of"
    other = "in it as well" if mark in losses.included else "out of it"
    return (
        f"Its {what} is {way} than the mark's; it is {place} the model confidence set of {losses.dates} dates, and "
        f"{mark} is {other}."
    )


def _told(what: str, losses: LossComparison) -> pd.DataFrame:
    named = {"mean_loss": what, "in_set": f"{what}_in_set", "set_p": f"{what}_p"}
    return losses.to_frame()[list(named)].rename(columns=named)


def told_shares(table: pd.DataFrame, what: str) -> list[str]:
    """Shares of `Laboratory.prices` in percent with their intervals, "n/a" if unknown: `what` is "extra" or "equal"."""
    first = {"extra": "extra_margin", "equal": "equal_extra"}[what]
    figures = 100.0 * table[[first, f"{what}_low", f"{what}_high"]]
    return [
        f"{share:+.1f} ({low:+.1f} to {high:+.1f})" if np.isfinite([share, low, high]).all() else "n/a"
        for share, low, high in figures.to_numpy()
    ]


def _about(share: float, drawn: Floats) -> tuple[float, float]:
    """The 90 % interval of a share above 1, the spread of drawn ratios (B,) laid about it."""
    middle = np.nanmedian(drawn) if np.isfinite(drawn).any() else np.nan
    low, high = interval((1.0 + share) * drawn / middle, SHARE)
    return low - 1.0, high - 1.0


def _by_date(panel: Floats) -> Floats:
    """Mean over the books of each date that are known, (R,); NaN where none is."""
    known = np.isfinite(panel)
    count = known.sum(axis=1)
    total = np.where(known, panel, 0.0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _calls(margin: Floats, time: np.ndarray, days: int) -> Floats:
    """Largest calls over so many days, (P,); NaN where the decisions do not span them."""
    spans = time[-1] - time[0] >= np.timedelta64(days, "D")
    return largest_call(margin, time, days) if spans else np.full(margin.shape[1], np.nan)


def _mean(panel: Floats) -> float:
    known = panel[np.isfinite(panel)]
    return float(known.mean()) if known.size else float("nan")


def _median(panel: Floats) -> float:
    known = panel[np.isfinite(panel)]
    return float(np.median(known)) if known.size else float("nan")
