"""Boxes from a fitted run: which objects get one, and annotations of them by GrabCut."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pipeline import annotate, detections
from pipeline.inference import Fitted
from pipeline.models import NETWORKS
from pipeline.structures import InstanceSet, PanopticMap, Segment, SemanticMap
from tests import fakes
from tests.test_segment import red_squares_and_blue_bars, save_network, save_otsu
from tests.tiny import SPACE

SQUARE, BAR = SPACE.names.index("square"), SPACE.names.index("bar")


class Detector(Fitted):
    """Predicts the same for every picture."""

    def __init__(self, prediction):
        super().__init__({"name": "detector", "label_space": SPACE.to_json()}, {})
        self.prediction = prediction

    def segment(self, image, prompt=None):
        return self.prediction


def objects() -> InstanceSet:
    masks = np.zeros((4, 24, 32), bool)
    masks[0, 2:10, 3:9], masks[1, 5:20, 4:30], masks[2, :3, :3] = True, True, True
    return InstanceSet.build(masks, [SQUARE, BAR, BAR, BAR], [0.5, 0.9, 0.4, 0.8])


@pytest.fixture
def images(tmp_path) -> Path:
    for name in ("b.png", "below/a.png"):
        fakes.save(tmp_path / "images" / name, fakes.picture(0))  # 32 x 24 px
    return tmp_path / "images"


def test_objects_of_enough_score_get_a_box_the_highest_first(images):
    found, categories = detections.detect(Detector(objects()), images)
    assert [one.file for one in found] == ["b.png", "below/a.png"]
    for one in found:
        assert one.boxes.tolist() == [[4, 5, 30, 20], [3, 2, 9, 10]]  # none around the empty one
        assert one.labels == ("bar", "square")
        assert one.boxes.dtype == np.float32
    assert categories == [{"id": SQUARE + 1, "name": "square"}, {"id": BAR + 1, "name": "bar"}]
    found, _ = detections.detect(Detector(objects()), images, least_score=0.95)
    assert found[0].boxes.shape == (0, 4) and found[0].labels == ()


def test_any_kind_of_method_detects(images):
    segments = np.zeros((24, 32), np.int32)
    segments[2:10, 3:9], segments[15:] = 1, 2
    panoptic = PanopticMap(segments, (Segment(1, SQUARE, score=0.75), Segment(2, SPACE.names.index("ground"))))
    labels = np.zeros((24, 32), np.uint8)
    for prediction in (panoptic, SemanticMap(labels, divided=panoptic)):
        [found, _], _ = detections.detect(Detector(prediction), images)
        assert found.boxes.tolist() == [[3, 2, 9, 10]] and found.labels == ("square",)
    unsure = PanopticMap(segments, panoptic.info, objects())  # the map has the sure ones alone
    [found, _], _ = detections.detect(Detector(unsure), images, least_score=0.4)
    assert found.boxes.tolist() == [[4, 5, 30, 20], [3, 2, 9, 10], [0, 0, 3, 3]]
    faint = PanopticMap(segments, (Segment(1, SQUARE, score=0.06), Segment(2, SPACE.names.index("ground"))))
    for options, count in (({}, 1), ({"least_score": 0.5}, 0)):  # a share of the picture says nothing of being sure
        [found, _], _ = detections.detect(Detector(SemanticMap(labels, divided=faint)), images, **options)
        assert len(found.labels) == count
    with pytest.raises(ValueError, match="its things are not told apart, and have no boxes"):
        detections.detect(Detector(SemanticMap(labels)), images)


def test_pictures_that_cannot_be_used_are_all_told(images):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(fakes.picture(0)).save(images / "turned.jpg", exif=exif)
    (images / "broken.png").write_bytes(b"no picture")
    (images / "b.jpg").write_bytes(cv2.imencode(".jpg", fakes.picture(0))[1])
    with pytest.raises(ValueError) as error:
        detections.detect(Detector(objects()), images)
    said = str(error.value).replace(f"{images}/", "").splitlines()
    assert [one.split(":")[0] for one in said] == ["broken.png", "turned.jpg", "b.png"]
    assert said[2] == "b.png: its files would be those of b.jpg; rename one"
    with pytest.raises(ValueError, match="no picture in it"):
        detections.detect(Detector(objects()), images.parent / "nowhere")


@pytest.fixture
def scene(tmp_path, monkeypatch) -> np.ndarray:
    """A run that finds what is plainly red or blue, and a picture of a disk with stripes that are neither; the disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETWORKS, "fake", "tests.fake_instance_network:FakeInstanceNetwork")
    save_network(Path("runs/objects"), "fake", weights=red_squares_and_blue_bars)
    y, x = np.mgrid[:96, :120]
    distance = np.hypot(x - 60, y - 45)
    noise = np.random.default_rng(0).integers(0, 25, (96, 120, 3))
    picture = np.where((distance < 20)[..., None], (250, 60, 60), (40, 60, 90)) + noise * [0, 1, 1]
    picture[(distance < 12) & (x % 6 < 2)] = (100, 60, 60)
    fakes.save(Path("photos/disk.png"), picture.astype(np.uint8))
    fakes.save(Path("photos/empty.png"), np.full((96, 120, 3), 60, np.uint8))
    return distance < 20


