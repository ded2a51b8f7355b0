"""Edges of pictures, of label maps and of predictions, and Gated-SCNN's losses on them (all in float32)."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

FLAT = 1e-3  # a boundary weaker than this counts as none: a softmax is never exactly flat


@torch.compiler.disable  # OpenCV's part cannot be traced
def picture_edges(images: torch.Tensor, *, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(B, 3, H, W) normalised images to (B, 1, H, W), 1 where Canny finds an edge and 0 elsewhere; no gradient.

    Computed on the CPU. Thresholds 10 and 100 as in the authors' code, on the picture's bytes: there they meet the
    normalised values cast to bytes (nv-tlabs/GSCNN, issue 22). There an edge is 255, which drives the sigmoid after the 1x1
    convolution that takes it to 0 or 1 whatever else comes in; with 1 the predicted edges keep a say.
    """
    pictures = images.detach().permute(0, 2, 3, 1).float().cpu().numpy()
    pictures = (255 * (pictures * np.float32(std) + np.float32(mean))).round().clip(0, 255).astype(np.uint8)
    edges = np.stack([cv2.Canny(picture, 10, 100) for picture in pictures])
    return torch.from_numpy(edges)[:, None].to(images.device) / 255


def label_edges(labels: torch.Tensor, *, void: int, radius_px: int = 2) -> torch.Tensor:
    """(B, H, W) labels to (B, H, W) bool: another class lies within `radius_px` (Euclidean) of the labelled pixel.

    Void pixels are no edges and make none; neither does the border of the picture, which cuts objects anywhere.

    Parameters
    ----------
    radius_px : as in the authors' code 2, so that edges are 4 px wide
    """
    height, width = labels.shape[1:]
    labels = labels.to(torch.int32)
    padded = F.pad(labels, (radius_px,) * 4, value=void)
    found = torch.zeros_like(labels, dtype=torch.bool)
    for down in range(-radius_px, radius_px + 1):
        for right in range(-radius_px, radius_px + 1):
            if 0 < down**2 + right**2 <= radius_px**2:
                y, x = radius_px + down, radius_px + right
                neighbour = padded[:, y : y + height, x : x + width]
                found |= (neighbour != labels) & (neighbour != void)
    return found & (labels != void)


def losses(
    logits: torch.Tensor, edge_logits: torch.Tensor, labels: torch.Tensor, *, void: int, temperature: float, noise: bool
) -> dict[str, torch.Tensor]:
    """What Gated-SCNN adds to the configured loss, not weighted: edges, boundaries, and the classes on edges.

    Parameters
    ----------
    logits, edge_logits : (B, C, H, W) and (B, 1, H, W)
    labels : (B, H, W) int64, class index or void
    temperature, noise : as in `boundary_difference`
    """
    return {
        "edge": edge_cross_entropy(edge_logits, labels, void=void),
        "boundary": boundary_difference(logits, labels, void=void, temperature=temperature, noise=noise),
        "attention": cross_entropy_on_edges(logits, edge_logits, labels, void=void),
    }


def edge_cross_entropy(edge_logits: torch.Tensor, labels: torch.Tensor, *, void: int) -> torch.Tensor:
    """Mean binary cross-entropy of the edge map over the labelled pixels, edges and others weighing equally much.

    Parameters
    ----------
    edge_logits : (B, 1, H, W)
    labels : (B, H, W) int64, class index or void

    Returns
    -------
    () float32 tensor; 0 when there is no edge, or nothing else, or no labelled pixel.

    References
    ----------
    Takikawa et al. 2019, arXiv:1907.05740, equation 3; each kind of pixel weighs the share of the other kind, as in the
    authors' code (which takes the logistic function twice; the paper does not).
    """
    edges, labelled = label_edges(labels, void=void), labels != void
    pixels = labelled.sum().clamp_min(1)
    share = edges.sum() / pixels  # of edges
    weights = torch.where(edges, 1 - share, share) * labelled
    parts = F.binary_cross_entropy_with_logits(edge_logits.float()[:, 0], edges.float(), reduction="none")
    return (weights * parts).sum() / pixels


def boundary_strength(shares: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) class probabilities, or ones and zeros, to (B, C, H - 2, W - 2), the strength of each class's boundary.

    Equation 4, per class as in the authors' code: the length of the Sobel filter's gradient (a filter that smooths too),
    over the square root of 2; 0..1. The outermost pixels have no whole neighbourhood and are left out.
    """
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=shares.device) / 4
    channels = shares.shape[1]
    with torch.autocast(shares.device.type, enabled=False):
        right, down = (F.conv2d(shares, one.repeat(channels, 1, 1, 1), groups=channels) for one in (sobel, sobel.T))
    return ((right**2 + down**2) / 2).clamp_min(1e-12).sqrt()  # the root of 0 has no gradient


def boundary_difference(
    logits: torch.Tensor, labels: torch.Tensor, *, void: int, temperature: float, noise: bool
) -> torch.Tensor:
    """Mean difference between the boundaries of the prediction and those of the truth, where either has one.

    Parameters
    ----------
    logits : (B, C, H, W)
    labels : (B, H, W) int64, class index or void; void and the pixels beside it count nowhere
    temperature : of the softmax that stands for the argmax
    noise : bool
        Gumbel noise on the logits, from torch's generator of their device.

    Returns
    -------
    () float32 tensor; half the mean over the predicted boundaries, half that over the true ones, 0 where there are none.

    References
    ----------
    Takikawa et al. 2019, arXiv:1907.05740, equations 4, 5 and 8; means in place of sums, as in the authors' code (whose
    gradient returns its input, nv-tlabs/GSCNN, issue 16; the paper's is used here).
    """
    logits = logits.float()
    if noise:
        logits = logits - torch.rand_like(logits).clamp_min(1e-30).log().neg().log()  # Gumbel(0, 1), several times as fast
    shares = (logits / temperature).softmax(dim=1)
    truth = (labels[..., None] == torch.arange(logits.shape[1], device=labels.device)).permute(0, 3, 1, 2)  # (B, C, H, W)
    predicted, wanted = boundary_strength(shares), boundary_strength(truth.float())
    is_known = F.max_pool2d((labels == void).float()[:, None], 3, stride=1) == 0  # (B, 1, H - 2, W - 2)
    chosen = [(strength > FLAT) & is_known for strength in (predicted, wanted)]
    weights = sum(one / one.sum().clamp_min(1) for one in chosen) / 2
    return (weights * (predicted - wanted).abs()).sum()


def cross_entropy_on_edges(
    logits: torch.Tensor, edge_logits: torch.Tensor, labels: torch.Tensor, *, void: int, threshold: float = 0.8
) -> torch.Tensor:
    """Mean cross-entropy over the labelled pixels where an edge is predicted with more than `threshold`; 0 without any.

    References
    ----------
    Takikawa et al. 2019, arXiv:1907.05740, equation 6 (threshold 0.8). A mean in place of the sum; the authors' code also
    weighs the classes here, and in the segmentation loss, by their histogram in each picture.
    """
    chosen = labels.where(edge_logits.float().sigmoid()[:, 0] > threshold, void)
    return F.cross_entropy(logits.float(), chosen, ignore_index=void, reduction="sum") / (chosen != void).sum().clamp_min(1)
