"""The pictures that are kept of a prediction: what lies over the photo, the same of the truth, and all beside each other.

    ID.png               the layer of the prediction, see `pipeline.drawing`
    truth/ID.png         that of the truth, in the same form
    beside_truth/ID.jpg  photo, truth and prediction as one picture with a legend

The report lays the first two over the photo; the last needs no page around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline import drawing, files, lettering
from pipeline.resizing import resize_image
from pipeline.structures import LabelSpace, Prediction, Sample

GAP_PX = 10
TEXT_PX, LEAST_TEXT_PX = 20, 11
PAPER, VOID = (255, 255, 255), "unlabelled, or nothing predicted"
JPEG, PNG = (cv2.IMWRITE_JPEG_QUALITY, 85), (cv2.IMWRITE_PNG_COMPRESSION, 9)


def write(folder: Path, sample: Sample, prediction: Prediction, label_space: LabelSpace) -> None:
    """Write the three files of a sample, whichever kind the prediction is."""
    truth, size = drawing.truth_like(prediction, sample, label_space), drawing.shown_size(sample.shape)
    layers = [
        drawing.layer(truth, label_space, size, is_truth=True),
        drawing.layer(prediction, label_space, size),
    ]
    for path, layer in zip((folder / "truth", folder), layers, strict=True):
        order = [2, 1, 0, 3][: layer.shape[2]]
        files.write_bytes(path / f"{sample.id}.png", cv2.imencode(".png", layer[..., order], PNG)[1].data)
    panels = [resize_image(sample.image, *size), *(_panel(sample.image, layer, size) for layer in layers)]
    titles = [sample.id, f"truth{_count(truth, label_space, is_truth=True)}", f"prediction{_count(prediction, label_space)}"]
    picture = beside(panels, titles, _legend(truth, prediction, label_space))
    files.write_bytes(folder / "beside_truth" / f"{sample.id}.jpg", cv2.imencode(".jpg", picture[..., ::-1], JPEG)[1].data)


def _panel(image: np.ndarray, layer: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if layer.shape[2] == 3:
        return cv2.resize(layer, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return drawing.over(image, layer)


def _count(prediction: Prediction, label_space: LabelSpace, *, is_truth: bool = False) -> str:
    """How many objects are drawn and how many are not; nothing of a semantic map."""
    if not drawing.has_objects(prediction):
        return ""
    drawn, hidden = drawing.counts(prediction, label_space, is_truth=is_truth)
    return f": {drawn} object{'s' * (drawn != 1)}" + (f", {hidden} with lower scores not drawn" if hidden else "")


def _legend(truth: Prediction, prediction: Prediction, label_space: LabelSpace) -> dict[str, Sequence[int]]:
    """Name -> colour of what is seen and has no name beside it: of all classes, and with objects of the stuff around them."""
    if not drawing.has_stuff(prediction):
        return {}
    seen = {int(label) for one in (truth, prediction) for label in np.unique(one.semantic(label_space))}
    named = label_space.isthing if drawing.has_objects(prediction) else [False] * label_space.num_classes
    legend = {label_space.names[one]: label_space.colours[one] for one in sorted(seen - {label_space.void}) if not named[one]}
    return legend if drawing.has_objects(prediction) or label_space.void not in seen else {**legend, VOID: (0, 0, 0)}


def beside(panels: Sequence[np.ndarray], titles: Sequence[str], legend: Mapping[str, Sequence[int]]) -> np.ndarray:
    """Panels in a row with a title above each, and names with their colours below.

    Parameters
    ----------
    panels : (h, w, 3) uint8 RGB, all of one size
    titles : of each; one that is too long for its panel is written smaller

    Returns
    -------
    (H, W, 3) uint8 RGB
    """
    height, width = panels[0].shape[:2]
    head = lettering.size("", TEXT_PX)[1] + GAP_PX
    sheet = np.full((head + height, len(panels) * (width + GAP_PX) - GAP_PX, 3), PAPER, np.uint8)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = index * (width + GAP_PX)
        fitting = (one for one in range(TEXT_PX, LEAST_TEXT_PX, -1) if lettering.size(title, one)[0] <= width)
        text_px = next(fitting, LEAST_TEXT_PX)
        lettering.write(sheet, title, (left, GAP_PX // 2, left + width, head - GAP_PX // 2), text_px, background=PAPER)
        sheet[head:, left : left + width] = panel
    return np.concatenate([sheet, *_legend_rows(legend, sheet.shape[1])])


def _legend_rows(legend: Mapping[str, Sequence[int]], width: int) -> list[np.ndarray]:
    """(h, width, 3) uint8 each: a chip of colour and the name behind it, as many to a row as fit."""
    rows, left = [], width
    for name, colour in legend.items():
        across, high = lettering.size(name, TEXT_PX)
        if left + high + across > width:
            rows.append(np.full((high + GAP_PX, width, 3), PAPER, np.uint8))
            left = 0
        row = rows[-1]
        row[GAP_PX:, left : left + high] = colour
        lettering.write(row, name, (left + high, GAP_PX, left + high + across, high + GAP_PX), TEXT_PX, background=PAPER)
        left += high + across + 2 * GAP_PX
    return rows
