"""DeepLab v3 and v3+ beside torchvision's and segmentation_models_pytorch's, and beside the papers' tables."""

import pytest
import segmentation_models_pytorch
import torch
from torch import nn
from torchvision.models.segmentation import DeepLabV3_ResNet101_Weights, deeplabv3_resnet50

from pipeline.models._aspp import ASPP
from pipeline.models._network import Targets
from pipeline.models.deeplabv3 import DeepLabV3
from pipeline.models.deeplabv3_plus import DeepLabV3Plus
from tests.networks import count, space


def randomise(network: nn.Module) -> None:
    """Other batch statistics than 0 and 1, so that one copied to a wrong place shows."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


def copy(source: nn.Module, target: nn.Module) -> None:
    """Weights and statistics, in the order of the layers."""
    given, wanted = source.state_dict(), target.state_dict()
    target.load_state_dict(dict(zip(wanted, given.values(), strict=True)))


def without_middle(module: nn.Module) -> nn.Module:
    """Separable convolutions with nothing between their two convolutions, as segmentation_models_pytorch has them."""
    for part in module.modules():
        if isinstance(part, nn.Sequential) and isinstance(part[0], nn.Conv2d) and part[0].groups > 1:
            part[1] = nn.Identity()
    return module


@torch.no_grad()
def largest_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape and one.abs().max() > 0.01
    return float((one - other).abs().max())


@torch.no_grad()
def test_deeplabv3_is_torchvisions():
    # torchvision has a 3x3 convolution after ASPP and an auxiliary classifier, which the paper has not; and it leaves the first
    # block of a dilated stage at the rate of the stage before, where paper and authors' code have one rate for a whole stage
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=5, aux_loss=True).eval()
    randomise(theirs)
    ours = DeepLabV3(
        space(5),
        encoder="resnet50",
        pretrained=False,
        output_stride=8,
        multi_grid=None,
        head_convolution=True,
        auxiliary_weight=0.5,
    ).eval()
    for stage, rate in ((ours.encoder.layer3, 1), (ours.encoder.layer4, 2)):
        stage[0].conv2.dilation = stage[0].conv2.padding = (rate, rate)
    copy(theirs.backbone, ours.encoder)
    copy(theirs.classifier, ours.head)
    copy(theirs.aux_classifier, ours.auxiliary)
    ours.training = True  # of the network alone: its layers stay as in prediction, and the auxiliary logits are there
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected, given = theirs(images), ours(images)
    assert largest_difference(given["out"], expected["out"]) < 1e-4
    assert largest_difference(given["auxiliary"], expected["aux"]) < 1e-4


@pytest.mark.parametrize("output_stride", [8, 16])
@torch.no_grad()
def test_deeplabv3_is_that_of_segmentation_models_pytorch(output_stride):
    # that library aligns corners on the way to the input's size, so the logits before it are compared
    rates = (2, 3, 4)
    theirs = segmentation_models_pytorch.DeepLabV3(
        "resnet18", encoder_weights=None, encoder_output_stride=output_stride, decoder_atrous_rates=rates, classes=5
    ).eval()
    randomise(theirs)
    ours = DeepLabV3(
        space(5),
        encoder="resnet18",
        pretrained=False,
        output_stride=output_stride,
        multi_grid=None,
        rates=rates,
        head_convolution=True,
    ).eval()
    copy(theirs.encoder, ours.encoder)
    copy(nn.ModuleList([theirs.decoder, theirs.segmentation_head]), ours.head)
    images = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(images)))
    assert largest_difference(ours.head(ours.encoder(images)[-1]), expected) < 1e-4


@torch.no_grad()
def test_the_parts_of_deeplabv3_plus_are_those_of_segmentation_models_pytorch():
    # that library departs from the paper: a separable convolution more after ASPP, one in the decoder where there are two,
    # corners aligned, and nothing between the depthwise and the 1x1 convolution; so the parts that are the same are compared
    theirs = segmentation_models_pytorch.DeepLabV3Plus(
        "resnet18", encoder_weights=None, decoder_atrous_rates=(6, 12, 18), classes=5
    ).eval()
    randomise(theirs)
    ours = without_middle(DeepLabV3Plus(space(5), encoder="resnet18", pretrained=False).eval())
    copy(theirs.encoder, ours.encoder)
    copy(theirs.decoder.aspp[0], ours.aspp)
    copy(theirs.decoder.block1, ours.reduce)
    copy(theirs.decoder.block2, ours.decoder[0])
    copy(theirs.segmentation_head[0], ours.decoder[2])
    features = theirs.encoder(torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(0)))
    context, early = theirs.decoder.aspp[0](features[-1]), theirs.decoder.block1(features[2])
    assert largest_difference(ours.aspp(features[-1]), context) < 1e-4
    assert largest_difference(ours.reduce(features[2]), early) < 1e-4
    stack = torch.cat([context.repeat_interleave(4, 2).repeat_interleave(4, 3), early], dim=1)
    assert largest_difference(ours.decoder[0](stack), theirs.decoder.block2(stack)) < 1e-4
    refined = theirs.decoder.block2(stack)
    assert largest_difference(ours.decoder[2](refined), theirs.segmentation_head[0](refined)) < 1e-4
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours.encoder(features[0]), features[1:], strict=True))


@torch.no_grad()
def test_the_decoder_joins_context_and_early_map():
    # the library's parts put together as section 3.1 says, with the early map of stride 4 behind the upsampled context
    network = DeepLabV3Plus(space(3), encoder="resnet18", pretrained=False).eval()
    images = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    maps = network.encoder(images)
    context = nn.functional.interpolate(network.aspp(maps[4]), (16, 8), mode="bilinear")
    joined = torch.cat([context, network.reduce(maps[1])], dim=1)
    assert joined.shape == (2, 256 + 48, 16, 8)
    expected = nn.functional.interpolate(network.decoder(joined), (64, 32), mode="bilinear")
    assert torch.allclose(network(images)["out"], expected, atol=1e-6)


def test_published_deeplabv3_has_the_parameters_of_torchvisions_without_its_additions():
    # torchvision publishes the count for 21 classes; its auxiliary classifier and the 3x3 convolution after ASPP are its own
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 256 * 21 + 21
    convolution = 9 * 256 * 256 + 2 * 256
    expected = DeepLabV3_ResNet101_Weights.DEFAULT.meta["num_params"] - auxiliary - convolution
    with torch.device("meta"):
        network = DeepLabV3(space(21), pretrained=False)
    assert count(network) == expected == 58_040_661


def test_published_deeplabv3_plus_has_the_parameters_of_the_papers_layers():
    # figure 4 of the paper (Xception) and section 3.1; each convolution of both is normalised and without a bias. A port that
    # loads the authors' weights, bonlime/keras-deeplab-v3-plus, counts 41,258,213 with the 202,800 batch statistics.
    def convolution(kernel, inputs, outputs):
        return kernel**2 * inputs * outputs + 2 * outputs

    def separable(inputs, *widths):
        pairs = list(zip((inputs, *widths), widths, strict=False))
        return sum(9 * one + 2 * one + convolution(1, one, other) for one, other in pairs)

    entry = convolution(3, 3, 32) + convolution(3, 32, 64)
    for inputs, outputs in ((64, 128), (128, 256), (256, 728)):
        entry += separable(inputs, outputs, outputs, outputs) + convolution(1, inputs, outputs)
    middle = 16 * separable(728, 728, 728, 728)
    leave = separable(728, 728, 1024, 1024) + convolution(1, 728, 1024) + separable(1024, 1536, 1536, 2048)
    aspp = 2 * convolution(1, 2048, 256) + 3 * separable(2048, 256) + convolution(1, 5 * 256, 256)
    decoder = convolution(1, 256, 48) + separable(48 + 256, 256, 256) + 256 * 21 + 21
    with torch.device("meta"):
        network = DeepLabV3Plus(space(21), pretrained=False)
    assert count(network) == entry + middle + leave + aspp + decoder == 41_258_213 - 202_800
    assert sum(tensor.numel() for name, tensor in network.named_buffers() if "running" in name) == 202_800


@pytest.mark.parametrize(
    ("options", "third", "last"),
    [
        ({}, 1, [2, 4, 8]),  # section 3.2.1 of the paper: 2 (1, 2, 4)
        ({"output_stride": 8}, 2, [4, 8, 16]),
        ({"multi_grid": None}, 1, [2, 2, 2]),
        ({"output_stride": 32, "multi_grid": [1, 2, 1]}, 1, [1, 2, 1]),
    ],
)
def test_the_dilations_of_a_resnet(options, third, last):
    with torch.device("meta"):
        network = DeepLabV3(space(2), encoder="resnet50", pretrained=False, **options)
    convolutions = [block.conv2 for block in [*network.encoder.layer3, *network.encoder.layer4]]
    assert [layer.dilation[0] for layer in convolutions] == [third] * 6 + last
    assert all(layer.padding == layer.dilation for layer in convolutions)


@pytest.mark.parametrize(("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
@pytest.mark.parametrize("network", [DeepLabV3, DeepLabV3Plus])
def test_the_rates_follow_the_output_stride(network, output_stride, rates):
    with torch.device("meta"):
        built = network(space(2), encoder="resnet50", pretrained=False, output_stride=output_stride)
    aspp = next(part for part in built.modules() if isinstance(part, ASPP))
    assert [branch[0].dilation[0] for branch in aspp.branches[1:4]] == rates
    assert all(branch[0].padding == branch[0].dilation for branch in aspp.branches[1:4])


def test_aspp_beside_hand_worked_values():
    # one channel of ones, 5 x 5; every weight 1, normalisation off: the 1x1 branch gives 1, image pooling 1, and at the middle
    # rate 2 meets all 9 taps while rate 3 meets only its own
    aspp = ASPP(1, rates=(2, 3), outputs=1).eval()
    for layer in aspp.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 0.0
    result = aspp(torch.ones(1, 1, 5, 5))
    assert result[0, 0, 2, 2].item() == 1 + 9 + 1 + 1
    assert result[0, 0, 0, 0].item() == 1 + 4 + 4 + 1


def test_separable_convolutions_are_an_option():
    with torch.device("meta"):
        ours = {one: DeepLabV3Plus(space(2), encoder="resnet101", pretrained=False, separable=one) for one in (False, True)}
    for separable, network in ours.items():
        grouped = [
            layer.kernel_size == (3, 3) and layer.groups == layer.in_channels
            for part in (network.aspp, network.decoder)
            for layer in part.modules()
            if isinstance(layer, nn.Conv2d)
        ]
        assert sum(grouped) == (5 if separable else 0)  # three rates and the decoder's two
    assert ours[True].reduce[0].in_channels == 256  # ResNet's conv2_x, section 4.1


def test_the_auxiliary_classifier_is_an_option():
    network = DeepLabV3(space(3), encoder="resnet18", pretrained=False, multi_grid=(1, 2), auxiliary_weight=0.5)
    images = torch.rand(2, 3, 32, 48)
    assert {name: logits.shape for name, logits in network(images).items()} == {
        "out": (2, 3, 32, 48),
        "auxiliary": (2, 3, 32, 48),
    }
    assert network.head_weights == {"auxiliary": 0.5}
    assert list(network.eval()(images)) == ["out"]
    network = DeepLabV3(space(3), encoder="resnet18", pretrained=False, multi_grid=None)
    assert list(network(images)) == ["out"] and network.head_weights == {}


@pytest.mark.parametrize("network", [DeepLabV3, DeepLabV3Plus])
def test_one_picture_cannot_be_trained_on(network):
    options = {"multi_grid": None} if network is DeepLabV3 else {}
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"a batch of 1 picture of 32 x 32 px cannot train {network.__name__}"):
        network(space(2), encoder="resnet18", pretrained=False, **options).losses(torch.rand(1, 3, 32, 32), Targets(labels))


def test_wrong_options_name_the_choices():
    light = {"encoder": "tf_efficientnet_lite0", "pretrained": False}
    with pytest.raises(ValueError, match=r"'tf_efficientnet_lite0' is no ResNet; give multi_grid: null or a ResNet"):
        DeepLabV3(space(2), **light)
    with pytest.raises(ValueError, match=r"multi_grid: \[1, 2\] does not fit encoder 'resnet50'; give null or 3 whole numbers"):
        DeepLabV3(space(2), encoder="resnet50", pretrained=False, multi_grid=[1, 2])
    with pytest.raises(ValueError, match=r"multi_grid: \[0, 1\] does not fit encoder 'resnet18'; give null or 2 whole numbers"):
        DeepLabV3(space(2), encoder="resnet18", pretrained=False, multi_grid=[0, 1])
    with pytest.raises(ValueError, match=r"rates: \[0\]; give whole numbers of at least 1"):
        DeepLabV3Plus(space(2), rates=[0], **light)
    with pytest.raises(ValueError, match="output_stride: 4 is none of 8, 16, 32"):
        DeepLabV3Plus(space(2), output_stride=4, **light)
    with pytest.raises(ValueError, match=r"maps of strides .*; the decoder needs one of 4"):
        DeepLabV3Plus(space(2), encoder="levit_128", pretrained=False, output_stride=32)
