"""The brain that ships with nilearn: its slices, what lies between them, and the way there and back."""

import json
import pickle
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.dataset_writer import write
from pipeline.datasets.brain_mri import LABEL_SPACE, _decode, read
from pipeline.gate import inspection as gate

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


@pytest.fixture(scope="module")
def volumes():
    """T1, grey and white, (197, 233, 189) uint8, read from the files of the package without the reader."""
    datasets = pytest.importorskip("nilearn.datasets", reason="nilearn is not installed: pip install '.[medical]'")
    import nibabel

    folder = Path(datasets.__file__).parent / "data"
    files = [folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz" for kind in ("t1", "gm", "wm")]
    if not all(file.is_file() for file in files):
        pytest.skip("this nilearn names the files of its template in another way")
    return [np.asarray(nibabel.load(file).dataobj) for file in files]


def test_slices_slabs_and_gaps(volumes):
    records = read("anything").records
    heights = [int(record.id.split("_z")[1]) for record in records]
    assert (heights[0], heights[-1], len(heights)) == (-63, 70, 64)
    slabs = {}
    for record, height in zip(records, heights, strict=True):
        assert record.split is None and record.image_file is None and record.id.startswith(record.group)
        slabs.setdefault(record.group, []).append(height)
    assert len(slabs) == 8
    ends = [(one[0], one[-1]) for one in slabs.values()]
    assert {len(one) for one in slabs.values()} == {8}
    assert {after[0] - before[1] for before, after in pairwise(ends)} == {11}  # 10 slices left out
    assert [record.id for record in read("x", slab=100, gap=0).records][99:101] == ["slab01_z+36", "slab02_z+37"]


def test_pixels(volumes):
    """z is 0 at slice 72; image and labels by their definition, looked at from above with the front up."""
    records = {record.id.split("_z")[1]: record for record in read("anything", slab=200).records}
    for height in (-40, 0, 35):
        sample = pickle.loads(pickle.dumps(records[f"{height:+03d}"])).decode()  # as a worker gets it
        brain, grey, white = (volume[:, :, 72 + height].T[::-1].astype(int) for volume in volumes)
        assert sample.shape == (233, 197)
        assert np.array_equal(sample.image, brain[..., None].repeat(3, axis=2))
        labels = sample.truth.semantic(LABEL_SPACE)
        other = 255 - grey - white
        assert ((labels == 0) == (brain == 0)).all()
        inside = brain > 0
        assert ((labels == 3)[inside] == ((white > grey) & (white > other))[inside]).all()
        assert ((labels == 2)[inside] == ((grey >= white) & (grey > other))[inside]).all()
        assert set(np.unique(labels)) == {0, 1, 2, 3}
        assert sample.instances is None


def test_a_slice_by_hand():
    """(X, Y) = (3, 2): x to the right, y up."""
    brain = np.array([[0, 51], [102, 153], [204, 255]], np.uint8)
    grey = np.array([[90, 200], [100, 127], [85, 0]], np.uint8)
    white = np.array([[90, 10], [140, 128], [85, 0]], np.uint8)
    sample = _decode(brain, grey, white, id="a", group="b", window=(0.2, 0.8))
    assert sample.image[..., 0].tolist() == [[0, 170, 255], [0, 85, 255]]  # 0.2 is black and 0.8 white
    assert sample.truth.semantic(LABEL_SPACE).tolist() == [[2, 3, 1], [0, 3, 1]]


def test_the_gate_and_the_way_there_and_back(volumes, tmp_path):
    source = read("anything", slab=4, gap=20)
    dataset = write(source, tmp_path, splits=SHARES, seed=0, rules={}, origin={}, workers=1)
    ids = {split: dataset.ids(split) for split in SHARES}
    assert sum(map(len, ids.values())) == len(source.records) == 24
    slabs = {split: {id.split("_")[0] for id in ids[split]} for split in SHARES}
    assert all(slabs.values()) and len(set.union(*slabs.values())) == sum(map(len, slabs.values()))
    for split in SHARES:
        panoptic = json.loads((tmp_path / f"panoptic_{split}.json").read_text())
        for entry in panoptic["annotations"]:
            id = entry["file_name"].removesuffix(".png")
            sample = next(record for record in source if record.id == id).decode()
            pixels = np.asarray(Image.open(tmp_path / "panoptic" / split / entry["file_name"]).convert("RGB"))
            labels = np.zeros(pixels.shape[:2], int)
            for segment in entry["segments_info"]:
                labels[pixels @ [1, 256, 65536] == segment["id"]] = segment["category_id"] - 1
            assert np.array_equal(labels, sample.truth.semantic(LABEL_SPACE))
            assert np.array_equal(np.asarray(Image.open(tmp_path / "images" / split / f"{id}.png")), sample.image)


def test_no_two_splits_look_alike_at_the_default_gap(volumes, tmp_path):
    source = read("anything")
    write(source, tmp_path, splits=SHARES, seed=0, rules={}, origin={}, workers=1)
    rules = {line.split(",")[1] for line in (tmp_path / "gate.csv").read_text().splitlines()[1:]}
    assert rules == {"near_duplicate_in_split"}  # slices of one slab, one above the other
    assert len(gate.inspect(source, table=tmp_path / "again.csv", workers=1)) == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slab": 0}, "slab is 0, wanted a whole number of 1 or more; set dataset.options.slab"),
        ({"slab": 2.5}, "slab is 2.5, wanted a whole number"),
        ({"slab": True}, "slab is True, wanted a whole number"),
        ({"gap": -1}, "gap is -1, wanted a whole number of 0 or more"),
        ({"window": [0.5, 0.5]}, r"window is \[0.5, 0.5\], wanted \[black, white\]"),
        ({"window": 5}, r"window is 5, wanted \[black, white\]"),
        ({"window": ["a", "b"]}, r"window is \['a', 'b'\], wanted"),
        ({"window": [0.5]}, r"window is \[0.5\], wanted"),
        ({"window": [0.0, 1.1]}, "window is"),
        ({"slab": 0, "gap": -1}, "(?s)slab is 0.*gap is -1"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        read("anything", **options)


def test_without_nilearn(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(ValueError, match=r"brain_mri: nilearn is not installed; run: pip install '\.\[medical\]'"):
        read("anything")
