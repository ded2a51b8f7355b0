"""Stands for the losses that a network has itself: a detector's follow from its boxes and masks, not from logits."""


def own(logits, labels, *, ignore_label):
    """No loss of logits. A network with all its losses itself never calls it, and any other must name a real one.

    Raises
    ------
    ValueError : always.
    """
    raise ValueError("loss own: this network gives logits and has no losses of its own; name another, such as cross_entropy")
