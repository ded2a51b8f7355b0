"""A brain in magnetic resonance, with nothing to download: axial slices of the MNI152 template that ships with nilearn.

The template is the average of 152 T1-weighted scans, 1 mm a voxel, the skull taken off; beside it lie the probabilities of grey
and of white matter. A voxel is of the likeliest tissue; what is neither, within the brain, is fluid (the ventricles and the
rim). It is one average brain, smooth and symmetric: scores on it show that a method works on such pictures, not how well it
would do on patients.

Fonov et al. 2011, Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (ICBM 2009a nonlinear).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from pipeline.sources import Record, Source
from pipeline.structures import LabelSpace, PanopticMap, Sample

LABEL_SPACE = LabelSpace(
    ("background", "fluid", "grey_matter", "white_matter"),
    ((0, 0, 0), (66, 135, 245), (150, 150, 150), (240, 240, 240)),
    (False,) * 4,
)
LEAST_BRAIN = 0.02  # of the pixels of a slice; the few below it, at the ends, show next to nothing


def read(source: Path, *, slab: int = 8, gap: int = 10, window: list[float] | tuple[float, float] = (0.0, 1.0)) -> Source:
    """Cut the volume into slabs; a slab is a group, so that `dataset.splits` divides whole slabs.

    Neighbouring slices are nearly the same picture: the labels of a slice, laid over the slice 1 mm above, have a mean IoU of
    0.80, at 5 mm 0.53, at 11 mm 0.43 and at 30 mm 0.33; the most frequent class of every pixel has 0.38. So the slices between
    two slabs are left out.

    Parameters
    ----------
    source : the raw folder; nothing is read from it
    slab : slices in a slab, mm
    gap : slices left out between two slabs, mm
    window : shares of the brightest voxel that become black and white, linear between; (0, 1): the values as they come

    Returns
    -------
    Source with ids such as `slab03_z-12`, z in mm of MNI space; anterior is up, the left of the brain on the left; no void.

    Raises
    ------
    ValueError : nilearn is not installed, or an option does not fit.
    """
    wrong = [
        f"brain_mri: {name} is {value!r}, wanted a whole number of {least} or more; set dataset.options.{name}"
        for name, value, least in (("slab", slab, 1), ("gap", gap, 0))
        if not isinstance(value, int) or isinstance(value, bool) or value < least
    ]
    is_pair = isinstance(window, (list, tuple)) and len(window) == 2 and all(type(one) in (int, float) for one in window)
    if not is_pair or not 0 <= window[0] < window[1] <= 1:
        wrong.append(f"brain_mri: window is {window!r}, wanted [black, white] with 0 <= black < white <= 1")
    if wrong:
        raise ValueError("\n".join(wrong))
    brain, grey, white, bottom_mm = _volumes()
    enough = np.flatnonzero((brain > 0).mean(axis=(0, 1)) >= LEAST_BRAIN)
    records = []
    for index in range(enough[0], enough[-1] + 1):
        number, place = divmod(index - enough[0], slab + gap)
        if place < slab:
            group = f"slab{number + 1:02d}"
            id = f"{group}_z{bottom_mm + index:+03d}"
            volumes = (volume[:, :, index] for volume in (brain, grey, white))
            decode = partial(_decode, *volumes, id=id, group=group, window=tuple(window))
            records.append(Record(id, None, group, decode))
    return Source("MNI152 brain", LABEL_SPACE, tuple(records))


def _volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """T1 and the probabilities of grey and of white matter, (X, Y, Z) uint8 as stored, and the z of the lowest slice in mm."""
    try:
        from nilearn import datasets
    except ModuleNotFoundError as error:
        raise ValueError(f"brain_mri: {error.name} is not installed; run: pip install '.[medical]'") from None
    loaded = [
        load(resolution=1)
        for load in (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    ]
    # nilearn has divided the bytes of its files by 255
    brain, grey, white = (np.rint(255 * one.get_fdata(dtype=np.float32)).astype(np.uint8) for one in loaded)
    if not np.array_equal(loaded[0].affine[:3, :3], np.eye(3)):
        raise ValueError("brain_mri: the template of this nilearn is turned or of another resolution; install 0.14.1")
    return brain, grey, white, int(loaded[0].affine[2, 3])


def _decode(brain, grey, white, *, id: str, group: str, window: tuple[float, float]) -> Sample:
    """A sample from one slice of each volume, (X, Y) uint8, x to the right of the brain and y to its front."""
    brain, grey, white = (np.rot90(one) for one in (brain, grey, white))  # x to the right, y up
    rest = 255 - grey.astype(np.int16) - white
    tissue = np.stack([rest, grey, white]).argmax(axis=0)  # of equals, the first
    labels = np.where(brain > 0, 1 + tissue, 0).astype(LABEL_SPACE.dtype)
    black, white_level = window
    shades = np.clip((brain / 255 - black) / (white_level - black), 0, 1)
    image = np.rint(255 * shades).astype(np.uint8)[..., None].repeat(3, axis=2)
    return Sample(id, None, group, image, PanopticMap.from_labels(labels, LABEL_SPACE))
