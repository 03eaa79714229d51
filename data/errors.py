"""What can go wrong, said once.

    MarginlabError
    |-- DataError              prices, stamps, columns or books that cannot be right (also a ValueError)
    |   |-- SnapshotError      a stored history or record set that is not the one its hash names
    |   `-- SourceError        a file or wheel that cannot be fetched or recognised
    |-- HistoryError           a history too short, or off its clock, for what is asked (also a ValueError)
    |-- ParameterError         an argument outside its range (also a ValueError)
    `-- ModelError             a model that broke its promise: NaN, negative, wrong shape
        `-- ConvergenceError   a fit that did not converge and may not become a margin

Each message says what was expected, what was got, and where.
"""

import traceback
from pathlib import Path

_OURS = tuple(
    str(Path(__file__).resolve().parents[1] / name) for name in ("data", "margin_models", "backtest", "research")
)
_FOREIGN = ("site-packages", "dist-packages")


class MarginlabError(Exception):
    """Everything that marginlab raises on purpose.

    A notebook shows the lines of its own cells that led here and the message; a script shows the whole traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback, line by line."""
        frames = traceback.extract_tb(self.__traceback__)
        own = [one for one in frames if not one.filename.startswith(_OURS) and not set(_FOREIGN) & set(_parts(one))]
        lines = [f"line {one.lineno} in {one.name}: {one.line}" for one in own]
        where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "no frame"
        told = f"(raised in {where}; `import traceback; traceback.print_last()` shows the whole way)"
        return [*lines, f"{type(self).__name__}: {self}", told]


def _parts(frame: traceback.FrameSummary) -> tuple[str, ...]:
    return Path(frame.filename).parts


class DataError(MarginlabError, ValueError):
    """Prices, stamps, columns or books that cannot be right."""


class SnapshotError(DataError):
    """A stored history or record set that is not the one its hash names."""


class SourceError(DataError):
    """A file or wheel that cannot be fetched or recognised."""


class HistoryError(MarginlabError, ValueError):
    """A history too short, or off its clock, for what is asked."""


class ParameterError(MarginlabError, ValueError):
    """An argument outside its range."""


class ModelError(MarginlabError):
    """A model that broke its promise: a margin that is NaN, negative or of the wrong shape."""


class ConvergenceError(ModelError):
    """A fit that did not converge and may not become a margin."""
