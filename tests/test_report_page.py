"""The page as a reader gets it: complete, self-contained, and the same for the same inputs."""

import base64
import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rich.console import Console

from pipeline import dataset_writer
from pipeline.report import data, figures, page, pictures
from pipeline.report.compare import compare
from pipeline.report.console import console_table
from pipeline.report.runs import Run, find_runs, read_counts
from pipeline.report.tables import comparison_table
from pipeline.sources import Record, Source
from pipeline.structures import PanopticMap, Sample
from tests.fake_runs import LABELS, FakeDataset, make_run, make_sample, make_samples, write_csv, write_reliability

KEYS = ("majority_class", "otsu", "unet")


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    samples = make_samples(12, groups=3)
    for key, skill, latency_ms, epochs in zip(KEYS, (0.3, 0.5, 0.9), (0.2, 1.0, 30.0), (0, 0, 4), strict=True):
        make_run(folder / key, samples, skill=skill, latency_ms=latency_ms, epochs=epochs, under_load=key == "otsu")
    write_csv(folder / "otsu/reliability.csv", ("low", "high", "pixels", "confidence", "accuracy"), [])  # no probabilities
    write_reliability(folder / "unet", [(9, 100, 0.625, 0.5), (14, 300, 0.97, 0.92)])
    return folder


def methods(*keys: str) -> dict:
    return {key: SimpleNamespace(fit=SimpleNamespace(method=key)) for key in keys}


@pytest.fixture(scope="module")
def insight(tmp_path_factory) -> Path:
    """What the convert stage leaves of the scenes: three training ones without a box, one of them all ground."""
    folder = tmp_path_factory.mktemp("insight")
    splits = ["test"] * 6 + ["train"] * 3 + ["val"]
    records = [
        Record(f"image{index:03d}", split, f"group{index}", partial(scene, index, split=split))
        for index, split in enumerate(splits)
    ]
    source = Source("scenes", LABELS, tuple(records))
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    place = {"insight_folder": folder / "insight", "workers": 1}
    dataset_writer.write(source, folder / "dataset", splits=shares, seed=0, rules={}, origin={}, **place)
    return folder / "insight"


def scene(index: int, *, split: str) -> Sample:
    sample = make_sample(index, split=split)
    if split != "train":
        return sample
    labels = sample.truth.semantic(LABELS)
    labels = np.where((labels == 3) | (index == 8), 1, labels).astype(np.uint8)
    return replace(sample, truth=PanopticMap.from_labels(labels, LABELS))


def write(folder: Path, out: Path, *keys: str, dataset=None, insight=Path("none"), preview=Path("none.png")) -> str:
    runs = find_runs(methods(*(keys or KEYS)), folder)
    counts = read_counts(runs)
    comparison = compare(counts, seed=0)
    table = comparison_table(runs, comparison)
    dataset = dataset or FakeDataset(make_samples(12, groups=3))
    found = {"insight": insight, "preview": preview}
    page.write_page(out, dataset=dataset, runs=runs, counts=counts, comparison=comparison, table=table, **found)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def preview(tmp_path_factory) -> Path:
    """A sheet of the augmentation policy, wider than a page."""
    file = tmp_path_factory.mktemp("train") / "preview.png"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 256, (500, 1750, 3)).astype(np.uint8))
    return file


@pytest.fixture(scope="module")
def html(runs_folder, insight, preview, tmp_path_factory) -> str:
    return write(runs_folder, tmp_path_factory.mktemp("report") / "index.html", insight=insight, preview=preview)


def test_every_part_is_there(html):
    sections = set(re.findall(r'<h2 id="(\w+)"', html))
    assert sections == {
        "comparison",
        "latency",
        "pictures",
        "classes",
        "groups",
        "confusions",
        "calibration",
        "curves",
        "data",
        "gate",
        "origin",
        "reading",
    }
    assert set(re.findall(r'href="#(\w+)">', html)) == sections  # the line of links leads to all of them
    assert html.count('class="card sample"') == 3
    assert html.count('<button class="tile"') == 3 * (2 + 3) + 2  # photo, truth, three methods; the two sheets
    assert html.count('aria-label="confusion matrix of') == 3
    assert "5" * 64 in html and "12 images of 3 groups" in html


def test_nothing_is_loaded_from_elsewhere(html):
    assert not re.search(r"https?://", html)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert len(addresses) > 30
    assert all(one.startswith(("data:image/", "#")) for one in addresses)
    assert not re.search(r"<link|@import|@font-face|<iframe", html)


def test_ids_are_unique_and_references_lead_somewhere(html):
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', html)) | set(re.findall(r"url\(#([^)]*)\)", html)) <= set(ids)


