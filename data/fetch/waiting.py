"""When may the next request go out, and when is it time to give up?"""

import email.utils
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from data.errors import ParameterError, SourceError

Result = TypeVar("Result")

PROGRESS = 1 << 20  # bytes after which a transfer that broke off counts as one that gets on


class TryAgain(SourceError):
    """What may go well a little later.

    Parameters
    ----------
    after : seconds that the server asks to be left alone, None where it says nothing.
    unreachable : whether no connection came about at all.
    """

    def __init__(self, message: str, after: float | None = None, unreachable: bool = False) -> None:
        super().__init__(message)
        self.after = after
        self.unreachable = unreachable


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Timing:
    """Where time and chance come from, so that a test need not wait.

    Parameters
    ----------
    clock : seconds, never going back.
    sleep : waits so many seconds; None waits until the time is over or the work is stopped.
    now : the instant, with its zone.
    chance : a number from 0 to 1.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] | None = None
    now: Callable[[], datetime] = _utc_now
    chance: Callable[[], float] = random.random


@dataclass(frozen=True)
class Patience:
    """How often and how long to wait for a server that does not serve.

    Parameters
    ----------
    attempts : in a row without progress.
    first, longest : seconds; pauses double from the one to the other, each cut by chance to between half and all.
    obeyed : seconds; a server that asks to be left alone for longer is given up.

    Raises
    ------
    ParameterError
        If there is no attempt, or a time is not positive.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 60.0
    obeyed: float = 900.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.first, self.longest, self.obeyed) <= 0:
            raise ParameterError(f"patience must be one attempt or more and positive seconds, got {self}")

    def pause(self, failures: int, chance: float) -> float:
        """Seconds after so many failures in a row, from 1.

        >>> Patience().pause(1, 1.0), Patience().pause(4, 0.0), Patience().pause(9, 1.0)
        (1.0, 4.0, 60.0)
        """
        return min(self.longest, self.first * 2.0 ** (failures - 1)) * (0.5 + 0.5 * chance)


@dataclass(eq=False)
class Waiter:
    """One server's line: whoever asks it, from whatever thread, waits for its turn here.

    Parameters
    ----------
    timing, patience : as above.
    interval : least seconds between two requests.
    """

    timing: Timing = field(default_factory=Timing)
    patience: Patience = field(default_factory=Patience)
    interval: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _next: float = float("-inf")

    def sleep(self, seconds: float) -> None:
        """Wait; SourceError where the work was stopped meanwhile."""
        (self.timing.sleep or self.stop.wait)(seconds)
        self.go_on()

    def go_on(self) -> None:
        """SourceError where the work was stopped."""
        if self.stop.is_set():
            raise SourceError("stopped before it was done; the next run goes on from here")

    def turn(self) -> None:
        """Wait until the next request may go."""
        while True:
            self.go_on()
            with self._lock:
                at = self.timing.clock()
                left = self._next - at
                if left <= 0:
                    self._next = at + self.interval
                    return
            self.sleep(left)

    def hold(self, seconds: float) -> None:
        """Nobody asks for so many seconds."""
        with self._lock:
            self._next = max(self._next, self.timing.clock() + seconds)

    def persist(self, task: Callable[[], Result], gained: Callable[[], int] = int) -> Result:
        """Do a task until it goes well; `gained` is the bytes that it has so far.

        Raises
        ------
        SourceError
            Whatever the task raises; `TryAgain` after as many attempts without progress as patience has.
        """
        failures = 0
        while True:
            before = gained()
            try:
                return task()
            except TryAgain as error:
                failures = 1 if gained() - before >= PROGRESS else failures + 1
                self._bear(error, failures)

    def _bear(self, error: TryAgain, failures: int) -> None:
        """Wait as the server or patience says, or raise what cannot be waited for."""
        if error.after is not None and error.after > self.patience.obeyed:
            raise TryAgain(f"{error}; it asks to be left alone for {error.after:.0f} s, try again then") from error
        if failures >= self.patience.attempts:
            said = f"{error} ({failures} attempts)" if failures > 1 else str(error)
            raise TryAgain(said, unreachable=error.unreachable) from error
        if error.after is None:
            self.sleep(self.patience.pause(failures, self.timing.chance()))
        else:
            self.hold(error.after)


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or a date; None where it says neither.

    >>> retry_after("12", datetime(2024, 1, 1, tzinfo=UTC)), retry_after("soon", datetime(2024, 1, 1, tzinfo=UTC))
    (12.0, None)
    >>> retry_after("Mon, 01 Jan 2024 00:01:00 GMT", datetime(2024, 1, 1, tzinfo=UTC))
    60.0
    """
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header.strip()[:12])
    try:
        until = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())
