"""The CVAT reader: every kind of shape by hand, order and groups, tasks and projects, unsafe XML, and its faults."""

import json
import re

import numpy as np
import pytest

from pipeline.datasets.cvat_images_xml import read
from pipeline.gate import inspection as gate
from pipeline.sources import FaultError
from pipeline.splits import TRAINVAL
from tests import fakes
from tests.fakes_annotated import HEIGHT, WIDTH, box_mask, cvat_mask, cvat_polygon, cvat_shape, read_back, square, write_cvat

POOR = "unusable_outline"
PLUS = box_mask(4, 4, 5, 7) | box_mask(3, 5, 6, 6)
L_SHAPE = box_mask(2, 3, 4, 9) | box_mask(2, 7, 10, 9)


def box(label: str, x0, y0, x1, y1, **more) -> str:
    return cvat_shape("box", label, xtl=x0, ytl=y0, xbr=x1, ybr=y1, **more)


def sample(root, shapes: list, **options):
    source = read(write_cvat(root, {"a.png": shapes}), **options)
    assert not source.faults
    return source.label_space, source.records[0].decode()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (cvat_polygon("cat", square(2, 3, 8, 7)), box_mask(2, 3, 8, 7)),
        (cvat_mask("cat", L_SHAPE, left=2, top=3, width=8, height=6), L_SHAPE),  # begins inside
        (cvat_mask("cat", L_SHAPE, left=1, top=2, width=12, height=8), L_SHAPE),  # begins outside
        (cvat_mask("cat", ~L_SHAPE, left=0, top=0, width=WIDTH, height=HEIGHT), ~L_SHAPE),
        (cvat_shape("ellipse", "cat", cx=4.5, cy=5.5, rx="1.00", ry="1.00"), PLUS),
        (cvat_shape("ellipse", "cat", cx=8, cy=6, rx=1.2, ry=4.2, rotation="90.00"), None),
        (box("cat", 2, 3, 8, 7), box_mask(2, 3, 8, 7)),
        (box("cat", 4, 2, 8, 10, rotation="90.00"), box_mask(2, 4, 10, 8)),
    ],
)
def test_shapes_by_hand(tmp_path, given, wanted):
    if wanted is None:  # a quarter turn: 4.2 to either side, 1.2 up and down
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        wanted = ((x - 8) / 4.2) ** 2 + ((y - 6) / 1.2) ** 2 <= 1
    space, found = sample(tmp_path, [given])
    assert space.names == ("background", "cat", "dog") and space.isthing == (False, True, True)
    assert space.colours[1:] == ((255, 1, 2), (10, 11, 12))
    assert np.array_equal(found.instances.masks, wanted[None])
    assert np.array_equal(found.truth.semantic(space), wanted.astype(np.uint8))
    assert [one.rule for one in found.remarks] == ["box_outline"] * given.startswith("<box")


def test_a_turned_box_turns_clockwise(tmp_path):
    _, found = sample(tmp_path, [box("cat", 8, 11, 20, 13, rotation=45)])
    (mask,) = found.instances.masks
    assert mask[9, 11] and mask[14, 16] and not mask[14, 11]


def test_order_groups_void_and_tags(tmp_path):
    shapes = [
        cvat_polygon("cat", square(5, 5, 15, 15), z_order=2, group_id=7),
        cvat_polygon("dog", square(0, 0, 10, 10), z_order=-1),
        cvat_polygon("dog", square(8, 8, 12, 12)),
        '<tag label="night" source="manual">\n</tag>',
        cvat_polygon("cat", square(20, 0, 24, 4), group_id=7),
        cvat_polygon("dog", square(28, 0, 30, 4), group_id=7),
        cvat_polygon("night", square(0, 0, 2, 2), z_order=9),
    ]
    space, found = sample(tmp_path, shapes, void="night")
    labels = found.truth.semantic(space)
    assert [labels[y, x] for y, x in ((4, 4), (7, 7), (9, 9), (20, 20), (1, 1), (2, 22))] == [2, 1, 1, 0, 255, 1]
    assert found.instances.classes.tolist() == [2, 2, 1, 2]
    assert np.array_equal(found.instances.masks[2], box_mask(5, 5, 15, 15) | box_mask(20, 0, 24, 4))
    space, found = sample(tmp_path, shapes[1:3], background=False)
    assert space.names == ("cat", "dog")  # no label of tags
    assert found.truth.semantic(space)[[4, 20], [4, 20]].tolist() == [1, 255]
    space, found = sample(
        tmp_path, shapes[:3], classes=["dog", {"name": "cat", "isthing": False, "colour": [1, 2, 3]}], name="mine"
    )
    assert space.names == ("background", "dog", "cat") and space.colours[2] == (1, 2, 3)
    assert found.instances.classes.tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["polyline", "points", "cuboid", "skeleton"])
