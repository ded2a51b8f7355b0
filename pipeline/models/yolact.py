"""YOLACT: the mask of an object is a sum of prototypes of the whole picture, weighed by coefficients that come with its box."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import box_iou

from pipeline.models._anchors import anchor_boxes, decoded, encoded, hard_cross_entropy, matched
from pipeline.models._instances import InstanceNetwork, check_limits, strided
from pipeline.structures import LabelSpace

TRAINED_MASKS = 100  # of a picture; more are drawn from at random
CANDIDATES = 200  # boxes of a class that meet in the suppression
PROTOTYPE_STRIDE = 4  # px
SMALLEST_PX = 25  # prototype px; smaller masks do not train the re-scoring (authors' code: 5 x 5)


class YOLACT(InstanceNetwork):
    """YOLACT-550; the size of the pictures is that of the training arrays.

    Parameters
    ----------
    encoder : a model that gives maps of stride 8, 16, 32
    pretrained : True, False, or a .safetensors file; see `_encoders.create`
    freeze_norm : the encoder's batch normalisation keeps its statistics and weights. The paper trains them with 8 pictures a
        batch; with fewer than 6 its code freezes them.
    width : channels of the pyramid, the prototypes' layers and the head
    prototypes : k, the masks that are combined
    anchor_sizes : px, the side of a square anchor at each of the five levels
    anchor_ratios : width to height of the anchors at each place
    box_weight, mask_weight, semantic_weight : of the losses; that of the classes weighs 1
    rescore : multiply the scores by the IoU that a small network expects of the mask, as YOLACT++ does
    rescore_weight : of that network's loss
    score_threshold : objects below it are left out
    nms_threshold : an object that overlaps a surer one of its class by more (IoU of their boxes) is left out
    most_objects : of a picture

    Raises
    ------
    ValueError : an encoder without these maps, another number of anchor sizes, or a threshold outside 0..1.

    References
    ----------
    Bolya et al. 2019, YOLACT, arXiv:1904.02689; Bolya et al. 2019, YOLACT++, arXiv:1912.06218, section 6.1 (re-scoring); layers
    and what the papers leave open as in the authors' code, dbolya/yolact. There the anchors of yolact_base are squares, which
    its authors call a bug; these have the paper's ratios. A picture without an object trains the classes as if it had one.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "resnet101",
        pretrained: bool | str = True,
        freeze_norm: bool = False,
        width: int = 256,
        prototypes: int = 32,
        anchor_sizes: Sequence[int] = (24, 48, 96, 192, 384),
        anchor_ratios: Sequence[float] = (1.0, 0.5, 2.0),
        box_weight: float = 1.5,
        mask_weight: float = 6.125,
        semantic_weight: float = 1.0,
        rescore: bool = False,
        rescore_weight: float = 25.0,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        most_objects: int = 100,
    ):
        check_limits(most_objects=most_objects, score_threshold=score_threshold, nms_threshold=nms_threshold)
        super().__init__(label_space, encoder=encoder, pretrained=pretrained, freeze_norm=freeze_norm)
        self.places, num_things = strided(self.encoder, first=8), len(self.things)
        channels = [self.encoder.channels[place] for place in self.places]
        if len(anchor_sizes) != len(channels) + 2:
            raise ValueError(
                f"anchor_sizes: {list(anchor_sizes)} for a pyramid of {len(channels) + 2} levels; give one for each"
            )
        self.anchor_sizes, self.anchor_ratios = tuple(anchor_sizes), tuple(anchor_ratios)
        self.weights = {"class": 1.0, "box": box_weight, "mask": mask_weight, "semantic": semantic_weight}
        self.weights |= {"rescore": rescore_weight}
        self.score_threshold, self.nms_threshold, self.most_objects = score_threshold, nms_threshold, most_objects
        self.pyramid = Pyramid(channels, width)
        self.protonet = nn.Sequential(
            *(layer for _ in range(3) for layer in _convolution(width)),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            *_convolution(width),
            *(nn.Conv2d(width, prototypes, 1), nn.ReLU(inplace=True)),
        )
        self.head = Head(width, ratios=len(anchor_ratios), labels=num_things + 1, prototypes=prototypes)
        self.semantic = nn.Conv2d(width, num_things, 1)  # in training only
        self.scorer = MaskScorer(num_things) if rescore else None
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("encoder."):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, images, truth=None):
        maps = self.encoder(images)
        levels = self.pyramid([maps[place] for place in self.places])  # P3 to P7
        prototypes = self.protonet(levels[0])  # (B, k, h, w) of stride 4
        # (B, A, T + 1), (B, A, 4) and (B, A, k) of all A anchors
        logits, offsets, coefficients = (torch.cat(parts, dim=1) for parts in zip(*map(self.head, levels), strict=True))
        anchors = anchor_boxes(levels, images.shape[2:], sides=self.anchor_sizes, ratios=self.anchor_ratios)
        losses = {}
        if truth is not None:
            losses = self._anchor_losses(truth, anchors, logits, offsets, coefficients, prototypes)
            losses["semantic"] = semantic_loss(self.semantic(levels[0]), truth)
            losses = {name: self.weights[name] * loss for name, loss in losses.items()}
        if self.training:
            return [], losses
        pictures = zip(logits, offsets, coefficients, prototypes, strict=True)
        return [self._found(*picture, anchors=anchors, size=images.shape[2:]) for picture in pictures], losses

    def _anchor_losses(self, truth, anchors, logits, offsets, coefficients, prototypes) -> dict[str, torch.Tensor]:
        """Sums over the anchors on objects, divided by their number in the batch."""
        pairs = [matched(anchors, picture) for picture in truth]
        labels = torch.stack([one for one, _ in pairs])  # (B, A)
        sums = {"class": hard_cross_entropy(logits, labels), "box": 0.0, "mask": 0.0}
        sums |= {"rescore": 0.0} if self.scorer else {}
        for row, (picture, (_, objects)) in enumerate(zip(truth, pairs, strict=True)):
            chosen = torch.nonzero(labels[row] > 0)[:, 0]
            wanted = encoded(picture["boxes"][objects[chosen]], anchors[chosen])
            sums["box"] += F.smooth_l1_loss(offsets[row, chosen], wanted, reduction="sum")
            parts = self._mask_losses(picture, objects[chosen], coefficients[row, chosen], prototypes[row])
            for name, loss in parts.items():
                sums[name] += loss
        count = (labels > 0).sum().clamp(min=1)
        return {name: total / count for name, total in sums.items()}

    def _mask_losses(self, picture, objects, coefficients, prototypes) -> dict[str, torch.Tensor]:
        """Sums over n anchors: the mean cross-entropy inside the true box, and how wrong the expected IoU is.

        Parameters
        ----------
        objects : (n,) which object of the picture each anchor is on
        coefficients : (n, k)
        prototypes : (k, h, w)
        """
        share = max(1.0, len(objects) / TRAINED_MASKS)
        if share > 1:
            drawn = torch.randperm(len(objects), device=objects.device)[:TRAINED_MASKS]
            objects, coefficients = objects[drawn], coefficients[drawn]
        boxes = picture["boxes"][objects] / PROTOTYPE_STRIDE
        wanted = shrunk(picture["masks"], prototypes.shape[1:])[objects]  # (n, h, w)
        is_inside = inside(boxes, prototypes.shape[1:])
        logits = torch.einsum("nk,khw->nhw", coefficients, prototypes)
        costs = F.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="none") * is_inside
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).clamp(min=1)  # of an object below a prototype's pixel: that pixel
        losses = {"mask": share * (costs.sum(dim=(1, 2)) / areas).sum()}
        if self.scorer:
            found = logits.sigmoid() * is_inside
            expected = self.scorer(found)[torch.arange(len(objects)), picture["labels"][objects] - 1]
            union = ((found > 0.5) | wanted).sum(dim=(1, 2)).clamp(min=1)
            iou = ((found > 0.5) & wanted).sum(dim=(1, 2)) / union
            is_large = wanted.sum(dim=(1, 2)) > SMALLEST_PX
            losses["rescore"] = share * F.smooth_l1_loss(expected[is_large], iou[is_large], reduction="sum")
        return losses

    def _found(self, logits, offsets, coefficients, prototypes, *, anchors, size) -> dict[str, torch.Tensor]:
        """The objects of one picture of `size`."""
        scores = logits.float().softmax(dim=1)[:, 1:].T  # (T, A)
        candidates = torch.nonzero((scores > self.score_threshold).any(dim=0))[:, 0]
        boxes, scores = decoded(offsets[candidates].float(), anchors[candidates]), scores[:, candidates]
        things, places = fast_nms(boxes, scores, threshold=self.nms_threshold)
        scores = scores[things, places]
        order = torch.argsort(scores, descending=True, stable=True)[: self.most_objects]
        order = order[scores[order] > self.score_threshold]
        things, places, scores = things[order], places[order], scores[order]
        # M = sigmoid(P C^T), eq. 1, cut to the box
        masks = torch.einsum("nk,khw->nhw", coefficients[candidates[places]], prototypes).sigmoid()
        masks = masks * inside(boxes[places] / PROTOTYPE_STRIDE, prototypes.shape[1:])
        if self.scorer:
            scores = scores * self.scorer(masks)[torch.arange(len(things)), things].clamp(0, 1)
        large = torch.zeros(len(masks), *size, dtype=torch.bool, device=masks.device)
        for row, mask in zip(large, masks, strict=True):  # one by one: as numbers they would be many
            row[:] = F.interpolate(mask[None, None], size, mode="bilinear")[0, 0] > 0.5
        return {"scores": scores, "labels": things + 1, "masks": large}


