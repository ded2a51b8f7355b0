import numpy as np
import pytest
from PIL import Image

from pipeline.datasets._own_data import distinct_colours
from pipeline.datasets.folder import read
from pipeline.sources import FaultError
from tests import fakes

CLASSES = ["ground", "tree", "water"]


def faults_of(source):
    return [(fault.rule, fault.file) for fault in source.faults]


def test_pairs_by_name(tmp_path):
    fakes.write_folder(tmp_path, names=("b", "sub/c", "sub/deep/ä"))
    source = read(tmp_path, classes=CLASSES)
    assert [(record.id, record.split, record.group) for record in source] == [
        ("b", None, "b"),
        ("sub__c", None, "sub__c"),
        ("sub__deep__ä", None, "sub__deep__ä"),
    ]
    assert not source.faults
    sample = source.records[0].decode()
    assert np.array_equal(sample.truth.semantic(source.label_space), fakes.index_mask(0))
    assert source.records[1].image_file == tmp_path / "images/sub/c.jpg"


def test_official_splits(tmp_path):
    fakes.write_folder(tmp_path, names=("train/a", "val/b", "test/x/c"))
    source = read(tmp_path, classes=CLASSES)
    assert [(record.id, record.split) for record in source] == [
        ("test__x__c", "test"),
        ("train__a", "train"),
        ("val__b", "val"),
    ]
    fakes.write_folder(tmp_path, names=("extra/d",))
    assert faults_of(read(tmp_path, classes=CLASSES)) == [("outside_splits", "images/extra/d.jpg")]


def test_a_file_named_train_is_no_split(tmp_path):
    fakes.write_folder(tmp_path, names=("train", "a"))
    assert [record.split for record in read(tmp_path, classes=CLASSES)] == [None, None]


def test_everything_seen_from_names(tmp_path):
    fakes.write_folder(tmp_path, names=("a", "b", "c", "d"))
    (tmp_path / "masks/a.png").unlink()
    (tmp_path / "images/b.jpg").unlink()
    fakes.save(tmp_path / "masks/c.tif", fakes.index_mask(0))
    (tmp_path / "images/notes.txt").write_text("no image")
    (tmp_path / "images/.hidden.jpg").write_bytes(b"")
    source = read(tmp_path, classes=CLASSES)
    assert faults_of(source) == [
        ("mask_without_image", "masks/b.png"),
        ("image_without_mask", "images/a.jpg"),
        ("two_masks", "images/c.jpg"),
    ]
    assert "c.png and c.tif" in str(source.faults[2])
    assert [record.id for record in source] == ["d"]


def test_wrapped_in_one_more_folder(tmp_path):
    fakes.write_folder(tmp_path / "my data")
    assert len(read(tmp_path, classes=CLASSES).records) == 6


def test_other_folder_names(tmp_path):
    fakes.write_folder(tmp_path)
    (tmp_path / "images").rename(tmp_path / "scans")
    with pytest.raises(ValueError, match=r"wanted the folders images/ and masks/, found masks/, scans/; set the options"):
        read(tmp_path, classes=CLASSES)
    assert len(read(tmp_path, classes=CLASSES, images="scans", name="knees").records) == 6
    with pytest.raises(ValueError, match="no such folder"):
        read(tmp_path / "nowhere", classes=CLASSES)


def test_groups(tmp_path):
    fakes.write_folder(tmp_path, names=("p1_a", "p1_b", "p2_a"))
    source = read(tmp_path, classes=CLASSES, group_pattern="^([^_]+)_")
    assert [record.group for record in source] == ["p1", "p1", "p2"]
    with pytest.raises(ValueError, match="finds no group in the id 'p2_a'"):
        read(tmp_path, classes=CLASSES, group_pattern="(p1)")
    with pytest.raises(ValueError, match="has no group; put"):
        read(tmp_path, classes=CLASSES, group_pattern="p")
    with pytest.raises(ValueError, match="is no regular expression"):
        read(tmp_path, classes=CLASSES, group_pattern="(")


def test_classes_with_colours_and_things(tmp_path):
    fakes.write_folder(tmp_path)
    space = read(tmp_path, classes=["a", {"name": "b", "colour": [1, 2, 3], "isthing": True}, "c"]).label_space
    assert space.names == ("a", "b", "c")
    assert space.colours[1] == (1, 2, 3)
    assert space.isthing == (False, True, False)
    for wrong in ({"colour": [1, 2, 3]}, {"name": "a", "color": [1, 2, 3]}, 7):
        with pytest.raises(ValueError, match="classes: entry 0 is"):
            read(tmp_path, classes=[wrong])
    for wrong in ([1, 2], [0, 0, 256], "red"):
        with pytest.raises(ValueError, match="colour of 'a'"):
            read(tmp_path, classes=[{"name": "a", "colour": wrong}])


def test_colours_differ():
    colours = np.array(distinct_colours(20)).astype(int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2)[~np.eye(20, dtype=bool)]
    assert distances.min() > 60


