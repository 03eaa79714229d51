"""What does Derive's Dutch auction of an account below its maintenance margin take, and what does it leave?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from data import DataError, Floats, ParameterError
from margin_models.venues.checks import finite, named, not_negative, parameter
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class AuctionRules:
    """How an auction runs.

    Parameters
    ----------
    start, cutoff : share of mark to market asked at the start, and where the fast part ends.
    fast_seconds, slow_seconds : the fast part falls to the cutoff, the slow part to 0.
    insolvent_seconds : until what the security module pays has grown to the whole maintenance margin.
    fee : share of the largest lot's value that goes to the security module at the start.
    buffer : how far beyond the maintenance margin is liquidated, as a share of maintenance margin less mark to market.
    whole_below : an account worth less USD than this may be taken whole.
    provenance : where they are from.
    """

    start: float
    cutoff: float
    fast_seconds: float
    slow_seconds: float
    insolvent_seconds: float
    fee: float
    buffer: float
    provenance: Provenance
    whole_below: float = 0.0

    def __post_init__(self) -> None:
        for name in ("start", "cutoff", "fee", "buffer"):
            parameter(name, getattr(self, name), 0.0, 1.0)
        for name in ("fast_seconds", "slow_seconds", "insolvent_seconds"):
            parameter(name, getattr(self, name), 1e-9)
        if self.cutoff > self.start:
            raise ParameterError(f"the cutoff must not exceed the start, got {self.cutoff} and {self.start}")


_VECTORS = Provenance(
    "V", "derivexyz/v2-core at 7736900, test/integration-tests/liquidation/liquidationTests.json", "2023"
)
_SCRIPT = Provenance("S", "derivexyz/v2-core at f469730, scripts/config-mainnet.sol, auctions")
_CONTRACT = Provenance("S", "derivexyz/v2-core, src/liquidation/DutchAuction.sol")
PARAMETERS: Mapping[str, AuctionRules] = {
    "test vectors": AuctionRules(0.98, 0.8, 100.0, 14_400.0, 600.0, 0.02, 0.2, _VECTORS),
    "mainnet script": AuctionRules(0.95, 0.7, 900.0, 43_200.0, 3_600.0, 0.10, 0.15, _SCRIPT),
}
FORMULAS: Mapping[str, Provenance] = {
    **dict.fromkeys(("rules", "buffer_margin", "starting_fee", "largest_share", "solvent_bid"), _VECTORS),
    # The published cases bid within the fast part; none is insolvent.
    **dict.fromkeys(("discount", "insolvent_price", "insolvent_bid"), _CONTRACT),
}


class SolventBid(NamedTuple):
    """What a bid on a solvent account takes, all of one shape: USD, and shares of what the account holds now.

    `price` is what the bidder pays. It stays in the account and is never sold again: `reserved` after the bid.
    `ended` where the largest share was taken, so that the auction is over.
    """

    buffer_margin: Floats
    discount: Floats
    largest: Floats
    share: Floats
    price: Floats
    mark_to_market: Floats
    maintenance: Floats
    reserved: Floats
    ended: np.typing.NDArray[np.bool_]


class InsolventBid(NamedTuple):
    """USD that a bidder is paid for a share of an insolvent account: by the security module, by all who hold cash."""

    paid: Floats
    by_module: Floats
    socialised: Floats


def rules(name: str) -> AuctionRules:
    """The parameters of this name; ParameterError for one that is not known."""
    return named(PARAMETERS, name)


def buffer_margin(maintenance: ArrayLike, mark_to_market: ArrayLike, rules: AuctionRules) -> Floats:
    """The net margin that an auction brings back to 0: MM + buffer (MM - MtM), any shape. DataError for NaN."""
    net = finite("maintenance margin", maintenance)
    return np.asarray(net + rules.buffer * (net - finite("mark to market", mark_to_market)))


def discount(seconds: ArrayLike, rules: AuctionRules) -> Floats:
    """Share of mark to market that is asked so many seconds after the start, any shape. DataError for seconds < 0.

    >>> discount([0, 50, 7300, 20_000], rules("test vectors"))
    array([0.98, 0.89, 0.4 , 0.  ])
    """
    after = not_negative("seconds", seconds)
    knots = (0.0, rules.fast_seconds, rules.fast_seconds + rules.slow_seconds)
    return np.asarray(np.interp(after, knots, (rules.start, rules.cutoff, 0.0)))


def largest_share(
    mark_to_market: ArrayLike, buffer: ArrayLike, asked: ArrayLike, reserved: ArrayLike, rules: AuctionRules
) -> Floats:
    """Share of what is left that may be sold at most, any shape: BM / (BM - MtM d - R (1 - d)), 0 where BM >= 0.

    Selling it at d (MtM - R) brings the buffer margin to 0. `buffer` is BM, `asked` d and `reserved` R, the cash of
    earlier bids.
    """
    worth, share = finite("mark to market", mark_to_market), not_negative("discount", asked)
    short = np.minimum(finite("buffer margin", buffer), 0.0)
    whole = short - worth * share - not_negative("reserved cash", reserved) * (1.0 - share)
    safe = np.where(short < 0, whole, -1.0)
    return np.asarray(np.where(worth < rules.whole_below, 1.0, np.where(short < 0, short / safe, 0.0)))


def starting_fee(mark_to_market: ArrayLike, maintenance: ArrayLike, rules: AuctionRules) -> Floats:
    """USD that the account pays to the security module when its auction starts solvent, any shape, else 0."""
    worth = finite("mark to market", mark_to_market)
    share = largest_share(np.maximum(worth, 0.0), buffer_margin(maintenance, worth, rules), 1.0, 0.0, rules)
    return np.asarray(np.where(worth > 0, share * worth * rules.fee, 0.0))


def solvent_bid(
    mark_to_market: ArrayLike,
    maintenance: ArrayLike,
    seconds: ArrayLike,
    wanted: ArrayLike,
    rules: AuctionRules,
    reserved: ArrayLike = 0.0,
) -> SolventBid:
    """A bid for the share `wanted` of what an account below its maintenance margin holds, any shape.

    The price is d (MtM - R) f, f at most `largest_share`. What is sold takes its part of both margins with it; cash of
    earlier bids, R = `reserved`, stays. DataError for a share outside (0, 1], an account worth less than its reserved
    cash (the venue then starts again, insolvent), or an auction that has run out.
    """
    worth, net = finite("mark to market", mark_to_market), finite("maintenance margin", maintenance)
    kept, asked = not_negative("reserved cash", reserved), discount(seconds, rules)
    _taken(wanted)
    not_negative("mark to market less reserved cash", worth - kept)
    if not (asked > 0).all():
        raise DataError(f"a solvent auction must be bid on before its end, got {np.max(seconds)} seconds")
    buffer = buffer_margin(net, worth, rules)
    largest = largest_share(worth, buffer, asked, kept, rules)
    share = np.minimum(wanted, largest)
    price = (worth - kept) * asked * share
    left = 1.0 - share
    return SolventBid(
        buffer,
        asked,
        largest,
        np.asarray(share),
        np.asarray(price),
        np.asarray((worth - kept) * left + kept + price),
        np.asarray((net - kept) * left + kept + price),
        np.asarray(kept + price),
        np.asarray(np.asarray(wanted) >= largest),
    )


def insolvent_price(
    mark_to_market: ArrayLike, maintenance: ArrayLike, seconds: ArrayLike, rules: AuctionRules
) -> Floats:
    """USD <= 0 asked for a whole insolvent account: from min(MtM, 0) linearly to the maintenance margin, any shape.

    0 where the maintenance margin is not missed. DataError for NaN, or seconds < 0.
    """
    net, start = finite("maintenance margin", maintenance), np.minimum(finite("mark to market", mark_to_market), 0.0)
    grown = np.minimum(not_negative("seconds", seconds) / rules.insolvent_seconds, 1.0)
    return np.asarray(np.where(net < 0, start + (net - start) * grown, 0.0))


def insolvent_bid(price: ArrayLike, wanted: ArrayLike, module: ArrayLike) -> InsolventBid:
    """Who pays for the share `wanted` at this `price` <= 0 of the whole, the security module having `module` USD.

    What the module cannot pay is a loss of all who hold the venue's cash. DataError for a price > 0 or a share outside
    (0, 1].

    >>> insolvent_bid(-100.0, 0.5, 20.0)
    InsolventBid(paid=array(50.), by_module=array(20.), socialised=array(30.))
    """
    paid = not_negative("price paid to the bidder", -finite("price", price)) * _taken(wanted)
    by_module = np.minimum(paid, not_negative("cash of the security module", module))
    return InsolventBid(np.asarray(paid), np.asarray(by_module), np.asarray(paid - by_module))


def _taken(wanted: ArrayLike) -> Floats:
    share = finite("share", wanted)
    if not ((share > 0) & (share <= 1)).all():
        raise DataError(f"a share must lie in (0, 1], got {share[~((share > 0) & (share <= 1))].ravel()[0]}")
    return share
