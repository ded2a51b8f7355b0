"""One complete run per fit, whatever happens to the store: real SQLite stores, and a real server that goes away."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import yaml

from pipeline import parent_death, provenance, run_store, tracking
from pipeline.classical.majority_class import MajorityClass
from pipeline.structures import LabelSpace

ROOT = Path(__file__).parent.parent
LABELS = LabelSpace(
    names=("sky", "road", "car"), colours=((0, 0, 255), (90, 90, 90), (255, 0, 0)), isthing=(False, False, True)
)
KEY = {"unet": "1" * 64, "majority_class": "2" * 64}
FIT = {"model": "unet", "options": {"width": 8}, "loss": [{"name": "cross_entropy", "weight": 1.0, "options": {}}], "epochs": 3}
MODEL = {"name": "unet", "fit_key": KEY["unet"], "fit": FIT, "seed": 0, "threads": 1}
HISTORY = {
    1: {"train_loss": 1.5, "val_miou": 0.1},
    2: {"train_loss": 0.75, "val_miou": 0.3},
    3: {"train_loss": 0.5, "val_miou": 0.4},
}


def write(path: Path, content: dict | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def write_unet(root: Path) -> None:
    """What train and evaluate leave behind, but for the weights: publishing does not look into them."""
    folder = root / "runs/unet"
    write(folder / "model/model.json", {**MODEL, "kind": "network", "method": "unet", "label_space": LABELS.to_json()})
    rows = [f"{epoch},{row['train_loss']},{row['val_miou']}" for epoch, row in HISTORY.items()]
    write(folder / "history.csv", "\n".join(["epoch,train_loss,val_miou", *rows]) + "\n")
    write(folder / "predict.json", {"options": {"flip": False}, "search": []})
    write(folder / "metrics.json", {"miou": 0.5, "pixel_accuracy": 0.75})
    write(folder / "cost.json", {"latency_ms": 12.5, "under_load": False})
    write(folder / "fit_cost.json", {"fit_seconds": 60.0})
    write(folder / "per_class.csv", "class,iou\nsky,0.5\nroad,\n")
    write(folder / "confusion.csv", "truth,predicted,pixels\nsky,sky,4\n")
    (folder / "samples").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "samples/0001.png"), np.zeros((4, 6, 3), np.uint8))


def write_majority_class(root: Path) -> None:
    """A method that can predict: it says "road" everywhere."""
    folder = root / "runs/majority_class"
    description = {"name": "majority_class", "kind": "classical", "method": "majority_class", "options": {}, "seed": 0}
    description |= {"fit_key": KEY["majority_class"], "fit": {"method": "majority_class", "options": {}}}
    write(folder / "model/model.json", {**description, "threads": 1, "label_space": LABELS.to_json()})
    method = MajorityClass(LABELS)
    method.majority = np.array(1)
    method.save(folder / "model")
    write(folder / "predict.json", {"options": {}, "search": []})
    write(folder / "metrics.json", {"miou": 0.1})


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A fresh database, made once: its migrations take seconds."""
    from mlflow.db import upgrade

    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    run_store.create(database, upgrade.callback)
    return database


