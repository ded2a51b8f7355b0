"""Penn-Fudan: 170 pictures of a campus and of streets, 423 pedestrians told apart, no official split.

`PennFudanPed/PNGImages/NAME.png` and `PennFudanPed/PedMasks/NAME_mask.png`, whose pixels are 0 for background and, says its
readme.txt, "> 0 corresponding to a particular pedestrian ID". `Annotation/` repeats in words what the masks hold, and
`added-object-list.txt` names the 78 small or half hidden pedestrians that the paper did not use; neither is read.

Wang et al. 2007, Object Detection Combining Recognition and Segmentation, ACCV; https://www.cis.upenn.edu/~jshi/ped_html/
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from pipeline.datasets._files import home_of, same_size
from pipeline.image_files import images_below, name_of, read_image, read_index_mask
from pipeline.sources import Fault, Record, Source
from pipeline.structures import LabelSpace, PanopticMap, Sample, Segment

IMAGES, MASKS = "PNGImages", "PedMasks"
LABEL_SPACE = LabelSpace(("background", "pedestrian"), ((70, 70, 70), (220, 20, 60)), (False, True))


def read(source: Path) -> Source:
    """Pair `PNGImages/NAME.png` with `PedMasks/NAME_mask.png`; every image is a group of its own.

    Parameters
    ----------
    source : the folder `PennFudanPed`, or the one that holds it

    Raises
    ------
    ValueError : the two folders are not there.
    """
    source = Path(source)
    home = home_of(source, IMAGES, MASKS, advice="give the folder PennFudanPed, or its archive")
    images = {path.stem: path for path in images_below(home / IMAGES)}
    masks = {path.stem.removesuffix("_mask"): path for path in images_below(home / MASKS)}
    faults = [
        Fault("mask_without_image", name_of(path, source), f"there is no {IMAGES}/{name}.png; unpack the archive again")
        for name, path in masks.items()
        if name not in images
    ]
    faults += [
        Fault("image_without_mask", name_of(path, source), f"there is no {MASKS}/{name}_mask.png; unpack the archive again")
        for name, path in images.items()
        if name not in masks
    ]
    records = [
        Record(name, None, name, partial(_decode, id=name, image=path, mask=masks[name], root=source), path, (masks[name],))
        for name, path in images.items()
        if name in masks
    ]
    return Source("Penn-Fudan", LABEL_SPACE, tuple(records), tuple(faults))


def _decode(*, id: str, image: Path, mask: Path, root: Path) -> Sample:
    pixels, people = read_image(image, root=root), read_index_mask(mask, root=root)
    same_size(pixels, people, file=name_of(mask, root))
    ground = 1  # the segment id of background; a pedestrian's is one more than its number
    info = tuple(Segment(one, int(one > ground)) for one in (np.flatnonzero(np.bincount(people.ravel())) + ground).tolist())
    return Sample(id, None, id, pixels, PanopticMap(people.astype(np.int32) + ground, info))
