"""How far may a margin model, or a night, go before a gate refuses it, or a person is asked?"""

from dataclasses import dataclass

from data import ParameterError


@dataclass(frozen=True)
class Limits:
    """What the operator set; a study file may bring its own as `limits()`.

    Parameters
    ----------
    shadow : nights that a challenger is watched before it may be promoted.
    alpha : probability, over all nights and all candidates together, that one whose breaches come at `worse` times
        the nominal rate or more ever passes `lasting_coverage`.
    worse : see alpha.
    excess : share above the nominal breach rate beyond which coverage that chance explains is left to a person.
    discovery, books : false discovery rate at which a book's breaches are too many, and the share of the books that may
        be so: a few hedged ones nearly always are.
    least_gain : share of the margin at equal coverage that a change must save.
    procyclicality : peak to trough and the largest five-day call, of the median book each, as multiples of those of the
        champion; `swing` and `call` are what is allowed whatever the champion does: peak to trough, and a five-day call
        in multiples of the model's mean margin. A static rate has neither. EWMA(0.94), on which most else is measured,
        has 9 to 16 (median 12) and 0.9 to 2.2 (median 1.1) on five markets of 14 to 33 years; both grow with the years.
    jump : factor by which a scan range may rise overnight; above its square root it is left to a person. Under
        EWMA(0.94) one of twenty stocks does in 2.4 % of nights, and triples in 0.2 %.
    fall : share by which a scan range, or the mean margin of the books, may fall overnight; above half of it, a person.
        Under EWMA(0.94) none falls by 3 %; under GARCH one of twenty stocks falls by 15 % in every fifth night: it
        wants `RateLimit` around it, or a person in the morning.
    recent : newest rows in which a doubtful price stops a promotion.
    late : rows by which the newest may lag behind the as-of before the data counts as stale.
    volatility : a fit is plausible where its scale is within 1/x and x of that of the EWMA.
    """

    shadow: int = 5
    alpha: float = 0.05
    worse: float = 2.0
    excess: float = 0.25
    discovery: float = 0.05
    books: float = 0.05
    least_gain: float = 0.02
    procyclicality: float = 1.25
    swing: float = 12.0
    call: float = 2.0
    jump: float = 3.0
    fall: float = 0.30
    recent: int = 30
    late: int = 0
    volatility: float = 10.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("shadow", 0, 365),
            ("alpha", 1e-6, 0.5),
            ("worse", 1.01, 20.0),
            ("excess", 0.0, 10.0),
            ("discovery", 1e-6, 0.5),
            ("books", 0.0, 1.0),
            ("least_gain", 0.0, 0.9),
            ("procyclicality", 1.0, 100.0),
            ("swing", 1.0, 1000.0),
            ("call", 0.0, 1000.0),
            ("jump", 1.01, 100.0),
            ("fall", 0.01, 0.99),
            ("recent", 1, 100_000),
            ("late", 0, 1000),
            ("volatility", 1.5, 1000.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ParameterError(f"Limits.{name} must lie in [{low:g}, {high:g}], got {getattr(self, name)}")
