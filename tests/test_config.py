"""params.yaml is checked whole, and every fault is one line that says where, what and what to do."""

import copy
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline import check, config
from pipeline.datasets import READERS
from tests.project import OWN

ROOT = Path(__file__).parent.parent
CONTENT = yaml.safe_load((ROOT / "presets/shapes.yaml").read_text())


def faults_of(tmp_path, change) -> str:
    content = copy.deepcopy(CONTENT)
    change(content)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError) as caught:
        check.load_params(path)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.name)
def test_every_preset_is_valid(path):
    assert check.load_params(path).methods


def test_the_committed_default_is_the_shapes_preset():
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip("not a git checkout")
    assert shown.stdout == (ROOT / "presets/shapes.yaml").read_text()


def test_sections_are_frozen():
    params = config.load(ROOT / "presets/shapes.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.seed = 1


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c["networks"]["unet"]["fit"].update(epoch=3), "networks.unet.fit.epoch: unknown key; did you mean epochs?"),
        (lambda c: c.update(sed=3), "sed: unknown key; did you mean seed?"),
        (lambda c: c["augment"]["policy"].update(blur=1), "augment.policy.blur: unknown key; known here: horizontal_flip"),
        (lambda c: c.pop("evaluate"), "evaluate: missing"),
        (lambda c: c.update(seed="0"), "seed: '0': input should be a valid integer"),
        (lambda c: c["networks"]["unet"]["fit"]["optimizer"].update(learning_rate="1e-3"), "write 0.001 or 1.0e-3"),
        (lambda c: c["networks"]["unet"]["fit"]["optimizer"].update(learning_rate=-0.1), "greater than 0"),
        (lambda c: c["networks"]["unet"]["fit"]["optimizer"].update(name="adamm"), "'adam', 'adamw' or 'sgd'"),
        (lambda c: c["dataset"]["splits"].update(train=0.9), "dataset.splits: 0.9 + 0.15 + 0.15 is not 1"),
        (
            lambda c: c["dataset"].update(reader="shape"),
            f"unknown reader 'shape'; choose one of: {', '.join(READERS)}. Did you mean",
        ),
        (lambda c: c["dataset"].update(source="https://host/x.zip"), "is an address that DVC cannot watch (s3://, "),
        (
            lambda c: c["dataset"]["options"].update(trian=3),
            "dataset.options.trian: reader shapes has no such option; it takes: ",
        ),
        (
            lambda c: c["classical"]["otsu"]["fit"].update(method="otso"),
            "unknown classical method 'otso'; choose one of: adaptive_threshold",
        ),
        (lambda c: c["classical"]["kmeans"]["fit"]["options"].update(k=3), "kmeans has no such option; it takes: clusters"),
        (lambda c: c["networks"]["unet"]["fit"].update(model="unte"), "unknown network 'unte'; choose one of: deeplabv1, "),
        (
            lambda c: c["networks"]["unet"]["fit"]["options"].update(widht=3),
            "network unet has no such option; it takes: batch_norm",
        ),
        (
            lambda c: c["networks"]["unet_encoder"]["fit"]["options"].pop("encoder"),
            "options.encoder: missing; network unet_encoder",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"]["loss"][0].update(name="dise"),
            "unknown loss 'dise'; choose one of: balanced_cross_entropy, ",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"]["loss"][0].update(weight=[1.0, 0.5, 0.0]),
            "fit.loss.0.weight: [1.0, 0.5, 0.0]: value error, give a number, or [first, last] to go from one to the other",
        ),
        (lambda c: c["networks"]["unet"]["fit"]["loss"][0].update(weight="1e-3"), "(YAML reads 1e-3 as text"),
        (
            lambda c: c["networks"]["unet"]["fit"]["loss"][0].update(name="focal", options={"gamma": "2"}),
            "loss.0.options.gamma: '2' is no float",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"]["schedule"]["options"].update(power=1),
            "schedule one_cycle has no such option",
        ),
        (
            lambda c: c["networks"]["unet"]["predict"].update(flipp=True),
            "prediction segment has no such option; it takes: flip, instances, overlap, painting, postprocess, scales, window",
        ),
        (
            lambda c: c["networks"]["unet"]["predict"].update(painting={"stuff_area": 9}),
            "predict.painting.stuff_area: entry painting has no such option; it takes: overlap_threshold, score_threshold, "
            "stuff_area_px. Did you mean stuff_area_px?",
        ),
        (
            lambda c: c["networks"]["unet"]["predict"].update(painting={}),
            "networks.unet.predict.painting: is for a network of things and stuff, which unet is not; leave it out",
        ),
        (
            lambda c: c["networks"]["unet"]["predict"].update(instances="component"),
            "networks.unet.predict.instances: unknown division 'component'; choose one of: components, watershed. Did you mean",
        ),
        (
            lambda c: c["classical"]["otsu"]["predict"].update(instances={"name": "watershed", "options": {"nek": 0.5}}),
            "predict.instances.options.nek: division watershed has no such option; it takes: area_px, neck. Did you mean neck?",
        ),
        (
            lambda c: c["classical"]["otsu"]["predict"].update(instances=3),
            "classical.otsu.predict.instances: 3 is no str | dict | None",
        ),
        (
            lambda c: c["classical"]["otsu"]["predict"].update(flip=True),
            "classical.otsu.predict.flip: prediction classical has no such option; it takes: instances",
        ),
        (
            lambda c: c["networks"]["unet"]["predict"].update(postprocess=["dense_crff"]),
            "predict.postprocess.0: unknown post-process 'dense_crff'; choose one of: dense_crf",
        ),
        (
            lambda c: c["networks"]["unet"]["predict"].update(postprocess=[{"name": "dense_crf", "options": {"steps": 3}}]),
            "predict.postprocess.0.options.steps: post-process dense_crf has no such option; it takes: ",
        ),
        (
            lambda c: c["networks"]["unet"]["predict"].update(postprocess=[{"dense_crf": 3}]),
            "predict.postprocess.0: {'dense_crf': 3} is neither a name nor a mapping with name and options",
        ),
        (lambda c: c["gate"]["rules"].update(all_viod="warning"), "unknown rule 'all_viod'; choose one of: "),
        (lambda c: c["networks"].update(otsu=c["networks"]["unet"]), "otsu: stands in two sections"),
        (lambda c: c["networks"]["unet"]["fit"]["options"].update(width="16"), "options.width: '16' is no int (YAML reads"),
        (
            lambda c: c["networks"]["unet_encoder"]["fit"]["options"].update(pretrained=3),
            "pretrained: 3 is no bool | str",
        ),
        (lambda c: c["networks"]["fcn_plain"]["fit"]["options"].update(widths=16), "options.widths: 16 is no Sequence[int]"),
        (
            lambda c: c["networks"]["unet"]["fit"]["optimizer"]["options"].update(wieght_decay=0.1),
            "optimizer adamw has no such option; it takes: amsgrad, betas, eps, weight_decay",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"]["optimizer"]["options"].update(weight_decay="1e-3"),
            "weight_decay: '1e-3' is no float (YAML reads 1e-3 as text",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"]["loss"].append(c["networks"]["unet"]["fit"]["loss"][0]),
            "networks.unet.fit.loss: cross_entropy stands there twice",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"].update(loss=OWN),
            "networks.unet.fit.loss: network unet has no losses of its own; name another, such as cross_entropy",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"]["loss"].append(OWN[0]),
            "networks.unet.fit.loss: network unet has no losses of its own",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"].update(model="mask_rcnn", options={}),
            "networks.unet.fit.loss: network mask_rcnn has all its losses itself, and their weights; write loss: "
            "[{name: own, weight: 1.0, options: {}}]",
        ),
        (
            lambda c: c["networks"]["unet"]["fit"].update(model="yolact", options={}, loss=[OWN[0] | {"weight": 2.0}]),
            "networks.unet.fit.loss: network yolact has all its losses itself, and their weights",
        ),
        (lambda c: c["networks"].update({"-h": c["networks"]["unet"]}), "no - first"),
        (lambda c: c["networks"].update({"a/b": c["networks"]["unet"]}), "use letters, digits, _ and - only"),
        (
            lambda c: c["fusions"].update(
                both={"semantic": "unet", "instance": "x", "fit": {"method": "panoptic_fusion"}, "predict": {}}
            ),
            "fusions.both.instance: no method 'x'; choose one of: felzenszwalb, kmeans, majority_class",
        ),
    ],
)
def test_a_fault_is_named_with_place_and_choices(tmp_path, change, message):
    assert message in faults_of(tmp_path, change)


