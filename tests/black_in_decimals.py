"""What is an option worth, to sixty digits?"""

from decimal import Decimal, localcontext

_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
_DIGITS = 60
_FARTHEST = 16  # N(-16) is 1e-57


def exact_black(forward: float | Decimal, strike: float | Decimal, deviation: float | Decimal, call: bool) -> Decimal:
    """Black's formula by N(d) = 1/2 + phi(d) (d + d^3/3 + d^5/15 + ...), a series whose terms have all one sign."""
    with localcontext() as context:
        context.prec = _DIGITS
        f, k, s = Decimal(forward), Decimal(strike), Decimal(deviation)
        sign = 1 if call else -1
        if s == 0:
            return max(sign * (f - k), Decimal(0))
        d1 = (f / k).ln() / s + s / 2
        return sign * (f * _normal(sign * d1) - k * _normal(sign * (d1 - s)))


def _normal(d: Decimal) -> Decimal:
    if abs(d) > _FARTHEST:
        return Decimal(int(d > 0))
    term = total = d
    power = 1
    while abs(term) > Decimal(10) ** -_DIGITS:
        power += 2
        term *= d * d / power
        total += term
    return Decimal("0.5") + total * (-d * d / 2).exp() / (2 * _PI).sqrt()
