"""The whole line as a user runs it: `make`, DVC's commands, MLflow, the flow; and every command of the README."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from tests.project import RAN, ROOT, Project, small_params

METHODS = ("majority_class", "kmeans", "fcn_plain", "unet")
# commands of the README that other tests run, or that are the whole default job
ELSEWHERE = {
    "make": "`make compare` here, on little data; `make environment` made what runs this",
    "make ui": "the last but one test here, on a free port",
    "dvc repro": "`make compare` here, and test_staleness.py",
    "source .venv/bin/activate": "the environment of every command here",
    "make test": "calls this test",
    "make test-slow": "the slow part of the tests",
    "make lint": ".ci/run calls it",
    "cp presets/camvid.yaml params.yaml && dvc repro": "test_camvid_line.py, and test_config.py for the preset",
    "python -m stages.train unet --find-lr": "test_rate_finder.py",
    "torchrun --nproc-per-node 2 -m stages.train unet": "test_processes.py",
    "cp presets/camvid_networks.yaml params.yaml && dvc repro": "test_models.py runs each network; training takes hours",
    "python -m pipeline.export runs/unet_encoder": "test_export.py",
    "python -m pipeline.models": "test_models_table.py",
    "python -m pipeline.models unet --set width=16": "test_models_table.py",
    "python -m pipeline.models segnet --params presets/camvid_networks.yaml": "test_models_table.py",
    "python -m pipeline.segment kmeans photo.jpg --out mask.png --overlay overlay.png --set clusters=5": "test_segment.py",
    "python -m pipeline.segment grabcut photo.jpg --box 120,40,380,620": "test_segment.py",
    "python -m pipeline.segment runs/unet_encoder own/images": "test_segment.py",
    "python -m pipeline.annotate own/images --boxes boxes.json --method grabcut --out own/annotations --simplify 1": (
        "test_annotate.py"
    ),
    "cp presets/penn_fudan_instances.yaml params.yaml && dvc repro": "test_models.py, and test_penn_fudan.py for the reader",
    "cp presets/shapes_panoptic.yaml params.yaml && dvc repro": "test_models.py, and test_every_kind.py for the fusion",
    "python -m pipeline.segment runs/mask_rcnn own/images --coco predictions --coco-ids truth.json": "test_coco_predictions.py",
    "labelme own/images --output own/annotations": "another program; test_labelme.py reads what it writes",
    "cp presets/labelme.yaml params.yaml && dvc repro": "test_labelme.py, and test_config.py for the preset",
    "python -m pipeline.gate own.zip --reader cvat_images_xml --page gate.html": "test_gate.py, test_cvat_images_xml.py",
    "python -m pipeline.gate own --reader folder --set 'classes=[background, object]'": "test_data_versions.py",
    "dvc import-url ../photos own": "test_data_versions.py",
    "git add own.dvc .gitignore dvc.lock && git commit -m 'Data and results'": "test_data_versions.py",
    "dvc remote add -d store ../store": "test_data_versions.py",
    "dvc push": "test_data_versions.py",
    "dvc pull": "test_data_versions.py",
    "dvc update own.dvc": "test_data_versions.py",
    "git checkout own.dvc dvc.lock && dvc checkout": "test_data_versions.py",
    "dvc remote add -d store s3://bucket/segmentation --force": "test_data_versions.py",
    "dvc import-url s3://bucket/photos photos": "test_data_versions.py",
    "dvc import ../registry photos -o own": "test_data_versions.py",
    "cp presets/folder.yaml params.yaml": "test_staleness.py runs the folder reader, test_config.py checks the preset",
}


def complete_runs(project) -> dict[str, int]:
    """How many runs MLflow's database holds for each method that are finished and published."""
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as database:
        rows = database.execute(
            "select name.value, count(*) from runs"
            " join tags name on name.run_uuid = runs.run_uuid and name.key = 'mlflow.runName'"
            " join tags done on done.run_uuid = runs.run_uuid and done.key = 'published'"
            " where runs.status = 'FINISHED' and runs.lifecycle_stage = 'active' group by name.value"
        ).fetchall()
        total = database.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone()[0]
    assert total == sum(count for _, count in rows), "a run is left incomplete"
    return dict(rows)


ONE_EACH = dict.fromkeys(METHODS, 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("line") / "project", small_params(), tracking=True)
    (project.folder / ".venv").symlink_to(ROOT / ".venv")
    project.first = project.run("make", "compare")
    return project


