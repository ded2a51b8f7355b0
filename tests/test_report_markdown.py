"""The Markdown table: what it holds, and that it is one."""

import json

import pytest

from pipeline.report.compare import compare
from pipeline.report.markdown import markdown_table
from pipeline.report.runs import Run, read_counts
from pipeline.report.tables import comparison_table
from tests.fake_runs import make_run, make_samples


def lines_of(folder, *, groups: int | None, under_load: bool = False, classes=()) -> list[list[str]]:
    samples = make_samples(6, groups=groups)
    for key, skill in (("weak", 0.2), ("strong", 0.8)):
        make_run(folder / key, samples, skill=skill, under_load=under_load and key == "weak")
    runs = [Run(key, folder / key) for key in ("weak", "strong")]
    text = markdown_table(comparison_table(runs, compare(read_counts(runs), seed=0)), classes=classes)
    assert text.endswith("\n")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_line_per_method_with_scores_groups_and_costs(tmp_path):
    head, rule, *lines = lines_of(tmp_path, groups=2)
    assert head[:6] == ["Method", "mIoU", "95 % interval", "scene0", "scene1", "Pixel accuracy"]
    assert {"Parameters", "Multiply-adds", "Latency ms"} <= set(head)
    assert rule == ["---", *["---:"] * (len(head) - 1)] and all(len(line) == len(head) for line in lines)
    assert [line[0] for line in lines] == ["`strong`", "`weak`"]
    strong = Run("strong", tmp_path / "strong")
    assert lines[0][1] == f"**{strong.scores['miou']:.3f}**"
    assert lines[0][3:5] == [f"{strong.group_miou[group]:.3f}" for group in ("scene0", "scene1")]
    low, high = map(float, lines[0][2].split("–"))
    assert low < strong.scores["miou"] < high


def test_objects_and_segments_have_their_chief_scores_where_there_are_any(tmp_path):
    assert not {"Mask AP", "PQ"} & set(lines_of(tmp_path, groups=None)[0])
    runs = [Run(key, tmp_path / key) for key in ("weak", "strong")]
    path = runs[0].folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mask_ap": 0.25, "mask_ap_small": 0.1, "pq": 0.5}))
    head, _, strong, weak = [line.split(" | ") for line in markdown_table(comparison_table(runs, None)).splitlines()]
    assert head[3:6] == ["Pixel accuracy", "Mask AP", "PQ"]
    assert (weak[4:6], strong[4:6]) == (["0.250", "0.500"], ["–", "–"])


def test_many_groups_make_no_columns(tmp_path):
    head, *_ = lines_of(tmp_path, groups=None)  # each picture its own
    assert head[3] == "Pixel accuracy"


def test_what_was_measured_under_load_is_marked(tmp_path):
    head, _, strong, weak = lines_of(tmp_path, groups=2, under_load=True)
    latency = head.index("Latency ms")
    assert weak[latency].endswith("†") and not strong[latency].endswith("†")


def test_classes_take_the_place_of_the_costs(tmp_path):
    head, _, strong, _ = lines_of(tmp_path, groups=2, classes=["disc", "sky"])
    assert head[-2:] == ["disc", "sky"] and "Latency ms" not in head
    assert strong[-2:] == [f"{Run('strong', tmp_path / 'strong').class_iou[name]:.3f}" for name in ("disc", "sky")]


def test_a_class_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no class 'disk'; choose of: sky, ground, disc, box"):
        lines_of(tmp_path, groups=2, classes=["disk"])
