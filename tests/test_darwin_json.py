"""The Darwin reader: every kind of annotation by hand, raster layers, which image belongs to which file, and its faults."""

import copy
import json
import shutil

import numpy as np
import pytest

from pipeline.datasets.darwin_json import read
from pipeline.files import write_json
from pipeline.gate import inspection as gate
from pipeline.sources import FaultError
from tests import fakes
from tests.fakes_annotated import (
    HEIGHT,
    WIDTH,
    box_mask,
    darwin,
    darwin_layer,
    darwin_one,
    darwin_path,
    darwin_polygon,
    read_back,
    square,
    write_darwin,
)

POOR = "unusable_outline"
PLUS = box_mask(4, 4, 5, 7) | box_mask(3, 5, 6, 6)


def ellipse(x, y, across, down, angle=0.0) -> dict:
    return {"center": {"x": x, "y": y}, "radius": {"x": across, "y": down}, "angle": angle}


def sample(root, annotations: list, **options):
    source = read(write_darwin(root, {"a": annotations}), **options)
    assert not source.faults
    return source.label_space, source.records[0].decode()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (darwin_polygon("x", square(2, 3, 8, 7)), box_mask(2, 3, 8, 7)),
        (darwin_polygon("x", square(2, 3, 12, 9), square(4, 5, 6, 7)), box_mask(2, 3, 12, 9) & ~box_mask(4, 5, 6, 7)),  # a hole
        (darwin_polygon("x", square(2, 3, 8, 7), square(20, 0, 32, 1)), box_mask(2, 3, 8, 7) | box_mask(20, 0, 32, 1)),
        (darwin_polygon("x", square(2, 3, 6, 7), square(4, 3, 8, 7)), box_mask(2, 3, 4, 7) | box_mask(6, 3, 8, 7)),  # even-odd
        (
            darwin_one("x", "polygon", {"path": darwin_path(square(2, 3, 8, 7))}),
            box_mask(2, 3, 8, 7),
        ),  # before 2.0
        (
            darwin_one(" x ", "polygon", {"paths": [darwin_path(square(2, 3, 8, 7))]}),
            box_mask(2, 3, 8, 7),
        ),  # a name is stripped
        (darwin_one("x", "ellipse", ellipse(4.5, 5.5, 1.0, 1.0)), PLUS),
        (darwin_one("x", "ellipse", ellipse(16, 12, 1, 3, np.pi / 2)), None),
        (darwin_one("x", "bounding_box", {"x": 2, "y": 3, "w": 6, "h": 4}), box_mask(2, 3, 8, 7)),
    ],
)
def test_annotations_by_hand(tmp_path, given, wanted):
    if wanted is None:  # a quarter turn: 3 to either side, 1 up and down
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        wanted = ((x - 16) / 3) ** 2 + (y - 12) ** 2 <= 1
    space, found = sample(tmp_path, [given])
    assert space.names == ("background", "x") and space.isthing == (False, True)
    assert np.array_equal(found.instances.masks, wanted[None])
    assert np.array_equal(found.truth.semantic(space), wanted.astype(np.uint8))
    assert [one.rule for one in found.remarks] == ["box_outline"] * ("polygon" not in given and "bounding_box" in given)


def test_masks_of_a_raster_layer(tmp_path):
    values = np.zeros((HEIGHT, WIDTH), int)
    values[box_mask(2, 3, 8, 7)], values[box_mask(8, 3, 12, 9)], values[-1, -3:] = 1, 2, 1
    masks = [darwin_one(label, "mask", {}, id=id) for label, id in (("a", "m1"), ("b", "m2"), ("a", "rubbed out"))]
    space, found = sample(tmp_path, [masks[0], darwin_layer(values, {"m1": 1, "m2": 2}), *masks[1:]])
    assert space.names == ("background", "a", "b")
    assert found.instances.classes.tolist() == [1, 2]
    assert np.array_equal(found.instances.masks, [values == 1, values == 2])
    assert np.array_equal(found.truth.semantic(space), values)
    (remark,) = found.remarks
    assert (remark.rule, remark.file, remark.value) == ("empty_outline", "annotations/a.json", "3")


