"""What each edit makes `dvc repro` run again: exactly that, and nothing else."""

import re
import shutil

import cv2
import numpy as np
import pytest

from tests.project import Project, small_params

METHODS = ("classical@kmeans", "train@fcn_plain", "train@unet")
SCORES = ("evaluate_classical@kmeans", "evaluate_network@fcn_plain", "evaluate_network@unet")
ALL = {"download", "convert", "augment", *METHODS, *SCORES, "report"}


def write_own_data(folder):
    """12 pictures of a light square on a dark ground, with index masks."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(12):
        mask = np.zeros((48, 64), np.uint8)
        y, x = rng.integers(0, 28), rng.integers(0, 44)
        mask[y : y + 20, x : x + 20] = 1
        image = (60 + 120 * mask[..., None] + rng.integers(0, 40, (48, 64, 3))).astype(np.uint8)
        cv2.imwrite(str(folder / f"images/{index:02d}.png"), image)
        cv2.imwrite(str(folder / f"masks/{index:02d}.png"), mask)


def own_data_params(source) -> dict:
    params = small_params()
    params["dataset"] |= {
        "reader": "folder",
        "source": source,
        "options": {"classes": ["ground", "square"]},
        "splits": {"train": 0.5, "val": 0.25, "test": 0.25},
    }
    params["classical"] = {"kmeans": params["classical"]["kmeans"]}
    for network in params["networks"].values():
        network["fit"]["epochs"] = 1
    return params


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staleness")
    write_own_data(folder / "own")
    project = Project(folder / "project", own_data_params("../own"))
    assert project.repro() == ALL
    return project


def edit_params(change):
    def edit(project):
        params = project.params()
        change(params)
        project.write_params(params)

    return edit


def edit_mask(project):
    path = project.folder.parent / "own/masks/03.png"
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    mask[:8] = 1
    cv2.imwrite(str(path), mask)


def append(name):
    def edit(project):
        path = project.folder / name
        path.write_text(path.read_text() + "\n# a remark\n")

    return edit


def new_network_in_a_new_file(project):
    """What "add a method" costs: one file, one line in the table, one entry in params.yaml."""
    models = project.folder / "pipeline/models"
    text = (models / "fcn_plain.py").read_text().replace("FCNPlain", "Another")
    (models / "another.py").write_text(text)
    table = models / "__init__.py"
    table.write_text(
        table.read_text().replace("NETWORKS = {", 'NETWORKS = {\n    "another": "pipeline.models.another:Another",')
    )
    params = project.params()
    params["networks"]["another"] = params["networks"]["fcn_plain"] | {
        "fit": params["networks"]["fcn_plain"]["fit"] | {"model": "another"}
    }
    project.write_params(params)


EDITS = [
    ("nothing", lambda project: None, set()),
    ("README.md", append("README.md"), set()),
    (
        "a fit option of one network",
        edit_params(lambda p: p["networks"]["unet"]["fit"]["optimizer"].update(learning_rate=0.02)),
        {"train@unet", "evaluate_network@unet", "report"},
    ),
    (
        "a prediction option of one network",
        edit_params(lambda p: p["networks"]["unet"]["predict"].update(flip=True)),
        {"evaluate_network@unet", "report"},
    ),
    (
        "an option of a classical method",
        edit_params(lambda p: p["classical"]["kmeans"]["fit"]["options"].update(clusters=5)),
        {"classical@kmeans", "evaluate_classical@kmeans", "report"},
    ),
    ("one network's file", append("pipeline/models/unet.py"), {"train@unet", "evaluate_network@unet", "report"}),
    (
        "a new network in a new file",
        new_network_in_a_new_file,
        {"train@another", "evaluate_network@another", "report"},
    ),
    ("a method removed", edit_params(lambda p: p["networks"].pop("another")), {"report"}),
    # what it fits and scores comes out the same, byte for byte, but for the identity of each fit: the code has changed
    ("a shared file", append("pipeline/structures.py"), ALL - {"download"}),
    ("a mask in the own folder", edit_mask, ALL),
]


def test_only_what_must_rerun_reruns(project):
    """One walk through the table: every edit stands on the ones before it."""
    wrong = []
    for name, edit, expected in EDITS:
        edit(project)
        ran = project.repro()
        if ran != expected:
            wrong.append(f"{name}: ran {sorted(ran - expected)} too much and {sorted(expected - ran)} too little")
    assert wrong == []
    assert project.is_clean()


def test_a_fault_in_the_data_stops_the_line_and_is_tabled(project, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(project.folder.parent / "own", bad)
    cv2.imwrite(str(bad / "masks/01.png"), np.full((48, 64), 7, np.uint8))
    (bad / "images/02.png").write_bytes(b"")
    params = project.params()
    params["dataset"]["source"] = str(bad)
    before = project.params()
    project.write_params(params)
    failed = project.run("dvc", "repro", "convert", check=False)
    project.write_params(before)
    said = failed.stdout + failed.stderr
    assert failed.returncode and "Traceback" not in said
    assert re.search(r"masks/01\.png.*label 7", said) and "images/02.png" in said
    table = (project.folder / "data/dataset/gate.csv").read_text()
    assert "label_outside" in table and "zero_byte" in table


def test_the_gate_alone_reads_any_source(project):
    shutil.copytree(project.folder.parent / "own", project.folder / "own")
    project.shell("python -m pipeline.gate own --reader folder --set 'classes=[background, object]'")
    assert (project.folder / "gate.csv").read_text().startswith("level,rule,file")