def test_make_runs_everything_and_ends_with_the_table(project):
    assert len(RAN.findall(project.first.stdout)) == 3 + 2 * len(METHODS) + 1
    tail = project.first.stdout[-3000:]
    assert all(name in tail for name in METHODS) and "report/index.html" in tail


def test_a_second_make_does_nothing_and_says_so(project):
    again = project.run("make", "compare").stdout
    assert RAN.findall(again) == [] and "up to date" in again


def test_the_outputs_hold_what_the_design_says(project):
    for name in METHODS:
        folder = project.folder / "runs" / name
        scores = json.loads((folder / "metrics.json").read_text())
        assert {"miou", "pixel_accuracy", "mean_pixel_accuracy", "mean_dice", "frequency_weighted_iou"} <= set(scores)
        model = json.loads((folder / "model/model.json").read_text())
        assert len(model["fit_key"]) == 64 and model["name"] == name
        assert {"latency_ms", "images_per_s", "under_load"} <= set(json.loads((folder / "cost.json").read_text()))
    history = list(csv.DictReader((project.folder / "runs/unet/history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in history] == ["1", "2"]


def test_the_report_is_self_contained(project):
    page = (project.folder / "report/index.html").read_text()
    assert all(name in page for name in METHODS)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?https?://""", page)


def test_one_complete_run_per_method(project):
    assert complete_runs(project) == ONE_EACH


def test_a_lost_database_is_made_whole_again(project):
    (project.folder / "mlflow.db").unlink()
    shutil.rmtree(project.folder / "mlartifacts")
    project.shell("python -m pipeline.tracking sync")
    assert complete_runs(project) == ONE_EACH


def test_outputs_from_the_run_cache_open_no_second_run(project):
    shutil.rmtree(project.folder / "runs")
    (project.folder / "dvc.lock").unlink()
    assert RAN.findall(project.run("dvc", "repro").stdout) == []
    project.run("python", "-m", "pipeline.tracking", "sync")
    assert complete_runs(project) == ONE_EACH and project.is_clean()


def test_forcing_a_stage_updates_its_run(project):
    project.run("dvc", "repro", "-f", "-s", "evaluate_network@unet")
    project.repro()
    assert complete_runs(project) == ONE_EACH and project.is_clean()


def test_the_flow_runs_the_same_stages_two_at_a_time(project):
    params = project.params()
    for name in ("fcn_plain", "unet"):
        params["networks"][name]["fit"]["optimizer"]["learning_rate"] = 0.02
    project.write_params(params)
    project.shell("make flow")  # two slots
    assert project.is_clean()
    assert complete_runs(project) == ONE_EACH | dict.fromkeys(("fcn_plain", "unet"), 2)  # another fit is another run


def test_experiments_and_differences(project):
    project.commit("First results")
    project.shell("dvc exp run -S 'networks.unet.fit.optimizer.learning_rate=0.003'")
    assert "Experiment" in project.shell("dvc exp show")
    shown = project.shell("dvc exp show --csv")
    assert "networks.unet.fit.optimizer.learning_rate" in shown and "runs/unet/metrics.json:miou" in shown
    assert "0.003" in project.shell("dvc params diff")
    assert "miou" in project.shell("dvc metrics diff")


def test_plots_draw_all_networks_in_one(project):
    project.shell("dvc plots show")
    page = (project.folder / "dvc_plots/index.html").read_text()
    assert all(word in page for word in ("fcn_plain", "unet", "val_miou", "What is taken for what"))


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_the_tracking_page_answers(project):
    port = free_port()
    server = subprocess.Popen(
        ["make", "ui", f"PORT={port}"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    assert b"MLflow" in answer.read()
                    return
            except OSError:
                assert server.poll() is None, "the server ended"
                time.sleep(1)
        pytest.fail("no answer in two minutes")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def readme_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "git clone", "cd "))]


def test_the_check_of_params_answers(project):
    assert "4 methods, no fault" in project.shell("python -m pipeline.check")


def test_every_command_of_the_readme_is_run_by_a_test():
    source = "".join(Path(path).read_text() for path in (ROOT / "tests").glob("test_*.py"))
    missing = [line for line in readme_commands() if line not in ELSEWHERE and f'shell("{line}")' not in source]
    assert missing == []
