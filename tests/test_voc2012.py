"""The VOC 2012 reader: the official layout and lists, void, objects, SBD in both forms, and what it says of bad input."""

import json
import pickle
import random

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from scipy.io import loadmat

from pipeline.dataset_writer import write
from pipeline.datasets.voc2012 import LABEL_SPACE, _matlab_mask, read
from pipeline.download_list import read_list
from pipeline.provenance import ROOT
from pipeline.sources import FaultError
from pipeline.splits import TRAINVAL, assign
from tests import fakes, fakes_voc2012
from tests.fakes_voc2012 import SBD, TRAIN, VAL, objects_of, save_palette, write_mat, write_sbd, write_voc

SHARES = {"train": 0.8, "val": 0.2, "test": 0.0}


def decoded(source, id: str):
    return next(record for record in source if record.id == id).decode()


@pytest.mark.parametrize("inner", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_official_layout_and_splits(tmp_path, inner):
    write_voc(tmp_path)
    source = read(tmp_path / inner)
    assert not source.faults
    assert [(record.id, record.split, record.group) for record in source] == [
        *((name, TRAINVAL, name) for name in TRAIN),
        *((name, "test", name) for name in VAL),
    ]
    assigned = assign(source.records, shares=SHARES, seed=0)
    assert [sum(record.split == split for record in assigned) for split in ("train", "val", "test")] == [8, 2, 2]
    assert {record.id for record in assigned if record.split == "test"} == set(VAL)
    assert {record.split for record in read(tmp_path, official=False)} == {None}


def test_pixels_void_and_objects(tmp_path):
    write_voc(tmp_path)
    sample = pickle.loads(pickle.dumps(read(tmp_path).records[1])).decode()  # as a worker gets it
    classes, objects = objects_of(1)
    assert np.array_equal(sample.truth.semantic(LABEL_SPACE), classes)  # 255 in the file is void here
    assert np.array_equal(sample.truth.segments == 0, classes == 255)
    found = sample.objects(LABEL_SPACE)
    assert found.classes.tolist() == [13, 13, 15]
    assert np.array_equal(found.masks, [objects == number for number in (1, 2, 3)])
    assert not found.iscrowd.any()


def test_labels_win_where_classes_and_objects_differ(tmp_path):
    """Two pixels of object 1 that the classes call a person, and two of a horse that are no object: crowds, not new objects."""
    home = write_voc(tmp_path)
    classes, objects = objects_of(0)
    classes[15, 3:5] = 15
    objects[18, 25:27] = 0, 255
    save_palette(home / "SegmentationClass" / f"{TRAIN[0]}.png", classes)
    save_palette(home / "SegmentationObject" / f"{TRAIN[0]}.png", objects)
    sample = read(tmp_path).records[0].decode()
    assert np.array_equal(sample.truth.semantic(LABEL_SPACE), classes)
    found = sample.objects(LABEL_SPACE)
    assert [(one, crowd) for one, crowd in zip(found.classes.tolist(), found.iscrowd.tolist(), strict=True)] == [
        (13, True),
        (15, True),
        (13, False),
        (13, False),
        (15, False),
    ]
    assert [int(mask.sum()) for mask in found.masks[:2]] == [2, 2]


def test_classes_and_colours():
    """As in the development kit: VOClabelcolormap, classes in alphabetical order."""
    assert LABEL_SPACE.num_classes == 21
    assert LABEL_SPACE.names[1:] == tuple(sorted(LABEL_SPACE.names[1:]))
    assert LABEL_SPACE.isthing == (False, *[True] * 20)
    known = {"background": (0, 0, 0), "aeroplane": (128, 0, 0), "cat": (64, 0, 0), "person": (192, 128, 128)}
    known |= {"chair": (192, 0, 0), "cow": (64, 128, 0), "pottedplant": (0, 64, 0), "tvmonitor": (0, 64, 128)}
    assert {name: LABEL_SPACE.colours[LABEL_SPACE.names.index(name)] for name in known} == known


def test_sbd_adds_to_train_what_no_list_has(tmp_path):
    write_voc(tmp_path)
    write_sbd(tmp_path)
    source = read(tmp_path, sbd="benchmark_RELEASE/dataset")
    assert not source.faults
    assert [(record.id, record.split) for record in source][-2:] == [(name, "train") for name in SBD]
    assert len(source.records) == len(TRAIN) + len(VAL) + 2
    for seed, name in enumerate(SBD):  # one compressed, one not
        classes, objects = objects_of(seed)
        sample = decoded(source, name)
        assert np.array_equal(sample.truth.semantic(LABEL_SPACE), np.where(classes == 255, 0, classes))
        found = sample.objects(LABEL_SPACE)
        assert np.array_equal(found.masks, [objects == number for number in (1, 2, 3)])
        assert found.classes.tolist() == [13, 13, 15]
    assert np.count_nonzero(decoded(source, TRAIN[0]).truth.segments == 0)  # VOC's own mask: it has void
    assigned = assign(source.records, shares=SHARES, seed=0)
    assert {record.split for record in assigned if record.id in SBD} == {"train"}


def test_sbd_as_png_has_no_objects(tmp_path):
    home = write_voc(tmp_path)
    for seed, name in enumerate((*SBD, *TRAIN, *VAL)):
        fakes.save(home / "SegmentationClassAug" / f"{name}.png", objects_of(seed)[0])
    source = read(tmp_path, sbd="VOCdevkit/VOC2012/SegmentationClassAug")
    assert len(source.records) == len(TRAIN) + len(VAL) + len(SBD)
    sample = decoded(source, SBD[0])
    assert np.array_equal(sample.truth.semantic(LABEL_SPACE), objects_of(0)[0])
    found = sample.objects(LABEL_SPACE)
    assert found.classes.tolist() == [13, 15] and found.iscrowd.all()


def test_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"no VOCdevkit/VOC2012/ImageSets/Segmentation; wanted VOCtrainval_11-May-2012\.tar"):
        read(tmp_path)
    home = write_voc(tmp_path)
    (home / "JPEGImages" / f"{TRAIN[0]}.jpg").unlink()
    (home / "SegmentationClass" / f"{TRAIN[1]}.png").unlink()
    (home / "SegmentationObject" / f"{VAL[0]}.png").unlink()
    source = read(tmp_path)
    place = "VOCdevkit/VOC2012"
    assert [(fault.rule, fault.file) for fault in source.faults] == [
        ("mask_without_image", f"{place}/JPEGImages/{TRAIN[0]}.jpg"),
        ("image_without_mask", f"{place}/JPEGImages/{TRAIN[1]}.jpg"),
        ("image_without_mask", f"{place}/JPEGImages/{VAL[0]}.jpg"),
    ]
    assert f"SegmentationClass/{TRAIN[1]}.png missing; unpack again" in str(source.faults[1])
    with pytest.raises(ValueError, match=r"sbd: .*nowhere: wanted the folders cls/ and inst/ of SBD's benchmark\.tgz"):
        read(tmp_path, sbd="nowhere")
    with pytest.raises(ValueError, match="sbd: adds to the official train only"):
        read(tmp_path, sbd="nowhere", official=False)
    (home / "ImageSets/Segmentation/val.txt").write_text("../../../etc/passwd\n")
    with pytest.raises(ValueError, match=r"val\.txt: '\.\./\.\./\.\./etc/passwd'; wanted an image a line, such as 2007_000032"):
        read(tmp_path)
    (home / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(ValueError, match=r"val\.txt: no such file"):
        read(tmp_path)


def test_masks_that_cannot_be_used(tmp_path):
    home = write_voc(tmp_path)
    classes, objects = objects_of(0)
    classes[2, 3] = 21
    save_palette(home / "SegmentationClass" / f"{TRAIN[0]}.png", classes)
    save_palette(home / "SegmentationObject" / f"{TRAIN[1]}.png", objects[:-1])
    Image.fromarray(objects_of(2)[0]).convert("RGB").save(home / "SegmentationClass" / f"{TRAIN[2]}.png")
    records = read(tmp_path).records
    for record, rule in zip(records, ("label_outside", "size_mismatch", "colour_mask"), strict=False):
        with pytest.raises(FaultError) as caught:
            record.decode()
        assert [fault.rule for fault in caught.value.faults] == [rule]
    with pytest.raises(FaultError, match=rf"SegmentationClass/{TRAIN[0]}\.png at pixel x=3, y=2: label 21 \(1 pixels\)"):
        records[0].decode()


def test_files_of_sbd_are_read_as_scipy_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    for number, kind in enumerate((np.uint8, np.uint16, np.int32, np.float64)):
        mask = rng.integers(0, 21, (5 + number, 9)).astype(kind)
        for compressed in (False, True):
            file = write_mat(tmp_path / "a.mat", "GTcls", mask, compressed=compressed)
            found = _matlab_mask(file.read_bytes(), "GTcls")
            assert np.array_equal(found, loadmat(file)["GTcls"]["Segmentation"][0, 0])
            assert np.array_equal(found, mask)


def test_a_damaged_file_of_sbd_is_a_fault(tmp_path):
    write_voc(tmp_path)
    home = write_sbd(tmp_path)
    file = home / "cls" / f"{SBD[0]}.mat"
    whole = file.read_bytes()
    record = next(one for one in read(tmp_path, sbd="benchmark_RELEASE/dataset") if one.id == SBD[0])
    damaged = [b"", b"MATLAB 7.3 MAT-file".ljust(512), whole[:300], whole[:-9]]
    damaged.append(write_mat(tmp_path / "x.mat", "GTinst", objects_of(0)[1]).read_bytes())
    damaged.append(write_mat(tmp_path / "x.mat", "GTcls", objects_of(0)[0] + 0.5).read_bytes())
    for data in damaged:
        file.write_bytes(data)
        with pytest.raises(FaultError, match=r"cls/2008_000002\.mat: is damaged, or no file of SBD \(.*unpack benchmark\.tgz"):
            record.decode()


@pytest.mark.parametrize("compressed", [False, True])
def test_no_damage_gets_past_the_faults(tmp_path, compressed):
    """Any bytes changed: a mask of whole numbers, or one of the errors that become a fault."""
    data = write_mat(tmp_path / "a.mat", "GTcls", objects_of(0)[0], compressed=compressed).read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(2000):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        (tmp_path / "b.mat").write_bytes(changed)
        try:
            from pipeline.datasets.voc2012 import _read_mask

            assert _read_mask(tmp_path / "b.mat", "GTcls", tmp_path).dtype == np.uint16
        except FaultError:
            refused += 1
    assert refused > 20


def test_there_and_back(tmp_path):
    """What pycocotools and the panoptic PNG give is what lies in the masks of the source."""
    write_voc(tmp_path / "raw")
    write_sbd(tmp_path / "raw")
    source = read(tmp_path / "raw", sbd="benchmark_RELEASE/dataset")
    out = tmp_path / "out"
    write(source, out, splits=SHARES, seed=0, rules={}, origin={}, root=tmp_path / "raw", workers=1)
    seeds = {name: seed for seed, name in enumerate((*TRAIN, *VAL))} | {name: seed for seed, name in enumerate(SBD)}
    seen = 0
    for split in ("train", "val", "test"):
        coco, panoptic = COCO(out / f"instances_{split}.json"), json.loads((out / f"panoptic_{split}.json").read_text())
        for image, entry in zip(panoptic["images"], panoptic["annotations"], strict=True):
            name = entry["file_name"].removesuffix(".png")
            classes, objects = objects_of(seeds[name])
            if name in SBD:
                classes = np.where(classes == 255, 0, classes)
            ids = np.asarray(Image.open(out / "panoptic" / split / entry["file_name"]).convert("RGB")) @ [1, 256, 65536]
            labels = np.full(ids.shape, 255)
            for segment in entry["segments_info"]:
                labels[ids == segment["id"]] = segment["category_id"] - 1
            assert np.array_equal(labels, classes)
            masks = {}
            for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
                masks[annotation["category_id"] - 1, annotation["bbox"][0]] = coco.annToMask(annotation)
            assert len(masks) == 3
            for number, category in ((1, 13), (2, 13), (3, 15)):
                wanted = objects == number
                assert np.array_equal(masks[category, np.flatnonzero(wanted.any(axis=0))[0]], wanted)
            seen += 1
    assert seen == len(TRAIN) + len(VAL) + len(SBD)
    assert (out / "images/test" / f"{VAL[0]}.jpg").read_bytes() == (
        tmp_path / f"raw/VOCdevkit/VOC2012/JPEGImages/{VAL[0]}.jpg"
    ).read_bytes()


def test_the_preset_names_a_list_of_downloads_that_is_right():
    """SHA-256 of both archives, as in torchvision's prototypes of voc.py and sbd.py."""
    preset = yaml.safe_load((ROOT / "presets/voc2012.yaml").read_text())
    entries = read_list(ROOT / preset["dataset"]["source"])
    assert [entry.name for entry in entries] == ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"]
    assert fakes_voc2012.write_sbd.__doc__.startswith(preset["dataset"]["options"]["sbd"])
