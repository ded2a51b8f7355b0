"""torchvision's classifiers as encoders: their maps, their weights, and those that have no pyramid."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from pipeline.models import _encoders
from pipeline.provenance import file_hash

IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name, channels",
    [
        ("resnet18", (64, 64, 128, 256, 512)),
        ("mobilenet_v3_small", (16, 16, 24, 48, 576)),
        ("regnet_y_400mf", (32, 48, 104, 208, 440)),
        ("shufflenet_v2_x0_5", (24, 24, 48, 96, 1024)),
        ("vgg11", (128, 256, 512, 512, 512)),
    ],
)
def test_the_maps_of_a_pyramid(name, channels):
    encoder = _encoders.create(f"torchvision/{name}", pretrained=False).eval()
    assert encoder.channels == channels and encoder.strides == (2, 4, 8, 16, 32)
    with torch.no_grad():
        maps = encoder(IMAGES)
    sizes = [(64 // stride, 96 // stride) for stride in encoder.strides]
    assert [tuple(one.shape[1:]) for one in maps] == [(width, *size) for width, size in zip(channels, sizes, strict=True)]


def test_weights_from_a_file_give_the_maps_of_the_classifier(tmp_path):
    classifier = torchvision.models.resnet18(weights=None).eval()
    path = tmp_path / "resnet18.safetensors"
    save_file(classifier.state_dict(), path)
    encoder = _encoders.create("torchvision/resnet18", pretrained=f"{path}#sha256={file_hash(path)}").eval()
    with torch.no_grad():
        last = encoder(IMAGES)[-1]
        assert torch.equal(classifier.fc(last.mean(dim=(2, 3))), classifier(IMAGES))
    with pytest.raises(ValueError, match=r"pretrained: the weights do not fit torchvision/resnet34: Missing key"):
        _encoders.create("torchvision/resnet34", pretrained=f"{path}#sha256={file_hash(path)}")


def test_weights_that_cannot_be_fetched_are_one_clear_error(monkeypatch):
    def away(*_, **options):
        assert options["weights_only"] and options["check_hash"]
        raise OSError("cannot reach the host\nand more")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", away)
    with pytest.raises(ValueError, match=r"of torchvision/resnet18 come from the internet, .*cannot reach the host\); give"):
        _encoders.create("torchvision/resnet18", pretrained=True)


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "squeezenet1_1", "mnasnet0_5"])
def test_a_classifier_without_a_pyramid_is_refused(name):
    with pytest.raises(ValueError, match="is no chain of layers with a pyramid of maps; choose another, such as resnet50"):
        _encoders.create(f"torchvision/{name}", pretrained=False)


def test_an_unknown_classifier_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'torchvision/resnet19' is unknown to torchvision; it has: alexnet, .*resnet18"):
        _encoders.create("torchvision/resnet19", pretrained=False)


def test_a_classifier_is_not_dilated():
    with pytest.raises(ValueError, match="torchvision's are not dilated here; choose timm's, such as resnet50"):
        _encoders.create("torchvision/resnet18", pretrained=False, output_stride=8)
