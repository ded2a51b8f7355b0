"""The Cityscapes reader: the official layout, 34 labels to 19 classes, groups as crowds, and what to fetch by hand."""

import json
import pickle

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from pipeline import check
from pipeline.dataset_writer import write
from pipeline.datasets.cityscapes import LABEL_SPACE, read
from pipeline.gate import inspection as gate
from pipeline.provenance import ROOT
from pipeline.sources import FaultError
from pipeline.splits import TRAINVAL, assign
from tests import fakes
from tests.fakes_cityscapes import instance_ids, label_ids, write_cityscapes

SHARES = {"train": 0.7, "val": 0.3, "test": 0.0}
CAR, BICYCLE = 13, 18  # trainIds
TRAIN_IDS = {1: 255, 7: 0, 11: 2, 23: 10, 26: CAR, 29: 255, 33: BICYCLE}  # of the labels in the fake


def test_official_layout_and_splits(tmp_path):
    source = read(write_cityscapes(tmp_path))
    assert not source.faults
    assert [(record.id, record.split, record.group) for record in source] == [
        *((f"aachen_{frame:06d}_000019", TRAINVAL, "aachen") for frame in range(4)),
        *((f"bochum_{frame:06d}_000019", TRAINVAL, "bochum") for frame in range(2)),
        ("zurich_000000_000019", TRAINVAL, "zurich"),
        *((f"lindau_{frame:06d}_000019", "test", "lindau") for frame in range(2)),
    ]
    assigned = assign(source.records, shares=SHARES, seed=0)
    cities = {split: {record.group for record in assigned if record.split == split} for split in ("train", "val", "test")}
    assert cities["test"] == {"lindau"}
    assert cities["train"] | cities["val"] == {"aachen", "bochum", "zurich"}
    assert cities["val"] and not cities["train"] & cities["val"]
    assert {record.split for record in read(tmp_path, official=False)} == {None}


def test_labels_and_objects(tmp_path):
    record = read(write_cityscapes(tmp_path)).records[1]
    sample = pickle.loads(pickle.dumps(record)).decode()  # as a worker gets it
    seed = 1 + len("aachen")
    ids, instances = label_ids(seed), instance_ids(seed)
    wanted = np.vectorize(TRAIN_IDS.get)(ids)
    assert np.array_equal(sample.truth.semantic(LABEL_SPACE), wanted)
    assert np.array_equal(sample.truth.segments == 0, (ids == 1) | (ids == 29))  # the own car, and the caravan though numbered
    found = sample.objects(LABEL_SPACE)
    assert list(zip(found.classes.tolist(), found.iscrowd.tolist(), strict=True)) == [
        (BICYCLE, True),
        (CAR, False),
        (CAR, False),
    ]
    assert np.array_equal(found.masks, [instances == number for number in (33, 26000, 26001)])


def test_classes():
    """The trainIds 0..18 of cityscapesScripts' labels.py, where person and all after it have instances."""
    order = (
        "road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky person rider car truck bus"
    )
    order = [name.replace("_", " ") for name in f"{order} train motorcycle bicycle".split()]
    assert LABEL_SPACE.names == tuple(order)
    assert LABEL_SPACE.isthing == (False,) * 11 + (True,) * 8
    known = {"road": (128, 64, 128), "sky": (70, 130, 180), "person": (220, 20, 60), "bicycle": (119, 11, 32)}
    assert {name: LABEL_SPACE.colours[order.index(name)] for name in known} == known


def test_coarse_adds_to_train(tmp_path):
    extra = {"train_extra": {"wurzburg": 2}}
    write_cityscapes(tmp_path)
    with pytest.raises(ValueError, match=r"no folder leftImg8bit/train_extra/, gtCoarse/train_extra/\. Cityscapes is behind"):
        read(tmp_path, coarse=True)
    write_cityscapes(tmp_path, truth="gtCoarse", cities=extra)
    assert len(read(tmp_path).records) == 9
    source = read(tmp_path, coarse=True)
    assert not source.faults
    assert [(record.split, record.group) for record in source][-2:] == [("train", "wurzburg")] * 2
    assert source.records[-1].decode().truth.semantic(LABEL_SPACE)[0, 0] == 10
    assert {one.split for one in assign(source.records, shares=SHARES, seed=0) if one.group == "wurzburg"} == {"train"}
    with pytest.raises(ValueError, match="coarse: adds to the official train only"):
        read(tmp_path, coarse=True, official=False)


def test_a_folder_for_each_archive(tmp_path):
    write_cityscapes(tmp_path, images="leftImg8bit_trainvaltest/leftImg8bit", truth="gtFine_trainvaltest/gtFine")
    extra = {"train_extra": {"wurzburg": 1}}
    write_cityscapes(tmp_path, images="leftImg8bit_trainextra/leftImg8bit", truth="gtCoarse/gtCoarse", cities=extra)
    source = read(tmp_path, coarse=True)
    assert not source.faults and len(source.records) == 10


