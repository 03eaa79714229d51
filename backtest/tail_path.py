"""What law did a model state for the loss of each decision, and how likely did it hold one as deep as came?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtest.pit_kernels import sample_pits
from backtest.pits import pit_of_law, places
from backtest.tail_hits import MOST_RATE
from data import Book, Floats, MarketHistory, ModelError
from margin_models import MarginModel, Requirement
from margin_models.base import TailForecast

_ROUNDING = 1e-9  # of VaR: a mean of equal losses may fall below them by rounding

NOISE = 1e-9  # of gross notional: the law of a book that is hedged but for rounding


@dataclass(frozen=True, eq=False)
class TailPath:
    """The laws that a model stated along a replay, (R, P) each.

    `var` and `es` at the coverage level, per unit of gross notional; NaN where a portfolio held nothing or no law was
    stated. `pit` is the probability that the law gave to a loss at least as deep as the one that came, by the sample of
    the law (a model that smooths its tail, as `ExtremeValueVaR` does, has the sample of before), by chance within its
    rank as in `pits.pit_of_sample`, or by the elliptical law that was named; NaN where there is neither, for the two
    figures alone do not make a law.
    """

    var: Floats
    es: Floats
    pit: Floats


def charge_and_law(model: MarginModel, past: MarketHistory, book: Book) -> tuple[Requirement, TailForecast | None]:
    """What a fitted model asks, and the law it states, None where it states none.

    A margin is read off its law, as a rule. The law is then heard while the margin is made, and not made again.
    """
    if type(model).tail is MarginModel.tail:
        return model.requirement(past, book), None
    heard: list[TailForecast | None] = []
    stated = model.tail

    def listened(then: MarketHistory, held: Book) -> TailForecast | None:
        law = stated(then, held)
        if then is past and held is book:
            heard.append(law)
        return law

    model.__dict__["tail"] = listened
    try:
        asked = model.requirement(past, book)
    finally:
        del model.__dict__["tail"]
    return asked, heard[-1] if heard else stated(past, book)


class TailRecorder:
    """Laws put down decision by decision; nothing is kept of samples."""

    def __init__(self, loss: Floats, rate: float) -> None:
        self.loss = loss
        self.rate = rate
        self.path: TailPath | None = None
        self._place = places(loss.shape)
        self._stated, self._sampled, self._holed = 0, 0, 0

    @property
    def notes(self) -> tuple[str, ...]:
        """At how many decisions a law, or a sample that could be ranked among, was missing; nothing where all were."""
        kept, missing = len(self.loss), self._stated - self._sampled
        told = (
            (kept - self._stated, f"no law stated at {kept - self._stated} of {kept} decisions"),
            (missing * self._sampled, f"a law without a sample at {missing} of {kept} decisions"),
            (
                self._holed,
                f"a sample with infinite losses or none known, and so no pit, at {self._holed} of {kept} decisions",
            ),
        )
        return tuple(note for count, note in told if count and self.path is not None)

    def put(self, step: int, law: TailForecast | None, gross: Floats, unit: Floats) -> None:
        """One decision's law; `gross` (P,) is the books' gross notional and `unit` its inverse, NaN where nothing."""
        if law is None:
            return
        if self.path is None:
            self.path = TailPath(*np.full((3, *self.loss.shape), np.nan))
        self._stated += 1
        self.path.var[step] = law.var * unit
        self.path.es[step] = np.maximum(law.es, law.var) * unit
        if law.sample is not None:
            sample = np.ascontiguousarray(law.sample, dtype=np.float64)
            sample_pits(sample, self.loss[step] * gross, self._place[step], self.path.pit[step])
            self._sampled += 1
            self._holed += bool((np.isinf(sample).any(axis=1) | np.isnan(sample).all(axis=1)).any())
        elif law.degrees is not None and self.rate < MOST_RATE:
            known = np.where(self.path.var[step] > NOISE, self.path.var[step], np.nan)
            self.path.pit[step] = pit_of_law(self.loss[step], known, self.rate, degrees=law.degrees)
            self._sampled += 1


def refuse_broken_law(
    model: MarginModel, law: TailForecast | None, portfolios: tuple[str, ...], time: np.datetime64
) -> None:
    """ModelError unless a law is one finite VaR and an ES not below it a portfolio, with S losses each or none."""
    if law is None:
        return
    for wrong, said in _faults(law, portfolios):
        if wrong.any():
            p = int(np.argmax(wrong))
            raise ModelError(
                f"{model!r}: the law at {str(time)[:19]} {said} for {portfolios[p]!r}, got {_told(law, p)}"
            )


def _faults(law: TailForecast, portfolios: tuple[str, ...]) -> Iterator[tuple[NDArray[np.bool_], str]]:
    var, es = np.asarray(law.var), np.asarray(law.es)
    rows = var.shape if law.sample is None else np.shape(law.sample)[:1]
    misshapen = not var.shape == es.shape == rows == (len(portfolios),)
    misshapen |= law.sample is not None and np.ndim(law.sample) != 2
    yield (
        np.full(len(portfolios), misshapen),
        f"must have a VaR, an ES and a row of the sample ({len(portfolios)} each)",
    )
    if not misshapen:
        yield ~(np.isfinite(var) & np.isfinite(es)), "must be finite"
        yield es < var - _ROUNDING * np.maximum(np.abs(var), 1e-9), "must have an ES that is not below its VaR"


def _told(law: TailForecast, p: int) -> str:
    shapes = f"{np.shape(law.var)}, {np.shape(law.es)}" + ("" if law.sample is None else f", {np.shape(law.sample)}")
    return f"VaR {law.var[p]:.6g} and ES {law.es[p]:.6g}" if np.shape(law.var) == np.shape(law.es) != () else shapes
