"""Training arrays: what is written is read back, resized as promised, and the same bytes each time."""

import json
import multiprocessing
import pickle

import numpy as np
import pytest

from pipeline import array_files, arrays, shards
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample

SPACE = LabelSpace(("ground", "ball"), ((10, 20, 30), (200, 100, 0)), (False, True))
STUFF = LabelSpace(("ground", "grass"), ((10, 20, 30), (200, 100, 0)), (False, False))
VOID = 255
POLICY = {"horizontal_flip": 0.5, "zoom": [0.8, 1.25], "crop": None}


class Samples:
    """Looks like pipeline.dataset.Dataset; (split, id) -> sample."""

    name = "samples"

    def __init__(self, samples, space=SPACE):
        self.found = {(one.split, one.id): one for one in samples}
        self.label_space, self.has_things = space, space.has_things

    def ids(self, split):
        return [name for part, name in self.found if part == split]

    def size(self, split, name):
        return self.found[split, name].shape

    def sample(self, split, name):
        return self.found[split, name]


def sample(split, name, labels, image, *, space=SPACE, instances=None):
    return Sample(name, split, name, image, PanopticMap.from_labels(labels, space), instances)


def random_samples(space=SPACE, sizes=((6, 8), (8, 6), (6, 8))):
    rng = np.random.default_rng(0)
    return [
        sample(
            split,
            f"{split}{index}",
            rng.choice(np.array([0, 1, space.void], space.dtype), size),
            rng.integers(0, 256, (*size, 3)).astype(np.uint8),
            space=space,
        )
        for split in ("train", "val")
        for index, size in enumerate(sizes)
    ]


def written(samples, folder, *, space=SPACE, short_side=None, encode_above_gib=8.0):
    options = {"short_side": short_side, "policy": POLICY, "encode_above_gib": encode_above_gib}
    arrays.write(Samples(samples, space), folder, **options)
    return arrays.TrainingArrays(folder)


def test_native_pictures_come_back_bit_for_bit(tmp_path):
    samples = random_samples()
    found = written(samples, tmp_path)
    for name in ("train", "val"):
        split, wanted = found.split(name), [one for one in samples if one.split == name]
        assert split.ids == [one.id for one in wanted]
        assert split.sizes == [(6, 8), (8, 6), (6, 8)]
        assert len(split) == 3
        for index, one in enumerate(wanted):
            np.testing.assert_array_equal(split.image(index), one.image)
            np.testing.assert_array_equal(split.target(index).labels, one.truth.semantic(SPACE))
            assert split.target(index).instances is None
    assert sorted(file.name for file in (tmp_path / "train").glob("*.npy")) == [
        "images_6x8.npy",
        "images_8x6.npy",
        "labels_6x8.npy",
        "labels_8x6.npy",
    ]
    assert np.load(tmp_path / "train/images_6x8.npy").shape == (2, 6, 8, 3)


def test_description_comes_back(tmp_path):
    found = written(random_samples(), tmp_path, short_side=4)
    assert found.label_space == SPACE
    assert found.policy == POLICY
    assert found.short_side == 4
    assert found.has_things


def test_statistics_by_hand(tmp_path):
    black, white = np.zeros((1, 4, 3), np.uint8), np.full((1, 4, 3), 255, np.uint8)
    labels = [np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, VOID, VOID]], np.uint8)]
    train = [sample("train", "t0", labels[0], black), sample("train", "t1", labels[1], white)]
    found = written([*train, sample("val", "v0", labels[0], white)], tmp_path)
    assert found.class_pixels.tolist() == [5, 1]
    assert found.class_image_pixels.tolist() == [4 + 2, 4]  # labelled pixels of the pictures that hold the class
    np.testing.assert_allclose(found.mean, [0.5] * 3)
    np.testing.assert_allclose(found.std, [0.5] * 3)


def test_statistics_equal_those_of_the_pixels(tmp_path):
    samples = random_samples()
    pixels = np.concatenate([one.image.reshape(-1, 3) for one in samples if one.split == "train"]) / 255
    found = written(samples, tmp_path)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0))
    np.testing.assert_allclose(found.std, pixels.std(axis=0))


def test_a_class_that_never_occurs_has_no_pixels(tmp_path):
    labels, image = np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8)
    found = written([sample("train", "t", labels, image), sample("val", "v", labels, image)], tmp_path)
    assert found.class_pixels.tolist() == [4, 0]
    assert found.class_image_pixels.tolist() == [4, 0]


def test_image_and_labels_are_resized_alike(tmp_path):
    # left half black and class 0, right half white and class 1; the seam stays in the middle both ways
    labels = np.zeros((8, 12), np.uint8)
    labels[:, 6:] = 1
    image = np.repeat(labels[..., None] * np.uint8(255), 3, axis=2)
    samples = [sample("train", "t", labels, image), sample("val", "v", labels, image)]
    for short_side, width in ((4, 6), (16, 24)):
        split = written(samples, tmp_path / str(short_side), short_side=short_side).split("train")
        half = width // 2
        assert split.sizes == [(short_side, width)]
        np.testing.assert_array_equal(split.target(0).labels[0], [0] * half + [1] * half)
        grey = split.image(0)[..., 0].mean(axis=0)
        np.testing.assert_allclose(grey + grey[::-1], 255, atol=1)
        assert (grey[: half - 1] == 0).all()


