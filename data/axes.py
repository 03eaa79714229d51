"""Where is a picture drawn, and in which colours?"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET, ALARM = "#1f3a5f", "#9aa5b1", "#c0392b"
FAINT = "#5b6673"  # as quiet as text on white may be


def axes(ax: "Axes | None", width: float = 9.0, height: float = 3.2) -> "Axes":
    """The axes that were given, or those of a new figure, sizes in inches."""
    if ax is not None:
        return ax
    # A figure of pyplot's own, because a notebook shows no other by itself.
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]