def test_a_weight_that_changes_is_two_numbers(tmp_path):
    content = copy.deepcopy(CONTENT)
    content["networks"]["unet"]["fit"]["loss"][0]["weight"] = [1, 0.01]
    loss = config.check(content, where="here").networks["unet"].fit.loss[0]
    assert loss.weight == [1.0, 0.01]


def test_all_faults_come_at_once(tmp_path):
    def change(content):
        content["networks"]["unet"]["fit"]["options"]["widht"] = 3
        content["classical"]["otsu"]["fit"]["method"] = "otso"

    assert len(faults_of(tmp_path, change).splitlines()) == 2


def test_a_source_that_is_not_there_is_named(tmp_path, capsys):
    content = copy.deepcopy(CONTENT)
    content["dataset"]["source"] = "nowhere.zip"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    assert check.main([str(path)]) == 1
    assert "dataset.source: nowhere.zip: no such file or folder; put it there" in capsys.readouterr().err


def test_an_address_that_dvc_watches_may_be_the_source(tmp_path, capsys):
    content = copy.deepcopy(CONTENT)
    content["dataset"]["source"] = "s3://bucket/photos"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    assert check.main([str(path)]) == 0
    assert "no fault" in capsys.readouterr().out


def test_a_source_that_dvc_tracks_is_to_be_pulled(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = copy.deepcopy(CONTENT)
    content["dataset"]["source"] = "own"
    (tmp_path / "own.dvc").touch()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    assert check.main([]) == 1
    assert "own: no such file or folder; DVC tracks it (own.dvc): dvc pull" in capsys.readouterr().err


def test_no_yaml_is_one_clear_error(tmp_path):
    (tmp_path / "params.yaml").write_text("seed: [1")
    with pytest.raises(ValueError, match=r"params\.yaml: not valid YAML"):
        config.load(tmp_path / "params.yaml")
    with pytest.raises(ValueError, match="no such file; copy one from presets/"):
        config.load(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("option", "value"),
    [("flip", True), ("window", 64), ("scales", [0.5, 1.0]), ("postprocess", ["dense_crf"]), ("painting", {})],
)
def test_what_only_class_probabilities_allow_is_refused_before_objects_are_trained(tmp_path, option, value):
    content = yaml.safe_load((ROOT / "presets/penn_fudan_instances.yaml").read_text())
    content["networks"]["mask_rcnn"]["predict"][option] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=rf"networks\.mask_rcnn\.predict\.{option}: .*; leave it out$"):
        check.load_params(tmp_path / "params.yaml")
    content["networks"]["mask_rcnn"]["predict"] = {"flip": False, "window": None, "scales": [1], "postprocess": []}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    check.load_params(tmp_path / "params.yaml")
