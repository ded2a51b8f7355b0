"""The reader of Open Images V6: masks at other sizes, crowds, what nobody looked at, and what is not there."""

import json
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pipeline import check
from pipeline.dataset_writer import write
from pipeline.datasets._csv_index import Table
from pipeline.datasets.open_images_v6 import read
from pipeline.gate.inspection import inspect
from pipeline.provenance import ROOT
from pipeline.sources import FaultError
from tests import fakes, fakes_open_images
from tests.fakes_open_images import BOX_COLUMNS, LABELS, box, box_row, save_mask, write_part, write_table

CAT, DOG = ("Cat", box(2, 3, 12, 13)), ("Dog", box(8, 8, 30, 20))
ONE = "0cddfe521cf926bf"


def tree(root, *, parts=("train", "validation", "test"), **options):
    """Two images with a cat and a dog in each part, one with a tortoise."""
    for number, part in enumerate(parts):
        ids = [f"{digit}{number}00000000000000" for digit in "0af"]
        write_part(root, part, {ids[0]: [CAT, DOG], ids[1]: [DOG], ids[2]: [("Tortoise", box(0, 0, 5, 5))]}, **options)
    fakes_open_images.write_names(root)
    return root


def sample(root, objects, boxes=(), *, scale=1, **options):
    """The only sample of a source with one image."""
    write_part(root, "validation", {ONE: list(objects)}, scale=scale)
    fakes_open_images.write_names(root)
    if boxes:
        rows = [box_row(ONE, name, mask, group=group) for name, mask, group in boxes]
        write_table(root / "validation-annotations-bbox.csv", BOX_COLUMNS, rows)
    source = read(root, **options)
    assert not source.faults
    return source.label_space, source.records[0].decode()


def test_official_layout_and_splits(tmp_path):
    source = read(tree(tmp_path / "wrapped"), classes=["Cat", "Dog"])
    assert [str(fault) for fault in source.faults] == [
        "(data set): 3 images have no mask of a wanted class, and are left out [unlisted_image]"
    ]
    assert source.label_space.names == ("background", "Cat", "Dog")
    assert source.label_space.isthing == (False, True, True)
    assert [(record.id[:2], record.split, record.group == record.id) for record in source] == [
        ("00", "train", True), ("a0", "train", True),
        ("01", "val", True), ("a1", "val", True),
        ("02", "test", True), ("a2", "test", True),
    ]  # fmt: skip
    assert {record.split for record in read(tmp_path, official=False)} == {None}
    first = source.records[0].decode()
    assert np.array_equal(first.image, cv2.imread(str(source.records[0].image_file))[..., ::-1])


@pytest.mark.parametrize(
    ("parts", "splits"),
    [
        (("validation",), [None, None]),
        (("train", "validation"), ["trainval", "trainval", "test", "test"]),
        (("validation", "test"), ["trainval", "trainval", "test", "test"]),
    ],
)
def test_some_of_the_parts(tmp_path, parts, splits):
    assert [record.split for record in read(tree(tmp_path, parts=parts), classes=["Cat", "Dog"])] == splits


def test_all_classes_come_in_the_order_of_the_descriptions(tmp_path):
    source = read(tree(tmp_path))
    assert source.label_space.names == ("background", "Tortoise", "Cat", "Dog")
    assert len(source.records) == 9 and not source.faults
    assert read(tmp_path, background=False).label_space.names == ("Tortoise", "Cat", "Dog")


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_pixels_by_hand(tmp_path, scale):
    """The cat of 100 pixels lies above the dog of 264; both keep all they have, from masks of any size."""
    space, found = sample(tmp_path, [CAT, DOG], scale=scale, classes=["Dog", "Cat"])
    wanted = np.zeros((24, 32), np.uint8)
    wanted[DOG[1]], wanted[CAT[1]] = 1, 2
    assert np.array_equal(found.truth.semantic(space), wanted)
    masks = dict(zip(found.instances.classes.tolist(), found.instances.masks, strict=True))
    assert np.array_equal(masks[1], DOG[1]) and np.array_equal(masks[2], CAT[1])
    assert not found.instances.iscrowd.any()
    assert found.remarks == ()


