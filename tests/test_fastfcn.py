"""FastFCN and its joint pyramid upsampling beside the authors' layers."""

import pytest
import torch
from torch import nn

from pipeline.models._blocks import PooledConvolution
from pipeline.models._network import Targets
from pipeline.models.fastfcn import FastFCN, JointPyramidUpsampling
from tests.networks import count, space

# (name, kernel, inputs, outputs, dilation, groups) of every convolution of the class JPU in the authors' code
# (wuhuikai/FastFCN, encoding/nn/customize.py) for ResNet's last three maps; each has stride 1, no bias, and is normalised
AUTHORS = (
    ("conv3", 3, 512, 512, 1, 1),
    ("conv4", 3, 1024, 512, 1, 1),
    ("conv5", 3, 2048, 512, 1, 1),
    ("dilation1.conv1", 3, 1536, 1536, 1, 1536),
    ("dilation1.pointwise", 1, 1536, 512, 1, 1),
    ("dilation2.conv1", 3, 1536, 1536, 2, 1536),
    ("dilation2.pointwise", 1, 1536, 512, 1, 1),
    ("dilation3.conv1", 3, 1536, 1536, 4, 1536),
    ("dilation3.pointwise", 1, 1536, 512, 1, 1),
    ("dilation4.conv1", 3, 1536, 1536, 8, 1536),
    ("dilation4.pointwise", 1, 1536, 512, 1, 1),
)
# (name, kernel, inputs, outputs, dilation, dropout behind it) of every convolution of the heads there (encoding/models: fcn.py,
# psp.py, deeplabv3.py) for the map of 2048 channels and the 59 classes of Pascal Context. Each has stride 1, no bias, batch
# normalisation and ReLU; but the classifier, the last of a head, has a bias and nothing behind it.
HEADS = {
    "fcn": (
        ("conv5.0", 3, 2048, 512, 1, 0.1),
        ("conv5.4", 1, 512, 59, 1, None),
    ),
    "psp": (
        *((f"conv5.0.conv{branch}", 1, 2048, 512, 1, None) for branch in (1, 2, 3, 4)),
        ("conv5.1", 3, 4096, 512, 1, 0.1),
        ("conv5.5", 1, 512, 59, 1, None),
    ),
    "deeplab": (
        ("aspp.b0", 1, 2048, 256, 1, None),
        ("aspp.b1", 3, 2048, 256, 12, None),
        ("aspp.b2", 3, 2048, 256, 24, None),
        ("aspp.b3", 3, 2048, 256, 36, None),
        ("aspp.b4.gap", 1, 2048, 256, 1, None),
        ("aspp.project", 1, 1280, 256, 1, 0.5),
        ("block.0", 3, 256, 256, 1, 0.1),
        ("block.4", 1, 256, 59, 1, None),
    ),
}
AUXILIARY = (("auxlayer.conv5.0", 3, 1024, 256, 1, 0.1), ("auxlayer.conv5.4", 1, 256, 59, 1, None))
BINS = {"fcn": [], "psp": [1, 2, 3, 6], "deeplab": [1]}  # of their adaptive poolings