@pytest.fixture
def bare_root(tmp_path, monkeypatch):
    """A repository with one finished network and one finished classical method, and no store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    params = yaml.safe_load((ROOT / "presets/shapes.yaml").read_text())
    params["classical"] = {"majority_class": params["classical"]["majority_class"]}
    params["networks"] = {"unet": params["networks"]["unet"]}
    write(tmp_path / "params.yaml", yaml.safe_dump(params))
    write(tmp_path / "data/dataset/dataset.json", {"name": "scenes"})
    write_unet(tmp_path)
    write_majority_class(tmp_path)
    return tmp_path


@pytest.fixture
def root(bare_root, empty_store):
    shutil.copy(empty_store, bare_root)
    return bare_root


def client(root: Path):
    return tracking._connect(root)


def runs(root: Path, name: str) -> list:
    """All live runs of one method, in whatever experiment."""
    store = client(root)
    return store.search_runs([each.experiment_id for each in store.search_experiments()], f"tags.method = '{name}'")


def curve(root: Path, run, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client(root).get_metric_history(run.info.run_id, key))


def models(root: Path, run) -> list[str]:
    """The addresses of the models that a run has."""
    found = client(root).search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    return [model.artifact_location for model in found]


def assert_complete(root: Path, name: str = "unet"):
    [run] = runs(root, name)
    assert run.info.status == "FINISHED" and run.data.tags["published"] and run.data.tags["fit_key"] == KEY[name]
    assert len(models(root, run)) == 1
    if name == "unet":
        assert curve(root, run, "val_miou") == [(1, 0.1), (2, 0.3), (3, 0.4)]
        assert curve(root, run, "train_loss") == [(1, 1.5), (2, 0.75), (3, 0.5)]
        assert run.data.metrics["miou"] == 0.5
    return run


def test_a_run_holds_everything_the_files_say(root):
    assert tracking.publish("unet", root=root, best_effort=False)
    run = assert_complete(root)
    assert run.info.run_name == "unet"
    assert client(root).get_experiment(run.info.experiment_id).name == "scenes"
    assert run.data.params == {
        "model": "unet", "options.width": "8", "epochs": "3", "seed": "0", "threads": "1",
        "loss.0.name": "cross_entropy", "loss.0.weight": "1.0",
    }  # fmt: skip
    scores = {
        "miou": 0.5,
        "pixel_accuracy": 0.75,
        "cost.latency_ms": 12.5,
        "cost.under_load": 0.0,
        "fit_cost.fit_seconds": 60.0,
    }
    assert run.data.metrics == {**scores, "train_loss": 0.5, "val_miou": 0.4}
    assert run.data.tags["data_sha256"] == provenance.file_hash(root / "data/dataset/dataset.json")
    assert (run.data.tags["predict.flip"], run.data.tags["kind"]) == ("false", "network")
    shown = {item.path for folder in ("", "samples") for item in client(root).list_artifacts(run.info.run_id, folder)}
    assert {"per_class.csv", "confusion.csv", "samples/0001.png"} <= shown


def write_insight(root: Path, shares: str = "train,sky,0.5") -> None:
    """What convert and augment leave beside the data, but for what a run does not take."""
    write(root / "data/insight/classes.csv", f"split,class,share\n{shares}\n")
    for file in ("data/insight/sizes.csv", "data/insight/truth.jpg", "data/insight/gate.html", "data/train/preview.png"):
        write(root / file, file)


def artifacts(root: Path, name: str, folder: str) -> set[str]:
    [run] = runs(root, name)
    return {item.path for item in client(root).list_artifacts(run.info.run_id, folder)}


def test_a_run_holds_what_its_data_are_made_of(root):
    write_insight(root)
    for name in ("unet", "majority_class"):
        tracking.publish(name, root=root, best_effort=False)
    tables = {"data/classes.csv", "data/sizes.csv", "data/truth.jpg"}
    assert artifacts(root, "unet", "data") == {*tables, "data/preview.png"}
    assert artifacts(root, "majority_class", "data") == tables  # no augmentation touches what it fits on


def test_other_insight_updates_the_run(root):
    write_insight(root)
    tracking.publish("unet", root=root, best_effort=False)
    first = assert_complete(root)
    assert tracking.sync(root)["unet"] == "complete"
    write_insight(root, shares="train,sky,0.25")
    assert tracking.sync(root)["unet"] == "published"
    again = assert_complete(root)
    assert again.info.run_id == first.info.run_id
    stored = tracking._connect(root).download_artifacts(first.info.run_id, "data/classes.csv")
    assert "0.25" in Path(stored).read_text()


def test_the_commit_is_recorded(root):
    for command in ("init --quiet", "add params.yaml", "-c user.name=a -c user.email=a@b.c commit --quiet --message=first"):
        subprocess.run(["git", *command.split()], cwd=root, check=True)
    tracking.publish("majority_class", root=root, best_effort=False)
    assert assert_complete(root, "majority_class").data.tags["git_commit"] == provenance.git_commit(root) != ""


def test_publishing_again_changes_nothing(root):
    tracking.publish("unet", root=root, best_effort=False)
    first = assert_complete(root)
    before = models(root, first)
    tracking.publish("unet", root=root, best_effort=False)
    again = assert_complete(root)
    assert again.info.end_time == first.info.end_time and models(root, again) == before
    assert curve(root, again, "miou") == [(0, 0.5)]


def test_new_scores_and_prediction_options_update_the_run(root):
    tracking.publish("unet", root=root, best_effort=False)
    first = assert_complete(root)
    former = models(root, first)
    write(root / "runs/unet/predict.json", {"options": {"flip": True}, "search": []})
    write(root / "runs/unet/metrics.json", {"miou": 0.625, "pixel_accuracy": 0.75})
    tracking.publish("unet", root=root, best_effort=False)
    [run] = runs(root, "unet")
    assert run.info.run_id == first.info.run_id
    assert (run.data.metrics["miou"], run.data.tags["predict.flip"]) == (0.625, "true")
    assert curve(root, run, "pixel_accuracy") == [(0, 0.75)]
    [model] = models(root, run)
    assert model not in former, "a model predicts with the options it was scored with"


def test_a_training_is_logged_live_and_resumed_without_doubles(root):
    with tracking.live(MODEL, root=root) as tracker:
        tracker.log(step=1, metrics=HISTORY[1])
        [run] = runs(root, "unet")
        assert run.info.status == "RUNNING" and run.data.params["options.width"] == "8"
        tracker.log(step=2, metrics={**HISTORY[2], "not_measured": None})
    with tracking.live(MODEL, root=root) as tracker:  # resumed: the epochs before are sent again
        for epoch, row in HISTORY.items():
            tracker.log(step=epoch, metrics=row)
    tracking.publish("unet", root=root, best_effort=False)
    assert assert_complete(root).info.run_id == run.info.run_id


def test_the_store_of_one_repository_is_not_that_of_the_next(root, tmp_path_factory, empty_store):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(root, other, dirs_exist_ok=True)
    tracking.publish("unet", root=root, best_effort=False)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert not runs(other, "unet")
    tracking.publish("unet", root=other, best_effort=False)
    assert_complete(root)
    assert_complete(other)


def test_a_training_that_fails_is_marked_and_its_error_passes(root):
    with pytest.raises(ZeroDivisionError), tracking.live(MODEL, root=root):
        raise ZeroDivisionError
    assert runs(root, "unet")[0].info.status == "FAILED"


def test_a_fit_that_came_out_differently_replaces_its_run(root):
    with tracking.live(MODEL, root=root) as tracker:
        tracker.log(step=1, metrics={"train_loss": 9.0, "val_miou": 0.1})
    tracking.publish("unet", root=root, best_effort=False)
    assert_complete(root)


def test_runs_that_a_race_opened_twice_become_one(root):
    store = client(root)
    experiment = tracking._experiment(store, root)
    for _ in range(3):
        store.create_run(experiment, tags={"fit_key": KEY["unet"], "method": "unet"})
    tracking.publish("unet", root=root, best_effort=False)
    assert_complete(root)


def test_a_deleted_database_is_made_again_by_sync(bare_root):
    """From no store at all, by two processes at once: the migration and the opening of runs are what could race."""
    command = [sys.executable, "-m", "pipeline.tracking", "sync"]
    options = {"cwd": bare_root, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, stderr=subprocess.STDOUT, **options) for _ in range(2)]
    answers = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    outcomes = {line.partition(": ")[2] for answer in answers for line in answer.splitlines()}
    assert outcomes <= {"published", "complete"}, answers
    assert_complete(bare_root)
    assert_complete(bare_root, "majority_class")
    assert tracking.sync(bare_root) == {"majority_class": "complete", "unet": "complete"}


def test_sync_leaves_alone_what_is_not_finished_or_not_consistent(root):
    (root / "runs/majority_class/metrics.json").unlink()
    lock = {
        "train@unet": {"cmd": "-", "outs": [{"path": "runs/unet/model", "md5": "new.dir"}]},
        "evaluate_network@unet": {"cmd": "-", "deps": [{"path": "runs/unet/model", "md5": "old.dir"}]},
    }
    write(root / "dvc.lock", {"schema": "2.0", "stages": lock})
    outcome = tracking.sync(root)
    assert outcome["majority_class"].endswith("metrics.json: no such file; run dvc repro")
    assert outcome["unet"] == "waiting: runs/unet/model changed after runs/unet was scored; run dvc repro"
    assert not runs(root, "unet")
    lock["evaluate_network@unet"]["deps"][0]["md5"] = "new.dir"
    write(root / "dvc.lock", {"schema": "2.0", "stages": lock})
    assert tracking.sync(root)["unet"] == "published"


def test_switched_off_it_records_nothing(bare_root, monkeypatch):
    monkeypatch.setenv("PIPELINE_TRACKING", "off")
    with tracking.live(MODEL, root=bare_root) as tracker:
        tracker.log(step=1, metrics=HISTORY[1])
    assert tracking.publish("unet", root=bare_root) is False
    assert tracking.sync(bare_root) == {}
    assert not list(bare_root.glob("mlflow.db*"))


@pytest.fixture
def nobody_answers(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{probe.getsockname()[1]}")
        yield  # bound and not listening: nobody else gets the port, and no connection succeeds


def test_no_server_costs_a_training_one_warning_and_little_time(root, nobody_answers, capsys):
    start_s = time.monotonic()
    with tracking.live(MODEL, root=root) as tracker:
        for epoch, row in HISTORY.items():
            tracker.log(step=epoch, metrics=row)
    assert not tracking.publish("unet", root=root)
    assert time.monotonic() - start_s < 30
    [first, second] = capsys.readouterr().err.splitlines()
    assert first.startswith("tracking: unet: ") and first.endswith("Training goes on; evaluate sends the curves")
    assert second.endswith("Nothing is lost; `python -m pipeline.tracking sync` sends it")
    assert set(tracking.sync(root)) == {"majority_class", "unet"}


def test_without_best_effort_a_fault_is_raised(root):
    (root / "runs/unet/metrics.json").unlink()
    with pytest.raises(ValueError, match=r"runs/unet/metrics.json: no such file; run dvc repro"):
        tracking.publish("unet", root=root, best_effort=False)


def test_training_goes_on_without_mlflow(root, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    with tracking.live(MODEL, root=root) as tracker:
        tracker.log(step=1, metrics=HISTORY[1])
    assert capsys.readouterr().err.count("\n") == 1


def test_a_server_that_stops_in_the_middle_loses_nothing(root, monkeypatch, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    server = start_server(root, port)
    try:
        with tracking.live(MODEL, root=root) as tracker:
            tracker.log(step=1, metrics=HISTORY[1])
            stop_server(server)
            tracker.log(step=2, metrics=HISTORY[2])
            start_s = time.monotonic()
            tracker.log(step=3, metrics=HISTORY[3])
            assert time.monotonic() - start_s < 0.1, "after the first fault no time is lost"
        assert not tracking.publish("unet", root=root)
        assert all(outcome.startswith("failed: ") for outcome in tracking.sync(root).values())
        assert len(capsys.readouterr().err.splitlines()) == 2
        server = start_server(root, port)
        assert tracking.sync(root) == {"majority_class": "published", "unet": "published"}
        assert_complete(root)
    finally:
        stop_server(server)


def stop_server(server: subprocess.Popen) -> None:
    """Kill it, and the process that does its work."""
    if server.poll() is None:
        for process in [*psutil.Process(server.pid).children(recursive=True), server]:
            process.kill()
    server.wait()


def start_server(root: Path, port: int) -> subprocess.Popen:
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{root}/mlflow.db",
    ]
    command = [sys.executable, "-m", "mlflow", "server", *options, "--artifacts-destination", str(root / "served")]
    with (root / "server.log").open("a") as log:
        server = subprocess.Popen(parent_death.tied(command), cwd=root, stdout=log, stderr=log)
    wait_for(f"http://127.0.0.1:{port}/health", root / "server.log")
    return server


def wait_for(address: str, log: Path) -> None:
    end_s = time.monotonic() + 120
    while time.monotonic() < end_s:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(log.read_text())


def test_a_published_model_predicts_without_the_repository(root, tmp_path_factory):
    tracking.publish("majority_class", root=root, best_effort=False)
    [model] = models(root, assert_complete(root, "majority_class"))
    script = (
        "import sys, mlflow, numpy as np\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "labels = model.predict(np.zeros((2, 4, 6, 3), np.uint8))\n"
        "assert labels.shape == (2, 4, 6) and labels.dtype == np.uint8 and (labels == 1).all(), labels\n"
        "inner = model.unwrap_python_model()\n"
        "assert (inner.predict(None, np.full((1, 4, 6, 3), 254.6)) == 1).all()\n"
        "for wrong, message in ((np.zeros((4, 6, 3)), 'wanted (N, H, W, 3)'), (np.full((1, 4, 6, 3), 300), 'wanted 0..255')):\n"
        "    try: inner.predict(None, wrong)\n"
        "    except ValueError as error: assert message in str(error), error\n"
        "    else: raise AssertionError(message)\n"
        "import pipeline; assert 'artifacts' in pipeline.__file__, pipeline.__file__\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script, model],
        cwd=tmp_path_factory.mktemp("elsewhere"), env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_page_shows_runs_and_their_pictures(root):
    tracking.publish("unet", root=root, best_effort=False)
    run = assert_complete(root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.tracking", "ui", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (root / "ui.log").open("w") as log:
        page = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", root / "ui.log")
        address = f"http://127.0.0.1:{port}/get-artifact?path=samples/0001.png&run_uuid={run.info.run_id}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.read() == (root / "runs/unet/samples/0001.png").read_bytes()
    finally:
        stop_server(page)
