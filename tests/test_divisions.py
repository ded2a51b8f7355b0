"""Things without an instance network: a semantic map divided, by hand and through the stages."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pipeline import dataset_writer, inference
from pipeline.postprocess import DIVISIONS
from pipeline.postprocess.components import components
from pipeline.postprocess.watershed import watershed
from pipeline.sources import Record, Source
from pipeline.structures import LabelSpace, SemanticMap
from pipeline.table import look_up
from stages import classical, evaluate
from tests.project import small_params
from tests.tiny import SPACE as TINY
from tests.tiny import TinyDataset

SPACE = LabelSpace(("ground", "disc", "box"), ((0, 0, 0),) * 3, (False, True, True))
VOID = SPACE.void


def discs(*centres, radius=10, shape=(40, 90)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    for centre in centres:
        cv2.circle(labels, centre, radius, 1, -1)
    return labels


def test_what_touches_is_one_thing_and_stuff_is_one_segment():
    labels = np.array(
        [
            [1, 0, 1, 1],
            [0, 1, 0, 2],
            [2, 0, VOID, 0],
        ],
        np.uint8,
    )
    found = components(SemanticMap(labels), label_space=SPACE)
    # disc: both upper parts hang together at corners; boxes do not
    assert found.segments.tolist() == [[2, 1, 2, 2], [1, 2, 1, 3], [4, 1, 0, 1]]
    assert [(one.category, one.score) for one in found.info] == [(0, 1.0), (1, 4 / 12), (2, 1 / 12), (2, 1 / 12)]
    assert np.array_equal(found.semantic(SPACE), labels)


def test_a_things_score_is_the_mean_probability_of_its_class():
    labels = np.array([[1, 1, 0, 1]], np.uint8)
    disc = np.array([[0.5, 0.75, 0.25, 1.0]], np.float32)
    given = SemanticMap(labels, np.stack([1 - disc, disc, 0 * disc]))
    found = components(given, label_space=SPACE)
    assert [(one.category, one.score) for one in found.info] == [(0, 1.0), (1, 0.625), (1, 1.0)]
    sure = np.float32(1) + np.finfo(np.float32).eps  # rounding may exceed 1
    found = components(SemanticMap(labels, np.full((3, 1, 4), sure)), label_space=SPACE)
    assert max(one.score for one in found.info) == 1


def test_small_things_become_nothing_and_stuff_stays():
    labels = np.array([[1, 1, 0, 2, 0, 1]], np.uint8)
    found = components(SemanticMap(labels), label_space=SPACE, area_px=2)
    assert found.segments.tolist() == [[2, 2, 1, 0, 1, 0]]
    assert [one.category for one in found.info] == [0, 1]


@pytest.mark.parametrize("name", DIVISIONS)
@pytest.mark.parametrize("value", [0, 1, VOID])
def test_one_value_everywhere(name, value):
    divide = look_up(DIVISIONS, name, kind="division")
    for shape in ((1, 1), (9, 13)):
        found = divide(SemanticMap(np.full(shape, value, np.uint8)), label_space=SPACE)
        assert [one.category for one in found.info] == ([] if value == VOID else [value])
        assert (found.segments == len(found.info)).all()


def test_discs_that_touch_come_apart_and_each_keeps_its_pixels():
    labels = discs((20, 20), (37, 20), (70, 20))
    assert components(SemanticMap(labels), label_space=SPACE).segments.max() == 3  # ground, two, one
    found = watershed(SemanticMap(labels), label_space=SPACE)
    things = found.instances(SPACE)
    assert len(things) == 3
    assert np.array_equal(things.masks.sum(axis=0), labels == 1)
    for centre in ((20, 20), (37, 20), (70, 20)):
        alone = discs(centre) == 1
        overlaps = [np.count_nonzero(mask & alone) / np.count_nonzero(mask | alone) for mask in things.masks]
        assert sorted(overlaps)[-1] > 0.9


@pytest.mark.parametrize(("neck", "parts"), [(0.0, 1), (0.5, 1), (0.7, 2), (0.9, 2)])
def test_a_neck_is_cut_where_it_is_narrower_than_asked(neck, parts):
    labels = np.zeros((40, 80), np.uint8)
    labels[10:31, 5:26] = labels[10:31, 50:71] = 1  # 21 px wide, a passage of 13 px between: 0.62 of it
    labels[14:27, 26:50] = 1
    found = watershed(SemanticMap(labels), label_space=SPACE, neck=neck)
    assert len(found.instances(SPACE)) == parts


def test_what_hangs_on_a_corner_goes_with_the_thing_it_hangs_on():
    labels = np.zeros((40, 70), np.uint8)
    labels[10:31, 5:26] = labels[10:31, 40:61] = labels[17:24, 26:40] = labels[31, 61] = labels[9, 4] = 1
    segments = watershed(SemanticMap(labels), label_space=SPACE).segments
    assert segments[31, 61] == segments[20, 50] != segments[20, 15] == segments[9, 4]


def test_bars_and_thin_lines_stay_whole():
    labels = np.zeros((60, 60), np.uint8)
    labels[3:8, 2:58] = 1
    labels[20, 2:58] = 1
    cv2.line(labels, (5, 30), (55, 55), 1, 4)
    assert len(watershed(SemanticMap(labels), label_space=SPACE).instances(SPACE)) == 3


def test_classes_are_cut_each_on_its_own():
    labels = discs((20, 20), (37, 20))
    labels[:, 48:] = 2
    found = watershed(SemanticMap(labels), label_space=SPACE)
    assert sorted(one.category for one in found.info) == [0, 1, 1, 2]
    assert np.array_equal(found.semantic(SPACE), labels)


def test_no_number_of_things_is_too_large():
    labels = np.zeros((120, 120), np.uint8)
    labels[::2, ::2] = 1
    found = components(SemanticMap(labels), label_space=SPACE)
    assert len(found.info) == 3601 and len(np.unique(found.segments)) == 3601


def test_a_share_outside_is_refused():
    with pytest.raises(ValueError, match=r"neck is 1\.5, wanted a share of the width from 0 to 1"):
        watershed(SemanticMap(discs((20, 20))), label_space=SPACE, neck=1.5)


def test_a_cropped_map_keeps_its_things_and_a_resized_one_does_not():
    labels = discs((20, 20), (70, 20))
    given = replace(SemanticMap(labels), divided=components(SemanticMap(labels), label_space=SPACE))
    assert len(given.cropped(40, 40).divided.instances(SPACE)) == 1
    assert given.resized(20, 45).divided is None and given.resized(40, 90) is given
    with pytest.raises(ValueError, match=r"divided is \(40, 90\), wanted \(1, 1\)"):
        SemanticMap(np.zeros((1, 1), np.uint8), divided=given.divided)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A data set with things, and one classical method to fit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_TRACKING", "off")
    tiny = TinyDataset(counts={"train": 6, "val": 2, "test": 3})
    records = tuple(
        Record(one, split, one, partial(tiny.sample, split, one)) for split in tiny.counts for one in tiny.ids(split)
    )
    dataset_writer.write(
        Source("tiny", TINY, records), "data/dataset", splits={}, seed=0, rules={}, origin={"files": {}}, workers=1
    )
    params = small_params() | {"networks": {}}

    def scored(**predict) -> dict[str, float]:
        params["classical"] = {name: {**params["classical"][name], "predict": predict} for name in ("majority_class", "kmeans")}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        scores = {}
        for name in params["classical"]:
            classical.main([name])
            evaluate.main([name])
            scores[name] = json.loads((tmp_path / f"runs/{name}/metrics.json").read_text())
        return scores

    return scored


def test_a_classical_method_has_scores_of_instances_and_segments(project):
    scores = project()
    assert scores["kmeans"]["mask_ap50"] > scores["majority_class"]["mask_ap50"] == 0
    assert scores["kmeans"]["pq"] > scores["majority_class"]["pq"] > 0  # the floor has the ground
    assert {"box_ap", "mask_ap", "sq", "rq", "pq_things", "pq_stuff"} <= scores["kmeans"].keys()
    assert json.loads(Path("runs/kmeans/predict.json").read_text())["options"] == {
        "instances": {"name": "components", "options": {}}
    }
    assert Path("runs/kmeans/instances.csv").read_text().startswith("class,box_ap,box_ap50")
    assert len(Path("runs/kmeans/panoptic.csv").read_text().splitlines()) == 4


def test_the_option_says_how_or_not_at_all(project):
    as_default, dropped = project(), project(instances={"name": "components", "options": {"area_px": 10_000}})
    assert dropped["kmeans"]["mask_ap"] == 0 < as_default["kmeans"]["mask_ap"]
    assert {name: dropped["kmeans"][name] for name in ("miou", "pq_stuff")} == {
        name: as_default["kmeans"][name] for name in ("miou", "pq_stuff")
    }
    without = project(instances=None)["kmeans"]
    assert "miou" in without and not {"mask_ap", "pq"} & without.keys()
    assert Path("runs/kmeans/panoptic.csv").read_text() == "class,pq,sq,rq,found,wrong,missed\n"
    apart = project(instances="watershed")["kmeans"]
    assert 0 < apart["pq_things"] <= 1 and apart["miou"] == as_default["kmeans"]["miou"]


def test_segment_itself_divides_nothing(project):
    project()
    method = inference.load("runs/kmeans/model", predict={"instances": "watershed"})
    image = TinyDataset(counts={"test": 1}).sample("test", "test_0").image
    prediction = method.segment(image)
    assert prediction.divided is None and method.divided(prediction).divided is not None
