"""What is the worst of sixteen moves of price and volatility, with credit for legs that offset?

After CME Group's published description of SPAN (Standard Portfolio Analysis of Risk): scan risk per underlying over
sixteen scenarios, two of them extreme moves at a cover fraction; an inter-month spread charge, inter-commodity spread
credits, and a short-option minimum.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from data import Book, Coverage, Floats, MarketHistory, MarketState, ParameterError
from data.valuation import notionals, unit_values
from margin_models import operations
from margin_models.base import MarginModel, Requirement
from margin_models.contributions import completed, euler_on_scenario
from margin_models.covariance import LedoitWolfCovariance, well_known
from margin_models.intermonth import calendar_reach, intermonth_charge
from margin_models.kernels.spreads import spread_credit
from margin_models.scan import contract_scan, scan_pnl, volatility_range
from margin_models.scan_range import worse_side_quantile
from margin_models.scenarios import Scenarios, VolTerm, span16

SIXTEEN, EXTREMES = 16, 2


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


def _refuse_outside(owner: str, name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise ParameterError(f"{owner}.{name} must lie in [{low:g}, {high:g}], got {value}")


@dataclass(frozen=True)
class SpanRules:
    """What a clearing house sets by rule rather than learns.

    Parameters
    ----------
    extreme, cover : multiple of the scan range in the two extreme scenarios, and the share of their loss that counts;
        3 and .33 as in a CME notice of 2008.
    least_correlation : pairs below it get no inter-commodity credit.
    most_credit : cap on the credit rate of a pair; EMIR RTS 153/2013 article 27 caps offsets at 80 %.
    short_option_minimum : least margin of a short option contract, as a share of its underlying's notional, covered or
        not; our choice.
    intermonth : charge spreads between expiries: True always, None where the history has curves to learn it from, False
        never.
    rate_shock : move of the yearly USD rate; where > 0 all scenarios are run with the rate up and again with it down.
    term : how a volatility shock fades with tenor.

    Raises
    ------
    ParameterError
        For a number out of range.
    """

    extreme: float = 3.0
    cover: float = 0.33
    least_correlation: float = 0.3
    most_credit: float = 0.8
    short_option_minimum: float = 0.001
    intermonth: bool | None = None
    rate_shock: float = 0.0
    term: VolTerm = field(default_factory=VolTerm)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("extreme", 1.0, 10.0),
            ("cover", 0.0, 1.0),
            ("least_correlation", 0.0, 1.0),
            ("most_credit", 0.0, 1.0),
            ("short_option_minimum", 0.0, 1.0),
            ("rate_shock", 0.0, 1.0),
        ):
            _refuse_outside("SpanRules", name, getattr(self, name), low, high)


RULES = SpanRules()


@dataclass(frozen=True, eq=False)
class _Scan:
    """What the scan of one book found, (P, A) each: the risk, which scenario it is, and the part that can offset.

    `offset` has the sign of the delta.
    """

    risk: Floats
    worst: NDArray[np.intp]
    offset: Floats


def _paired(size: int) -> NDArray[np.intp]:
    """The scenario that differs in volatility alone, (S,); an extreme one is its own pair."""
    place = np.arange(size) % SIXTEEN
    return np.arange(size) + np.where(place < SIXTEEN - EXTREMES, 1 - 2 * (place % 2), 0)


def _offsetting(loss: Floats, worst: NDArray[np.intp], delta: Floats, scenarios: Scenarios) -> Floats:
    """The futures price risk of each underlying with the sign of its delta, (P, A), from losses (P, A, S).

    As CME describes it: the worst scenario averaged with its pair (which takes volatility out), less the average of the
    two without a price move (which takes time out). Ours besides: at most what the delta loses alone, and nothing where
    the worst move is not against the delta, so that two straddles do not offset.
    """
    pair, first = _paired(len(scenarios))[worst], worst - worst % SIXTEEN

    def at(place: NDArray[np.intp]) -> Floats:
        return np.asarray(np.take_along_axis(loss, place[:, :, None], axis=2)[:, :, 0])

    price = (at(worst) + at(pair)) / 2.0 - (at(first) + at(first + 1)) / 2.0
    assert scenarios.weight is not None
    counted = scenarios.spot * scenarios.weight[:, None]
    alone = np.abs(delta) * np.where(delta > 0, (-counted).max(axis=0), counted.max(axis=0))
    against = scenarios.spot[worst, np.arange(delta.shape[1])] * delta < 0
    return np.where(against, np.sign(delta) * np.clip(price, 0.0, alone), 0.0)


class SpanLike(MarginModel):
    """Scan risk over sixteen scenarios, with inter-month charges, inter-commodity credits and a short-option minimum.

    The margin is max(scan risk + inter-month charge - credit, short-option minimum), gross of option value; the classic
    net figure is `net_of_option_value`. Each underlying is scanned alone, options revalued in full with the time of the
    horizon gone by. A linear book pays its net times the scan range.

    Parameters
    ----------
    scan_range : price scan range as a share of notional, for every underlying; None learns one each from the window, at
        the coverage.
    vol_range : relative range of 30-day implied volatility; None learns one each where the history has surfaces for it,
        and takes 25 % elsewhere.
    maintenance : maintenance margin as a share of the initial one, which is what the coverage calibrates.
    rules : what is set rather than learned.

    Attributes
    ----------
    scan_range_ : (A,) share of notional.
    vol_range_ : (A,) relative.
    vol_learned_ : (A,) whether `vol_range_` was learned.
    credit_ : (A, A) signed credit rates.
    reach_ : (A, G) what spreads between maturities cost (`intermonth.calendar_reach`), zeros where nothing is charged.
    """

    def __init__(
        self,
        scan_range: float | None = None,
        vol_range: float | None = None,
        maintenance: float = 1.0,
        rules: SpanRules = RULES,
    ) -> None:
        self.scan_range = scan_range
        self.vol_range = vol_range
        self.maintenance = maintenance
        self.rules = rules

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn ranges, credits and spread charges.

        ParameterError for what is out of range, HistoryError for a short window, or for one without curves where an
        inter-month charge is asked for.
        """
        for name, high in (("scan_range", 10.0), ("vol_range", 10.0), ("maintenance", 1.0)):
            _refuse_outside("SpanLike", name, getattr(self, name), 0.0, high)
        self._learn_ranges(past, coverage)
        # Two that are too little known together earn no credit.
        covariance = np.zeros((len(past.underlyings),) * 2)
        if well_known(past.returns(coverage)).any():
            covariance = np.nan_to_num(LedoitWolfCovariance().fit(past, coverage).estimate(past))
        spread = np.sqrt(np.diag(covariance))
        spread = np.where(spread > 0, spread, 1.0)
        rules = self.rules
        self.credit_ = credit_rates(covariance / np.outer(spread, spread), rules.least_correlation, rules.most_credit)
        self.reach_ = np.zeros((len(past.underlyings), 1))
        if rules.intermonth is not False:
            self.reach_ = calendar_reach(past, coverage, required=bool(rules.intermonth))
        return super().fit(past, coverage)

    def _learn_ranges(self, past: MarketHistory, coverage: Coverage) -> None:
        size = len(past.underlyings)
        self.vol_range_, self.vol_learned_ = volatility_range(past, coverage)
        if self.vol_range is not None:
            self.vol_range_, self.vol_learned_ = np.full(size, float(self.vol_range)), np.zeros(size, dtype=bool)
        if self.scan_range is None:
            self.scan_range_ = worse_side_quantile(past, coverage)
        else:
            self.scan_range_ = np.full(size, float(self.scan_range))

    def scenarios(self) -> Scenarios:
        """The sixteen, or thirty-two with a rate shock, in the order of CME's risk arrays; moves in the numeraire."""
        rules = self.rules
        sixteen = span16(self.scan_range_, self.vol_range_, rules.extreme, rules.cover, rules.term)
        if not rules.rate_shock:
            return sixteen
        up, down = (
            replace(
                sixteen, rate=np.full(SIXTEEN, shock), names=tuple(f"{n}, rate {shock:+.2%}" for n in sixteen.names)
            )
            for shock in (rules.rate_shock, -rules.rate_shock)
        )
        return up.joined(down)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """What the book must post, gross of option value, (P,) in the numeraire."""
        scan = self._scan(past.now, book, self.scenarios())
        return self._total(past.now, book, scan)[0]

    def net_of_option_value(self, past: MarketHistory, book: Book) -> Floats:
        """The classic SPAN figure, (P,): the margin less the net value of the options, negative where that is more."""
        state, listing = past.now, book.listing
        unit = np.where(listing.option, unit_values(listing, state), 0.0)
        options: Floats = np.asarray(book.quantity @ (book.known(unit, state) / state.rate))
        return self.margin(past, book) - options

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin as the one component; maintenance is its stated share."""
        margin = self.margin(past, book)
        return Requirement(book.portfolios, margin, self.maintenance * margin, {"margin": margin})

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """Scan risk by underlying, charges and credits, and the worst scenario of the riskiest underlying."""
        scenarios = self.scenarios()
        scan = self._scan(past.now, book, scenarios)
        margin, adjusted = self._total(past.now, book, scan)
        parts = {f"scan {name}": scan.risk[:, a] for a, name in enumerate(past.underlyings)}
        top = scan.risk.argmax(axis=1)
        worst = tuple(
            self._told(past.underlyings, a, scan.worst[p, a], scenarios) if scan.risk[p, a] > 0 else ""
            for p, a in enumerate(top)
        )
        return Requirement(book.portfolios, margin, self.maintenance * margin, {**parts, **adjusted}, worst)

    def contributions(self, past: MarketHistory, book: Book) -> Floats:
        """What each position adds, (P, N); rows sum to the margin.

        Each position's loss in the worst scenario of its underlying (Euler); charges, credits and the minimum are
        shared in proportion to those.
        """
        scenarios, column = self.scenarios(), book.listing.columns(past.underlyings)
        scan = self._scan(past.now, book, scenarios)
        unit = contract_scan(book.listing, past.now, scenarios, past.now.years_ahead(self.coverage_))
        parts = euler_on_scenario(book, book.known(unit, past.now), scan.worst[:, column])
        return completed(np.where(scan.risk[:, column] > 0, parts, 0.0), self.margin(past, book), book)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:  # noqa: ARG002  the same at any instant
        """Of a scan of sixteen scenarios, or thirty-two, (P,)."""
        return operations.scan(book, len(self.scenarios()))

    def _scan(self, state: MarketState, book: Book, scenarios: Scenarios) -> _Scan:
        loss = -scan_pnl(book, state, scenarios, state.years_ahead(self.coverage_))
        worst = loss.argmax(axis=2)
        risk = np.maximum(loss.max(axis=2), 0.0)
        return _Scan(risk, worst, _offsetting(loss, worst, book.exposure(state), scenarios))

    def _total(self, state: MarketState, book: Book, scan: _Scan) -> tuple[Floats, dict[str, Floats]]:
        """The margin (P,) and what stands in it besides scan risk."""
        spreads = (
            intermonth_charge(book, state, self.reach_).sum(axis=1) if self.reach_.any() else 0.0 * scan.risk[:, 0]
        )
        credit = self._credit(scan.offset)
        before = scan.risk.sum(axis=1) + spreads - credit
        margin = np.maximum(before, self._short_option_minimum(state, book))
        adjusted = {"inter-month charge": spreads, "inter-commodity credit": 0.0 - credit}
        return margin, {**adjusted, "short-option minimum": margin - before}

    def _credit(self, offset: Floats) -> Floats:
        """(P,): pairs in order of their credit, each leg's risk used once."""
        first, second = np.triu_indices(len(self.credit_), 1)
        rate = self.credit_[first, second]
        order = np.argsort(-np.abs(rate), kind="stable")
        order = order[rate[order] != 0]
        return np.asarray(spread_credit(offset, first[order], second[order], rate[order]))

    def _short_option_minimum(self, state: MarketState, book: Book) -> Floats:
        """(P,): the stated share of the notional of every short option contract."""
        if not book.listing.option.any():
            return np.zeros(len(book.portfolios))
        unit = np.where(book.listing.option, notionals(book.listing, state), 0.0)
        worth = book.known(unit, state) / state.rate
        short: Floats = np.asarray((book.size @ worth - book.quantity @ worth) / 2.0)
        return self.rules.short_option_minimum * short

    def _told(self, underlyings: tuple[str, ...], a: int, scenario: int, scenarios: Scenarios) -> str:
        price, vol = scenarios.spot[scenario, a], scenarios.vol[scenario, a]
        name = f"{scenario % SIXTEEN + 1} {scenarios.names[scenario]}"
        return f"{underlyings[a]}: scenario {name} (price {price:+.1%}, vol {vol:+.1%})"