def test_same_inputs_same_bytes(runs_folder, insight, preview, tmp_path, html):
    assert write(runs_folder, tmp_path / "again.html", insight=insight, preview=preview) == html


def test_a_removed_method_leaves_the_report(runs_folder, tmp_path, html):
    assert "otsu" in html
    assert (runs_folder / "otsu").is_dir()
    assert "otsu" not in write(runs_folder, tmp_path / "index.html", "majority_class", "unet")


def test_floors_stand_greyed_and_the_best_is_bold(html):
    body = html[html.index('<h2 id="comparison"') : html.index('<h2 id="latency"')]
    rows = re.findall(r"<tr( class=\"floor\")?><th data-value=\"(\w+)\"", body)
    assert rows == [("", "unet"), ("", "otsu"), (' class="floor"', "majority_class")]
    best = re.search(r'data-value="unet".*?</tr>', body, re.DOTALL).group()
    assert re.search(r'<td class="best" data-value="0\.\d+">0\.\d{3}</td>', best)
    assert 'class="best"' not in re.search(r'data-value="otsu".*?</tr>', body, re.DOTALL).group()


def test_costs_under_load_are_marked(html):
    assert 'title="measured under load: load average 3.2">1.00<sup>†</sup>' in html
    assert "Measured while the machine was busy" in html


def test_a_method_with_probabilities_has_a_reliability_diagram(html):
    body = html[html.index('<h2 id="calibration"') : html.index('<h2 id="curves"')]
    assert re.findall(r'aria-label="reliability diagram of (\w+)"', body) == ["unet"]
    assert '<span class="soft">ECE 0.069</span>' in body  # (100 x 0.125 + 300 x 0.05) / 400
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"[^>]* fill-opacity="([\d.]+)">', body)
    # 240 px a side: 9/15 and 14/15 along, 1/15 wide, as high as the accuracy; the root of a third of the most pixels
    assert [tuple(map(float, bar)) for bar in bars] == [(144, 120, 16, 120, 0.68), (224, 19.2, 16, 220.8, 1)]
    assert "<title>300 pixels: confidence 0.970, accuracy 0.920</title>" in body


def test_masks_keep_their_colours(html):
    address = re.search(r'<img class="mask" src="data:image/png;base64,([^"]*)" alt="true classes"', html).group(1)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(address), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert (decoded == LABELS.paint(make_samples(1)[0].truth.semantic(LABELS))).all()


def test_names_are_text_and_not_markup(runs_folder, tmp_path):
    dataset = FakeDataset(make_samples(12, groups=3))
    dataset.name = "<b>scenes</b> & more"
    text = write(runs_folder, tmp_path / "index.html", dataset=dataset)
    assert "<b>scenes" not in text
    assert "&lt;b&gt;scenes&lt;/b&gt; &amp; more" in text


def test_a_new_score_becomes_a_column_and_a_missing_one_a_dash(tmp_path):
    samples = make_samples(4)
    for key in ("otsu", "unet"):
        make_run(tmp_path / key, samples, skill=0.5 if key == "otsu" else 0.8)
    scores = {"miou": 0.7, "mask_ap": 0.25, "topology_error": 3.5, "mask_ap75": 0.125}
    (tmp_path / "unet/metrics.json").write_text(json.dumps(scores))
    text = write(tmp_path, tmp_path / "index.html", "otsu", "unet", dataset=FakeDataset(samples))
    body = text[text.index('<h2 id="comparison"') : text.index('<h2 id="objects"')]
    assert ">Mask AP</th>" in body and ">topology error</th>" in body and "AP75" not in body
    details = text[text.index('<h2 id="objects"') : text.index('<h2 id="latency"')]
    assert re.findall("<th[^>]*>([^<]*)</th>", details) == ["Method", "Mask AP75"] and 'data-value="0.125">0.125<' in details
    assert '<td data-value="">–</td>' in re.search(r'data-value="otsu".*?</tr>', body, re.DOTALL).group()


def test_without_objects_there_is_no_table_of_them(html):
    assert 'id="objects"' not in html


def test_the_classes_of_each_split(html):
    body = html[html.index('<h2 id="data"') : html.index('<h2 id="gate"')]
    lines = {
        name: [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]
        for name, line in re.findall(r'<tr><th data-value="(\w+)">(.*?)</tr>', body, re.DOTALL)
    }
    assert list(lines) == ["sky", "ground", "disc", "box"]
    assert lines["sky"][4:7] == ["2", "1", "6"]  # images of train, val, test; the third of train is all ground
    assert lines["box"][:2] == ["thing", "0 %"]
    assert lines["box"][4:8] == ["none", "1", "6", "1.0"]  # and one to an image that has it
    assert '<span class="tag open">none</span>' in body
    assert "12 images of 3 groups, all 64×48" in body
    assert "2.1 % of the pixels of train" in body  # 2 of 64 columns in two of three images
    shares = [float(one) for one in re.findall(r'data-value="([\d.]+)">[\d.e-]+ %', body)]
    assert len(shares) == 12 and sum(shares) == pytest.approx(3, abs=1e-4)  # of three splits


