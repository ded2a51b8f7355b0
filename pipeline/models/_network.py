"""What every network exposes, and the base of the semantic ones."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.structures import InstanceSet, LabelSpace, Prediction, SemanticMap

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Targets:
    """The truth of a batch.

    Parameters
    ----------
    labels : (B, H, W) int64 tensor, class index or void
    instances : an InstanceSet per image, where the network asks for them; else None
    """

    labels: torch.Tensor
    instances: tuple[InstanceSet, ...] | None = None


class Network(nn.Module, ABC):
    """A network of any kind: it turns a batch into named losses, and images into predictions.

    The training loop, evaluation and report know nothing else of it.
    """

    stride = 1  # both sides of a batch are multiples of it
    wants_instances = False  # True: `Targets.instances` is filled
    gathers = False  # True: `losses` are those of all processes' rows, through `together`; else of this process's own
    painting: dict | None = None  # where it predicts panoptic maps: options of `painting.fused`, which whoever predicts may set
    mean, std = IMAGENET_MEAN, IMAGENET_STD  # of RGB in 0..1; batches come normalised by them
    judged_by: tuple[str, ...] = ("miou",)  # validation scores whose mean chooses the best epoch; of those that there are

    def __init__(self, label_space: LabelSpace):
        super().__init__()
        self.label_space = label_space
        self.criterion: Callable | None = None  # semantic networks: the configured loss, set before training
        # (B, ...) rows of this process -> the rows of all that train together; set by a training over several processes
        self.together: Callable[[torch.Tensor], torch.Tensor] = _alone

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 RGB to (B, 3, H, W) float32 as the network wants it; channels stay last in memory."""
        shift = torch.tensor(self.mean, device=images.device) * 255
        scale = 1 / (torch.tensor(self.std, device=images.device) * 255)
        return images.float().sub_(shift).mul_(scale).permute(0, 3, 1, 2)

    @abstractmethod
    def losses(self, images: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        """(B, 3, H, W) normalised images to {name: () tensor}; their sum is minimised."""

    @abstractmethod
    def predict(self, images: torch.Tensor, *, probabilities: bool = False) -> list[Prediction]:
        """(B, 3, H, W) normalised images to one prediction each, with class probabilities if asked for and known."""

    def assess(self, images: torch.Tensor, targets: Targets) -> tuple[dict[str, torch.Tensor], list[Prediction]]:
        """Losses and predictions of one batch; override where both come from one pass."""
        return self.losses(images, targets), self.predict(images)


class SemanticNetwork(Network):
    """A network whose `forward` gives logits: {"out": (B, C, H, W), and perhaps auxiliary heads by name}.

    Losses come from the configured criterion on every head, predictions from "out". Every head has the size of the input.
    Auxiliary heads are there in training mode only. A network with losses of its own gives what they need beside "out", and
    takes it out again in `_losses`.
    """

    gathers = True
    head_weights: dict[str, float]  # of the auxiliary heads; "out" weighs 1
    output_stride = 1  # px of the input for one value of the logits, before they are brought to the input's size

    def __init__(self, label_space: LabelSpace):
        super().__init__(label_space)
        self.head_weights = {}

    def losses(self, images, targets):
        """The criterion on every head, over the rows of all processes.

        Raises
        ------
        ValueError : no criterion; one picture in training mode, where batch normalisation meets a map of one pixel: behind
            global pooling at any size.
        """
        heads = {name: self.together(logits) for name, logits in self._trained_heads(images).items()}
        return self._losses(heads, Targets(self.together(targets.labels)))

    def predict(self, images, *, probabilities=False):
        return self._predictions(self(images)["out"], probabilities)

    def assess(self, images, targets):
        heads = self(images)
        return self._losses(heads, targets), self._predictions(heads["out"], probabilities=False)

    def _trained_heads(self, images):
        """`forward`, with torch's error of batch normalisation in our words; a RuntimeError where the network is compiled."""
        try:
            return self(images)
        except (ValueError, RuntimeError) as error:
            if len(images) > 1 or "more than 1 value per channel" not in str(error):
                raise
            height, width = images.shape[2:]
            raise ValueError(
                f"a batch of 1 picture of {height} x {width} px cannot train {type(self).__name__}: batch normalisation would "
                "have one value per channel; give at least 2 pictures (batch_size: 2)"
            ) from None

    def _losses(self, heads, targets):
        if self.criterion is None:
            raise ValueError(f"{type(self).__name__} has no criterion; set `network.criterion` before asking for losses")
        named = {}
        for head, logits in heads.items():
            weight = self.head_weights.get(head, 1.0)
            prefix = "" if head == "out" else f"{head}_"
            named |= {f"{prefix}{name}": weight * part for name, part in self.criterion(logits, targets.labels).items()}
        return named

    def _predictions(self, logits, probabilities):
        if not probabilities:
            labels = logits.argmax(dim=1).to("cpu").numpy().astype(self.label_space.dtype)
            return [SemanticMap(one) for one in labels]
        shares = logits.float().softmax(dim=1).to("cpu").numpy()
        return [SemanticMap.from_probabilities(one, self.label_space) for one in shares]


def _alone(rows: torch.Tensor) -> torch.Tensor:
    return rows


def upsample(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, C, h, w) to (B, C, *size), bilinearly, pixel areas aligned."""
    return logits if logits.shape[2:] == size else F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