def test_a_smaller_mask_grows_by_nearest_neighbour(tmp_path):
    """A mask of half the size: each of its pixels becomes four."""
    mask = np.zeros((12, 16), bool)
    mask[3:5, 2:7] = True
    write_part(tmp_path, "validation", {ONE: [("Cat", box(4, 6, 14, 10))]})
    fakes_open_images.write_names(tmp_path)
    path = save_mask(tmp_path / "validation-masks-0" / fakes_open_images.mask_name(ONE, "Cat", 0), mask)
    (instance,) = read(tmp_path).records[0].decode().instances.masks
    assert np.array_equal(instance, box(4, 6, 14, 10))
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)  # grey of 0 and 255, too
    (instance,) = read(tmp_path).records[0].decode().instances.masks
    assert np.array_equal(instance, box(4, 6, 14, 10))


def test_without_background_all_else_is_void(tmp_path):
    space, found = sample(tmp_path, [CAT], classes=["Cat"], background=False)
    assert space.names == ("Cat",)
    assert np.array_equal(found.truth.semantic(space) == 255, ~CAT[1])


def test_boxes_without_a_mask_are_void_and_groups_are_crowds(tmp_path):
    """A cat with a mask; a dog without; a group of cats without; the box of a class that is not wanted changes nothing."""
    boxes = [
        ("Cat", CAT[1], 0),
        ("Dog", box(20, 2, 26, 8), 0),
        ("Cat", box(6, 10, 16, 20), 1),
        ("Tortoise", box(0, 20, 32, 24), 0),
    ]
    space, found = sample(tmp_path, [CAT], boxes, classes=["Cat", "Dog"])
    wanted = np.zeros((24, 32), np.uint8)
    wanted[box(20, 2, 26, 8) | box(6, 10, 16, 20)] = 255
    wanted[CAT[1]] = 1
    assert np.array_equal(found.truth.semantic(space), wanted)
    assert found.instances.classes.tolist() == [1, 1]
    assert found.instances.iscrowd.tolist() == [False, True]
    assert np.array_equal(found.instances.masks, [CAT[1], box(6, 10, 16, 20)])


def test_the_mask_of_a_group_is_a_crowd_below_the_others(tmp_path):
    herd = ("Dog", box(1, 1, 9, 9))
    space, found = sample(tmp_path, [CAT, herd], [("Cat", CAT[1], 0), ("Dog", herd[1], 1)], classes=["Cat", "Dog"])
    wanted = np.zeros((24, 32), np.uint8)
    wanted[herd[1]], wanted[CAT[1]] = 2, 1  # the herd of 64 pixels is smaller than the cat of 100
    assert np.array_equal(found.truth.semantic(space), wanted)
    assert dict(zip(found.instances.classes.tolist(), found.instances.iscrowd.tolist(), strict=True)) == {1: False, 2: True}
    assert {space.names[one.category] for one in found.truth.info if one.iscrowd} == {"Dog"}


def test_boxes_are_told_by_their_class_too(tmp_path):
    """A dog and a cat with one box: the mask of the cat does not stand for the dog."""
    space, found = sample(tmp_path, [CAT], [("Dog", CAT[1], 1), ("Cat", CAT[1], 0)], classes=["Cat", "Dog"])
    assert dict(zip(found.instances.classes.tolist(), found.instances.iscrowd.tolist(), strict=True)) == {1: False, 2: True}
    assert (found.truth.semantic(space)[CAT[1]] == 1).all()