def test_instances_come_back_overlapping_and_crowds_too(tmp_path):
    labels = np.zeros((6, 6), np.uint8)
    masks = np.zeros((3, 6, 6), bool)
    masks[0, 1:4, 1:4] = masks[1, 2:5, 2:5] = True  # the two overlap
    masks[2, 0, 0] = True
    objects = InstanceSet.build(masks, [1, 1, 1], iscrowd=[False, False, True])
    samples = [sample(split, split, labels, np.zeros((6, 6, 3), np.uint8), instances=objects) for split in ("train", "val")]
    split = written(samples, tmp_path / "native").split("train")
    found = split.target(0, with_instances=True).instances
    np.testing.assert_array_equal(found.masks, masks)
    assert found.classes.tolist() == [1, 1, 1]
    assert found.iscrowd.tolist() == [False, False, True]
    # at half the size the one-pixel object has no pixel and is left out
    small = written(samples, tmp_path / "small", short_side=3).split("val").target(0, with_instances=True).instances
    assert small.shape == (3, 3)
    assert len(small) == 2


def test_pictures_without_objects_and_data_without_things_give_none(tmp_path):
    labels, image = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)
    for space in (SPACE, STUFF):
        samples = [sample(split, split, labels, image, space=space) for split in ("train", "val")]
        found = written(samples, tmp_path / space.names[1], space=space)
        objects = found.split("train").target(0, with_instances=True).instances
        assert (len(objects), objects.shape) == (0, (4, 4))
        assert found.has_things is space.has_things
        assert (tmp_path / space.names[1] / "train/objects.jsonl").exists() is space.has_things


def test_more_than_254_classes_take_16_bits(tmp_path):
    wide = LabelSpace(tuple(f"c{index}" for index in range(300)), ((0, 0, 0),) * 300, (False,) * 300)
    labels, image = np.array([[299, 65535]], np.uint16), np.zeros((1, 2, 3), np.uint8)
    found = written([sample(split, split, labels, image, space=wide) for split in ("train", "val")], tmp_path, space=wide)
    np.testing.assert_array_equal(found.split("val").target(0).labels, labels)
    assert found.class_pixels[299] == 1
    assert found.class_pixels.sum() == 1


def test_the_same_input_gives_the_same_bytes(tmp_path):
    first, second = (written(random_samples(), tmp_path / name, short_side=4) for name in "ab")
    assert first.sha256 == second.sha256
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.*"))
    assert [(tmp_path / "a" / file).read_bytes() for file in files] == [(tmp_path / "b" / file).read_bytes() for file in files]


def test_the_hashes_tell_pixels_and_policy_apart(tmp_path):
    samples = random_samples()
    plain = written(samples, tmp_path / "plain").sha256
    arrays.write(Samples(samples), tmp_path / "policy", short_side=None, policy={**POLICY, "horizontal_flip": 0.0})
    policy = arrays.TrainingArrays(tmp_path / "policy").sha256
    assert {name for name in plain if plain[name] != policy[name]} == {"arrays.json"}
    samples[0].image[0, 0, 0] ^= 1
    pixel = written(samples, tmp_path / "pixel").sha256
    assert {name for name in plain if plain[name] != pixel[name]} == {"arrays.json", "train/images_6x8.npy"}


def test_writing_again_leaves_nothing_of_before(tmp_path):
    written(random_samples(sizes=((5, 5), (7, 7))), tmp_path)
    split = written(random_samples(), tmp_path).split("train")
    assert len(split) == 3
    assert not list(tmp_path.rglob("*_5x5.npy"))


def test_many_sizes_need_few_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "OPEN_FILES", 3)
    samples = random_samples(sizes=[(4, width) for width in range(4, 16)])
    split = written(samples, tmp_path).split("train")
    views = [split.image(index) for index in range(len(split))]
    for view, one in zip(views, samples, strict=False):  # a view stays valid after its file left the list
        np.testing.assert_array_equal(view, one.image)
    assert len(split._store._open) <= 3


def test_views_are_read_only(tmp_path):
    split = written(random_samples(), tmp_path).split("train")
    with pytest.raises(ValueError, match="read-only"):
        split.image(0)[0, 0, 0] = 1


def _read(split):
    return split.image(1).copy(), split.target(1, with_instances=True).labels.copy()


def test_a_split_travels_to_other_processes(tmp_path):
    split = written(random_samples(), tmp_path).split("train")
    here = _read(split)
    assert len(pickle.dumps(split)) < 2000  # no pixel travels
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(_read, (split,))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"arrays\.json: no such file; run"):
        arrays.TrainingArrays(tmp_path)
    found = written(random_samples(), tmp_path / "whole")
    with pytest.raises(ValueError, match="no split 'test'; choose one of: train, val"):
        found.split("test")
    only_train = [one for one in random_samples() if one.split == "train"]
    with pytest.raises(ValueError, match="samples: split val has no image"):
        written(only_train, tmp_path / "half")


