"""Predictions in COCO's form: read back by pycocotools, and as panopticapi reads them, they are what was predicted."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline import dataset_writer, segment
from pipeline.coco_predictions import CocoFolder, read_ids
from pipeline.dataset import Dataset
from pipeline.files import write_json
from pipeline.models import NETWORKS
from pipeline.sources import Record, Source
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Segment, SemanticMap
from tests import fakes
from tests.test_every_kind import SPLITS, scene
from tests.test_segment import red_squares_and_blue_bars, save_network
from tests.tiny import SPACE

GROUND, SQUARE, BAR = (SPACE.names.index(name) for name in ("ground", "square", "bar"))


def rgb2id(colour: np.ndarray) -> np.ndarray:
    """As panopticapi.utils does it, on an RGB picture that Pillow read."""
    return colour[..., 0].astype(int) + 256 * colour[..., 1].astype(int) + 256 * 256 * colour[..., 2].astype(int)


def read_panoptic(folder: Path) -> dict:
    """Image id -> (H, W) ids and {id: category id}, by the rules that panopticapi's pq_compute checks."""
    content = json.loads((folder / "panoptic.json").read_text())
    categories, found = {one["id"] for one in content["categories"]}, {}
    for one in content["annotations"]:
        ids = rgb2id(np.array(Image.open(folder / "panoptic" / one["file_name"]), np.uint32))
        listed = {segment["id"]: segment["category_id"] for segment in one["segments_info"]}
        assert set(np.unique(ids).tolist()) - {0} == set(listed) and set(listed.values()) <= categories
        assert all(segment["area"] == (ids == segment["id"]).sum() for segment in one["segments_info"])
        found[one["image_id"]] = ids, listed
    return found


def panoptic() -> PanopticMap:
    """Segments whose ids need all three bytes; one of them has no pixel."""
    segments = np.full((6, 8), 1, np.int32)
    segments[1:4, 1:4], segments[0, 7], segments[5, 0] = 70_000, 300, 0
    info = (Segment(1, GROUND), Segment(70_000, SQUARE, score=0.75), Segment(300, BAR, score=0.5), Segment(9, BAR))
    return PanopticMap(segments, info)


def objects() -> InstanceSet:
    """Two that overlap, one too faint for a panoptic map, one without a pixel."""
    masks = np.zeros((4, 6, 8), bool)
    masks[0, 1:4, 1:4], masks[1, 2:6, 3:8], masks[2, 5, 0] = True, True, True
    return InstanceSet.build(masks, [SQUARE, BAR, SQUARE, SQUARE], [0.75, 0.875, 0.25, 0.9])


def test_a_panoptic_prediction_comes_back(tmp_path):
    folder = CocoFolder(tmp_path, SPACE, {"b.jpg": 7, "a.png": "x"})
    folder.add("a.png", "a", PanopticMap(np.zeros((6, 8), np.int32)))
    folder.add("b.jpg", "b", panoptic())
    folder.close()
    content = json.loads((tmp_path / "panoptic.json").read_text())
    assert [one["id"] for one in content["images"]] == [7, "x"]  # in the order of the ids, whichever was done first
    assert content["images"][0] == {"id": 7, "file_name": "b.jpg", "height": 6, "width": 8}
    names = {one["id"]: (one["name"], one["isthing"]) for one in content["categories"]}
    assert names == {1: ("ground", 0), 2: ("square", 1), 3: ("bar", 1)}
    found = read_panoptic(tmp_path)
    assert found["x"][0].tolist() == np.zeros((6, 8)).tolist() and found["x"][1] == {}
    assert np.array_equal(found[7][0], panoptic().segments)
    assert found[7][1] == {1: GROUND + 1, 70_000: SQUARE + 1, 300: BAR + 1}
    results = json.loads((tmp_path / "instances.json").read_text())
    assert [(one["category_id"], one["score"], one["bbox"]) for one in results] == [
        (SQUARE + 1, 0.75, [1, 1, 3, 3]),
        (BAR + 1, 0.5, [7, 0, 1, 1]),
    ]