def test_order_instances_void_and_tags(tmp_path):
    annotations = [
        darwin_polygon("b", square(0, 0, 10, 10)),
        darwin_polygon("a", square(5, 5, 15, 15), instance_id={"value": 7}),
        darwin_one("night", "tag", {}),
        darwin_polygon("a", square(20, 0, 24, 4), instance_id={"value": 7}),
        darwin_polygon("b", square(28, 0, 30, 4), instance_id={"value": 7}),
        darwin_polygon("__ignore__", square(0, 0, 2, 2)),
    ]
    space, found = sample(tmp_path, annotations)
    assert space.names == ("background", "a", "b")
    labels = found.truth.semantic(space)
    assert [labels[y, x] for y, x in ((4, 4), (7, 7), (20, 20), (1, 1), (2, 22))] == [2, 1, 0, 255, 1]
    assert found.instances.classes.tolist() == [2, 1, 2]
    assert np.array_equal(found.instances.masks[1], box_mask(5, 5, 15, 15) | box_mask(20, 0, 24, 4))
    space, found = sample(tmp_path, annotations, background=False, void=None, classes=["b", "a", "__ignore__"])
    assert space.names == ("b", "a", "__ignore__")
    assert found.truth.semantic(space)[20, 20] == 255
    space, found = sample(tmp_path, annotations, classes=[{"name": "b", "isthing": False, "colour": [1, 2, 3]}, "a"])
    assert found.instances.classes.tolist() == [2] and space.colours[1] == (1, 2, 3)


@pytest.mark.parametrize("kind", ["line", "keypoint", "skeleton", "cuboid", "string", "graph", "table", "simple_table"])
def test_what_has_no_area_is_left_out(tmp_path, kind):
    space, found = sample(tmp_path, [darwin_one("y", kind, {}), darwin_polygon("x", square(0, 0, 4, 4))])
    assert space.names == ("background", "x") and len(found.instances) == 1
    (remark,) = found.remarks
    assert (remark.rule, remark.file, remark.value) == ("no_area", "annotations/a.json", "0")
    assert f"annotation 0 (y): of kind {kind}, has no area and is left out; draw a polygon" in str(remark)


def test_an_image_without_an_annotation_is_background(tmp_path):
    tag = darwin_one("night", "tag", {})
    source = read(write_darwin(tmp_path, {"a": [tag], "b": [darwin_polygon("x", square(0, 0, 4, 4))]}))
    empty = source.records[0].decode()
    assert (empty.truth.semantic(source.label_space) == 0).all() and len(empty.instances) == 0
    with pytest.raises(ValueError, match="no annotation with an area; annotate an image, or set the option classes"):
        read(write_darwin(tmp_path / "other", {"a": [tag]}), background=False)


def test_splits_groups_and_a_pulled_data_set(tmp_path):
    names = {"train/p 1_ä": [darwin_polygon("x", square(0, 0, 4, 4))], "val/p2_b": [], "test/sub/p3_c.v2": []}
    write_darwin(tmp_path / "wrapped", names)
    shutil.move(tmp_path / "wrapped/annotations", tmp_path / "wrapped/releases/first/annotations")
    write_json(tmp_path / "wrapped/releases/first/annotations/.v7/metadata.json", {"version": "1.0", "classes": []})
    source = read(tmp_path, annotations="releases/first/annotations", group_pattern="(p ?[0-9])", name="mine")
    assert source.name == "mine" and not source.faults
    assert [(record.id, record.split, record.group) for record in source] == [
        ("test__sub__p3_c.v2", "test", "p3"),
        ("train__p 1_ä", "train", "p 1"),
        ("val__p2_b", "val", "p2"),
    ]
    fakes.save(tmp_path / "wrapped/images/extra/d.png", fakes.picture(9))
    write_json(tmp_path / "wrapped/releases/first/annotations/d.json", darwin("d.png", [], path="/extra"))
    (fault,) = read(tmp_path, annotations="releases/first/annotations").faults
    assert (fault.rule, fault.file) == ("outside_splits", "wrapped/images/extra/d.png")