def described(head: nn.Module) -> list[tuple]:
    """What the layers of a head are, in the order of their definition, which is that of their use."""
    found = []
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            row = layer.kernel_size, layer.in_channels, layer.out_channels, layer.dilation, layer.bias is not None
            assert layer.stride == (1, 1) and layer.groups == 1
            assert layer.padding == tuple(side // 2 * dilation for side, dilation in zip(row[0], row[3], strict=True))
            found.append(row)
        elif isinstance(layer, nn.BatchNorm2d):
            found.append(("normalised", layer.num_features))
        elif isinstance(layer, nn.ReLU):
            found.append(("relu",))
        elif isinstance(layer, nn.Dropout) and layer.p:
            found.append(("dropout", layer.p))
    return found


def published(layers) -> list[tuple]:
    """The same of a table."""
    wanted = []
    for name, kernel, inputs, outputs, dilation, dropout in layers:
        is_classifier = name == layers[-1][0]
        wanted.append(((kernel, kernel), inputs, outputs, (dilation, dilation), is_classifier))
        wanted += [] if is_classifier else [("normalised", outputs), ("relu",)]
        wanted += [("dropout", dropout)] if dropout else []
    return wanted


def test_joint_pyramid_upsampling_has_the_authors_layers():
    with torch.device("meta"):
        ours = JointPyramidUpsampling((512, 1024, 2048))
    layers = [layer for layer in ours.modules() if isinstance(layer, nn.Conv2d)]
    for (name, *expected), layer in zip(AUTHORS, layers, strict=True):
        given = [layer.kernel_size[0], layer.in_channels, layer.out_channels, layer.dilation[0], layer.groups]
        assert given == expected, name
        assert layer.stride == (1, 1) and layer.bias is None
    total = sum(kernel**2 * inputs // groups * outputs + 2 * outputs for _, kernel, inputs, outputs, _, groups in AUTHORS)
    assert count(ours) == total
    # ReLU after the three first convolutions and the four 1x1 ones, none after the depthwise ones
    assert sum(isinstance(layer, nn.ReLU) for layer in ours.modules()) == 7


@pytest.mark.parametrize("head", HEADS)
def test_every_head_has_the_authors_layers(head):
    with torch.device("meta"):
        network = FastFCN(space(59), pretrained=False, head=head)
    assert described(network.head) == published(HEADS[head])
    assert described(network.auxiliary) == published(AUXILIARY)
    assert [layer.bins for layer in network.head.modules() if isinstance(layer, PooledConvolution)] == BINS[head]


@pytest.mark.parametrize(("head", "expected"), [("fcn", 55_210_806), ("psp", 68_846_390), ("deeplab", 61_882_934)])
def test_the_published_networks_have_the_authors_parameters(head, expected):
    # counted from the authors' code: FCN, PSP and DeepLabV3 of encoding/models with jpu="JPU", aux=True and ResNet-50 without
    # its classifier of ImageNet, for the 59 classes of Pascal Context
    with torch.device("meta"):
        network = FastFCN(space(59), pretrained=False, head=head)
    assert count(network) == expected


@torch.no_grad()
def test_joint_pyramid_upsampling_beside_hand_worked_values():
    # one channel a map. The map of stride 16 is 0 left and 1 right: over 4 columns with corners aligned 0, 1/3, 2/3, 1. The map
    # of stride 32 is one value, 5, everywhere. The dilated convolutions look one tap to the right, so d columns further, and
    # the 1x1 ones add 1 times the coarsest, 3 times the middle and 100 times the finest map.
    ours = JointPyramidUpsampling((1, 1, 1), width=1).eval()
    for layer in ours.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 0.0
    for block in ours.inputs:
        block[0].weight[:, :, 1, 1] = 1.0
    for depthwise, _, (pointwise, *_) in ours.dilated:
        depthwise.weight[:, :, 1, 2] = 1.0
        pointwise.weight[0, :, 0, 0] = torch.tensor([1.0, 3.0, 100.0])
    fine = torch.zeros(1, 1, 4, 4)
    fine[..., 3] = 1.0
    result = ours([fine, torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]), torch.full((1, 1, 1, 1), 5.0)])
    assert result.shape == (1, 4, 4, 4)
    expected = torch.tensor([[6.0, 7.0, 108.0, 0.0], [7.0, 108.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4])  # a row for each dilation
    assert torch.allclose(result[0], expected[:, None].expand(4, 4, 4), atol=1e-5)


def test_the_encoder_is_not_dilated_and_the_logits_have_stride_8():
    network = FastFCN(space(3), encoder="resnet18", pretrained=False, width=16).eval()
    images = torch.rand(1, 3, 64, 96)
    maps = network.encoder(images)
    assert [tuple(maps[index].shape[2:]) for index in network.maps] == [(8, 12), (4, 6), (2, 3)]
    assert network.upsampling([maps[index] for index in network.maps]).shape == (1, 64, 8, 12)
    assert (network.stride, network.output_stride) == (32, 8)
    assert network(images)["out"].shape == (1, 3, 64, 96)


@pytest.mark.parametrize("head", ["deeplab", "fcn", "psp"])
def test_every_head_and_the_auxiliary_classifier_in_training_only(head):
    network = FastFCN(space(3), encoder="tf_efficientnet_lite0", pretrained=False, width=16, head=head)
    images = torch.rand(2, 3, 64, 32)
    assert {name: logits.shape for name, logits in network(images).items()} == {
        "out": (2, 3, 64, 32),
        "auxiliary": (2, 3, 64, 32),
    }
    assert network.head_weights == {"auxiliary": 0.4}
    assert list(network.eval()(images)) == ["out"]


def test_no_auxiliary_weight_means_no_auxiliary_classifier():
    network = FastFCN(space(3), encoder="resnet18", pretrained=False, width=16, auxiliary_weight=0.0)
    assert list(network(torch.rand(2, 3, 32, 32))) == ["out"]
    assert not hasattr(network, "auxiliary") and network.head_weights == {}


def test_one_picture_cannot_be_trained_on_where_the_head_pools_the_whole_map():
    options = {"encoder": "resnet18", "pretrained": False, "width": 16}
    batch = torch.rand(1, 3, 64, 64), Targets(torch.zeros(1, 64, 64, dtype=torch.int64))
    with pytest.raises(ValueError, match="a batch of 1 picture of 64 x 64 px cannot train FastFCN"):
        FastFCN(space(2), head="deeplab", **options).losses(*batch)
    assert FastFCN(space(2), head="fcn", **options)(torch.rand(1, 3, 64, 64))["out"].isfinite().all()


def test_wrong_options_name_the_choices():
    with pytest.raises(ValueError, match="head: unknown 'encnet'; choose one of: deeplab, fcn, psp"):
        FastFCN(space(2), encoder="resnet18", pretrained=False, head="encnet")
    with pytest.raises(ValueError, match=r"maps of strides .*; fastfcn needs \(8, 16, 32\)"):
        FastFCN(space(2), encoder="levit_128", pretrained=False)
