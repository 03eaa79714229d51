"""What does Derive's standard margin (SRM) ask of options, perpetuals and base assets in several currencies?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data import DataError, Floats
from data.pricing import black76
from margin_models.venues.checks import finite, not_negative, positive
from margin_models.venues.derive_feeds import Expiries, Options, refuse_bad_feeds
from margin_models.venues.derive_scan import confidence_share
from margin_models.venues.derive_srm_rules import ConfidenceRules, OptionRules, StandardRules
from margin_models.venues.margins import Margins
from margin_models.venues.provenance import Provenance

_VECTORS = Provenance(
    "V", "derivexyz/v2-core at 7736900, test/risk-managers/unit-tests/StandardManager/test-cases.json", "2023"
)
FORMULAS: Mapping[str, Provenance] = dict.fromkeys(
    ("unsettled", "isolated_margins", "largest_loss", "currency_margin", "margins"), _VECTORS
)


@dataclass(frozen=True, eq=False)
class Market:
    """What the venue's feeds say of one currency: prices in USD, confidences 0 to 1.

    The confidence of `expiries` is that of their forwards; their rates are not used, options are marked undiscounted.
    """

    spot: float
    spot_confidence: float
    perpetual_price: float
    perpetual_confidence: float
    expiries: Expiries
    options: Options

    def __post_init__(self) -> None:
        prices, sure = (self.spot, self.perpetual_price), (self.spot_confidence, self.perpetual_confidence)
        refuse_bad_feeds(prices, sure, self.expiries, self.options)


@dataclass(frozen=True, eq=False)
class Holdings:
    """What one account holds in one currency, or many accounts: every array may lead with further axes, (...) below.

    Parameters
    ----------
    options : signed quantities (..., N).
    perpetual : signed quantity (...).
    unsettled : P&L and funding of the perpetual not yet in cash, (...) USD.
    base : units of the currency itself (...) >= 0.
    """

    options: Floats
    perpetual: Floats
    unsettled: Floats
    base: Floats

    def __post_init__(self) -> None:
        for name in ("options", "perpetual", "unsettled"):
            finite(name, getattr(self, name))
        not_negative("base", self.base)


@dataclass(frozen=True, eq=False)
class CurrencyMargin:
    """The parts of one currency, (...) each in USD, signed from the account's side: < 0 is cash that it needs.

    Parameters
    ----------
    options, perpetual, base : initial and maintenance margin, charges for confidence and depeg apart.
    unsettled : counts in both margins.
    confidence : charges <= 0 for feeds that are not sure, by what they are charged on; initial margin only.
    depeg : charge <= 0 where the stablecoin lost its peg; initial margin only.
    values : the parts of the mark to market.
    isolated, bounded : of each expiry, (..., E): options one by one, and at the largest loss; the higher counts.
    worst_price : settlement price of the largest loss, (..., E).
    """

    options: Margins
    perpetual: Margins
    base: Margins
    unsettled: Floats
    confidence: Mapping[str, Floats]
    depeg: Floats
    values: Mapping[str, Floats]
    isolated: Margins
    bounded: Margins
    worst_price: Floats

    @property
    def initial(self) -> Floats:
        """Net initial margin, (...)."""
        charges = sum(self.confidence.values(), self.depeg)
        return np.asarray(self.options.initial + self.perpetual.initial + self.base.initial + self.unsettled + charges)

    @property
    def maintenance(self) -> Floats:
        """Net maintenance margin, (...)."""
        return np.asarray(
            self.options.maintenance + self.perpetual.maintenance + self.base.maintenance + self.unsettled
        )


@dataclass(frozen=True, eq=False)
class StandardMargin:
    """Net margins and mark to market of each account, (...) USD, cash included; >= 0 is healthy."""

    initial: Floats
    maintenance: Floats
    mark_to_market: Floats
    currencies: Mapping[str, CurrencyMargin] = field(default_factory=dict)


def unsettled(quantity: ArrayLike, price: ArrayLike, entry: ArrayLike, funding: ArrayLike = 0.0) -> Floats:
    """What a perpetual entered at `entry` brings when it is settled at `price`, USD, all broadcast.

    >>> unsettled(-2.0, 90.0, 100.0, funding=-5.0)
    array(15.)
    """
    moved = finite("price", price) - finite("entry", entry)
    return np.asarray(finite("quantity", quantity) * moved + finite("funding", funding))


def isolated_margins(net: Floats, unit: Floats, contracts: Options, spot: float, rules: OptionRules) -> Margins:
    """Net margins of each contract by itself, (..., C) <= 0, of net quantities (..., C) marked at `unit` (C,) USD.

    Call sold, n < 0: initial max(most - OTM / S, least) S n + mark, maintenance call S n + mark. Put sold: maintenance
    min(put S n, put_mark mark) + mark, initial the lower of the call's formula and put_offset times the maintenance.
    Options held have none.
    """
    mark = net * unit
    away = np.where(contracts.call, contracts.strike - spot, spot - contracts.strike) / spot
    initial = np.maximum(rules.most - np.maximum(away, 0.0), rules.least) * spot * net + mark
    call = rules.call * spot * net + mark
    put = np.minimum(rules.put * spot * net, rules.put_mark * mark) + mark
    maintenance = np.where(contracts.call, call, put)
    initial = np.where(contracts.call, initial, np.minimum(initial, rules.put_offset * put))
    return Margins(np.where(net < 0, initial, 0.0), np.where(net < 0, maintenance, 0.0))


def largest_loss(net: Floats, contracts: Options) -> tuple[Floats, Floats]:
    """Largest loss at settlement of the contracts of one expiry, (...) <= 0, and at which price it is.

    Prices looked at are 0 and the strikes that the account has a position in; above them calls sold lose on, which
    is what the unpaired charge is for.
    """
    price = np.append(0.0, contracts.strike)
    sign = np.where(contracts.call, 1.0, -1.0)[:, None]
    payoff = net @ np.maximum(sign * (price - contracts.strike[:, None]), 0.0)
    held = np.concatenate([np.ones((*net.shape[:-1], 1), dtype=bool), net != 0], axis=-1)
    loss = np.where(held, np.minimum(payoff, 0.0), 0.0)
    return np.asarray(loss.min(axis=-1)), price[loss.argmin(axis=-1)]


def currency_margin(holdings: Holdings, market: Market, stable_price: float, rules: StandardRules) -> CurrencyMargin:
    """The margin of one currency and its parts. DataError for quantities that do not fit, or a stable price <= 0."""
    if np.shape(holdings.options)[-1] != len(market.options):
        raise DataError(f"holdings must be of {len(market.options)} options, got {np.shape(holdings.options)[-1]}")
    peg, spot = float(positive("stable price", stable_price)), market.spot
    perpetual, base = np.abs(np.asarray(holdings.perpetual)), np.asarray(holdings.base) * spot
    contracts = market.options.contracts
    net = holdings.options @ market.options.by_contract
    unit = _marks(contracts, market.expiries)
    isolated, bounded, price = _by_expiry(net, unit, contracts, market, rules.option)
    short = _shorts(net, contracts, len(market.expiries))
    lacking = max(rules.depeg_threshold - peg, 0.0) * rules.depeg_factor
    counted = rules.base * base
    notional = -perpetual * market.perpetual_price
    return CurrencyMargin(
        Margins(*(np.maximum(*pair).sum(axis=-1) for pair in zip(isolated, bounded, strict=True))),
        Margins(notional * rules.perpetual_initial, notional * rules.perpetual_maintenance),
        Margins(counted * rules.base_initial, counted),
        np.asarray(holdings.unsettled),
        _confidence(holdings, market, short * spot, rules.confidence),
        np.asarray(-lacking * spot * (perpetual + short.sum(axis=-1))),
        {
            "options": np.asarray(net @ unit),
            "perpetual": np.asarray(holdings.unsettled),
            "base": np.asarray(base / peg),
        },
        isolated,
        bounded,
        price,
    )


def margins(cash: Floats, currencies: Mapping[str, CurrencyMargin]) -> StandardMargin:
    """Net margins of each account, (...): its cash plus what each currency asks. DataError for cash that is NaN."""
    start = finite("cash", cash)
    values = [value for part in currencies.values() for value in part.values.values()]
    return StandardMargin(
        np.asarray(sum((part.initial for part in currencies.values()), start)),
        np.asarray(sum((part.maintenance for part in currencies.values()), start)),
        np.asarray(sum(values, start)),
        currencies,
    )


def _marks(contracts: Options, expiries: Expiries) -> Floats:
    deviation = contracts.volatility * np.sqrt(expiries.tenor)[contracts.expiry]
    return np.asarray(black76(expiries.forward[contracts.expiry], contracts.strike, deviation, contracts.call))


def _shorts(net: Floats, contracts: Options, count: int) -> Floats:
    """Contracts sold in each expiry, (..., E) >= 0."""
    sold = np.maximum(-net, 0.0)
    each = [sold[..., contracts.expiry == e].sum(axis=-1) for e in range(count)]
    return np.stack(each, axis=-1) if each else np.zeros((*net.shape[:-1], 0))


def _by_expiry(
    net: Floats, unit: Floats, contracts: Options, market: Market, rules: OptionRules
) -> tuple[Margins, Margins, Floats]:
    """Margins of each expiry (..., E) option by option and at the largest loss, and the price of that loss."""
    alone = isolated_margins(net, unit, contracts, market.spot, rules)
    shape = (*net.shape[:-1], len(market.expiries))
    isolated, bounded = (Margins(np.zeros(shape), np.zeros(shape)) for _ in range(2))
    worst_price = np.zeros(shape)
    for e, forward in enumerate(market.expiries.forward):
        mine: NDArray[np.bool_] = contracts.expiry == e
        loss, worst_price[..., e] = largest_loss(net[..., mine], contracts.only(mine))
        unpaired = np.minimum(net[..., mine & contracts.call].sum(axis=-1), 0.0) * forward
        isolated.initial[..., e] = alone.initial[..., mine].sum(axis=-1)
        isolated.maintenance[..., e] = alone.maintenance[..., mine].sum(axis=-1)
        bounded.initial[..., e] = loss + rules.unpaired_initial * unpaired
        bounded.maintenance[..., e] = loss + rules.unpaired_maintenance * unpaired
    return isolated, bounded, worst_price


def _confidence(holdings: Holdings, market: Market, short: Floats, rules: ConfidenceRules) -> dict[str, Floats]:
    """Charges <= 0 on the perpetual, on options sold, `short` (..., E) in USD at spot, and on the base asset, (...)."""
    spot = market.spot_confidence
    expiry = market.options.least_confidence(holdings.options, market.expiries, np.asarray(spot))
    perpetual = confidence_share(np.array(min(spot, market.perpetual_confidence)), rules.perpetual, rules.factor)
    return {
        "perpetual": np.asarray(-np.abs(holdings.perpetual) * market.spot * perpetual),
        "options": np.asarray(-(short * confidence_share(expiry, rules.option, rules.factor)).sum(axis=-1)),
        "base": np.asarray(
            -np.asarray(holdings.base) * market.spot * confidence_share(np.array(spot), rules.base, rules.factor)
        ),
    }