@pytest.mark.parametrize(
    ("image", "item"),
    [
        ("sub/a.png", darwin("a.png", [], path="/sub")),
        ("a.png", darwin("a.png", [], path="/sub")),  # pulled without folders
        ("renamed.png", darwin("renamed", [], uploaded="x.png")),  # named anew in V7, where the suffix may go
        ("renamed.png", darwin("renamed.dcm", [], uploaded="x.png")),
        ("a.png", {**darwin("a.png", []), "item": {"name": "a.png"}}),  # the schema wants no more
        ("a.png", {**darwin("a.png", []), "item": {"name": "a.png", "path": "/", "slots": [{"source_files": ["x"]}]}}),
    ],
)
def test_which_image_a_file_is_for(tmp_path, image, item):
    fakes.save(tmp_path / "images" / image, fakes.picture(0))
    write_json(tmp_path / "annotations/0191.json", item)
    source = read(tmp_path)
    assert not source.faults
    (record,) = source
    assert record.image_file == tmp_path / "images" / image
    assert record.truth_files == (tmp_path / "annotations/0191.json",)
    assert record.decode().shape == (HEIGHT, WIDTH)


def test_an_image_of_another_folder_is_not_taken(tmp_path):
    write_darwin(tmp_path, {"a": [], "sub/b": []})
    write_json(tmp_path / "annotations/c.json", darwin("a.png", [], path="/sub"))
    (fault,) = read(tmp_path).faults
    assert (fault.rule, fault.file) == ("mask_without_image", "annotations/c.json")
    assert "its image sub/a.png is not in the folder of images" in str(fault)


def test_files_beside_the_images(tmp_path):
    write_darwin(tmp_path, {"a": [darwin_polygon("x", square(0, 0, 4, 4))]})
    (tmp_path / "annotations/a.json").rename(tmp_path / "images/a.json")
    (record,) = read(tmp_path, annotations="images")
    assert record.decode().instances.masks.sum() == 16
    with pytest.raises(ValueError, match=r"wanted the folders images/ and json/, found .*; set the options images and annot"):
        read(tmp_path, annotations="json")


def test_everything_seen_without_opening_an_image(tmp_path):
    write_darwin(tmp_path, {name: [] for name in "abcdefg"} | {"h": [darwin_polygon("x", square(0, 0, 4, 4))]})
    folder = tmp_path / "annotations"
    (tmp_path / "images/b.png").unlink()
    (tmp_path / "images/c.png").rename(tmp_path / "images/C.png")
    (folder / "d.json").unlink()
    (folder / "e.json").write_text("{")
    (folder / "f.json").write_text("")
    shutil.copy(folder / "a.json", folder / "copy.json")
    write_json(folder / "g.json", {"image": {"filename": "g.png"}, "annotations": []})  # Darwin JSON 1.0
    video = darwin("v.mp4", [], type="video")
    both = copy.deepcopy(darwin("two.png", []))
    both["item"]["slots"] *= 2
    for name, content in {"v": video, "two": both, "outside": darwin("a.png", [], path="/../../etc")}.items():
        write_json(folder / f"{name}.json", content)
    write_json(folder / "coco.json", {"images": [], "annotations": []})  # another format is passed over
    write_json(folder / "list.json", [])
    (tmp_path / "images/phone.heic").touch()
    found = {(fault.rule, fault.file): fault for fault in read(tmp_path).faults}
    unreadable = [f"annotations/{name}.json" for name in ("e", "g", "two", "v")]
    without = [f"images/{name}.png" for name in "Cdefg"]
    assert set(found) == {
        ("mask_without_image", "annotations/b.json"),
        ("mask_without_image", "annotations/c.json"),
        ("two_masks", "annotations/copy.json"),
        ("two_masks", "annotations/outside.json"),  # only the name counts where the folder is not there
        ("zero_byte", "annotations/f.json"),
        *(("unreadable_annotation", file) for file in unreadable),
        *(("image_without_mask", file) for file in without),
        ("not_read", "images/phone.heic"),
    }
    assert "'C.png' differs from it only in case" in str(found["mask_without_image", "annotations/c.json"])
    assert found["two_masks", "annotations/copy.json"].value == "a.json and copy.json"
    assert "is no Darwin JSON 2.0" in str(found["unreadable_annotation", "annotations/g.json"])
    assert "has the slots image, image; wanted one image" in str(found["unreadable_annotation", "annotations/two.json"])
    assert "has the slots video; wanted one image" in str(found["unreadable_annotation", "annotations/v.json"])
    assert [record.id for record in read(tmp_path)] == ["a", "h"]


