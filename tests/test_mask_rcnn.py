"""Mask R-CNN is torchvision's: its size, its outputs and losses with its weights; and what is not torchvision's, crowds."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn, roi_heads

from pipeline.models import mask_rcnn
from pipeline.models._network import Targets
from pipeline.models.mask_rcnn import LOSSES, MaskRCNN
from pipeline.models.panoptic_fpn import PanopticFPN
from pipeline.provenance import file_hash
from pipeline.structures import InstanceSet
from tests.networks import count, mixed, published, space

HEIGHT, WIDTH = 96, 128
THINGS = 3
MASKS = np.zeros((2, HEIGHT, WIDTH), bool)
MASKS[0, 10:80, 20:60] = MASKS[1, 5:40, 70:120] = True


@pytest.fixture(scope="module")
def theirs():
    """torchvision's, random but for the statistics of its pictures; as with its COCO weights nothing is added to a variance."""
    torch.manual_seed(0)
    sizes = {"min_size": HEIGHT, "max_size": WIDTH, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=THINGS + 1, **sizes)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = 1.0
    network.backbone(images())
    for module in norms:
        module.eps = 0.0
    return network.eval()


def saved(tensors, path) -> str:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return f"{path}#sha256={file_hash(path)}"


@pytest.fixture(scope="module")
def ours(theirs, tmp_path_factory):
    pinned = saved(theirs.state_dict(), tmp_path_factory.mktemp("coco") / "coco.safetensors")
    return MaskRCNN(space(THINGS, isthing=True), pretrained=pinned).eval()


def read_masks_where_they_are(monkeypatch) -> None:
    """Let torchvision's losses have the truth of masks where it is, and not half a pixel beside it."""
    given = roi_heads.maskrcnn_loss
    moved = lambda logits, boxes, *rest: given(logits, [one - 0.5 for one in boxes], *rest)  # noqa: E731
    monkeypatch.setattr(roi_heads, "maskrcnn_loss", moved)


def images() -> torch.Tensor:
    return torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))


def test_the_published_network_has_as_many_parameters():
    # torchvision.models.detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["num_params"], for 90 things
    network = published(MaskRCNN, num_classes=90, isthing=True)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert trained == 44_401_393
    assert count(network) - trained == 2 * 26_560  # a weight and a bias for each channel that ResNet-50 normalises


def test_it_finds_what_torchvision_finds(theirs, ours):
    second_stage = []
    hooks = [
        network.roi_heads.register_forward_hook(lambda _, __, output: second_stage.append([dict(one) for one in output[0]]))
        for network in (theirs, ours)
    ]
    with torch.no_grad():
        whole, (found, losses) = theirs(list(images())), ours(images())
    for hook in hooks:
        hook.remove()
    assert losses == {}
    for one, other in zip(second_stage[1], second_stage[0], strict=True):
        assert len(one["scores"]) == len(other["scores"]) > 10 and torch.equal(one["labels"], other["labels"])
        for part in ("scores", "boxes", "masks"):  # masks of 28 x 28
            torch.testing.assert_close(one[part], other[part], atol=1e-4, rtol=1e-4)
    for one, other in zip(found, whole, strict=True):
        # torchvision stretches a mask by up to one pixel too far, as Detectron did
        masks = other["masks"][:, 0] > 0.5
        assert (one["masks"] != masks).float().mean() < 0.02


def test_its_losses_are_those_of_torchvision(theirs, ours, monkeypatch):
    read_masks_where_they_are(monkeypatch)
    theirs.train()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    boxes = torch.tensor([[20.0, 10, 60, 80], [70, 5, 120, 40]])
    truth = {"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": torch.from_numpy(MASKS.astype(np.uint8))}
    torch.manual_seed(4)
    wanted = theirs(list(images()), [truth, truth])
    theirs.eval()
    objects = InstanceSet.build(MASKS, [0, 2])
    targets = Targets(torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64), (objects, objects))
    ours.train()
    torch.manual_seed(4)
    # torchvision draws each picture's size first
    torch.empty(1).uniform_(), torch.empty(1).uniform_()
    losses = ours.losses(images(), targets)
    ours.eval()
    assert set(losses) == set(LOSSES.values())
    for name, our_name in LOSSES.items():
        torch.testing.assert_close(losses[our_name], wanted[name], atol=1e-4, rtol=1e-4)