def test_what_to_fetch_by_hand(tmp_path, capsys):
    wanted = ["https://www.cityscapes-dataset.com", "leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip", "unpack both"]
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError) as caught:
            read(folder)
        assert all(part in str(caught.value) for part in wanted)
        assert "no folder leftImg8bit/train/, gtFine/train/, leftImg8bit/val/, gtFine/val/." in str(caught.value)
    preset = yaml.safe_load((ROOT / "presets/cityscapes.yaml").read_text())
    preset["dataset"]["source"] = str(tmp_path / "nowhere")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(preset))
    assert check.main([str(tmp_path / "params.yaml")]) == 1
    told = capsys.readouterr().err
    assert "dataset.source" in told and all(part in told for part in wanted)


def test_what_is_missing(tmp_path):
    write_cityscapes(tmp_path)
    (tmp_path / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png").unlink()
    (tmp_path / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png").unlink()
    (tmp_path / "gtFine/val/lindau/lindau_000000_000019_gtFine_instanceIds.png").unlink()
    source = read(tmp_path)
    assert [(fault.rule, fault.file) for fault in source.faults] == [
        ("mask_without_image", "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"),
        ("image_without_mask", "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png"),
        ("image_without_mask", "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png"),
    ]
    assert "gtFine/val/lindau/lindau_000000_000019_gtFine_instanceIds.png missing" in str(source.faults[2])
    assert len(source.records) == 6


def test_masks_that_cannot_be_used(tmp_path):
    write_cityscapes(tmp_path)
    folder = tmp_path / "gtFine/train/aachen"
    ids = label_ids(0)
    ids[3, 5:7] = 34
    fakes.save(folder / "aachen_000000_000019_gtFine_labelIds.png", ids)
    fakes.save(folder / "aachen_000001_000019_gtFine_instanceIds.png", instance_ids(0)[:-1])
    records = read(tmp_path).records
    with pytest.raises(FaultError, match=r"aachen_000000_000019_gtFine_labelIds\.png at pixel x=5, y=3: .*34 \(2 pixels\)"):
        records[0].decode()
    with pytest.raises(FaultError, match=r"aachen_000001_000019_gtFine_instanceIds\.png: mask is 48x23, its image 48x24"):
        records[1].decode()


def test_labels_win_where_labels_and_instances_differ(tmp_path):
    """A label that someone corrected, from car to person: the person has no number, so that it is a crowd."""
    write_cityscapes(tmp_path)
    ids = label_ids(len("aachen"))
    ids[12:14, 4:6] = 24
    fakes.save(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png", ids)
    sample = read(tmp_path).records[0].decode()
    assert (sample.truth.semantic(LABEL_SPACE)[12:14, 4:6] == 11).all()
    found = sample.objects(LABEL_SPACE)
    assert list(zip(found.classes.tolist(), found.iscrowd.tolist(), strict=True)) == [
        (11, True),
        (BICYCLE, True),
        (CAR, False),
        (CAR, False),
    ]


def test_there_and_back(tmp_path):
    """What pycocotools and the panoptic PNG give is what lies in the masks of the source."""
    raw, out = write_cityscapes(tmp_path / "raw"), tmp_path / "out"
    write(read(raw), out, splits=SHARES, seed=0, rules={}, origin={}, root=raw, workers=1)
    seen = 0
    for split in ("train", "val", "test"):
        coco, panoptic = COCO(out / f"instances_{split}.json"), json.loads((out / f"panoptic_{split}.json").read_text())
        for image, entry in zip(panoptic["images"], panoptic["annotations"], strict=True):
            city, frame, _ = entry["file_name"].split("_")
            seed = int(frame) + len(city)
            pixels = np.asarray(Image.open(out / "panoptic" / split / entry["file_name"]).convert("RGB"))
            labels, crowd = np.full(pixels.shape[:2], 255), np.zeros(pixels.shape[:2], bool)
            for segment in entry["segments_info"]:
                mask = pixels @ [1, 256, 65536] == segment["id"]
                labels[mask], crowd[mask] = segment["category_id"] - 1, segment["iscrowd"]
            assert np.array_equal(labels, np.vectorize(TRAIN_IDS.get)(label_ids(seed)))
            assert np.array_equal(crowd, label_ids(seed) == 33)
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            masks = sorted((one["iscrowd"], one["category_id"] - 1, one["bbox"][0], one["id"]) for one in annotations)
            assert [one[:2] for one in masks] == [(0, CAR), (0, CAR), (1, BICYCLE)]
            for (*_, id), number in zip(masks, (26001, 26000, 33), strict=True):
                assert np.array_equal(coco.annToMask(coco.anns[id]), instance_ids(seed) == number)
            seen += 1
    assert seen == 9


def test_the_gate_passes_it(tmp_path):
    raw = write_cityscapes(tmp_path / "raw")
    assert len(gate.inspect(read(raw), table=tmp_path / "gate.csv", root=raw, workers=1)) == 9