def test_classes_that_join_labels_and_stuff(tmp_path):
    people = {"name": "Person", "labels": ["Man", "Woman", "Person"], "colour": [1, 2, 3]}
    objects = [("Man", box(0, 0, 4, 4)), ("Woman", box(5, 0, 9, 4)), CAT]
    boxes = [("Man", box(0, 0, 4, 4), 0), ("Person", box(20, 0, 24, 4), 1), ("Cat", box(0, 20, 4, 24), 1)]
    space, found = sample(
        tmp_path, objects, boxes, classes=["background", people, {"name": "Cat", "isthing": False, "colour": [9, 9, 9]}]
    )
    assert space.names == ("background", "Person", "Cat") and space.colours[1] == (1, 2, 3)
    assert found.instances.classes.tolist() == [1, 1, 1] and found.instances.iscrowd.tolist() == [False, False, True]
    labels = found.truth.semantic(space)
    # a person, a person, the group of people, a cat as stuff, the group of cats: void, and no object
    assert [labels[y, x] for y, x in ((0, 0), (0, 5), (0, 20), (12, 3), (22, 2), (23, 31))] == [1, 1, 255, 2, 255, 0]


def test_a_mask_that_vanishes_is_left_out_with_a_warning(tmp_path):
    write_part(tmp_path, "validation", {ONE: [CAT, DOG]})
    fakes_open_images.write_names(tmp_path)
    thin = np.zeros((240, 320), bool)
    thin[100, 100] = True
    name = fakes_open_images.mask_name(ONE, "Cat", 0)
    save_mask(tmp_path / "validation-masks-0" / name, thin)
    source = read(tmp_path)
    found = source.records[0].decode()
    assert [source.label_space.names[one] for one in found.instances.classes] == ["Dog"]
    (remark,) = found.remarks
    assert str(remark) == f"validation/{ONE}.jpg: {name} covers no pixel of its image; the object is left out [empty_outline]"


def test_as_fiftyone_lays_it_down(tmp_path):
    home = tmp_path / "open-images-v6"
    for part, id in (("train", ONE), ("validation", ONE[::-1])):
        fakes_open_images.write_image(home, part, id, folder="{part}/data")
        save_mask(home / f"{part}/labels/masks/0/{fakes_open_images.mask_name(id, 'Cat', 0)}", CAT[1])
        rows = [fakes_open_images.mask_row(id, "Cat", 0, CAT[1])]
        write_table(home / f"{part}/labels/segmentations.csv", fakes_open_images.MASK_COLUMNS, rows)
        write_table(home / f"{part}/labels/detections.csv", BOX_COLUMNS, [box_row(id, "Dog", DOG[1], group=1)])
        fakes_open_images.write_names(home, f"{part}/metadata/classes.csv", header=part == "train")
    source = read(tmp_path, classes=["Cat", "Dog"])
    assert not source.faults
    assert [(record.id, record.split) for record in source] == [(ONE, "trainval"), (ONE[::-1], "test")]
    for record in source:
        assert record.decode().instances.iscrowd.tolist() == [False, True]
    with pytest.raises(ValueError, match="there is no display name 'DisplayName'"):  # a header is no class
        read(tmp_path, classes=["DisplayName"])


def test_images_and_masks_that_are_not_there(tmp_path):
    """Images may be fetched in part; a mask of an image that is there may not be missing."""
    tree(tmp_path, parts=("train", "validation"))
    for path in (tmp_path / "train").iterdir():
        if path.name[0] != "0":
            path.unlink()
    source = read(tmp_path, classes=["Cat", "Dog"])
    where = "train-annotations-object-segmentation.csv"
    assert [str(fault) for fault in source.faults] == [
        f"{where}: 1 of the 2 images with a mask of a wanted class are not there, and are left out [not_fetched]",
        "(data set): 1 images have no mask of a wanted class, and are left out [unlisted_image]",
    ]
    (tmp_path / "validation-masks-a").rename(tmp_path / "elsewhere.zip")
    (tmp_path / "elsewhere.zip" / "a100000000000000_m0bt9lr_00000000.png").unlink()
    with pytest.raises(FaultError) as caught:
        source.records[-1].decode()
    assert str(caught.value) == (
        "validation/a100000000000000.jpg: its mask a100000000000000_m0bt9lr_00000000.png is in no folder; "
        "unpack validation-masks-a.zip [image_without_mask]"
    )
    assert len(inspect(read(tmp_path, classes=["Cat"]), table=tmp_path / "gate.csv", rules={"empty_split": "ignore"})) == 2
    for part in ("train", "validation"):
        for path in (tmp_path / part).iterdir():
            path.unlink()
    (fault,) = read(tmp_path, classes=["Cat"]).faults
    assert str(fault) == "(data set): none of the 2 images with a mask of a wanted class is there; fetch some [no_image]"


