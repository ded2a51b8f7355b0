"""A copy of this project in a folder of its own, with a small params.yaml, driven as a user drives it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
RAN = re.compile(r"^Running stage '(.+)':", re.MULTILINE)
TRAIN = {
    "loss": [{"name": "cross_entropy", "weight": 1.0, "options": {}}],
    "optimizer": {"name": "adamw", "learning_rate": 0.01, "options": {}},
    "schedule": {"name": "poly", "options": {}},
    "epochs": 2,
    "batch_size": 4,
    "early_stop": None,
    "precision": "float32",
    "training": {},
}
OWN = [{"name": "own", "weight": 1.0, "options": {}}]  # of a network that has its losses itself
SMALL_NETWORKS = {
    "fcn_plain": {"fit": {"model": "fcn_plain", "options": {"widths": [4, 8]}, **TRAIN}, "predict": {"flip": False}},
    "unet": {"fit": {"model": "unet", "options": {"width": 4, "depth": 2}, **TRAIN}, "predict": {"flip": False}},
}


def small_params() -> dict:
    """The default params with few and small images, two tiny networks, one floor and one classical method."""
    params = yaml.safe_load((ROOT / "presets/shapes.yaml").read_text())
    params["threads"] = 1
    params["dataset"]["options"] = {"train": 10, "val": 4, "test": 5, "height": 64, "width": 96}
    params["augment"]["short_side"] = 48
    params["classical"] = {name: params["classical"][name] for name in ("majority_class", "kmeans")}
    params["classical"]["kmeans"]["fit"] = {"method": "kmeans", "options": {"clusters": 24}, "search": {}}
    params["networks"] = json.loads(json.dumps(SMALL_NETWORKS))  # nothing shared between the two
    params["evaluate"] = {"samples": 2, "timed_images": 2}
    return params


class Project:
    """A git and DVC repository with our code.

    Parameters
    ----------
    folder : does not exist yet
    tracking : log to MLflow; False saves the seconds that importing it costs each stage
    """

    def __init__(self, folder: Path, params: dict, *, tracking: bool = False):
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "DVC_NO_ANALYTICS": "1",
            "PIPELINE_TRACKING": "on" if tracking else "off",
        }
        for name in ("MLFLOW_TRACKING_URI", "PYTEST_CURRENT_TEST"):
            self.environment.pop(name, None)
        self.write_params(params)
        self.run("git", "init", "-q")
        self.commit("Begin")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run a command in the project; its output as text, an AssertionError with that output where it fails."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def shell(self, line: str) -> str:
        """Run a line as a user types it; what it printed."""
        return self.run("bash", "-c", line).stdout

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", message)

    def repro(self, *arguments: str) -> set[str]:
        """`dvc repro`; which stages it ran."""
        return set(RAN.findall(self.run("dvc", "repro", *arguments).stdout))

    def params(self) -> dict:
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def write_params(self, params: dict) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def is_clean(self) -> bool:
        return "up to date" in self.run("dvc", "status").stdout
