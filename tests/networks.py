"""What the tests of networks share: classes without names, objects, counts, and the table of a network's layers."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pipeline.label_space import LabelSpace
from pipeline.models._network import Targets
from pipeline.structures import InstanceSet


def space(num_classes: int, *, isthing: bool = False) -> LabelSpace:
    names = tuple(f"class {index}" for index in range(num_classes))
    return LabelSpace(names, ((9, 9, 9),) * num_classes, (isthing,) * num_classes)


def mixed(num_classes: int) -> LabelSpace:
    """Things, and the last class is stuff; one class alone is a thing."""
    isthing = (*(True,) * max(1, num_classes - 1), False)[:num_classes]
    return LabelSpace(space(num_classes).names, space(num_classes).colours, isthing)


def many_objects(height: int, width: int, *, count: int = 300, classes: Sequence[int] = (0, 1)) -> InstanceSet:
    """One as large as the picture and single pixels, so many that of a small picture every anchor meets one."""
    masks = np.zeros((count, height, width), bool)
    masks[0] = True
    places = np.random.default_rng(0).integers(0, (height, width), (count - 1, 2))
    masks[np.arange(1, count), places[:, 0], places[:, 1]] = True
    return InstanceSet.build(masks, np.resize(classes, count))


def truth(labels: torch.Tensor) -> Targets:
    """(B, H, W) labels with objects beside them, for networks of any kind; without objects where all is void."""
    height, width = labels.shape[1:]
    objects = InstanceSet.empty(height, width) if (labels == 255).all() else many_objects(height, width)
    return Targets(labels, (objects,) * len(labels))


def published(kind, *, num_classes: int = 21, isthing: bool = False, **options) -> nn.Module:
    """The network for a number of classes (PASCAL VOC: 21), without memory for its weights."""
    with torch.device("meta"):
        return kind(space(num_classes, isthing=isthing), pretrained=False, **options).eval()


def count(module: nn.Module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def layers(network: nn.Module, *, side: int) -> list[tuple[int, int, int, int, tuple[int, int]]]:
    """Channels, kernel, stride, dilation and size of every convolution and pooling, in the order of a forward pass."""
    seen = []

    def note(module, _, output):
        values = [value[0] if isinstance(value, tuple) else value for value in (module.kernel_size, module.stride)]
        dilation = module.dilation[0] if isinstance(module, nn.Conv2d) else 1
        seen.append((output.shape[1], *values, dilation, tuple(output.shape[2:])))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            module.register_forward_hook(note)
    network(torch.zeros(1, 3, side, side, device="meta"))
    return seen


def parameters_of(table: list[tuple[str, int, int, int, int]]) -> int:
    """Weights and biases of the convolutions of a table in a row: (name, outputs, kernel, ...); the picture has 3 channels."""
    total, inputs = 0, 3
    for name, outputs, kernel, *_ in table:
        if not name.startswith("pool"):
            total += (inputs * kernel**2 + 1) * outputs
        inputs = outputs
    return total
