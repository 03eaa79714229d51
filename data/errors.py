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


class MarginlabError(Exception):
    """Everything that marginlab raises on purpose."""


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
