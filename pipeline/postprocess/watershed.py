"""Things that touch come apart at their necks: a watershed over the distance to the outline."""

from functools import partial

import cv2
import numpy as np
from scipy.ndimage import find_objects
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed as flood

from pipeline.postprocess._division import connected, divided
from pipeline.structures import LabelSpace, PanopticMap, SemanticMap

THINNEST_PX = 2  # distance to the outline that a part must reach somewhere to be looked at: thinner ones have no neck


def watershed(prediction: SemanticMap, *, label_space: LabelSpace, area_px: int = 1, neck: float = 0.7) -> PanopticMap:
    """Connected parts of a thing class, cut where they are narrow.

    In each part the distance to the outline has peaks. Two peaks are two things where every way from one to the other leads
    through a place narrower than `neck` times the lower peak; the cut follows the watershed between them. It suits round
    things, and takes others apart that are narrow somewhere: a head from its body.

    Parameters
    ----------
    prediction : of any method; scores of things as in `pipeline.postprocess._division`
    area_px : things of fewer pixels are dropped; 1 keeps every speck
    neck : 0..1 of the width; 0 cuts nothing, near 1 every ripple of an outline cuts

    Returns
    -------
    PanopticMap of the same size; void and what is dropped is 0.

    Raises
    ------
    ValueError : `neck` is outside 0..1.

    References
    ----------
    Vincent and Soille 1991, Watersheds in digital spaces, IEEE TPAMI 13(6); Vincent 1993, Morphological grayscale
    reconstruction, IEEE TIP 2(2) (which peaks are markers: those that stand out, here by a share of their height).
    """
    if not 0 <= neck <= 1:
        raise ValueError(f"watershed: neck is {neck}, wanted a share of the width from 0 to 1")
    return divided(prediction, label_space, partial(_cut, neck=neck), area_px=area_px)


def _cut(mask: np.ndarray, *, neck: float) -> np.ndarray:
    """(H, W) int32: `connected`, with a number more for each thing that is cut off."""
    parts = connected(mask)
    if mask.all():
        return parts  # no outline, no distance to it
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    count = int(parts.max())
    for part, place in enumerate(find_objects(parts), start=1):
        inside = parts[place] == part
        relief = np.where(inside, distance[place], 0)
        if relief.max() < THINNEST_PX:
            continue
        peaks = reconstruction(relief * neck, relief)
        markers = connected(local_maxima(peaks) & inside)
        found = int(markers.max())
        if found > 1:
            things = flood(-relief, markers, connectivity=2, mask=inside)
            parts[place][things > 1] = count + things[things > 1] - 1
            count += found - 1
    return parts
