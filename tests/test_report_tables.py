"""What is read from runs/, and what the tables say of it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.metrics.instances import Instances
from pipeline.metrics.panoptic import Panoptic
from pipeline.report.runs import Run, confusion_matrix, find_runs, read_counts, row_shares
from pipeline.report.tables import DASH, DETAILS, SCORES, comparison_table, detail_table, heat_table
from pipeline.structures import InstanceSet, PanopticMap, Sample, Segment
from tests import fakes
from tests.fake_runs import LABELS, make_run, make_samples, write_csv


def make_scored(folder: Path, key: str, *, is_floor: bool = False, costs: dict | None = None, **scores: float) -> Run:
    path = folder / key
    path.mkdir(parents=True)
    (path / "metrics.json").write_text(json.dumps(scores))
    if costs:
        (path / "cost.json").write_text(json.dumps(costs))
    return Run(key, path, is_floor=is_floor)


def texts(table, key: str) -> dict[str, str]:
    index = [column.key for column in table.columns].index(key)
    return {row.run.key: row.cells[index].text for row in table.rows}


def bold(table, key: str) -> set[str]:
    index = [column.key for column in table.columns].index(key)
    return {row.run.key for row in table.rows if row.cells[index].is_best}


def test_methods_come_from_params_and_not_from_the_folder(tmp_path):
    for key in ("left_over", "b", "a"):
        make_scored(tmp_path, key, miou=0.5)
    methods = {
        key: SimpleNamespace(fit=SimpleNamespace(method=method)) for key, method in (("b", "otsu"), ("a", "spatial_prior"))
    }
    methods["c"] = SimpleNamespace(fit=SimpleNamespace(model="unet"))  # a network has a model and no method
    assert [(run.key, run.is_floor) for run in find_runs(methods, tmp_path)] == [("b", False), ("a", True), ("c", False)]


def test_a_run_without_scores_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"unet.metrics\.json: missing, and unet stands in params\.yaml; run `dvc repro`"):
        _ = Run("unet", tmp_path / "unet").scores


def test_a_score_that_is_no_number_is_no_score(tmp_path):
    path = tmp_path / "a"
    path.mkdir()
    (path / "metrics.json").write_text('{"miou": 0.5, "ece": NaN, "pq": null}')
    assert Run("a", path).scores == {"miou": 0.5}


def test_files_that_a_method_cannot_have_read_as_empty(tmp_path):
    run = make_scored(tmp_path, "otsu", miou=0.5)
    assert (run.history, run.costs, run.fit_costs, run.model, run.samples, run.class_iou) == ([], {}, {}, {}, {}, {})
    assert read_counts([run]).images == ()


def test_counts_are_those_of_the_files(tmp_path):
    header = ("image", "group", "class", "intersection", "truth_pixels", "predicted_pixels")
    one, other = (make_scored(tmp_path, key) for key in ("one", "other"))
    write_csv(one.folder / "per_image.csv", header, [("y", "g2", "car", 3, 5, 4), ("x", "g1", "sky", 7, 7, 9)])
    write_csv(other.folder / "per_image.csv", header, [("x", "g1", "sky", 2**40, 2**40, 2**40)])
    counts = read_counts([one, other])
    assert (counts.images, counts.groups) == (("x", "y"), ("g1", "g2"))
    # classes: car, sky
    assert counts.intersection.tolist() == [[[0, 7], [3, 0]], [[0, 2**40], [0, 0]]]
    assert counts.union.tolist() == [[[0, 9], [6, 0]], [[0, 2**40], [0, 0]]]


def test_confusion_matrix_has_a_column_for_nothing_only_where_something_is_in_it(tmp_path):
    run = make_scored(tmp_path, "one")
    rows = [("a", "a", 6), ("a", "b", 2), ("b", "a", 0), ("b", "b", 0), ("a", "(nothing)", 0), ("b", "(nothing)", 0)]
    write_csv(run.folder / "confusion.csv", ("truth", "predicted", "pixels"), rows)
    pixels, across = confusion_matrix(run, ("a", "b"))
    assert (pixels.tolist(), across) == ([[6, 2], [0, 0]], ["a", "b"])
    shares = row_shares(pixels)
    assert shares[0].tolist() == [0.75, 0.25]
    assert np.isnan(shares[1]).all()  # the truth has no b
    other = make_scored(tmp_path, "other")
    write_csv(other.folder / "confusion.csv", ("truth", "predicted", "pixels"), [*rows[:4], ("a", "(nothing)", 8)])
    pixels, across = confusion_matrix(other, ("a", "b"))
    assert (pixels.tolist(), across) == ([[6, 2, 8], [0, 0, 0]], ["a", "b", "(nothing)"])


def test_highest_miou_first_and_without_one_last(tmp_path):
    runs = [make_scored(tmp_path, "a", miou=0.2), make_scored(tmp_path, "b"), make_scored(tmp_path, "c", miou=0.9)]
    runs.append(make_scored(tmp_path, "d", miou=0.2))
    table = comparison_table(runs, None)
    assert [row.run.key for row in table.rows] == ["c", "a", "d", "b"]  # equals stay in the order of params.yaml
    assert texts(table, "miou") == {"c": "0.900", "a": "0.200", "d": "0.200", "b": DASH}
    assert texts(table, "latency_ms")["a"] == DASH


def test_known_scores_in_their_order_and_new_ones_behind(tmp_path):
    runs = [
        make_scored(tmp_path, "a", pq=0.3, miou=0.5, weird_score=7.0),
        make_scored(tmp_path, "b", ece=0.1, miou=0.4, another=1.0, boundary_f1=0.2, boundary_iou=0.3),
    ]
    table = comparison_table(runs, None)
    titles = [column.title for column in table.columns]
    assert titles[:7] == ["mIoU", "Boundary IoU", "Boundary F1", "ECE", "PQ", "another", "weird score"]
    assert texts(table, "pq") == {"a": "0.300", "b": DASH}


def test_scores_of_objects_in_detail_have_their_own_table(tmp_path):
    runs = [
        make_scored(tmp_path, "floor", is_floor=True, miou=0.1, mask_ap=0.0, mask_ap75=0.0, box_ar_small=0.0),
        make_scored(tmp_path, "a", miou=0.5, mask_ap=0.4, mask_ap75=0.25, pq_things=0.3),
        make_scored(tmp_path, "b", miou=0.6, mask_ap=0.3, mask_ap75=0.5),
    ]
    table = comparison_table(runs, None)
    assert [column.key for column in table.columns][:2] == ["miou", "mask_ap"]
    details = detail_table([row.run for row in table.rows])
    assert [column.title for column in details.columns] == ["PQ things", "Mask AP75", "Box AR small"]
    assert list(texts(details, "mask_ap75").items()) == [("b", "0.500"), ("a", "0.250"), ("floor", "0.000")]
    assert texts(details, "pq_things") == {"b": DASH, "a": "0.300", "floor": DASH}
    assert bold(details, "mask_ap75") == {"b"}
    assert detail_table([make_scored(tmp_path, "c", miou=0.5)]).columns == ()


def test_every_score_of_objects_and_segments_has_a_title():
    truth = fakes.things_sample(0, id="a", split="test", group="a")
    sizes = [InstanceSet.build(np.ones((1, side, side), bool), [1]) for side in (20, 60, 120)]
    samples = [Sample("b", "test", "b", np.zeros((*one.shape, 3), np.uint8), things_of(one), one) for one in sizes]
    for metric in (Instances(fakes.MIXED), Panoptic(fakes.MIXED)):
        for sample in (truth, *samples):
            metric.update(sample, sample.truth)
        scores = metric.scores()
        assert len(scores) == (30 if isinstance(metric, Instances) else 9)
        assert scores.keys() <= {column.key for column in (*SCORES, *DETAILS)}


def things_of(objects: InstanceSet) -> PanopticMap:
    return PanopticMap(objects.masks[0].astype(np.int32), (Segment(1, 1),))


def test_best_is_bold_and_floors_do_not_compete(tmp_path):
    runs = [
        make_scored(tmp_path, "floor", is_floor=True, miou=0.9, ece=0.0, new=9.0),
        make_scored(tmp_path, "a", miou=0.5, ece=0.2, new=1.0),
        make_scored(tmp_path, "b", miou=0.6, ece=0.3, new=2.0),
        make_scored(tmp_path, "c", miou=0.60004, new=2.0),
    ]
    table = comparison_table(runs, None)
    assert bold(table, "miou") == {"b", "c"}  # equal as printed
    assert bold(table, "ece") == {"a"}  # the lower the better
    assert bold(table, "new") == set()  # nobody told which way is better
    assert bold(comparison_table(runs[:2], None), "miou") == set()  # one competitor


def test_only_measured_costs_are_marked_under_load(tmp_path):
    costs = {"parameters": 1500, "latency_ms": 12.34, "under_load": True, "load_average": 4.26}
    table = comparison_table([make_scored(tmp_path, "a", miou=0.5, costs=costs)], None)
    cells = dict(zip([column.key for column in table.columns], table.rows[0].cells, strict=True))
    assert (cells["parameters"].text, cells["parameters"].note) == ("1.50 k", "")
    assert (cells["latency_ms"].text, cells["latency_ms"].note) == ("12.3", "measured under load: load average 4.3")
    assert (cells["fit_seconds"].text, cells["fit_seconds"].note) == (DASH, "")


def test_heat_table_marks_the_best_of_each_row():
    cells = heat_table(("car", "sky"), [{"car": 0.25, "sky": None}, {"car": 0.5}])
    assert [[(cell.text, cell.is_best) for cell in row] for row in cells] == [
        [("0.250", False), ("0.500", True)],
        [(DASH, False), (DASH, False)],
    ]


def test_counts_of_a_run_give_its_miou(tmp_path):
    make_run(tmp_path / "a", make_samples(6), skill=0.7)
    run = Run("a", tmp_path / "a")
    counts = read_counts([run])
    intersection, union = counts.intersection[0].sum(axis=0), counts.union[0].sum(axis=0)
    assert len(union) == LABELS.num_classes
    assert np.mean(intersection / union) == pytest.approx(run.scores["miou"], abs=1e-12)
