"""How does Airflow run `marginlab nightly`, and which exit codes does it try again?

Written for Airflow 3 (`airflow.sdk`). marginlab stands in an environment of its own, so that neither pins the other.
"""

import subprocess
from datetime import UTC, datetime, timedelta

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.sdk import dag, task

MARGINLAB, STUDY = "/opt/marginlab/.venv/bin/marginlab", "/opt/marginlab/examples/nightly_study.py"
CURED_BY_TIME = (5, 75, 143)  # another run, disk or workers, a signal; all else waits for a person


@task(retries=4, retry_delay=timedelta(minutes=10), execution_timeout=timedelta(hours=4))
def night(as_of: str) -> str:
    """One night; the JSON result, or an exception that says whether to try again."""
    command = [MARGINLAB, "nightly", "--as-of", as_of, "--study", STUDY, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    kind = AirflowException if done.returncode in CURED_BY_TIME else AirflowFailException
    raise kind(f"marginlab nightly ended with {done.returncode}: {done.stdout.strip()}")


@dag(schedule="15 1 * * *", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1)
def marginlab_nightly() -> None:
    """The night of the day before."""
    night("{{ macros.ds_add(ds, -1) }}")


marginlab_nightly()
