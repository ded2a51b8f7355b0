"""The contact sheet of the augmentation policy: what training will see, with the truth laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline import sheet
from pipeline.arrays import ArraySplit
from pipeline.structures import LabelSpace
from pipeline.transforms import augment


def contact_sheet(
    split: ArraySplit, path: Path, *, label_space: LabelSpace, policy: Mapping, seed: int, pictures: int = 4, epochs: int = 5
) -> None:
    """Write a PNG: a row for each of some pictures, spread evenly; the original, then the variants of the first epochs.

    Parameters
    ----------
    split : the training pictures
    policy : options of `pipeline.transforms.augment`
    seed : of the run; the variants are those that training with this seed sees
    """
    chosen = np.unique(np.linspace(0, len(split) - 1, pictures).round().astype(int)).tolist()
    rows = []
    for index in chosen:
        image, target = split.image(index), split.target(index)
        pairs = [(image, target)]
        for epoch in range(1, epochs + 1):  # as training counts them
            rng = np.random.default_rng([seed, epoch, index])
            pairs.append(augment(image, target, rng, void=label_space.void, **policy))
        rows.append([sheet.overlay(image, target.labels, label_space=label_space) for image, target in pairs])
    seen = np.unique(np.concatenate([np.unique(split.target(index).labels) for index in chosen]))
    titles = [
        [split.ids[index], *(f"epoch {epoch}" if row == 0 else "" for epoch in range(1, epochs + 1))]
        for row, index in enumerate(chosen)
    ]
    sheet.draw(path, rows, titles=titles, label_space=label_space, seen=seen.tolist())
