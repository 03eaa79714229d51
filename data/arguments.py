"""Is an argument of the type that is asked for?

A type hint stops no one in a notebook; what is wrong should be told where it was said, not where it is first used.
"""

import math
from collections.abc import Iterable
from numbers import Real

from data.errors import ParameterError


def refuse_other_types(name: str, value: object, expected: str, *types: type) -> None:
    """ParameterError, saying what was expected, unless the value is of one of the types."""
    if not isinstance(value, types):
        raise ParameterError(f"{name} must be {expected}, got {value!r}, a {type(value).__name__}")


def refuse_no_number(name: str, value: object) -> None:
    """ParameterError unless the value is one finite number; True and "1" are none.

    >>> refuse_no_number("days", "30")
    Traceback (most recent call last):
        ...
    data.errors.ParameterError: days must be a finite number, got '30'
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ParameterError(f"{name} must be a finite number, got {value!r}")


def members(name: str, values: object, expected: str) -> list[object]:
    """The values as a list; ParameterError, saying what was expected, for a text or what cannot be listed."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ParameterError(f"{name} must be {expected}, got {values!r}")
    return list(values)
