"""A sheet of pictures with their labels laid over them, titles and a legend, as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.resizing import resize_labels
from pipeline.structures import LabelSpace

SHOWN_SIDE_PX = 256  # shorter side of a tile; smaller pictures are enlarged so that lines stay thin, larger ones made smaller
OPACITY = 0.45
LEGEND_CLASSES = 40  # more names than this fit no legend
TITLE_CHARACTERS = 40  # of a tile; a longer one loses its beginning
PAPER, INK = "#ffffff", "#222222"


def overlay(image: np.ndarray, labels: np.ndarray, *, label_space: LabelSpace, parts: np.ndarray | None = None) -> np.ndarray:
    """The picture with its labels laid over it, SHOWN_SIDE_PX to twice as many px on the shorter side.

    Void is hatched, classes have their colours and white outlines.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
    labels : (H, W) uint8 or uint16, class index or void
    parts : (H, W) integers, what the outlines part, such as the objects in the labels; None: the labels

    Returns
    -------
    (h, w, 3) uint8 RGB
    """
    factor = max(1, -(-SHOWN_SIDE_PX // min(image.shape[:2])))
    shrink = max(1, min(image.shape[:2]) // SHOWN_SIDE_PX)
    height, width = (max(1, side * factor // shrink) for side in image.shape[:2])
    labels = resize_labels(labels, height, width)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrink > 1 else cv2.INTER_CUBIC)
    tile = cv2.addWeighted(image, 1 - OPACITY, label_space.paint(labels), OPACITY, 0)
    void = labels == label_space.void
    y, x = np.mgrid[:height, :width]
    is_stripe = (x + y) % 16 < 5
    tile[void] = np.where(is_stripe[void, None], np.uint8(70), tile[void] // 2 + np.uint8(110))
    tile[_outlines(labels if parts is None else resize_labels(parts, height, width))] = 255
    return tile


def _outlines(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose right or lower neighbour has another label."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def draw(
    path: Path,
    rows: Sequence[Sequence[np.ndarray]],
    *,
    titles: Sequence[Sequence[str]],
    label_space: LabelSpace,
    seen: Sequence[int],
) -> None:
    """Write rows of tiles as one picture, PNG or JPEG by the suffix: the same bytes for the same tiles.

    Parameters
    ----------
    rows : of (h, w, 3) uint8 RGB tiles; a row may be shorter than another
    titles : of each tile; "" for none
    seen : the labels in them, which the legend names
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [max(tile.shape[0] / tile.shape[1] for tile in row) for row in rows]
    inches = 2.1  # of a tile's width
    columns = max(map(len, rows))
    handles = _legend(label_space, seen)
    widest = max(len(handle.get_label()) for handle in handles)
    names_per_line = max(1, min(len(handles), int(inches * columns / (0.45 + 0.07 * widest))))
    foot = 0.2 + 0.2 * -(-len(handles) // names_per_line)
    figure = Figure((inches * columns, inches * sum(heights) + 0.2 * len(rows) + 0.2 + foot), dpi=110, facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis in axes.flat:
        axis.set_axis_off()
    for tiles, texts, places in zip(rows, titles, axes, strict=True):
        for tile, text, axis in zip(tiles, texts, places, strict=False):
            axis.imshow(tile, interpolation="antialiased")
            shown = text if len(text) <= TITLE_CHARACTERS else "…" + text[1 - TITLE_CHARACTERS :]
            axis.set_title(shown, fontsize=8, color=INK, loc="left", pad=3, parse_math=False)
    inch = 1 / figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, bottom=foot * inch, top=1 - 0.2 * inch, wspace=0.03, hspace=0.12)
    figure.legend(handles=handles, loc="lower center", ncols=names_per_line, frameon=False, fontsize=8)
    if path.suffix == ".png":
        figure.savefig(path, metadata={"Software": None})  # the same bytes whichever matplotlib wrote its name there
    else:
        figure.savefig(path, pil_kwargs={"quality": 88, "optimize": True})


def _legend(label_space: LabelSpace, seen: Sequence[int]) -> list:
    """A patch for each label, the last one for void."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=np.array(label_space.colours[label]) / 255, label=label_space.names[label])
        for label in seen[:LEGEND_CLASSES]
        if label != label_space.void
    ]
    return [*handles, Patch(facecolor="#bbbbbb", edgecolor="#464646", hatch="////", label="void: counts nowhere")]