def test_what_has_no_area_is_left_out(tmp_path, kind):
    _, found = sample(tmp_path, [cvat_shape(kind, "joint"), cvat_polygon("cat", square(0, 0, 4, 4))])
    assert len(found.instances) == 1
    (remark,) = found.remarks
    assert (remark.rule, remark.file, remark.value) == ("no_area", "annotations.xml", "a.png 0")
    assert f"image a.png, shape 0 ({kind} joint): of kind {kind}, has no area and is left out" in str(remark)


def test_labels_of_the_file(tmp_path):
    labels = [
        ("road & <more>", "", "any"),
        ("joint", "#111111", "points"),
        ("lane", "#111111", "polyline"),
        ("background", "#123456", "mask"),
    ]
    write_cvat(tmp_path, {"a.png": [cvat_polygon("road & <more>", square(0, 0, 4, 4))]}, labels=labels)
    source = read(tmp_path)
    assert source.label_space.names == ("road & <more>", "background")
    assert source.label_space.isthing == (True, False) and source.label_space.colours[1] == (0x12, 0x34, 0x56)
    assert source.records[0].decode().instances.masks.sum() == 16
    file = tmp_path / "annotations.xml"
    file.write_text(re.sub("<meta>.*</meta>", "", file.read_text(), flags=re.DOTALL))
    assert read(tmp_path).label_space.names == ("background", "road & <more>")
    file.write_text(
        file.read_text().replace(
            "<version>", "<meta><labels><label><name>a.b</name><parent>a</parent></label></labels></meta><version>"
        )
    )
    assert read(tmp_path).label_space.names == ("background",)  # a part of a skeleton


def test_tasks_with_folders_of_splits(tmp_path):
    names = {"train/p 1_ä.png": [cvat_polygon("cat", square(0, 0, 4, 4))], "val/p2_b.JPG": [], "test/sub/p3.v2.png": []}
    write_cvat(tmp_path / "wrapped", names)
    source = read(tmp_path, group_pattern="(p ?[0-9])", name="mine")
    assert source.name == "mine" and not source.faults
    assert [(record.id, record.split, record.group) for record in source] == [
        ("train__p 1_ä", "train", "p 1"),
        ("val__p2_b", "val", "p2"),
        ("test__sub__p3.v2", "test", "p3"),
    ]
    write_cvat(tmp_path / "wrapped", names | {"extra/a.png": []})
    (fault,) = read(tmp_path).faults
    assert (fault.rule, fault.file) == ("outside_splits", "wrapped/images/extra/a.png")


@pytest.mark.parametrize(
    ("subsets", "wanted"),
    [
        (("Train", "Validation", "Test"), ["train", "val", "test"]),
        (("train", "valid", "Testing"), ["train", "val", "test"]),
        (("Train", "Val"), [TRAINVAL, "test"]),
        (("Train",), [None]),
        (("default",), [None]),
    ],
)
def test_projects_with_subsets(tmp_path, subsets, wanted):
    source = read(write_cvat(tmp_path, {f"{subset}/a{subset}.png": [] for subset in subsets}, subsets=True))
    assert not source.faults
    assert [(record.id, record.split) for record in source] == [
        (f"{subset}__a{subset}", split) for subset, split in zip(subsets, wanted, strict=True)
    ]


def test_everything_seen_without_opening_an_image(tmp_path):
    write_cvat(tmp_path, {"a.png": [], "b.png": [], "Zoë.png": [], "sub/c.png": []})
    file = tmp_path / "annotations.xml"
    more = "".join(
        f'<image id="9" name="{name}" width="32" height="24"></image>' for name in ("a.png", "../c.png", "/etc/a.png")
    )
    file.write_text(file.read_text().replace("</annotations>", f"{more}</annotations>"))
    (tmp_path / "images/b.png").unlink()
    (tmp_path / "images/Zoë.png").rename(tmp_path / "images/zoë.png")
    fakes.save(tmp_path / "images/stray.png", fakes.picture(8))
    (tmp_path / "images/phone.heic").touch()
    source = read(tmp_path)
    assert [(fault.rule, fault.file, fault.value) for fault in source.faults] == [
        ("mask_without_image", "annotations.xml", "b.png"),
        ("mask_without_image", "annotations.xml", "Zoë.png"),
        ("two_masks", "annotations.xml", "a.png"),
        ("mask_without_image", "annotations.xml", "../c.png"),
        ("mask_without_image", "annotations.xml", "/etc/a.png"),
        ("image_without_mask", "images/stray.png", ""),
        ("image_without_mask", "images/zoë.png", ""),
        ("not_read", "images/phone.heic", "1"),
    ]
    assert "image b.png does not exist in images/; add it, or export with images" in str(source.faults[0])
    assert "'zo\\xeb.png' differs from it only in case" in str(source.faults[1])
    assert [record.id for record in source] == ["a", "sub__c"]


