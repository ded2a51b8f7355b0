"""The YOLO reader: lines by hand, data.yaml as Ultralytics and Roboflow write it, splits, and its faults."""

import json
import re
import shutil

import numpy as np
import pytest

from pipeline.datasets.yolo_segmentation import read
from pipeline.gate import inspection as gate
from pipeline.sources import FaultError
from pipeline.splits import TRAINVAL
from tests.fakes_annotated import HEIGHT, WIDTH, box_mask, read_back, square, write_yolo, yolo_line

POOR = "unusable_outline"
ROBOFLOW = "{split}/images/{name}"


def sample(root, lines: list, **options):
    source = read(write_yolo(root, {"train/a": lines}), **options)
    assert not source.faults
    return source.label_space, source.records[0].decode()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (yolo_line(0, square(2, 3, 8, 7)), box_mask(2, 3, 8, 7)),
        (yolo_line(0, [*square(2, 3, 8, 7), [2, 3]]), box_mask(2, 3, 8, 7)),  # closed, as some tools write it
        ("0.0 0.0625 .125 0.25 0.125 2.5e-1 0.375 0.0625 0.375", box_mask(2, 3, 8, 9)),
        ("0 0.25 0.25 0.25 0.25", box_mask(4, 3, 12, 9)),  # a box: centre and size
        # two parts, joined by a line there and back, as Ultralytics' converter does
        (yolo_line(0, [*square(2, 3, 8, 7), [2, 3], *square(20, 0, 24, 4), [20, 0], [2, 3]]), None),
    ],
)
def test_lines_by_hand(tmp_path, line, wanted):
    space, found = sample(tmp_path, [line])
    wanted = box_mask(2, 3, 8, 7) | box_mask(20, 0, 24, 4) if wanted is None else wanted
    assert space.names == ("background", "cat", "dog") and space.isthing == (False, True, True)
    assert np.array_equal(found.instances.masks, wanted[None])
    assert np.array_equal(found.truth.semantic(space), wanted.astype(np.uint8))
    assert [one.rule for one in found.remarks] == ["box_outline"] * (len(line.split()) == 5)


def test_smaller_objects_lie_above_and_a_line_that_stands_twice_counts_once(tmp_path):
    small, large = yolo_line(1, square(4, 4, 8, 8)), yolo_line(0, square(2, 2, 20, 20))
    space, found = sample(tmp_path, [small, "", large, small.replace(" ", "  ")])
    labels = found.truth.semantic(space)
    assert [labels[y, x] for y, x in ((5, 5), (3, 3), (22, 22))] == [2, 1, 0]
    assert sorted(found.instances.classes.tolist()) == [1, 2]
    assert found.instances.masks.sum(axis=(1, 2)).tolist() == [324, 16]
    (remark,) = found.remarks
    assert (remark.rule, remark.file, remark.value) == ("object_twice", "labels/train/a.txt", "4")


def test_classes_background_and_void(tmp_path):
    lines = [yolo_line(0, square(0, 0, 4, 4)), yolo_line(1, square(8, 0, 12, 4))]
    space, found = sample(tmp_path, lines, background=False)
    assert space.names == ("cat", "dog")
    assert found.truth.semantic(space)[0, [0, 5, 8]].tolist() == [0, 255, 1]
    space, found = sample(tmp_path, lines, void="dog")
    assert space.names == ("background", "cat")
    assert found.truth.semantic(space)[0, [0, 5, 8]].tolist() == [1, 0, 255]
    assert len(found.instances) == 1
    space, found = sample(tmp_path, lines, classes=["dog", {"name": "cat", "isthing": False, "colour": [1, 2, 3]}], name="mine")
    assert space.names == ("background", "dog", "cat") and space.colours[2] == (1, 2, 3)
    assert found.instances.classes.tolist() == [1]


@pytest.mark.parametrize("layout", ["images/{split}/{name}", ROBOFLOW])
def test_official_splits_and_groups(tmp_path, layout):
    labels = {
        f"{split}/{name}": [] for split, name in (("train", "p1_a"), ("train", "sub/p2_ä b"), ("val", "p3.v2"), ("test", "p4"))
    }
    labels["train/p1_a"] = [yolo_line(0, square(0, 0, 4, 4))]
    write_yolo(tmp_path / "wrapped", labels, layout=layout)
    source = read(tmp_path, group_pattern="(p[0-9])", name="mine")
    assert not source.faults and source.name == "mine"
    assert [(record.id, record.split, record.group) for record in source] == [
        ("train__p1_a", "train", "p1"),
        ("train__sub__p2_ä b", "train", "p2"),
        ("val__p3.v2", "val", "p3"),
        ("test__p4", "test", "p4"),
    ]
    assert {record.split for record in read(tmp_path, official=False)} == {None}


