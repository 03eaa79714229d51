"""Which golden families does the project serve, and which does it only know?"""

from collections.abc import Callable
from typing import Any

from golden_cases import Case
from golden_comparative import FAMILIES as COMPARATIVE
from golden_conformal import FAMILIES as CONFORMAL
from golden_dependence import FAMILIES as DEPENDENCE
from golden_derive import FAMILIES as DERIVE
from golden_families import STATISTICS
from golden_flow import FAMILIES as FLOW
from golden_hits import FAMILIES as HITS
from golden_laws import FAMILIES as LAWS
from golden_pricing import FAMILIES as PRICING
from golden_tails import FAMILIES as TAILS
from golden_venues import FAMILIES as VENUES

SERVED: dict[str, Callable[[Case], dict[str, Any]]] = {
    **STATISTICS,
    **COMPARATIVE,
    **PRICING,
    **DEPENDENCE,
    **DERIVE,
    **VENUES,
    **LAWS,
    **HITS,
    **TAILS,
    **FLOW,
    **CONFORMAL,
}
KNOWN = {
    "acerbi_szekely",
    "berkowitz",
    "black_prices",
    "conformal",
    "costanzino_curran_du_escanciano",
    "dcc",
    "deribit_pm",
    "derive_dutch_auction",
    "derive_pmrm2",
    "derive_pmrm_v1",
    "derive_srm",
    "diebold_mariano",
    "dq",
    "drift_imf",
    "duration",
    "dydx_oimf",
    "e_backtest",
    "evt_gpd",
    "exchange_docs",
    "giacomini_white",
    "greeks",
    "har",
    "inverse_contracts",
    "mcneil_frey_2000_backtest",
    "mcneil_frey_exceedance_residuals",
    "mcs",
    "nolde_ziegel_calibration",
    "ohlc_vol",
    "order_flow",
    "realised_measures",
    "spa",
    "span_risk_array",
    "synthetix_v3_perps",
    "vega_lognormal_es",
}
NOT_YET_SERVED = KNOWN - SERVED.keys()
