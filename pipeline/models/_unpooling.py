"""Max pooling that remembers where its maxima stood, and the way back to those places."""

import torch
import torch.nn.functional as F


def pool(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The maxima of 2x2 areas, and their places.

    Parameters
    ----------
    features : (B, C, 2H, 2W) tensor

    Returns
    -------
    (B, C, H, W) maxima; (B, C, H, W) int64, the place row * 2W + column of each in its channel
    """
    return F.max_pool2d(features, 2, return_indices=True)


def unpool(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Each value at the place that `pool` gave, zeros elsewhere; equals `F.max_unpool2d`, which ONNX does not have.

    Parameters
    ----------
    features, places : (B, C, H, W)

    Returns
    -------
    (B, C, 2H, 2W) tensor

    References
    ----------
    Badrinarayanan et al. 2015, arXiv:1511.00561, section 3 and figure 3.
    """
    height, width = features.shape[2:]
    values, places = (one.permute(0, 2, 3, 1).flatten(1, 2) for one in (features, places))  # (B, H*W, C), as in memory
    empty = values.new_zeros(values.shape[0], 4 * height * width, values.shape[2])
    return empty.scatter(1, places, values).unflatten(1, (2 * height, 2 * width)).permute(0, 3, 1, 2)
