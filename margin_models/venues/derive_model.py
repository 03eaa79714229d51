"""What would Derive (once Lyra) have asked of a book?

Each underlying is an account of its own where the margin is a portfolio's, as on the venue. A venue's net margin counts
cash and marks; a requirement is what it takes off them: mark to market less net margin. A history has no oracle
confidences and no stablecoin: feeds are sure, and the coin is worth 1 USD.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from data import Book, Floats, MarketHistory
from margin_models.base import MarginModel, Requirement
from margin_models.venues import derive_pmrm, derive_pmrm2, derive_pmrm2_rules, derive_srm, derive_srm_rules
from margin_models.venues.accounts import requirement, worst_of
from margin_models.venues.checks import known_or_other, parameter
from margin_models.venues.derive_feeds import Market
from margin_models.venues.derive_market import CurrencyBook, currency_books
from margin_models.venues.derive_scan import ScanMargin
from margin_models.venues.provenance import Provenance

_UNREAD = Provenance("M", "no parameters of the venue's for such a coin were read: wider than those of BTC and ETH")
_FIRST = derive_pmrm.PARAMETERS["mainnet script"]
_SECOND = derive_pmrm2_rules.PARAMETERS["mainnet script"]
_STANDARD = {name: derive_srm_rules.PARAMETERS[f"mainnet script, {name}"] for name in ("BTC", "ETH")}
_WIDE_TAILS = derive_pmrm2_rules.tails((-0.66, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0), 0.77 * 0.32)

PMRM: Mapping[str, derive_pmrm.PortfolioRules] = {
    "BTC": _FIRST,
    "ETH": _FIRST,
    "other": replace(_FIRST, scenarios=derive_pmrm.grid((0.0, 0.1, 0.2, 0.3, -0.1, -0.2, -0.3)), provenance=_UNREAD),
}
PMRM2: Mapping[str, derive_pmrm2_rules.PortfolioRules] = {
    "BTC": _SECOND,
    "ETH": _SECOND,
    "other": replace(
        _SECOND,
        scenarios=(*derive_pmrm2_rules.grid((0.08, 0.16, 0.24), 0.32), *_WIDE_TAILS, *derive_pmrm2_rules.SKEWS),
        provenance=_UNREAD,
    ),
}
SRM: Mapping[str, derive_srm_rules.StandardRules] = {
    **_STANDARD,
    "other": replace(
        _STANDARD["BTC"], perpetual_initial=0.20, perpetual_maintenance=0.15, base=0.0, provenance=_UNREAD
    ),
}


class DerivePmrm2Margin(MarginModel):
    """Derive's second portfolio margin: worst of 33 scenarios and a basis contingency, and contingencies on notional.

    Spot held is collateral that cancels risk: it moves with spot in the scenarios and is charged its haircuts; a coin
    owed is a short perpetual. Dated futures, which the venue does not list, are perpetuals, and so are coin-settled
    contracts; coin-settled options count in USD. Linear in the book.

    Parameters
    ----------
    rules : of each underlying, and of any "other". The default is the mainnet script with what it was not seen to say
        taken from the venue's test vectors; as a set it is unconfirmed.
    haircut, initial_haircut : of spot held, in both margins and in the initial one besides; of ETH in the test vectors.
    """

    def __init__(
        self,
        rules: Mapping[str, derive_pmrm2_rules.PortfolioRules] = PMRM2,
        haircut: float = 0.015,
        initial_haircut: float = 0.005,
    ) -> None:
        self.rules = rules
        self.haircut = haircut
        self.initial_haircut = initial_haircut

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Scan and contingencies, and the worst scenario of the underlying that asks most."""
        for name in ("haircut", "initial_haircut"):
            parameter(name, getattr(self, name), 0.0, 1.0)
        scans = {name: self._scan(name, part) for name, part in currency_books(book, past.now).items()}
        return _asked(past, book, scans)

    def _scan(self, name: str, held: CurrencyBook) -> ScanMargin:
        collateral = derive_pmrm2.Collaterals(
            np.array([held.spot]),
            np.ones(1),
            np.array([self.haircut]),
            np.array([self.initial_haircut]),
            np.ones(1, dtype=bool),
        )
        market = derive_pmrm2.CollateralMarket(
            held.spot, 1.0, 1.0, held.spot, 1.0, held.expiries, held.options, collateral
        )
        none = np.zeros_like(held.base)
        owned = derive_pmrm2.Holdings(none, held.quantity, held.perpetual, none, held.base[:, None])
        return derive_pmrm2.margins(owned, market, known_or_other(self.rules, name))


