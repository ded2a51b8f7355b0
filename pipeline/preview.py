"""The contact sheet of the augmentation policy: what training will see, with the truth laid over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.arrays import ArraySplit
from pipeline.structures import LabelSpace, Target
from pipeline.transforms import augment

SHOWN_SIDE_PX = 256  # shorter side of a tile; smaller pictures are enlarged so that lines stay thin
OPACITY = 0.45
LEGEND_CLASSES = 40  # more names than this fit no legend
PAPER, INK = "#ffffff", "#222222"


def contact_sheet(
    split: ArraySplit, path: Path, *, label_space: LabelSpace, policy: Mapping, seed: int, pictures: int = 4, epochs: int = 5
) -> None:
    """Write a PNG: a row for each of some pictures, spread evenly; the original, then the variants of the first epochs.

    Parameters
    ----------
    split : the training pictures
    policy : options of `pipeline.transforms.augment`
    seed : of the run; the variants are those that training with this seed sees

    Void is hatched, classes have their colours and white outlines.
    """
    chosen = np.unique(np.linspace(0, len(split) - 1, pictures).round().astype(int)).tolist()
    rows = []
    for index in chosen:
        image, target = split.image(index), split.target(index)
        pairs = [(image, target)]
        for epoch in range(1, epochs + 1):  # as training counts them
            rng = np.random.default_rng([seed, epoch, index])
            pairs.append(augment(image, target, rng, void=label_space.void, **policy))
        rows.append([overlay(*pair, label_space=label_space) for pair in pairs])
    seen = np.unique(np.concatenate([np.unique(split.target(index).labels) for index in chosen]))
    _draw(path, rows, names=[split.ids[index] for index in chosen], label_space=label_space, seen=seen.tolist())


def overlay(image: np.ndarray, target: Target, *, label_space: LabelSpace) -> np.ndarray:
    """The picture with its labels laid over it, at least SHOWN_SIDE_PX px on the shorter side.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
    target : of the same size

    Returns
    -------
    (h, w, 3) uint8 RGB
    """
    factor = max(1, -(-SHOWN_SIDE_PX // min(image.shape[:2])))
    labels = target.labels.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = labels.shape
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    tile = cv2.addWeighted(image, 1 - OPACITY, label_space.paint(labels), OPACITY, 0)
    void = labels == label_space.void
    y, x = np.mgrid[:height, :width]
    is_stripe = (x + y) % 16 < 5
    tile[void] = np.where(is_stripe[void, None], np.uint8(70), tile[void] // 2 + np.uint8(110))
    tile[_outlines(labels)] = 255
    return tile


def _outlines(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose right or lower neighbour has another label."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def _draw(
    path: Path, rows: Sequence[Sequence[np.ndarray]], *, names: Sequence[str], label_space: LabelSpace, seen: Sequence[int]
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [max(tile.shape[0] / tile.shape[1] for tile in row) for row in rows]
    inches = 2.1  # of a tile's width
    columns, foot = len(rows[0]), 0.4
    figure = Figure((inches * columns, inches * sum(heights) + 0.2 * len(rows) + foot), dpi=110, facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, (tiles, name) in enumerate(zip(rows, names, strict=True)):
        for column, tile in enumerate(tiles):
            axis = axes[row, column]
            axis.imshow(tile, interpolation="antialiased")
            axis.set_axis_off()
            if column == 0:
                axis.set_title(name, fontsize=8, color=INK, loc="left", pad=3)
            elif row == 0:
                axis.set_title(f"epoch {column}", fontsize=8, color=INK, loc="left", pad=3)
    share = foot / figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, bottom=share, top=1 - share / 2, wspace=0.03, hspace=0.12)
    _add_legend(figure, label_space, seen)
    figure.savefig(path, metadata={"Software": None})  # the same bytes whichever matplotlib wrote its name there


def _add_legend(figure, label_space: LabelSpace, seen: Sequence[int]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=np.array(label_space.colours[label]) / 255, label=label_space.names[label])
        for label in seen[:LEGEND_CLASSES]
        if label != label_space.void
    ]
    handles.append(Patch(facecolor="#bbbbbb", edgecolor="#464646", hatch="////", label="void: counts nowhere"))
    figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 10), frameon=False, fontsize=8)