def test_objects_keep_what_they_cover_and_are_painted_for_the_panoptic_map(tmp_path):
    folder = CocoFolder(tmp_path, SPACE, {"a.png": 4})
    folder.add("a.png", "a", objects())
    folder.close()
    truth = COCO()
    truth.dataset = json.loads((tmp_path / "panoptic.json").read_text()) | {"info": {}, "annotations": []}
    truth.createIndex()
    results = truth.loadRes(str(tmp_path / "instances.json"))
    found = sorted(results.imgToAnns[4], key=lambda one: -one["score"])
    assert [(one["score"], one["category_id"]) for one in found] == [(0.875, 3), (0.75, 2), (0.25, 2)]
    for one, index in zip(found, (1, 0, 2), strict=True):
        assert np.array_equal(results.annToMask(one), objects().masks[index])
    assert found[0]["bbox"] == [3, 2, 5, 4]
    ids, listed = read_panoptic(tmp_path)[4]
    assert listed == {1: BAR + 1, 2: SQUARE + 1}  # 7 of the 9 pixels of the square are free
    assert (ids == 1).sum() == 20 and (ids == 2).sum() == 7 and ids[5, 0] == 0


def test_a_panoptic_map_that_knows_its_unsure_objects_gives_them_all(tmp_path):
    """They count in the scores of the run, and pycocotools should come to the same."""
    given = panoptic()
    folder = CocoFolder(tmp_path, SPACE, {"a.png": 4})
    folder.add("a.png", "a", PanopticMap(given.segments, given.info, objects()))
    folder.close()
    assert [one["score"] for one in json.loads((tmp_path / "instances.json").read_text())] == [0.875, 0.75, 0.25]
    assert read_panoptic(tmp_path)[4][1] == {1: GROUND + 1, 70_000: SQUARE + 1, 300: BAR + 1}


def test_semantic_maps(tmp_path):
    labels = np.zeros((6, 8), np.uint8)
    labels[1:4, 1:4] = SQUARE
    folder = CocoFolder(tmp_path, SPACE, {"a.png": 1})
    with pytest.raises(ValueError, match="things are not told apart"):
        folder.add("a.png", "a", SemanticMap(labels))
    folder.add("a.png", "a", SemanticMap(labels, divided=panoptic()))
    folder.close()
    assert np.array_equal(read_panoptic(tmp_path)[1][0], panoptic().segments)
    stuff = LabelSpace(("sky", "sea"), ((0, 0, 0), (9, 9, 9)), (False, False))
    folder = CocoFolder(tmp_path / "stuff", stuff, {"a.png": 1})
    folder.add("a.png", "a", SemanticMap(np.array([[0, 1, 255]], np.uint8)))
    folder.close()
    ids, listed = read_panoptic(tmp_path / "stuff")[1]
    assert ids.tolist() == [[1, 2, 0]] and listed == {1: 1, 2: 2} and not (tmp_path / "stuff/instances.json").exists()


