"""Augmentation: one warp for the geometry and one colour matrix, on (image, target, rng).

Pixel centres have integer coordinates everywhere, so that image, labels and masks stay aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.structures import InstanceSet, Target

# luma and chroma of RGB; in this basis hue turns the two chroma axes and saturation scales them, and luma stays
YIQ_FROM_RGB = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
RGB_FROM_YIQ = np.linalg.inv(YIQ_FROM_RGB)
LUMA = YIQ_FROM_RGB[0]


def augment(
    image: np.ndarray,
    target: Target,
    rng: np.random.Generator,
    *,
    void: int,
    horizontal_flip: float = 0.5,
    vertical_flip: float = 0.0,
    rotation_degrees: float = 0.0,
    zoom: Sequence[float] = (1.0, 1.0),
    crop: Sequence[int] | None = None,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue_degrees: float = 0.0,
) -> tuple[np.ndarray, Target]:
    """A random variant of a picture and its truth; the same `rng` state gives the same variant.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
    target : its truth
    void : the label of what the picture does not cover, after a rotation, a zoom out or a crop beyond the edge
    horizontal_flip, vertical_flip : probability
    rotation_degrees : the angle is uniform in -x..x, about the middle of the picture
    zoom : least and greatest factor, drawn uniform in its logarithm; above 1 enlarges
    crop : height and width of the result in px, its place drawn at random; None keeps the picture's own
    brightness, contrast, saturation : the factor is uniform in 1-x..1+x; contrast about the picture's mean grey
    hue_degrees : the turn of the colours is uniform in -x..x, in the YIQ plane

    Returns
    -------
    image : (h, w, 3) uint8; what the picture does not cover has its mean colour
    target : labels by nearest neighbour; objects that left the picture are dropped

    Where nothing is drawn the values are the same, and flips and crops alone move pixels without interpolation.

    Raises
    ------
    ValueError : sizes differ, or `zoom` is not a rising pair above 0.
    """
    if image.shape[:2] != target.labels.shape:
        raise ValueError(f"augment: image is {image.shape[:2]} and labels {target.labels.shape} (height, width)")
    if not 0 < zoom[0] <= zoom[1]:
        raise ValueError(f"augment: zoom {list(zoom)}; give [least, greatest] with 0 < least <= greatest")
    draws = rng.random(10)  # always all of them: one option does not shift the draws of another
    view = _draw_view(
        draws[:6],
        size=image.shape[:2],
        flips=(horizontal_flip, vertical_flip),
        rotation_degrees=rotation_degrees,
        zoom=zoom,
        crop=crop,
    )
    colour = _draw_colour(draws[6:], (brightness, contrast, saturation), hue_degrees)
    image, target = _cut(image, target, view, void) if view.is_exact else _warp(image, target, view, void)
    return (image if colour is None else _recolour(image, *colour)), target


@dataclass(frozen=True)
class _View:
    """Which part of the picture, turned, zoomed and flipped, is seen through the frame of the result."""

    size: tuple[int, int]  # of the picture: height, width
    frame: tuple[int, int]  # of the result
    offset: tuple[int, int]  # top left of the frame in the zoomed picture: y, x; negative where it juts out
    flip_x: bool
    flip_y: bool
    angle: float  # radians
    zoom: float

    @property
    def is_exact(self) -> bool:
        """No pixel falls between two pixels."""
        return self.angle == 0 and self.zoom == 1

    def matrix(self) -> np.ndarray:
        """(2, 3) float64: result pixel (x, y, 1) to picture pixel (x, y)."""
        (height, width), (top, left) = self.size, self.offset
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        # frame -> zoomed picture -> picture: the edge of a pixel lies half a pixel before its centre
        unzoom = np.array([[1, 0, left + 0.5], [0, 1, top + 0.5], [0, 0, self.zoom]]) / self.zoom
        unzoom[:2, 2] -= 0.5 + np.array([middle_x, middle_y])  # coordinates from the middle
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        sign_x, sign_y = (-1 if self.flip_x else 1), (-1 if self.flip_y else 1)
        turn = np.array([[sign_x * cos, -sign_x * sin, middle_x], [sign_y * sin, sign_y * cos, middle_y]])
        return turn @ unzoom


def _draw_view(draws, *, size, flips, rotation_degrees, zoom, crop) -> _View:
    factor = float(np.exp(np.log(zoom[0]) + draws[3] * (np.log(zoom[1]) - np.log(zoom[0])))) if zoom[0] < zoom[1] else zoom[0]
    frame = tuple(crop) if crop is not None else tuple(size)
    slack = [round(side * factor) - kept for side, kept in zip(size, frame, strict=True)]
    offset = [min(0, room) + int(draw * (abs(room) + 1)) for draw, room in zip(draws[4:], slack, strict=True)]
    return _View(
        size=tuple(size),
        frame=frame,
        offset=tuple(offset),
        flip_x=bool(draws[0] < flips[0]),
        flip_y=bool(draws[1] < flips[1]),
        angle=float(np.deg2rad((2 * draws[2] - 1) * rotation_degrees)),
        zoom=factor,
    )


def _cut(image: np.ndarray, target: Target, view: _View, void: int) -> tuple[np.ndarray, Target]:
    """Flips and a crop with padding, pixel by pixel."""
    (height, width), (top, left) = view.frame, view.offset
    inside = (slice(max(top, 0), max(top + height, 0)), slice(max(left, 0), max(left + width, 0)))
    step_y, step_x = (-1 if view.flip_y else 1), (-1 if view.flip_x else 1)

    def cut(plane: np.ndarray, fill) -> np.ndarray:
        part = plane[::step_y, ::step_x][inside]
        if part.shape[:2] == view.frame:
            return np.ascontiguousarray(part)
        result = np.full((*view.frame, *plane.shape[2:]), fill, plane.dtype)
        y, x = max(-top, 0), max(-left, 0)
        result[y : y + part.shape[0], x : x + part.shape[1]] = part
        return result

    return cut(image, _mean_colour(image)), _moved(target, cut, void)


def _warp(image: np.ndarray, target: Target, view: _View, void: int) -> tuple[np.ndarray, Target]:
    """All of the geometry in one resampling: the image linearly, labels and masks by nearest neighbour."""
    matrix, (height, width) = view.matrix(), view.frame

    def warp(plane: np.ndarray, fill, interpolation: int = cv2.INTER_NEAREST) -> np.ndarray:
        return cv2.warpAffine(
            plane,
            matrix,
            (width, height),
            flags=interpolation | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )

    return warp(image, _mean_colour(image), cv2.INTER_LINEAR), _moved(target, warp, void)


def _moved(target: Target, move, void: int) -> Target:
    """The target with `move(plane, fill)` done to its labels and to each mask; emptied objects leave."""
    labels, objects = move(target.labels, void), target.instances
    if objects is None:
        return Target(labels)
    masks = np.zeros((len(objects), *labels.shape), bool)
    for index, mask in enumerate(objects.masks):
        masks[index] = move(mask.view(np.uint8), 0).view(bool)
    moved: InstanceSet = replace(objects, masks=masks)
    return Target(labels, moved[masks.any(axis=(1, 2))])


def _mean_colour(image: np.ndarray) -> tuple[int, ...]:
    return tuple(round(value) for value in cv2.mean(image)[:3])


def _draw_colour(draws: np.ndarray, spans: tuple[float, float, float], hue_degrees: float):
    """(3, 3) matrix, contrast and brightness factors; None where all of them change nothing."""
    if not any(spans) and not hue_degrees:
        return None
    brightness, contrast, saturation = 1 + (2 * draws[:3] - 1) * np.array(spans)
    hue = np.deg2rad((2 * draws[3] - 1) * hue_degrees)
    cos, sin = saturation * np.cos(hue), saturation * np.sin(hue)
    chroma = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return RGB_FROM_YIQ @ chroma @ YIQ_FROM_RGB, contrast, brightness


def _recolour(image: np.ndarray, colours: np.ndarray, contrast: float, brightness: float) -> np.ndarray:
    """contrast * (brightness * colours @ rgb - grey) + grey, rounded and clipped to 0..255."""
    grey = brightness * float(np.dot(LUMA, cv2.mean(image)[:3]))  # `colours` keeps luma
    offset = np.full((3, 1), (1 - contrast) * grey)
    return cv2.transform(image, np.hstack([contrast * brightness * colours, offset]))
