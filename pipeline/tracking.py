"""What MLflow is told: one run per `fit_key`, made whole from the files of `runs/`.

The only file that imports mlflow, and only inside functions, since the import costs seconds. Nothing here can change or
lose a result: a tracking fault is a warning on stderr, and `python -m pipeline.tracking sync` sends later what is missing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline import config, files, run_record, run_store

run_store.apply_settings()
POINTS_PER_CALL = 900  # MLflow takes 1000


class live:
    """Log a training while it runs: `with live(model) as tracker: ... tracker.log(step=epoch, metrics={...})`.

    Finds the run of `model["fit_key"]` or opens one; a resumed training goes on in its run. Never raises for a tracking
    fault (mlflow missing, server away, database locked): it warns once on stderr and stays silent from then on.

    Parameters
    ----------
    model : `name`, `fit_key` and `fit`, as in `model.json`
    root : the repository
    """

    def __init__(self, model: dict, *, root: str | Path = "."):
        self._model, self._root = model, Path(root).resolve()
        self._is_broken = run_store.is_off()
        self._logged: dict[str, dict[int, float]] = {}

    def __enter__(self) -> live:
        self._attempt(self._open)
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._attempt(lambda: self._client.set_terminated(self._run_id, "FAILED" if kind else "FINISHED"))

    def log(self, *, step: int, metrics: dict[str, float | None]) -> None:
        """Record the numbers of one epoch; what is recorded already is not recorded twice.

        Parameters
        ----------
        step : epoch, 1-based
        metrics : the columns of `history.csv` but `epoch`; None is left out
        """
        self._attempt(self._log, step, metrics)

    def _attempt(self, action, *arguments) -> None:
        if self._is_broken:
            return
        try:
            action(*arguments)
        except run_store.faults() as error:
            self._is_broken = True
            run_store.warn(f"{self._model['name']}: {run_store.explain(error)}. Training goes on; evaluate sends the curves")

    def _open(self) -> None:
        self._client = _connect(self._root)
        run = _find_or_open(self._client, self._model, self._root)
        self._run_id = run.info.run_id
        self._client.update_run(self._run_id, status="RUNNING")
        params = run_record.fit_params(self._model)
        _send(self._client, self._run_id, params={key: params[key] for key in params.keys() - run.data.params.keys()})

    def _log(self, step: int, metrics: dict[str, float | None]) -> None:
        new = {}
        for key, value in metrics.items():
            if key not in self._logged:
                self._logged[key] = _history(self._client, self._run_id, key)
            if value is not None and step not in self._logged[key]:
                new[key, step] = float(value)
        _send(self._client, self._run_id, points=new)
        for (key, _), value in new.items():
            self._logged[key][step] = value


def publish(name: str, *, root: str | Path = ".", best_effort: bool = True) -> bool:
    """Make the run of one method whole from the files under `runs/NAME`. Does nothing where it is whole already.

    Parameters
    ----------
    name : key of the method in `params.yaml`
    best_effort : warn on stderr where it fails, instead of raising

    Returns
    -------
    True where the run stands complete in the store; False where tracking is off.

    Raises
    ------
    ValueError, OSError, MlflowException : without `best_effort`, whatever went wrong.
    """
    if run_store.is_off():
        return False
    try:
        _publish(name, Path(root).resolve())
    except run_store.faults() as error:
        if not best_effort:
            raise
        run_store.warn(f"{name}: {run_store.explain(error)}. Nothing is lost; `python -m pipeline.tracking sync` sends it")
        return False
    return True


def sync(root: str | Path = ".") -> dict[str, str]:
    """Publish every method of `params.yaml` that has scores and no complete run; never raises for a tracking fault.

    Returns
    -------
    method -> "published", "complete", "waiting: ..." (not scored yet, or stale) or "failed: ..."; {} where tracking is off
    """
    if run_store.is_off():
        return {}
    root, outcome = Path(root).resolve(), {}
    away = _outcome(lambda: _connect(root).search_experiments(max_results=1) and "")  # one time-out, not one for each method
    for name in config.load(root / "params.yaml").methods:
        reason = run_record.missing(root / "runs" / name) or run_record.stale(name, root)
        outcome[name] = f"waiting: {reason}" if reason else away or _outcome(lambda name=name: _publish(name, root))
    return outcome


def _outcome(action: Callable[[], str]) -> str:
    try:
        return action()
    except run_store.faults() as error:
        return f"failed: {run_store.explain(error)}"


def _publish(name: str, root: Path) -> str:
    """ "published", or "complete" where there was nothing to send."""
    record = run_record.read(name, root)
    client = _connect(root)
    run = _find_or_open(client, record.model, root)
    if run.data.tags.get("published") == record.content_hash and run.info.status == "FINISHED":
        return "complete"
    curves = {key: _history(client, run.info.run_id, key) for key in {key for key, _ in record.points}}
    if record.contradicts(run.data.params, curves):
        client.delete_run(run.info.run_id)  # params and points cannot be changed; one run is left all the same
        run, curves = _find_or_open(client, record.model, root), {}
    run_id, tags = run.info.run_id, record.tags | run_record.commit_tags(root)
    _send(client, run_id, points=record.unsent(curves, run.data.metrics), params=record.params, tags=tags)
    for path in record.artifacts:
        client.log_artifact(run_id, str(path))
    for path in record.data_files:
        client.log_artifact(run_id, str(path), "data")
    with run_store.lock(root):  # two that publish at once would each store a model
        if client.get_run(run_id).data.tags.get("model_sha256") != record.model_hash:
            _log_model(client, run, record)
    _send(client, run_id, tags={"published": record.content_hash})
    client.set_terminated(run_id, "FINISHED")
    return "published"


def _history(client, run_id: str, key: str) -> dict[int, float]:
    return {point.step: point.value for point in client.get_metric_history(run_id, key)}


def _send(client, run_id: str, *, points=None, params=None, tags=None) -> None:
    """Log in as few calls as MLflow allows; `points` are (metric, step) -> value."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    metrics = [Metric(key, value, now, step) for (key, step), value in (points or {}).items()]
    for start in range(0, len(metrics), POINTS_PER_CALL):
        client.log_batch(run_id, metrics=metrics[start : start + POINTS_PER_CALL])
    if params or tags:
        sent = [Param(key, value) for key, value in (params or {}).items()]
        client.log_batch(run_id, params=sent, tags=[RunTag(key, value) for key, value in (tags or {}).items()])


