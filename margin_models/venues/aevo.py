"""What does Aevo's standard margin ask of short options?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data import Floats
from margin_models.venues.checks import finite, not_negative, parameter, positive
from margin_models.venues.margins import Margins
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class ShortOption:
    """Shares of spot: charged at the money, at least, and for maintenance."""

    at_the_money: float
    least: float
    maintenance: float
    provenance: Provenance

    def __post_init__(self) -> None:
        parameter("least", self.least, 0.0, self.at_the_money)
        parameter("maintenance", self.maintenance, 0.0, self.at_the_money)


PARAMETERS: Mapping[str, ShortOption] = {
    "standard": ShortOption(0.15, 0.10, 0.10, Provenance("S", "Aevo documentation, standard margin")),
}
FORMULAS: Mapping[str, Provenance] = {
    "out_of_the_money": Provenance("S", "Aevo documentation, standard margin"),
    "short_option_margin": Provenance("S", "Aevo documentation, standard margin"),
}


def out_of_the_money(spot: Floats, strike: Floats, call: NDArray[np.bool_]) -> Floats:
    """By how much spot must move before the option has intrinsic value, >= 0, in price."""
    return np.asarray(np.maximum(np.where(call, strike - spot, spot - strike), 0.0))


def short_option_margin(
    quantity: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    call: ArrayLike,
    mark: ArrayLike,
    rule: ShortOption = PARAMETERS["standard"],
) -> Margins:
    """Margins of each option position in the unit of spot, all arguments broadcast; a long position posts nothing.

    Initial max(0.15 - OTM / S, 0.10) S + mark and maintenance 0.10 S + mark per option sold. The mark is included: the
    venue counts the premium received in the account. DataError for a spot or strike <= 0, a mark < 0, or NaN.

    >>> short_option_margin(-2, 100.0, 110.0, True, 3.0)
    Margins(initial=array(26.), maintenance=array(26.))
    """
    level, at = positive("spot", spot), positive("strike", strike)
    sold = np.maximum(-finite("quantity", quantity), 0.0)
    price = not_negative("mark", mark)
    distance = out_of_the_money(level, at, np.asarray(call, dtype=np.bool_)) / level
    initial = np.maximum(rule.at_the_money - distance, rule.least) * level + price
    return Margins(np.asarray(sold * initial), np.asarray(sold * (rule.maintenance * level + price)))
