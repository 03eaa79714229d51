"""How much is prediction worth, as margin?

One market, one list of candidates: the rivals that risk departments know, each forecaster by itself, the prediction
that marginlab proposes, the same with a part taken away, and the same with something laid over it. All are judged on
three axes at once: capital at equal coverage, shortfall, and procyclicality.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import Literal

import numpy as np
import pandas as pd

from backtest.bootstrap import interval
from backtest.comparison import Comparison
from backtest.equal_coverage import oracle_constant
from backtest.loss_comparison import LossComparison
from backtest.procyclicality import DAYS, largest_call
from backtest.scores import peak_to_trough
from data import Floats, MarketHistory
from margin_models import (
    BoostedVolatility,
    CombinedVolatility,
    EwmaVolatility,
    ExtremeValueVaR,
    FilteredHistoricalVaR,
    GarchVolatility,
    HarVolatility,
    HistoricalVaR,
    ImpliedVolatility,
    MarginModel,
    RobustVaR,
    StaticMargin,
    VolatilityForecaster,
)
from margin_models.overlays import (
    Buffer,
    CircuitBreaker,
    ConformalTracking,
    LookbackFloor,
    RateLimit,
    StressedWeight,
)

Role = Literal["rival", "forecaster", "proposal", "without", "overlay"]

OURS = "prediction"
RIVALS = ("FHS, EWMA", "FHS, GJR-t")  # the better of the two is the mark
STATIC = "static, cross"
QUARTER, YEAR = 69.0, 250.0  # horizons: half-lives of the slow averages, decays of 0.99 and 0.997
SHARE = 0.9  # of the intervals
_AGAINST_STATIC = ("equal_margin", "equal_shortfall", "mean_margin", "mean_shortfall")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model of the laboratory, and what it is there for."""

    model: MarginModel
    role: Role


def members(history: MarketHistory) -> dict[str, VolatilityForecaster]:
    """The forecasters that the proposal combines: averages of a fortnight, a quarter and a year, HAR and LightGBM.

    Where there are surfaces, what options imply as well. Fast, slow and very slow averages let volatility return to
    where it was for long, which a single one cannot. `docs/decisions.md` says what was tried, and on which data.
    """
    told: dict[str, VolatilityForecaster] = {
        "fast EWMA": EwmaVolatility(),
        "quarterly EWMA": EwmaVolatility(half_life=QUARTER),
        "yearly EWMA": EwmaVolatility(half_life=YEAR),
        "HAR": HarVolatility(),
        "LightGBM": BoostedVolatility(),
    }
    if history.surfaces is not None:
        told["implied"] = ImpliedVolatility()
    return told


def prediction(forecasters: Mapping[str, VolatilityForecaster]) -> MarginModel:
    """The proposal: an even geometric mean of forecasts, the shape of the tail pooled over underlyings.

    Even weights, because weights that are learned from few crises cost more than they bring: the "forecast combination
    puzzle" (Stock and Watson, 2004, J. Forecasting 23). The rows "learned weights" and "without" show what each choice
    is worth.
    """
    return RobustVaR(CombinedVolatility(list(forecasters.values()), adaptive=False))


def candidates(history: MarketHistory) -> dict[str, Candidate]:
    """Every candidate by name, the proposal under `OURS`."""
    parts = members(history)
    ours = prediction(parts)
    models: dict[Role, dict[str, MarginModel]] = {
        "rival": {
            "static, isolated": StaticMargin(),
            STATIC: StaticMargin(cross=True),
            "historical VaR": HistoricalVaR(),
            RIVALS[0]: FilteredHistoricalVaR(EwmaVolatility()),
            RIVALS[1]: FilteredHistoricalVaR(GarchVolatility(asymmetric=True, student=True)),
            "extreme value, EWMA": ExtremeValueVaR(EwmaVolatility()),
        },
        "forecaster": {
            # A slow average by itself has nothing to say in a window shorter than its half-life.
            f"FHS, {name}": FilteredHistoricalVaR(part)
            for name, part in parts.items()
            if not isinstance(part, EwmaVolatility)
        },
        "proposal": {OURS: ours},
        "without": _without(parts),
        "overlay": {
            "with circuit breaker": CircuitBreaker(ours),
            "with falls of 10 % a day": RateLimit(ours),
            "with 25 % buffer": Buffer(ours),
            "with 25 % stressed weight": StressedWeight(ours),
            "with long lookback floor": LookbackFloor(ours),
            "with conformal tracking": ConformalTracking(ours),
        },
    }
    return {name: Candidate(model, role) for role, some in models.items() for name, model in some.items()}


def _without(parts: Mapping[str, VolatilityForecaster]) -> dict[str, MarginModel]:
    """The proposal with one of its parts taken away."""
    told: dict[str, MarginModel] = {
        f"without {name}": prediction({other: part for other, part in parts.items() if other != name}) for name in parts
    }
    told["without combining: EWMA, tail pooled"] = RobustVaR(EwmaVolatility())
    told["without the pooled tail"] = FilteredHistoricalVaR(CombinedVolatility(list(parts.values()), adaptive=False))
    told["learned weights"] = RobustVaR(CombinedVolatility(list(parts.values())))
    blind = {**parts, "LightGBM": BoostedVolatility(features=())}
    told["without order flow"] = prediction(blind)
    return told


