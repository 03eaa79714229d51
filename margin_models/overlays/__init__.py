"""What may be laid over any margin model?"""

from margin_models.overlays.buffers import Buffer, LookbackFloor
from margin_models.overlays.circuit_breaker import CircuitBreaker
from margin_models.overlays.conformal import ConformalTracking, SplitConformal
from margin_models.overlays.floor import FlooredBy
from margin_models.overlays.liquidity import LiquidityAddOn
from margin_models.overlays.oracle import OracleAddOn
from margin_models.overlays.rate_limit import RateLimit
from margin_models.overlays.stressed_weight import StressedWeight

__all__ = [
    "Buffer",
    "CircuitBreaker",
    "ConformalTracking",
    "FlooredBy",
    "LiquidityAddOn",
    "LookbackFloor",
    "OracleAddOn",
    "RateLimit",
    "SplitConformal",
    "StressedWeight",
]
