"""The real CamVid archive through the line: the floors are known to three digits, which checks reading, counting and scale."""

import csv
import json

import pytest
import yaml

from tests.project import ROOT, Project

ARCHIVE = ROOT.parent / "shared/data/CamVid.zip"
pytestmark = pytest.mark.skipif(
    not ARCHIVE.is_file(), reason="the CamVid archive is not beside this checkout: ../shared/data/CamVid.zip"
)


@pytest.fixture(scope="module")
def preset():
    params = yaml.safe_load((ROOT / "presets/camvid.yaml").read_text())
    params["dataset"]["source"] = str(ARCHIVE.resolve())
    return params


@pytest.fixture(scope="module")
def floors(preset, tmp_path_factory):
    kept = {name: preset["classical"][name] for name in ("majority_class", "spatial_prior")}
    project = Project(tmp_path_factory.mktemp("camvid") / "project", preset | {"classical": kept, "networks": {}})
    project.repro()
    return project


def test_the_floors_come_out_as_published_counting_has_them(floors):
    scores = {
        name: json.loads((floors.folder / f"runs/{name}/metrics.json").read_text())["miou"]
        for name in ("majority_class", "spatial_prior")
    }
    assert {name: round(score, 3) for name, score in scores.items()} == {"majority_class": 0.024, "spatial_prior": 0.170}


def test_the_split_is_the_official_one_and_groups_are_sequences(floors):
    rows = list(csv.DictReader((floors.folder / "runs/spatial_prior/per_group.csv").read_text().splitlines()))
    assert {row["group"]: int(row["images"]) for row in rows} == {"0001TP": 62, "Seq05VD": 171}
    described = json.loads((floors.folder / "data/dataset/dataset.json").read_text())
    assert {split: len(ids) for split, ids in described["groups"].items()} == {"train": 367, "val": 101, "test": 233}


def test_a_comparison_without_networks_has_a_report(floors):
    assert "spatial_prior" in (floors.folder / "report/index.html").read_text()
    assert floors.is_clean()


@pytest.mark.slow
def test_the_preset_as_it_stands(preset, tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("camvid") / "project", preset)
    project.repro()
    scores = {
        name: json.loads((project.folder / f"runs/{name}/metrics.json").read_text())["miou"] for name in preset["networks"]
    }
    assert scores["unet_encoder"] >= 0.56
    assert scores["unet"] >= 2 * 0.170
    cost = json.loads((project.folder / "runs/unet_encoder/fit_cost.json").read_text())
    assert cost["fit_seconds"] > 0
