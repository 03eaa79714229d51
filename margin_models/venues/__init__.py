"""What do venues publish about the margin they ask?"""

from margin_models.venues.aevo_model import AevoMargin
from margin_models.venues.catalogue import catalogue
from margin_models.venues.deribit_model import DeribitPortfolioMargin
from margin_models.venues.derive_model import DerivePmrm2Margin, DerivePmrmMargin, DeriveSrmMargin
from margin_models.venues.drift_model import DriftMargin
from margin_models.venues.dydx_model import DydxMargin
from margin_models.venues.okx_model import OkxMargin
from margin_models.venues.paradex_model import ParadexMargin
from margin_models.venues.synthetix_model import SynthetixMargin
from margin_models.venues.vega_model import VegaMargin

__all__ = [
    "AevoMargin",
    "DeribitPortfolioMargin",
    "DerivePmrm2Margin",
    "DerivePmrmMargin",
    "DeriveSrmMargin",
    "DriftMargin",
    "DydxMargin",
    "OkxMargin",
    "ParadexMargin",
    "SynthetixMargin",
    "VegaMargin",
    "catalogue",
]
