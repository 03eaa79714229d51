"""How much will each underlying move over the horizon?"""

from margin_models.volatility.boosted import BoostedVolatility
from margin_models.volatility.ewma import EwmaVolatility
from margin_models.volatility.garch import GarchVolatility

__all__ = ["BoostedVolatility", "EwmaVolatility", "GarchVolatility"]
