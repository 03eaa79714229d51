"""What is the worst of a small grid of price moves, with credit for legs that offset?

After CME Group's published description of SPAN (Standard Portfolio Analysis of Risk): scan risk per underlying over a
grid of moves of the price scan range, two extreme moves at a cover fraction, and inter-commodity spread credits.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from margin_models.base import MarginModel, Requirement
from margin_models.covariance import LedoitWolfCovariance
from margin_models.kernels.spreads import spread_credit
from margin_models.scan_range import worse_side_quantile

THIRDS = (0.0, 1 / 3, -1 / 3, 2 / 3, -2 / 3, 1.0, -1.0)


def credit_rates(correlation: Floats, least: float, most: float) -> Floats:
    """Share of both legs' scan risk that a pair gets back, (A, A), signed as the correlation; 0 below `least`.

    Two legs of risk 1 and correlation r > 0, held against each other, risk sqrt(2 (1 - r)) of the 2 charged apart under
    an elliptical law; the credit is the rest, at most `most`. Offsets for weak correlation are refused, as EMIR RTS
    153/2013 article 27 asks for a significant and reliable one.
    """
    strength = np.minimum(np.abs(correlation), 1.0)
    credit = np.minimum(1.0 - np.sqrt((1.0 - strength) / 2.0), most)
    rates: Floats = np.where(strength >= least, credit, 0.0) * np.sign(correlation)
    np.fill_diagonal(rates, 0.0)
    return rates


def _charge(risk: Floats, credit: Floats) -> Floats:
    return np.asarray(risk.sum(axis=1) - credit)


class SpanLike(MarginModel):
    """Scan risk over a grid of price moves, less inter-commodity credits.

    Parameters
    ----------
    extreme : multiple of the scan range in the two extreme scenarios.
    cover : share of the extreme loss that is charged.
    least_correlation : pairs below it get no credit.
    most_credit : cap on the credit rate of a pair.
    scan_range : share of notional for every underlying; None learns one each from the window at the coverage.

    Attributes
    ----------
    scan_range_ : (A,) share of notional.
    credit_ : (A, A) signed credit rates.
    """

    def __init__(
        self,
        extreme: float = 3.0,
        cover: float = 0.33,
        least_correlation: float = 0.3,
        most_credit: float = 0.8,
        scan_range: float | None = None,
    ) -> None:
        self.extreme = extreme
        self.cover = cover
        self.least_correlation = least_correlation
        self.most_credit = most_credit
        self.scan_range = scan_range

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn scan ranges and credits; ParameterError for what is out of range, HistoryError for a short window."""
        self._check()
        if self.scan_range is None:
            self.scan_range_ = worse_side_quantile(past, coverage)
        else:
            self.scan_range_ = np.full(len(past.underlyings), float(self.scan_range))
        covariance = LedoitWolfCovariance().fit(past, coverage).estimate(past)
        spread = np.sqrt(np.diag(covariance))
        spread = np.where(spread > 0, spread, 1.0)
        self.credit_ = credit_rates(covariance / np.outer(spread, spread), self.least_correlation, self.most_credit)
        return super().fit(past, coverage)

    def moves(self) -> dict[str, Floats]:
        """The scenarios that move a linear book: name -> (A,) loss weight times move, as a share of notional."""
        grid = {f"{third * 3:+.0f}/3 of the scan range": third * self.scan_range_ for third in THIRDS}
        for sign in (1.0, -1.0):
            grid[f"extreme {sign * self.extreme:+g}x at {self.cover:g}"] = (
                sign * self.extreme * self.cover * self.scan_range_
            )
        return grid

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Scan risk less credit, (P,) in the numeraire."""
        exposure = book.exposure(past.now)
        risk, _ = self._scan(exposure)
        return _charge(risk, self._credit(exposure, risk))

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """Scan risk by underlying, the credit, and the scenario of the riskiest underlying."""
        exposure = book.exposure(past.now)
        risk, scenario = self._scan(exposure)
        credit, names = self._credit(exposure, risk), list(self.moves())
        margin = _charge(risk, credit)
        parts = {f"scan {name}": risk[:, a] for a, name in enumerate(past.underlyings)}
        top = risk.argmax(axis=1)
        worst = tuple(f"{past.underlyings[a]}: {names[scenario[p, a]]}" for p, a in enumerate(top))
        return Requirement(book.portfolios, margin, margin, {**parts, "inter-commodity credit": -credit}, worst)

    def _scan(self, exposure: Floats) -> tuple[Floats, NDArray[np.intp]]:
        """Largest loss of each underlying over the grid, (P, A), and which scenario it is."""
        moves = np.stack(list(self.moves().values()))
        losses = -exposure[None, :, :] * moves[:, None, :]
        return losses.max(axis=0), losses.argmax(axis=0)

    def _credit(self, exposure: Floats, risk: Floats) -> Floats:
        """(P,): pairs in order of their credit, each leg's risk used once."""
        first, second = np.triu_indices(len(self.credit_), 1)
        rate = self.credit_[first, second]
        order = np.argsort(-np.abs(rate), kind="stable")
        order = order[rate[order] != 0]
        return np.asarray(spread_credit(np.sign(exposure) * risk, first[order], second[order], rate[order]))

    def _check(self) -> None:
        for name, low, high in (
            ("extreme", 1.0, 10.0),
            ("cover", 0.0, 1.0),
            ("least_correlation", 0.0, 1.0),
            ("most_credit", 0.0, 1.0),
            ("scan_range", 0.0, 10.0),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ParameterError(f"SpanLike.{name} must lie in [{low:g}, {high:g}], got {value}")
