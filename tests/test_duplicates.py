import cv2
import numpy as np
import pytest

from pipeline.gate import duplicates
from pipeline.gate.duplicates import Seen, find_duplicates, find_sequences, fingerprint
from pipeline.rules import RULES
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


def near(image: np.ndarray, seed: int = 0) -> np.ndarray:
    """A brighter copy with a little noise."""
    noise = np.random.default_rng([seed]).integers(0, 3, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def test_pictures_that_look_alike():
    """In different splits the later one is told, and where both are in one split the first."""
    one = fakes.picture(1, 48, 64)
    assert seen(("a", "train", one), ("b", "val", near(one)), ("c", "test", fakes.picture(5, 48, 64))) == [
        ("near_duplicate", "b", "a")
    ]
    assert seen(("a", "train", one), ("b", "train", near(one))) == [("near_duplicate_in_split", "a", "b")]
    assert seen(("a", None, one), ("b", None, near(one))) == [("near_duplicate_in_split", "a", "b")]
    assert seen(("a", "test", one), ("b", "trainval", near(one))) == [
        ("near_duplicate", "a", "b")
    ]  # as the gate alone sees them


def test_which_copies_are_found():
    """A smaller and a poorer one; what is cropped or mirrored is not, and the rules say so."""
    coarse = np.random.default_rng([3]).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    one = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    poor = cv2.imdecode(cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    small = cv2.resize(one, (160, 120), interpolation=cv2.INTER_AREA)
    copies = {"small": small, "poor": poor, "cropped": one[12:-12, 16:-16], "mirrored": one[:, ::-1]}
    found = {name for name, copy in copies.items() if seen(("a", "train", one), ("b", "val", copy))}
    assert found == {"small", "poor"}
    for rule in ("near_duplicate", "near_duplicate_in_split"):
        assert RULES[rule][1].endswith("look alike; a cropped or mirrored copy is not found")


def test_a_set_of_alike_pictures_of_a_split_is_one_fault():
    one, other = fakes.picture(1, 48, 64), fakes.picture(5, 48, 64)
    copies = [(f"copy{index}", "train", near(one, index)) for index in range(7)]
    again = ("again", "train", one)  # the pixels of "a": a fault of its own
    images = [Seen(*entry[:2], fingerprint(entry[2])) for entry in (("a", "train", one), ("b", "train", other), *copies, again)]
    faults = find_duplicates(images)
    assert [(fault.rule, fault.file) for fault in faults] == [("duplicate_image", "again"), ("near_duplicate_in_split", "a")]
    assert str(faults[1]).startswith(
        "a: and 7 more of train look alike: copy0, copy1, copy2, copy3, ...; what they show counts 8"
    )


def test_alike_hashes_are_found_among_many():
    """What the parts of a hash find is what comparing all with all finds."""
    rng = np.random.default_rng([4])
    hashes = rng.integers(0, 1 << 63, 300, dtype=np.uint64)
    flips = [np.uint64(sum(1 << int(bit) for bit in rng.choice(64, count, replace=False))) for count in (1, 2, 3) * 100]
    hashes = np.unique(np.concatenate([hashes, hashes ^ np.array(flips, np.uint64)]))
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    wanted = np.argwhere(np.triu(bits <= 2, 1))
    assert len(wanted) >= 200
    first, second, counts = duplicates._close_pairs(hashes)
    assert np.array_equal(np.stack([first, second], axis=1), wanted)
    assert np.array_equal(counts, bits[first, second])


def test_pairs_are_compared_in_blocks(monkeypatch):
    """Hashes that agree in all parts but one fall into one run, which is cut."""
    hashes = np.arange(0, 64, dtype=np.uint64) << np.uint64(20)
    whole = duplicates._close_pairs(hashes)
    monkeypatch.setattr(duplicates, "_COMPARED", 200)
    assert all(np.array_equal(one, other) for one, other in zip(whole, duplicates._close_pairs(hashes), strict=True))


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


def film(*, splits=("train", "train", "val"), groups=False, order=None) -> list[Seen]:
    """90 frames: a window that moves over a wide picture of noise."""
    coarse = np.random.default_rng([8]).integers(0, 256, (4, 20, 3), dtype=np.uint8)
    wide = cv2.resize(coarse, (240, 48), interpolation=cv2.INTER_LINEAR)
    frames = []
    for index in range(90):
        place = index if order is None else order[index]
        image = wide[:, 2 * place : 2 * place + 60]
        group = "film" if groups else f"frame{index}"
        frames.append(Seen(f"masks/frame{index}.png", splits[index % len(splits)], fingerprint(image), group))
    return frames


def test_frames_of_a_film_in_different_splits():
    (fault,) = find_sequences(film())
    assert (fault.rule, fault.value.startswith("masks/frame")) == ("sequence_across_splits", True)
    assert "most of the 59 neighbours that lie in different splits" in fault.message  # of 89, every third is in one split
    (fault,) = find_sequences(film(splits=(None,)))
    assert "most of the 89 neighbours that may fall into different splits" in fault.message


def test_what_is_no_film():
    shuffled = np.random.default_rng([0]).permutation(90).tolist()
    assert find_sequences(film(order=shuffled)) == []
    assert find_sequences(film(groups=True)) == []  # cut groups have a fault of their own
    assert find_sequences(film(splits=("train",))) == []
    assert find_sequences(film()[:20]) == []  # too few to tell


@pytest.mark.parametrize("find", [find_duplicates, find_sequences])
def test_nothing(find):
    assert find([]) == []