ATTACKS = {
    "entities": '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>',
    "a file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations>&a;</annotations>',
    "an outer DTD": '<!DOCTYPE x SYSTEM "http://localhost/x.dtd"><annotations></annotations>',
}


@pytest.mark.parametrize("text", list(ATTACKS.values()), ids=list(ATTACKS))
def test_unsafe_xml_is_refused(tmp_path, text):
    write_cvat(tmp_path, {"a.png": []})
    (tmp_path / "annotations.xml").write_text(f'<?xml version="1.0"?>{text}')
    with pytest.raises(ValueError, match=r"annotations\.xml: has a DOCTYPE, which CVAT does not write"):
        read(tmp_path)


def test_files_that_are_no_cvat_for_images(tmp_path):
    write_cvat(tmp_path, {"a.png": []})
    file = tmp_path / "annotations.xml"
    whole = file.read_text()
    for text, message in (
        (whole[:-20], "annotations.xml: is no XML, or damaged: "),
        ("", "is no XML, or damaged: no element found"),
        (whole.replace("utf-8", "utf-x"), "is no XML, or damaged: unknown encoding: utf-x"),
        ("<VOC></VOC>", "begins with <VOC>; wanted <annotations>: export as CVAT for images 1.1"),
        (whole.replace("<image", "<track id='0'></track><image"), "holds tracks of a video; export as CVAT for images 1.1"),
        (whole.replace('name="a.png"', ""), "image 0 has no name; export it again"),
        (whole.replace("<name>dog</name>", "<name> </name>"), "label 1 has no name; export it again"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=re.escape(message)):
            read(tmp_path)
    with pytest.raises(ValueError, match=r"other\.xml: no such file; set the option annotations to the XML file of the export"):
        read(tmp_path, annotations="other.xml")
    with pytest.raises(ValueError, match=r"wanted the folder scans/, found images/; set the option images"):
        read(tmp_path, images="scans")


def rle(text: str, **more) -> str:
    return cvat_shape("mask", "cat", **{"rle": text, "left": 2, "top": 3, "width": 4, "height": 2} | more)


@pytest.mark.parametrize(
    ("wrong", "rule", "message"),
    [
        (
            cvat_polygon("cow", square(0, 0, 4, 4)),
            "missing_category",
            "label 'cow' is none of the file's: cat, dog, night; correct",
        ),
        ("<polygon points='0,0;4,0;4,4'/>", "missing_category", "label '' is none of the file's"),
        (
            cvat_polygon("dog", square(0, 0, 4, 4)),
            "label_outside",
            "label 'dog' is none of background, cat; correct it, or add",
        ),
        (cvat_polygon("cat", [[0, 0], [4, 4]]), POOR, "(polygon cat): has 2 corners, wanted 3 or more"),
        (cvat_shape("polygon", "cat"), POOR, "its points is ''; wanted numbers"),
        (cvat_shape("polygon", "cat", points="0,0;4,nan;4,4"), POOR, "its points is '4,nan'; wanted numbers"),
        (cvat_shape("polygon", "cat", points="0,0;4;4,4"), POOR, "wanted [[x, y], ...] in pixels"),
        (cvat_polygon("cat", square(0.6, 0.6, 1.4, 1.4)), POOR, "covers no pixel of the image; draw it larger, or remove it"),
        (cvat_shape("blob", "cat"), POOR, "is of an unknown kind; known: polygon, box, ellipse, mask"),
        (box("cat", 0, 0, 4, "x"), POOR, "its ybr is 'x'; wanted numbers"),
        (box("cat", 0, 0, 4, 4, rotation=""), POOR, "its rotation is ''; wanted numbers"),
        (cvat_shape("ellipse", "cat", cx=5, cy=5, rx=0, ry=1), POOR, "an ellipse has the radii 0 and 1, wanted more than 0"),
        (
            cvat_polygon("cat", square(0, 0, 4, 4)).replace('z_order="0"', 'z_order="up"'),
            POOR,
            "its z_order is 'up'; wanted numb",
        ),
        (rle("3, 4"), "size_mismatch", "its rle covers 7 pixels, wanted 4*2 = 8 (width x height)"),
        (rle("9, -1"), "size_mismatch", "its rle covers 8 pixels"),
        (rle(""), POOR, "its rle is ''; wanted numbers"),
        (rle("8"), POOR, "covers no pixel"),
        (rle("3, 5", left=29), POOR, "its mask reaches outside the image, 32x24 (width x height)"),
        (rle("3, 5", top=-1), POOR, "its mask reaches outside the image"),
        (rle("0, 1000000000000", width=1000000, height=1000000), POOR, "its window is 1000000x1000000, its image 32x24"),
        (rle("0, 8", width=-4, height=-2), POOR, "its window is -4x-2"),
    ],
)
def test_shapes_that_cannot_be_used(tmp_path, wrong, rule, message):
    write_cvat(tmp_path, {"a.png": [cvat_polygon("cat", square(0, 0, 4, 4)), wrong]})
    with pytest.raises(FaultError) as caught:
        read(tmp_path, classes=["cat"]).records[0].decode()
    fault = next(fault for fault in caught.value.faults if fault.rule == rule)
    assert (fault.file, fault.value) == ("annotations.xml", "a.png 1")
    assert message in str(fault) and "image a.png, shape 1 (" in str(fault)


def test_an_image_of_another_size(tmp_path):
    write_cvat(tmp_path, {"a.png": []})
    fakes.save(tmp_path / "images/a.png", fakes.picture(0, height=10, width=20))
    with pytest.raises(
        FaultError, match=r"annotations\.xml: image a\.png: is for an image of 32x24, its image is 20x10"
    ) as caught:
        read(tmp_path).records[0].decode()
    assert (caught.value.faults[0].rule, caught.value.faults[0].value) == ("size_mismatch", "32x24")


def test_what_the_gate_warns_of(tmp_path):
    tie, out = cvat_polygon("cat", [[2, 2], [12, 12], [12, 2], [2, 12]]), cvat_polygon("dog", square(-4, 2, 9, 9))
    root = write_cvat(tmp_path / "own", {"a.png": [tie], "b.png": [out], "B.png": [box("cat", 1, 1, 5, 5)]})
    opened = gate.inspect(read(root), table=tmp_path / "gate.csv", root=root, rules={"name_clash": "warning"}, keep=len_of)
    assert [(record.id, kept) for record, kept in opened] == [("a", 1), ("b", 1), ("B", 1)]
    table = (tmp_path / "gate.csv").read_text()
    for row in (
        "warning,crossing_outline,annotations.xml,7,7,a.png 0,",
        "warning,outline_outside,annotations.xml,,,b.png 0,",
        "warning,box_outline,annotations.xml,,,B.png 0,",
        "warning,name_clash,images/B.png,,,B,",
    ):
        assert row in table


def len_of(record, sample) -> int:
    return len(sample.instances)


def test_there_and_back(tmp_path):
    """Masks, overlapping shapes, groups and void, through the canonical form: the same pixels and whole objects."""
    noise = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    noise &= box_mask(16, 3, 30, 20)
    shapes = [
        cvat_polygon("dog", square(1, 1, 14, 14), z_order=1),
        cvat_mask("cat", noise, left=16, top=3, width=14, height=17),
        cvat_polygon("cat", square(10, 10, 18, 18), group_id=3),
        cvat_polygon("cat", square(0, 16, 4, 20), group_id=3),
        cvat_polygon("__ignore__", square(0, 22, 4, 24)),
    ]
    labels = [("cat", "#ff0102", "any"), ("dog", "#0a0B0c", "any"), ("__ignore__", "#000000", "any")]
    images = {f"Train/{name}.png": shapes for name in "ab"} | {"Validation/c.png": shapes[:1], "Test/d.png": shapes[1:2]}
    root = write_cvat(tmp_path / "raw", images, labels=labels, subsets=True)
    found = read_back(read(root), tmp_path / "out", root)
    assert set(found) == {"Train__a", "Train__b", "Validation__c", "Test__d"}
    group, dog = box_mask(10, 10, 18, 18) | box_mask(0, 16, 4, 20), box_mask(1, 1, 14, 14)
    wanted = np.zeros((HEIGHT, WIDTH), int)
    wanted[noise], wanted[group], wanted[dog], wanted[box_mask(0, 22, 4, 24)] = 1, 1, 2, 255
    for id in ("Train__a", "Train__b"):
        assert np.array_equal(found[id][0], wanted)
        assert [category for category, _ in found[id][1]] == [1, 1, 2]
        assert np.array_equal([mask for _, mask in found[id][1]], [noise, group, dog])
    assert np.array_equal(found["Validation__c"][0], 2 * dog)
    assert np.array_equal(found["Test__d"][0], noise)
    about = json.loads((tmp_path / "out/dataset.json").read_text())
    assert about["names"] == ["background", "cat", "dog"] and about["colours"][1] == [255, 1, 2]
