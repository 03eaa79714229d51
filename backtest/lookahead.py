"""Does any model see tomorrow?

The future is rewritten in several ways, the model is refitted on every row, and its margins, and the laws it states, up
to now must stay equal to the last bit. A rewriting that only truncates misses leaks of the same day, one that only
reverses misses what does not depend on order, and one that only perturbs misses what needs a hole: all are run.
`planted_leaks` holds the models that must be caught.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from backtest.portfolios import Books
from backtest.replay import Charge, walk
from data import Coverage, Floats, HistoryError, MarginlabError, MarketHistory
from data.history import PANELS
from margin_models import MarginModel

_FEATURES = ("volume", "funding", "depth", "features")
Rewriting = Callable[[MarketHistory, int], MarketHistory]


@dataclass(frozen=True)
class Audit:
    """One model's verdict: `leaks` says for each rewriting of the future that changed a margin or a law, which row."""

    model: str
    rows: int
    leaks: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing changed."""
        return not self.leaks


def _rewritten(history: MarketHistory, row: int, change: Callable[[Floats], Floats]) -> MarketHistory:
    """The same history up to and including `row`; `change` applied to every panel after it."""
    panels: dict[str, Any] = {}
    for name in PANELS:
        panel = getattr(history, name)
        if panel is None:
            continue
        past, future = panel[: row + 1], panel[row + 1 :]
        structure = name in ("curves", "surfaces")
        panels[name] = np.concatenate([past, _restruck(future, change) if structure else change(future)])
    rates = {name: np.concatenate([rate[: row + 1], change(rate[row + 1 :])]) for name, rate in history.fx.items()}
    return replace(history, fx=rates, **panels)


def _restruck(structures: Floats, change: Callable[[Floats], Floats]) -> Floats:
    """Other curves (T, A, K, 3) or surfaces (T, A, K, 7), sound ones: in another order, or with changed figures.

    Of a smile only the tenor changes, as other figures may make it none; without a tenor it loses them.
    """
    rows = np.arange(1.0, len(structures) + 1)
    order = change(rows)
    if np.array_equal(np.sort(order), rows):
        return np.asarray(structures[order.astype(np.intp) - 1])
    free = 1 if structures.shape[-1] == 7 else 3
    other = np.concatenate([change(structures[..., :free]), structures[..., free:]], axis=-1)
    return np.where(np.isnan(other[..., :1]), np.nan, other)


def perturbed(history: MarketHistory, row: int) -> MarketHistory:
    """Another future: shifted and scaled, ever more so, from the next row on."""

    def change(panel: Floats) -> Floats:
        ramp = np.linspace(3.0, 5.0, len(panel))
        return np.asarray(panel * ramp.reshape(-1, *[1] * (panel.ndim - 1)))

    return _rewritten(history, row, change)


def one_row_changed(history: MarketHistory, row: int) -> MarketHistory:
    """Only the next row's outcome is another."""

    def change(panel: Floats) -> Floats:
        other = panel.copy()
        other[:1] *= 0.5
        return other

    return _rewritten(history, row, change)


def blanked(history: MarketHistory, row: int) -> MarketHistory:
    """A future of holes."""
    return _rewritten(history, row, lambda panel: np.full_like(panel, np.nan))


def truncated(history: MarketHistory, row: int) -> MarketHistory:
    """No future at all: the history ends now, its outcome unknown."""
    return history.rows(0, row + 1)


def shuffled(history: MarketHistory, row: int) -> MarketHistory:
    """The same future in another order."""

    def change(panel: Floats) -> Floats:
        # A default that came and went would be no market at all.
        return panel if (panel == 0).any() else panel[np.random.default_rng(5).permutation(len(panel))]

    return _rewritten(history, row, change)


REWRITINGS: dict[str, Rewriting] = {
    "perturbed": perturbed,
    "one row changed": one_row_changed,
    "blanked": blanked,
    "truncated": truncated,
    "shuffled": shuffled,
}


def _holed(history: MarketHistory, row: int) -> MarketHistory:
    """Features that are blank now, so that filling them backwards has to reach over the cut."""
    holes = {}
    for name in _FEATURES:
        panel = getattr(history, name)
        if panel is not None:
            holed = panel.copy()
            holed[row] = np.nan
            holes[name] = holed
    return replace(history, **holes) if holes else history


def audit(
    model: MarginModel,
    history: MarketHistory,
    books: Books,
    coverage: Coverage,
    *,
    window: int,
    rows: int = 20,
    name: str | None = None,
) -> Audit:
    """Charge the last `rows` rows before a cut, refitting on each, under every rewriting of what follows the cut.

    The cut is the newest row with every price at least two horizons, or a tenth of the history, before its end: only
    the row at the cut itself can betray a leak of one row. HistoryError where the history is too short for the window,
    the rows and a future.
    """
    future = max(2 * history.steps(coverage), len(history) // 10)
    priced = np.flatnonzero(np.isfinite(history.spot).all(axis=1))
    known = priced[(priced >= window - 1) & (priced < len(history) - future)][-rows:].tolist()
    if len(known) < rows:
        raise HistoryError(
            f"an audit needs window + rows + future = {window} + {rows} + {future} rows, got {len(history)}, "
            f"of which {len(priced)} have every price"
        )
    cut = known[-1]
    history = _holed(history.valued_in(coverage.numeraire), cut)

    def margins(market: MarketHistory) -> Floats:
        with threadpool_limits(1):
            asked = walk(model, market, books, coverage, known, window=window, refit_every=1)
            return np.array([_figures(one) for one in asked])

    honest = margins(history)

    def found(rewrite: Rewriting) -> str:
        return _difference(honest, lambda: margins(rewrite(history, cut)), history, known)

    leaks = [f"{word}: {difference}" for word, rewrite in REWRITINGS.items() if (difference := found(rewrite))]
    return Audit(name or repr(model), len(known), tuple(leaks))


def _figures(one: Charge) -> Floats:
    """Margin, VaR and ES of each portfolio, (3 P,), NaN for the law where none is stated."""
    margin = one.requirement.initial
    none = np.full_like(margin, np.nan)
    return np.concatenate([margin, *((none, none) if one.law is None else (one.law.var, one.law.es))])


def _difference(honest: Floats, again: Callable[[], Floats], history: MarketHistory, rows: Sequence[int]) -> str:
    """Where margins or laws differ from the honest ones, "" where nowhere."""
    try:
        doctored = again()
    except (MarginlabError, ArithmeticError, ValueError, IndexError, KeyError) as error:
        return f"raised {type(error).__name__} ({str(error)[:80]})"
    changed = ((honest != doctored) & ~(np.isnan(honest) & np.isnan(doctored))).any(axis=1)
    if not changed.any():
        return ""
    row = rows[int(np.flatnonzero(changed)[0])]
    return f"{changed.sum()} of {len(rows)} rows changed, first {str(history.time[row])[:16]}"


def audit_table(audits: Sequence[Audit], planted: Sequence[Audit] = ()) -> pd.DataFrame:
    """One row a model: what it is, whether it is as it should be, and what was found."""
    rows = [
        {
            "model": one.model,
            "kind": kind,
            "verdict": ("sees tomorrow" if one.leaks else "clean"),
            "as it should be": one.passed == (kind == "model"),
            "found by": "; ".join(leak.split(":")[0] for leak in one.leaks),
        }
        for kind, group in (("model", audits), ("planted leak", planted))
        for one in group
    ]
    return pd.DataFrame(rows)
