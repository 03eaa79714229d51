"""Is a store of runs there, and how long is one that does not answer waited for?

MLflow waits minutes for a server that is down (seven retries, two minutes each) and a minute and a half for a database.
Here it is knocked at first, and what is waited for is seconds. Nothing that a user has set is changed.
"""

import logging
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from data.errors import MarginlabError
from research import records

SECONDS = 5.0
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
POOL = "MLFLOW_SQLALCHEMYSTORE_POOL"


def be_patient(uri: str) -> None:
    """Put into the environment how long this process waits for a store, where its user has not."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    if not is_server_database(uri):
        return
    os.environ.setdefault("PGCONNECT_TIMEOUT", f"{SECONDS:.0f}")
    # A connection that is kept is one on which a server that has died in the meantime is waited for without end.
    if not any(name.startswith(POOL) for name in os.environ):
        os.environ[f"{POOL}CLASS"] = "NullPool"
    # It prints what a driver said, and with it who wanted to log in; what it says is raised too, and masked there.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def knock(uri: str) -> None:
    """Ask a store for a sign of life, and see to it that from now on it is waited for no longer than `be_patient` says.

    Whatever a server answers is one, a refusal included: what it refuses is for MLflow to say. Files are always there.

    Raises
    ------
    MarginlabError
        If a database has no driver here (PostgreSQL: install `marginlab[postgres]`).
    OSError, sqlalchemy.exc.SQLAlchemyError
        If nobody answers, within `SECONDS` from a server, PGCONNECT_TIMEOUT from PostgreSQL.
    """
    be_patient(uri)
    if is_server_database(uri):
        _connect(uri)
    elif uri.startswith(("http://", "https://")):
        _ask(f"{records.public(uri).rstrip('/')}/health")


def _connect(uri: str) -> None:
    try:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        engine = create_engine(uri, poolclass=NullPool)
    except ImportError as error:
        hint = "install marginlab[postgres]" if uri.startswith("postgresql") else "install it"
        raise MarginlabError(f"the store of runs {records.public(uri)} needs a driver ({error}): {hint}") from error
    engine.connect().close()


def _ask(url: str) -> None:
    try:
        urllib.request.urlopen(url, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except urllib.error.URLError as error:
        # A certificate that this process does not know may be one that MLflow was told to trust.
        if not isinstance(error.reason, ssl.SSLError):
            raise


def is_server_database(uri: str) -> bool:
    """Whether a store is a database that a server keeps."""
    return is_database(uri) and not uri.startswith("sqlite")


def is_database(uri: str) -> bool:
    """Whether a store is a database, which MLflow opens in this process."""
    scheme = uri.partition(":")[0].partition("+")[0]
    return scheme in ("sqlite", "postgresql", "mysql", "mssql")


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None for other stores."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None
