"""Data under version control as README describes it: imported, pushed, pulled, brought up to date and turned back."""

import copy
import json
import subprocess

import cv2
import numpy as np
import pytest

from tests.archives import MEMBERS, zipped
from tests.project import SMALL_NETWORKS, Project, small_params
from tests.s3_server import serve_s3

CLASSICAL = {"classical@majority_class", "evaluate_classical@majority_class"}
ALL = {"download", "convert", "augment", *CLASSICAL, "report"}


def add_photos(folder, split, *, first, count):
    """Pictures of a light square on a dark ground, with index masks, in an official split."""
    for index in range(first, first + count):
        rng = np.random.default_rng(index)
        mask = np.zeros((48, 64), np.uint8)
        y, x = rng.integers(0, 28), rng.integers(0, 44)
        mask[y : y + 20, x : x + 20] = 1
        image = (60 + 120 * mask[..., None] + rng.integers(0, 40, (48, 64, 3))).astype(np.uint8)
        for kind, pixels in (("images", image), ("masks", mask)):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / split / f"{index:02d}.png"), pixels)


def params_for(source):
    params = small_params()
    params["dataset"] |= {"reader": "folder", "source": source, "options": {"classes": ["ground", "square"]}}
    params["classical"] = {"majority_class": params["classical"]["majority_class"]}
    params["networks"] = {}
    return params


