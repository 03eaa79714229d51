"""Do tasks give the same bits here and in workers, and does everything end when it should?"""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from data.errors import HistoryError, MarginlabError, ParameterError
from research.engines import one_thread, run, sigterm_raises

ROOT = Path(__file__).resolve().parents[1]
PANEL = np.random.default_rng(7).standard_normal((250_000, 4))


class TwoPartError(Exception):
    def __init__(self, market: str, row: int) -> None:
        super().__init__(f"{market} at row {row}")


@numba.njit(parallel=True)
def threaded_sum(values: np.ndarray) -> float:
    total = 0.0
    for i in numba.prange(values.size):
        total += np.exp(values[i])
    return total


def slow_square(value: int) -> int:
    time.sleep(0.3 if value == 0 else 0.0)
    return value * value


def sensitive_to_threads(column: int) -> tuple[bytes, float]:
    series = np.ascontiguousarray(PANEL[:, column])
    return np.asarray([series @ series, *(PANEL.T @ PANEL).ravel()]).tobytes(), threaded_sum(series)


def thread_counts(_: int) -> tuple[set[int], int, str | None]:
    return (
        {pool["num_threads"] for pool in threadpool_info()},
        numba.get_num_threads(),
        os.environ.get("OMP_NUM_THREADS"),
    )


def refuse(task: str) -> None:
    if task == "short":
        raise HistoryError("10 rows are too few")
    if task == "file":
        raise FileNotFoundError(2, "no such file", "prices.parquet")
    if task == "two-part":
        raise TwoPartError("BTC", 3)
    if task == "dead":
        os._exit(9)