@pytest.mark.parametrize(
    ("splits", "wanted"),
    [
        (("train", "val"), [TRAINVAL, "test"]),
        (("train", "test"), [TRAINVAL, "test"]),
        (("train",), [None]),
        (("validation", "train"), [TRAINVAL, "test"]),  # an older name of val
    ],
)
def test_splits_that_are_not_three(tmp_path, splits, wanted):
    write_yolo(tmp_path, {f"{split}/{split}": [yolo_line(0, square(0, 0, 4, 4))] for split in splits})
    assert [record.split for record in read(tmp_path)] == wanted


@pytest.mark.parametrize(
    ("layout", "data"),
    [
        (ROBOFLOW, {"train": "../train/images", "val": "../val/images"}),
        (ROBOFLOW, {"train": "/content/pets-1/train/images", "val": ["val/images"]}),
        (ROBOFLOW, {"train": "C:\\data\\train\\images", "val": "val/images", "path": ""}),
        ("images/{split}/{name}", {"path": "../datasets/pets", "train": "images/train", "val": "images/val"}),
        ("images/{split}/{name}", {"path": "/data/pets", "train": "train.txt", "val": "./images/val"}),
        ("images/{split}/{name}", {"path": None, "train": ["train.txt", "images/train"], "val": "images/val", "test": ""}),
    ],
)
def test_paths_of_another_computer(tmp_path, layout, data):
    write_yolo(tmp_path, {"train/a": [yolo_line(0, square(0, 0, 4, 4))], "val/b": []}, layout=layout, **data)
    (tmp_path / "train.txt").write_text("./images/train/a.png\n\n/data/pets/images/train/a.png\n")
    source = read(tmp_path)
    assert not source.faults
    assert [(record.id, record.split) for record in source] == [("train__a", TRAINVAL), ("val__b", "test")]
    assert source.records[0].decode().instances.masks.sum() == 16


def test_labels_beside_the_images(tmp_path):
    write_yolo(tmp_path, {"train/a": [yolo_line(0, square(0, 0, 4, 4))]}, layout="{split}/{name}")
    (tmp_path / "train/notes.txt").write_text("not a file of labels")
    source = read(tmp_path)
    assert not source.faults
    assert source.records[0].decode().instances.masks.sum() == 16


@pytest.mark.parametrize(
    ("data", "names", "rule"),
    [
        ({"names": ["cat", "dog"]}, ("cat", "dog"), None),
        ({"names": {"1": "dog", "0": "cat"}, "nc": 2}, ("cat", "dog"), None),
        ({"names": None, "nc": 2}, ("class_0", "class_1"), None),
        ({"names": {1: "cat", 2: True}}, ("cat", "True"), "1"),
        ({"names": {0: "cat", 5: "dog"}}, ("cat", "dog"), "0"),
    ],
)
def test_names(tmp_path, data, names, rule):
    source = read(write_yolo(tmp_path, {"train/a": [yolo_line(1, square(0, 0, 4, 4))]}, **data), background=False)
    assert source.label_space.names == names
    found = [(fault.rule, fault.file, fault.value) for fault in source.faults]
    assert found == ([("category_ids", "data.yaml", rule)] if rule else [])
    if rule != "0":
        assert source.records[0].decode().instances.classes.tolist() == [0 if rule else 1]


def test_an_image_without_labels_has_nothing_on_it(tmp_path):
    write_yolo(tmp_path, {"train/a": [yolo_line(0, square(0, 0, 4, 4))], "train/b": [], "train/Zoë": [], "train/d": []})
    (tmp_path / "labels/train/Zoë.txt").rename(tmp_path / "labels/train/zoë.txt")
    (tmp_path / "labels/train/d.txt").unlink()
    (tmp_path / "labels/train/classes.txt").write_text("cat\ndog\n")
    (tmp_path / "images/train/phone.heic").touch()
    source = read(tmp_path)
    found = {(fault.rule, fault.file): str(fault) for fault in source.faults}
    assert set(found) == {
        ("image_without_labels", "images/train/Zoë.png"),
        ("image_without_labels", "images/train/d.png"),
        ("mask_without_image", "labels/train/zoë.txt"),
        ("not_read", "images/train/phone.heic"),
    }
    assert (
        "there is no labels/train/d.txt, which says that nothing is on it"
        in found["image_without_labels", "images/train/d.png"]
    )
    assert "; 'labels/train/zo\\xeb.txt' differs from it only in case" in found["image_without_labels", "images/train/Zoë.png"]
    assert "; 'labels/train/Zo\\xeb.txt' differs" in found["mask_without_image", "labels/train/zoë.txt"]
    samples = {record.id: record.decode() for record in source}
    assert [len(samples[f"train__{name}"].instances) for name in ("a", "b", "d")] == [1, 0, 0]
    assert (samples["train__d"].truth.semantic(source.label_space) == 0).all()


