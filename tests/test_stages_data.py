"""The download and convert stages as DVC runs them: processes that write files and explain a user's mistake in red."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.dataset import Dataset
from pipeline.provenance import ROOT
from tests import fakes


@pytest.fixture
def place(tmp_path):
    """A folder with params.yaml and six images in own/."""
    fakes.write_folder(tmp_path / "own", names=[f"p{index}_{part}" for index in range(4) for part in "ab"])
    params = yaml.safe_load((ROOT / "presets" / "folder.yaml").read_text(encoding="utf-8"))
    params["dataset"] |= {"source": "own", "options": {"classes": ["a", "b", "c"], "group_pattern": "^([^_]+)_"}}
    params["dataset"]["splits"] = {"train": 0.5, "val": 0.25, "test": 0.25}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return tmp_path


def stage(name: str, place: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", f"stages.{name}"], cwd=place, env=environment, capture_output=True, text=True)


def test_from_folder_to_data_set(place):
    done = stage("download", place)
    assert (done.returncode, done.stdout) == (0, "data/raw: 16 files of own\n"), done.stderr
    done = stage("convert", place)
    assert done.stdout == "data/dataset: folder, 3 classes, images: 4 train, 2 val, 2 test\n", done.stderr
    assert "gate: folder, 8 images" in done.stderr
    dataset = Dataset(place / "data/dataset")
    assert dataset.origin["reader"] == "folder"
    assert dataset.origin["source"] == "own"
    assert len(dataset.origin["files"]) == 16
    groups = {split: {dataset.group(id) for id in dataset.ids(split)} for split in ("train", "val", "test")}
    assert sum(len(some) for some in groups.values()) == 4  # no group in two splits
    assert str(place) not in "".join(file.read_text() for file in (place / "data").rglob("*.json"))
    before = dataset.sha256
    fakes.save(place / "own/masks/p0_a.png", fakes.index_mask(9))
    for name in ("download", "convert"):
        assert stage(name, place).returncode == 0
    assert Dataset(place / "data/dataset").sha256 != before


def test_mistakes_are_explained_without_traceback(place):
    done = stage("convert", place)
    assert done.returncode == 1
    assert done.stderr == "error: data/raw/source.json: no such file; run the download stage (dvc repro download)\n"
    (place / "own/images/p0_a.jpg").write_bytes(b"")
    (place / "own/masks/p1_a.png").unlink()
    assert stage("download", place).returncode == 0
    done = stage("convert", place)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: folder: 2 errors (1 image_without_mask, 1 zero_byte)" in done.stderr
    with (place / "data/dataset/gate.csv").open(encoding="utf-8") as file:
        errors = [row["file"] for row in csv.DictReader(file) if row["level"] == "error"]
    assert errors == ["images/p1_a.jpg", "images/p0_a.jpg"]
    params = (place / "params.yaml").read_text().replace("source: own", "source: gone.zip")
    (place / "params.yaml").write_text(params)
    done = stage("download", place)
    assert (done.returncode, done.stderr.split(":")[:3]) == (1, ["error", " dataset.source", " gone.zip"])
    assert (place / "data/raw/source.json").is_file()  # a slip in params.yaml destroys nothing


def test_same_input_same_bytes(place):
    outputs = []
    for _ in range(2):
        for name in ("download", "convert"):
            assert stage(name, place).returncode == 0
        files = sorted(file for file in (place / "data").rglob("*") if file.is_file())
        outputs.append({file.relative_to(place).as_posix(): file.read_bytes() for file in files})
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0]["data/raw/source.json"])["source"] == "own"
