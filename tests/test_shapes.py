"""The generated data set: the same bytes each time, a truth that holds, and the mix of classes that is promised."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import shapes
from pipeline.datasets.shapes import LABEL_SPACE, STUFF, THINGS, decode, read

ROOT = Path(__file__).parent.parent
DISC, RING = LABEL_SPACE.names.index("disc"), LABEL_SPACE.names.index("ring")


@pytest.fixture(scope="module")
def samples():
    """The first 60 training pictures, at half the default size."""
    source = read(Path(), height=96, width=128)
    return [record.decode() for record in source.records[:60]]


def fingerprint(sample) -> str:
    return hashlib.sha256(
        sample.image.tobytes() + sample.truth.segments.tobytes() + repr(sample.truth.info).encode()
    ).hexdigest()


def things_of(sample) -> list[int]:
    return [segment.category for segment in sample.truth.info if LABEL_SPACE.isthing[segment.category]]


def test_records_have_official_splits_and_are_their_own_groups():
    source = read(Path("nowhere"), train=3, val=2, test=1)
    assert [record.id for record in source] == [
        "train_0001", "train_0002", "train_0003", "val_0001", "val_0002", "test_0001",
    ]  # fmt: skip
    assert [record.split for record in source] == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert all(record.group == record.id and record.image_file is None for record in source)
    assert source.faults == ()


def test_the_default_is_what_the_issue_asks_for():
    source = read(Path())
    splits = [record.split for record in source]
    assert [splits.count(split) for split in ("train", "val", "test")] == [200, 40, 60]
    assert source.records[0].decode().image.shape == (192, 256, 3)
    assert sum(LABEL_SPACE.isthing) >= 4
    assert LABEL_SPACE.num_classes - sum(LABEL_SPACE.isthing) >= 2


def test_a_sample_carries_the_names_of_its_record():
    record = read(Path(), train=1, val=1, test=1, height=64, width=64).records[1]
    sample = pickle.loads(pickle.dumps(record)).decode()
    assert (sample.id, sample.split, sample.group) == (record.id, record.split, record.group)
    assert sample.instances is None  # the panoptic truth has them all


def test_the_same_picture_has_the_same_bytes_in_another_process():
    code = (
        "from tests.test_shapes import decode, fingerprint\n"
        "print([fingerprint(decode('val', index, height=96, width=128)) for index in range(4)])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str([fingerprint(decode("val", index, height=96, width=128)) for index in range(4)])


def test_a_picture_does_not_depend_on_how_many_there_are():
    few, many = (read(Path(), train=count, val=1, test=1, height=64, width=64) for count in (2, 30))
    assert fingerprint(few.records[1].decode()) == fingerprint(many.records[1].decode())


def test_no_two_pictures_are_alike():
    pictures = [decode(split, index, height=64, width=64) for split in shapes.SPLITS for index in range(10)]
    assert len({sample.image.tobytes() for sample in pictures}) == 30


@pytest.mark.parametrize(("height", "width"), [(64, 64), (97, 131), (64, 300), (420, 65), (700, 900)])
def test_any_size_is_drawn(height, width):
    sample = decode("test", 3, height=height, width=width)
    assert sample.image.shape == (height, width, 3)
    assert things_of(sample)


def test_every_pixel_is_labelled_and_every_segment_is_listed_once(samples):
    for sample in samples:
        assert sorted(segment.id for segment in sample.truth.info) == np.unique(sample.truth.segments).tolist()
        assert sample.truth.segments.min() > 0  # 0 is "nothing"
        labels = sample.truth.semantic(LABEL_SPACE)
        assert labels.max() < LABEL_SPACE.num_classes
        stuff = [segment.category for segment in sample.truth.info if not LABEL_SPACE.isthing[segment.category]]
        assert len(stuff) == len(set(stuff))  # one segment for all the pixels of a stuff class


def test_no_shape_is_a_sliver(samples):
    # the smallest shape is a star: 10 triangles of sides r, 0.42 r and 36 degrees between, 1.23 r^2; r is 0.14 * 96 px
    least = shapes.VISIBLE_SHARE * 1.23 * (0.14 * 96) ** 2
    for sample in samples:
        pixels = np.bincount(sample.truth.segments.ravel())
        assert all(pixels[one.id] > 0.9 * least for one in sample.truth.info if LABEL_SPACE.isthing[one.category])


def test_every_class_is_there_and_the_rare_one_is_rare(samples):
    counts = np.bincount([category for sample in samples for category in things_of(sample)], minlength=LABEL_SPACE.num_classes)
    assert (counts[len(STUFF) :] > 0).all()
    assert counts[DISC] > 2.5 * counts[RING]
    pixels = sum(np.bincount(sample.truth.semantic(LABEL_SPACE).ravel(), minlength=8) for sample in samples)
    assert (pixels > 0).all()
    assert pixels.argmin() == RING
    assert pixels[RING] < 0.05 * pixels.sum()


def test_classes_have_several_instances_in_a_picture(samples):
    for category in range(len(STUFF), len(STUFF) + len(THINGS)):
        assert any(things_of(sample).count(category) >= 2 for sample in samples), LABEL_SPACE.names[category]


def test_shapes_hide_parts_of_others(samples):
    # a whole disc fills at least 0.75 * pi / 4 = 0.589 of its box along the axes; one that fills less is partly hidden
    hidden = 0
    for sample in samples:
        objects = sample.objects(LABEL_SPACE)
        x0, y0, x1, y1 = objects.boxes.T
        fill = objects.masks.sum(axis=(1, 2)) / ((x1 - x0) * (y1 - y0))
        hidden += int(((objects.classes == DISC) & (fill < 0.55)).sum())
    assert hidden > 0


def test_pictures_are_lit_and_noisy_but_not_blown_out(samples):
    for sample in samples:
        assert 40 < sample.image.mean() < 190
        assert np.isin(sample.image, (0, 255)).mean() < 0.25
        assert np.abs(np.diff(sample.image.astype(int), axis=1)).mean() > 1


def test_a_square_covers_the_pixels_it_should():
    # side 10 about the middle of a patch of 16: rows and columns 3 to 12
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    cover = shapes._cover([square], 5.0, np.zeros(2), 8)
    expected = np.zeros((16, 16), bool)
    expected[3:13, 3:13] = True
    assert np.array_equal(cover >= 0.5, expected)
    assert cover.sum() == pytest.approx(100, rel=0.06)


def test_a_ring_has_a_hole():
    outer, inner = shapes._outline("ring", np.random.default_rng(0))
    cover = shapes._cover([outer, inner], 20.0, np.zeros(2), 24)
    assert cover[24, 24] == 0
    assert cover[24 + np.round(outer[0][1] * 16).astype(int), 24 + np.round(outer[0][0] * 16).astype(int)] == 1


@pytest.mark.parametrize("kind", THINGS, ids=lambda kind: kind.name)
def test_an_outline_lies_in_the_unit_circle_and_reaches_it(kind):
    for seed in range(5):
        reach = np.concatenate([np.hypot(*curve.T) for curve in shapes._outline(kind.name, np.random.default_rng(seed))])
        assert reach.max() == pytest.approx(1)


def test_a_shape_is_refused_where_it_hides_too_much_of_another():
    scene = shapes._Scene(np.zeros((4, 10, 3), np.float32), np.ones((4, 10), np.int32), category=[-1, 0], least_px=[0.0, 0.0])
    cover = np.ones((4, 5), np.float32)  # 20 px, of which 14 have to stay visible
    whole = np.s_[:, :]
    assert shapes._enter(scene, cover, whole, np.s_[:, 0:5], 3)
    assert not shapes._enter(scene, cover, whole, np.s_[:, 3:8], 4)  # hides 8 of them
    assert (scene.segments == 2).sum() == 20  # a refused shape leaves no trace
    assert shapes._enter(scene, cover, whole, np.s_[:, 4:9], 4)  # hides 4
    assert (scene.segments == 2).sum() == 16
    assert not shapes._enter(scene, cover, np.s_[:, :3], np.s_[:, 7:10], 4)  # only 12 of its 20 px lie in the picture
    assert [(one.id, one.category) for one in scene.truth().info] == [(1, 0), (2, 3), (3, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 0}, r"train is 0, wanted a whole number in 1\.\.999999; set dataset\.options\.train"),
        ({"val": -3}, "val is -3"),
        ({"test": True}, "test is True"),
        ({"test": "60"}, "test is '60'"),
        ({"height": 63}, r"height is 63, wanted a whole number in 64\.\.4096"),
        ({"width": 256.0}, "width is 256.0"),
        ({"width": 5000}, "width is 5000"),
        ({"train": 0, "height": 1}, "train is 0(.|\n)*height is 1"),  # all faults at once
    ],
)
def test_wrong_counts_and_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        read(Path(), **options)


def test_a_missing_photograph_is_named():
    with pytest.raises(ValueError, match=r"no_such\.png: missing or damaged.*install scikit-image again"):
        shapes._photograph("no_such.png")


def test_the_benchmark_scores_by_hand():
    from benchmarks.shapes_difficulty import class_iou

    # class 0: 3 right, 1 taken for class 1; class 1: absent, predicted once; class 2: nowhere
    scores = class_iou(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    assert scores[:2].tolist() == [0.75, 0.0]
    assert np.isnan(scores[2])