@dataclass(frozen=True, eq=False)
class Laboratory:
    """Candidates judged on one market.

    Parameters
    ----------
    comparison : their replays, by name.
    roles : what each is there for.
    notes : what to know before believing the table.
    """

    comparison: Comparison
    roles: Mapping[str, Role]
    notes: tuple[str, ...] = ()

    @cached_property
    def mark(self) -> str:
        """The better rival: that of `RIVALS` with less margin at equal coverage."""
        cards = self.comparison.scores
        return min(RIVALS, key=lambda name: cards[name].equal_margin)

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
            drawn = one.drawn / mark.drawn
            middle = np.nanmedian(drawn) if np.isfinite(drawn).any() else np.nan
            rows[name] = (ratio, *interval(ratio * drawn / middle, SHARE))
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

        `extra_margin` is the share by which the mean margin rises, `equal_extra` the same at equal coverage.
        """
        table = self.to_frame()
        ours = table.loc[OURS]
        shown = table[table["role"].isin(["proposal", "overlay"])]
        return pd.DataFrame(
            {
                "extra_margin": shown["mean_margin"] / ours["mean_margin"] - 1.0,
                "equal_extra": shown["equal_margin"] / ours["equal_margin"] - 1.0,
                "coverage": shown["coverage"],
                "peak_to_trough": shown["peak_to_trough"],
                **{f"call_{days}d": shown[f"call_{days}d"] for days in DAYS},
            }
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """Whether prediction pays here, on each axis, in words."""
        return tuple(_verdicts(self))

    def summary(self) -> pd.DataFrame:
        """The columns a person reads first, in percent of gross notional where they are margins."""
        table = self.to_frame()
        shown = {
            "for": table["role"],
            "margin at equal coverage, %": 100.0 * table["equal_margin"],
            "over the mark (90 %)": [
                f"{r:.3f} ({low:.3f} to {high:.3f})"
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

    def to_json(self) -> str:
        """The tables, the sentences and the notes."""
        told = {
            "market": self.comparison.market,
            "mark": self.mark,
            "verdict": list(self.sentences),
            "candidates": json.loads(self.to_frame().reset_index().to_json(orient="records", double_precision=15)),
            "overlays": json.loads(self.prices().reset_index().to_json(orient="records", double_precision=15)),
            "notes": list(self.notes),
        }
        return json.dumps(told, indent=1)

    def __repr__(self) -> str:
        text = self.summary().to_string(float_format="{:.3f}".format)
        head = f"{self.comparison.market}; the mark is {self.mark}"
        return "\n".join([head, text, "", *self.sentences, *self.notes])

    def _repr_html_(self) -> str:
        table = self.summary().to_html(float_format="{:.3f}".format)
        told = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences)
        return f"<p>{escape(self.comparison.market)}; the mark is {escape(self.mark)}</p>{table}{told}"


def laboratory(comparison: Comparison, roles: Mapping[str, Role], notes: tuple[str, ...] = ()) -> Laboratory:
    """The laboratory of what was replayed; the order of the roles is kept."""
    runs = {name: comparison[name] for name in roles}
    return Laboratory(replace(comparison, replays=runs), dict(roles), notes)


def _verdicts(lab: Laboratory) -> list[str]:
    table = lab.to_frame()
    ratio, low, high = (float(table[name][OURS]) for name in ("ratio", "ratio_low", "ratio_high"))
    sure = "beyond chance" if high < 1.0 or low > 1.0 else "which may be chance"
    told = [
        f"At equal coverage the prediction asks for {_less(ratio)} margin than {lab.mark} "
        f"(ratio {ratio:.3f}, 90 % interval {low:.3f} to {high:.3f}), {sure}."
    ]
    for what, losses in (("pinball loss", lab.comparison.losses), ("FZ0", lab.comparison.law_losses)):
        if losses is not None and losses.testable:
            told.append(_told_of(what, losses, lab.mark))
    ours, mark = (float(table["peak_to_trough"][name]) for name in (OURS, lab.mark))
    word = "no higher than" if ours <= mark else "higher than"
    told.append(f"Its peak-to-trough is {ours:.1f}, {word} the {mark:.1f} of {lab.mark}.")
    if STATIC in table.index:
        over = {name: float(table[name][OURS]) / float(table[name][STATIC]) for name in _AGAINST_STATIC}
        told.append(
            f"Against the static rate ({STATIC}), at equal coverage: "
            f"{_less(over['equal_margin'])} margin and {_less(over['equal_shortfall'])} shortfall; as charged: "
            f"{_less(over['mean_margin'])} margin and {_less(over['mean_shortfall'])} shortfall. "
            "A flat rate has the least procyclicality there can be."
        )
    return told


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
