"""What does Derive's standard margin (SRM) charge by, and where is each figure from?"""

from collections.abc import Mapping
from dataclasses import dataclass

from data import ParameterError
from margin_models.venues.checks import named, parameter
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class OptionRules:
    """Shares of spot that an option sold posts.

    Parameters
    ----------
    most, least : initial margin at the money, falling with out-of-the-moneyness, and at least.
    call, put : maintenance margin.
    put_mark : maintenance margin of a put as a share of its mark, where that is more.
    unpaired_initial, unpaired_maintenance : share of the forward that a call sold beyond the calls held adds to the
        largest loss at settlement.
    put_offset : a put's initial margin is at least this times its maintenance margin.
    """

    most: float
    least: float
    call: float
    put: float
    put_mark: float
    unpaired_initial: float
    unpaired_maintenance: float
    put_offset: float

    def __post_init__(self) -> None:
        for name in vars(self):
            parameter(name, getattr(self, name), 0.0)


@dataclass(frozen=True)
class ConfidenceRules:
    """Below these confidences of the feeds (1 - confidence) factor of notional is added to the initial margin."""

    perpetual: float
    option: float
    base: float
    factor: float

    def __post_init__(self) -> None:
        for name in vars(self):
            parameter(name, getattr(self, name), 0.0, 1.0)


@dataclass(frozen=True)
class StandardRules:
    """What one currency is charged by.

    Parameters
    ----------
    option, confidence : see there.
    perpetual_initial, perpetual_maintenance : shares of the perpetual's notional at its own price.
    base : share of the base asset's value that counts as margin.
    base_initial : what that is multiplied with for the initial margin (read in the script, in no published case).
    depeg_threshold, depeg_factor : factor times what the stablecoin lacks to the threshold, of notional at spot of
        perpetuals and options sold, is added to the initial margin.
    provenance : where they are from.
    """

    option: OptionRules
    confidence: ConfidenceRules
    perpetual_initial: float
    perpetual_maintenance: float
    base: float
    base_initial: float
    depeg_threshold: float
    depeg_factor: float
    provenance: Provenance

    def __post_init__(self) -> None:
        for name in ("perpetual_initial", "perpetual_maintenance", "base", "base_initial"):
            parameter(name, getattr(self, name), 0.0, 1.0)
        parameter("depeg_threshold", self.depeg_threshold, 0.0)
        parameter("depeg_factor", self.depeg_factor, 0.0)
        if self.perpetual_initial < self.perpetual_maintenance:
            raise ParameterError(
                "a perpetual's initial margin must be at least its maintenance margin, "
                f"got {self.perpetual_initial} and {self.perpetual_maintenance}"
            )


_VECTORS = Provenance(
    "V", "derivexyz/v2-core at 7736900, test/risk-managers/unit-tests/StandardManager/test-cases.json", "2023"
)
_SCRIPT = Provenance("S", "derivexyz/v2-core at f469730, scripts/config-mainnet.sol")
_OPTION = OptionRules(0.15, 0.13, 0.09, 0.09, 0.09, 1.2, 1.1, 1.05)
_SURE = ConfidenceRules(0.55, 0.55, 0.55, 1.0)
PARAMETERS: Mapping[str, StandardRules] = {
    "test vectors": StandardRules(
        OptionRules(0.15, 0.10, 0.075, 0.075, 0.075, 1.2, 1.1, 1.05),
        ConfidenceRules(0.4, 0.4, 0.4, 0.4),
        0.065,
        0.05,
        0.1,
        1.0,
        0.98,
        1.2,
        _VECTORS,
    ),
    "mainnet script, ETH": StandardRules(_OPTION, _SURE, 0.10, 0.065, 0.80, 0.9375, 0.99, 2.0, _SCRIPT),
    "mainnet script, BTC": StandardRules(_OPTION, _SURE, 0.10, 0.065, 0.75, 0.93, 0.99, 2.0, _SCRIPT),
}
FORMULAS: Mapping[str, Provenance] = {"rules": _SCRIPT}


def rules(name: str) -> StandardRules:
    """The parameters of this name; ParameterError for one that is not known."""
    return named(PARAMETERS, name)