def test_perfect_predictions_of_the_data_set_score_1_in_pycocotools(tmp_path):
    """With the ids of the file that convert wrote, and objects that overlap, and a crowd."""
    records = tuple(
        Record(f"{split}_{index}", split, f"{split}_{index}", lambda split=split, index=index: scene(split, index))
        for split, count in SPLITS.items()
        for index in range(count)
    )
    place = {"splits": {}, "seed": 0, "rules": {}, "origin": {"files": {}}, "workers": 1}
    dataset: Dataset = dataset_writer.write(Source("scenes", SPACE, records), tmp_path / "data", **place)
    truth_file, names = tmp_path / "data/instances_test.json", [f"{one}.png" for one in reversed(dataset.ids("test"))]
    folder = CocoFolder(tmp_path / "out", SPACE, read_ids(truth_file, names))
    for sample in dataset.samples("test"):
        folder.add(f"{sample.id}.png", sample.id, sample.instances[~sample.instances.iscrowd])
    folder.close()
    truth = COCO(truth_file)
    for kind in ("segm", "bbox"):
        scores = COCOeval(truth, truth.loadRes(str(tmp_path / "out/instances.json")), kind)
        scores.evaluate(), scores.accumulate(), scores.summarize()
        assert scores.stats[0] == pytest.approx(1)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command, on a network that finds red squares and blue bars in pictures of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETWORKS, "fake", "tests.fake_instance_network:FakeInstanceNetwork")
    save_network(Path("runs/objects"), "fake", weights=red_squares_and_blue_bars)
    pixels = np.full((4, 12, 3), 60, np.uint8)
    pixels[:, :4], pixels[:, 8:] = (250, 60, 60), (60, 60, 250)
    fakes.save(Path("in/b.png"), pixels), fakes.save(Path("in/a.png"), pixels[:, ::-1])
    return lambda *given: segment.main(["runs/objects", "in", *given])


def test_the_command_writes_it(run, capsys):
    assert run("--coco", "out", "--threads", "2") == 0
    said = capsys.readouterr().out
    assert said.endswith("COCO: out/panoptic.json, out/instances.json\n") and not Path("segments").exists()
    written = sorted(one.as_posix() for one in Path("out").rglob("*.*"))
    assert written == ["out/instances.json", "out/panoptic.json", "out/panoptic/a.png", "out/panoptic/b.png"]
    found = read_panoptic(Path("out"))
    categories = {number: np.vectorize({0: 0, **listed}.get)(ids) for number, (ids, listed) in found.items()}
    assert categories[1].tolist() == [[BAR + 1] * 4 + [0] * 4 + [SQUARE + 1] * 4] * 4  # a.png
    assert categories[2].tolist() == [[SQUARE + 1] * 4 + [0] * 4 + [BAR + 1] * 4] * 4
    assert run("--coco", "out2", "--out", "masks", "--threads", "1") == 0
    assert Path("out2/instances.json").read_bytes() == Path("out/instances.json").read_bytes()
    assert cv2.imread("masks/a.png", cv2.IMREAD_UNCHANGED).shape == (4, 12)


def test_ids_from_a_file(run, capsys):
    write_json(Path("truth.json"), {"images": [{"id": 30, "file_name": "a.png"}, {"id": 5, "file_name": "val/b.png"}]})
    assert run("--coco", "out", "--coco-ids", "truth.json") == 0
    assert sorted(read_panoptic(Path("out"))) == [5, 30]
    assert {one["image_id"] for one in json.loads(Path("out/instances.json").read_text())} == {5, 30}
    write_json(Path("truth.json"), {"images": [{"id": 30, "file_name": "x/a.png"}, {"id": 5, "file_name": "y/a.png"}]})
    capsys.readouterr()
    assert run("--coco", "more", "--coco-ids", "truth.json") == 1
    said = capsys.readouterr().err
    assert "truth.json: 2 images called a.png, wanted one" in said and "truth.json: 0 images called b.png" in said
    for content in ("{", "[]", '{"images": [3]}', '{"annotations": []}'):
        Path("truth.json").write_text(content)
        assert run("--coco", "more", "--coco-ids", "truth.json") == 1
        assert "truth.json: is no COCO file with images" in capsys.readouterr().err
    assert run("--coco", "more", "--coco-ids", "nowhere.json") == 1
    assert "nowhere.json: cannot be read" in capsys.readouterr().err
    assert run("--coco-ids", "truth.json") == 1
    assert "give that too" in capsys.readouterr().err and not Path("more").exists()


def test_what_has_no_classes(run, capsys):
    assert segment.main(["otsu", "in", "--coco", "out"]) == 1
    assert "otsu has segments and no classes; give a fitted run" in capsys.readouterr().err