def git_author(project):
    project.environment |= {f"GIT_{who}_{what}": "a@b.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def clone(project, folder):
    """A colleague's copy: what git has, and nothing else."""
    subprocess.run(["git", "clone", "-q", project.folder, folder], check=True)
    other = copy.copy(project)
    other.folder, other.environment = folder, {**project.environment, "PYTHONPATH": str(folder)}
    return other


def pretend_to_have_trained(project, name):
    """A network with outputs that DVC takes for those of a training: it looks at hashes only, and training takes longer."""
    params = project.params()
    params["networks"] = {name: SMALL_NETWORKS[name]}
    project.write_params(params)
    model = project.folder / "runs" / name / "model"
    model.mkdir(parents=True)
    for file in (model / "model.json", model.parent / "history.csv", model.parent / "fit_cost.json"):
        file.write_text("{}")
    project.shell(f"dvc commit --force train@{name}")


def stale(project):
    """The stages that DVC would run, the ones behind them not counted."""
    return set(json.loads(project.run("dvc", "status", "--json").stdout))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Photos outside the repository, imported into it; everything made once and committed."""
    folder = tmp_path_factory.mktemp("versions")
    for first, (split, count) in enumerate({"train": 6, "val": 3, "test": 3}.items()):
        add_photos(folder / "photos", split, first=10 * first, count=count)
    project = Project(folder / "project", params_for("own"))
    git_author(project)
    project.shell("dvc import-url ../photos own")
    assert project.repro() == ALL
    project.shell("git add own.dvc .gitignore dvc.lock && git commit -m 'Data and results'")
    assert project.shell("git status --porcelain") == ""
    return project


def assert_a_clone_has_everything(project, name):
    """Clone, pull: then `dvc repro` has nothing to do, though the place that the data came from is not there."""
    other = clone(project, project.folder.parent / name)
    assert "DVC tracks it (own.dvc): dvc pull" in other.run("python", "-m", "pipeline.check", check=False).stderr
    photos = project.folder.parent / "photos"
    photos = photos.rename(photos.with_name("moved"))
    try:
        other.shell("dvc pull")
        said = other.shell("dvc repro")
        assert "Running" not in said and "Importing" not in said and "up to date" in said
    finally:
        photos.rename(photos.with_name("photos"))
    assert (other.folder / "report/index.html").read_bytes() == (project.folder / "report/index.html").read_bytes()
    assert len(list((other.folder / "own/images").rglob("*.png"))) == 12


def test_push_clone_pull_and_nothing_is_left_to_do(project):
    project.shell("dvc remote add -d store ../store")
    project.shell("dvc push")
    project.shell("git commit -am 'Where the data is kept'")
    assert_a_clone_has_everything(project, "clone")


@pytest.mark.slow
def test_the_same_through_s3(project):
    with serve_s3() as bucket:
        project.environment |= bucket.environment
        project.shell("dvc remote add -d store s3://bucket/segmentation --force")
        project.shell("dvc push")
        project.shell("git commit -am 'Keep the data in S3'")
        assert_a_clone_has_everything(project, "clone_of_s3")


def test_ten_more_images_rerun_what_they_must_and_there_is_a_way_back(project):
    """They are test images, so no network is trained again; the former version of the data and its results run nothing."""
    pretend_to_have_trained(project, "fcn_plain")
    add_photos(project.folder.parent / "photos", "test", first=40, count=10)
    assert stale(project) == {"evaluate_network@fcn_plain", "report"}  # for the new network; an import stays at its version
    project.shell("dvc update own.dvc")
    assert project.repro("augment") == {"download", "convert", "augment"}
    assert stale(project) == {*CLASSICAL, "evaluate_network@fcn_plain", "report"}
    project.shell("git checkout params.yaml")
    project.shell("git checkout own.dvc dvc.lock && dvc checkout")
    assert len(list((project.folder / "own/images").rglob("*.png"))) == 12
    assert project.repro() == set()


@pytest.mark.slow
def test_import_from_a_registry_of_data(project):
    """Another repository that versions the data for several projects."""
    registry = copy.copy(project)
    registry.folder = project.folder.parent / "registry"
    add_photos(registry.folder / "photos", "train", first=0, count=4)
    for command in ("git init -q", "dvc init -q", "dvc add photos", "git add -A", "git commit -qm 'Photos'"):
        registry.shell(command)
    project.shell("dvc remove own.dvc --outs")
    project.shell("dvc import ../registry photos -o own")
    assert project.repro("download") == {"download"}
    assert len(list((project.folder / "data/raw/images").rglob("*.png"))) == 4
    add_photos(registry.folder / "photos", "val", first=10, count=2)
    for command in ("dvc add photos", "git commit -qam 'More photos'"):
        registry.shell(command)
    project.shell("dvc update own.dvc")
    assert project.repro("download") == {"download"} and project.repro("download") == set()
    assert len(list((project.folder / "data/raw/images").rglob("*.png"))) == 6


@pytest.mark.slow
def test_sources_in_s3(project):
    """A folder there, an archive there, and a folder there that DVC imports and that stays at its version."""
    photos = project.folder.parent / "photos_of_s3"
    add_photos(photos, "train", first=0, count=4)
    with serve_s3() as bucket:
        project.environment |= bucket.environment
        bucket.put_folder(photos, "photos")
        project.write_params(params_for("s3://bucket/photos"))
        assert project.repro("download") == {"download"} and project.repro("download") == set()
        assert json.loads((project.folder / "data/raw/source.json").read_text())["source"] == "s3://bucket/photos"
        assert len(list((project.folder / "data/raw/images").rglob("*.png"))) == 4
        bucket.put("photos/images/train/new.png", b"new")
        assert project.repro("download") == {"download"}
        assert (project.folder / "data/raw/images/train/new.png").read_bytes() == b"new"

        bucket.put("a.zip", zipped(photos / "a.zip", MEMBERS).read_bytes())
        project.write_params(params_for("s3://bucket/a.zip"))
        assert project.repro("download") == {"download"}
        assert (project.folder / "data/raw/top/images/ä.png").is_file()

        project.shell("dvc import-url s3://bucket/photos photos")
        project.write_params(params_for("photos"))
        assert project.repro("download") == {"download"}
    assert project.repro("download") == set()  # the server is gone and not asked


@pytest.mark.slow
def test_s3_that_refuses_is_explained(project):
    with serve_s3() as bucket:
        project.environment |= bucket.environment
        for address, message in [
            ("s3://bucket/gone.zip", "s3://bucket/gone.zip: no such file; check the address"),
            ("s3://other/a.zip", "s3://other/a.zip: no such file; check the address"),
        ]:
            project.write_params(params_for(address))
            failed = project.run("python", "-m", "stages.download", check=False)
            assert failed.returncode == 1 and message in failed.stderr and "Traceback" not in failed.stderr
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            project.environment.pop(name)
        project.environment["AWS_EC2_METADATA_DISABLED"] = "true"
        failed = project.run("python", "-m", "stages.download", check=False)
    assert "s3://other/a.zip: Unable to locate credentials; check the address and your credentials" in failed.stderr
