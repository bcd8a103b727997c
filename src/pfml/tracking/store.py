"""The store of MLflow: where it is, how it is opened, and for how long a request to it may wait.

Imports of mlflow are late, since it takes seconds to import.
"""

import importlib
import logging
import os
import shlex
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

from pfml.settings.run import project_root

PATIENCE = 10.0  # seconds: all that a run waits for MLflow
DEFAULTS = {  # read by MLflow's client at each request
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds; of its 120 a server that never answers takes minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # with its 7 a dead server takes minutes, and a run may be created twice
}
STORES = (  # modules that MLflow loads at the first request
    "tracking.rest_store",
    "tracking.sqlalchemy_store",
    "artifact.local_artifact_repo",
    "artifact.mlflow_artifacts_repo",
)
MAKE_UP = "dvc repro -f -s register makes up for it"
ANEW = "dvc repro -f -s register logs all results anew"
DAMAGED = ("malformed", "not a database", "disk I/O error")  # words of SQLite about a file that is not whole


class StoreError(RuntimeError):
    """The store cannot be used; the message says what to do."""


def store_uri() -> str:
    """MLFLOW_TRACKING_URI of the environment, else mlflow.db in the project's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(project_root() / "mlflow.db")


def sqlite_uri(path: Path) -> str:
    """The address of a SQLite file, whichever characters its path has."""
    from sqlalchemy.engine import URL

    uri = URL.create("sqlite", database=str(path)).render_as_string()
    # For an address that begins with "sqlite:///" MLflow makes the folders of the quoted path, beside the real ones.
    return uri if uri == f"sqlite:///{path}" else uri.replace("sqlite:", "sqlite+pysqlite:", 1)


def is_local(uri: str) -> bool:
    """Whether the store is files of this machine and not a server."""
    return uri.startswith(("sqlite:", "sqlite+", "file:"))


def prepare() -> None:
    """Import what a store needs and set the limits of its client.

    A training does this in its own thread: two threads that import packages which import each other may each see one
    half done.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for name in ("mlflow.entities", *(f"mlflow.store.{module}" for module in STORES)):
        importlib.import_module(name)


def open_store(experiment: str, patience: float = PATIENCE):
    """A client of the store, and the experiment's id. The first process creates the experiment.

    Two processes that create a local store at once can break it (MLflow 3.17.2), so a file lock guards it. A server is
    asked without a lock.

    Args:
        patience: seconds to wait for the lock.

    Raises:
        StoreError: the experiment was deleted, the file cannot be opened, MLflow's own path has a %, or another process
            holds the lock.
        mlflow.exceptions.MlflowException: the store fails, or does not answer.
    """
    prepare()
    from filelock import FileLock, Timeout
    from mlflow import MlflowClient

    root, uri = project_root(), store_uri()
    if not is_local(uri):
        client = MlflowClient(uri)
        return client, _experiment_id(client, experiment, None)
    (root / ".locks").mkdir(exist_ok=True)
    lock = FileLock(root / ".locks/mlflow.init")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise StoreError(f"{lock.lock_file}: another process has held it for {patience:g} s; {MAKE_UP}") from None
    try:
        _check_opens(uri)
        _make_whole(uri, root)
        client = MlflowClient(uri)
        # An absolute place, since a relative one would depend on the folder of the process that creates the experiment.
        return client, _experiment_id(client, experiment, (root / "mlruns" / experiment).as_uri())
    finally:
        lock.release()


def tags_in_store(run_id: str) -> dict[str, str]:
    """The tags of an MLflow run; {} where the store is not there or does not have the run."""
    uri = store_uri()
    path = _sqlite_file(uri)
    if path is not None and not path.is_file():
        return {}
    prepare()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return dict(MlflowClient(uri).get_run(run_id).data.tags)
    except MlflowException:
        return {}


def _experiment_id(client, name: str, place: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=place)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)  # another process was first
    if found.lifecycle_stage != "active":
        uri = store_uri()
        where = "" if os.environ.get("MLFLOW_TRACKING_URI") else f"MLFLOW_TRACKING_URI={shlex.quote(uri)} "
        raise StoreError(
            f"MLflow's experiment {name} was deleted; restore it with `{where}mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or give tracking.experiment in params.yaml another name; then "
            f"{MAKE_UP}"
        )
    return found.experiment_id


def _make_whole(uri: str, root: Path) -> None:
    """Make the tables of a new SQLite file under another name first. Where a process is killed while MLflow makes them,
    no later one can open the file.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = _sqlite_file(uri)
    if path is None or (path.exists() and path.stat().st_size):
        return
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    SqlAlchemyStore(sqlite_uri(part), (root / "mlruns").as_uri()).engine.dispose()
    part.replace(path)


def _sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite address; None for another kind of store, or one in memory."""
    from sqlalchemy.engine import make_url

    name = make_url(uri).database if uri.startswith("sqlite") else None
    return None if name in (None, "", ":memory:") or name.startswith("file:") else Path(name)


def _check_opens(uri: str) -> None:
    """Raise StoreError if a SQLite file cannot be opened, for which MLflow would wait for minutes, or if MLflow itself
    lies where it cannot make a database.
    """
    import mlflow

    if uri.startswith("sqlite") and "%" in mlflow.__file__:  # MLflow 3.17.2 gives Alembic its own path unquoted
        raise StoreError(
            f"{Path(mlflow.__file__).parent}: MLflow makes no database where its own path has a %; move the project to "
            f"a folder without one, then {ANEW}; or set tracking.enabled to false"
        )
    path = _sqlite_file(uri)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=5)) as database:
            database.execute("PRAGMA schema_version").fetchone()
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"{path}: expected a SQLite file that can be opened and written, found: {error}; move it away, or make "
            f"room, then {ANEW}"
        ) from None


@contextmanager
def tolerate_mlflow_errors(what: str, advice: str = MAKE_UP):
    """Turn every exception into a printed line, so that a failure of MLflow does not stop the pipeline."""
    try:
        yield
    except Exception as error:
        print(failure(what, error, advice), flush=True)


def failure(what: str, error: Exception, advice: str = MAKE_UP) -> str:
    """One line about an error of MLflow. A StoreError gives its own advice."""
    reason = " ".join(str(error).split())
    if isinstance(error, StoreError):
        return f"{what}: not logged: {reason}"
    if any(word in reason for word in DAMAGED):
        where = store_uri().partition("///")[2]
        return f"{what}: not logged: {where} is damaged; move it away, then {ANEW}"
    if "timed out" in reason:
        reason = f"no answer within {os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} s"
    reason = reason.rpartition("Caused by ")[2][:200]  # requests says much before
    return f"{what}: not logged, MLflow's store failed ({reason}); {advice}"
