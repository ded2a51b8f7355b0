"""How COCO's files say what a picture holds: segments by number, objects by run lengths, classes by index + 1."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.structures import LabelSpace, Segment


def categories(label_space: LabelSpace) -> list[dict]:
    """The classes, as stuff and things."""
    return [
        {
            "id": index + 1,
            "name": name,
            "supercategory": "thing" if isthing else "stuff",
            "isthing": int(isthing),
            "color": list(colour),
        }
        for index, (name, colour, isthing) in enumerate(
            zip(label_space.names, label_space.colours, label_space.isthing, strict=True)
        )
    ]


def segment_info(segments: np.ndarray, info: Sequence[Segment]) -> list[dict]:
    """`segments_info` of a panoptic map; what has no pixel is left out, as its readers demand.

    Parameters
    ----------
    segments : (H, W) int32, segment id
    """
    found = []
    for segment in info:
        mask = (segments == segment.id).view(np.uint8)
        if area := cv2.countNonZero(mask):
            box = list(cv2.boundingRect(mask))
            own = {"id": segment.id, "category_id": segment.category + 1, "area": area, "bbox": box}
            found.append({**own, "iscrowd": int(segment.iscrowd)})
    return found


def run_lengths(mask: np.ndarray) -> dict:
    """`segmentation`, `area` and `bbox` of a (H, W) bool mask, as pycocotools encodes and measures it."""
    from pycocotools import mask as coco

    code = coco.encode(np.asfortranarray(mask).view(np.uint8))
    return {
        "segmentation": {"size": [int(one) for one in code["size"]], "counts": code["counts"].decode("ascii")},
        "area": int(coco.area(code)),
        "bbox": [float(one) for one in coco.toBbox(code)],
    }
