"""What is kept of a pictured sample: the layers, and photo, truth and prediction beside each other."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline import drawing, lettering, sample_pictures
from pipeline.sample_pictures import GAP_PX, TEXT_PX
from pipeline.structures import InstanceSet, SemanticMap
from tests.fake_runs import LABELS, make_sample


@pytest.fixture
def sample():
    return make_sample(0, height=48, width=64)


def kept(folder, name="image000"):
    files = folder / f"{name}.png", folder / "truth" / f"{name}.png", folder / "beside_truth" / f"{name}.jpg"
    return [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files]


def test_every_kind_beside_its_truth(sample, tmp_path):
    labels = sample.truth.semantic(LABELS)
    width, height = 720, 540
    for kind, prediction in {
        "classes": SemanticMap(np.zeros_like(labels)),
        "objects": InstanceSet.empty(48, 64),
        "both": sample.truth,
    }.items():
        sample_pictures.write(tmp_path / kind, sample, prediction, LABELS)
        layer, truth, sheet = kept(tmp_path / kind)
        assert sheet.shape[1] == 3 * width + 2 * GAP_PX and sheet.shape[0] >= height + TEXT_PX
        assert layer.shape == truth.shape == ((48, 64, 3) if kind == "classes" else (height, width, 4))
    layer, truth, _ = kept(tmp_path / "classes")
    assert np.array_equal(truth[..., ::-1], LABELS.paint(labels)) and (layer[..., ::-1] == LABELS.colours[0]).all()
    layer, truth, _ = kept(tmp_path / "objects")
    assert not layer.any() and truth[..., 3].any()


def test_panels_and_a_legend_of_what_has_no_name(sample, tmp_path):
    prediction = sample.truth
    sample_pictures.write(tmp_path, sample, prediction, LABELS)
    _, _, sheet = kept(tmp_path)
    head = lettering.size("", TEXT_PX)[1] + GAP_PX
    photo = sheet[head : head + 540, :720]
    assert np.abs(photo - cv2.resize(sample.image, (720, 540))[..., ::-1].astype(float)).mean() < 6
    chip = sheet[head + 540 + GAP_PX + 8, 8]  # of sky, the first class of stuff
    assert np.abs(chip - np.array(LABELS.colours[0])[::-1].astype(float)).max() < 12
    assert list(sample_pictures._legend(prediction, prediction, LABELS)) == ["sky", "ground"]
    objects = prediction.instances(LABELS)
    assert sample_pictures._legend(objects, objects, LABELS) == {}  # each has its name beside it
    classes = SemanticMap(prediction.semantic(LABELS))
    assert list(sample_pictures._legend(classes, classes, LABELS)) == [*LABELS.names, sample_pictures.VOID]


def test_titles_say_how_many_objects_and_fit(sample, monkeypatch, tmp_path):
    titles = []
    monkeypatch.setattr(
        sample_pictures, "beside", lambda panels, given, legend: titles.extend(given) or np.zeros((4, 4, 3), np.uint8)
    )
    masks = np.ones((3, 48, 64), bool)
    sample_pictures.write(tmp_path, sample, InstanceSet.build(masks, [2, 2, 3], [0.9, 0.1, 0.2]), LABELS)
    assert titles == ["image000", "truth: 2 objects", "prediction: 1 object, 2 with lower scores not drawn"]
    monkeypatch.undo()
    long = replace(sample, id="a" * 90)
    sample_pictures.write(tmp_path, long, drawing.truth_like(long.truth, long, LABELS), LABELS)
    assert kept(tmp_path, long.id)[2].shape[1] == 3 * 720 + 2 * GAP_PX
