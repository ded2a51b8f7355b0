"""PSPNet beside its authors' layers, and its pyramid pooling beside segmentation_models_pytorch's."""

import pytest
import torch
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPModule
from torch import nn

from pipeline.models._blocks import adaptive_average
from pipeline.models._network import Targets
from pipeline.models._pyramid_pooling import PyramidPooling
from pipeline.models.pspnet import PSPNet
from tests.networks import count, space

# (blocks, inner channels, stride, dilation) of ResNet-50's stages in the authors' code (hszhao/semseg, model/pspnet.py); the
# network files of hszhao/PSPNet have the same, but for the stride of conv3_1, which stands in its 1x1 convolution there
STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 1, 2), (3, 512, 1, 4))


def published_layers(num_classes: int) -> list[tuple[int, ...]]:
    """(kernel, inputs, outputs, stride, dilation) of each convolution of the authors' network."""
    layers, inputs = [(3, 3, 64, 2, 1), (3, 64, 64, 1, 1), (3, 64, 128, 1, 1)], 128  # conv1_1 to conv1_3
    for blocks, width, first_stride, dilation in STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            layers += [(1, inputs, width, 1, 1), (3, width, width, stride, dilation), (1, width, 4 * width, 1, 1)]
            if block == 0:
                layers.append((1, inputs, 4 * width, stride, 1))  # the projection of the shortcut
            inputs = 4 * width
    layers += [(1, 2048, 512, 1, 1)] * 4  # conv5_3_pool1_conv, pool2, pool3, pool6
    layers += [(3, 4096, 512, 1, 1), (1, 512, num_classes, 1, 1)]  # conv5_4, conv6
    return [*layers, (3, 1024, 256, 1, 1), (1, 256, num_classes, 1, 1)]  # the auxiliary classifier


def layers_of(network: nn.Module) -> list[tuple[int, ...]]:
    return [
        (layer.kernel_size[0], layer.in_channels, layer.out_channels, layer.stride[0], layer.dilation[0])
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]


def test_the_published_network_has_the_authors_layers():
    with torch.device("meta"):
        network = PSPNet(space(19), pretrained=False)
    assert layers_of(network) == published_layers(19)
    assert (network.stride, network.output_stride) == (8, 8)


def test_the_published_network_has_the_authors_parameters():
    # 49,080,038: PSPNet(layers=50, classes=19) of hszhao/semseg, model/pspnet.py, counted; the sum over its layers is the same.
    # No convolution has a bias and each is normalised (2 more parameters a channel), but the two classifiers: these have one.
    layers = published_layers(19)
    normalised = [layer for layer in layers if layer[2] != 19]
    total = sum(kernel**2 * inputs * outputs for kernel, inputs, outputs, _, _ in layers)
    total += sum(2 * layer[2] for layer in normalised) + 2 * 19
    with torch.device("meta"):
        network = PSPNet(space(19), pretrained=False)
    assert total == count(network) == 49_080_038


@pytest.mark.parametrize("size", [(12, 18), (7, 9), (4, 3)])
def test_pyramid_pooling_is_that_of_segmentation_models_pytorch(size):
    # that library stacks the map behind the branches, and its one-bin branch has a bias in place of batch normalisation: there
    # ours is replaced. The rest of its PSPNet (encoder cut after stride 8, 1x1 convolution for 3x3) is not the paper's.
    theirs, ours = PSPModule(8), PyramidPooling(8)
    ours.branches[0].convolution = nn.Sequential(nn.Conv2d(8, 2, 1), nn.Identity(), nn.ReLU())
    generator = torch.Generator().manual_seed(0)
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))  # running variances too, so never below 0
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    features = torch.rand(2, 8, *size, generator=generator) - 0.5
    with torch.no_grad():
        branches, given = theirs.eval()(features).split(8, dim=1)
        assert torch.allclose(ours.eval()(features), torch.cat([given, branches], dim=1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(60, 60), (45, 60), (7, 9)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_means_of_bfloat16_are_rounded_once(size, bins):
    features = torch.rand(2, 8, *size, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = adaptive_average(features, bins)
    assert found.dtype is torch.bfloat16
    exact = nn.functional.adaptive_avg_pool2d(features.double(), bins)
    assert torch.allclose(found.double(), exact, rtol=2**-8, atol=0)


def test_the_auxiliary_classifier_is_there_in_training_only():
    network = PSPNet(space(3), encoder="resnet18", pretrained=False)
    images = torch.rand(2, 3, 32, 48)
    assert {name: logits.shape for name, logits in network(images).items()} == {
        "out": (2, 3, 32, 48),
        "auxiliary": (2, 3, 32, 48),
    }
    assert network.head_weights == {"auxiliary": 0.4}
    assert list(network.eval()(images)) == ["out"]


def test_no_auxiliary_weight_means_no_auxiliary_classifier():
    network = PSPNet(space(3), encoder="resnet18", pretrained=False, auxiliary_weight=0.0)
    assert list(network(torch.rand(2, 3, 32, 32))) == ["out"]
    assert not hasattr(network, "auxiliary") and network.head_weights == {}


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_an_encoder_of_another_kind_and_every_output_stride(output_stride):
    network = PSPNet(space(2), encoder="tf_efficientnet_lite0", pretrained=False, output_stride=output_stride, width=8).eval()
    images = torch.rand(1, 3, 64, 96)
    assert network.encoder(images)[-1].shape[2:] == (64 // output_stride, 96 // output_stride)
    assert network(images)["out"].shape == (1, 2, 64, 96)


def test_one_picture_cannot_be_trained_on_where_the_whole_map_is_pooled():
    network = PSPNet(space(2), encoder="resnet18", pretrained=False)
    with pytest.raises(ValueError, match="a batch of 1 picture of 32 x 32 px cannot train PSPNet"):
        network.losses(torch.rand(1, 3, 32, 32), Targets(torch.zeros(1, 32, 32, dtype=torch.int64)))
    network = PSPNet(space(2), encoder="resnet18", pretrained=False, bins=(2, 3))
    assert network(torch.rand(1, 3, 32, 32))["out"].isfinite().all()


def test_wrong_options_name_the_choices():
    with pytest.raises(ValueError, match="output_stride: 12 is none of 8, 16, 32"):
        PSPNet(space(2), encoder="resnet18", pretrained=False, output_stride=12)
    with pytest.raises(ValueError, match=r"bins: \[0, 2\]; give one to 512 whole numbers of at least 1"):
        PSPNet(space(2), encoder="resnet18", pretrained=False, bins=[0, 2])
    with pytest.raises(ValueError, match=r"bins: \[\]; give one to 512"):
        PSPNet(space(2), encoder="resnet18", pretrained=False, bins=[])
