"""`dvc repro` and everything under it is killed at random moments; what comes out in the end is the same, byte for byte."""

import os
import random
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from pipeline.provenance import file_hash
from tests.project import Project, small_params

KILLS = 20
OUTPUTS = ("model/weights.safetensors", "model/model.json", "history.csv")


def hashes(project) -> dict[str, str]:
    return {name: file_hash(project.folder / "runs/unet" / name) for name in OUTPUTS}


def start(project) -> subprocess.Popen:
    return subprocess.Popen(
        ["dvc", "repro", "-s", "train@unet"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to dvc and all that it started."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in family:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    params = small_params()
    params["networks"]["unet"]["fit"] |= {"epochs": 12, "options": {"width": 4, "depth": 2, "dropout": 0.5}}
    project = Project(tmp_path_factory.mktemp("kill") / "project", params)
    project.repro("augment")
    shutil.copy(project.folder / "dvc.lock", project.folder / "before.lock")
    return project


def forget(project) -> None:
    """As before the first training: no output, no checkpoint, nothing in DVC's memory of runs."""
    for name in ("runs", "checkpoints", ".dvc/cache/runs"):
        shutil.rmtree(project.folder / name, ignore_errors=True)
    shutil.copy(project.folder / "before.lock", project.folder / "dvc.lock")


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(project):
    forget(project)
    started_at_s = time.monotonic()
    project.run("dvc", "repro", "-s", "train@unet")
    whole_s = time.monotonic() - started_at_s
    expected = hashes(project)
    resumed, rng = 0, random.Random(0)
    for number in range(KILLS):
        forget(project)
        running = start(project)
        if number % 4 == 0:  # after the training's end, before DVC has committed its outputs
            while not (project.folder / "runs/unet/history.csv").exists() and running.poll() is None:
                time.sleep(0.002)
        else:
            time.sleep(rng.uniform(0.3, 1.0) * whole_s)
        if running.poll() is None:
            kill(running)
        states = list((project.folder / "checkpoints/unet").glob("*/last.pt"))
        said = project.run("dvc", "repro", "-s", "train@unet")
        resumed += bool(states) and "checkpoint" in said.stdout + said.stderr
        assert hashes(project) == expected, f"kill {number}"
    assert resumed >= KILLS // 4  # the moments were not all before the first checkpoint
    assert not [one for one in psutil.process_iter(["cmdline"]) if "stages.train" in " ".join(one.info["cmdline"] or [])]
