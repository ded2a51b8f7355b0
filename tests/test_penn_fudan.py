"""The Penn-Fudan reader: pixels by hand, missing files, the canonical form as pycocotools reads it, and the real archive."""

import json
import pickle
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.archive import extract
from pipeline.dataset_writer import write
from pipeline.datasets.penn_fudan import read
from pipeline.sources import FaultError
from tests import fakes, fakes_published

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "PennFudanPed.zip"
COUNTS = {"FudanPed00001": 2, "FudanPed00002": 1, "PennPed00001": 4, "PennPed00002": 3}


@pytest.mark.parametrize("inner", ["", "PennFudanPed"])
def test_official_layout(tmp_path, inner):
    source = read(fakes_published.write_penn_fudan(tmp_path, COUNTS) / inner)
    assert not source.faults
    assert source.label_space.names == ("background", "pedestrian") and source.label_space.isthing == (False, True)
    assert [(record.id, record.split, record.group) for record in source] == [(name, None, name) for name in COUNTS]
    for seed, (record, count) in enumerate(zip(source, COUNTS.values(), strict=True)):
        sample = pickle.loads(pickle.dumps(record.decode))()
        mask = fakes_published.people_mask(seed, count)
        assert np.array_equal(sample.image, fakes.picture(seed, *mask.shape))
        assert np.array_equal(sample.truth.semantic(source.label_space), mask > 0)  # all is labelled, no pixel is void
        people = sample.objects(source.label_space)
        assert np.array_equal(people.masks, [mask == number for number in range(1, count + 1)])
        assert people.classes.tolist() == [1] * count and not people.iscrowd.any()


def test_numbers_need_not_count_from_1_and_one_may_have_two_parts(tmp_path):
    root = fakes_published.write_penn_fudan(tmp_path, {"a": 1})
    mask = np.zeros((30, 40), np.uint8)
    mask[1, 1], mask[5, 5:7], mask[20, 30] = 9, 200, 9
    fakes.save(root / "PennFudanPed/PedMasks/a_mask.png", mask)
    source = read(root)
    people = source.records[0].decode().objects(source.label_space)
    assert np.array_equal(people.masks, [mask == 9, mask == 200])
    fakes.save(root / "PennFudanPed/PedMasks/a_mask.png", mask * 0)
    empty = source.records[0].decode()
    assert len(empty.objects(source.label_space)) == 0 and not empty.truth.semantic(source.label_space).any()


def test_missing_files_are_listed(tmp_path):
    home = fakes_published.write_penn_fudan(tmp_path, COUNTS) / "PennFudanPed"
    (home / "PNGImages/PennPed00001.png").unlink()
    (home / "PedMasks/FudanPed00002_mask.png").unlink()
    source = read(tmp_path)
    assert [(fault.rule, fault.file) for fault in source.faults] == [
        ("mask_without_image", "PennFudanPed/PedMasks/PennPed00001_mask.png"),
        ("image_without_mask", "PennFudanPed/PNGImages/FudanPed00002.png"),
    ]
    assert "there is no PedMasks/FudanPed00002_mask.png; unpack the archive again" in source.faults[1].message
    assert [record.id for record in source] == ["FudanPed00001", "PennPed00002"]


def test_masks_that_cannot_be_used(tmp_path):
    home = fakes_published.write_penn_fudan(tmp_path, COUNTS) / "PennFudanPed"
    fakes.save(home / "PedMasks/FudanPed00001_mask.png", fakes_published.people_mask(0, 2)[:, :30])
    fakes.save(home / "PedMasks/FudanPed00002_mask.png", fakes.picture(0, 30, 40))
    (home / "PedMasks/PennPed00001_mask.png").write_bytes(b"")
    faults = []
    for record in read(tmp_path).records[:3]:
        with pytest.raises(FaultError) as caught:
            record.decode()
        faults += [(fault.rule, fault.file) for fault in caught.value.faults]
    assert faults == [
        ("size_mismatch", "PennFudanPed/PedMasks/FudanPed00001_mask.png"),
        ("colour_mask", "PennFudanPed/PedMasks/FudanPed00002_mask.png"),
        ("zero_byte", "PennFudanPed/PedMasks/PennPed00001_mask.png"),
    ]


