"""Where do tasks run: here, one after the other, or in worker processes?

Both ways give the same bits: a task runs with every thread pool (BLAS, OpenMP, numba) at one thread, here as there.
The tally of scores may start threads of its own here, but how it cuts a panel, and so each bit, is the same with one.
"""

import copy
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO, TypeVar

from data.errors import MarginlabError, ParameterError

T = TypeVar("T")
R = TypeVar("R")
Announce = Callable[[str], None]

TERMINATED = 128 + signal.SIGTERM  # what a shell reports for a program that SIGTERM ended


def run(
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    jobs: int = 1,
    labels: Sequence[str],
    progress: bool = True,
) -> list[R]:
    """Apply `function` to every task and return the results in the order of the tasks.

    The first task that fails ends the run. Ctrl-C and SIGTERM end the workers too.

    Parameters
    ----------
    function : what to do with one task. With workers it may live in `__main__` or a notebook, and must not rely on
        changing the task: large arrays reach a worker as read-only maps of one shared file.
    tasks : coarse pieces of work (seconds rather than milliseconds).
    jobs : number of worker processes; 1 runs everything in this process.
    labels : one name a task, for the progress shown and for errors.
    progress : draw a bar on stderr, or print a line a finished task where stderr is no terminal.

    Raises
    ------
    ParameterError
        If `jobs` is below one, or tasks and labels differ in number.
    MarginlabError
        If a worker process dies, or a task raises an error that cannot be sent back.
    Exception
        Whatever a task raises, of the same type, its message led by the task's label.
    """
    _check(len(tasks), len(labels), jobs)
    workers = min(jobs, len(tasks))
    with sigterm_raises(), _announcing(len(tasks), progress) as announce:
        if workers > 1:
            return _run_in_workers(function, tasks, labels, workers, announce)
        return _run_here(function, tasks, labels, announce)


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS, OpenMP and numba at one thread; their earlier counts come back at the end.

    Libraries that load inside (LightGBM, say) are reached through OMP_NUM_THREADS, which they read once.
    """
    import numba
    from threadpoolctl import threadpool_limits

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with threadpool_limits(1), _environment("OMP_NUM_THREADS", "1"):
            yield
    finally:
        numba.set_num_threads(before)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit(143), so that `finally` blocks run and workers end.

    It does nothing outside the main thread (Python allows handlers there alone) or where the signal has a handler.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


def _check(tasks: int, labels: int, jobs: int) -> None:
    if jobs < 1:
        raise ParameterError(f"jobs must be at least 1, got {jobs}. Typical values: 1 to the number of cores.")
    if tasks != labels:
        raise ParameterError(f"every task needs one label, got {tasks} tasks and {labels} labels")


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _run_here(function: Callable[[T], R], tasks: Sequence[T], labels: Sequence[str], announce: Announce) -> list[R]:
    results = []
    for task, label in zip(tasks, labels, strict=True):
        # Pinned for every task, because an earlier one may have loaded another library with threads of its own.
        with one_thread(), _labelled(label):
            results.append(function(task))
        announce(label)
    return results


def _run_in_workers(
    function: Callable[[T], R], tasks: Sequence[T], labels: Sequence[str], workers: int, announce: Announce
) -> list[R]:
    from joblib import Parallel, delayed, parallel_config

    calls = (delayed(_call_in_worker)(function, *item) for item in zip(range(len(tasks)), tasks, labels, strict=True))
    results: dict[int, R] = {}
    with parallel_config("loky", inner_max_num_threads=1), _without_chatter():
        try:
            for index, result in Parallel(workers, batch_size=1, return_as="generator_unordered")(calls):
                results[index] = result
                announce(labels[index])
        except BrokenProcessPool as error:
            raise MarginlabError(_death_notice(set(range(len(tasks))) - set(results), labels)) from error
    return [results[index] for index in range(len(tasks))]


def _call_in_worker(function: Callable[[T], R], index: int, task: T, label: str) -> tuple[int, R]:
    # One thread without being told: the environment of the workers says so before any library loads.
    with _labelled(label):
        try:
            return index, function(task)
        except Exception as error:
            if _travels(error):
                raise
            raise MarginlabError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _labelled(label: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not error.args or (len(error.args) == 1 and isinstance(error.args[0], str)):
            error.args = (": ".join([label, *error.args]),)
        if label not in str(error):
            error.add_note(f"in task {label}")
        raise


def _travels(error: Exception) -> bool:
    """Whether an exception can be made anew from its arguments, as its way back to the parent demands."""
    try:
        return type(copy.copy(error)) is type(error)
    except Exception:
        return False


def _death_notice(unfinished: set[int], labels: Sequence[str]) -> str:
    names = [labels[index] for index in sorted(unfinished)]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"a worker process died (out of memory, or a crash in compiled code); unfinished tasks: {shown}"


@contextmanager
def _without_chatter() -> Iterator[None]:
    # joblib warns when it replaces a worker that grew by 300 MB, and when a run is interrupted: both are in order here.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        warnings.filterwarnings("ignore", message=".*tasks (which were still being|have been successfully)")
        yield


@contextmanager
def _announcing(total: int, progress: bool) -> Iterator[Announce]:
    if not progress or not total:
        yield lambda _: None
    elif _redraws(sys.stderr):
        from tqdm.auto import tqdm

        with tqdm(total=total, file=sys.stderr, dynamic_ncols=True) as bar:
            yield lambda label: _advance(bar, label)
    else:
        yield _line_printer(total)


def _redraws(stream: TextIO) -> bool:
    """Whether a bar can be drawn over itself: in a terminal, and in a notebook, which says that it is none."""
    return stream.isatty() or type(stream).__module__.startswith("ipykernel")


def _advance(bar: Any, label: str) -> None:
    bar.set_postfix_str(label, refresh=False)
    bar.update()


def _line_printer(total: int) -> Announce:
    start, width = time.monotonic(), len(str(total))
    finished = 0

    def print_line(label: str) -> None:
        nonlocal finished
        finished += 1
        print(f"[{finished:{width}}/{total}] {time.monotonic() - start:7.1f} s  {label}", file=sys.stderr, flush=True)

    return print_line
