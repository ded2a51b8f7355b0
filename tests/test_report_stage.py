"""The report stage on a whole, small tree: a data set as convert writes it, and a run for every method of params.yaml."""

from functools import partial
from pathlib import Path

import pytest

from pipeline import config, dataset_writer, parent_death
from pipeline.report import __main__ as command
from pipeline.sources import Record, Source
from stages import report
from tests.fake_runs import LABELS, make_run, make_sample, make_samples

PARAMS = """
seed: 0
threads: 1
dataset:
  {reader: shapes, source: shapes.py, sha256: null, options: {}, splits: {train: 0.7, val: 0.15, test: 0.15}}
gate: {rules: {}}
augment:
  short_side: null
  policy: {horizontal_flip: 0.5, vertical_flip: 0.0, rotation_degrees: 0.0, zoom: [1.0, 1.0], crop: null,
    brightness: 0.0, contrast: 0.0, saturation: 0.0, hue_degrees: 0.0}
classical:
  majority_class: {fit: {method: majority_class, options: {}, search: {}}, predict: {}}
  otsu: {fit: {method: otsu, options: {}, search: {}}, predict: {}}
networks:
  unet:
    fit: {model: unet, options: {}, loss: [{name: cross_entropy, weight: 1.0, options: {}}],
      optimizer: {name: adamw, learning_rate: 0.002, options: {}}, schedule: {name: constant, options: {}},
      epochs: 2, batch_size: 2, early_stop: null, precision: auto, training: {}}
    predict: {}
fusions: {}
evaluate: {samples: 3, timed_images: 2}
"""


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A folder with params.yaml, data/dataset and runs/; the current directory, and no tracking store."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    splits = ["test"] * 6 + ["train", "train", "val"]
    records = tuple(
        Record(f"image{index:03d}", split, f"group{index}", partial(make_sample, index, split=split))
        for index, split in enumerate(splits)
    )
    source = Source("scenes", LABELS, records)
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    dataset_writer.write(source, tmp_path / "data/dataset", splits=shares, seed=0, rules={}, origin={"reader": "x"}, workers=1)
    for index, key in enumerate(config.load(tmp_path / "params.yaml").methods):
        make_run(tmp_path / "runs" / key, make_samples(6), skill=0.3 + 0.2 * index, epochs=2 * index)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parent_death, "die_with_parent", lambda: None)
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    return tmp_path


def test_the_stage_writes_page_and_tables(tree, capsys):
    report.main([])
    assert sorted(path.name for path in (tree / "report").iterdir()) == ["confusion.csv", "curves.csv", "index.html"]
    text = (tree / "report/index.html").read_text(encoding="utf-8")
    assert "scenes: 3 segmentation methods compared" in text
    assert "6 images" in text and str(tree) not in text
    assert capsys.readouterr().out == f"report: 3 methods, {Path('report/index.html')}\n"


def test_a_missing_run_is_named(tree):
    (tree / "runs/unet/metrics.json").unlink()
    with pytest.raises(ValueError, match=r"runs/unet/metrics\.json: missing"):
        report.main([])
    assert command.main([]) == 1


def test_a_fault_of_the_tracking_store_does_not_fail_the_stage(tree, monkeypatch, capsys):
    from pipeline import tracking

    monkeypatch.setattr(report, "find_spec", lambda name: name)
    monkeypatch.setattr(tracking, "sync", lambda: {"otsu": "failed: server away", "unet": "complete"})
    report.main([])
    assert capsys.readouterr().err == "tracking: otsu: failed: server away\n"
    assert (tree / "report/index.html").is_file()


def test_the_command_prints_the_table(tree, capsys):
    assert command.main([]) == 0
    text = capsys.readouterr().out
    assert text.index("unet") < text.index("majority_class (floor)")
    assert "report: report/index.html" in text


def test_the_command_prints_markdown_on_request(tree, capsys):
    assert command.main(["--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| Method | mIoU |") and lines[2].startswith("| `unet` |")
