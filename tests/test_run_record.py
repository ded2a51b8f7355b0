"""What a run's files say, compared with what a store holds."""

import json
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from pipeline import run_record
from tests.test_layers import FILES, imported

RECORD = run_record.RunRecord(
    folder=Path("runs/unet"),
    model={},
    predict={},
    params={"epochs": "2"},
    points={("val_miou", 1): 0.25, ("val_miou", 2): 0.5},
    scores={"miou": 0.5, "ece": float("nan")},
    tags={},
    model_hash="",
    content_hash="",
)


def test_a_store_that_holds_a_part_is_not_contradicted():
    assert not RECORD.contradicts({}, {})
    assert not RECORD.contradicts({"epochs": "2", "noted_by_hand": "yes"}, {"val_miou": {1: 0.25}})
    assert not RECORD.contradicts({}, {"val_miou": {1: 0.2500001}}), "a CSV file rounds"


@pytest.mark.parametrize(
    ("params", "curves"),
    [
        ({"epochs": "3"}, {}),
        ({}, {"val_miou": {1: 0.26}}),
        ({}, {"val_miou": {3: 0.5}}),  # an epoch that the files do not have
    ],
)
def test_another_param_or_point_contradicts(params, curves):
    assert RECORD.contradicts(params, curves)


def test_only_what_lacks_or_changed_is_sent():
    everything = {("val_miou", 1): 0.25, ("val_miou", 2): 0.5, ("miou", 0): 0.5}
    unsent = RECORD.unsent({}, {})
    assert unsent.pop(("ece", 0)) != unsent.get(("ece", 0)), "not a number is a score too"
    assert unsent == everything
    recorded = {"miou": 0.5, "ece": float("nan")}
    assert RECORD.unsent({"val_miou": {1: 0.25, 2: 0.5}}, recorded) == {}
    assert RECORD.unsent({"val_miou": {1: 0.25}}, recorded | {"miou": 0.4}) == {("val_miou", 2): 0.5, ("miou", 0): 0.5}
    assert replace(RECORD, points={}, scores={}).unsent({}, {}) == {}


MD5_OF_ABC = "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321


def lock_says(root: Path, *, model: str, scored_model: str, flip: bool) -> None:
    stages = {
        "train@unet": {"outs": [{"path": "runs/unet/model", "md5": model}]},
        "evaluate_network@unet": {
            "deps": [
                {"path": "runs/unet/model", "md5": scored_model},
                {"path": "evaluate.py", "md5": "900150983cd24fb0d6963f7d28e17f72"},
            ],
            "params": {"params.yaml": {"networks.unet.predict": {"flip": flip}, "evaluate": {"samples": 2}}},
        },
    }
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))


def test_scores_of_another_fit_or_prediction_are_stale(tmp_path):
    params = {"networks": {"unet": {"predict": {"flip": False}}}, "evaluate": {"samples": 2}}
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    assert run_record.stale("unet", tmp_path) == "", "without dvc.lock nothing is known"
    lock_says(tmp_path, model="1.dir", scored_model="1.dir", flip=False)
    (tmp_path / "evaluate.py").write_text("abc")
    assert run_record.stale("unet", tmp_path) == ""
    assert run_record.stale("otsu", tmp_path) == ""
    lock_says(tmp_path, model="2.dir", scored_model="1.dir", flip=False)
    assert run_record.stale("unet", tmp_path) == "runs/unet/model changed after runs/unet was scored; run dvc repro"
    lock_says(tmp_path, model="1.dir", scored_model="1.dir", flip=True)
    assert run_record.stale("unet", tmp_path) == "networks.unet.predict changed after runs/unet was scored; run dvc repro"
    lock_says(tmp_path, model="1.dir", scored_model="1.dir", flip=False)
    (tmp_path / "evaluate.py").write_text("abcd")
    assert run_record.stale("unet", tmp_path) == "evaluate.py changed after runs/unet was scored; run dvc repro"


def test_requirements_are_exact_and_known_to_an_index():
    required = dict(line.split("==") for line in run_record.requirements())
    assert {"numpy", "torch", "mlflow", "opencv-python-headless"} <= required.keys()
    assert not any("+" in version for version in required.values())


def test_what_methods_import_is_required():
    files = {name for name in FILES if name.split("/")[1] in ("classical", "models", "postprocess", "served_model.py")}
    files -= {"pipeline/models/__main__.py"}  # a table for the terminal
    while more := {name for one in files for name in FILES if module_of(name) in imported(one)} - files:
        files |= more
    required = {line.split("==")[0] for line in run_record.requirements()}
    offered = metadata.packages_distributions()
    libraries = {module.split(".")[0] for name in files for module in imported(name)} - sys.stdlib_module_names - {"pipeline"}
    for library in libraries:
        assert required & {one.lower().replace("_", "-") for one in offered[library]}, library


def module_of(name):
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_what_a_search_found_is_a_param():
    model = {"fit": {"method": "kmeans", "search": {"clusters": [2, 6]}}, "options": {"clusters": 6, "restarts": 1}, "seed": 0}
    assert run_record.fit_params(model) == {
        "method": "kmeans",
        "search.clusters": "[2, 6]",
        "found.clusters": "6",
        "seed": "0",
    }
    assert "found.clusters" not in run_record.fit_params({**model, "fit": {"method": "kmeans", "search": {}}})