def test_not_penn_fudan(tmp_path):
    with pytest.raises(ValueError, match=r"wanted PNGImages, PedMasks, found nothing; give the folder PennFudanPed, or its"):
        read(tmp_path)
    fakes_published.write_penn_fudan(tmp_path / "a", COUNTS)
    (tmp_path / "a/PennFudanPed/PedMasks").rename(tmp_path / "a/PennFudanPed/masks")
    with pytest.raises(ValueError, match=r"wanted PNGImages, PedMasks, found Annotation, PNGImages, added-object-list.txt, "):
        read(tmp_path / "a/PennFudanPed")


def test_to_the_canonical_form_and_back(tmp_path):
    """pycocotools reads every pedestrian, and the panoptic PNG holds every pixel."""
    from pycocotools.coco import COCO

    root = fakes_published.write_penn_fudan(tmp_path / "raw", COUNTS)
    rules = {"near_duplicate": "ignore"}
    write(read(root), tmp_path / "out", splits=fakes.SHARES, seed=0, rules=rules, origin={}, root=root, workers=1)
    seen = []
    for split in ("train", "val", "test"):
        with redirect_stdout(StringIO()):
            coco = COCO(tmp_path / f"out/instances_{split}.json")
        panoptic = json.loads((tmp_path / f"out/panoptic_{split}.json").read_text())
        for image, described in zip(panoptic["images"], panoptic["annotations"], strict=True):
            name = Path(image["file_name"]).stem
            mask = fakes_published.people_mask(list(COUNTS).index(name), COUNTS[name])
            people = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            assert len(people) == COUNTS[name]
            for number, one in enumerate(people, start=1):
                assert np.array_equal(coco.annToMask(one), mask == number)
            colours = np.array(Image.open(tmp_path / f"out/panoptic/{split}/{name}.png"), np.int64)
            ids = colours @ [1, 256, 256**2]
            categories = {one["id"]: one["category_id"] for one in described["segments_info"]}
            assert np.array_equal(np.vectorize(categories.get)(ids), 1 + (mask > 0))
            assert len(categories) == 1 + COUNTS[name]
            seen.append(name)
    assert sorted(seen) == sorted(COUNTS)


@pytest.mark.skipif(not REAL.is_file(), reason=f"the real archive is not there: {REAL}")
def test_real_archive(tmp_path):
    """170 images, 423 pedestrians; each as many and where its annotation in words says, but for four boxes of theirs."""
    extract(REAL, tmp_path)
    source = read(tmp_path)
    assert not source.faults and len(source.records) == 170
    count, apart = 0, []
    for record in source:
        sample = record.decode()
        text = (tmp_path / f"PennFudanPed/Annotation/{record.id}.txt").read_text(encoding="latin-1")
        size = re.search(r"Image size \(X x Y x C\) : (\d+) x (\d+) x 3", text)
        assert sample.shape == (int(size[2]), int(size[1]))
        told = re.findall(r"\(Xmin, Ymin\) - \(Xmax, Ymax\) : \((\d+), (\d+)\) - \((\d+), (\d+)\)", text)
        people = sample.objects(source.label_space)
        assert len(people) == len(told)
        # theirs count from 1 and include the last pixel
        gap = np.abs(people.boxes + np.array([1, 1, 0, 0]) - np.array(told, float)).max(axis=1)
        apart += [f"{record.id} {number}" for number in np.flatnonzero(gap > 1) + 1]
        count += len(people)
    assert count == 423
    assert apart == ["PennPed00019 6", "PennPed00021 2", "PennPed00027 1", "PennPed00090 1"]