def test_masks_that_cannot_be_used(tmp_path):
    write_part(tmp_path, "validation", {ONE: [CAT, DOG]})
    fakes_open_images.write_names(tmp_path)
    masks = [
        tmp_path / "validation-masks-0" / fakes_open_images.mask_name(ONE, name, number)
        for number, (name, _) in enumerate((CAT, DOG))
    ]
    save_mask(masks[0], CAT[1].T)
    masks[1].write_bytes(b"")
    with pytest.raises(FaultError) as caught:
        read(tmp_path).records[0].decode()
    assert [(fault.rule, fault.file) for fault in caught.value.faults] == [
        ("size_mismatch", f"validation-masks-0/{masks[0].name}"),
        ("zero_byte", f"validation-masks-0/{masks[1].name}"),
    ]
    assert "mask is 24x32, its image 32x24 (width x height): of another shape" in str(caught.value)


def test_a_path_in_place_of_a_name_is_not_opened(tmp_path):
    write_part(tmp_path, "validation", {ONE: [CAT]}, masks="m")
    fakes_open_images.write_names(tmp_path)
    name = fakes_open_images.mask_name(ONE, "Cat", 0)
    table = tmp_path / "validation-annotations-object-segmentation.csv"
    table.write_text(table.read_text().replace(name, f"../m/{name}"))
    with pytest.raises(FaultError, match=r"its mask \.\./m/.* is in no folder"):
        read(tmp_path).records[0].decode()


@pytest.mark.parametrize("number", ["", "x", "nan"])
def test_a_box_that_is_no_box(tmp_path, number):
    tree(tmp_path, parts=("validation",))
    rows = [f"0000000000000000,xclick,{LABELS['Cat']},1,0.1,{number},0.1,0.2,0,0,0,0,0"]
    write_table(tmp_path / "validation-annotations-bbox.csv", BOX_COLUMNS, rows)
    message = rf"image 0000000000000000 has a box from \['0.1', '0.1'\] to \['{number}', '0.2'\]; wanted numbers"
    with pytest.raises(FaultError, match=message):
        read(tmp_path, classes=["Cat"]).records[0].decode()


def test_files_and_options_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"no PART-annotations-object-segmentation\.csv of train, validation, test; fetch one"):
        read(tmp_path)
    write_part(tmp_path, "validation", {ONE: [CAT, DOG]})
    with pytest.raises(
        ValueError, match=r"no class-descriptions-boxable\.csv; fetch https://storage\.googleapis\.com/openimages/v5/"
    ):
        read(tmp_path)
    names = fakes_open_images.write_names(tmp_path)
    for classes, message in (
        (["Kat"], "there is no display name 'Kat'; did you mean Cat"),
        (["Qqqqqqq"], "there is no display name 'Qqqqqqq'; class-descriptions-boxable.csv has them all"),
        ([{"name": "Pet", "labels": ["Cat", "Dgo"]}], "there is no display name 'Dgo'; did you mean Dog"),
        (["Cat", {"name": "Pet", "labels": ["Cat", "Dog"]}], "'Cat' belongs to 'Cat' and to 'Pet'; choose one"),
        ([], r"classes: \[\]; wanted a list of display names"),
        ([{"name": "Cat", "color": [1, 2, 3]}], "classes: entry 1 is"),
    ):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, classes=classes)
    names.write_text("/m/01yrx,Cat\n")
    with pytest.raises(ValueError, match=r"no display name for /m/0bt9lr; fetch the descriptions of all classes"):
        read(tmp_path)
    names.write_text("/m/01yrx,Cat\n/m/0bt9lr\n")
    with pytest.raises(
        ValueError, match=r"class-descriptions-boxable\.csv line 2: \['/m/0bt9lr'\]; wanted a label and its name"
    ):
        read(tmp_path)
    fakes_open_images.write_names(tmp_path)
    table = tmp_path / "validation-annotations-object-segmentation.csv"
    table.write_text(table.read_text() + "half a row,0\n")
    with pytest.raises(ValueError, match=r"segmentation\.csv line 4: 'half a row,0'; wanted 10 columns; fetch it again"):
        read(tmp_path)
    table.write_text("<html>\n")
    with pytest.raises(
        ValueError, match=r"segmentation\.csv: no column ImageID, LabelName, MaskPath, BoxXMin.*, it has <html>"
    ):
        read(tmp_path)


