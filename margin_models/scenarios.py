"""What might the market do over the margin period?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from data import Floats, MarketHistory, MarketState, ParameterError
from data.clock import Stamps

DAYS_QUOTED = 30.0  # the tenor whose volatility a scenario shocks
WIDEST = 2.0  # standard deviations of log-moneyness beyond which a skew shock grows no further
_MOST = 0.999  # a fall of the numeraire by all of its value has no finite counterpart
# A scenario's position on the grid, in thirds of the scan range, in the order of CME's risk arrays.
SPAN_THIRDS = (0, 1, -1, 2, -2, 3, -3)


@dataclass(frozen=True)
class VolTerm:
    """How a shock to 30-day volatility fades with tenor: by (30 / days)^power, days floored.

    `short` is the power below 30 days and `long` the one above; `least` is the volatility that a rise reaches at least.
    Deribit and Derive publish .30 and .13.

    >>> VolTerm().scale(np.array([7.5, 30.0, 120.0])).round(3).tolist()
    [1.516, 1.0, 0.835]
    """

    short: float = 0.30
    long: float = 0.13
    floor_days: float = 1.0
    least: float = 0.0

    def scale(self, days: Floats) -> Floats:
        """Share of the 30-day shock at tenors in days."""
        ratio = DAYS_QUOTED / np.maximum(days, self.floor_days)
        return np.asarray(ratio ** np.where(days <= DAYS_QUOTED, self.short, self.long))


PARALLEL = VolTerm(0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Scenarios:
    """S scenarios for A underlyings.

    Parameters
    ----------
    spot : (S, A) relative moves of each price, >= -1; forwards move along.
    vol : (S, A) relative changes of 30-day implied volatility, at other tenors as `term` says.
    names : S names.
    weight : (S,) share of the P&L that counts (a dampener, a cover fraction); 1 where None.
    term : how volatility shocks fade with tenor.
    skew, wings : (S,) relative change of volatility a standard deviation of log-moneyness, signed and unsigned; 0 where
        None.
    rate : (S,) shift of the yearly USD rate, moving forwards and discount factors; 0 where None.

    Raises
    ------
    ParameterError
        For shapes that do not agree, a number that is not finite, or a price move below -1.
    """

    spot: Floats
    vol: Floats
    names: tuple[str, ...]
    weight: Floats | None = None
    term: VolTerm = field(default_factory=VolTerm)
    skew: Floats | None = None
    wings: Floats | None = None
    rate: Floats | None = None

    def __post_init__(self) -> None:
        size = len(self.names)
        expected = {"spot": self.spot.shape, "vol": self.spot.shape}
        expected |= dict.fromkeys(("weight", "skew", "wings", "rate"), (size,))
        for name, shape in expected.items():
            panel = getattr(self, name)
            if panel is not None and (panel.shape != shape or not np.isfinite(panel).all()):
                raise ParameterError(f"scenarios need finite {name} of shape {shape}, got {panel.shape}")
        if self.spot.ndim != 2 or len(self.spot) != size:
            raise ParameterError(f"scenarios need (S, A) moves of {size} names, got {self.spot.shape}")
        if self.spot.size and self.spot.min() < -1.0:
            raise ParameterError(f"a price cannot fall by more than all of it, got a move of {self.spot.min()}")

    def __len__(self) -> int:
        return len(self.names)

    def joined(self, other: "Scenarios") -> "Scenarios":
        """These and then the others; ParameterError where their terms differ."""
        if self.term != other.term:
            raise ParameterError(f"scenarios joined must share their vol term, got {self.term} and {other.term}")

        def both(name: str, empty: float) -> Floats | None:
            panels = [getattr(part, name) for part in (self, other)]
            if all(panel is None for panel in panels):
                return None
            filled = [
                np.full(len(part), empty) if p is None else p for part, p in zip((self, other), panels, strict=True)
            ]
            return np.concatenate(filled)

        return Scenarios(
            np.vstack([self.spot, other.spot]),
            np.vstack([self.vol, other.vol]),
            self.names + other.names,
            both("weight", 1.0),
            self.term,
            both("skew", 0.0),
            both("wings", 0.0),
            both("rate", 0.0),
        )


def grid(prices: Floats, vols: Floats, term: VolTerm | None = None) -> Scenarios:
    """Every one of (I, A) price moves with every one of (J, A) vol changes, prices outermost.

    >>> grid(np.array([[-0.1], [0.1]]), np.array([[0.4], [-0.2]])).names
    ('price -10.0%, vol +40%', 'price -10.0%, vol -20%', 'price +10.0%, vol +40%', 'price +10.0%, vol -20%')
    """
    pairs = list(product(prices, vols))
    names = tuple(f"price {100 * p[0]:+.1f}%, vol {100 * v[0]:+.0f}%" for p, v in pairs)
    return Scenarios(np.array([p for p, _ in pairs]), np.array([v for _, v in pairs]), names, term=term or VolTerm())


def skewed(
    underlyings: int, slopes: Sequence[float], wings: Sequence[float] = (), term: VolTerm | None = None
) -> Scenarios:
    """Shocks to the shape of the smile alone, prices standing still: each slope, then each of the wings.

    A slope of 0.1 raises the volatility of a strike one standard deviation up by a tenth and lowers that of one down.

    >>> skewed(1, (0.1, -0.1), (0.2,)).names
    ('skew +10%', 'skew -10%', 'wings +20%')
    """
    size, still = len(slopes) + len(wings), np.zeros((len(slopes) + len(wings), underlyings))
    names = [f"skew {100 * slope:+.0f}%" for slope in slopes] + [f"wings {100 * wing:+.0f}%" for wing in wings]
    skew, lift = np.zeros((2, size))
    skew[: len(slopes)], lift[len(slopes) :] = slopes, wings
    return Scenarios(still, still, tuple(names), None, term or VolTerm(), skew, lift)


def span16(
    scan_range: Floats, vol_range: Floats, extreme: float = 3.0, cover: float = 0.33, term: VolTerm | None = None
) -> Scenarios:
    """The sixteen scenarios of SPAN, in the order of CME's risk arrays, from (A,) price and vol scan ranges.

    Seven price moves in thirds of the scan range, each with volatility up and down, then two extreme moves of which
    only the share `cover` counts, volatility unchanged. A fall is never beyond the whole price.
    """
    moves = [(third / 3.0 * scan_range, sign * vol_range) for third in SPAN_THIRDS for sign in (1.0, -1.0)]
    names = [f"price {third:+d}/3, vol {'up' if up else 'down'}" for third in SPAN_THIRDS for up in (True, False)]
    moves += [(sign * extreme * scan_range, 0.0 * vol_range) for sign in (1.0, -1.0)]
    names += [f"extreme {sign * extreme:+g}x at {cover:g}" for sign in (1.0, -1.0)]
    weight = np.r_[np.ones(14), cover, cover]
    spot = np.maximum(np.array([price for price, _ in moves]), -1.0)
    return Scenarios(spot, np.array([vol for _, vol in moves]), tuple(names), weight, term or VolTerm())


def historical(moves: Floats, vol: Floats, time: Stamps) -> Scenarios:
    """One scenario a past horizon: (S, A) USD price moves and changes of 30-day volatility, named by their starts.

    Past changes of volatility are those of 30 days; how they fade with tenor is the term's business.
    """
    return Scenarios(np.maximum(moves, -1.0), np.maximum(vol, -1.0), tuple(str(stamp)[:16] for stamp in time))


def numeraire_column(market: MarketHistory | MarketState) -> int | None:
    """Which underlying everything is counted in; None for a currency outside the market."""
    return market.underlyings.index(market.numeraire) if market.numeraire in market.underlyings else None


def usd_moves(moves: Floats, numeraire: int | None) -> Floats:
    """Relative USD moves behind (S, A) moves counted in the numeraire, whose column is given (None: USD).

    A move of r in USD while the numeraire moves by q counts as r / (1 + q).
    """
    if numeraire is None:
        return moves
    own = np.minimum(moves[:, numeraire], _MOST)
    return np.asarray(moves / (1.0 - own)[:, None])
