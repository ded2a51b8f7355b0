"""The contact sheet: void is visible, classes are coloured, and the file has the same bytes each time."""

import cv2
import numpy as np

from pipeline.preview import contact_sheet
from pipeline.sheet import SHOWN_SIDE_PX, draw, overlay
from pipeline.structures import LabelSpace
from tests.tiny import POLICY, training_arrays

SPACE = LabelSpace(("a", "b"), ((200, 0, 0), (0, 0, 200)), (False, False))


def test_overlay_colours_classes_and_hatches_void():
    labels = np.repeat(np.array([[0, 1, 255]], np.uint8), 100, axis=1).repeat(100, axis=0)
    tile = overlay(np.full((*labels.shape, 3), 100, np.uint8), labels, label_space=SPACE)
    assert min(tile.shape[:2]) >= SHOWN_SIDE_PX
    third = tile.shape[1] // 3
    red, blue, void = tile[10:-10, 10 : third - 10], tile[10:-10, third + 10 : -third - 10], tile[10:-10, -third + 10 : -10]
    assert (red[..., 0] > red[..., 2]).all()
    assert (blue[..., 2] > blue[..., 0]).all()
    assert (void == void[..., :1]).all()  # grey, in two shades
    assert len(np.unique(void)) == 2


def test_outlines_part_the_objects_of_a_class():
    labels, parts = np.zeros((256, 300), np.uint8), np.zeros((256, 300), np.int32)
    parts[:, 100:] = 7
    image = np.full((*labels.shape, 3), 100, np.uint8)
    plain, parted = (overlay(image, labels, label_space=SPACE, parts=one) for one in (None, parts))
    assert (plain == plain[0, 0]).all()
    assert (parted[:, 99] == 255).all() and (np.delete(parted, 99, axis=1) == plain[0, 0]).all()


def test_a_large_picture_is_made_smaller_by_whole_labels():
    labels = np.zeros((900, 1210), np.uint8)
    labels[300:] = 1
    tile = overlay(np.full((*labels.shape, 3), 100, np.uint8), labels, label_space=SPACE)
    assert tile.shape == (300, 403, 3)
    assert (np.ptp(tile[:99].reshape(-1, 3), axis=0) == 0).all() and (np.ptp(tile[102:].reshape(-1, 3), axis=0) == 0).all()


def test_rows_of_a_sheet_may_differ_in_length(tmp_path):
    """As a JPEG too; a dollar sign is no formula, and a long name loses its beginning."""
    tile = np.full((60, 90, 3), 128, np.uint8)
    rows, titles = [[tile, tile], [tile]], [["a$b$", "x" * 90 + "end"], ["c"]]
    for name in ("one.jpg", "two.jpg"):
        draw(tmp_path / name, rows, titles=titles, label_space=SPACE, seen=[0, 1, 255])
    assert (tmp_path / "one.jpg").read_bytes() == (tmp_path / "two.jpg").read_bytes()
    sheet = cv2.imread(str(tmp_path / "one.jpg"))
    assert abs(sheet.shape[1] - 2 * 2.1 * 110) <= 1
    below = sheet[sheet.shape[0] // 2 : -sheet.shape[0] // 5, sheet.shape[1] * 6 // 10 :]
    assert (below == 255).all()  # nothing where the second row has no tile


def test_sheet_is_written_and_has_the_same_bytes_each_time(tmp_path):
    found = training_arrays(tmp_path / "arrays", train=2)
    for name in ("one.png", "two.png"):
        contact_sheet(found.split("train"), tmp_path / name, label_space=found.label_space, policy=POLICY, seed=1)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    sheet = cv2.imread(str(tmp_path / "one.png"))
    assert sheet.shape[1] > 1000
    assert sheet.std() > 20  # not an empty page
