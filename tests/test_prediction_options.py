"""The predict half of a network's entry: what follows the network, fitted on the validation split."""

import json
from functools import partial

import numpy as np
import pytest
import yaml

from pipeline import arrays, dataset_writer, inference
from pipeline.dataset import Dataset
from pipeline.postprocess import POSTPROCESSES
from pipeline.sources import Record, Source
from stages import evaluate, train
from tests.project import TRAIN, small_params
from tests.tiny import POLICY, SPACE, TinyDataset

OFF = {
    "flip": False,
    "window": None,
    "overlap": 0.5,
    "scales": [1.0],
    "postprocess": [],
    "instances": {"name": "components", "options": {}},
    "painting": None,
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_TRACKING", "off")
    monkeypatch.setitem(POSTPROCESSES, "favour", "tests.fake_postprocess:Favour")
    tiny = TinyDataset(counts={"train": 8, "val": 3, "test": 3})
    records = tuple(
        Record(one, split, one, partial(tiny.sample, split, one)) for split in tiny.counts for one in tiny.ids(split)
    )
    written = dataset_writer.write(
        Source("tiny", SPACE, records), "data/dataset", splits={}, seed=0, rules={}, origin={"files": {}}, workers=1
    )
    arrays.write(written, "data/train", short_side=24, policy=POLICY)
    params = small_params()
    params["networks"] = {"small": {"fit": {"model": "fcn_plain", "options": {"widths": [4, 8]}, **TRAIN}, "predict": {}}}
    params["classical"] = {}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    train.main(["small", "--workers", "0"])
    return tmp_path, params


def method(**predict):
    return inference.load("runs/small/model", predict=predict, device="cpu")


def validation(count):
    dataset = Dataset("data/dataset")
    return [dataset.sample("val", one) for one in dataset.ids("val")[:count]]


def test_postprocesses_follow_the_prediction_in_their_order(project):
    image = validation(1)[0].image
    favour = [{"name": "favour", "options": {"favoured": index, "factor": 1e6}} for index in (1, 2)]
    assert (method(postprocess=favour[:1]).segment(image).labels == 1).all()
    once, both = method(postprocess=favour[:1]).segment(image), method(postprocess=favour).segment(image)
    wanted = once.probabilities * np.array([1, 1, 1e6], np.float32)[:, None, None]
    assert np.allclose(both.probabilities, wanted / wanted.sum(axis=0), atol=1e-6)


def test_what_is_left_open_is_fitted_on_validation_pictures_and_kept(project):
    fitted = method(flip=True, postprocess=["favour", {"name": "favour", "options": {"factor": 2.0}}])
    found = fitted.fit_prediction(validation)
    first, second = fitted.postprocesses
    assert [len(process.seen) for process in (first, second)] == [2, 2]
    sample = validation(1)[0]
    assert np.array_equal(first.seen[0].image, sample.image)
    assert np.array_equal(first.seen[0].labels, sample.truth.semantic(fitted.label_space))
    assert np.array_equal(first.seen[0].prediction.probabilities, method(flip=True).segment(sample.image).probabilities)
    # the second one sees what the first one, already fitted, makes of it
    assert np.array_equal(second.seen[0].prediction.labels, first(sample.image, first.seen[0].prediction).labels)
    entries = [{"name": "favour", "options": {"factor": 1000.0}}, {"name": "favour", "options": {"factor": 2.0}}]
    assert found["options"] == OFF | {"flip": True, "postprocess": entries}
    assert found["search"][1] == {"postprocess": "favour", "factor": 1000.0, "score": 0.5}
    again = method(**json.loads(json.dumps(found["options"])))
    assert np.array_equal(again.segment(sample.image).probabilities, fitted.segment(sample.image).probabilities)


def test_evaluate_writes_what_it_predicted_with(project):
    folder, params = project
    evaluate.main(["small"])
    assert json.loads((folder / "runs/small/predict.json").read_text()) == {
        "options": OFF,
        "search": [],
    }
    params["networks"]["small"]["predict"] = {"postprocess": [{"name": "dense_crf", "options": {"iterations": 2}}]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    evaluate.main(["small"])
    written = json.loads((folder / "runs/small/predict.json").read_text())
    [entry] = written["options"]["postprocess"]
    assert entry["name"] == "dense_crf" and entry["options"]["iterations"] == 2 and len(entry["options"]) > 1
    assert written["search"] and all(row["postprocess"] == "dense_crf" for row in written["search"])


def test_no_validation_pictures_leave_the_defaults(project):
    fitted = method(postprocess=["favour"])
    assert fitted.fit_prediction(lambda count: []) == {
        "options": OFF | {"postprocess": [{"name": "favour", "options": {}}]},
        "search": [],
    }


@pytest.mark.parametrize(
    "entry", [{"options": {}}, {"name": "favour", "weight": 2}, {"name": "favour", "options": None}, {"name": ["favour"]}, 3]
)
def test_an_entry_that_is_no_postprocess_is_refused(entry):
    with pytest.raises(ValueError, match="neither a name nor a mapping with name and options"):
        inference.segment_options(postprocess=[entry])


def test_painting_is_for_networks_that_paint(project):
    with pytest.raises(ValueError, match=r"predict\.painting is for a network that finds .*, and fcn_plain does not"):
        method(painting={})
    with pytest.raises(ValueError, match=r"predict\.painting: 400 is no mapping of options; write \{\}"):
        inference.segment_options(painting=400)


def test_a_name_in_place_of_a_list_is_refused():
    with pytest.raises(ValueError, match=r"predict.postprocess: 'dense_crf' is no list; write \[dense_crf\]"):
        inference.segment_options(postprocess="dense_crf")