def layer(**more) -> dict:
    values = np.zeros((HEIGHT, WIDTH), int)
    values[box_mask(2, 3, 8, 7)] = 1
    given = darwin_layer(values, {"m": 1})
    return {**given, "raster_layer": given["raster_layer"] | more}


MASK = darwin_one("x", "mask", {}, id="m")


@pytest.mark.parametrize(
    ("wrong", "rule", "message"),
    [
        ([darwin_polygon("y", square(0, 0, 4, 4))], "label_outside", "(y): label 'y' is none of background, x; correct it"),
        ([{"id": "1", "polygon": {"paths": []}}], POOR, "has no name of a class; give it one"),
        (["text"], POOR, "has no name of a class"),
        (
            [darwin_one("x", "blob", {})],
            POOR,
            "is of an unknown kind (keys id, name, blob, properties, slot_names)",
        ),
        ([darwin_one("x", "polygon", [])], POOR, "its polygon is []; wanted an object with its parts"),
        ([darwin_one("x", "polygon", {"paths": []})], POOR, "its paths are []; wanted [[{x, y}, ...], ...]"),
        ([darwin_one("x", "polygon", {"paths": 5})], POOR, "its paths are 5; wanted"),
        (
            [darwin_one("x", "polygon", {"paths": [[[0, 0], [4, 4]]]})],
            POOR,
            "points are [[0, 0], [4, 4]]; wanted",
        ),
        ([darwin_one("x", "polygon", {})], POOR, "points are None; wanted [{x, y}, ...] in pixels"),
        ([darwin_polygon("x", [[0, 0], [4, 4]])], POOR, "has 2 corners, wanted 3 or more"),
        (
            [darwin_one("x", "polygon", {"paths": [[{"x": 1}]]})],
            POOR,
            "points are [[1, None]]; wanted [[x, y], ...]",
        ),
        ([darwin_polygon("x", square(0.6, 0.6, 1.4, 1.4))], POOR, "the polygon covers no pixel"),
        ([darwin_one("x", "ellipse", {"center": 5})], POOR, "points are [5, None, {"),
        ([darwin_one("x", "ellipse", ellipse(5, 5, 2, 0))], POOR, "an ellipse has the radii 2 and 0"),
        ([darwin_one("x", "ellipse", ellipse(5, 5, 2, 2, "flat"))], POOR, "points are [[5, 5], [2, 2], ['flat', 0]]; wanted"),
        ([darwin_one("x", "bounding_box", {"x": 1, "y": 2})], POOR, "points are [[1, 2], [None, None]]"),
        ([MASK], POOR, "a mask has its pixels in the raster layer, and the file has none"),
        ([MASK, layer(dense_rle=[0, 700, 1, 5])], "size_mismatch", "dense_rle covers 705 pixels, wanted 24*32 = 768"),
        ([MASK, layer(dense_rle=[0, 768, 1])], POOR, "dense_rle is [0, 768, 1]; wanted [value, count"),
        ([MASK, layer(dense_rle=[0, -5, 1, 773])], POOR, "dense_rle is [0, -5, 1, 773]; wanted"),
        ([MASK, layer(dense_rle=[3, 768])], POOR, "holds the value 3, which is no mask of the file"),
        ([layer()], POOR, "holds the value 1, which is no mask of the file"),
        ([MASK, layer(mask_annotation_ids_mapping=[1])], POOR, "mask_annotation_ids_mapping is [1]; wanted"),
        ([MASK, layer(), layer()], POOR, "is not the only raster layer; wanted one for the image"),
    ],
)
def test_annotations_that_cannot_be_used(tmp_path, wrong, rule, message):
    write_darwin(tmp_path, {"a": [darwin_polygon("x", square(0, 0, 4, 4)), *wrong]})
    with pytest.raises(FaultError) as caught:
        read(tmp_path, classes=["x"]).records[0].decode()
    fault = caught.value.faults[0]
    assert (fault.rule, fault.file) == (rule, "annotations/a.json")
    assert message in str(fault) and f"annotation {fault.value} (" in str(fault) and int(fault.value) > 0


