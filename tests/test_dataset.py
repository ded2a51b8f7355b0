import json
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO

import numpy as np
import pytest
from PIL import Image

from pipeline.dataset import Dataset
from pipeline.dataset_writer import write
from pipeline.datasets import folder as folder_reader
from pipeline.gate.inspection import GateError
from pipeline.sources import Source
from pipeline.structures import LabelSpace, PanopticMap, Sample
from tests import fakes

MANY = LabelSpace(tuple(f"c{index}" for index in range(300)), ((1, 2, 3),) * 300, (False,) * 300)
ORIGIN = {"reader": "fake", "options": {}, "source": "fake.py", "files": {"fake.py": "0" * 64}}
write_fake = partial(write, splits=fakes.SHARES, seed=0, rules={}, origin=ORIGIN, workers=1)


def all_samples(dataset: Dataset) -> dict[str, Sample]:
    return {sample.id: sample for split in ("train", "val", "test") for sample in dataset.samples(split)}


def assert_same(sample: Sample, wanted: Sample, *, has_things: bool) -> None:
    assert np.array_equal(sample.image, wanted.image)
    assert np.array_equal(sample.truth.segments, wanted.truth.segments)
    assert sample.truth.info == wanted.truth.info
    assert (sample.instances is not None) == has_things
    if has_things:
        assert np.array_equal(sample.instances.masks, wanted.instances.masks)
        assert np.array_equal(sample.instances.classes, wanted.instances.classes)
        assert np.array_equal(sample.instances.iscrowd, wanted.instances.iscrowd)


def test_semantic_round_trip(tmp_path):
    source = fakes.source()
    dataset = write_fake(source, tmp_path)
    assert (dataset.name, dataset.label_space, dataset.origin) == ("fake", fakes.STUFF, ORIGIN)
    assert not dataset.has_things
    assert not list(tmp_path.glob("instances_*"))
    read = all_samples(dataset)
    assert sorted(read) == list("abcdefgh")
    for record in source:
        assert_same(read[record.id], record.decode(), has_things=False)
    assert [len(dataset.ids(split)) for split in ("train", "val", "test")] == [4, 2, 2]
    assert len(dataset.samples("train")) == 4
    assert dataset.samples("train")[1].id == dataset.ids("train")[1]


def test_overlap_and_crowd_round_trip(tmp_path):
    source = fakes.source(fakes.things_sample, ids=("a", "b", "ç_猫"), splits=("train", "val", "test"), space=fakes.MIXED)
    read = all_samples(write_fake(source, tmp_path))
    for record in source:
        wanted = record.decode()
        assert (wanted.instances.masks.sum(axis=0) > 1).any()  # they do overlap
        assert_same(read[record.id], wanted, has_things=True)


def test_pycocotools_reads_the_instances(tmp_path):
    from pycocotools.coco import COCO

    source = fakes.source(fakes.things_sample, ids=("a", "b", "c"), splits=("train", "val", "test"), space=fakes.MIXED)
    write_fake(source, tmp_path)
    with redirect_stdout(StringIO()):
        coco = COCO(tmp_path / "instances_train.json")
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == ["box", "ball"]
    assert coco.getCatIds() == [2, 3]  # class index + 1
    annotations = coco.loadAnns(coco.getAnnIds())
    truth = source.records[0].decode().instances
    assert len(annotations) == 3
    for annotation, mask in zip(annotations, truth.masks, strict=True):
        assert np.array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
    assert annotations[0]["bbox"] == [3, 2, 12, 10]  # columns 3..14, rows 2..11
    assert [annotation["iscrowd"] for annotation in annotations] == [0, 0, 1]