class Pyramid(nn.Module):
    """The encoder's maps of stride 8, 16, 32 to P3, P4, P5, and P6 and P7 behind them; bilinear on the way down."""

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.further = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(2))

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        sums = [self.lateral[-1](maps[-1])]
        for lateral, finer in zip(reversed(self.lateral[:-1]), reversed(maps[:-1]), strict=True):
            sums.insert(0, lateral(finer) + F.interpolate(sums[0], finer.shape[2:], mode="bilinear"))
        levels = [smooth(one).relu() for smooth, one in zip(self.smooth, sums, strict=True)]
        for further in self.further:
            levels.append(further(levels[-1]))
        return levels


class Head(nn.Module):
    """For every anchor of a level: logits of the labels, offsets of its box, coefficients of the prototypes in -1..1."""

    def __init__(self, width: int, *, ratios: int, labels: int, prototypes: int):
        super().__init__()
        self.shared = nn.Sequential(*_convolution(width))
        self.classes = nn.Conv2d(width, ratios * labels, 3, padding=1)
        self.boxes = nn.Conv2d(width, ratios * 4, 3, padding=1)
        self.coefficients = nn.Conv2d(width, ratios * prototypes, 3, padding=1)
        self.ratios = ratios

    def forward(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.shared(level)
        outputs = (self.classes(features), self.boxes(features), self.coefficients(features).tanh())
        # (B, R * n, h, w) to (B, h * w * R, n)
        return tuple(one.permute(0, 2, 3, 1).reshape(len(one), -1, one.shape[1] // self.ratios) for one in outputs)


class MaskScorer(nn.Module):
    """YOLACT++'s fast mask re-scoring: from a mask alone the IoU that it has with the truth, for each thing class."""

    WIDTHS = (8, 16, 32, 64, 128)
    LEAST = 63  # px that five convolutions of stride 2 without padding need

    def __init__(self, num_things: int):
        super().__init__()
        layers, inputs = [], 1
        for width in self.WIDTHS:
            layers += [nn.Conv2d(inputs, width, 3, stride=2), nn.ReLU(inplace=True)]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(inputs, num_things, 1), nn.ReLU(inplace=True))

    def forward(self, masks: torch.Tensor) -> torch.Tensor:
        """(N, h, w) probabilities, 0 outside the box, to (N, T)."""
        down, right = (max(0, self.LEAST - side) for side in masks.shape[1:])
        return self.layers(F.pad(masks[:, None], (0, right, 0, down))).amax(dim=(2, 3))


def semantic_loss(logits: torch.Tensor, truth: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
    """Section 5: mean over pixels and pictures of the cross-entropies of (B, T, h, w) logits, each class for itself."""
    wanted = torch.zeros_like(logits)
    for row, picture in zip(wanted, truth, strict=True):
        for mask, label in zip(shrunk(picture["masks"], logits.shape[2:]), picture["labels"], strict=True):
            row[label - 1][mask] = 1.0
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(dim=1).mean()


def fast_nms(boxes: torch.Tensor, scores: torch.Tensor, *, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out what a surer box of the same class overlaps, even one that is left out itself: so all are judged at once.

    Parameters
    ----------
    boxes : (A, 4)
    scores : (T, A)

    Returns
    -------
    (N,) class in 0..T-1 and (N,) box of those that stay
    """
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :CANDIDATES]  # (T, n)
    overlaps = torch.stack([box_iou(boxes[one], boxes[one]) for one in order]).triu(diagonal=1)  # X of eq. 2, (T, n, n)
    things, ranks = torch.nonzero(~(overlaps > threshold).any(dim=1), as_tuple=True)  # K of eq. 2: the most along a column
    return things, order[things, ranks]


def inside(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, h, w) bool: the pixels of a map of `size` in each of (N, 4) boxes, and a margin of one."""
    rows, columns = (torch.arange(side, device=boxes.device) for side in size)
    x0, y0, x1, y1 = (edge[:, None] for edge in boxes.unbind(dim=1))
    in_rows = (rows >= y0 - 1) & (rows < y1 + 1)
    in_columns = (columns >= x0 - 1) & (columns < x1 + 1)
    return in_rows[:, :, None] & in_columns[:, None]


def shrunk(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, H, W) uint8 masks at a smaller size, (N, h, w) bool."""
    return F.interpolate(masks[:, None].float(), size, mode="bilinear")[:, 0] > 0.5


def _convolution(width: int) -> Iterator[nn.Module]:
    yield from (nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True))