def process_script(text: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", str(script), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks(jobs: int) -> None:
    assert run(slow_square, range(6), jobs=jobs, labels=list("abcdef"), progress=False) == [0, 1, 4, 9, 16, 25]


def test_no_task_gives_no_result() -> None:
    assert run(slow_square, [], jobs=2, labels=[]) == []


def test_workers_give_the_same_bits_as_this_process() -> None:
    labels = list("abcd")
    here = run(sensitive_to_threads, range(4), jobs=1, labels=labels, progress=False)
    assert run(sensitive_to_threads, range(4), jobs=2, labels=labels, progress=False) == here


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_thread_pool_has_one_thread_inside_a_task(jobs: int) -> None:
    for counts in run(thread_counts, range(2), jobs=jobs, labels=["a", "b"], progress=False):
        assert counts == ({1}, 1, "1")


def test_thread_counts_come_back_after_a_task_that_failed() -> None:
    before = thread_counts(0)
    with pytest.raises(HistoryError), one_thread():
        refuse("short")
    assert thread_counts(0) == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_keeps_its_type_and_names_its_task(jobs: int) -> None:
    with pytest.raises(HistoryError, match=r"^EWMA on BTC: 10 rows are too few$"):
        run(refuse, ["fine", "short"], jobs=jobs, labels=["EWMA on ETH", "EWMA on BTC"], progress=False)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_with_a_message_of_its_own_names_its_task_in_a_note(jobs: int) -> None:
    with pytest.raises(FileNotFoundError, match=r"prices\.parquet") as caught:
        run(refuse, ["fine", "file"], jobs=jobs, labels=["EWMA on ETH", "EWMA on BTC"], progress=False)
    assert "in task EWMA on BTC" in caught.value.__notes__


def test_an_error_that_cannot_be_sent_back_is_told_all_the_same() -> None:
    with pytest.raises(MarginlabError, match=r"^EWMA on BTC: TwoPartError: BTC at row 3$"):
        run(refuse, ["fine", "two-part"], jobs=2, labels=["EWMA on ETH", "EWMA on BTC"], progress=False)


def test_a_worker_that_dies_is_an_error_that_names_the_open_tasks_and_the_next_run_works() -> None:
    with pytest.raises(MarginlabError, match=r"a worker process died .* EWMA on BTC"):
        run(refuse, ["fine", "dead"], jobs=2, labels=["EWMA on ETH", "EWMA on BTC"], progress=False)
    assert run(slow_square, [1, 2], jobs=2, labels=["a", "b"], progress=False) == [1, 4]


def test_large_arrays_reach_workers_as_read_only_maps_and_come_back_plain() -> None:
    panel = PANEL.copy()

    def head(_: int) -> tuple[str, bool, np.ndarray]:
        return type(panel).__name__, panel.flags.writeable, panel[:3]

    for kind, writeable, rows in run(head, range(2), jobs=2, labels=["a", "b"], progress=False):
        assert (kind, writeable) == ("memmap", False)
        assert type(rows) is np.ndarray
        np.testing.assert_array_equal(rows, PANEL[:3])


@pytest.mark.parametrize(("jobs", "labels"), [(0, ["a", "b"]), (1, ["a"])])
def test_impossible_jobs_and_missing_labels_are_refused(jobs: int, labels: list[str]) -> None:
    with pytest.raises(ParameterError):
        run(slow_square, [1, 2], jobs=jobs, labels=labels)


def test_progress_is_one_line_a_task_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(slow_square, [1, 2], labels=["EWMA on BTC", "EWMA on ETH"])
    printed = capsys.readouterr()
    assert [line.split("  ")[-1] for line in printed.err.splitlines()] == ["EWMA on BTC", "EWMA on ETH"]
    assert printed.out == ""


def test_progress_is_a_bar_that_names_what_finished_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    run(slow_square, [1, 2], labels=["EWMA on BTC", "EWMA on ETH"])
    assert "2/2" in terminal.getvalue()
    assert "EWMA on ETH" in terminal.getvalue()


def test_no_progress_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run(slow_square, [1, 2], labels=["a", "b"], progress=False)
    assert capsys.readouterr() == ("", "")


NOTEBOOK = """
import numpy as np
from data import Book, Coverage, Floats, MarketHistory
from margin_models.base import MarginModel
from research.engines import run

class Mine(MarginModel):
    def __init__(self, rate=0.1): self.rate = rate
    def margin(self, past, book): return np.full(3, self.rate)

def charge(model): return type(model), model.margin(None, None)

for kind, margin in run(charge, [Mine(), Mine(0.2)], jobs=2, labels=["a", "b"], progress=False):
    assert kind is Mine
    print(margin.tolist())
"""


def test_a_model_written_in_a_script_runs_in_workers_without_a_word_on_stderr(tmp_path: Path) -> None:
    out, err = process_script(NOTEBOOK, tmp_path).communicate(timeout=60)
    assert err == ""
    assert out == "[0.1, 0.1, 0.1]\n[0.2, 0.2, 0.2]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


SLEEPERS = """
import os, sys, time
from research.engines import run

def sleep(number):
    print(os.getpid(), flush=True)
    time.sleep(60)

run(sleep, range(4), jobs=int(sys.argv[1]), labels=list("abcd"))
"""


@pytest.mark.parametrize(("jobs", "number", "code"), [(2, signal.SIGTERM, 143), (2, signal.SIGINT, -signal.SIGINT)])
def test_a_signal_ends_the_run_and_its_workers(tmp_path: Path, jobs: int, number: signal.Signals, code: int) -> None:
    process = process_script(SLEEPERS, tmp_path, str(jobs))
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(jobs)]
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert not any(map(is_alive, workers))
    assert "leaked" not in err


def test_sigterm_raises_inside_and_is_as_before_outside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, sigterm_raises():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_of_the_caller_stays_in_force() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with sigterm_raises():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_tasks_run_in_a_thread_that_may_not_set_handlers() -> None:
    results: list[list[int]] = []
    thread = threading.Thread(target=lambda: results.append(run(slow_square, [3], labels=["a"], progress=False)))
    thread.start()
    thread.join()
    assert results == [[9]]
