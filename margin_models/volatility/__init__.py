"""How much will each underlying move over the horizon?"""

from margin_models.volatility.arch_volatility import ArchVolatility
from margin_models.volatility.boosted import BoostedVolatility
from margin_models.volatility.combined import CombinedVolatility
from margin_models.volatility.continued import Growth
from margin_models.volatility.egarch import EgarchVolatility
from margin_models.volatility.ewma import EwmaVolatility
from margin_models.volatility.garch import GarchVolatility
from margin_models.volatility.har import HarVolatility
from margin_models.volatility.implied import ImpliedVolatility
from margin_models.volatility.predictors import AllBut

__all__ = [
    "AllBut",
    "ArchVolatility",
    "BoostedVolatility",
    "CombinedVolatility",
    "EgarchVolatility",
    "EwmaVolatility",
    "GarchVolatility",
    "Growth",
    "HarVolatility",
    "ImpliedVolatility",
]
