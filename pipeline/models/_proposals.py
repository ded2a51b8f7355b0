"""What DeepMask and SharpMask share: for a patch the mask of the object in its middle, and whether there is one."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torchvision.ops import nms

from pipeline.models import _encoders
from pipeline.models._instances import InstanceNetwork, check_limits
from pipeline.models._patches import boxes_of, cut, drawn, mask_boxes, pasted
from pipeline.structures import LabelSpace

STRIDE = 16  # px between two places; of the encoder's map that is looked at
OBJECT_SHARE = 128 / 224  # of a patch's side, that an object's longer side has
SCALES = tuple(2 ** (step / 2) for step in range(-5, 2))
CHUNK = 64  # masks made at once


@dataclass(frozen=True)
class Level:
    """The places of pictures at one scale.

    Parameters
    ----------
    scale : px of a patch for one of the picture
    codes : (B, n, m, rank)
    scores : (B, n, m) in 0..1
    details : maps for `ProposalNetwork.masks`, of which each place has a window
    """

    scale: float
    codes: torch.Tensor
    scores: torch.Tensor
    details: list[torch.Tensor]


class ProposalNetwork(InstanceNetwork):
    """Says of a square patch how likely an object stands in its middle, as large as it should be, and which pixels it has.

    A picture is seen at several scales, and at each through patches whose middles lie STRIDE px apart, all in one pass: the
    layers behind the encoder are convolutions. Beyond the picture there is its mean colour. Classes are not told apart: every
    object found has the first thing class of the data set. The scores that count are `KIND_proposal_ar10`, `_ar100` and
    `_ar1000`, and where one class is a thing `mask_ap` too; the best epoch is the one whose average recall of a hundred is. A
    picture of H x W px has most_objects * H * W bytes of masks.
    """

    judged_by = ("mask_proposal_ar100",)
    trains_scores = True

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "resnet50",
        pretrained: bool | str = True,
        freeze_norm: bool = True,
        patch_px: int = 160,
        border_px: int = 16,
        width: int = 128,
        rank: int = 512,
        mask_px: int = 56,
        score_width: int = 1024,
        dropout: float = 0.5,
        patches: int = 8,
        score_weight: float = 1 / 32,
        scales: Sequence[float] = SCALES,
        mask_threshold: float = 0.2,
        score_threshold: float = 0.0,
        nms_threshold: float | None = None,
        most_objects: int = 1000,
    ):
        if patch_px % STRIDE or border_px % STRIDE or patch_px < STRIDE:
            raise ValueError(f"patch_px: {patch_px}, border_px: {border_px}; both must be multiples of {STRIDE} px")
        if not scales or min(scales) <= 0 or patches < 2:
            raise ValueError(f"scales: {list(scales)}, patches: {patches}; give scales above 0 and at least 2 patches")
        thresholds = {"mask_threshold": mask_threshold, "score_threshold": score_threshold, "nms_threshold": nms_threshold}
        check_limits(most_objects=most_objects, **thresholds)
        is_whole = isinstance(pretrained, str) and _holds_proposals(pretrained)
        super().__init__(label_space, encoder=encoder, pretrained=False if is_whole else pretrained, freeze_norm=freeze_norm)
        if STRIDE not in self.encoder.strides:
            raise ValueError(f"encoder {encoder!r} has maps of strides {self.encoder.strides}, none of them {STRIDE}")
        self.place = self.encoder.strides.index(STRIDE)
        shorten(self.encoder, self.place)
        self.train()
        self.stride = 1  # pictures are scaled and padded here
        self.patch_px, self.border_px, self.mask_px = patch_px, border_px, mask_px
        self.object_px = math.ceil(patch_px * OBJECT_SHARE)
        self.patches, self.score_weight, self.scales = patches, score_weight, tuple(scales)
        self.mask_threshold, self.score_threshold = mask_threshold, score_threshold
        self.nms_threshold, self.most_objects = nms_threshold, most_objects
        self.trunk = nn.Sequential(
            nn.Conv2d(self.encoder.channels[self.place], width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, rank, patch_px // STRIDE),  # one value of the result sees one patch
        )
        self.mask_branch = nn.Linear(rank, mask_px**2)
        self.score_branch = nn.Sequential(
            *(nn.Dropout(dropout), nn.Linear(rank, score_width), nn.ReLU(inplace=True)),
            *(nn.Dropout(dropout), nn.Linear(score_width, 1)),
        )
        if is_whole:
            self._fill(pretrained)
        self.add_layers(rank=rank, is_trained=is_whole)

    def add_layers(self, *, rank: int, is_trained: bool) -> None:
        """What a network has beyond DeepMask's layers; `is_trained` says that these hold a trained DeepMask's weights."""

    @abstractmethod
    def masks(self, codes: torch.Tensor, windows: Sequence[torch.Tensor]) -> torch.Tensor:
        """(N, rank) codes of N places, and their windows of the details, to (N, s, s) logits over their patches."""

    def details(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What `masks` wants of the encoder's maps beside the codes; without the border."""
        return []

    def mask_losses(
        self, codes: torch.Tensor, windows: Sequence[torch.Tensor], wanted: Callable[[int], torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Of N positive patches; `wanted(s)` gives their true masks, (N, s, s) bool."""
        return {"mask": mask_loss(self.masks(codes, windows), wanted)}

    def forward(self, images, truth=None):
        losses = {} if truth is None else self._losses(images, truth)
        if self.training:
            return [], losses
        levels = [self._level(images, scale) for scale in self.scales]
        return [self._found(row, levels, images.shape[2:]) for row in range(len(images))], losses

    def compile(self, *args, **options):
        """Compile the encoder alone."""
        self.encoder.compile(*args, **options)

    def look(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Codes (B, n, m, rank), logits of the scores (B, n, m) and details of what shows n x m patches with their borders."""
        maps = self.encoder(inputs)[: self.place + 1]
        codes = self.trunk(self.inner(maps[-1], STRIDE)).permute(0, 2, 3, 1)
        return codes, self.score_branch(codes)[..., 0], self.details(maps)

    def inner(self, features: torch.Tensor, stride: int) -> torch.Tensor:
        """A map without the border, which an encoder's padding spoils."""
        border = self.border_px // stride
        return features[:, :, border : features.shape[2] - border, border : features.shape[3] - border]

    def _losses(self, images, truth: Sequence[Mapping]) -> dict[str, torch.Tensor]:
        """Logistic losses: of the masks of positive patches alone, and of the scores of all of them."""
        size = tuple(images.shape[2:])
        drawing = {"count": self.patches, "object_px": self.object_px, "scales": self.scales}
        pictures = [drawn(picture, size, **drawing) for picture in truth]
        places = torch.cat([places for places, _, _ in pictures]).to(images.device)
        kinds = torch.cat([kinds for _, kinds, _ in pictures]).to(images.device)
        rows = torch.arange(len(truth), device=images.device).repeat_interleave(self.patches)
        side = self.patch_px + 2 * self.border_px
        codes, scores, details = self.look(cut(images, rows, boxes_of(places, side=side), (side, side)))

        def wanted(side: int) -> torch.Tensor:
            parts = []
            for (places, _, objects), picture in zip(pictures, truth, strict=True):
                masks = picture["masks"][objects.to(images.device), None].float()  # (p, 1, H, W)
                boxes = boxes_of(places[: len(objects)], side=self.patch_px).to(images.device)
                parts.append(cut(masks, torch.arange(len(masks), device=images.device), boxes, (side, side))[:, 0] > 0.5)
            return torch.cat(parts)

        is_object, is_trained = kinds == 1, kinds >= 0
        losses = self.mask_losses(codes[is_object, 0, 0], [detail[is_object] for detail in details], wanted)
        if not self.trains_scores:
            return losses
        judged = F.binary_cross_entropy_with_logits(scores[:, 0, 0].float(), is_object.float(), reduction="none")
        return losses | {"score": self.score_weight * judged[is_trained].sum() / is_trained.sum().clamp(min=1)}

    def _level(self, images: torch.Tensor, scale: float) -> Level:
        """All places at a scale: the first patch has its middle at the picture's corner, the last ones at or beyond its end."""
        start = -(self.patch_px / 2 + self.border_px)
        size = [-(-int(side * scale) // STRIDE) * STRIDE + self.patch_px + 2 * self.border_px for side in images.shape[2:]]
        box = torch.tensor([start, start, start + size[1], start + size[0]], device=images.device) / scale
        rows = torch.arange(len(images), device=images.device)
        codes, scores, details = self.look(cut(images, rows, box.expand(len(images), 4), tuple(size)))
        return Level(scale, codes, scores.float().sigmoid(), details)

    def _found(self, row: int, levels: Sequence[Level], size: tuple[int, int]) -> dict[str, torch.Tensor]:
        """The objects of one picture: the surest places of all scales."""
        scores = torch.cat([level.scores[row].flatten() for level in levels])
        order = scores.argsort(descending=True, stable=True)[: self.most_objects]
        order = order[scores[order] >= self.score_threshold]
        masks, first = torch.zeros(len(order), *size, dtype=torch.bool, device=scores.device), 0
        for level in levels:
            count = level.scores[row].numel()
            ranks = torch.nonzero((order >= first) & (order < first + count))[:, 0]
            for part in ranks.split(CHUNK):
                masks[part] = self._pasted(row, level, order[part] - first, size)
            first += count
        kept = torch.nonzero(masks.any(dim=2).any(dim=1))[:, 0]
        if self.nms_threshold is not None:
            kept = kept[nms(mask_boxes(masks[kept]), scores[order[kept]], self.nms_threshold)]
        return {"scores": scores[order[kept]], "labels": torch.ones_like(kept), "masks": masks[kept]}

    def _pasted(self, row: int, level: Level, places: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(N, H, W) bool: the masks of N places of a level, counted along its rows."""
        y, x = places // level.scores.shape[2], places % level.scores.shape[2]
        windows = [self._windows(detail[row], level.scores.shape[1])[:, y, x].transpose(0, 1) for detail in level.details]
        middles = torch.stack([x * STRIDE / level.scale, y * STRIDE / level.scale, torch.full_like(x, 1) * level.scale], dim=1)
        logits = self.masks(level.codes[row, y, x], windows)
        return pasted(logits, boxes_of(middles, side=self.patch_px), size, threshold=self.mask_threshold)

    def _windows(self, detail: torch.Tensor, rows: int) -> torch.Tensor:
        """(C, n, m, h, w): what each place, in its `rows` n, sees of (C, H, W) details; a view that takes no memory."""
        cells = self.patch_px // STRIDE
        ratio = detail.shape[1] // (rows + cells - 1)  # cells of this map for one of the encoder's last
        return detail.unfold(1, cells * ratio, ratio).unfold(2, cells * ratio, ratio)

    def _fill(self, pretrained: str) -> None:
        """Take all weights of a DeepMask; layers that it does not have stay as they are."""
        path = _encoders.pinned_file(pretrained)
        try:
            self.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise ValueError(f"pretrained: {path} does not fit: {str(error).splitlines()[1].strip()}") from None


def mask_loss(logits: torch.Tensor, wanted: Callable[[int], torch.Tensor]) -> torch.Tensor:
    """Mean logistic loss over pixels and N masks of (N, s, s) logits; 0 where N is."""
    costs = F.binary_cross_entropy_with_logits(logits.float(), wanted(logits.shape[-1]).float(), reduction="sum")
    return costs / max(1, logits.numel())


@torch.enable_grad()
def shorten(encoder: nn.Module, place: int) -> None:
    """Put nothing in the place of layers that only the maps behind number `place` need: they would cost time and learn nothing.

    They are told by their weights, which have no influence on the maps up to `place`.
    """
    named = [(name, parameter) for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    like = named[0][1]
    encoder.eval()
    maps = encoder(torch.zeros(1, 3, 64, 64, dtype=like.dtype, device=like.device))[: place + 1]
    gradients = torch.autograd.grad(sum(one.sum() for one in maps), [one for _, one in named], allow_unused=True)
    used = [name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is not None]
    unused = [name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is None]
    for name in [name for name, _ in encoder.named_modules() if name]:
        prefix = f"{name}."
        if any(one.startswith(prefix) for one in unused) and not any(one.startswith(prefix) for one in used):
            parent, _, last = name.rpartition(".")
            setattr(encoder.get_submodule(parent), last, nn.Identity())
            unused = [one for one in unused if not one.startswith(prefix)]


def _holds_proposals(pretrained: str) -> bool:
    with safe_open(_encoders.pinned_file(pretrained), framework="pt") as given:
        return any(name.startswith("score_branch.") for name in given.keys())  # noqa: SIM118 - no mapping
