"""The labelme reader: every kind of shape by hand, what lies above what, its faults, and the way there and back."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.annotations import labelme_file, labelme_shapes
from pipeline.datasets.labelme import read
from pipeline.files import write_json
from pipeline.sources import FaultError
from tests import fakes

HEIGHT, WIDTH = 24, 32


def shape(label: str, points: list, kind: str | None = "polygon", **more) -> dict:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def square(x0, y0, x1, y1) -> list:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def write(root: Path, pictures: dict[str, list], **more) -> Path:
    """images/NAME.png and annotations/NAME.json with these shapes."""
    for seed, (name, shapes) in enumerate(pictures.items()):
        fakes.save(root / "images" / f"{name}.png", fakes.picture(seed))
        content = labelme_file(shapes, image_path="anything.png", height=HEIGHT, width=WIDTH) | more
        write_json(root / "annotations" / f"{name}.json", content)
    return root


def sample(root: Path, shapes: list, **options):
    source = read(write(root, {"a": shapes}), **options)
    assert not source.faults
    return source.label_space, source.records[0].decode()


def box_mask(x0, y0, x1, y1) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def png(mask: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8))[1].tobytes()).decode()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (shape("x", square(2, 3, 8, 7)), box_mask(2, 3, 8, 7)),
        (shape("x", square(2, 3, 8, 7), None), box_mask(2, 3, 8, 7)),  # files of labelme 3 name no kind
        (shape("x", square(2.5, 3.6, 8.5, 7.4)), box_mask(3, 4, 9, 7)),  # a centre on the left rim is out, on the right in
        (shape("x", square(31, 23, 32, 24)), box_mask(31, 23, 32, 24)),
        (shape("x", square(-3, -2, 40, 30)), box_mask(0, 0, 32, 24)),  # beyond the rim
        (shape("x", [[8, 7], [2, 3]], "rectangle"), box_mask(2, 3, 8, 7)),  # drawn from below
        (shape("x", square(2, 3, 8, 7), "oriented_rectangle"), box_mask(2, 3, 8, 7)),
        (shape("x", [[4.5, 5.5], [4.5, 6.5]], "circle"), box_mask(4, 4, 5, 7) | box_mask(3, 5, 6, 6)),  # radius 1: a plus
        (shape("x", [[3, 2], [4, 4]], "mask", mask=png(np.array([[1, 0], [1, 1], [0, 1]]))), None),
    ],
)
def test_shapes_by_hand(tmp_path, given, wanted):
    if wanted is None:  # the points of a mask are its first and its last pixel
        wanted = box_mask(3, 2, 4, 4) | box_mask(4, 3, 5, 5)
    space, found = sample(tmp_path, [given])
    assert space.names == ("background", "x") and space.isthing == (False, True)
    assert np.array_equal(found.instances.masks, wanted[None])
    assert np.array_equal(found.truth.semantic(space), wanted.astype(np.uint8))


def test_later_shapes_lie_above_and_objects_keep_their_masks(tmp_path):
    space, found = sample(tmp_path, [shape("b", square(0, 0, 10, 10)), shape("a", square(5, 5, 15, 15))])
    assert space.names == ("background", "a", "b")
    assert found.instances.classes.tolist() == [2, 1]
    assert np.array_equal(found.instances.masks, [box_mask(0, 0, 10, 10), box_mask(5, 5, 15, 15)])
    labels = found.truth.semantic(space)
    assert (labels[4, 4], labels[7, 7], labels[20, 20]) == (2, 1, 0)
    assert np.count_nonzero(labels == 2) == 75


def test_group_id_joins_parts_of_one_label(tmp_path):
    parts = [
        shape("a", square(0, 0, 4, 4), group_id=3),
        shape("a", square(8, 0, 9, 4)),
        shape("b", square(20, 0, 22, 4), group_id=3),
        shape("a", square(12, 0, 16, 4), group_id=3),
        shape("a", square(9, 0, 10, 4)),
    ]
    _, found = sample(tmp_path, parts)
    assert found.instances.classes.tolist() == [1, 1, 2, 1]
    assert np.array_equal(found.instances.masks[0], box_mask(0, 0, 4, 4) | box_mask(12, 0, 16, 4))
    assert len(found.truth.info) == 5  # the ground and four objects, the two that touch told apart


def test_stuff_is_one_segment(tmp_path):
    shapes = [shape("road", square(0, 0, 4, 4)), shape("car", square(1, 1, 3, 3)), shape("road", square(8, 0, 9, 4))]
    space, found = sample(tmp_path, shapes, classes=[{"name": "road", "isthing": False, "colour": [1, 2, 3]}, "car"])
    assert space.names == ("background", "road", "car")
    assert space.colours[1] == (1, 2, 3)
    assert found.instances.classes.tolist() == [2]
    assert sorted(segment.category for segment in found.truth.info) == [0, 1, 2]
    space, found = sample(tmp_path, shapes[:1], classes=[{"name": "road", "isthing": False}])
    assert found.instances is None


def test_background_or_void(tmp_path):
    shapes = [shape("a", square(0, 0, 4, 4)), shape("background", square(0, 0, 2, 4)), shape("__ignore__", square(3, 0, 4, 4))]
    space, found = sample(tmp_path, shapes)
    assert space.names == ("background", "a")
    labels = found.truth.semantic(space)
    assert labels[0, :6].tolist() == [0, 0, 1, 255, 0, 0]
    space, found = sample(tmp_path, shapes[::2], background=False)
    assert space.names == ("a",)
    assert found.truth.semantic(space)[0, :6].tolist() == [0, 0, 0, 255, 255, 255]
    space, _ = sample(tmp_path, shapes, classes=["a", "background"])
    assert space.names == ("a", "background") and space.isthing == (True, False)
    space, _ = sample(tmp_path, shapes, classes=["a", {"name": "background", "colour": [1, 2, 3]}])
    assert (space.names, space.isthing, space.colours[1]) == (("a", "background"), (True, False), (1, 2, 3))
    with pytest.raises(ValueError, match="classes: 5; wanted a list of names"):
        read(tmp_path, classes=5)
    space, _ = sample(tmp_path, shapes[::2], void=None)
    assert space.names == ("background", "__ignore__", "a")


def test_a_picture_without_a_shape_is_background(tmp_path):
    source = read(write(tmp_path, {"a": [], "b": [shape("x", square(0, 0, 4, 4))]}))
    empty = source.records[0].decode()
    assert (empty.truth.semantic(source.label_space) == 0).all() and len(empty.instances) == 0
    with pytest.raises(ValueError, match="no shape with a label"):
        read(write(tmp_path / "other", {"a": []}), background=False)


def test_pairs_splits_groups_and_names(tmp_path):
    names = {"train/p 1_ä": [shape("x", square(0, 0, 4, 4))], "val/p2_b": [], "test/sub/p3_c.v2": []}
    source = read(write(tmp_path / "wrapped", names), name="mine", group_pattern="(p ?[0-9])")
    source = read(tmp_path, name="mine", group_pattern="(p ?[0-9])")  # in one more folder
    assert source.name == "mine"
    assert [(record.id, record.split, record.group) for record in source] == [
        ("test__sub__p3_c.v2", "test", "p3"),
        ("train__p 1_ä", "train", "p 1"),
        ("val__p2_b", "val", "p2"),
    ]
    write(tmp_path / "wrapped", {"extra/d": []})
    assert [(fault.rule, fault.file) for fault in read(tmp_path).faults] == [("outside_splits", "wrapped/images/extra/d.png")]


def test_files_beside_the_images(tmp_path):
    write(tmp_path, {"sub/a": [shape("x", square(0, 0, 4, 4))]})
    (tmp_path / "annotations/sub/a.json").rename(tmp_path / "images/sub/a.json")
    (record,) = read(tmp_path, annotations="images")
    assert record.decode().instances.masks.sum() == 16
    (record,) = read(tmp_path / "images", images=".", annotations=".")
    assert record.id == "sub__a"
    with pytest.raises(
        ValueError, match=r"wanted the folders images/ and json/, found .*; set the options images and annotations"
    ):
        read(tmp_path, annotations="json")


def test_everything_seen_from_names(tmp_path):
    write(tmp_path, {"a": [shape("x", square(0, 0, 4, 4))], "b": [], "c": []})
    (tmp_path / "images/b.png").unlink()
    (tmp_path / "annotations/c.json").unlink()
    (tmp_path / "annotations/damaged.json").write_text('{"shapes": [')
    write_json(tmp_path / "annotations/annotations.json", {"images": [], "annotations": []})  # a COCO file is passed over
    (tmp_path / "annotations/list.json").write_text("[]")
    (tmp_path / "images/phone.heic").touch()
    source = read(tmp_path)
    assert [(fault.rule, fault.file) for fault in source.faults] == [
        ("mask_without_image", "annotations/b.json"),
        ("mask_without_image", "annotations/damaged.json"),
        ("not_read", "images/phone.heic"),
        ("image_without_mask", "images/c.png"),
    ]
    assert [record.id for record in source] == ["a"]


@pytest.mark.parametrize(
    ("wrong", "rule", "message"),
    [
        (shape("y", square(0, 0, 4, 4)), "label_outside", "(y): label 'y' is none of background, x; correct it, or add it"),
        ({"points": square(0, 0, 4, 4)}, "unusable_outline", "shape 1: has no label"),
        ("text", "unusable_outline", "shape 1: has no label"),
        (shape("x", [[0, 0], [4, 4]]), "unusable_outline", "(x): has 2 corners, wanted 3 or more"),
        (shape("x", [[0, 0, 0], [4, 4, 0]]), "unusable_outline", "points are [[0, 0, 0], [4, 4, 0]]; wanted [[x, y], ...]"),
        (shape("x", [[0, 0], [4, "a"], [1, 1]]), "unusable_outline", "wanted [[x, y], ...] in pixels"),
        (shape("x", [[0, 0], [4, float("nan")], [1, 1]]), "unusable_outline", "wanted [[x, y], ...] in pixels"),
        (shape("x", [[0, 0], [4, 1e12], [1, 1]]), "unusable_outline", "(4, 1e+12) lies far outside the image, 32x24"),
        (shape("x", square(0.6, 0.6, 1.4, 1.4)), "unusable_outline", "the polygon covers no pixel"),
        (shape("x", [[0, 0]], "blob"), "unusable_outline", "shape_type 'blob' is unknown; known: rectangle, circle"),
        (shape("x", [[0, 0]], "circle"), "unusable_outline", "a circle has 1 points, wanted 2"),
        (shape("x", square(0, 0, 4, 4), "rectangle"), "unusable_outline", "a rectangle has 4 points, wanted 2"),
        (shape("x", [[0, 0], [1, 1]], "mask", mask="%"), "unusable_outline", "its mask is no PNG in base64"),
        (shape("x", [[0, 0], [1, 1]], "mask", mask=None), "unusable_outline", "its mask is no PNG in base64"),
        (shape("x", [[0, 0], [1, 1]], "mask", mask=5), "unusable_outline", "its mask is no PNG in base64"),
        (
            shape("x", [[0, 0], [1, 1]], "mask", mask=png(np.ones((2, 3)))),
            "unusable_outline",
            "its mask is 3x2, its points give 2x2",
        ),
        (shape("x", [[31, 0], [32, 1]], "mask", mask=png(np.ones((2, 2)))), "unusable_outline", "its mask reaches outside"),
    ],
)
def test_shapes_that_cannot_be_used(tmp_path, wrong, rule, message):
    write(tmp_path, {"a": [shape("x", square(0, 0, 4, 4)), wrong]})
    with pytest.raises(FaultError) as caught:
        read(tmp_path, classes=["x"]).records[0].decode()
    (fault,) = caught.value.faults
    assert (fault.rule, fault.file) == (rule, "annotations/a.json")
    assert message in str(fault) and "shape 1" in str(fault)


def test_files_that_cannot_be_used(tmp_path):
    damaged = "unreadable_annotation"
    for number, (text, rule) in enumerate([("", "zero_byte"), ("{", damaged), ("[]", damaged)]):
        root = write(tmp_path / str(number), {"a": []})
        (root / "annotations/a.json").write_text(text)
        with pytest.raises(FaultError, match=r"annotations/a\.json") as caught:
            read(root).records[0].decode()
        assert caught.value.faults[0].rule == rule
    root = write(tmp_path / "size", {"a": []}, imageWidth=33)
    with pytest.raises(FaultError, match=r"is for an image of 33x24, its image is 32x24 \(width x height\)"):
        read(root).records[0].decode()
    root = write(tmp_path / "unsaid", {"a": []}, imageWidth=None, imageHeight=None)
    assert read(root).records[0].decode().shape == (24, 32)


def test_every_fault_of_a_file_is_told_at_once(tmp_path):
    write(tmp_path, {"a": [shape("x", []), shape("z", square(0, 0, 4, 4)), shape("x", [[0, 0]], "point")]})
    with pytest.raises(FaultError) as caught:
        read(tmp_path, classes=["x"]).records[0].decode()
    assert [fault.value for fault in caught.value.faults] == ["0", "1", "2"]


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "points"])
def test_what_has_no_area_is_left_out(tmp_path, kind):
    space, found = sample(tmp_path, [shape("y", [[0, 0], [4, 4]], kind), shape("x", square(0, 0, 4, 4))])
    assert space.names == ("background", "x") and len(found.instances) == 1
    (remark,) = found.remarks
    assert (remark.rule, remark.file, remark.value) == ("no_area", "annotations/a.json", "0")
    assert f"shape 0 (y): of kind {kind}, has no area and is left out; draw a polygon" in str(remark)


def test_there_and_back(tmp_path):
    """Noise with holes, many parts and single pixels comes back as it was, each object by itself."""
    rng = np.random.default_rng(0)
    for number in range(12):
        masks = [rng.random((HEIGHT, WIDTH)) < share for share in (0.02, 0.5, 0.9)]
        masks[0][5, number] = True
        shapes = []
        for index, mask in enumerate(masks):
            shapes += labelme_shapes(mask, "ab"[index % 2], group_id=index + 1)
        space, found = sample(tmp_path / str(number), shapes)
        assert np.array_equal(found.instances.masks, masks)
        assert found.instances.classes.tolist() == [1, 2, 1]
        wanted = np.where(masks[2], 1, np.where(masks[1], 2, np.where(masks[0], 1, 0)))
        assert np.array_equal(found.truth.semantic(space), wanted)


def test_labelme_itself_would_write_the_same_keys():
    content = labelme_file([], image_path="a.png", height=1, width=1)
    assert json.loads(json.dumps(content)) == content