def test_sheets_are_inside_and_not_too_large(html, insight):
    body = html[html.index('<h2 id="data"') : html.index('<h2 id="gate"')]
    truth, augmented = (base64.b64decode(one) for one in re.findall(r'src="data:image/jpeg;base64,([^"]*)"', body))
    assert truth == (insight / "truth.jpg").read_bytes()
    assert cv2.imdecode(np.frombuffer(augmented, np.uint8), cv2.IMREAD_COLOR).shape == (400, 1400, 3)


def test_what_the_gate_found_is_in_the_report(html):
    body = html[html.index('<h2 id="gate"') : html.index('<h2 id="origin"')]
    assert "10 images looked at: 2 warnings." in body  # no training image has a box; one is of one class, but for void
    assert '<span class="level warning">warning</span>untrained_class' in body


def test_without_insight_the_shares_of_the_test_split_are_told(runs_folder, tmp_path):
    text = write(runs_folder, tmp_path / "index.html")
    assert "Share of test pixels" in text and 'id="gate"' not in text and "What training sees" not in text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(3, 20, 10)], "all 20×10"),
        ([(3, 20, 10), (1, 40, 8)], "2 sizes, 20×10 to 40×8; most often 20×10 (3)"),
        ([(1, 20, 10), (1, 8, 9)], "2 sizes, 8×9 to 20×10"),
    ],
)
def test_sizes_in_words(rows, said):
    table = [{"split": "val", "images": str(a), "width": str(b), "height": str(c)} for a, b, c in rows]
    assert data._sizes(table) == {"val": said}


def test_areas_lie_on_a_logarithmic_line():
    row = {"area_05": "1", "area_25": "5", "area_50": "10", "area_75": "50", "area_95": "100", "area_half": "90"}
    area = data._area(row, 10_000.0)
    assert (area["low"], area["at"], area["high"]) == (0.0, 25.0, 50.0)
    assert (area["text"], area["half"]) == ("1 to 100", "90")
    assert data._area(row, 1.0)["high"] == 100.0  # all segments are of one pixel


def test_a_bare_run_makes_a_page(tmp_path):
    (tmp_path / "instances").mkdir()
    (tmp_path / "instances/metrics.json").write_text('{"mask_ap": 0.31}')
    text = write(tmp_path, tmp_path / "index.html", "instances", dataset=FakeDataset(make_samples(1)))
    assert "0.310" in text
    assert not re.search(r'id="(latency|pictures|groups|confusions|calibration|curves)"', text)
    assert "95 % interval</th>" not in text


def test_photos_and_masks_are_shrunk_by_whole_colours():
    labels = np.random.default_rng(0).integers(0, 4, (600, 1200)).astype(np.uint8)
    encoded = base64.b64decode(pictures.mask(LABELS.paint(labels)).split(",")[1])
    small = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert small.shape == (240, 480, 3)
    assert {tuple(colour) for colour in small.reshape(-1, 3).tolist()} == set(LABELS.colours)
    assert pictures.photo(np.zeros((9, 7, 3), np.uint8)).startswith("data:image/jpeg;base64,")


def test_more_colours_than_a_palette_holds():
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    encoded = base64.b64decode(pictures.mask(colours).split(",")[1])
    assert (cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] == colours).all()


def test_an_unreadable_picture_is_named(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.png: not a readable picture"):
        pictures.read_mask(tmp_path / "x.png")


def test_styles_differ_for_thirty_methods():
    runs = [Run(f"m{index}", Path(), is_floor=index < 2) for index in range(32)]
    styles = figures.method_styles(runs)
    assert len(set(styles.values())) == 32
    assert styles["m0"].colour == styles["m1"].colour == figures.FLOOR_COLOUR


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_console_shows_every_method_at_any_width(runs_folder, width):
    runs = find_runs(methods(*KEYS), runs_folder)
    comparison = compare(read_counts(runs), seed=0)
    console = Console(width=width, record=True, force_terminal=False)
    console_table(comparison_table(runs, comparison), comparison, report=Path("report/index.html"), console=console)
    text = console.export_text()
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["unet", "otsu", "majority_class"]
    assert "(floor)" in lines[3] and "best" in lines[1]
    assert f"{runs[2].scores['miou']:.3f}" in lines[1] and "…" not in text
    assert "report: report/index.html" in text
    assert ("Fit time" in text) == (width > 60)


def test_the_console_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys, pipeline.report.__main__; print(*sorted({'torch', 'matplotlib', 'pandas', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