def test_an_image_of_another_size(tmp_path):
    write_darwin(tmp_path, {"a": []})
    write_json(tmp_path / "annotations/a.json", darwin("a.png", [], width=33))
    with pytest.raises(FaultError, match=r"a\.json: is for an image of 33x24, its image is 32x24 \(width x height\).*size_mis"):
        read(tmp_path).records[0].decode()


def test_what_the_gate_warns_of(tmp_path):
    tie = [[2, 2], [12, 12], [12, 2], [2, 12]]
    pictures = {"a": [darwin_polygon("x", tie)], "b": [darwin_polygon("x", square(-4, 2, 9, 9))], "B": []}
    root = write_darwin(tmp_path / "own", pictures)
    opened = gate.inspect(read(root), table=tmp_path / "gate.csv", root=root, rules={"name_clash": "warning"}, keep=len_of)
    assert [(record.id, kept) for record, kept in opened] == [("B", 0), ("a", 1), ("b", 1)]
    table = (tmp_path / "gate.csv").read_text()
    for row in (
        "warning,crossing_outline,annotations/a.json,7,7,0,",
        "warning,outline_outside,annotations/b.json,,,0,",
        "warning,name_clash,annotations/b.json,,,b,",
    ):
        assert row in table


def len_of(record, sample) -> int:
    return len(sample.instances)


def test_there_and_back(tmp_path):
    """Polygons with holes, masks and void, through the canonical form: the same pixels and whole objects."""
    values = np.zeros((HEIGHT, WIDTH), int)
    values[box_mask(16, 3, 30, 20)] = 4
    values[np.random.default_rng(0).random(values.shape) < 0.4] = 0
    ring, over = darwin_polygon("b", square(1, 1, 14, 14), square(4, 4, 8, 8)), darwin_polygon("c", square(6, 0, 20, 6))
    noise = [darwin_one("a", "mask", {}, id="m"), darwin_layer(values, {"m": 4})]
    void = darwin_polygon("__ignore__", square(0, 20, 4, 24))
    pictures = {f"train/{name}": [*noise, ring, over, void] for name in "ab"} | {"val/c": [ring], "test/d": noise}
    root = write_darwin(tmp_path / "raw", pictures)
    found = read_back(read(root), tmp_path / "out", root)
    assert set(found) == {"train__a", "train__b", "val__c", "test__d"}
    hole, bar = box_mask(1, 1, 14, 14) & ~box_mask(4, 4, 8, 8), box_mask(6, 0, 20, 6)
    wanted = np.where(values > 0, 1, 0)
    wanted[hole], wanted[bar], wanted[box_mask(0, 20, 4, 24)] = 2, 3, 255
    labels, objects = found["train__b"]
    assert np.array_equal(labels, wanted)
    assert [category for category, _ in objects] == [1, 2, 3]
    assert np.array_equal([mask for _, mask in objects], [values > 0, hole, bar])
    assert np.array_equal(found["val__c"][0], 2 * hole)
    assert np.array_equal(found["test__d"][0], values > 0)
    assert json.loads((tmp_path / "out/dataset.json").read_text())["names"] == ["background", "a", "b", "c"]
