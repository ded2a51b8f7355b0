"""Both forms of boxes, and every fault of a file at once."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.boxes import read
from pipeline.files import write_json
from tests import fakes


def refused(root: Path, content: object) -> list[str]:
    file = root / "boxes.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        read(file, root / "images")
    return str(caught.value).replace(f"{file}: ", "").split("\n")


def test_every_fault_of_the_simple_form_is_told_at_once(tmp_path):
    for name in ("a.png", "a.jpg", "sub/b.png"):
        fakes.save(tmp_path / "images" / name, fakes.picture(0))  # 32 x 24 px
    (tmp_path / "images/broken.png").write_bytes(b"")
    good = {"box": [0, 0, 32.4, 24], "label": "x"}  # less than half a pixel too wide is rounding
    content = {
        "a.png": [good, {"box": [30, 0, 33, 5], "label": "x"}, {"box": [5, 5, 5, 9], "label": "x"}, {"box": [1, 2, 3, 4]}],
        "sub/b.png": [
            {"box": [1, 2, 3], "label": "x"},
            {"box": [1, 2, "3", 4], "label": 7},
            {"box": [1, 2, 3, 4], "label": 7},
            3,
        ],
        "a.jpg": [],
        "broken.png": [],
        "gone.png": [],
        "../boxes.json": [],
        "wrong": 5,
    }
    assert refused(tmp_path, content) == [
        'wrong: 5; wanted a list of boxes: {"a.jpg": [{"box": [x0, y0, x1, y1], "label": "person"}]} or COCO\'s '
        '{"images": [...], "annotations": [{"bbox": [x, y, width, height], ...}], "categories": [...]}',
        "a.png: box 1: [30, 0, 33, 5] lies outside the picture, 32x24 (width x height)",
        "a.png: box 2: [5, 5, 5, 9] is empty; wanted x0 < x1 and y0 < y1 (x0, y0, x1, y1)",
        "a.png: box 3: no label",
        "sub/b.png: box 0: [1, 2, 3]; wanted the four numbers of a box, in pixels",
        'sub/b.png: box 1: [1, 2, "3", 4]; wanted the four numbers of a box, in pixels',
        "sub/b.png: box 2: label 7; wanted a text",
        "sub/b.png: box 3: 3; wanted the four numbers of a box, in pixels",
        "a.jpg: its files would be those of a.png; rename one",
        "broken.png: is empty (0 bytes); fetch or export it again",
        f"gone.png: no such picture in {tmp_path / 'images'}",
        f"../boxes.json: no such picture in {tmp_path / 'images'}",
    ]


def test_every_fault_of_the_coco_form_is_told_at_once(tmp_path):
    fakes.save(tmp_path / "images/a.png", fakes.picture(0))
    fakes.save(tmp_path / "images/b.png", fakes.picture(0))
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png", "width": 24, "height": 32}, {"id": 3}],
        "annotations": [
            {"image_id": 1, "category_id": 4, "bbox": [30, 0, 3, 5]},
            {"image_id": 9, "category_id": 4, "bbox": [0, 0, 3, 5]},
            {"image_id": 1, "category_id": 5, "bbox": [0, 0, 3, 5]},
            {"image_id": 1, "category_id": 4},
            {"image_id": 1, "category_id": 4, "bbox": [0, 0, 3, 5], "iscrowd": 1},
            {"image_id": 1, "category_id": 4, "bbox": [0, 0, -3, 5]},
        ],
        "categories": [{"id": 4, "name": "x"}, {"id": 4, "name": "y"}],
    }
    assert refused(tmp_path, content) == [
        'images, entry 2: {"id": 3}; wanted id, file_name',
        "categories, entry 1: 4 or 'y' stands there twice",
        'annotations, entry 3: {"image_id": 1, "category_id": 4}; wanted image_id, category_id, bbox',
        "annotation 1: image_id 9 is none of its images",
        "annotation 2: category_id 5 is none of its categories: 4",
        "annotation 4: is a crowd, which has no outline; remove it",
        "a.png: annotation 0: [30, 0, 33, 5] lies outside the picture, 32x24 (width x height)",
        "a.png: annotation 5: [0, 0, -3, 5] is empty; wanted x0 < x1 and y0 < y1 (x0, y0, x1, y1)",
        "b.png: is 32x24, and the boxes are for 24x32 (width x height)",
    ]


def test_half_a_pixel_beyond_the_rim_is_rounding(tmp_path):
    fakes.save(tmp_path / "images/a.png", fakes.picture(0))  # 32 x 24 px
    write_json(tmp_path / "boxes.json", {"a.png": [{"box": [-0.4, -0.5, 32.5, 24.1], "label": "x"}]})
    [boxed], categories = read(tmp_path / "boxes.json", tmp_path / "images")
    assert boxed.boxes.tolist() == [[0, 0, 32, 24]] and boxed.boxes.dtype == np.float32
    assert (boxed.file, boxed.key, boxed.labels, categories) == ("a.png", "a", ("x",), [{"id": 1, "name": "x"}])
    for wrong in ([-0.6, 0, 9, 9], [0, -0.6, 9, 9], [0, 0, 32.6, 9], [0, 0, 9, 24.6]):
        [fault] = refused(tmp_path, {"a.png": [{"box": wrong, "label": "x"}]})
        assert fault == f"a.png: box 0: {wrong} lies outside the picture, 32x24 (width x height)"


def test_a_box_of_which_the_rim_leaves_nothing(tmp_path):
    fakes.save(tmp_path / "images/a.png", fakes.picture(0))  # 32 x 24 px
    for wrong in ([32.1, 0, 32.4, 5], [32, 0, 32.5, 5], [0, -0.4, 9, 0], [5, 24, 9, 24.5], [9, 0, 9.0000001, 5]):
        [fault] = refused(tmp_path, {"a.png": [{"box": wrong, "label": "x"}]})
        assert fault == f"a.png: box 0: {wrong} holds nothing of the picture, 32x24 (width x height)"


def test_files_that_hold_no_boxes(tmp_path):
    fakes.save(tmp_path / "images/a.png", fakes.picture(0))
    assert refused(tmp_path, "{")[0].startswith("is no JSON, or damaged")
    assert refused(tmp_path, "[]")[0].startswith("wanted {")
    assert refused(tmp_path, "{}")[0].startswith("no picture in it")
    assert refused(tmp_path, '{"a.png": [], "a.png": []}') == ["is no JSON, or damaged: 'a.png' stands there twice"]
    assert refused(tmp_path, '{"a.png": [{"box": [NaN, 0, 1, 1], "label": "x"}]}')[0].startswith("a.png: box 0: [NaN, 0")
    with pytest.raises(ValueError, match="cannot be read"):
        read(tmp_path / "nothing.json", tmp_path)
