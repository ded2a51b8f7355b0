"""Feature encoders from torchvision: the layers of a classifier, each map the last one of its stride."""

from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

PREFIX = "torchvision/"  # before a name of `torchvision.models.list_models(module=torchvision.models)`
LISTS = ("features", "trunk_output")  # what torchvision calls a list of layers; its parts follow each other
PROBED_PX = 64


class TorchvisionEncoder(nn.Module):
    """The layers in front of a classifier's pooling, one after the other.

    Parameters
    ----------
    name : "torchvision/resnet50"
    pretrained : False, random weights; True, ImageNet weights from the internet; or a .safetensors file of the classifier's

    Attributes
    ----------
    channels, strides : (n,) of its maps, finest first, from stride 2 on

    Raises
    ------
    ValueError : torchvision has no such classifier, it is no chain of layers that halve the map, or the weights do not fit.
    """

    def __init__(self, name: str, *, pretrained: bool | Path):
        super().__init__()
        known = torchvision.models.list_models(module=torchvision.models)
        if name.removeprefix(PREFIX) not in known:
            raise ValueError(f"encoder {name!r} is unknown to torchvision; it has: {', '.join(known)}")
        classifier = torchvision.models.get_model(name.removeprefix(PREFIX), weights=None)
        if pretrained:
            _fill(classifier, name, pretrained)
        for part, layer in _layers(classifier):
            self.add_module(part, layer)
        try:
            maps = self._probed()
        except (RuntimeError, AssertionError, IndexError, TypeError, AttributeError):
            maps = {}
        if len(maps) < 3:
            raise ValueError(f"encoder {name!r} is no chain of layers with a pyramid of maps; choose another, such as resnet50")
        self.places = tuple(place for place, _ in maps.values())
        self.strides, self.channels = tuple(maps), tuple(channels for _, channels in maps.values())

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for place, layer in enumerate(self.children()):
            images = layer(images)
            if place in self.places:
                maps.append(images)
        return maps

    def _probed(self) -> dict[int, tuple[int, int]]:
        """Stride -> the last layer with a map of it, and its channels; {} where maps are not laid out as (B, C, H, W)."""
        maps: dict[int, tuple[int, int]] = {}
        features = torch.zeros(2, 3, PROBED_PX, PROBED_PX, device="meta")
        for place, layer in enumerate(self.children()):
            kept = {name: tensor.to("meta") for name, tensor in layer.state_dict().items()}
            features = torch.func.functional_call(layer, kept, (features,))
            height, width = features.shape[2:]
            if height != width or PROBED_PX % height:
                return {}
            if height < PROBED_PX:
                maps[PROBED_PX // height] = (place, features.shape[1])
        return maps


def _layers(classifier: nn.Module):
    """(name, layer) of what stands before the classifier's pooling."""
    for name, part in classifier.named_children():
        if isinstance(part, nn.AdaptiveAvgPool2d | nn.Linear) or name == "classifier":
            return
        yield from part.named_children() if name in LISTS else [(name, part)]


def _fill(classifier: nn.Module, name: str, pretrained: bool | Path) -> None:
    try:
        if pretrained is True:
            weights = torchvision.models.get_model_weights(name.removeprefix(PREFIX)).DEFAULT
            state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        else:
            state = load_file(pretrained)
        classifier.load_state_dict(state)
    except OSError as error:
        raise ValueError(
            f"pretrained: the weights of {name} come from the internet, and could not be fetched "
            f"({str(error).splitlines()[0]}); give pretrained: false, or a file: PATH.safetensors#sha256=HEX"
        ) from None
    except RuntimeError as error:
        raise ValueError(f"pretrained: the weights do not fit {name}: {str(error).splitlines()[1].strip()}") from None
