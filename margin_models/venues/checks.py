"""Can these numbers be what a venue is given?"""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data import DataError, Floats, ParameterError

T = TypeVar("T")


def finite(name: str, values: ArrayLike) -> Floats:
    """The values as floats, any shape; DataError where one is NaN or infinite."""
    array = np.asarray(values, dtype=np.float64)
    return _demand(name, array, np.isfinite(array), "finite")


def not_negative(name: str, values: ArrayLike) -> Floats:
    """The values as floats, any shape; DataError where one is negative, NaN or infinite."""
    array = finite(name, values)
    return _demand(name, array, array >= 0, ">= 0")


def positive(name: str, values: ArrayLike) -> Floats:
    """The values as floats, any shape; DataError where one is not above 0, NaN or infinite."""
    array = finite(name, values)
    return _demand(name, array, array > 0, "> 0")


def whole(name: str, value: object, least: int = 0) -> int:
    """The value as an exact integer; DataError for a float, a bool or a value below `least`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
        raise DataError(f"{name} must be a whole number >= {least}, got {value!r}")
    return int(value)


def parameter(name: str, value: float, low: float, high: float = np.inf) -> None:
    """ParameterError unless low <= value <= high (NaN is refused)."""
    if not low <= value <= high:
        raise ParameterError(f"{name} must lie in [{low:g}, {high:g}], got {value}")


def named(parameters: Mapping[str, T], name: str) -> T:
    """The parameters of this tier, market or asset; ParameterError for one that is not known."""
    if name not in parameters:
        raise ParameterError(f"parameters are known for {sorted(parameters)}, got {name!r}")
    return parameters[name]


def known_or_other(parameters: Mapping[str, T], name: str) -> T:
    """The parameters of this name, else those of "other"; ParameterError where there are neither."""
    return parameters[name] if name in parameters else named(parameters, "other")


def _demand(name: str, array: Floats, right: NDArray[np.bool_], rule: str) -> Floats:
    if not right.all():
        wrong = array[~right].ravel() if array.ndim else array.reshape(1)
        raise DataError(f"{name} must be {rule}, got {wrong[0]} ({wrong.size} of {array.size} values)")
    return array
