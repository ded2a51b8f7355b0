"""The tables and templates that `dvc plots` shows, and its page without a network."""

import csv
import json
from pathlib import Path

import pytest
import vl_convert
from dvc_render.vega import VegaRenderer

from pipeline.provenance import ROOT
from pipeline.report.offline_plots import write_template
from pipeline.report.plots import write_confusion, write_curves
from pipeline.report.runs import Run
from tests.fake_runs import LABELS, make_run, make_samples, write_csv

AXES = {"curves": ("epoch", "value"), "confusion": ("predicted", "truth")}


def rows_of(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    for key, epochs in (("otsu", 0), ("unet", 3)):
        make_run(folder / key, make_samples(4), skill=0.8, epochs=epochs)
    runs = [Run(key, folder / key) for key in ("otsu", "unet")]
    write_curves(runs, folder / "curves.csv")
    write_confusion(runs, LABELS.names, folder / "confusion.csv")
    return folder


def test_curves_have_a_row_for_each_epoch_and_quantity(tables):
    rows = rows_of(tables / "curves.csv")
    assert len(rows) == 3 * 3
    assert {row["method"] for row in rows} == {"unet"}
    assert rows[0] == {"method": "unet", "epoch": "1", "quantity": "train_loss", "value": "1.7"}
    assert rows[-1] == {"method": "unet", "epoch": "3", "quantity": "val_miou", "value": "0.5256"}  # 0.8 (1 - 0.7^3)


def test_curves_of_nothing_trained_are_a_header(tmp_path):
    write_curves([Run("otsu", tmp_path / "otsu")], tmp_path / "curves.csv")
    assert (tmp_path / "curves.csv").read_text() == "method,epoch,quantity,value\n"


def test_shares_of_a_row_sum_to_one_and_are_empty_without_truth(tmp_path, tables):
    rows = rows_of(tables / "confusion.csv")
    assert len(rows) == 2 * 16
    assert sum(float(row["share"]) for row in rows if row["method"] == "unet" and row["truth"] == "sky") == pytest.approx(1)
    run = Run("bare", tmp_path)
    write_csv(tmp_path / "confusion.csv", ("truth", "predicted", "pixels"), [("a", "a", 3), ("a", "b", 1)])
    write_confusion([run], ("a", "b"), tmp_path / "out.csv")
    assert [row["share"] for row in rows_of(tmp_path / "out.csv")] == ["0.75", "0.25", "", ""]


@pytest.mark.parametrize("name", AXES)
def test_templates_draw_what_dvc_fills_in(tables, name):
    x, y = AXES[name]
    points = [{**row, "rev": rev} for rev in ("workspace", "HEAD") for row in rows_of(tables / f"{name}.csv")]
    definitions = [{"filename": f"report/{name}.csv", "field": y}]
    options = {"x": x, "y": y, "template": name, "template_dir": str(ROOT / ".dvc/plots"), "anchors_y_definitions": definitions}
    spec = VegaRenderer(points, name, title="a title", **options).get_filled_template()
    text = json.dumps(spec)
    assert "DVC_METRIC" not in text  # every anchor is filled
    svg = vl_convert.vegalite_to_svg(spec, vl_version="5.21")
    shown = ("unet", "HEAD", "mIoU, validation") if name == "curves" else ("otsu", "unet", "sky", "predicted")
    assert all(word in svg for word in (*shown, "a title"))
    assert "NaN" not in svg


def test_the_page_of_dvc_plots_holds_its_scripts(tmp_path):
    write_template(tmp_path / "plots.html")
    text = (tmp_path / "plots.html").read_text(encoding="utf-8")
    assert "vegaEmbed" in text
    assert text.count("{plot_divs}") == 1 and "{scripts}" not in text
    assert text.count("<script") == text.count("</script>") == 1
    assert "src=" not in text[text.index("</style>") : text.index("<script>") + 8]
