"""Would a scheduler run the examples, and run what was meant?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from markets import two_coins
from research import night_report as codes

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FINAL = {codes.BUG, codes.USAGE, codes.NO_DATA, codes.REFUSED}  # time alone does not cure them
SH = shutil.which("sh") or "/bin/sh"


def told_to(command: str, folder: Path) -> list[str]:
    """What a stub of marginlab is given when a shell runs the command of a scheduler."""
    stub = folder / ".venv" / "bin" / "marginlab"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >told.txt\n', encoding="utf-8")
    stub.chmod(0o755)
    path = f"{stub.parent}:{os.environ['PATH']}"
    subprocess.run([SH, "-c", command], cwd=folder, env={**os.environ, "PATH": path}, check=True, timeout=30)
    return (folder / "told.txt").read_text(encoding="utf-8").splitlines()


def assert_is_last_night(told: list[str]) -> None:
    """The command takes yesterday (UTC) and a study, and the command line of marginlab knows its options."""
    from datetime import UTC, date, datetime, timedelta

    import typer

    from research.cli import app

    day = date.fromisoformat(told[told.index("--as-of") + 1])
    assert abs(day - (datetime.now(UTC).date() - timedelta(days=1))) <= timedelta(days=1)
    assert told[0] == "nightly"
    assert Path(told[told.index("--study") + 1]).name == "nightly_study.py"
    root: Any = typer.main.get_command(app)
    known = {name for one in root.commands["nightly"].params for name in one.opts}
    assert {word for word in told if word.startswith("--")} <= known


def test_the_cron_line_has_five_fields_a_user_and_one_command(tmp_path: Path) -> None:
    lines = (EXAMPLES / "nightly.cron").read_text(encoding="utf-8").splitlines()
    (line,) = [one for one in lines if one[:1].isdigit()]
    *when, user, command = line.split(maxsplit=6)
    assert when == ["15", "1", "*", "*", "*"]
    assert user == "marginlab"
    assert command.replace("\\%", "").count("%") == 0  # cron ends a command at a bare one
    log, textfile = tmp_path / "nightly.log", tmp_path / "marginlab.prom"
    here = command.replace("\\%", "%").replace("/opt/marginlab", str(tmp_path))
    here = here.replace("/var/log/marginlab/nightly.log", str(log))
    told = told_to(here.replace("/var/lib/node_exporter/marginlab.prom", str(textfile)), tmp_path)
    assert_is_last_night(told)
    assert told[told.index("--textfile") + 1] == str(textfile)


def test_the_systemd_service_runs_the_night_and_tries_again_only_what_time_cures(tmp_path: Path) -> None:
    text = (EXAMPLES / "marginlab-nightly.service").read_text(encoding="utf-8")
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert {int(code) for code in settings["RestartPreventExitStatus"].split()} == FINAL
    shell, flag, command = settings["ExecStart"].split(maxsplit=2)
    assert (shell, flag) == ("/bin/sh", "-c")
    assert_is_last_night(told_to(command.strip("'").replace("%%", "%"), tmp_path))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    units = [
        shutil.copy(EXAMPLES / name, tmp_path) for name in ("marginlab-nightly.service", "marginlab-nightly.timer")
    ]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "marginlab" not in done.stderr
    when = [line for line in Path(units[1]).read_text().splitlines() if line.startswith("OnCalendar=")]
    calendar = ["systemd-analyze", "calendar", when[0].removeprefix("OnCalendar=")]
    assert subprocess.run(calendar, capture_output=True, check=False, timeout=60).returncode == 0


def test_the_cron_job_of_kubernetes_is_one_at_a_time_and_tries_again_only_what_time_cures(tmp_path: Path) -> None:
    job = yaml.safe_load((EXAMPLES / "nightly-cronjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    inner = job["spec"]["jobTemplate"]["spec"]
    (container,) = inner["template"]["spec"]["containers"]
    (rule,) = [one["onExitCodes"] for one in inner["podFailurePolicy"]["rules"] if "onExitCodes" in one]
    assert (rule["containerName"], rule["operator"]) == (container["name"], "In")
    assert set(rule["values"]) == FINAL
    assert inner["template"]["spec"]["restartPolicy"] == "Never"  # a failure policy for pods wants it
    volumes = {one["name"] for one in inner["template"]["spec"]["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
    assert container["command"] == ["/bin/sh", "-c"]
    (command,) = container["args"]
    assert_is_last_night(told_to(command, tmp_path))


class _Again(Exception):
    """What Airflow tries again."""


class _Final(Exception):
    """What it does not."""


def airflow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The DAG's module, with decorators that leave functions as they are."""
    sdk, exceptions, parent = ModuleType("airflow.sdk"), ModuleType("airflow.exceptions"), ModuleType("airflow")
    plain: Any = lambda **settings: lambda function: function  # noqa: E731
    vars(sdk).update(dag=plain, task=plain)
    vars(exceptions).update(AirflowException=_Again, AirflowFailException=_Final)
    for module in (parent, sdk, exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    given: list[list[str]] = []
    answer = subprocess.CompletedProcess([], 0, "{}")

    def run(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        given.append(command)
        return answer

    monkeypatch.setattr(subprocess, "run", run)
    names: dict[str, Any] = {"__name__": "nightly_dag", "given": given, "answer": answer}
    exec(compile((EXAMPLES / "nightly_dag.py").read_text(encoding="utf-8"), "nightly_dag.py", "exec"), names)
    return names


def test_the_dag_runs_the_night_and_tries_again_only_what_time_cures(monkeypatch: pytest.MonkeyPatch) -> None:
    told = airflow(monkeypatch)
    assert told["given"][0][1:3] == ["nightly", "--as-of"]
    assert told["night"]("2024-02-29") == "{}"
    assert told["given"][-1][3] == "2024-02-29"
    for code in (codes.BUG, codes.USAGE, codes.NO_DATA, codes.REFUSED, codes.HELD, codes.AGAIN, 143):
        told["answer"].returncode = code
        with pytest.raises(_Final if code in FINAL else _Again, match=f"ended with {code}"):
            told["night"]("2024-02-29")


def test_the_study_file_is_one_and_needs_its_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data import DataError
    from research.nightly_job import read_plan

    plan = read_plan(EXAMPLES / "nightly_study.py")
    assert plan.limits.shadow == 30
    (market,) = plan.study.markets
    monkeypatch.setenv("MARGINLAB_PRICES", str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="MARGINLAB_PRICES must name a file"):
        market.load()
    two_coins(300).to_frame().tz_localize(None).dropna().to_csv(tmp_path / "prices.csv")
    monkeypatch.setenv("MARGINLAB_PRICES", str(tmp_path / "prices.csv"))
    assert market.load().underlyings == ("BTC", "ETH")
