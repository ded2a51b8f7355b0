import numpy as np

from pipeline.duplicates import Seen, find_duplicates, fingerprint
from tests import fakes


def seen(*images: tuple[str, str, np.ndarray]) -> list[tuple]:
    faults = find_duplicates([Seen(file, split, fingerprint(image)) for file, split, image in images])
    return [(fault.rule, fault.file, fault.value) for fault in faults]


def test_equal_pictures():
    one, other = fakes.picture(1), fakes.picture(2)
    assert seen(("a", "train", one), ("b", "train", other)) == []
    assert seen(("a", "train", one), ("b", "train", one), ("c", "val", one), ("d", "val", one)) == [
        ("duplicate_image", "b", "a"),
        ("duplicate_across_splits", "c", "a"),
        ("duplicate_image", "d", "c"),
    ]


def test_pictures_that_look_alike():
    """A brighter copy with a little noise is found across splits; within one split neighbours are common and not told."""
    one = fakes.picture(1, 48, 64)
    near = np.clip(one.astype(int) + np.random.default_rng([0]).integers(0, 3, one.shape), 0, 255).astype(np.uint8)
    assert seen(("a", "train", one), ("b", "val", near), ("c", "test", fakes.picture(5, 48, 64))) == [
        ("near_duplicate", "b", "a")
    ]
    assert seen(("a", "train", one), ("b", "train", near)) == []
    assert seen(("a", None, one), ("b", None, near)) == []
    assert seen(("a", "test", one), ("b", "trainval", near)) == [("near_duplicate", "a", "b")]  # as the gate alone sees them


def test_flat_pictures_are_not_told_apart():
    """100 nearly black frames and plain gradients in two splits: no word about likeness."""
    flat = [np.full((20, 20, 3), index % 5, np.uint8) for index in range(100)]
    for index, image in enumerate(flat):
        image[0, 0] = index  # no two are equal
    gradient = np.arange(0, 240, 12, dtype=np.uint8)[None, :, None].repeat(20, axis=0).repeat(3, axis=2)
    pictures = [*flat, gradient, gradient + np.uint8(1)]
    assert seen(*((str(index), ("train", "val")[index % 2], image) for index, image in enumerate(pictures))) == []


def test_many_copies_give_one_line_each():
    one = fakes.picture(1)
    assert len(seen(*((str(index), "train", one) for index in range(50)))) == 49
