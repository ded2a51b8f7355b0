"""What only shows once all images are open: grey among coloured ones, classes that nothing can learn, conversions."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import folder as folder_reader
from pipeline.gate.inspection import inspect
from pipeline.gate.set_checks import is_grey
from pipeline.structures import PanopticMap, Sample
from tests import fakes
from tests.test_gate import rows

CLASSES = ["ground", "tree", "water"]


def found(table, rule: str) -> list[tuple[str, str]]:
    return [(row["file"], row["value"]) for row in rows(table) if row["rule"] == rule]


def look_at_folder(root, tmp_path) -> None:
    inspect(folder_reader.read(root, classes=CLASSES), table=tmp_path / "gate.csv", root=root)


@pytest.mark.parametrize(
    ("mode", "suffix", "said"),
    [
        ("RGBA", ".png", "has an alpha channel (RGBA), opaque all over, which is left out"),
        ("LA", ".png", "has an alpha channel (LA)"),
        ("CMYK", ".jpg", "is CMYK, turned into RGB without its colour profile; convert it yourself"),
        ("LAB", ".tif", "is LAB, turned into RGB"),
    ],
)
def test_an_image_that_is_converted_is_told(tmp_path, mode, suffix, said):
    root = fakes.write_folder(tmp_path / "own", names=("a", "b"))
    picture = Image.open(root / "images/b.jpg").convert("RGB")
    (root / "images/b.jpg").unlink()
    if mode == "LAB":
        Image.fromarray(np.asarray(picture), "LAB").save(root / "images/b.tif")
    else:
        picture.convert(mode).save(root / f"images/b{suffix}")
    look_at_folder(root, tmp_path)
    assert found(tmp_path / "gate.csv", "converted_image") == [(f"images/b{suffix}", mode)]
    assert said in (tmp_path / "gate.csv").read_text()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1"])
def test_an_exact_conversion_is_none(tmp_path, mode):
    root = fakes.write_folder(tmp_path / "own", names=("a",), suffix=".png")
    Image.open(root / "images/a.png").convert(mode).save(root / "images/a.png")
    look_at_folder(root, tmp_path)
    assert found(tmp_path / "gate.csv", "converted_image") == []


def grey_sample(seed, *, id, split, group, grey=(1, 4)) -> Sample:
    sample = fakes.stuff_sample(seed, id=id, split=split, group=group)
    return replace(sample, image=sample.image[..., :1].repeat(3, axis=2)) if seed in grey else sample


def test_grey_images_among_coloured_ones(tmp_path):
    splits = ("train", "train", "train", "val", "test", "test")
    inspect(fakes.source(grey_sample, ids=tuple("abcdef"), splits=splits), table=tmp_path / "gate.csv")
    assert found(tmp_path / "gate.csv", "mixed_colour") == [("b", "2 of 6 grey")]
    said = "is grey: 2 of 6 images are grey (1 of 3 in train, 0 of 1 in val, 1 of 2 in test), the others in colour"
    assert said in (tmp_path / "gate.csv").read_text()


def test_a_coloured_image_among_grey_ones_and_sets_of_one_kind(tmp_path):
    inspect(fakes.source(grey_sample, ids=tuple("abc")), table=tmp_path / "gate.csv")
    assert found(tmp_path / "gate.csv", "mixed_colour") == [("b", "1 of 3 grey")]
    inspect(fakes.source(grey_sample, ids=tuple("bc")), table=tmp_path / "gate.csv")  # half and half: the grey one
    assert found(tmp_path / "gate.csv", "mixed_colour") == [("c", "1 of 2 grey")]
    inspect(fakes.source(ids=tuple("abc")), table=tmp_path / "gate.csv")
    assert found(tmp_path / "gate.csv", "mixed_colour") == []


def test_grey_pixel_by_pixel():
    image = np.full((40, 50, 3), 9, np.uint8)
    assert is_grey(image)
    image[33, 41, 2] = 8  # between the places looked at first
    assert not is_grey(image)


def sample_of(seed, *, id, split, group) -> Sample:
    """Training images hold ground, the others ground and tree."""
    labels = np.zeros((24, 32), np.uint8)
    labels[0, 0] = 255
    labels[:5, 5:] = split != "train"
    return Sample(id, split, group, fakes.picture(seed), PanopticMap.from_labels(labels, fakes.STUFF))


def test_a_class_that_no_training_image_shows(tmp_path):
    inspect(fakes.source(sample_of, ids=tuple("abc"), splits=("train", "val", "test")), table=tmp_path / "gate.csv")
    assert found(tmp_path / "gate.csv", "untrained_class") == [("(data set)", "tree")]
    assert found(tmp_path / "gate.csv", "unused_class") == [("(data set)", "water")]
    said = "no training image shows 'tree' (label 1), and val and test ask for it; move images of it, or leave it out"
    assert said in (tmp_path / "gate.csv").read_text()


@pytest.mark.parametrize("splits", [("trainval", "trainval", "test"), (None, None, None)])
def test_what_will_be_divided_may_train(tmp_path, splits):
    inspect(fakes.source(ids=tuple("abc"), splits=splits), table=tmp_path / "gate.csv", rules={"empty_split": "ignore"})
    assert found(tmp_path / "gate.csv", "untrained_class") == []


def test_what_opencv_says_of_a_damaged_file_stays_off_the_console(tmp_path, capfd):
    root = fakes.write_folder(tmp_path / "own", names=("a", "b"), suffix=".bmp")
    file = root / "images/b.bmp"
    file.write_bytes(file.read_bytes()[:-200])
    inspect(folder_reader.read(root, classes=CLASSES), table=tmp_path / "gate.csv", rules={"unreadable_image": "warning"})
    assert found(tmp_path / "gate.csv", "unreadable_image") == [("images/b.bmp", "")]
    assert "imdecode" not in capfd.readouterr().err
