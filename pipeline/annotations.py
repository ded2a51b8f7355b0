"""Write masks as annotations: COCO's instances JSON, and labelme's files, which a person can correct.

Outlines run along the edges of the pixels: the pixel in the upper left corner is the square (0, 0), (1, 0), (1, 1), (0, 1). The
masks that pycocotools makes of them are the ones they came from, to the pixel. Pixels that touch at a corner are connected.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from pycocotools import mask as coco

LABELME_VERSION = "5.5.0"  # the format; labelme 5.x and 6.x open it


def outlines(mask: np.ndarray) -> list[list[np.ndarray]]:
    """The rings around each part of a mask: the outer one, then those around its holes.

    Parameters
    ----------
    mask : (H, W) bool

    Returns
    -------
    a list for each part of (P, 2) int32 corners x, y of each ring; neighbours in a ring differ in x or in y; no part: no list

    Examples
    --------
    >>> outlines(np.array([[False, True, True]]))[0][0].tolist()
    [[1, 0], [1, 1], [3, 1], [3, 0]]
    """
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    x, y, width, height = cv2.boundingRect(pixels)
    if not width:
        return []
    # twice as large, the border pixels at 2c and 2c - 1 of either side of an edge both lead back to the edge c
    large = pixels[y : y + height, x : x + width].repeat(2, axis=0).repeat(2, axis=1)
    rings, levels = cv2.findContours(np.pad(large, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1))
    parents = levels[0, :, 3].tolist()
    parts = {index: [] for index, parent in enumerate(parents) if parent < 0}
    for index in sorted(range(len(rings)), key=lambda index: parents[index] >= 0):  # outer rings first
        corners = _corners((rings[index][:, 0] + 1) // 2) + np.array([x, y], np.int32)
        parts[parents[index] if parents[index] >= 0 else index].append(corners)
    return list(parts.values())


def _corners(ring: np.ndarray) -> np.ndarray:
    """(P, 2) points of a ring along the grid without those that stand twice or lie within a straight line."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def coco_annotation(mask: np.ndarray) -> dict:
    """`segmentation`, `area`, `bbox` and `iscrowd` of a mask that is not empty.

    The segmentation is a polygon for each part; of a mask with holes, for which COCO's polygons have no word, run lengths.

    Parameters
    ----------
    mask : (H, W) bool
    """
    parts = outlines(mask)
    segmentation: list | dict = [part[0].ravel().tolist() for part in parts]
    if any(len(part) > 1 for part in parts):
        code = coco.encode(np.asfortranarray(mask).view(np.uint8))
        segmentation = {"size": [int(one) for one in code["size"]], "counts": code["counts"].decode("ascii")}
    return {
        "segmentation": segmentation,
        "area": int(np.count_nonzero(mask)),
        "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
        "iscrowd": 0,
    }


def coco_file(images: Sequence[dict], annotations: Sequence[dict], categories: Sequence[dict]) -> dict:
    """The content of an instances JSON."""
    return {
        "info": {},
        "licenses": [],
        "images": list(images),
        "annotations": list(annotations),
        "categories": list(categories),
    }


def labelme_shapes(mask: np.ndarray, label: str, *, group_id: int, tolerance_px: float = 0.0) -> list[dict]:
    """The polygons of a mask as labelme's shapes.

    Each part is a shape, and the parts of one object have one `group_id`; an object in one piece has none. labelme has no holes
    in polygons: a line leads from the outline into each hole, around it and back on itself. labelme fills such a polygon, and
    pycocotools rasterises it, without the hole.

    Parameters
    ----------
    mask : (H, W) bool
    group_id : number of the object, used where it has several parts
    tolerance_px : the outlines may be off by so much, with fewer corners to drag (Douglas and Peucker 1973); 0: exact
    """
    parts = outlines(mask)
    return [
        {
            "label": label,
            "points": _joined([_simplified(ring, tolerance_px) for ring in part]).astype(float).tolist(),
            "group_id": group_id if len(parts) > 1 else None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for part in parts
    ]


def _simplified(ring: np.ndarray, tolerance_px: float) -> np.ndarray:
    """(P, 2) int32 with fewer corners; the ring itself where less than a triangle would be left."""
    if not tolerance_px:
        return ring
    simple = cv2.approxPolyDP(ring[:, None], tolerance_px, closed=True)[:, 0]
    return simple if len(simple) > 2 else ring


def _joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One ring of an outer ring and the holes in it: there and back on one line, which encloses nothing."""
    joined = rings[0]
    for hole in rings[1:]:
        at = int(((joined - hole[0]) ** 2).sum(axis=1).argmin())
        joined = np.concatenate([joined[: at + 1], hole, hole[:1], joined[at:]])
    return joined


def labelme_file(shapes: Sequence[dict], *, image_path: str, height: int, width: int) -> dict:
    """The content of a labelme file.

    Parameters
    ----------
    image_path : the image relative to the file
    """
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": list(shapes),
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
