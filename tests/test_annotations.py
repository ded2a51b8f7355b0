"""Outlines of masks by hand, and both formats back to the pixel."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.annotations import coco_annotation, labelme_file, labelme_shapes, outlines


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def polygons(shapes, height, width) -> np.ndarray:
    codes = coco.frPyObjects([np.ravel(shape["points"]).tolist() for shape in shapes], height, width)
    return coco.decode(coco.merge(codes)).astype(bool)


def from_coco(annotation, height, width) -> np.ndarray:
    given = annotation["segmentation"]
    code = given if isinstance(given, dict) else coco.merge(coco.frPyObjects(given, height, width))
    return coco.decode(code).astype(bool)


def test_outlines_by_hand():
    assert outlines(mask_of("..", "..")) == []
    [[pixel]] = outlines(mask_of("...", "..#"))
    assert sorted(map(tuple, pixel.tolist())) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    [[corner]] = outlines(mask_of("#.", "##"))
    assert set(map(tuple, corner.tolist())) == {(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)} and len(corner) == 6
    [[outer, hole]] = outlines(mask_of("###", "#.#", "###"))
    assert set(map(tuple, outer.tolist())) == {(0, 0), (3, 0), (3, 3), (0, 3)}
    assert set(map(tuple, hole.tolist())) == {(1, 1), (2, 1), (2, 2), (1, 2)}
    assert len(outlines(mask_of("#.#"))) == 2
    assert len(outlines(mask_of("#.", ".#"))) == 1  # pixels that touch at a corner
    ring_in_ring = np.pad(np.pad(np.pad(np.ones((1, 1), bool), 1), 1, constant_values=True), 1)
    assert sorted(len(part) for part in outlines(ring_in_ring)) == [1, 2]


def every_3x3():
    for number in range(1, 1 << 9):
        yield ((number >> np.arange(9)) & 1).astype(bool).reshape(3, 3)


def noise():
    rng = np.random.default_rng(0)
    for _ in range(150):
        height, width = rng.integers(1, 30, 2)
        mask = rng.random((height, width)) < rng.random()
        if mask.any():
            yield mask


@pytest.mark.parametrize("masks", [every_3x3, noise])
def test_both_formats_give_every_pixel_back(masks):
    """pycocotools draws the outlines as the very masks they came from: all small ones, and larger noise with many holes."""
    with_holes = 0
    for mask in masks():
        annotation = coco_annotation(mask)
        assert np.array_equal(from_coco(annotation, *mask.shape), mask)
        assert np.array_equal(polygons(labelme_shapes(mask, "a", group_id=1), *mask.shape), mask)
        is_code = isinstance(annotation["segmentation"], dict)
        assert is_code == any(len(part) > 1 for part in outlines(mask))
        with_holes += is_code
    assert with_holes > 9


def test_a_coco_annotation_by_hand():
    found = coco_annotation(mask_of("....", ".##.", ".#.#"))
    assert (found["area"], found["bbox"], found["iscrowd"]) == (4, [1, 1, 3, 2], 0)
    assert json.loads(json.dumps(found)) == found
    two = coco_annotation(mask_of("#.#"))["segmentation"]
    assert sorted(map(sorted, two)) == [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3]]


def test_labelme_shapes_by_hand():
    [one] = labelme_shapes(mask_of("##"), "cat", group_id=5)
    assert one | {"points": []} == {
        "label": "cat",
        "points": [],
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }
    assert sorted(one["points"]) == [[0, 0], [0, 1], [2, 0], [2, 1]]
    assert [shape["group_id"] for shape in labelme_shapes(mask_of("#.#"), "cat", group_id=5)] == [5, 5]
    [holed] = labelme_shapes(mask_of("###", "#.#", "###"), "cat", group_id=5)
    assert len(holed["points"]) == 4 + 4 + 2  # a line into the hole and back


def test_simplified_outlines_have_few_corners_and_stay_near():
    y, x = np.mgrid[:120, :160]
    disk = (x - 80) ** 2 + (y - 60) ** 2 < 50**2
    disk &= (x - 80) ** 2 + (y - 60) ** 2 > 20**2
    [exact], [simple] = (labelme_shapes(disk, "a", group_id=1, tolerance_px=one) for one in (0.0, 1.0))
    assert len(simple["points"]) < len(exact["points"]) / 5
    differ = polygons([simple], 120, 160) != disk
    near = cv2.dilate(disk.astype(np.uint8), np.ones((5, 5))) != cv2.erode(disk.astype(np.uint8), np.ones((5, 5)))
    assert differ.any() and not (differ & ~near).any()
    [pixel] = labelme_shapes(mask_of("#"), "a", group_id=1, tolerance_px=9.0)
    assert len(pixel["points"]) == 4  # a polygon needs three corners: it stays as it is


def test_the_version_is_one_that_labelme_opens():
    assert labelme_file([], image_path="a.png", height=1, width=2)["version"].startswith("5.")
