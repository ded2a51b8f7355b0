"""The page of what the gate found: every rule with its pictures, the place marked, bounded, and whole in itself."""

import base64
import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import folder as folder_reader
from pipeline.gate import __main__ as gate_command
from pipeline.gate import page as findings
from pipeline.gate.inspection import GateError, inspect
from pipeline.gate.pictures import CELL_PX, CLOSE_PX, MARK, SIDE_PX, FaultPictures
from pipeline.sources import Fault, Record
from pipeline.structures import PanopticMap, Sample
from tests import fakes
from tests.test_gate import CLASSES, EXPECTED, broken_folder


def pixels_of(address: str) -> np.ndarray:
    """(H, W, 3) RGB of a data address."""
    assert address.startswith("data:image/jpeg;base64,")
    data = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def look(root: Path, tmp_path: Path, **options) -> str:
    out = tmp_path / "gate.html"
    inspect(folder_reader.read(root, classes=CLASSES), table=tmp_path / "gate.csv", root=root, page=out, **options)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> tuple[str, str]:
    """The page of a folder with one of every fault, and what the gate said."""
    folder = tmp_path_factory.mktemp("broken")
    with pytest.raises(GateError) as caught:
        look(broken_folder(folder / "own"), folder)
    return (folder / "gate.html").read_text(encoding="utf-8"), str(caught.value).replace(str(folder), "FOLDER")


def test_a_page_is_there_where_the_line_stops(broken):
    html, said = broken
    assert "The whole list: FOLDER/gate.csv; with pictures: FOLDER/gate.html; fix the data" in said
    assert "7 images looked at: 10 errors." in html
    levels = re.findall(r'<span class="level (\w+)">', html)
    rules = re.findall(r'class="level \w+">\w+</span>(\w+)<span>', html)
    assert levels == ["error"] * 9
    assert rules == sorted(rule for rule, _ in EXPECTED)
    assert "masks/g.png <span>at x=30, y=20</span>" in html
    assert "replace each colour by its index" in html  # the advice
    assert "image, 32×24" in html and "mask, 6×5" in html


def test_nothing_is_loaded_from_elsewhere(broken):
    html, _ = broken
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(addresses) >= 12
    assert all(one.startswith("data:image/jpeg;base64,") for one in addresses)
    assert not re.search(r"https?://|<script|<link|@import|url\(", html)
    assert str(Path.cwd()) not in html and "FOLDER" not in html


def test_same_faults_same_bytes(tmp_path):
    root = broken_folder(tmp_path / "own")
    pages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with pytest.raises(GateError):
            look(root, tmp_path / name)
        pages.append((tmp_path / name / "gate.html").read_bytes())
    assert pages[0] == pages[1]
    assert str(tmp_path).encode() not in pages[0]


def test_good_data_has_a_short_page(tmp_path):
    html = look(fakes.write_folder(tmp_path / "own"), tmp_path)
    assert "6 images looked at: nothing to remark." in html
    assert "<img" not in html


def test_names_are_text_and_not_markup(tmp_path):
    root = fakes.write_folder(tmp_path / "own", names=("<b>a", "b<!-- end of findings -->"))
    (root / "images/<b>a.jpg").write_bytes(b"")
    (root / "images/b<!-- end of findings -->.jpg").write_bytes(b"")
    html = look(root, tmp_path, rules={"zero_byte": "warning"})
    assert "<b>" not in html
    assert "&lt;b&gt;a.jpg" in html
    assert "end of findings --&gt;.jpg" in findings.findings_in(tmp_path / "gate.html")


def constant(seed, *, id, split, group) -> Sample:
    labels = np.full((24, 32), seed % 3, np.uint8)
    return Sample(id, split, group, fakes.picture(seed), PanopticMap.from_labels(labels, fakes.STUFF))


def test_a_thousand_faults_make_a_bounded_page(tmp_path):
    source = fakes.source(constant, ids=[f"{index:04}" for index in range(1000)])
    inspect(source, table=tmp_path / "gate.csv", page=tmp_path / "gate.html", workers=1)
    html = (tmp_path / "gate.html").read_text()
    assert "1000 images looked at: 1000 warnings." in html
    assert html.count('class="find"') == findings.PICTURED_PER_RULE
    assert "<summary>994 more</summary>" in html
    assert html.count("<li>") == findings.NAMED_PER_RULE
    assert "and 934 more in gate.csv" in html
    assert len(html) < 200_000


