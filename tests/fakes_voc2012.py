"""Tiny VOC 2012 and SBD, in the layouts of VOCtrainval_11-May-2012.tar and benchmark.tgz."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.io import savemat

from tests import fakes

HEIGHT, WIDTH = 24, 32
TRAIN = tuple(f"2007_{number:06d}" for number in range(32, 42))
VAL = ("2008_000215", "2011_003256")
SBD = ("2008_000002", "2008_000008")  # beyond train and val


def objects_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes and objects, (24, 32) uint8: a person on a horse, a second horse, a border of void around each."""
    classes, objects = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    boxes = [(13, 1, np.s_[8:20, 2:14]), (13, 2, np.s_[8:20, 18 + seed % 4 : 29]), (15, 3, np.s_[4:12, 5:10])]
    for category, number, box in boxes:
        rows, columns = box
        rim = np.s_[rows.start - 1 : rows.stop + 1, columns.start - 1 : columns.stop + 1]
        for mask, value in ((classes, category), (objects, number)):
            mask[rim], mask[box] = 255, value
    return classes, objects


def save_palette(path: Path, indices: np.ndarray) -> Path:
    """A PNG of mode P, as the masks of VOC are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices)
    image.putpalette(bytes(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8)))
    image.save(path)
    return path


def write_voc(root: Path, *, train=TRAIN, val=VAL) -> Path:
    """VOCdevkit/VOC2012 in `root`; the folder VOC2012."""
    home = root / "VOCdevkit/VOC2012"
    for seed, name in enumerate((*train, *val, *SBD)):
        fakes.save(home / "JPEGImages" / f"{name}.jpg", fakes.picture(seed))
        if name not in SBD:
            for folder, indices in zip(("SegmentationClass", "SegmentationObject"), objects_of(seed), strict=True):
                save_palette(home / folder / f"{name}.png", indices)
    (home / "ImageSets/Segmentation").mkdir(parents=True)
    for file, names in (("train", train), ("val", val), ("trainval", (*train, *val))):
        (home / f"ImageSets/Segmentation/{file}.txt").write_text("".join(f"{name}\n" for name in names))
    return home


def write_mat(path: Path, variable: str, indices: np.ndarray, *, compressed: bool = True) -> Path:
    """A struct with the fields of SBD's GTcls and GTinst."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), object)
    boundaries[:, 0] = [sparse.csc_matrix(indices == category) for category in range(1, 21)]
    more = {"GTcls": "CategoriesPresent", "GTinst": "Categories"}[variable]
    content = {"Boundaries": boundaries, "Segmentation": indices, more: np.array([[13], [15]], np.uint8)}
    savemat(path, {variable: content}, do_compression=compressed)
    return path


def write_sbd(root: Path) -> Path:
    """benchmark_RELEASE/dataset in `root`, with images of VOC's train and val among them, whose masks differ from VOC's."""
    home = root / "benchmark_RELEASE/dataset"
    for seed, name in enumerate((*SBD, TRAIN[0], VAL[0])):
        classes, objects = (np.where(mask == 255, 0, mask) for mask in objects_of(seed))
        write_mat(home / "cls" / f"{name}.mat", "GTcls", classes, compressed=seed % 2 == 0)
        write_mat(home / "inst" / f"{name}.mat", "GTinst", objects, compressed=seed % 2 == 0)
    return home
