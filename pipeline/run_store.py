"""Where the runs are kept, how it is made and locked, and what may go wrong with it. Imports no mlflow."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from filelock import FileLock

SETTINGS = {  # mlflow reads them; a value from outside wins
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default tries for minutes, and a training would wait
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # halves the start of the server
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
LOCK_TIMEOUT_S = 120


def apply_settings() -> None:
    """Put SETTINGS into the environment where they are not set; to be called before mlflow is imported."""
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)


def is_off() -> bool:
    """PIPELINE_TRACKING=off: nothing is recorded, and the seconds of importing mlflow are saved in every stage."""
    return os.environ.get("PIPELINE_TRACKING") == "off"


def address(root: Path) -> str:
    """MLFLOW_TRACKING_URI, else the SQLite file `mlflow.db` in the absolute path `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def database(root: Path) -> Path | None:
    """The SQLite file of the store, None where the store is a server or another database."""
    uri = address(root)
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def artifacts(root: Path) -> str | None:
    """Where pictures and models go: `mlartifacts/` beside a SQLite file; None leaves it to the server."""
    file = database(root)
    return file.with_name("mlartifacts").as_uri() if file else None


def lock(root: Path) -> FileLock:
    """Held while a run is looked for and opened, and while the store is made; the kernel frees it when its holder dies."""
    return FileLock(root / "mlflow.db.lock", timeout=LOCK_TIMEOUT_S)


def create(file: Path, migrate: Callable[[str], None]) -> None:
    """Make a SQLite store where there is none. A kill leaves a draft and no half of a store.

    Parameters
    ----------
    migrate : makes the tables in the database of an address
    """
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.new")
    for leftover in (draft, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
        leftover.unlink(missing_ok=True)  # SQLite would replay a deleted database's log into the new one
    migrate(f"sqlite:///{draft}")
    draft.replace(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("pragma journal_mode=wal")  # readers do not wait for the writer


def faults() -> tuple[type[BaseException], ...]:
    """What a store that is missing, broken or away may raise. Ask after the fault: by then mlflow is imported or cannot be."""
    found = [ImportError, OSError, ValueError, RuntimeError, TypeError, AttributeError, LookupError]
    for module, name in (("mlflow.exceptions", "MlflowException"), ("sqlalchemy.exc", "SQLAlchemyError")):
        if hasattr(sys.modules.get(module), name):
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def explain(error: BaseException) -> str:
    """The first line of an error; stores like to answer with a page."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    request, unanswered, _ = first.partition(": Max retries exceeded")
    return f"{request}: no answer" if unanswered else first[:300]


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"tracking: {text}", file=sys.stderr)
