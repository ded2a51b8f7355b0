"""What networks that find objects share: the truth as tensors, their predictions, and losses that repeat in validation."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from pipeline.models import _encoders
from pipeline.models._network import Network, Targets
from pipeline.structures import InstanceSet, LabelSpace, Prediction

CROWD_SHARE = 0.7  # of a box inside a crowd's, from which on it is no background; so in Detectron and in YOLACT's code
NORMS = nn.modules.batchnorm._BatchNorm


class InstanceNetwork(Network):
    """A network that finds the things of the data set, with all its losses itself: `loss: [{name: own, ...}]`.

    Its labels are 0 for "no object" and 1..T for the T thing classes, in their order. The truth of a picture is a mapping with
    `boxes` (N, 4) in px, `labels` (N,), `masks` (N, H, W) uint8 and `crowd` (M, 4), the boxes of crowd regions: what lies in
    one is neither an object nor background; and `semantic` (H, W) int64, the class of each pixel, stuff too, or void. An
    object found is as sure as its score and covers the pixels of its mask.

    Parameters
    ----------
    encoder, pretrained : see `_encoders.create`
    freeze_norm : the encoder's batch normalisation keeps its statistics and weights

    Raises
    ------
    ValueError : no class is a thing.
    """

    wants_instances = True
    judged_by = ("mask_ap",)
    pyramid: nn.Module

    def __init__(self, label_space: LabelSpace, *, encoder: str, pretrained: bool | str, freeze_norm: bool):
        super().__init__(label_space)
        self.things = np.flatnonzero(label_space.isthing)
        if not len(self.things):
            raise ValueError(
                f"{type(self).__name__} finds things, and none of {', '.join(label_space.names)} is one; choose a semantic "
                "network, or tell the reader which classes are things"
            )
        self.encoder = _encoders.create(encoder, pretrained=pretrained)
        self.mean, self.std, self.stride = self.encoder.mean, self.encoder.std, self.encoder.strides[-1]
        norms = [module for module in self.encoder.modules() if isinstance(module, NORMS)]
        self.frozen = norms if freeze_norm else []
        for module in self.frozen:
            module.eval().requires_grad_(False)

    @abstractmethod
    def forward(
        self, images: torch.Tensor, truth: Sequence[Mapping] | None = None
    ) -> tuple[list[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        """(B, 3, H, W) normalised images to the objects found in each, and to named losses.

        Objects are `scores` and `labels`, (N,), and `masks`, (N, H, W) bool; there are none in training mode. Losses are there
        where the truth is given.
        """

    def losses(self, images, targets):
        return self._run(images, targets)[1]

    def predict(self, images, *, probabilities=False):
        return [self._prediction(one) for one in self(images)[0]]

    def assess(self, images, targets):
        found, losses = self._run(images, targets)
        return losses, [self._prediction(one) for one in found]

    def train(self, mode: bool = True):
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def compile(self, *args, **options):
        """Compile the encoder and the pyramid alone: behind them sizes follow from what is found."""
        self.encoder.compile(*args, **options)
        self.pyramid.compile(*args, **options)

    def _run(self, images, targets: Targets):
        truth = [
            self._truth(objects, images.device) | {"semantic": labels}
            for objects, labels in zip(targets.instances, targets.labels, strict=True)
        ]
        with nullcontext() if self.training else _same_draws(images.device):
            return self(images, truth)

    def _truth(self, objects: InstanceSet, device: torch.device) -> dict[str, torch.Tensor]:
        """The truth of one picture; an object without a pixel, which a cut may leave, is none."""
        boxes, has_pixels = objects.boxes, objects.masks.any(axis=(1, 2))
        kept = has_pixels & ~objects.iscrowd
        labels = np.searchsorted(self.things, objects.classes[kept]) + 1
        return {
            "boxes": torch.from_numpy(boxes[kept]).to(device),
            "labels": torch.from_numpy(labels).to(device),
            "masks": torch.from_numpy(objects.masks[kept].view(np.uint8)).to(device),
            "crowd": torch.from_numpy(boxes[has_pixels & objects.iscrowd]).to(device),
        }

    def _prediction(self, found: Mapping[str, torch.Tensor]) -> Prediction:
        """What `forward` found in one picture."""
        return self._instance_set(found)

    def _instance_set(self, found: Mapping[str, torch.Tensor]) -> InstanceSet:
        """The objects of one picture that cover a pixel, the surest first."""
        masks = found["masks"].cpu().numpy()
        scores, labels = found["scores"].detach().float().cpu().numpy(), found["labels"].cpu().numpy()
        order = np.argsort(-scores, kind="stable")
        order = order[masks.any(axis=(1, 2))[order]]
        return InstanceSet.build(masks[order], self.things[labels[order] - 1], scores[order])


def check_limits(*, most_objects: int, **thresholds: float | None) -> None:
    """Refuse thresholds outside 0..1, None aside, and fewer than one object.

    Raises
    ------
    ValueError : says which.
    """
    for name, value in thresholds.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name}: {value}; give a number from 0 to 1")
    if most_objects < 1:
        raise ValueError(f"most_objects: {most_objects}; give at least 1")


def in_crowd(boxes: torch.Tensor, crowd: torch.Tensor) -> torch.Tensor:
    """(N,) bool: which of (N, 4) boxes lie with more than CROWD_SHARE of their area inside one of the (M, 4) of crowds."""
    low = torch.maximum(boxes[:, None, :2], crowd[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], crowd[None, :, 2:])
    inside = (high - low).clamp(min=0).prod(dim=2)  # (N, M)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return (inside > CROWD_SHARE * area[:, None]).any(dim=1)


def strided(encoder: nn.Module, *, first: int) -> list[int]:
    """Which of an encoder's maps a pyramid stands on: those from stride `first` on, each half the size of the one before.

    Raises
    ------
    ValueError : the encoder has no map of that stride, or its strides do not double.
    """
    places = [place for place, stride in enumerate(encoder.strides) if stride >= first]
    strides = [encoder.strides[place] for place in places]
    if not strides or strides != [first * 2**level for level in range(len(strides))]:
        raise ValueError(f"a pyramid needs maps of stride {first}, {2 * first} ...; the encoder has {list(encoder.strides)}")
    return places


@contextmanager
def _same_draws(device: torch.device) -> Iterator[None]:
    """Inside, the same is drawn every time; what is drawn afterwards is as if nothing had been."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield
