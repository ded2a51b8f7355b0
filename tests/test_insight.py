"""What a data set is made of, counted by hand on maps small enough to see."""

import csv
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import measure as skimage_measure

from pipeline import insight
from pipeline.dataset_writer import write
from pipeline.gate.inspection import GateError
from pipeline.insight import VOID, Measured, choose, measure, pieces, quantiles
from pipeline.structures import LabelSpace, PanopticMap, Sample
from tests import fakes

write_fake = partial(write, splits=fakes.SHARES, seed=0, rules={}, origin={}, workers=1)


def rows(file: Path) -> list[dict]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2), (40, 61)])
@pytest.mark.parametrize("values", [1, 2, 5])
def test_pieces_are_those_of_skimage(shape, values):
    for seed in range(5):
        segments = np.random.default_rng([seed]).integers(0, values, shape).astype(np.int32)
        found, areas = pieces(segments)
        labelled = skimage_measure.label(segments, background=-1, connectivity=1)
        counts = np.bincount(labelled.ravel())[1:]
        first = [segments.ravel()[np.flatnonzero(labelled.ravel() == one)[0]] for one in range(1, len(counts) + 1)]
        assert sorted(zip(found.tolist(), areas.tolist(), strict=True)) == sorted(zip(first, counts.tolist(), strict=True))


def test_pieces_that_meet_again_are_one():
    """A ring and a comb: runs of a row that are joined only further down."""
    text = ["1111100100", "1000100100", "1022100111", "1000100000", "1111103333"]
    segments = np.array([[int(one) for one in line] for line in text], np.int32)
    found, areas = pieces(segments)
    # the ground in the comb, in the ring, and around; the comb and the ring of 1; 2 in the ring; 3 below
    wanted = [(0, 4), (0, 7), (0, 12), (1, 5), (1, 16), (2, 2), (3, 4)]
    assert sorted(zip(found.tolist(), areas.tolist(), strict=True)) == wanted


def test_pixels_and_segments_of_an_image():
    """Stuff is counted by piece, things by object: overlapping ones whole, those without a pixel not at all."""
    space = fakes.MIXED  # ground, and the things box and ball
    segments = np.array([[1, 1, 2, 2, 1, 0], [1, 1, 2, 2, 1, 0]], np.int32)
    found = measure(segments, [(1, 0, 6), (2, 1, 4)], [(1, 9), (2, 0)], space)
    assert found.size == (2, 6)
    assert found.pixels == {0: 6, 1: 4}
    bins = {area: int(insight.area_bins(np.array([area]))[0]) for area in (2, 4, 9)}
    assert found.areas == {(0, bins[4]): 1, (0, bins[2]): 1, (1, bins[9]): 1}
    empty = measure(np.zeros((2, 3), np.int32), [], [], space)
    assert (empty.pixels, empty.areas) == ({}, {})


def test_quantiles_of_areas():
    areas = np.random.default_rng([0]).integers(1, 200_000, 5000)
    bins, counts = np.unique(insight.area_bins(areas), return_counts=True)
    found = quantiles(dict(zip(bins.tolist(), counts.tolist(), strict=True)))
    assert np.allclose(found[:-1], np.percentile(areas, insight.QUANTILES, method="inverted_cdf"), rtol=0.03)
    assert quantiles({}) == [None] * 6


def test_specks_do_not_hide_how_large_the_rest_is():
    bins = insight.area_bins(np.array([1] * 1000 + [400, 500, 9000])).tolist()
    found = quantiles({one: bins.count(one) for one in bins})
    assert found[:-1] == [1, 1, 1, 1, 1]
    assert found[-1] == pytest.approx(9000, rel=0.03)  # more than half of the pixels


def striped(seed: int, *, id: str, split: str, group: str) -> Sample:
    """8x10: a column of void, ground, and in odd ones two pieces of tree of 6 pixels; 16x10 from the fifth on."""
    labels = np.zeros((8 if seed < 4 else 16, 10), np.uint8)
    labels[:, 0] = 255
    if seed % 2:
        labels[1:4, 2:4] = labels[1:4, 6:8] = 1
    return Sample(id, split, group, fakes.picture(seed, *labels.shape), PanopticMap.from_labels(labels, fakes.STUFF))


SPLITS = ("train", "train", "train", "val", "test", "test")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("insight")
    write_fake(fakes.source(striped, ids=tuple("abcdef"), splits=SPLITS), folder / "data", insight_folder=folder / "seen")
    return folder / "seen"


def test_the_table_of_classes(written):
    table = {(row["split"], row["class"]): row for row in rows(written / "classes.csv")}
    assert list(table) == [
        (split, name) for split in ("train", "val", "test", "all") for name in ("ground", "tree", "water", VOID)
    ]
    trees = 2 * 6
    assert list(table["train", "tree"].values()) == [
        *("train", "tree", "stuff", "1", str(trees), str(round(trees / (3 * 72), 6)), "2"),
        *["6"] * 6,
    ]
    assert list(table["train", "water"].values()) == ["train", "water", "stuff", "0", "0", "0.0", "0", *[""] * 6]
    assert [table["train", VOID][key] for key in ("images", "pixels", "share", "segments")] == ["3", "24", "0.1", ""]
    assert [table["all", "tree"][key] for key in ("images", "pixels", "segments")] == ["3", str(3 * trees), "6"]
    assert [table["train", "ground"][key] for key in ("images", "pixels", "segments")] == ["3", str(3 * 72 - trees), "3"]
    assert abs(int(table["train", "ground"]["area_95"]) - 72) <= 2


def test_the_table_of_sizes(written):
    assert [tuple(row.values()) for row in rows(written / "sizes.csv")] == [
        ("train", "10", "8", "3"),
        ("val", "10", "8", "1"),
        ("test", "10", "16", "2"),
    ]


def test_the_sheet_shows_all_splits(written):
    sheet = cv2.imread(str(written / "truth.jpg"))
    assert sheet.shape[1] == pytest.approx(3 * 2.1 * 110, abs=1)  # the longest row: three of train
    assert sheet.std() > 20


def test_objects_are_counted_whole(tmp_path):
    """Of the two boxes the second hides a part of the first; the crowd of balls is no object."""
    source = fakes.source(fakes.things_sample, ids=("a", "b", "c"), splits=("train", "val", "test"), space=fakes.MIXED)
    write_fake(source, tmp_path / "data", insight_folder=tmp_path / "seen")
    table = {row["class"]: row for row in rows(tmp_path / "seen/classes.csv") if row["split"] == "train"}
    assert [table["box"][key] for key in ("kind", "segments", "area_05")] == ["thing", "2", "120"]  # 10 x 12, whole
    assert abs(int(table["box"]["area_95"]) - 144) <= 4  # 12 x 12
    assert int(table["box"]["pixels"]) < 120 + 144
    assert [table["ball"][key] for key in ("images", "segments", "area_50")] == ["1", "0", ""]


def test_same_images_same_bytes_with_any_number_of_workers(tmp_path):
    source = fakes.source(ids=[f"{index:03}" for index in range(70)])
    for name, workers in (("one", 1), ("two", 2)):
        write_fake(source, tmp_path / name / "data", insight_folder=tmp_path / name / "seen", workers=workers)
    for file in insight.FILES:
        assert (tmp_path / "one/seen" / file).read_bytes() == (tmp_path / "two/seen" / file).read_bytes()
    assert str(tmp_path) not in (tmp_path / "one/seen/gate.html").read_text()


def test_a_data_set_with_faults_has_the_page_and_no_tables(tmp_path):
    write_fake(fakes.source(), tmp_path / "data", insight_folder=tmp_path / "seen")
    assert sorted(file.name for file in (tmp_path / "seen").iterdir()) == sorted(insight.FILES)
    with pytest.raises(GateError, match=r"with pictures: .*seen/gate\.html"):
        write_fake(fakes.source(ids=("a", "b", "a")), tmp_path / "data", insight_folder=tmp_path / "seen")
    assert [file.name for file in (tmp_path / "seen").iterdir()] == ["gate.html"]


def test_nothing_is_measured_where_nobody_asks(tmp_path, monkeypatch):
    monkeypatch.setattr(insight, "measure", lambda *_: pytest.fail("measured"))
    write_fake(fakes.source(), tmp_path / "data")


def image(*classes: int, largest: float = 0.5) -> Measured:
    return Measured((10, 10), {one: int(100 * largest) for one in classes}, {})


def test_the_sheet_shows_rare_classes_first():
    images = {"a": image(0), "b": image(0, 1), "c": image(2), "d": image(0), "e": image(1, 0, largest=0.4), "f": image(0)}
    assert choose(images, count=2) == ["e", "c"]  # two classes at once, more mixed than b; then the only one with 2
    assert choose(images, count=4)[:2] == ["e", "c"]
    assert sorted(choose(images, count=9)) == list("abcdef")
    assert choose({}, count=3) == []
    assert choose({"a": Measured((4, 4), {}, {})}, count=3) == ["a"]  # all void, where that is allowed


def test_many_images_of_one_kind_are_spread():
    images = {f"{index:02}": image(0) for index in range(50)}
    assert choose(images, count=5) == ["00", "11", "20", "30", "39"]


def test_more_than_254_classes(tmp_path):
    space = LabelSpace(tuple(f"c{index}" for index in range(300)), ((1, 2, 3),) * 300, (False,) * 300)
    make = partial(fakes.stuff_sample, space=space)
    write_fake(fakes.source(make, ids=("a", "b", "c"), space=space), tmp_path / "data", insight_folder=tmp_path / "seen")
    assert len(rows(tmp_path / "seen/classes.csv")) == 4 * 301
