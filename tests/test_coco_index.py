"""The index of a COCO file: the same as parsing it whole, whatever the window, in a fraction of the memory."""

import json
import tracemalloc

import numpy as np
import pytest

from pipeline.datasets import _coco_index
from pipeline.datasets._coco_index import PANOPTIC, find_strays, read_annotations, read_index

CONTENT = {
    "info": {"note": 'a "quoted" {brace] \\ and a number 1e-3', "images": [1, 2]},  # not the table of that name
    "images": [{"id": 1, "file_name": "Bär/猫.jpg", "height": 3, "width": 4, "url": "x"}, {"id": "b", "file_name": "b.jpg"}],
    "licenses": 4.5,
    "annotations": [
        {"image_id": "b", "category_id": 2, "segmentation": [[0.5, 1, 2.25, -3]], "note": "]}, {"},
        {"image_id": 1, "category_id": 2, "segmentation": {"counts": "0<[\\]{", "size": [3, 4]}},
        {"image_id": "b", "category_id": 7, "text": "ü"},
        {"image_id": 99, "category_id": 7},
    ],
    "categories": [{"id": 2, "name": "Bär", "color": [1, 2, 3]}, {"id": 7, "name": "猫"}],
}


@pytest.mark.parametrize("window", [1, 2, 3, 7, 64, 1 << 22])
@pytest.mark.parametrize("style", [{}, {"indent": 2}, {"separators": (",", ":"), "ensure_ascii": False}])
def test_the_same_as_parsing_it_whole(tmp_path, monkeypatch, window, style):
    monkeypatch.setattr(_coco_index, "WINDOW", window)
    path = tmp_path / "a.json"
    path.write_text("\n " + json.dumps(CONTENT, **style) + " \n", encoding="utf-8")
    index = read_index(path)
    assert index.images == [{"id": 1, "file_name": "Bär/猫.jpg", "height": 3, "width": 4}, {"id": "b", "file_name": "b.jpg"}]
    assert index.categories == CONTENT["categories"]
    found = {id: read_annotations(path, places) for id, places in index.annotations.items()}
    wanted = CONTENT["annotations"]
    assert found == {"b": [(0, wanted[0]), (2, wanted[2])], 1: [(1, wanted[1])], 99: [(3, wanted[3])]}
    (fault,) = find_strays(index, tmp_path)
    assert str(fault) == (
        "a.json: annotation 3: image_id 99 is none of its images; correct it, or remove the annotation [mask_without_image]"
    )


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(CONTENT).encode())
    assert len(read_index(path).images) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends too early (byte 0)"),
        ("{", "ends too early (byte 1)"),
        ('{"images": [', "ends too early (byte 12)"),
        ('{"images": [{"id": 1}', "ends too early (byte 21)"),
        ('{"images": [{"id": 1]', "Expecting ',' delimiter (byte 20)"),
        ('{"images": [{"id": "1', "Unterminated string starting at (byte 19)"),
        ('{"images": [1 2]}', "wanted ',' (byte 14)"),
        ('{"images": [1,]}', "a comma before a closing bracket (byte 14)"),
        ('{"images": [],}', "a comma before a closing bracket (byte 14)"),
        ('{"images" []}', "wanted ':' (byte 10)"),
        ("{images: []}", "Expecting value (byte 1)"),
        ('{"images": []} {}', "more than one value (byte 15)"),
        ("[] 1", "more than one value (byte 3)"),
        ('{"info": ' + "[" * 100_000, "brackets in brackets without end (byte 9)"),
    ],
)
@pytest.mark.parametrize("window", [5, 1 << 22])
def test_damage_is_told_with_its_place(tmp_path, monkeypatch, window, text, message):
    monkeypatch.setattr(_coco_index, "WINDOW", window)
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_index(path)
    assert str(caught.value) == f"{path}: is no JSON, or damaged: {message}"


def test_text_that_is_not_utf8_is_damage(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes('{"images": [{"id": 1, "file_name": "Bär"}]}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"is no JSON, or damaged: not UTF-8 \(byte 12\)"):
        read_index(path)


def test_damage_in_the_middle_is_told_without_reading_to_the_end(tmp_path, monkeypatch):
    """A window of 64 bytes over a megabyte: the parser's complaint is no cut-off word, so nothing more is loaded."""
    monkeypatch.setattr(_coco_index, "WINDOW", 64)
    path = tmp_path / "a.json"
    path.write_text('{"images": [{"id": 1], ' + " " * (1 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"Expecting ',' delimiter \(byte 20\)"):
        read_index(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 18


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"images": [], "annotations": [], "categories": {}}'])
def test_other_json_is_told_apart(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: wanted COCO's panoptic JSON: \{images: \[...\], annotations"):
        read_index(path, PANOPTIC, kind="panoptic")


def test_entries_that_lack_a_key_are_listed(tmp_path):
    path = tmp_path / "a.json"
    content = {
        "annotations": [
            {"image_id": 1, "file_name": "a.png", "segments_info": 3},
            {"image_id": 1, "file_name": "", "segments_info": []},
        ],
        "images": [7],
        "categories": [],
    }
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError) as caught:
        read_index(path, PANOPTIC)
    wanted = "wanted {image_id, file_name, segments_info, ...}, got {'image_id': 1, 'file_name': "
    assert str(caught.value).replace(f"{path}: ", "").split("\n") == [
        f"annotations, entry 0: {wanted}'a.png', 'segments_info': 3}}",
        f"annotations, entry 1: {wanted}'', 'segments_info': []}}",
        "images, entry 0: wanted {id, file_name, ...}, got 7",
    ]


def test_memory_stays_a_fraction_of_the_file(tmp_path):
    """20 MB of polygons; parsed whole they would take more than 60, here the window and 24 bytes for each annotation."""
    rng = np.random.default_rng([0])
    annotations = [
        {"segmentation": [rng.uniform(0, 640, 400).tolist()], "image_id": number // 4, "category_id": 1}
        for number in range(2600)
    ]
    path = tmp_path / "a.json"
    content = {"images": [{"id": number, "file_name": "a.jpg"} for number in range(650)], "annotations": annotations}
    path.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "a"}]}))
    last = annotations[-1]
    del annotations, content
    assert path.stat().st_size > 18 << 20
    tracemalloc.start()
    index = read_index(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 20
    assert peak < 18 << 20
    assert read_annotations(path, index.annotations[649])[-1] == (2599, last)