def test_weights_of_other_classes_are_left_out(theirs, tmp_path):
    pinned = saved(theirs.state_dict(), tmp_path / "coco.safetensors")
    network = MaskRCNN(space(5, isthing=True), pretrained=pinned)
    state, given = network.state_dict(), theirs.state_dict()
    assert torch.equal(state["pyramid.inner_blocks.0.0.weight"], given["backbone.fpn.inner_blocks.0.0.weight"])
    assert torch.equal(state["roi_heads.mask_predictor.conv5_mask.weight"], given["roi_heads.mask_predictor.conv5_mask.weight"])
    assert state["roi_heads.box_predictor.cls_score.weight"].shape == (6, 1024)


def test_they_fill_panoptic_fpn_but_for_its_semantic_head(theirs, tmp_path):
    pinned = saved(theirs.state_dict(), tmp_path / "coco.safetensors")
    network = PanopticFPN(mixed(THINGS + 1), pretrained=pinned)
    state, given = network.state_dict(), theirs.state_dict()
    assert torch.equal(state["roi_heads.box_predictor.cls_score.weight"], given["roi_heads.box_predictor.cls_score.weight"])
    assert network.semantic.logits.weight.shape == (2, 128, 1, 1)


def test_weights_that_do_not_fit_are_refused(theirs, tmp_path):
    whole = theirs.state_dict()
    pinned = saved(whole, tmp_path / "whole.safetensors")
    with pytest.raises(ValueError, match=r"whole\.safetensors does not fit: .*size mismatch for pyramid\."):
        MaskRCNN(space(THINGS, isthing=True), pretrained=pinned, width=64)
    with pytest.raises(ValueError, match=r"whole\.safetensors does not fit: lacks \['encoder"):
        MaskRCNN(space(THINGS, isthing=True), pretrained=pinned, encoder="resnet101")
    part = saved({name: one for name, one in whole.items() if not name.startswith("rpn")}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"part\.safetensors does not fit: lacks \['rpn\.head"):
        MaskRCNN(space(THINGS, isthing=True), pretrained=part)


def test_weights_without_a_pin_are_refused(theirs, tmp_path):
    path = tmp_path / "coco.safetensors"
    saved(theirs.state_dict(), path)
    with pytest.raises(ValueError, match=r"coco\.safetensors is not pinned; write pretrained: .*#sha256=[0-9a-f]{64}"):
        MaskRCNN(space(THINGS, isthing=True), pretrained=str(path))


LIGHT = {"encoder": "tf_efficientnet_lite0", "pretrained": False, "width": 8, "box_width": 8, "mask_widths": [8]}


def test_an_anchor_in_a_crowd_is_no_background():
    network = MaskRCNN(space(1, isthing=True), **LIGHT)
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    truth = {"boxes": anchors[:1], "labels": torch.ones(1, dtype=torch.int64), "crowd": torch.tensor([[0.0, 0, 31, 11]])}
    labels, _ = network.rpn.assign_targets_to_anchors([anchors], [truth])
    assert labels[0].tolist() == [1, -1, 0]  # an object stays one in a crowd


def test_a_proposal_in_a_crowd_is_not_trained_on():
    network = MaskRCNN(space(1, isthing=True), **LIGHT)
    proposals = torch.tensor([[0.0, 0, 10, 9], [20, 0, 30, 10], [40, 0, 50, 10]])
    truth = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.ones(1, dtype=torch.int64)}
    truth |= {"masks": torch.ones(1, 20, 60, dtype=torch.uint8), "crowd": torch.tensor([[0.0, 0, 31, 11]])}
    kept, _, labels, _ = network.roi_heads.select_training_samples([proposals], [truth])
    pairs = {tuple(box.tolist()): label.item() for box, label in zip(kept[0], labels[0], strict=True)}
    assert pairs == {(0, 0, 10, 9): 1, (40, 0, 50, 10): 0, (0, 0, 10, 10): 1}  # the last is the truth itself


def test_a_mask_is_stretched_over_its_box():
    masks = torch.zeros(1, 1, 28, 28)
    masks[..., :14] = 1.0  # the left half
    pasted = mask_rcnn._pasted(masks, torch.tensor([[10.0, 4, 38, 32]]), (40, 50))
    wanted = torch.zeros(40, 50, dtype=torch.bool)
    wanted[4:32, 10:24] = True
    assert torch.equal(pasted[0], wanted)
    pasted = mask_rcnn._pasted(masks, torch.tensor([[-10.4, 30.6, 18.4, 58.0]]), (40, 50))
    wanted = torch.zeros(40, 50, dtype=torch.bool)
    wanted[31:, :4] = True  # the centres of the pixels from y = 30.6 on, and up to the middle of the box at x = 4
    assert torch.equal(pasted[0], wanted)
    assert mask_rcnn._pasted(masks[:0], torch.zeros(0, 4), (40, 50)).shape == (0, 40, 50)
