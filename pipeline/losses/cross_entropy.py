"""Cross-entropy over the labelled pixels."""

import torch
import torch.nn.functional as F


def cross_entropy(logits, labels, *, ignore_label, class_weights=None):
    """Mean negative log-likelihood of the true class, over the labelled pixels.

    Parameters
    ----------
    logits : (B, C, H, W) float tensor
    labels : (B, H, W) int64 tensor, values 0..C-1 or `ignore_label`
    class_weights : (C,) float tensor, or None
        Each pixel weighs as its true class does; the sum is divided by the sum of the weights.

    Returns
    -------
    () float tensor, nats; 0 when no labelled pixel is left, or none whose class weighs anything.

    Raises
    ------
    ValueError : shapes do not match.

    Examples
    --------
    >>> logits = torch.zeros(1, 2, 1, 2)
    >>> round(cross_entropy(logits, torch.tensor([[[0, 255]]]), ignore_label=255).item(), 4)  # log 2
    0.6931
    """
    if logits.ndim != 4 or logits.shape[:1] + logits.shape[2:] != labels.shape:
        raise ValueError(
            f"logits are {tuple(logits.shape)} and labels {tuple(labels.shape)}; wanted (B, C, H, W) and (B, H, W)"
        )
    total = F.cross_entropy(logits.float(), labels, weight=class_weights, ignore_index=ignore_label, reduction="sum")
    if class_weights is None:
        mass = (labels != ignore_label).sum()
    else:
        mass = F.pad(class_weights, (0, 1)).take(labels.clamp_max(logits.shape[1])).sum()  # void lies past the last class
    return total / mass.clamp_min(torch.finfo(torch.float32).tiny)