def test_panoptic_side_is_coco(tmp_path):
    """Read it as panopticapi does: ids from the colours, and every id of the picture in the table, areas equal."""
    source = fakes.source(fakes.things_sample, ids=("a", "b", "c"), splits=("train", "val", "test"), space=fakes.MIXED)
    write_fake(source, tmp_path)
    table = json.loads((tmp_path / "panoptic_train.json").read_text())
    (annotation,) = table["annotations"]
    colours = np.array(Image.open(tmp_path / "panoptic" / "train" / annotation["file_name"]), np.uint32)
    ids = colours[..., 0] + 256 * colours[..., 1] + 256**2 * colours[..., 2]
    described = {one["id"]: one for one in annotation["segments_info"]}
    assert set(np.unique(ids).tolist()) == {0, *described}
    for id, one in described.items():
        rows, columns = np.nonzero(ids == id)
        assert one["area"] == len(rows)
        size = [columns.max() - columns.min() + 1, rows.max() - rows.min() + 1]
        assert one["bbox"] == [columns.min(), rows.min(), *size]
    assert described[16_777_215]["iscrowd"] == 1
    assert table["categories"][1] == {"id": 2, "name": "box", "color": [200, 60, 40], "supercategory": "thing", "isthing": 1}


def lonely(seed, *, id, split, group):
    """Things are possible, and there is none."""
    labels = np.zeros((5, 7), np.uint8)
    labels[0, 0] = 255
    return Sample(id, split, group, fakes.picture(seed, 5, 7), PanopticMap.from_labels(labels, fakes.MIXED))


def test_sample_without_thing(tmp_path):
    source = fakes.source(lonely, ids=("a", "b", "c"), space=fakes.MIXED)
    sample = write_fake(source, tmp_path).samples("train")[0]
    assert len(sample.instances) == 0
    assert sample.instances.shape == (5, 7)


def vanished(seed, *, id, split, group):
    """One object is hidden altogether, one has no pixel in any mask."""
    sample = fakes.things_sample(seed, id=id, split=split, group=group)
    instances = sample.instances
    masks = instances.masks.copy()
    masks[0] = False
    segments = np.where(sample.truth.segments == 300, 7, sample.truth.segments)
    return replace(sample, truth=replace(sample.truth, segments=segments), instances=replace(instances, masks=masks))


def test_object_without_pixel(tmp_path):
    source = fakes.source(vanished, ids=("a", "b", "c"), splits=("train", "val", "test"), space=fakes.MIXED)
    sample = write_fake(source, tmp_path).samples("train")[0]
    assert [segment.id for segment in sample.truth.info] == [7, 70_000, 16_777_215]  # panopticapi refuses an absent id
    assert sample.instances.masks.sum(axis=(1, 2)).tolist()[0] == 0
    assert len(sample.instances) == 3


def wide(seed, *, id, split, group):
    labels = np.full((9, 11), 299, np.uint16)
    labels[:4] = 254 + seed % 2
    labels[0, 0] = MANY.void
    return Sample(id, split, group, fakes.picture(seed, 9, 11), PanopticMap.from_labels(labels, MANY))


def test_more_than_254_classes(tmp_path):
    source = fakes.source(wide, ids=("a", "b", "c"), space=MANY)
    dataset = write_fake(source, tmp_path)
    read = all_samples(dataset)
    for record in source:
        labels = read[record.id].truth.semantic(dataset.label_space)
        assert labels.dtype == np.uint16
        assert np.array_equal(labels, record.decode().truth.semantic(MANY))
    assert labels[0, 0] == 65535


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_image_bytes_are_copied(tmp_path, suffix):
    root = fakes.write_folder(tmp_path / "own", suffix=suffix)
    dataset = write_fake(folder_reader.read(root, classes=["x", "y", "z"]), tmp_path / "out")
    for split in ("train", "val", "test"):
        for id in dataset.ids(split):
            stored = dataset.image_file(split, id)
            assert stored.suffix == suffix
            assert stored.read_bytes() == (root / "images" / f"{id}{suffix}").read_bytes()
            with Image.open(stored) as picture:
                pixels = np.asarray(picture.convert("RGB")).astype(int)
            # two JPEG decoders may differ by a rounding
            assert np.abs(dataset.sample(split, id).image - pixels).max() <= (0 if suffix == ".png" else 4)


@pytest.mark.parametrize("mode", ["P", "RGBA", "L"])
def test_other_modes_keep_their_pixels(tmp_path, mode):
    root = fakes.write_folder(tmp_path / "own", suffix=".png")
    for file in (root / "images").iterdir():
        Image.open(file).convert(mode).save(file)
    source = folder_reader.read(root, classes=["x", "y", "z"])
    read = all_samples(write_fake(source, tmp_path / "out"))
    for record in source:
        assert np.array_equal(read[record.id].image, record.decode().image)