def test_an_interrupted_write_is_no_finished_folder(tmp_path):
    samples = random_samples()
    written(samples, tmp_path)

    class Failing(Samples):
        def sample(self, split, name):
            if name == "val2":
                raise ValueError("val2.png: cannot be decoded")
            return super().sample(split, name)

    with pytest.raises(ValueError, match=r"val2\.png"):
        arrays.write(Failing(samples), tmp_path, short_side=None, policy=POLICY)
    with pytest.raises(ValueError, match="no such file"):
        arrays.TrainingArrays(tmp_path)


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    from pathlib import Path

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def write(self, _):
            raise OSError(28, "No space left on device")

    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r", **rest: Full() if mode == "ab" else real(path, mode, **rest))
    with pytest.raises(OSError, match="No space left") as caught:
        written(random_samples(), tmp_path)
    assert caught.value.filename.endswith("images_6x8.npy")


def test_arrays_json_holds_no_path(tmp_path):
    written(random_samples(), tmp_path)
    text = (tmp_path / "arrays.json").read_text()
    assert str(tmp_path) not in text
    assert list(json.loads(text)["sha256"]) == [
        "train/images_6x8.npy",
        "train/images_8x6.npy",
        "train/labels_6x8.npy",
        "train/labels_8x6.npy",
        "train/objects.jsonl",
        "val/images_6x8.npy",
        "val/images_8x6.npy",
        "val/labels_6x8.npy",
        "val/labels_8x6.npy",
        "val/objects.jsonl",
    ]


def gradients(sizes=((48, 64), (64, 48), (48, 64))):
    """Smooth pictures, as JPEG expects them."""
    samples = random_samples(sizes=sizes)
    for number, one in enumerate(samples):
        down, right = np.indices(one.shape)
        one.image[...] = np.stack([2 * down, 2 * right, down + right + number], axis=2)
    return samples


def test_large_data_is_encoded_and_comes_back(tmp_path):
    samples = gradients()
    plain_gib = sum(one.truth.segments.size * 4 for one in samples) / 2**30
    assert written(samples, tmp_path / "at", encode_above_gib=plain_gib).storage == "arrays"
    found = written(samples, tmp_path / "above", encode_above_gib=plain_gib * 0.999)
    assert found.storage == "shards"
    assert sorted(found.sha256) == ["arrays.json"] + [
        f"{split}/{file}" for split in ("train", "val") for file in ("objects.jsonl", "shard_0.arrow")
    ]
    for name in ("train", "val"):
        split, wanted = found.split(name), [one for one in samples if one.split == name]
        assert split.sizes == [(48, 64), (64, 48), (48, 64)]
        for index, one in enumerate(wanted):
            image = split.image(index)
            assert image.dtype == np.uint8 and image.shape == one.image.shape
            assert np.abs(image.astype(int) - one.image).mean() < 1.5
            np.testing.assert_array_equal(split.target(index).labels, one.truth.semantic(SPACE))
    plain = written(samples, tmp_path / "at")
    assert (found.mean == plain.mean).all() and (found.class_pixels == plain.class_pixels).all()


def test_shards_are_cut_at_their_size_and_travel(tmp_path, monkeypatch):
    samples = gradients(sizes=[(16, 16 + index) for index in range(5)])
    whole = written(samples, tmp_path / "whole", encode_above_gib=0)
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    found = written(samples, tmp_path / "cut", encode_above_gib=0)
    assert len(list((tmp_path / "cut/train").glob("shard_*.arrow"))) == 5
    split = found.split("train")
    for index in range(5):
        np.testing.assert_array_equal(split.image(index), whole.split("train").image(index))
    here = _read(split)
    assert len(pickle.dumps(split)) < 2000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(_read, (split,))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_shards_keep_16_bit_labels_and_their_bytes(tmp_path):
    wide = LabelSpace(tuple(f"c{index}" for index in range(300)), ((0, 0, 0),) * 300, (False,) * 300)
    labels, image = np.array([[299, 65535]], np.uint16), np.zeros((1, 2, 3), np.uint8)
    samples = [sample(split, split, labels, image, space=wide) for split in ("train", "val")]
    first, second = (written(samples, tmp_path / name, space=wide, encode_above_gib=0) for name in "ab")
    np.testing.assert_array_equal(first.split("val").target(0).labels, labels)
    assert first.sha256 == second.sha256
    assert not list(tmp_path.rglob("objects.jsonl"))


def test_a_damaged_picture_in_a_shard_is_named(tmp_path):
    split = written(gradients(), tmp_path, encode_above_gib=0).split("train")
    path = tmp_path / "train/shard_0.arrow"
    path.write_bytes(path.read_bytes().replace(b"\xff\xd8\xff", b"\0\0\0"))
    with pytest.raises(ValueError, match=r"shard_0\.arrow: row 0 is damaged; run `dvc repro -f augment`"):
        split.image(0)