def test_places_in_a_table(tmp_path):
    """The rows of an image, wherever they stand, whatever the line ends; a quoted comma is part of its cell."""
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffLabelName,ImageID,Note\r\na,1,x\r\nb,2,"p, q"\r\na,2,ü\r\nc,1,\r\na,1,last'.encode())
    table = Table(path, ["Note"])
    places, labels = table.places({"a", "b"})
    assert labels == {"a", "b", "c"}
    assert {id: [row["Note"] for row in table.rows(found)] for id, found in places.items()} == {
        "1": ["x", "last"],
        "2": ["p, q", "ü"],
    }
    assert list(table.places({"a"}, only={"2"})[0]) == ["2"]


def test_a_record_carries_places_alone(tmp_path):
    source = read(tree(tmp_path), classes=["Cat", "Dog"])
    assert len(pickle.dumps(source.records[0])) < 3000


def test_the_canonical_form_holds_the_same_pixels(tmp_path):
    tree(tmp_path / "raw", scale=2)
    for number, part in enumerate(("train", "validation", "test")):
        id = f"0{number}00000000000000"
        boxes = [box_row(id, "Cat", CAT[1]), box_row(id, "Dog", box(16, 0, 32, 6), group=1)]
        write_table(tmp_path / f"raw/{part}-annotations-bbox.csv", BOX_COLUMNS, boxes)
    source = read(tmp_path / "raw", classes=["Cat", "Dog"])
    folder, space = tmp_path / "dataset", source.label_space
    dataset = write(source, folder, splits=fakes.SHARES, seed=0, rules={}, origin={}, root=tmp_path / "raw")
    for split in ("train", "val", "test"):
        table = json.loads((folder / f"panoptic_{split}.json").read_text())
        coco = COCO(folder / f"instances_{split}.json")
        for image, entry in zip(table["images"], table["annotations"], strict=True):
            (record,) = (record for record in source if record.id == image["file_name"].split(".")[0])
            given = record.decode()
            colours = cv2.imread(str(folder / f"panoptic/{split}/{entry['file_name']}"))[..., ::-1].astype(int)
            assert np.array_equal(colours @ [1, 256, 65536], given.truth.segments)
            info = {one["id"]: (one["category_id"] - 1, one["iscrowd"]) for one in entry["segments_info"]}
            assert info == {one.id: (one.category, int(one.iscrowd)) for one in given.truth.info}
            found = coco.imgToAnns[image["id"]]
            names = [coco.cats[one["category_id"]]["name"] for one in found]
            assert names == [space.names[one] for one in given.instances.classes]
            assert [one["iscrowd"] for one in found] == given.instances.iscrowd.astype(int).tolist()
            for one, mask in zip(found, given.instances.masks, strict=True):
                assert np.array_equal(coco.annToMask(one), mask)
        assert len(dataset.ids(split)) == 2


def test_a_source_that_is_not_there_says_where_to_fetch_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "params.yaml").write_text((ROOT / "presets/open_images_v6.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert check.main([]) == 1
    assert "open_images: no such file or folder; Open Images comes in many files" in capsys.readouterr().err
