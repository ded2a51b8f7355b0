"""The COCO reader: polygons and both run length codes by hand, its faults, and from annotate through convert and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from pycocotools import mask as coco

from pipeline import annotate
from pipeline.classical import METHODS
from pipeline.dataset import Dataset
from pipeline.datasets._polygons import run_length_mask
from pipeline.datasets.coco_json import read
from pipeline.files import write_json
from pipeline.provenance import ROOT
from pipeline.sources import FaultError
from stages import convert, download
from tests import fakes
from tests.test_annotate import PICTURES, expected, write_pictures

HEIGHT, WIDTH = 24, 32
CATEGORIES = [{"id": 90, "name": "cat"}, {"id": 1, "name": "dog", "supercategory": "animal"}]


def square(x0, y0, x1, y1) -> list:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def box_mask(x0, y0, x1, y1) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def code_of(mask: np.ndarray) -> dict:
    code = coco.encode(np.asfortranarray(mask).view(np.uint8))
    return {"size": list(map(int, code["size"])), "counts": code["counts"].decode()}


def lengths_of(mask: np.ndarray) -> dict:
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat.astype(int))) + 1
    counts = np.diff([0, *starts, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": [0, *counts] if flat[0] else counts}


def one(segmentation, image=1, category=90, **more) -> dict:
    return {"id": 5, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def write(root: Path, annotations: list, *, names=("a.png",), file="annotations/annotations.json", **more) -> Path:
    images = [{"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in enumerate(names, start=1)]
    for seed, name in enumerate(names):
        fakes.save(root / "images" / name, fakes.picture(seed))
    write_json(root / file, {"images": images, "annotations": annotations, "categories": CATEGORIES} | more)
    return root


def sample(root: Path, annotations: list, **options):
    source = read(write(root, annotations), **options)
    assert not source.faults
    return source.label_space, source.records[0].decode()


L_SHAPE = box_mask(2, 3, 4, 9) | box_mask(2, 7, 10, 9)


@pytest.mark.parametrize(
    ("segmentation", "wanted"),
    [
        ([square(2, 3, 8, 7)], box_mask(2, 3, 8, 7)),
        ([square(2, 3, 8, 7), square(20, 0, 32, 1)], box_mask(2, 3, 8, 7) | box_mask(20, 0, 32, 1)),
        ([square(2, 3, 8, 7), square(4, 4, 9, 5)], box_mask(2, 3, 8, 7) | box_mask(4, 4, 9, 5)),  # parts that overlap
        (code_of(L_SHAPE), L_SHAPE),
        (lengths_of(L_SHAPE), L_SHAPE),
        (lengths_of(~L_SHAPE), ~L_SHAPE),  # the first run is empty
    ],
)
def test_segmentations_by_hand(tmp_path, segmentation, wanted):
    space, found = sample(tmp_path, [one(segmentation)])
    assert space.names == ("background", "dog", "cat")  # in order of the ids 1 and 90
    assert space.isthing == (False, True, True)
    assert np.array_equal(found.instances.masks, wanted[None])
    assert found.instances.classes.tolist() == [2]
    assert np.array_equal(found.truth.semantic(space), 2 * wanted.astype(np.uint8))


def test_run_lengths_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = map(int, rng.integers(1, 80, 2))
        mask = rng.random((height, width)) < rng.random()
        assert np.array_equal(run_length_mask(code_of(mask), height, width), mask)


def test_crowds_lie_below_and_later_annotations_above(tmp_path):
    annotations = [
        one([square(0, 0, 10, 10)]),
        one([square(5, 5, 15, 15)], category=1),
        one(code_of(box_mask(0, 0, 20, 20)), iscrowd=1),
    ]
    space, found = sample(tmp_path, annotations)
    labels = found.truth.semantic(space)
    assert [labels[y, x] for y, x in ((0, 0), (7, 7), (18, 18), (22, 22))] == [2, 1, 2, 0]
    assert sorted(found.instances.iscrowd.tolist()) == [False, False, True]
    crowd = found.instances[found.instances.iscrowd]
    assert crowd.masks.sum() == 400
    assert [segment.iscrowd for segment in found.truth.info].count(True) == 1


def test_classes_background_and_void(tmp_path):
    annotations = [one([square(0, 0, 4, 4)])]
    space, found = sample(tmp_path, annotations, background=False)
    assert space.names == ("dog", "cat")
    assert found.truth.semantic(space)[0, :6].tolist() == [1, 1, 1, 1, 255, 255]
    space, found = sample(tmp_path, annotations, classes=["cat", {"name": "dog", "isthing": False}], name="mine")
    assert space.names == ("background", "cat", "dog") and space.isthing == (False, True, False)
    more = [{"id": 0, "name": "background"}, {"id": 1, "name": "road", "isthing": 0, "color": [1, 2, 3]}]
    source = read(write(tmp_path, [one([square(0, 0, 4, 4)], category=1)], categories=more))
    assert source.label_space.names == ("background", "road")
    assert source.label_space.colours[1] == (1, 2, 3)
    assert source.records[0].decode().instances is None


def test_splits_and_groups(tmp_path):
    names = ("train/p 1_ä.JPG", "val/sub/p2.b.png", "test/p3.png")
    source = read(write(tmp_path / "wrapped", [], names=names), group_pattern="(p ?[0-9])")
    assert read(tmp_path).records[0].split == "train"  # in one more folder
    assert [(record.id, record.split, record.group) for record in source] == [
        ("train__p 1_ä", "train", "p 1"),
        ("val__sub__p2.b", "val", "p2"),
        ("test__p3", "test", "p3"),
    ]
    write(tmp_path / "wrapped", [], names=(*names, "extra/a.png"))
    (fault,) = read(tmp_path).faults
    assert (fault.rule, fault.file) == ("outside_splits", "wrapped/images/extra/a.png")


def test_a_file_for_each_split(tmp_path):
    """As Roboflow writes them: the same ids in both files, the images in folders of the splits or all in one."""
    for split, category in (("train", 90), ("val", 1)):
        write(tmp_path, [one([square(0, 0, 4, 4)], category=category)], file=f"{split}.json")
        fakes.save(tmp_path / "images" / split / "a.png", fakes.picture(1))
    (tmp_path / "images/a.png").unlink()
    source = read(tmp_path, annotations={"train": "train.json", "val": "val.json"})
    assert not source.faults
    assert [(record.id, record.split) for record in source] == [("train__a", "train"), ("val__a", "val")]
    assert [record.decode().instances.classes.tolist() for record in source] == [[2], [1]]
    (tmp_path / "images/val/a.png").rename(tmp_path / "images/a.png")
    assert [record.id for record in read(tmp_path, annotations={"train": "train.json", "val": "val.json"})] == ["train__a", "a"]
    with pytest.raises(ValueError, match=r"annotations: \{'dev': 'a'\}; wanted a file, or \{train: file"):
        read(tmp_path, annotations={"dev": "a"})


def test_everything_seen_without_opening_an_image(tmp_path):
    annotations = [one([square(0, 0, 4, 4)]), one([], image=9), one([], image=9)]
    write(tmp_path, annotations, names=("a.png", "b.png", "../c.png"))
    (tmp_path / "images/b.png").unlink()
    fakes.save(tmp_path / "images/stray.png", fakes.picture(5))
    (tmp_path / "images/phone.heic").touch()
    source = read(tmp_path)
    file = "annotations/annotations.json"
    assert [(fault.rule, fault.file, fault.value) for fault in source.faults] == [
        ("mask_without_image", file, "9"),
        ("mask_without_image", file, "9"),
        ("mask_without_image", file, "b.png"),
        ("mask_without_image", file, "../c.png"),
        ("image_without_mask", "images/stray.png", ""),
        ("not_read", "images/phone.heic", "1"),
    ]
    assert "annotation 2: image_id 9 is none of its images" in str(source.faults[1])
    assert "image 2: b.png does not exist in images/" in str(source.faults[2])
    assert [record.id for record in source] == ["a"]


@pytest.mark.parametrize(
    ("wrong", "rule", "message"),
    [
        (one([square(0, 0, 4, 4)], category=3), "missing_category", "category_id 3 is none of 90, 1"),
        (one([square(0, 0, 4, 4)], category=1), "label_outside", "category 'dog' is none of background, cat; add it"),
        (one(None), "unusable_outline", "has no segmentation; `python -m pipeline.annotate` makes one"),
        (one([]), "unusable_outline", "has no segmentation"),
        (one([[0, 0, 4, 0, 4]]), "unusable_outline", "a polygon is [0, 0, 4, 0, 4]; wanted [x, y, x, y, ...]"),
        (one([[0, 0, 4, 4]]), "unusable_outline", "has 2 corners, wanted 3 or more"),
        (one([0, 0, 4, 4]), "unusable_outline", "a polygon is 0; wanted"),
        (one([["a", 0, 4, 4, 4, 0]]), "unusable_outline", "wanted [[x, y], ...]"),
        (one([square(0.6, 0.6, 1.4, 1.4)]), "unusable_outline", "covers no pixel"),
        (one({"size": [24, 32], "counts": [768]}), "unusable_outline", "covers no pixel"),
        (
            one({"size": [32, 24], "counts": [768]}),
            "size_mismatch",
            "run lengths are of size [32, 24], their image of [24, 32]",
        ),
        (one({"size": [24, 32], "counts": [5, 5]}), "size_mismatch", "run lengths cover 10 pixels, wanted 24*32 = 768"),
        (one({"size": [24, 32], "counts": [5, -5, 768]}), "unusable_outline", "neither a list of numbers nor COCO's string"),
        (one({"size": [24, 32], "counts": 768}), "unusable_outline", "neither a list of numbers nor COCO's string"),
        (one({"size": [24, 32], "counts": "55"}), "size_mismatch", "run lengths cover 10 pixels"),
        (one({"size": [24, 32], "counts": "5 5"}), "unusable_outline", "hold ' ', which COCO's string has not"),
        (one({"size": [24, 32], "counts": "5o"}), "unusable_outline", "end in the middle of a number"),
    ],
)
def test_annotations_that_cannot_be_used(tmp_path, wrong, rule, message):
    write(tmp_path, [one([square(0, 0, 4, 4)]), wrong])
    with pytest.raises(FaultError) as caught:
        read(tmp_path, classes=["cat"]).records[0].decode()
    (fault,) = caught.value.faults
    assert (fault.rule, fault.file, fault.value) == (rule, "annotations/annotations.json", "5")
    assert message in str(fault) and "annotation 1 (id 5, a.png)" in str(fault)


def test_an_image_of_another_size(tmp_path):
    write(tmp_path, [])
    fakes.save(tmp_path / "images/a.png", fakes.picture(0, height=10, width=20))
    with pytest.raises(FaultError, match=r"images/a\.png: is 20x10, and annotations/annotations\.json says 32x24"):
        read(tmp_path).records[0].decode()


def test_files_that_are_no_instances_json(tmp_path):
    write(tmp_path, [])
    file = tmp_path / "annotations/annotations.json"
    with pytest.raises(ValueError, match=r"other\.json: no such file; set the option annotations"):
        read(tmp_path, annotations="other.json")
    with pytest.raises(ValueError, match=r"wanted the folder scans/, found annotations/, images/; set the option images"):
        read(tmp_path, images="scans")
    for text, message in (("{", "is no JSON, or damaged"), ("[]", "wanted COCO's instances JSON"), ("{}", "wanted COCO's")):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read(tmp_path)
    image = {"id": 1, "file_name": "a.png"}
    content = {"images": [image, {"id": 2}], "annotations": [5], "categories": [{"id": [], "name": "x"}]}
    write_json(file, content)
    with pytest.raises(ValueError) as caught:
        read(tmp_path)
    assert str(caught.value).replace(f"{file}: ", "").split("\n") == [
        "images, entry 1: wanted {id, file_name, ...}, got {'id': 2}",
        "annotations, entry 0: wanted {image_id, category_id, ...}, got 5",
        "categories, entry 0: wanted {id, name, ...}, got {'id': [], 'name': 'x'}",
    ]
    write_json(file, {"images": [image, image], "annotations": [], "categories": []})
    with pytest.raises(ValueError, match="images: the ids 1 stand there twice"):
        read(tmp_path)


@pytest.mark.parametrize("reader", ["labelme", "coco_json"])
def test_from_boxes_through_convert(tmp_path, monkeypatch, capsys, reader):
    """Boxes -> annotate -> either format -> the canonical data set, which holds the masks as they were cut."""
    monkeypatch.setitem(METHODS, "stand_in", "tests.test_annotate:StandIn")
    monkeypatch.chdir(tmp_path)
    own = write_pictures(tmp_path / "own")
    (own / "images/unnamed.png").unlink()
    given = ["own/images", "--boxes", "own/boxes.json", "--method", "stand_in", "--out", "own/annotations"]
    assert annotate.main(given) == 0
    params = yaml.safe_load((ROOT / f"presets/{reader}.yaml").read_text(encoding="utf-8"))
    params["dataset"]["splits"] = {"train": 0.5, "val": 0.25, "test": 0.25}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    download.main([])
    convert.main([])
    dataset = Dataset(tmp_path / "data/dataset")
    assert dataset.label_space.names == ("background", "cat", "dog")
    seen = 0
    for split in ("train", "val", "test"):
        for sample in dataset.samples(split):
            name = next(one for one in PICTURES if one.rsplit(".", 1)[0].replace("/", "__") == sample.id)
            wanted = [mask for mask in expected(name) if mask.any()]
            assert np.array_equal(sample.instances.masks, np.array(wanted, bool).reshape(-1, 3, 8))
            assert np.array_equal(sample.truth.semantic(dataset.label_space) > 0, np.any([*wanted, np.zeros((3, 8))], axis=0))
            labels = [label for mask, (_, label) in zip(expected(name), PICTURES[name][1], strict=True) if mask.any()]
            assert [dataset.label_space.names[index] for index in sample.instances.classes] == labels
            seen += 1
    assert seen == len(PICTURES)
    assert json.loads((tmp_path / "data/dataset/dataset.json").read_text())["origin"]["reader"] == reader
