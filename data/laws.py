"""How far out is the tail of a standard law?"""

import math

from scipy.special import betaln, ndtri, stdtrit


def unit_tail(level: float, degrees: float = math.inf) -> tuple[float, float]:
    """Quantile and expected shortfall at `level` of a Student-t law of unit variance; normal for infinite degrees.

    McNeil, Frey and Embrechts (2015), Quantitative Risk Management, examples 2.14 and 2.15. Degrees must exceed 2.
    """
    if math.isinf(degrees):
        quantile = float(ndtri(level))
        return quantile, math.exp(-0.5 * quantile**2) / math.sqrt(2 * math.pi) / (1 - level)
    raw = float(stdtrit(degrees, level))
    unit = math.sqrt((degrees - 2) / degrees)
    # In logarithms: the gamma function leaves the range of floats at 343 degrees.
    log_density = -0.5 * (degrees + 1) * math.log1p(raw**2 / degrees) - 0.5 * math.log(degrees)
    density = math.exp(log_density - float(betaln(0.5 * degrees, 0.5)))
    return raw * unit, unit * density / (1 - level) * (degrees + raw**2) / (degrees - 1)
