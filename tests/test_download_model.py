"""A model comes back from MLflow as the folder that it was published from, and segments a user's picture."""

import filecmp

import numpy as np
import pytest

from pipeline import run_store, segment, tracking
from tests import fakes
from tests.test_tracking import bare_root, client, empty_store, root, runs  # noqa: F401  fixtures


@pytest.fixture
def published(root, monkeypatch):  # noqa: F811
    """The addresses of one model, in a store where it has a name and an alias."""
    monkeypatch.chdir(root)
    assert tracking.publish("majority_class", best_effort=False)
    [run] = runs(root, "majority_class")
    store = client(root)
    [model] = store.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    store.create_registered_model("floor")
    store.create_model_version("floor", model.artifact_location, model_id=model.model_id)
    store.set_registered_model_alias("floor", "best", "1")
    return ["models:/floor@best", "models:/floor/1", f"models:/{model.model_id}", f"runs:/{run.info.run_id}/model"]


def test_every_address_gives_the_published_folder(published, tmp_path_factory):
    for address in published:
        folder = tracking.download_model(address, tmp_path_factory.mktemp("into"))
        assert not filecmp.dircmp(folder, "runs/majority_class/model").diff_files
        assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]
        assert (folder.parent / "predict.json").read_text().strip() == "{}"


def test_a_picture_is_segmented(published, capsys, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", run_store.address(tmp_path))
    picture = fakes.save(tmp_path / "x.png", np.zeros((2, 3, 3), np.uint8))
    assert segment.main([published[0], str(picture)]) == 0
    assert f"{picture}: 3 x 2 px: ■ road 100.0 %" in capsys.readouterr().out


def test_what_is_not_there(published, tmp_path, tmp_path_factory):
    for address, message in {
        "models:/floor@worst": "alias worst not found",
        "models:/roof/1": "name=roof not found",
        "runs:/0123/model": "id=0123 not found",
    }.items():
        with pytest.raises(ValueError, match=f"^{address}: .*{message}"):
            tracking.download_model(address, tmp_path_factory.mktemp("into"))
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ValueError, match=r"no store at .*; go to the folder of the runs, or set MLFLOW_TRACKING_URI"):
        tracking.download_model(published[0], empty, root=empty)
    assert list(empty.iterdir()) == []
    next(tmp_path.glob("mlartifacts/**/artifacts/model/model.json")).unlink()
    with pytest.raises(ValueError, match="no model that this pipeline has published"):
        tracking.download_model(published[0], tmp_path_factory.mktemp("into"))