def test_grabcut_refines_detected_boxes(scene, capsys):
    assert annotate.main(["photos", "--detector", "runs/objects"]) == 0
    assert capsys.readouterr().out == "annotations: 2 pictures, 1 object; no object detected in 1 picture\n"
    written = COCO("annotations/annotations.json")
    assert {one["name"]: one["id"] for one in written.cats.values()} == {"square": 2, "bar": 3}
    assert [one["file_name"] for one in written.imgs.values()] == ["disk.png", "empty.png"]
    [found] = written.anns.values()
    refined = written.annToMask(found).astype(bool)
    assert found["category_id"] == 2 and iou(refined, scene) > 0.97
    assert annotate.main(["photos", "--detector", "runs/objects", "--method", "runs/objects", "--out", "own"]) == 0
    own = COCO("own/annotations.json")
    assert iou(own.annToMask(own.anns[1]).astype(bool), scene) < 0.93  # the stripes
    assert json.loads(Path("annotations/empty.json").read_text())["shapes"] == []
    assert json.loads(Path("annotations/disk.json").read_text())["shapes"][0]["label"] == "square"


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def test_careless_calls(scene, capsys):
    def fails(*given: str) -> str:
        assert annotate.main(["photos", *given]) == 1
        return capsys.readouterr().err

    assert "--detector runs/none: is not the folder of a fitted run" in fails("--detector", "runs/none")
    assert "--score 1.5: wanted a number from 0 to 1" in fails("--detector", "runs/objects", "--score", "1.5")
    assert "--score nan: wanted" in fails("--detector", "runs/objects", "--score", "nan")
    assert "boxes from a file have none" in fails("--boxes", "boxes.json", "--score", "0.5")
    for given in ([], ["--boxes", "b.json", "--detector", "runs/objects"]):
        with pytest.raises(SystemExit):
            annotate.main(["photos", *given])
    capsys.readouterr()
    assert not Path("annotations").exists()
    assert annotate.main(["photos", "--detector", "runs/objects", "--score", "1"]) == 0
    assert "0 objects; no object detected in 2 pictures" in capsys.readouterr().out


def test_a_semantic_run_detects_the_parts_of_its_things(scene, capsys):
    save_otsu(Path("runs/light"))
    assert annotate.main(["photos", "--detector", "runs/light", "--score", "0", "--out", "parts"]) == 0
    assert "2 pictures, " in capsys.readouterr().out
    assert {one["category_id"] for one in json.loads(Path("parts/annotations.json").read_text())["annotations"]} == {BAR + 1}