def test_void(tmp_path):
    fakes.write_folder(tmp_path, names=("a",))
    with pytest.raises(
        FaultError, match=r"masks/a.png at pixel x=0, y=0: label 255 \(15 pixels\) is outside 0..2 and there is no void"
    ):
        read(tmp_path, classes=CLASSES, void=None).records[0].decode()
    with pytest.raises(FaultError, match=r"label 2 \(\d+ pixels\) is outside 0..1 and is not void \(255\)"):
        read(tmp_path, classes=CLASSES[:2]).records[0].decode()
    labels = read(tmp_path, classes=["ground"], void=7)
    with pytest.raises(FaultError) as caught:
        labels.records[0].decode()
    assert [fault.value for fault in caught.value.faults] == ["1", "2", "255"]  # each wrong value once
    with pytest.raises(ValueError, match="void: 1 is also the class 'tree'"):
        read(tmp_path, classes=CLASSES, void=1)


def test_many_classes_in_16_bits(tmp_path):
    mask = np.full((24, 32), 299, np.uint16)
    mask[0, 0] = 1000
    fakes.save(tmp_path / "images/a.png", fakes.picture(0))
    fakes.save(tmp_path / "masks/a.png", mask)
    source = read(tmp_path, classes=[f"c{index}" for index in range(300)], void=1000)
    labels = source.records[0].decode().truth.semantic(source.label_space)
    assert (labels[0, 0], labels[0, 1], labels.dtype) == (65535, 299, np.uint16)


def test_size_mismatch(tmp_path):
    fakes.write_folder(tmp_path, names=("a",))
    fakes.save(tmp_path / "masks/a.png", fakes.index_mask(0, height=10, width=20))
    with pytest.raises(FaultError, match=r"masks/a.png: mask is 20x10, its image 32x24 \(width x height\)"):
        read(tmp_path, classes=CLASSES).records[0].decode()


def test_options_of_another_type(tmp_path):
    fakes.write_folder(tmp_path)
    for options, message in (
        ({"void": "x"}, "void: 'x'; wanted a whole number, or null"),
        ({"images": 5, "name": ["a"]}, r"name: \['a'\]; wanted a text\nimages: 5; wanted a text"),
        ({"group_pattern": 5}, "group_pattern: 5; wanted a text"),
        ({"classes": [{"name": "a", "colour": 5}]}, "colour of 'a' is 5; wanted"),
    ):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, **{"classes": CLASSES, **options})


def test_masks_of_colours(tmp_path):
    fakes.write_folder(tmp_path, names=("a", "b"))
    colours = np.zeros((24, 32, 3), np.uint8)
    colours[3, 4:] = 255, 0, 0
    colours[5] = 9, 9, 9
    fakes.save(tmp_path / "masks/a.png", colours)
    Image.fromarray(colours).quantize(4).save(tmp_path / "masks/b.png")
    classes = [{"name": "a", "colour": [0, 0, 0]}, {"name": "b", "colour": [255, 0, 0]}]
    source = read(tmp_path, classes=classes, mask_kind="colour", void=[9, 9, 9])
    wanted = (colours[..., 0] == 255).astype(np.uint8)
    wanted[5] = 255
    for record in source:
        assert np.array_equal(record.decode().truth.semantic(source.label_space), wanted)
    with pytest.raises(FaultError, match=r"masks/a\.png at pixel x=0, y=5: colour 9,9,9 \(32 pixels\) is none of the table"):
        read(tmp_path, classes=classes, mask_kind="colour").records[0].decode()
    with pytest.raises(FaultError, match="set mask_kind: colour"):
        read(tmp_path, classes=classes).records[0].decode()
    with pytest.raises(ValueError, match="c without a colour"):
        read(tmp_path, classes=[*classes, "c"], mask_kind="colour")
    with pytest.raises(ValueError, match=r"the colour \[0, 0, 0\] stands there twice"):
        read(tmp_path, classes=classes, mask_kind="colour", void=[0, 0, 0])
    with pytest.raises(ValueError, match="mask_kind: 'rgb'; choose one of: index, colour"):
        read(tmp_path, classes=classes, mask_kind="rgb")
    with pytest.raises(ValueError, match=r"void: \[9, 9\]; wanted \[R, G, B\]"):
        read(tmp_path, classes=classes, mask_kind="colour", void=[9, 9])


def test_pictures_that_are_not_read_are_told(tmp_path):
    fakes.write_folder(tmp_path, names=("a",))
    for name in ("b.HEIC", "notes.txt", "c.json", ".d.heic"):
        (tmp_path / "images" / name).touch()
    (tmp_path / "images/e.jpg").symlink_to("/nowhere/e.jpg")
    (fault,) = read(tmp_path, classes=CLASSES).faults
    assert (fault.rule, fault.file, fault.value) == ("not_read", "images/b.HEIC", "2")
    assert "2 files are left out (b.HEIC, e.jpg)" in str(fault)