def test_images_that_are_named_and_not_there_or_named_twice(tmp_path):
    lines = [yolo_line(0, square(0, 0, 4, 4))]
    write_yolo(
        tmp_path, {"train/a": lines, "train/b": lines, "val/c": lines}, train=["train.txt"], val=["images/val", "more.txt"]
    )
    (tmp_path / "train.txt").write_text("./images/train/a.png\n./images/train/gone.png\n")
    (tmp_path / "more.txt").write_text("../../../../etc/passwd\nimages/train/a.png\n")
    source = read(tmp_path)
    assert [(fault.rule, fault.file, fault.value) for fault in source.faults] == [
        ("mask_without_image", "train.txt", "./images/train/gone.png"),
        ("mask_without_image", "more.txt", "../../../../etc/passwd"),
        ("duplicate_across_splits", "images/train/a.png", "val"),
    ]
    assert [(record.id, record.split) for record in source] == [("train__a", TRAINVAL), ("val__c", "test")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"names": 5}, "data.yaml: names: 5; wanted [cat, dog] or {0: cat, 1: dog}"),
        ({"names": {"cat": 0}}, "names: {'cat': 0}; wanted [cat, dog]"),
        ({"names": None}, "names: None; wanted"),
        ({"names": ["cat", "cat"]}, "cat stands there twice; class names must differ"),
        ({"names": None, "nc": 10**30}, f"nc: {10**30}; wanted 65535 at most"),
        ({"nc": 3}, "nc: 3, but there are 2 names; correct one of them"),
        ({"train": None}, "no train, val or test; name a folder of images"),
        (
            {"train": "nowhere", "val": 5},
            "train: 'nowhere' is neither a folder nor a list here; correct it, or remove the line",
        ),
    ],
)
def test_a_data_yaml_that_is_wrong(tmp_path, data, message):
    write_yolo(tmp_path, {"train/a": [yolo_line(0, square(0, 0, 4, 4))]}, **data)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(tmp_path)
    assert len(str(caught.value).splitlines()) == len([key for key in ("train", "val") if data.get(key)] or [1])


