"""Semantic, instance and panoptic methods pass convert, train, evaluate and report without a branch on their kind."""

import json
from functools import partial

import cv2
import numpy as np
import pytest
import yaml

from pipeline import arrays, dataset_writer, inference
from pipeline.dataset import Dataset
from pipeline.models import NETWORKS
from pipeline.report.runs import read_csv
from pipeline.sources import Record, Source
from pipeline.structures import SURE, InstanceSet, PanopticMap, Sample, Segment
from stages import classical, evaluate, report, train
from tests.project import OWN, TRAIN, small_params
from tests.tiny import POLICY, SPACE

SPLITS = {"train": 8, "val": 3, "test": 3}
GROUND, SQUARE = SPACE.names.index("ground"), SPACE.names.index("square")


def scene(split: str, index: int) -> Sample:
    """Two squares of which the second lies over the first, and a crowd region; the whole first one is in `instances`."""
    rng = np.random.default_rng([len(split), index])
    masks = np.zeros((3, 48, 64), bool)
    y, x = rng.integers(4, 20), rng.integers(4, 30)
    masks[0, y : y + 16, x : x + 16] = True
    masks[1, y + 8 : y + 24, x + 8 : x + 24] = True
    masks[2, :3] = True
    segments = np.ones((48, 64), np.int32)
    for number, mask in enumerate(masks):
        segments[mask] = number + 2
    info = (Segment(1, GROUND), Segment(2, SQUARE), Segment(3, SQUARE), Segment(4, SQUARE, iscrowd=True))
    image = np.where(segments[..., None] == 1, 60, 190).astype(np.uint8) + rng.integers(0, 40, (48, 64, 3), dtype=np.uint8)
    objects = InstanceSet.build(masks, [SQUARE] * 3, iscrowd=[False, False, True])
    name = f"{split}_{index}"
    return Sample(name, split, name, image, PanopticMap(segments, info), objects)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with data and params in which the stages can run, and a network that the table has never seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_TRACKING", "off")
    monkeypatch.setitem(NETWORKS, "fake", "tests.fake_instance_network:FakeInstanceNetwork")
    records = tuple(
        Record(f"{split}_{index}", split, f"{split}_{index}", partial(scene, split, index))
        for split, count in SPLITS.items()
        for index in range(count)
    )
    written = dataset_writer.write(
        Source("overlapping", SPACE, records), "data/dataset", splits={}, seed=0, rules={}, origin={"files": {}}, workers=1
    )
    arrays.write(written, "data/train", short_side=24, policy=POLICY | {"zoom": [1.0, 1.0]})
    params = small_params()
    params["classical"] = {"kmeans": params["classical"]["kmeans"]}
    params["networks"] = {
        "semantic": {"fit": {"model": "fcn_plain", "options": {"widths": [4, 8]}, **TRAIN}, "predict": {"flip": True}},
        "instances": {"fit": {"model": "fake", "options": {"width": 4}, **TRAIN, "loss": OWN, "epochs": 4}, "predict": {}},
    }
    fusion = {"semantic": "semantic", "instance": "instances", "fit": {"method": "panoptic_fusion"}}
    params["fusions"] = {"panoptic": {**fusion, "predict": {"stuff_area_px": 16, "score_threshold": 0.1}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def test_every_kind_of_method_passes_the_line(project):
    classical.main(["kmeans"])
    for name in ("semantic", "instances"):
        train.main([name, "--workers", "0"])
    for name in ("kmeans", "semantic", "instances", "panoptic"):
        evaluate.main([name])
    report.main([])

    history = (project / "runs/instances/history.csv").read_text().splitlines()[0]
    assert history == "epoch,train_loss,val_loss,val_miou,val_mask_ap,learning_rate,train_mask,train_area"
    model = json.loads((project / "runs/instances/model/model.json").read_text())
    epochs = read_csv(project / "runs/instances/history.csv")
    chosen = max(epochs, key=lambda row: float(row["val_mask_ap"]))  # the first of equals, and its mIoU is not the best
    assert float(chosen["val_mask_ap"]) == pytest.approx(model["best_val_mask_ap"])
    assert int(chosen["epoch"]) == model["best_epoch"] != int(max(epochs, key=lambda row: float(row["val_miou"]))["epoch"])
    for name in ("kmeans", "semantic", "instances", "panoptic"):
        scores = json.loads((project / f"runs/{name}/metrics.json").read_text())
        assert 0 <= scores["miou"] <= 1 and 0 <= scores["boundary_iou"] <= 1 and 0 <= scores["boundary_f1"] <= 1
        assert all(0 <= scores[key] <= 1 for key in ("box_ap", "mask_ap", "mask_ap50", "mask_proposal_ar1000", "pq_things"))
        assert ("pq" in scores) == ("pq_stuff" in scores) == (name != "instances")  # it says nothing of stuff
        has_probabilities = name == "semantic"
        assert ("ece" in scores) == has_probabilities
        assert len((project / f"runs/{name}/reliability.csv").read_text().splitlines()) == (16 if has_probabilities else 1)
        samples = project / f"runs/{name}/samples"
        kept = [len(list(samples.glob(files))) for files in ("*.png", "truth/*.png", "beside_truth/*.jpg")]
        assert kept == [2, 2, 2]
        planes = {cv2.imread(str(file), cv2.IMREAD_UNCHANGED).shape[2] for file in samples.rglob("*.png")}
        assert planes == ({3} if name in ("kmeans", "semantic") else {4})  # class colours, or objects drawn over the photo
    page = (project / "report/index.html").read_text()
    assert all(name in page for name in ("kmeans", "semantic", "instances", "panoptic"))
    assert [page.count(f'alt="true {what}"') for what in ("classes", "objects")] == [2, 4]  # objects alone, and with stuff
    assert f"of score {SURE} and more" in page
    assert "multiply_adds" in json.loads((project / "runs/panoptic/cost.json").read_text())
    confusion = (project / "runs/instances/confusion.csv").read_text()
    assert "ground,ground," in confusion and "(nothing)" not in confusion  # the only stuff is where no object is


def test_overlapping_and_crowd_objects_reach_the_network(project):
    objects = Dataset(project / "data/dataset").sample("train", "train_0").instances
    assert len(objects) == 3 and (objects.masks[:2].sum(axis=0) == 2).any()
    assert objects.iscrowd.sum() == 1
    target = arrays.TrainingArrays(project / "data/train").split("train").target(0, with_instances=True)
    assert target.instances.masks.shape == (3, 24, 32) and (target.instances.masks[:2].sum(axis=0) == 2).any()


def test_a_fitted_method_needs_its_folder_only(project, tmp_path_factory):
    for name in ("semantic", "instances"):
        train.main([name, "--workers", "0"])
    evaluate.main(["panoptic"])
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "model"
    (project / "runs/panoptic/model").rename(elsewhere)
    image = scene("test", 0).image
    prediction = inference.load(elsewhere, predict={"stuff_area_px": 16, "score_threshold": 0.1}).segment(image)
    assert isinstance(prediction, PanopticMap) and prediction.shape == image.shape[:2]


def test_flip_needs_probabilities_and_says_so(project):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["networks"]["instances"]["predict"] = {"flip": True}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(ValueError, match=r"instances\.predict\.flip: network fake finds objects, without class probabilities"):
        train.main(["instances", "--workers", "0"])


def test_a_removed_method_leaves_the_report(project):
    classical.main(["kmeans"])
    train.main(["semantic", "--workers", "0"])
    evaluate.main(["kmeans"])
    evaluate.main(["semantic"])
    params = yaml.safe_load((project / "params.yaml").read_text())
    params |= {"networks": {}, "fusions": {}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    report.main([])
    page = (project / "report/index.html").read_text()
    assert "kmeans" in page and "semantic" not in page.split("</head>")[1].replace("semantic s", "")


@pytest.mark.parametrize("stage, name", [(train, "unte"), (classical, "otso"), (evaluate, "x")])
def test_a_stage_asked_for_an_unknown_method_lists_the_choices(project, stage, name):
    with pytest.raises(ValueError, match=f"{name}'; choose one of: "):
        stage.main([name])
