"""Panoptic FPN: its semantic head and loss by hand, Mask R-CNN in it, what is painted, and data without stuff or labels."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline import evaluation, inference
from pipeline.models._network import Targets
from pipeline.models.mask_rcnn import MaskRCNN
from pipeline.models.panoptic_fpn import IGNORED, OTHER, PanopticFPN, SemanticHead, semantic_loss
from pipeline.structures import InstanceSet, PanopticMap
from pipeline.training import fit
from tests import tiny
from tests.networks import count, mixed, published, space
from tests.test_instance_networks import HEIGHT, SMALL, SPACE, TWO, WIDTH, build, losses_of, pictures

THINGS = space(2, isthing=True)
FIVE = {"objectness", "proposal_box", "class", "box", "mask"}


def targets(labels: torch.Tensor, objects: InstanceSet = TWO) -> Targets:
    return Targets(labels, (objects,) * len(labels))


def test_the_published_semantic_head_has_as_many_parameters():
    network = published(PanopticFPN, num_classes=3, isthing=True)
    assert network.semantic is None and count(network) == count(published(MaskRCNN, num_classes=3, isthing=True))
    with torch.device("meta"):
        network = PanopticFPN(mixed(4), pretrained=False)
    # a convolution on each level, one more for stride 16 and two for stride 32; scale and shift of the norms; other and stuff
    wanted = 4 * 256 * 128 * 9 + 3 * 128 * 128 * 9 + 7 * 2 * 128 + (128 + 1) * 2
    assert count(network.semantic) == wanted


def test_the_head_is_that_of_figure_3():
    torch.manual_seed(0)
    head = SemanticHead(levels=3, inputs=3, width=8, outputs=2)
    for parameter in head.parameters():
        parameter.data.normal_()
    maps = [torch.randn(2, 3, 8 // 2**level, 12 // 2**level) for level in range(3)]
    total = 0
    for level, features in enumerate(maps):
        layers = [layer for layer in head.paths[level] if list(layer.parameters())]
        for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
            features = F.conv2d(features, convolution.weight, padding=1)
            groups = features.unflatten(1, (2, 4)).double()  # 8 channels, 4 in a group
            mean = groups.mean(dim=(2, 3, 4), keepdim=True)
            variance = ((groups - mean) ** 2).mean(dim=(2, 3, 4), keepdim=True)
            features = ((groups - mean) / (variance + 1e-5).sqrt()).flatten(1, 2).float()
            features = (features * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)
            if level:
                features = F.interpolate(features, scale_factor=2, mode="bilinear")
        assert len(layers) == 2 * max(1, level)
        total = total + features
    logits = F.conv2d(total, head.logits.weight, head.logits.bias)
    torch.testing.assert_close(head(maps, (32, 48)), F.interpolate(logits, scale_factor=4, mode="bilinear"))


def test_the_loss_is_a_mean_over_labelled_pixels():
    logits = torch.tensor([[[[0.0, 2.0, 9.0]], [[0.0, 0.0, -9.0]]]])
    labels = torch.tensor([[[1, 0, IGNORED]]])
    # log(1 + 1) of the first, log(1 + exp(-2)) of the second
    assert semantic_loss(logits, labels).item() == pytest.approx((np.log(2) + np.log1p(np.exp(-2))) / 2)
    nothing = semantic_loss(logits.requires_grad_(), torch.full_like(labels, IGNORED))
    nothing.backward()
    assert nothing == 0 and not logits.grad.any()


def test_things_are_one_class_of_the_semantic_head_and_void_is_none():
    network = build("panoptic_fpn")
    assert network.wanted[:5].tolist() == [1, OTHER, 2, OTHER, 3]  # ground, box, sky, ball, sea
    assert (network.wanted[5:] == IGNORED).all() and len(network.wanted) == 256
    assert network.classes.tolist() == [255, 0, 2, 4]


def test_void_pixels_count_nowhere_in_the_semantic_loss():
    network = build("panoptic_fpn", semantic_weight=1.0).eval()
    labels = torch.randint(0, 5, (2, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(2))
    labels[:, :40] = 255
    labels[1] = 255
    seen = []
    network.semantic.register_forward_hook(lambda _, __, logits: seen.append(logits))
    with torch.no_grad():
        loss = network.losses(pictures(), targets(labels))["semantic"]
    wanted = F.cross_entropy(seen[0][:1, :, 40:], torch.tensor([1, 0, 2, 0, 3])[labels[:1, 40:]])
    torch.testing.assert_close(loss, wanted)


def test_a_picture_whose_truth_is_all_void_trains_the_proposals_alone():
    network = build("panoptic_fpn").train()
    nothing = torch.full((1, HEIGHT, WIDTH), 255)
    losses = network.losses(pictures(1), targets(nothing, InstanceSet.empty(HEIGHT, WIDTH)))
    assert set(losses) == {*FIVE, "semantic"} and all(loss.isfinite() for loss in losses.values())
    assert losses["semantic"] == losses["mask"] == losses["box"] == 0
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)


def test_the_first_five_losses_are_those_of_mask_rcnn_and_each_side_has_its_weight():
    plain, weighed = build("panoptic_fpn", semantic_weight=1.0), build("panoptic_fpn", instance_weight=2.0, semantic_weight=3.0)
    inner = build("mask_rcnn")
    inner.load_state_dict({name: one for name, one in plain.state_dict().items() if not name.startswith("semantic.")})
    ones, theirs = losses_of(plain, TWO, TWO), losses_of(inner, TWO, TWO)
    assert {name: ones[name] for name in FIVE} == theirs
    factors = dict.fromkeys(FIVE, 2.0) | {"semantic": 3.0}
    assert losses_of(weighed, TWO, TWO) == pytest.approx({name: factors[name] * loss for name, loss in ones.items()})


def test_data_without_stuff_make_it_a_mask_rcnn():
    network, inner = (build(name, label_space=THINGS, score_threshold=0.0).eval() for name in ("panoptic_fpn", "mask_rcnn"))
    inner.load_state_dict(network.state_dict())
    objects = InstanceSet.build(TWO.masks, [0, 1])
    assert set(losses_of(network, objects)) == FIVE and losses_of(network, objects) == losses_of(inner, objects)
    with torch.no_grad():
        found, wanted = network.predict(pictures()), inner.predict(pictures())
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.objects.masks, other.masks) and np.array_equal(one.objects.scores, other.scores)


def rigged(monkeypatch, **painting):
    """A network that finds two boxes, the second unsure, sky above the row 32 and a narrow sea right of the column 90."""
    network = build("panoptic_fpn").eval()
    found = {"scores": torch.tensor([0.9, 0.4]), "labels": torch.tensor([1, 2]), "masks": torch.from_numpy(TWO.masks)}
    monkeypatch.setattr(MaskRCNN, "_found", lambda *_: [dict(found)])
    logits = torch.zeros(1, 4, HEIGHT, WIDTH)
    logits[:, OTHER] = 1.0  # below, where nothing else is more likely
    logits[:, 2, :32] = 2.0
    logits[:, 3, :, 90:] = 3.0
    monkeypatch.setattr(network.semantic, "forward", lambda *_: logits)
    network.painting = painting
    with torch.no_grad():
        (prediction,) = network.predict(pictures(1))
    return prediction


def test_things_lie_over_stuff_and_other_is_nothing(monkeypatch):
    found = rigged(monkeypatch, stuff_area_px=1)
    assert isinstance(found, PanopticMap)
    wanted = np.full((HEIGHT, WIDTH), 255)
    wanted[:32], wanted[:, 90:] = 2, 4
    wanted[TWO.masks[0]] = 1
    assert np.array_equal(found.semantic(SPACE), wanted)
    assert [(segment.category, round(segment.score, 1)) for segment in found.info] == [(1, 0.9), (2, 1.0), (4, 1.0)]
    assert found.objects.scores.tolist() == pytest.approx([0.9, 0.4]) and found.objects.classes.tolist() == [1, 3]


def test_what_is_painted_follows_the_options(monkeypatch):
    sea = 6 * HEIGHT
    assert {one.category for one in rigged(monkeypatch, stuff_area_px=sea).info} == {1, 2, 4}
    assert {one.category for one in rigged(monkeypatch, stuff_area_px=sea + 1).info} == {1, 2}
    assert {one.category for one in rigged(monkeypatch, score_threshold=0.4, stuff_area_px=1).info} == {1, 2, 3, 4}
    assert {one.category for one in rigged(monkeypatch).info} == {1, 2, 4}  # the sea has more than 1/75 of the picture


def test_a_semantic_width_that_makes_no_groups_is_refused():
    with pytest.raises(ValueError, match="semantic_width: 10; give a multiple of 4"):
        build("panoptic_fpn", semantic_width=10)


@pytest.fixture
def folder(tmp_path):
    options = SMALL["panoptic_fpn"] | {"score_threshold": 0.0}
    network = build("panoptic_fpn", label_space=tiny.SPACE, **options)
    fit.save_network(tmp_path, network)
    description = {"name": "one", "kind": "network", "method": "panoptic_fpn", "options": options, "short_side": None}
    description |= {"label_space": tiny.SPACE.to_json(), "mean": network.mean, "std": network.std}
    (tmp_path / "model.json").write_text(json.dumps(description))
    return tmp_path


def test_painting_is_a_prediction_option(folder):
    options = {"score_threshold": 0.0, "stuff_area_px": 7}
    method = inference.load(folder, predict={"painting": options}, device="cpu")
    assert method.network.painting == options == method.options["painting"]
    assert inference.load(folder, device="cpu").network.painting == {}


def test_it_has_scores_of_every_kind(folder, tmp_path):
    samples = [tiny.TinyDataset(counts={"test": 2}).sample("test", f"test_{index}") for index in range(2)]
    method = inference.load(folder, predict={"painting": {"score_threshold": 0.0, "stuff_area_px": 1}}, device="cpu")
    scores, tables = evaluation.score(method, samples, pictured=["test_0"], pictures=tmp_path / "samples")
    assert {"miou", "boundary_iou", "box_ap", "mask_ap", "pq", "pq_things", "pq_stuff"} <= scores.keys()
    assert "ece" not in scores and len(tables["panoptic"]) == 3 and len(tables["instances"]) == 2