def test_pictures_are_asked_for_no_more_than_is_said(tmp_path):
    asked = []
    rules = [
        "zero_byte",
        "unreadable_image",
        "colour_mask",
        "all_void",
        "two_masks",
        "label_outside",
        "lossy_mask",
        "image_depth",
    ]
    faults = [("error", Fault(rule, f"{index}.png", "is so")) for rule in rules for index in range(50)]
    pictures = lambda fault: asked.append(fault) or ()  # noqa: E731
    findings.write_page(tmp_path / "p.html", faults, name="n", total=1, table="gate.csv", pictures=pictures)
    assert len(asked) == 8 * (findings.PICTURED // 8)


def test_the_report_takes_what_lies_between_the_marks(tmp_path, broken):
    html, _ = broken
    (tmp_path / "gate.html").write_text(html)
    part = findings.findings_in(tmp_path / "gate.html")
    assert part.startswith("<style>") and part.endswith("</div>")
    assert "<h1" not in part and part.count("<div") == part.count("</div")
    assert findings.findings_in(tmp_path / "none.html") == ""


# --- the pictures


def record_of(root: Path, name: str, decode) -> Record:
    return Record(name, None, name, decode, root / f"images/{name}.png", (root / f"masks/{name}.png",))


@pytest.fixture
def wide(tmp_path) -> Path:
    """An image of 600x300 and its mask of ones, with a 77 at (400, 100)."""
    mask = np.ones((300, 600), np.uint8)
    mask[100, 400] = 77
    fakes.save(tmp_path / "images/a.png", np.full((300, 600, 3), 60, np.uint8))
    fakes.save(tmp_path / "masks/a.png", mask)
    return tmp_path


def near_mark(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of about the mark's colour, after JPEG."""
    return np.abs(pixels.astype(int) - MARK).max(axis=2) < 60


def test_the_place_is_marked_and_seen_close_up(wide):
    decode = partial(folder_reader._decode, image=wide / "images/a.png", mask=wide / "masks/a.png", root=wide)
    record = record_of(wide, "a", partial(decode, id="a", split=None, group="a", label_space=fakes.STUFF, void=255, table=None))
    fault = Fault("label_outside", "masks/a.png", "is so", (400, 100), "77")
    image, mask, close = FaultPictures(fakes.STUFF, {}, wide)(fault, record)
    assert [one.caption for one in (image, mask, close)] == ["image, 600×300", "mask, 600×300", "around x=400, y=100"]
    scale = SIDE_PX / 600
    for one in (image, mask):
        marked = near_mark(pixels_of(one.address))
        assert marked.shape == (90, SIDE_PX)
        y, x = np.argwhere(marked).mean(axis=0)
        assert abs(x - 400 * scale) < 1.5 and abs(y - 100 * scale) < 1.5  # a ring around the place
    marked = near_mark(pixels_of(close.address))
    assert marked.shape == ((2 * CLOSE_PX + 1) * CELL_PX,) * 2
    middle = slice(CLOSE_PX * CELL_PX + 1, (CLOSE_PX + 1) * CELL_PX - 1)
    assert marked[middle, middle].all()  # the pixel with the wrong value
    assert marked.sum() < 3 * CELL_PX**2


def test_the_faulty_file_is_seen_close_up_and_only_a_label_paints_the_mask(wide):
    """Alpha 0 at a pixel of the image: the close-up is of the image, and label 0 of the mask keeps its colour."""
    picture = Image.fromarray(np.full((300, 600, 3), 60, np.uint8))
    alpha = np.full((300, 600), 255, np.uint8)
    alpha[0, 7] = 0
    picture.putalpha(Image.fromarray(alpha))
    picture.save(wide / "images/a.png")
    fakes.save(wide / "masks/a.png", np.zeros((300, 600), np.uint8))
    decode = partial(folder_reader._decode, image=wide / "images/a.png", mask=wide / "masks/a.png", root=wide)
    record = record_of(wide, "a", partial(decode, id="a", split=None, group="a", label_space=fakes.STUFF, void=255, table=None))
    fault = Fault("transparent_image", "images/a.png", "is so", (7, 0), "0")
    _, mask, close = FaultPictures(fakes.STUFF, {}, wide)(fault, record)
    assert (np.abs(pixels_of(mask.address)[60:, 60:].astype(int) - fakes.STUFF.colours[0]) < 12).all()
    assert (np.abs(pixels_of(close.address)[40:, 80:].astype(int) - 60) < 12).all()


def test_twins_stand_side_by_side(tmp_path):
    source = fakes.source(ids=("a", "b"))
    named = {record.id: record for record in source}
    fault = Fault("near_duplicate", "a", "looks like b", value="b")
    one, other = FaultPictures(fakes.STUFF, named, None)(fault, None)
    assert [one.caption, other.caption] == ["a, 32×24", "b, 32×24"]
    for shown, seed in ((one, 0), (other, 1)):
        pixels = pixels_of(shown.address)
        assert pixels.shape == (135, SIDE_PX, 3)
        small = cv2.resize(pixels, (32, 24), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(small - fakes.picture(seed)).mean() < 10


def test_a_sample_that_opens_is_shown_with_its_truth():
    source = fakes.source(constant, ids=("a",))
    image, truth = FaultPictures(fakes.STUFF, {}, None)(Fault("constant_mask", "a", "is so"), source.records[0])
    assert (image.caption, truth.caption) == ("image, 32×24", "with its truth, 32×24")
    mixed = (fakes.picture(0).astype(int) + fakes.STUFF.colours[0]) / 2
    small = cv2.resize(pixels_of(truth.address), (32, 24), interpolation=cv2.INTER_AREA)
    assert np.abs(small - mixed).mean() < 10


@pytest.mark.parametrize("file", ["(data set)", "none.png", "notes.txt", "images"])
def test_what_has_no_picture_has_none(tmp_path, file):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "images").mkdir()
    assert FaultPictures(fakes.STUFF, {}, tmp_path)(Fault("unused_class", file, "is so"), None) == ()
    assert FaultPictures(fakes.STUFF, {}, None)(Fault("unused_class", file, "is so"), None) == ()


def test_a_huge_file_is_not_opened_again(wide, monkeypatch):
    monkeypatch.setattr("pipeline.gate.pictures.LARGEST_BYTES", 10)
    record = record_of(wide, "a", lambda: pytest.fail("opened"))
    assert FaultPictures(fakes.STUFF, {}, wide)(Fault("constant_mask", "masks/a.png", "is so"), record) == ()


def test_the_command_writes_the_page(tmp_path, capsys):
    root = fakes.write_folder(tmp_path / "own")
    (root / "images/a.jpg").write_bytes(b"")
    options = ["--reader", "folder", "--set", "classes=[a, b, c]", "--out", str(tmp_path)]
    assert gate_command.main([str(root), *options, "--page", str(tmp_path / "seen/gate.html")]) == 1
    assert "zero_byte" in (tmp_path / "seen/gate.html").read_text()
    assert f"with pictures: {tmp_path / 'seen/gate.html'}" in capsys.readouterr().err
