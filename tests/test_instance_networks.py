"""What networks that find objects share: their truth, bad input, losses that repeat, and a training that resumes exactly."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.label_space import LabelSpace
from pipeline.models import NETWORKS
from pipeline.models._instances import in_crowd, strided
from pipeline.models._network import Targets
from pipeline.structures import InstanceSet
from pipeline.table import look_up
from tests.networks import many_objects
from tests.project import OWN
from tests.test_training import FIT, StopAt, Stopped, StopWhileValidating, assert_same, train
from tests.tiny import POLICY, training_arrays

# stuff before, between and behind the things
SPACE = LabelSpace(("ground", "box", "sky", "ball", "sea"), ((0, 0, 0),) * 5, (False, True, False, True, False))
LITE0 = {"encoder": "tf_efficientnet_lite0", "pretrained": False, "width": 16}
PROPOSALS = {
    "patch_px": 32,
    "rank": 16,
    "mask_px": 8,
    "score_width": 8,
    "patches": 4,
    "scales": [0.5, 1.0],
    "most_objects": 100,
}
SMALL = {
    "deepmask": LITE0 | PROPOSALS,
    "mask_rcnn": LITE0
    | {"train_proposals": 100, "proposals": 50, "sampled_proposals": 32, "box_width": 16, "mask_widths": [8, 8]},
    "sharpmask": LITE0 | PROPOSALS,
    "panoptic_fpn": LITE0
    | {"train_proposals": 100, "proposals": 50, "sampled_proposals": 32, "box_width": 16, "mask_widths": [8, 8]}
    | {"semantic_width": 8},
    "yolact": LITE0 | {"freeze_norm": True, "prototypes": 8},
}
AGNOSTIC = {"deepmask", "sharpmask"}  # every object found is of the first class
every_network = pytest.mark.parametrize("name", SMALL)
HEIGHT, WIDTH = 64, 96


def build(name, *, label_space=SPACE, **options):
    torch.manual_seed(0)
    return look_up(NETWORKS, name, kind="network")(label_space, **(SMALL[name] | options))


def rectangles(*boxes) -> np.ndarray:
    """(N, HEIGHT, WIDTH) masks from x0, y0, x1, y1."""
    masks = np.zeros((len(boxes), HEIGHT, WIDTH), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def losses_of(network, *objects: InstanceSet) -> dict[str, float]:
    """Of pictures with these objects, in evaluation mode, where nothing is drawn anew."""
    targets = Targets(torch.zeros(len(objects), HEIGHT, WIDTH, dtype=torch.int64), objects)
    with torch.no_grad():
        return {name: loss.item() for name, loss in network.eval().losses(pictures(len(objects)), targets).items()}


def objects_of(network, count: int = 2) -> list[InstanceSet]:
    """All objects that it finds in the pictures, before any are painted."""
    with torch.no_grad():
        return [getattr(prediction, "objects", prediction) for prediction in network.predict(pictures(count))]


TWO = InstanceSet.build(rectangles((4, 8, 40, 56), (50, 0, 96, 30)), [1, 3])


@every_network
def test_predictions_are_things_in_the_order_of_their_scores(name):
    network = build(name, score_threshold=0.0).eval()
    for found in objects_of(network):
        assert found.shape == (HEIGHT, WIDTH) and 0 < len(found) <= 100
        assert set(found.classes) <= ({1} if name in AGNOSTIC else {1, 3}) and found.masks.any(axis=(1, 2)).all()
        assert (np.diff(found.scores) <= 0).all() and 0 <= found.scores.min() <= found.scores.max() <= 1


@every_network
def test_nothing_is_found_where_no_score_is_high_enough(name):
    network = build(name, score_threshold=1.0).eval()
    assert [found.masks.shape for found in objects_of(network)] == [(0, HEIGHT, WIDTH)] * 2


@every_network
def test_at_most_so_many_objects(name):
    network = build(name, score_threshold=0.0, most_objects=3).eval()
    assert all(len(found) <= 3 for found in objects_of(network))


@every_network
@pytest.mark.parametrize(
    "objects",
    [
        InstanceSet.empty(HEIGHT, WIDTH),
        InstanceSet.build(rectangles((7, 9, 8, 10)), [3]),
        InstanceSet.build(rectangles((0, 0, WIDTH, HEIGHT)), [1]),
        InstanceSet.build(rectangles((0, 0, 40, 40), (0, 0, 40, 40), (10, 10, 60, 60)), [1, 3, 1]),
        InstanceSet.build(rectangles((0, 0, WIDTH, HEIGHT)), [1], iscrowd=[True]),
        many_objects(HEIGHT, WIDTH, classes=(1, 3)),
    ],
    ids=["none", "one pixel", "the whole picture", "overlapping", "a crowd alone", "more than 255"],
)
def test_any_objects_train(name, objects):
    network = build(name).train()
    targets = Targets(torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64), (objects, InstanceSet.empty(HEIGHT, WIDTH)))
    losses = network.losses(pictures(), targets)
    assert all(loss.isfinite() and loss >= 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)


@every_network
def test_an_object_that_a_cut_has_emptied_is_none(name):
    network = build(name)
    emptied = InstanceSet.build(np.concatenate([TWO.masks[:1], rectangles((5, 5, 5, 5)), TWO.masks[1:]]), [1, 3, 3])
    assert losses_of(network, emptied) == losses_of(network, TWO)


def test_what_lies_in_a_crowd():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [4, 0, 14, 10], [20, 20, 30, 30]])
    crowd = torch.tensor([[0.0, 0, 10, 10], [30, 0, 40, 40]])  # shares 1, 0.5, 0.6 and 0
    assert in_crowd(boxes, crowd).tolist() == [True, False, False, False]
    assert in_crowd(boxes, torch.tensor([[-5.0, -5, 13, 15]])).tolist() == [True, True, True, False]  # 1, 0.75, 0.9, 0
    assert not in_crowd(boxes, torch.zeros(0, 4)).any()


@every_network
def test_the_order_of_the_things_is_that_of_the_classes(name):
    network = build(name)
    truth = network._truth(InstanceSet.build(rectangles((0, 0, 5, 5), (9, 1, 12, 8)), [3, 1]), torch.device("cpu"))
    assert truth["labels"].tolist() == [2, 1]
    assert truth["boxes"].tolist() == [[0, 0, 5, 5], [9, 1, 12, 8]] and truth["crowd"].shape == (0, 4)


@every_network
def test_validation_repeats_and_leaves_what_is_drawn_alone(name):
    network = build(name).eval()
    targets = Targets(torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64), (TWO, many_objects(HEIGHT, WIDTH, classes=(1, 3))))
    with torch.no_grad():
        torch.manual_seed(5)
        first, _ = network.assess(pictures(), targets)
        drawn = torch.rand(3)
        torch.manual_seed(6)
        again, _ = network.assess(pictures(), targets)
    torch.manual_seed(5)
    assert first == again and torch.equal(drawn, torch.rand(3))


@every_network
def test_data_without_things_are_refused(name):
    stuff = LabelSpace(("sky", "sea"), ((0, 0, 0),) * 2, (False, False))
    with pytest.raises(ValueError, match="finds things, and none of sky, sea is one; choose a semantic network"):
        build(name, label_space=stuff)


@pytest.mark.parametrize("name", ["mask_rcnn", "yolact"])
@pytest.mark.parametrize(
    "options, message", [({"anchor_sizes": [8, 16]}, r"anchor_sizes: \[8, 16\] for a pyramid of 5 levels")]
)
def test_options_that_do_not_fit_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)


@pytest.mark.parametrize("strides", [(2, 4, 8, 16, 32), (4, 8, 16, 32)])
def test_a_pyramid_stands_on_the_maps_from_a_stride_on(strides):
    encoder = SimpleNamespace(strides=strides)
    assert [strides[place] for place in strided(encoder, first=4)] == [4, 8, 16, 32]
    assert [strides[place] for place in strided(encoder, first=8)] == [8, 16, 32]


@pytest.mark.parametrize("strides", [(2, 4, 6, 12), (2, 4, 16, 32), (2,)])
def test_an_encoder_without_such_maps_is_refused(strides):
    with pytest.raises(ValueError, match=r"a pyramid needs maps of stride 4, 8 \.\.\.; the encoder has \[2"):
        strided(SimpleNamespace(strides=strides), first=4)


@every_network
def test_frozen_normalisation_stays_as_it_is_and_else_it_moves(name):
    for is_frozen in (True, False):
        network = build(name, freeze_norm=is_frozen).train()
        before = {key: tensor.clone() for key, tensor in network.encoder.state_dict().items() if "running" in key}
        losses = network.losses(pictures(), Targets(torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64), (TWO, TWO)))
        sum(losses.values()).backward()
        after = network.encoder.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before) == is_frozen
        assert all(
            (parameter.grad is None) == is_frozen for key, parameter in network.encoder.named_parameters() if "bn" in key
        )


@every_network
def test_only_the_encoder_and_the_pyramid_are_compiled(name):
    network = build(name)
    network.compile(backend="eager")
    compiled = [key for key, module in network.named_modules() if module._compiled_call_impl is not None]
    assert compiled == (["encoder"] if name in AGNOSTIC else ["encoder", "pyramid"])


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    torch.set_num_threads(1)
    return training_arrays(tmp_path_factory.mktemp("tiny"), train=5, val=2, policy=POLICY | {"crop": [32, 32]})


def fit_of(name) -> dict:
    """Two epochs of three steps; normalisation is trained, so that it has state too."""
    training = {"average": 0.9, "clip_norm": 1.0}
    options = SMALL[name] | {"freeze_norm": False}
    return FIT | {"model": name, "options": options, "loss": OWN, "epochs": 2, "batch_size": 2, "training": training}


@pytest.fixture(scope="module")
def unstopped(arrays, tmp_path_factory):
    return {name: train(arrays, tmp_path_factory.mktemp(name), fit=fit_of(name)) for name in SMALL}


@every_network
@pytest.mark.parametrize(
    "watch",
    [
        pytest.param(StopAt(2), id="2", marks=pytest.mark.slow),
        pytest.param(StopAt(3), id="3"),
        pytest.param(StopAt(5), id="5", marks=pytest.mark.slow),
        pytest.param(StopWhileValidating(), id="validation", marks=pytest.mark.slow),
    ],
)
def test_resuming_equals_not_stopping(arrays, unstopped, tmp_path, name, watch):
    with pytest.raises(Stopped):
        train(arrays, tmp_path, fit=fit_of(name), watch=watch)
    weights, progress = train(arrays, tmp_path, fit=fit_of(name), workers=2)
    assert_same(weights, unstopped[name][0])
    assert progress.history == unstopped[name][1].history


def test_the_losses_stand_in_the_history_one_by_one(unstopped):
    parts = {
        name: [key for key in progress.history[0] if key.startswith("train_")] for name, (_, progress) in unstopped.items()
    }
    assert parts == {
        "deepmask": ["train_loss", "train_mask", "train_score"],
        "sharpmask": ["train_loss", "train_mask", "train_coarse", "train_score"],
        "mask_rcnn": ["train_loss", *(f"train_{part}" for part in ("objectness", "proposal_box", "class", "box", "mask"))],
        "panoptic_fpn": [
            "train_loss",
            *(f"train_{part}" for part in ("objectness", "proposal_box", "class", "box", "mask", "semantic")),
        ],
        "yolact": ["train_loss", *(f"train_{part}" for part in ("class", "box", "mask", "semantic"))],
    }


@every_network
@pytest.mark.parametrize(("option", "value"), [("score_threshold", 1.5), ("nms_threshold", -0.1), ("most_objects", 0)])
def test_limits_that_make_no_sense_are_refused(name, option, value):
    with pytest.raises(ValueError, match=f"{option}: {value}; give"):
        build(name, **{option: value})
