"""How do trades become bars, in one ordered pass over a tape of any length?"""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.arrays import Floats, Ints
from data.errors import DataError
from data.flow import tape_kernels as kernel
from data.flow.bar_rules import BarRule, DollarBars, TimeBars
from data.flow.bars import Bars, from_sums, joined
from data.flow.trade_order import LastTrade, Trades
from data.records import Records
from data.storage import write_whole

CHUNK = 1 << 16  # trades at a time, so that the passes over them find them in the cache
_ARRAYS = ("rule_memory", "real", "whole", "memory", "due")


@dataclass(frozen=True, eq=False)
class TapeState:
    """All that a fold must know to go on: the bar that is open, and what returns and the rule remember.

    Parameters
    ----------
    rule : `repr` of the rule.
    last : the trade that came last.
    rule_memory, real, whole, memory, due : the kernels' arrays: the rule's own, the open bar's sums (1, REAL) and
        counts (1, WHOLE), the prices that returns start from, and the instant at which to sample next.
    """

    rule: str
    last: LastTrade
    rule_memory: NDArray[Any]
    real: Floats
    whole: Ints
    memory: Floats
    due: Ints

    @classmethod
    def fresh(cls, rule: BarRule) -> "TapeState":
        """Nothing seen yet."""
        return cls(repr(rule), LastTrade(), rule.start(), *_rows(1), np.zeros(3), np.array([kernel.UNSET]))

    def copy(self) -> "TapeState":
        """The same, sharing no array."""
        return replace(self, **{name: getattr(self, name).copy() for name in _ARRAYS})

    def save(self, path: Path) -> None:
        """Write it to one file, whole or not at all; raises OSError where that cannot be."""
        buffer = io.BytesIO()
        facts = json.dumps([self.rule, asdict(self.last)])
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        np.savez(buffer, facts=np.array(facts), **arrays)
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "TapeState":
        """Read what `save` wrote; DataError for anything else, OSError where there is no file."""
        payload = io.BytesIO(path.read_bytes())
        try:
            with np.load(payload, allow_pickle=False) as stored:
                rule, last = json.loads(str(stored["facts"]))
                return cls(rule, LastTrade(**last), *(stored[name] for name in _ARRAYS))
        except Exception as error:
            raise DataError(f"{path}: expected the state of a fold, got {type(error).__name__}: {error}") from error


class TapeFold:
    """A fold of a tape that comes batch by batch; the bars are the same bits however it is cut.

    Every figure is summed trade by trade in the order of the tape, in one thread, and a bar that a batch leaves open
    goes on in the next.

    Parameters
    ----------
    rule : what ends a bar.
    state : `state` of a fold by the same rule, which this one continues; None begins anew.

    Raises
    ------
    DataError
        If the state is that of another rule, or of no fold.
    """

    def __init__(self, rule: BarRule, state: TapeState | None = None) -> None:
        self.rule = rule
        self._state = TapeState.fresh(rule)
        if state is not None:
            self._refuse_foreign(state)
            self._state = state.copy()
        self._width, self._step = (rule.nanoseconds, rule.step) if isinstance(rule, TimeBars) else (0, 0)

    @property
    def state(self) -> TapeState:
        """All that another fold must know to go on from here."""
        return self._state.copy()

    def add(self, records: Records) -> Bars:
        """The bars that these trades complete; a time bar is complete once a trade after its end is seen.

        Raises DataError as `LastTrade.then` does, and for dollar bars of contracts whose worth the rule does not tell;
        it has taken nothing of the batch then.
        """
        if isinstance(self.rule, DollarBars):
            self.rule.refuse_contracts(records)
        trades, last = self._state.last.then(records)
        self._state = replace(self._state, last=last)
        parts = [self._folded(trades.rows(at, at + CHUNK)) for at in range(0, max(len(records), 1), CHUNK)]
        return joined(parts)

    def finish(self) -> Bars:
        """The time bar that is open, as if the tape ended here: one or none. The fold can go on all the same.

        A bar of another rule that is not full yet is none.
        """
        state = self.state
        is_open = self._width > 0 and state.whole[0, kernel.COUNT] > 0
        if is_open and self._step:
            kernel.sample(state.real[0], int(state.rule_memory[0]), self._step, state.memory, state.due)
        return self._bars(state.real[: int(is_open)], state.whole[: int(is_open)])

    def _refuse_foreign(self, state: TapeState) -> None:
        if state.rule != repr(self.rule):
            raise DataError(f"expected the state of a fold by {self.rule!r}, got that of one by {state.rule}")
        for name in _ARRAYS:
            expected, got = getattr(self._state, name), getattr(state, name)
            if (got.shape, got.dtype) != (expected.shape, expected.dtype):
                raise DataError(
                    f"{name} of a fold by {state.rule} must be {expected.shape} of {expected.dtype}, got "
                    f"{got.shape} of {got.dtype}"
                )

    def _folded(self, trades: Trades) -> Bars:
        state, cuts = self._state, np.empty(len(trades.time), dtype=np.int64)
        found = self.rule.cut(trades, state.rule_memory, cuts)
        bounds = np.concatenate([[0], cuts[:found], [len(trades.time)]])
        real, whole = _rows(found + 1)
        real[0], whole[0] = state.real[0], state.whole[0]
        kernel.gather(*trades, bounds, real, whole)
        if self._step:
            kernel.sampled_returns(trades.time, trades.price, bounds, self._step, real, state.memory, state.due)
        else:
            kernel.tick_returns(trades.price, bounds, real, state.memory)
        self._state = replace(state, real=real[-1:].copy(), whole=whole[-1:].copy())
        return self._bars(real[:-1], whole[:-1])

    def _bars(self, real: Floats, whole: Ints) -> Bars:
        return from_sums(self._state.last.venue, self._state.last.symbol, real, whole, self._width)


def fold(records: Iterable[Records], rule: BarRule) -> Bars:
    """The bars of a whole tape, batch by batch; the last time bar ends with it, a bar that is not full is left out.

    Memory is that of one batch and of the bars. Raises DataError as `LastTrade.then` does, and where no batch comes.
    """
    return joined(_pieces(records, rule))


def _pieces(records: Iterable[Records], rule: BarRule) -> Iterator[Bars]:
    folding, batch = TapeFold(rule), None
    for batch in records:
        yield folding.add(batch)
    if batch is None:
        raise DataError("expected trades to fold into bars, got no batch")
    yield folding.finish()


def ahead(batches: Iterator[Records]) -> Iterator[Records]:
    """The same batches, each being made in a thread while the one before is used."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _rows(count: int) -> tuple[Floats, Ints]:
    return np.zeros((count, kernel.REAL)), np.zeros((count, kernel.WHOLE), dtype=np.int64)
