"""What two numbers does a venue ask for?"""

from typing import NamedTuple

from data import Floats


class Margins(NamedTuple):
    """Initial and maintenance margin, same shape, in the unit that the venue computes them in."""

    initial: Floats
    maintenance: Floats
