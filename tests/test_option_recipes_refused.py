"""Is what is no leg and no recipe refused where it is said?"""

from typing import Any

import numpy as np
import pytest

from backtest.option_books import Leg, OptionRecipe, option_books
from data import ParameterError
from markets import coins_with_options

STRANGLE = {"strangle": (Leg(-1, "call", delta=0.25), Leg(-1, "put", delta=0.1))}
# What a notebook may hand over, whatever the hints say.
LEG: Any = Leg
RECIPE: Any = OptionRecipe


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LEG("1", "call"), "quantity of a leg must be a finite number, got '1'"),
        (lambda: LEG(np.nan, "call"), "quantity of a leg must be a finite number, got nan"),
        (lambda: LEG(1, "call", "25"), "delta of a leg must be a finite number, got '25'"),
        (lambda: LEG(1, "call", None, None), "moneyness of a leg must be a finite number, got None"),
        (lambda: LEG(1, "call", days="30D"), "days of a leg must be a finite number, got '30D'"),
        (lambda: LEG(1, ["call"]), r"a leg is a call, .*, got \['call'\]"),
        (lambda: RECIPE("BTC", STRANGLE), r"underlyings must be names such as .*, got 'BTC'"),
        (lambda: RECIPE(None, STRANGLE), r"underlyings must be names such as .*, got None"),
        (lambda: RECIPE((1,), STRANGLE), "an underlying must be a name such as 'BTC', got 1, a int"),
        (lambda: RECIPE(("BTC",), [Leg(1, "call")]), r"structures must be the legs of each by name, .*, got \["),
        (lambda: RECIPE(("BTC",), {"a": Leg(1, "call")}), r"structure 'a' must be legs, \(Leg, ...\), got Leg"),
        (lambda: RECIPE(("BTC",), {"a": ("call",)}), r"structure 'a' must be legs, \(Leg, ...\), got 'call'"),
        (lambda: RECIPE(("BTC",), STRANGLE, "linear"), "inverse must be True or False, got 'linear', a str"),
        (lambda: RECIPE(("BTC",), STRANGLE, True, "fridays"), "expiries must be a function .*, got 'fridays'"),
        (lambda: RECIPE(("BTC",), STRANGLE, step="1%"), "step must be a finite number, got '1%'"),
        (lambda: option_books("BTC"), r"underlyings must be names such as .*, got 'BTC'"),
    ],
)
def test_an_argument_of_another_type_is_refused_by_name(make: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        make()


def test_numpys_numbers_are_numbers() -> None:
    legs = (Leg(np.float64(-1.0), "call", np.float64(0.25)), Leg(np.int64(1), "put", moneyness=np.float64(0.9)))  # type: ignore[arg-type]
    assert OptionRecipe(("BTC",), {"pair": legs}).at(coins_with_options().at(100)).portfolios == ("BTC pair",)