class DerivePmrmMargin(MarginModel):
    """Derive's first portfolio margin: worst scenario or basis contingency, and static contingencies, times a factor.

    Spot held is the base asset, which moves with spot in the scenarios; a coin owed is a short perpetual. Dated
    futures, which the venue does not list, are perpetuals, and so are coin-settled contracts; coin-settled options
    count in USD. Linear in the book.

    Parameters
    ----------
    rules : of each underlying, and of any "other"; the default is the mainnet script.
    """

    def __init__(self, rules: Mapping[str, derive_pmrm.PortfolioRules] = PMRM) -> None:
        self.rules = rules

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Scan and contingencies, and the worst scenario of the underlying that asks most."""
        scans = {name: self._scan(name, part) for name, part in currency_books(book, past.now).items()}
        return _asked(past, book, scans)

    def _scan(self, name: str, held: CurrencyBook) -> ScanMargin:
        market = Market(held.spot, 1.0, 1.0, held.spot, 1.0, held.expiries, held.options)
        none = np.zeros_like(held.base)
        owned = derive_pmrm.Holdings(none, held.quantity, held.perpetual, none, held.base)
        return derive_pmrm.margins(owned, market, known_or_other(self.rules, name))


class DeriveSrmMargin(MarginModel):
    """Derive's standard margin: options by expiry, alone or at their largest loss at settlement; perpetuals, spot.

    Options bought lend nothing beyond that: a long option posts its premium. Perpetuals do not offset options, and spot
    held offsets nothing: what its haircut takes off is asked. A coin owed is a short perpetual, as are (signed) dated
    futures and coin-settled contracts; coin-settled options count in USD. Linear in the book.

    Parameters
    ----------
    rules : of each underlying, and of any "other"; the default is the mainnet script.
    """

    def __init__(self, rules: Mapping[str, derive_srm_rules.StandardRules] = SRM) -> None:
        self.rules = rules

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Options, perpetuals and spot."""
        parts = {name: np.zeros(len(book.portfolios)) for name in ("options", "perpetuals", "spot")}
        maintenance = np.zeros(len(book.portfolios))
        for name, held in currency_books(book, past.now).items():
            told = self._margin(name, held)
            worth = told.values
            parts["options"] += np.maximum(worth["options"] - told.options.initial, 0.0)
            parts["perpetuals"] -= told.perpetual.initial
            parts["spot"] += worth["base"] - told.base.initial
            maintenance += worth["options"] + worth["base"] - told.maintenance
        return requirement(book, past.now, parts, np.maximum(maintenance, 0.0))

    def _margin(self, name: str, held: CurrencyBook) -> derive_srm.CurrencyMargin:
        market = derive_srm.Market(held.spot, 1.0, held.spot, 1.0, held.expiries, held.options)
        owned = derive_srm.Holdings(held.quantity, held.perpetual, np.zeros_like(held.base), held.base)
        return derive_srm.currency_margin(owned, market, 1.0, known_or_other(self.rules, name))


def _asked(past: MarketHistory, book: Book, scans: Mapping[str, ScanMargin]) -> Requirement:
    """What the accounts of all underlyings post together: scan and each contingency, summed over underlyings."""
    zero = np.zeros(len(book.portfolios))
    parts: dict[str, Floats] = {"scan": zero}
    maintenance = zero
    for scan in scans.values():
        parts["scan"] = parts["scan"] - scan.worst_pnl * scan.initial_factor
        for charges in (scan.maintenance_contingencies, scan.initial_contingencies):
            for name, charge in charges.items():
                label = f"{name} contingency"
                parts[label] = parts.get(label, zero) + charge
        maintenance = maintenance + scan.mark_to_market - scan.maintenance
    return requirement(book, past.now, parts, np.maximum(maintenance, 0.0), _worst(book, scans))


def _worst(book: Book, scans: Mapping[str, ScanMargin]) -> tuple[str, ...]:
    """The worst scenario of the underlying that asks most of each portfolio."""
    names = tuple(f"{name}: {what}" for name, scan in scans.items() for what in scan.names)
    if not names:
        return ("",) * len(book.portfolios)
    asked = np.stack([scan.mark_to_market - scan.initial for scan in scans.values()], axis=1)
    top = asked.argmax(axis=1)
    start = np.cumsum([0, *(len(scan.names) for scan in scans.values())])[:-1]
    place = np.stack([scan.worst for scan in scans.values()], axis=1)[np.arange(len(top)), top] + start[top]
    return worst_of(names, place, np.maximum(asked, 0.0).sum(axis=1))
