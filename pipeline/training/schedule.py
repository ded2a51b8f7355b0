"""The learning rate over a training, as a factor on the configured one.

Each takes `progress`, the share of the training at the middle of a step, between 0 and 1: the rate follows from the
step alone, so that resuming has no state to lose.
"""

import math


def constant(progress: float, *, warm_up: float = 0.0) -> float:
    """Full rate, after a linear rise over the share `warm_up` of the training."""
    return _rise(progress, warm_up)


def poly(progress: float, *, power: float = 0.9, warm_up: float = 0.0) -> float:
    """(1 - progress)^power, after a linear rise over the share `warm_up`.

    References
    ----------
    Chen et al. 2017, DeepLab v2, arXiv:1606.00915, section 4.1 (power 0.9).

    Examples
    --------
    >>> [round(poly(p, power=1.0), 2) for p in (0.0, 0.25, 1.0)]
    [1.0, 0.75, 0.0]
    """
    return _rise(progress, warm_up) * (1 - progress) ** power


def one_cycle(progress: float, *, warm_up: float = 0.3, start: float = 0.04, end: float = 0.0001) -> float:
    """Cosine from `start` up to 1 over the share `warm_up`, then cosine down to `end`.

    References
    ----------
    Smith and Topin 2018, Super-Convergence, arXiv:1708.07120; cosine arms as in fast.ai and torch's OneCycleLR.

    Examples
    --------
    >>> [round(one_cycle(p), 2) for p in (0.0, 0.3, 1.0)]
    [0.04, 1.0, 0.0]
    """
    if progress < warm_up:
        return _cosine(start, 1.0, progress / warm_up)
    return _cosine(1.0, end, (progress - warm_up) / (1 - warm_up))


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def _rise(progress: float, warm_up: float) -> float:
    return min(1.0, progress / warm_up) if warm_up > 0 else 1.0
