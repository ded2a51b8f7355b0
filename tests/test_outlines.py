"""What the gate says of outlines, ids and names: found with file, place and value, and the data stays usable where it can."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import _outlines, coco_json, folder, labelme
from pipeline.datasets import _own_data as own
from pipeline.datasets._outlines import Outlines, doubtful_pixels, find_crossing
from pipeline.datasets._polygons import OutlineError
from pipeline.gate.inspection import GateError, inspect
from pipeline.sources import FaultError
from tests import fakes, test_coco_json, test_labelme

BOW_TIE = [[2, 2], [12, 12], [12, 2], [2, 12]]


def rows(table: Path) -> list[tuple]:
    with table.open(encoding="utf-8", newline="") as file:
        return [tuple(row[key] for key in ("level", "rule", "file", "x", "y", "value")) for row in csv.DictReader(file)]


def ring(x0, y0, x1, y1) -> list:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


@pytest.mark.parametrize(
    ("corners", "crossing"),
    [
        (BOW_TIE, (7, 7)),
        (BOW_TIE[::-1], (7, 7)),
        ([[0, 0], [2, 2], [4, 4], [4, 0], [0, 4]], (2, 2)),  # through a corner
        ([[0, 0], [2, 2], [4, 0], [4, 4], [2, 2.0], [0, 4]], None),  # two corners meet
        ([[0, 0], [4, 0], [4, 4], [2, 0], [0, 4]], None),  # a corner touches an edge
        ([[0, 0], [8, 0], [8, 0], [8, 8], [0, 8]], None),  # a corner stands twice
        ([[0, 0], [8, 0], [4, 0], [4, 4], [0, 4]], None),  # back on the same line
        ([*ring(0, 0, 9, 9), *ring(3, 3, 6, 6)], None),  # into a hole and back, around it in the same direction
        ([*ring(3, 3, 0, 0), *ring(5, 5, 9, 9)[::-1]], None),  # two parts on one line, as Ultralytics joins them
        ([*ring(0, 0, 6, 6), *ring(3, 3, 9, 9)], (3, 6)),  # two parts that overlap
        ([[1, 1]], None),
    ],
)
def test_crossings_by_hand(corners, crossing):
    found = find_crossing(np.array(corners, float))
    assert found == pytest.approx(crossing) if crossing else found is None


@pytest.mark.parametrize("pairs", [1, 5, 1 << 18])
def test_crossings_are_those_of_every_pair_of_edges(monkeypatch, pairs):
    monkeypatch.setattr(_outlines, "_PAIRS", pairs)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(400):
        corners = rng.random((rng.integers(3, 9), 2)) * 30
        crosses = any(proper(corners, i, j) for i in range(len(corners)) for j in range(i))
        assert (find_crossing(corners) is not None) == crosses
        assert crosses or not doubtful_pixels(corners, 30, 30)
        seen.add(crosses)
    assert seen == {False, True}


def proper(corners, i, j) -> bool:
    a, b, c, d = (corners[index % len(corners)] for index in (i, i + 1, j, j + 1))

    def side(a, b, point):
        return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def test_pixels_that_programs_fill_in_different_ways():
    assert doubtful_pixels(np.array(ring(2, 2, 8, 8), float), 10, 10) == 0
    assert doubtful_pixels(np.array([*ring(0, 0, 6, 6), *ring(3, 3, 9, 9)], float), 10, 10) == 9
    assert doubtful_pixels(np.array([*ring(0, 0, 3, 3), *ring(5, 5, 9, 9)[::-1]], float), 10, 10) == 9
    assert doubtful_pixels(np.array([*ring(-9, -9, -3, -3), *ring(-6, -6, -1, -1)], float), 10, 10) == 0  # outside the image
    assert doubtful_pixels(np.array(ring(0.6, 0.6, 0.9, 0.9), float), 10, 10) == 0


def test_a_crossing_smaller_than_a_pixel_is_passed_over():
    outlines = Outlines("a.json", 24, 32)
    with outlines.part("shape 0", 0):
        outlines.polygon([[2, 2], [12, 2], [12, 12], [2.3, 2.1], [2.2, 2.3], [2.4, 2.2], [2, 12]])
    assert find_crossing(np.array([[2, 2], [12, 2], [12, 12], [2.3, 2.1], [2.2, 2.3], [2.4, 2.2], [2, 12]])) is not None
    assert outlines.faults == outlines.remarks == []


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (ring(-0.5, -0.5, 32.5, 24.5), None),  # where tools round corners to
        (ring(-0.6, 2, 9, 9), "the point (-0.6, 2) lies outside the image, 32x24"),
        (ring(2, 2, 9, 25), "the point (9, 25) lies outside"),
        (ring(2, 2, 33, 9), "the point (33, 2) lies outside"),
    ],
)
def test_outlines_that_leave_the_image(points, message):
    outlines = Outlines("a.json", 24, 32)
    with outlines.part("shape 4 (cat)", 4):
        mask = outlines.polygon(points)
    (x0, y0), (x1, y1) = points[0], points[2]
    inside = np.zeros((24, 32), bool)
    inside[max(round(y0), 0) : round(y1), max(round(x0), 0) : round(x1)] = True
    assert np.array_equal(mask, inside)
    assert [(one.rule, one.file, one.value) for one in outlines.remarks] == [("outline_outside", "a.json", "4")] * bool(message)
    assert not message or f"shape 4 (cat): {message}" in str(outlines.remarks[0])


def test_ellipses():
    outlines = Outlines("a.json", 24, 32)
    with outlines.part("shape 0", 0):
        assert outlines.ellipse([16, 12], [3, 1]).sum(axis=1).tolist() == [0] * 11 + [6, 6] + [0] * 11
        upright = outlines.ellipse([16, 12], [3, 1], 90)
        assert np.array_equal(upright, outlines.ellipse([16, 12], [1, 3]))
        falling = outlines.ellipse([16, 12], [6, 1], 45)  # clockwise: from the upper left to the lower right
        assert falling[9, 13] and falling[14, 18] and not falling[14, 13]
    assert not outlines.remarks
    with outlines.part("shape 1", 1):
        outlines.ellipse([16, 12], [13, 1], 90)
    (remark,) = outlines.remarks
    assert (remark.rule, remark.value) == ("outline_outside", "1")
    assert "the point (15, -1) lies outside" in str(remark)
    with pytest.raises(OutlineError, match="an ellipse has the radii 3 and 0, wanted more than 0"):
        outlines.ellipse([16, 12], [3, 0])


def test_faults_and_remarks_are_told_together():
    outlines = Outlines("a.json", 24, 32)
    with outlines.part("shape 0", 0):
        outlines.polygon(BOW_TIE)
    with outlines.part("shape 1", 1):
        outlines.polygon([[1, 1]])
    with pytest.raises(FaultError) as caught:
        outlines.truth([], fakes.MIXED, ground=None)
    assert [(fault.rule, fault.value) for fault in caught.value.faults] == [
        ("unusable_outline", "1"),
        ("crossing_outline", "0"),
    ]


def labelme_source(root):
    shapes = [test_labelme.shape("x", BOW_TIE), test_labelme.shape("x", ring(-4, 2, 9, 9))]
    return labelme.read(test_labelme.write(root, {"a": shapes, "b": [test_labelme.shape("x", ring(1, 1, 4, 4))]})), root


def coco_source(root):
    flat = [[one for point in points for one in point] for points in (BOW_TIE, ring(-4, 2, 9, 9))]
    annotations = [test_coco_json.one([one], id=place) for place, one in enumerate(flat)]
    return coco_json.read(test_coco_json.write(root, annotations, names=("a.png", "b.png"))), root


FOUND = {
    labelme_source: ("annotations/a.json", "shape 0 (x)"),
    coco_source: ("annotations/annotations.json", "annotation 0 (id 0, a.png)"),
}


@pytest.mark.parametrize("make", list(FOUND))
def test_the_gate_warns_and_keeps_the_image(tmp_path, make):
    source, root = make(tmp_path / "own")
    file, place = FOUND[make]
    look = partial(inspect, source, table=tmp_path / "gate.csv", root=root, keep=kept_objects)
    opened = look()
    assert [(record.id, kept) for record, kept in opened] == [("a", 2), ("b", make is labelme_source)]
    found = [row for row in rows(tmp_path / "gate.csv") if "outline" in row[1]]
    assert found == [
        ("warning", "crossing_outline", file, "7", "7", "0"),
        ("warning", "outline_outside", file, "", "", "1"),
    ]
    with pytest.raises(GateError, match=r"x=7, y=7: .*crosses itself at \(7, 7\) and goes around 20 pixels") as caught:
        look(rules={"crossing_outline": "error"})
    assert place in str(caught.value)
    assert len(look(rules={"crossing_outline": "ignore", "outline_outside": "ignore"})) == 2
    assert not [row for row in rows(tmp_path / "gate.csv") if "outline" in row[1]]


def kept_objects(record, sample) -> int:
    return len(sample.instances)


def test_remarks_stand_beside_the_faults_of_a_mask(tmp_path):
    """A truth that names a class which does not exist is told with what its outlines remark."""
    source, root = labelme_source(tmp_path / "own")
    other = labelme.read(root, classes=["x", "y"])
    records = other.records[:1]
    with pytest.raises(GateError, match="1 label_outside"):
        inspect(
            type(source)("mixed", labelme.read(root, classes=["background"], background=False).label_space, records),
            table=tmp_path / "gate.csv",
            root=root,
        )
    assert {row[1] for row in rows(tmp_path / "gate.csv")} >= {"label_outside", "crossing_outline", "outline_outside"}


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ((0, 5), None),
        ((1, 90), None),
        ((2, 3), "2"),
        ((7, "road"), "7"),
        (("car", "road"), "car"),
    ],
)
def test_ids_of_categories_that_do_not_count_from_0_or_1(tmp_path, ids, found):
    categories = [{"id": id, "name": f"class {id}"} for id in ids]
    source = coco_json.read(test_coco_json.write(tmp_path, [], categories=categories))
    wanted = [("category_ids", "annotations/annotations.json", found)] if found else []
    assert [(fault.rule, fault.file, fault.value) for fault in source.faults] == wanted


def test_names_that_some_disks_take_for_one(tmp_path):
    composed, decomposed = "b\u00fcro", "bu\u0308ro"
    ids = ("a", "A", composed, decomposed, "strasse", "straße")
    with pytest.raises(GateError) as caught:
        inspect(fakes.source(ids=ids), table=tmp_path / "gate.csv")
    assert rows(tmp_path / "gate.csv") == [
        ("error", "name_clash", "A", "", "", "A"),
        ("error", "name_clash", decomposed, "", "", decomposed),
        ("warning", "unicode_name", decomposed, "", "", decomposed),
    ]
    assert "the id 'A' differs from 'a' (a) only in upper and lower case; rename one" in str(caught.value)
    assert "only in the form of its Unicode; rename one" in str(caught.value)
    assert len(inspect(fakes.source(ids=ids), table=tmp_path / "gate.csv", rules={"name_clash": "warning"})) == len(ids)


def test_a_partner_under_almost_the_same_name_is_named(tmp_path):
    root = fakes.write_folder(tmp_path / "folder", names=("Bild", "b\u00fcro", "c"))
    (root / "masks/Bild.png").rename(root / "masks/bild.png")
    (root / "masks/b\u00fcro.png").rename(root / "masks/bu\u0308ro.png")
    (root / "masks/c.png").rename(root / "masks/d.png")
    messages = {(one.rule, one.file): one.message for one in folder.read(root, classes=["a", "b", "c"]).faults}
    assert len(messages) == 6
    end = "differs from it only in case or form of Unicode: rename one"
    assert messages["image_without_mask", "images/Bild.jpg"].endswith(f"; 'bild' {end}")
    assert messages["mask_without_image", "masks/bild.png"].endswith(f"; 'Bild' {end}")
    assert messages["image_without_mask", "images/b\u00fcro.jpg"].endswith(f"; 'bu\\u0308ro' {end}")
    assert messages["image_without_mask", "images/c.jpg"].endswith("add it or remove the image")
    root = test_labelme.write(tmp_path / "labelme", {"Bild": []})
    (root / "annotations/Bild.json").rename(root / "annotations/bild.json")
    first, second = labelme.read(root).faults
    assert first.rule == "mask_without_image" and f"; 'Bild' {end}" in first.message
    assert second.rule == "image_without_mask" and f"; 'bild' {end}" in second.message


def test_two_annotations_for_one_image(tmp_path):
    root = test_labelme.write(tmp_path, {"a": [test_labelme.shape("x", ring(1, 1, 4, 4))]})
    (root / "annotations/a.JSON").write_text((root / "annotations/a.json").read_text())
    (fault,) = labelme.read(root).faults
    assert (fault.rule, fault.file, fault.value) == ("two_masks", "annotations/a.JSON", "a.JSON and a.json")


def test_boxes_are_taken_whole_and_told(tmp_path):
    outlines = Outlines("a.txt", 24, 32)
    with outlines.part("line 3", 3):
        assert np.array_equal(outlines.box(2, 3, 8, 7), test_labelme.box_mask(2, 3, 8, 7))
        assert np.array_equal(outlines.box(2, 3, 8, 7, 180), test_labelme.box_mask(2, 3, 8, 7))
        assert np.array_equal(outlines.box(4, 2, 8, 10, 90), test_labelme.box_mask(2, 4, 10, 8))
        falling = outlines.box(8, 11, 20, 13, 45)  # clockwise: from the upper left to the lower right
        assert falling[9, 11] and falling[14, 16] and not falling[14, 11]
    assert [(one.rule, one.file, one.value) for one in outlines.remarks] == [("box_outline", "a.txt", "3")] * 4
    assert "line 3: is a box; draw its outline" in str(outlines.remarks[0])
    shapes = [test_labelme.shape("x", [[8, 7], [2, 3]], "rectangle")]
    (remark,) = labelme.read(test_labelme.write(tmp_path, {"a": shapes})).records[0].decode().remarks
    assert (remark.rule, remark.value) == ("box_outline", "0")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("train val test", {"train": "train", "val": "val", "test": "test"}),
        ("test train val", {"train": "train", "val": "val", "test": "test"}),
        ("train val", {"train": "trainval", "val": "test"}),
        ("train test", {"train": "trainval", "test": "test"}),
        ("val test", {"val": "val", "test": "test"}),
        ("train", {"train": None}),
        ("", {}),
    ],
)
def test_official_splits(found, wanted):
    assert own.official_splits(found.split()) == wanted