def _log_model(client, run, record: run_record.RunRecord) -> None:
    """Store the fitted method for `mlflow models serve`, in place of the one stored before."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    former = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(record.label_type, (-1, -1, -1))]),
    )
    with TemporaryDirectory() as folder, _as_current_store(client.tracking_uri), mlflow.start_run(run.info.run_id):
        mlflow.pyfunc.log_model(name="model", signature=signature, **record.served(Path(folder)))
    for model in former:
        client.delete_logged_model(model.model_id)
    _send(client, run.info.run_id, tags={"model_sha256": record.model_hash})


@contextmanager
def _as_current_store(uri: str) -> Iterator[None]:
    """Give mlflow the store that its functions without a client use, and take it back, from the environment too."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        with warnings.catch_warnings(action="ignore"):  # as in `serve`
            yield
    finally:
        mlflow.set_tracking_uri(None)
        os.environ.update({"MLFLOW_TRACKING_URI": before} if before else {})


def serve(load, predict) -> None:
    """Called by `served_model.py`, which MLflow runs to get a model.

    Parameters
    ----------
    load : (folder of the fitted method, JSON file of its prediction options) -> method
    predict : (method, images) -> label maps
    """
    import mlflow

    with warnings.catch_warnings(action="ignore"):  # mlflow.pyfunc warns of its own type hints
        base = mlflow.pyfunc.PythonModel

    class Served(base):
        def load_context(self, context):
            self.method = load(Path(context.artifacts["model"]), Path(context.artifacts["predict"]))

        def predict(self, context, model_input: np.ndarray, params=None):
            return predict(self.method, model_input)

    mlflow.models.set_model(Served())


def download_model(address: str, into: Path, *, root: str | Path = ".") -> Path:
    """Fetch a published model; the folder that `inference.load` reads, with its prediction options beside it in predict.json.

    Parameters
    ----------
    address : models:/NAME@ALIAS, models:/NAME/VERSION, models:/ID or runs:/ID/model
    into : an empty folder

    Raises
    ------
    ValueError : there is no store or no such model, or another program made it.
    """
    database = run_store.database(Path(root).resolve())
    if database and not database.is_file():
        raise ValueError(f"{address}: no store at {database}; go to the folder of the runs, or set MLFLOW_TRACKING_URI")
    try:
        import mlflow.artifacts

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        with _as_current_store(run_store.address(Path(root).resolve())):
            found = Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(into)))
    except run_store.faults() as error:
        raise ValueError(f"{address}: {run_store.explain(error)}") from None
    if not (found / "artifacts/model/model.json").is_file():
        raise ValueError(f"{address}: no model that this pipeline has published")
    return found / "artifacts/model"


def _connect(root: Path):
    """A client of the store; the default one is made on first use."""
    import mlflow.db

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    if database := run_store.database(root):
        with run_store.lock(root):  # processes that migrate a fresh database at once break it
            run_store.create(database, mlflow.db.upgrade.callback)
    return mlflow.MlflowClient(run_store.address(root))


def _find_or_open(client, model: dict, root: Path):
    """The run of a fit_key, the oldest where a race opened several (the others are deleted), else a new one."""
    with run_store.lock(root):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        query = f"tags.fit_key = '{model['fit_key']}'"
        found = client.search_runs(experiments, query, order_by=["attributes.start_time ASC"])
        for surplus in found[1:]:
            client.delete_run(surplus.info.run_id)
        if found:
            return found[0]
        tags = {"fit_key": model["fit_key"], "method": model["name"]}
        return client.create_run(_experiment(client, root), run_name=model["name"], tags=tags)


def _experiment(client, root: Path) -> str:
    """The experiment of the data set, by its name."""
    name = files.read_json(root / "data/dataset/dataset.json")["name"]
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return client.create_experiment(name, artifact_location=run_store.artifacts(root))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.tracking", description="The runs that MLflow keeps.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sync", help="send the runs that the store lacks")
    page = commands.add_parser("ui", help="show the runs in a browser, on this machine only")
    page.add_argument("--port", type=int, default=5000)
    arguments = parser.parse_args(argv)
    if arguments.command == "ui":
        return _show(Path.cwd(), arguments.port)
    try:
        outcome = sync()
    except ValueError as error:
        sys.exit(f"error: {error}")
    print("\n".join(f"{name}: {result}" for name, result in outcome.items()))
    return int(any(result.startswith("failed") for result in outcome.values()))


def _show(root: Path, port: int) -> int:
    """Become MLflow's own page on 127.0.0.1; a store on a server has its page already."""
    uri = run_store.address(root)
    if uri.startswith("http"):
        print(f"MLFLOW_TRACKING_URI names a server: open {uri} in a browser")
        return 0
    _connect(root)
    options = ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *options])


if __name__ == "__main__":
    sys.exit(main())