def test_files_that_are_no_data_yaml(tmp_path):
    write_yolo(tmp_path, {"train/a": []})
    (tmp_path / "data.yaml").rename(tmp_path / "pets.yaml")
    with pytest.raises(ValueError, match=r"no file data\.yaml; set the option data to the YAML file \(found: pets\.yaml\)"):
        read(tmp_path)
    for text, message in (("[", "no YAML, or damaged"), ("- a", "wanted names, train and val")):
        (tmp_path / "pets.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            read(tmp_path, data="pets.yaml")
    (tmp_path / "pets.yaml").write_text("names: !!python/object/apply:os.system ['touch hacked']\ntrain: images/train")
    with pytest.raises(ValueError, match="no YAML, or damaged: could not determine a constructor"):
        read(tmp_path, data="pets.yaml")
    write_yolo(tmp_path, {"train/a": []})
    shutil.rmtree(tmp_path / "labels")
    with pytest.raises(
        ValueError, match=r"no image of .*data\.yaml has labels; wanted .*labels/train/a\.txt for .*images/train/a"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("line", "rule", "message"),
    [
        (yolo_line(2, square(0, 0, 4, 4)), "missing_category", "class 2 is none of 0, 1; correct it, or add it to names"),
        (yolo_line(-1, square(0, 0, 4, 4)), "missing_category", "class -1 is none of"),
        ("0.5 0 0 0 1 1 1", "missing_category", "class 0.5 is none of"),
        (yolo_line(1, square(0, 0, 4, 4)), "label_outside", "label 'dog' is none of background, cat; correct it, or add it"),
        ("0 0 0 1 cat", POOR, "is '0 0 0 1 cat'; wanted numbers: class x1 y1 x2 y2 x3 y3 ..."),
        ("0 0 0 1 nan 1 1", POOR, "nan is no share of width or height; wanted 0..1"),
        (
            "0 0 0 640 0 640 480",
            POOR,
            "640 is no share of width or height; wanted 0..1: divide pixels by the size of the image",
        ),
        ("0 0 0 1 1 1", POOR, "has 5 numbers after the class; wanted x and y of 3 corners or more, or 4 of a box"),
        ("0 0 0 1 1 0 1 1", POOR, "has 7 numbers after the class"),
        ("0 0.1 0.1", POOR, "has 2 numbers after the class"),
        ("0", POOR, "has 0 numbers after the class"),
        (yolo_line(0, square(0.6, 0.6, 1.4, 1.4)), POOR, "covers no pixel; draw it larger, or remove the line"),
        ("0 0.5 0.5 0 0", POOR, "covers no pixel"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path, line, rule, message):
    write_yolo(tmp_path, {"train/a": [yolo_line(0, square(0, 0, 4, 4)), "", line]})
    with pytest.raises(FaultError) as caught:
        read(tmp_path, classes=["cat"]).records[0].decode()
    fault = next(fault for fault in caught.value.faults if fault.rule == rule)
    assert (fault.file, fault.value) == ("labels/train/a.txt", "3")
    assert f"line 3: {message}" in str(fault)


def test_a_label_file_that_is_no_text(tmp_path):
    write_yolo(tmp_path, {"train/a": []})
    (tmp_path / "labels/train/a.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(FaultError, match=r"labels/train/a\.txt: is no text; wanted lines of numbers \[unreadable_annotation\]"):
        read(tmp_path).records[0].decode()


def test_what_the_gate_warns_of(tmp_path):
    tie, out = yolo_line(0, [[2, 2], [12, 12], [12, 2], [2, 12]]), yolo_line(1, square(-4, 2, 9, 9))
    root = write_yolo(
        tmp_path / "own", {"train/a": [tie], "train/b": [out, out], "train/B": ["0 0.5 0.5 0.5 0.5"], "train/c": []}
    )
    (root / "labels/train/c.txt").unlink()
    opened = gate.inspect(read(root), table=tmp_path / "gate.csv", root=root, rules={"name_clash": "warning"}, keep=len_of)
    assert [(record.id, kept) for record, kept in opened] == [
        ("train__B", 1),
        ("train__a", 1),
        ("train__b", 1),
        ("train__c", 0),
    ]
    table = (tmp_path / "gate.csv").read_text()
    for row in (
        "warning,box_outline,labels/train/B.txt,,,1,",
        "warning,crossing_outline,labels/train/a.txt,7,7,1,",
        "warning,outline_outside,labels/train/b.txt,,,1,",
        "warning,object_twice,labels/train/b.txt,,,2,",
        "warning,image_without_labels,images/train/c.png,,,,",
        "warning,name_clash,labels/train/b.txt,,,train__b,",
    ):
        assert row in table


def len_of(record, sample) -> int:
    return len(sample.instances)


def test_there_and_back(tmp_path):
    """Overlapping objects and void, through the canonical form: the same pixels and whole objects."""
    lines = [yolo_line(1, square(4, 4, 10, 10)), yolo_line(0, square(2, 2, 20, 20)), yolo_line(2, square(24, 0, 32, 24))]
    labels = {f"{split}/{name}": lines for split, name in (("train", "a"), ("train", "b"), ("val", "c"))} | {
        "test/d": lines[:1]
    }
    root = write_yolo(tmp_path / "raw", labels, names=["cat", "dog", "__ignore__"])
    found = read_back(read(root), tmp_path / "out", root)
    assert set(found) == {"train__a", "train__b", "val__c", "test__d"}
    wanted = np.zeros((HEIGHT, WIDTH), int)
    wanted[box_mask(2, 2, 20, 20)], wanted[box_mask(4, 4, 10, 10)], wanted[box_mask(24, 0, 32, 24)] = 1, 2, 255
    for id in ("train__a", "train__b", "val__c"):
        assert np.array_equal(found[id][0], wanted)
        objects = dict(found[id][1])
        assert np.array_equal(objects[1], box_mask(2, 2, 20, 20)) and np.array_equal(objects[2], box_mask(4, 4, 10, 10))
    assert np.array_equal(found["test__d"][0], 2 * box_mask(4, 4, 10, 10))
    assert json.loads((tmp_path / "out/dataset.json").read_text())["names"] == ["background", "cat", "dog"]
    assert (tmp_path / "out/images/train/train__a.png").read_bytes() == (root / "images/train/a.png").read_bytes()