def test_workers_make_no_difference(tmp_path):
    source = fakes.source(ids=[f"{index:03}" for index in range(70)])
    one = write_fake(source, tmp_path / "one")
    two = write_fake(source, tmp_path / "two", workers=2)
    assert one.sha256 == two.sha256
    for file in (tmp_path / "one").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()


def test_identity_shows_every_change(tmp_path):
    source = fakes.source()
    first = write_fake(source, tmp_path / "a").sha256
    assert write_fake(source, tmp_path / "b").sha256 == first
    decode = partial(fakes.stuff_sample, 99, id="a", split=None, group="a")
    pixels = replace(source, records=(replace(source.records[0], decode=decode), *source.records[1:]))
    others = [
        write_fake(pixels, tmp_path / "c"),
        write_fake(source, tmp_path / "d", seed=1),
        write_fake(replace(source, label_space=replace(fakes.STUFF, names=("a", "b", "c"))), tmp_path / "e"),
        write_fake(source, tmp_path / "f", origin={**ORIGIN, "files": {"fake.py": "1" * 64}}),
        write_fake(fakes.source(groups=list("aacdefgh")), tmp_path / "g"),
    ]
    assert len({first, *(other.sha256 for other in others)}) == 6


def test_a_second_write_replaces_the_first(tmp_path):
    write_fake(fakes.source(ids=tuple("abcdef")), tmp_path)
    write_fake(fakes.source(ids=tuple("uvwxyz")), tmp_path)
    assert {file.stem for file in (tmp_path / "images").rglob("*.png")} == set("uvwxyz")


def test_faults_leave_only_the_table(tmp_path):
    root = fakes.write_folder(tmp_path / "own")
    (root / "images" / "b.jpg").write_bytes(b"")
    write_fake(folder_reader.read(fakes.write_folder(tmp_path / "good"), classes=["x", "y", "z"]), tmp_path / "out")
    with pytest.raises(GateError, match=r"images/b.jpg: is empty"):
        write_fake(folder_reader.read(root, classes=["x", "y", "z"]), tmp_path / "out", root=root)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["gate.csv"]


def test_left_out_image(tmp_path):
    root = fakes.write_folder(tmp_path / "own")
    (root / "images" / "b.jpg").write_bytes(b"")
    dataset = write_fake(folder_reader.read(root, classes=["x", "y", "z"]), tmp_path / "out", rules={"zero_byte": "warning"})
    assert sorted(all_samples(dataset)) == list("acdef")


def test_reading_errors(tmp_path):
    with pytest.raises(ValueError, match="run the convert stage"):
        Dataset(tmp_path)
    dataset = write_fake(fakes.source(), tmp_path)
    with pytest.raises(ValueError, match="no split 'dev'; choose one of: train, val, test"):
        dataset.ids("dev")
    with pytest.raises(ValueError, match="no image 'zz'"):
        dataset.sample("train", "zz")
    with pytest.raises(ValueError, match="no image 'zz'"):
        dataset.group("zz")
    id = dataset.ids("train")[0]
    dataset.image_file("train", id).write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match="damaged; run the convert stage again"):
        dataset.sample("train", id)


def test_full_disk_leaves_nothing_half_done(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("pipeline.dataset_writer._write_png", full)
    with pytest.raises(OSError, match="No space left"):
        write_fake(fakes.source(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_unused_parts_of_a_stale_folder(tmp_path):
    """From things to none: the old instances must not stay."""
    write_fake(fakes.source(fakes.things_sample, ids=tuple("abc"), space=fakes.MIXED), tmp_path)
    assert (tmp_path / "instances_train.json").is_file()
    write_fake(fakes.source(), tmp_path)
    assert not (tmp_path / "instances_train.json").exists()


def test_empty_source(tmp_path):
    with pytest.raises(GateError, match="holds no image"):
        write_fake(Source("none", fakes.STUFF, ()), tmp_path)


def test_too_few_groups_are_told_with_the_rest(tmp_path):
    with pytest.raises(GateError, match="1 too_few_groups"):
        write_fake(fakes.source(groups=list("aaaabbbb")), tmp_path)
