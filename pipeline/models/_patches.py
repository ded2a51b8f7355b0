"""Patches of pictures: which of them show an object, how they are cut out, and how their masks are put back."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torchvision.ops import roi_align

from pipeline.models._instances import in_crowd

# of a patch's px and of its scale: what a positive patch may be off, and what a negative one is off at least
JITTER_PX, JITTER_OCTAVES = 16, 0.25
FAR_PX, FAR_OCTAVES = 32, 1.0
CANDIDATES = 50  # places looked at for each negative patch
MOST_SAMPLES = 4  # along a side, of which the mean makes a pixel of a patch


def canonical(boxes: torch.Tensor, *, object_px: float) -> torch.Tensor:
    """The place at which each object fills a patch as it should.

    Parameters
    ----------
    boxes : (N, 4)
    object_px : what the longer side of an object has in a patch

    Returns
    -------
    (N, 3) x and y of the patch's middle in px of the picture, and its scale: px of the patch for one of the picture
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    longer = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
    return torch.cat([middle, object_px / longer], dim=1)


def jittered(places: torch.Tensor) -> torch.Tensor:
    """(N, 3) canonical places, each moved by at most JITTER_PX of the patch along either axis, and by JITTER_OCTAVES."""
    draws = 2 * torch.rand(len(places), 3) - 1
    scales = places[:, 2:] * 2 ** (JITTER_OCTAVES * draws[:, 2:])
    return torch.cat([places[:, :2] + JITTER_PX * draws[:, :2] / scales, scales], dim=1)


def is_negative(places: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """(C,) bool: which of (C, 3) places are no object's: far, in position or in scale, from each of (N, 3) canonical ones."""
    shifts = (places[:, None, :2] - objects[None, :, :2]).abs() * places[:, None, 2:]  # (C, N, 2), px of the patch
    octaves = (places[:, None, 2].log2() - objects[None, :, 2].log2()).abs()
    return ((shifts >= FAR_PX).any(dim=2) | (octaves >= FAR_OCTAVES)).all(dim=1)


def drawn(
    truth: Mapping[str, torch.Tensor], size: tuple[int, int], *, count: int, object_px: float, scales: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The patches of one picture that are trained on: half of them on objects, where it has some.

    Parameters
    ----------
    truth : `boxes` and `crowd` of the picture, as `InstanceNetwork` gives them
    size : height and width of the picture
    count : P
    scales : at which objects are searched for; negative patches lie between the least and the greatest, and a jitter beyond

    Returns
    -------
    places : (P, 3), as `canonical` gives them
    kinds : (P,) 1 an object, 0 none, -1 neither: where no place was found that is far from all objects and outside of crowds
    objects : (p,) which object each of the first p patches is on

    All of it is drawn by torch on the CPU, so that its seed decides.
    """
    objects = canonical(truth["boxes"].cpu().float(), object_px=object_px)
    chosen = torch.randint(max(len(objects), 1), (count // 2 if len(objects) else 0,))
    positive, missing = jittered(objects[chosen]), count - len(chosen)
    low, high = torch.tensor(min(scales)).log2() - JITTER_OCTAVES, torch.tensor(max(scales)).log2() + JITTER_OCTAVES
    edges = torch.tensor([size[1], size[0]]).float()
    draws = torch.rand(CANDIDATES * missing, 3)
    spread = torch.cat([draws[:, :2] * edges, 2 ** (low + draws[:, 2:] * (high - low))], dim=1)
    shown = torch.minimum(boxes_of(spread, side=object_px).clamp(min=0), edges.repeat(2))  # of what would be the object
    is_far = is_negative(spread, objects) & ~in_crowd(shown, truth["crowd"].cpu())
    found = torch.nonzero(is_far)[:missing, 0]
    kinds = torch.full((count,), -1)
    kinds[: len(chosen)], kinds[len(chosen) : len(chosen) + len(found)] = 1, 0
    return torch.cat([positive, spread[found], spread[: missing - len(found)]]), kinds, chosen


def boxes_of(places: torch.Tensor, *, side: float) -> torch.Tensor:
    """(P, 4) the squares in the picture that have `side` px in the patches of (P, 3) places."""
    half = side / 2 / places[:, 2:]
    return torch.cat([places[:, :2] - half, places[:, :2] + half], dim=1)


def cut(pictures: torch.Tensor, rows: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """What pictures show in boxes, at another size; 0 beyond their edges.

    Parameters
    ----------
    pictures : (B, C, H, W) float
    rows : (P,) int64, the picture of each box
    boxes : (P, 4) of the shape of `size`, anywhere

    Returns
    -------
    (P, C, *size): each pixel is the mean of samples no further apart than a pixel of the picture, up to MOST_SAMPLES a side
    """
    steps = (boxes[:, 3] - boxes[:, 1]) / size[0]  # px of the picture for one of the result
    samples = (steps - 0.01).ceil().clamp(1, MOST_SAMPLES).long()
    result = pictures.new_zeros(len(boxes), pictures.shape[1], *size)
    for number in samples.unique().tolist():
        these = samples == number
        places = torch.cat([rows[these, None].to(boxes), boxes[these]], dim=1).to(pictures)
        result[these] = roi_align(pictures, places, size, sampling_ratio=number, aligned=True)
    return result


def pasted(logits: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int], *, threshold: float) -> torch.Tensor:
    """(N, s, s) logits, each stretched over its box: (N, H, W) bool, the probability above the threshold.

    One by one: as numbers all of them would be many.
    """
    result = torch.zeros(len(logits), *size, dtype=torch.bool, device=logits.device)
    limit = torch.logit(torch.tensor(threshold)).item()
    for row, mask, box in zip(result, logits.float(), boxes.tolist(), strict=True):
        # pixels whose centres lie in the box
        (x0, x1), (y0, y1) = (
            (max(0, round(low)), min(side, round(high)))
            for low, high, side in ((box[0], box[2], size[1]), (box[1], box[3], size[0]))
        )
        if x0 >= x1 or y0 >= y1:
            continue
        x = ((torch.arange(x0, x1, device=mask.device) + 0.5 - box[0]) / (box[2] - box[0])) * 2 - 1
        y = ((torch.arange(y0, y1, device=mask.device) + 0.5 - box[1]) / (box[3] - box[1])) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2)
        sampled = F.grid_sample(mask[None, None], grid[None], padding_mode="border", align_corners=False)[0, 0]
        row[y0:y1, x0:x1] = sampled > limit
    return result


def mask_boxes(masks: torch.Tensor) -> torch.Tensor:
    """(N, H, W) bool, none of them empty, to the (N, 4) boxes around them."""
    edges = []
    for dim in (1, 2):  # columns, then rows
        taken = masks.any(dim=dim).byte()
        edges += [taken.argmax(dim=1), taken.shape[1] - taken.flip(1).argmax(dim=1)]
    x0, x1, y0, y1 = edges
    return torch.stack([x0, y0, x1, y1], dim=1).float()
