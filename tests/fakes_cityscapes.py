"""A tiny Cityscapes, in the layout of leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip and gtCoarse.zip."""

from pathlib import Path

import numpy as np

from tests import fakes

HEIGHT, WIDTH = 24, 48
CITIES = {"train": {"aachen": 4, "bochum": 2, "zurich": 1}, "val": {"lindau": 2}, "test": {"berlin": 1}}


def label_ids(seed: int) -> np.ndarray:
    """(24, 48) uint8: sky, building and road, a car before another, bicycles in a row, a caravan, the own car below."""
    labels = np.full((HEIGHT, WIDTH), 23, np.uint8)
    labels[4:14, :30], labels[14:] = 11, 7
    labels[12:18, 4:12], labels[12:18, 12 : 16 + seed % 3] = 26, 26
    labels[10:16, 24:34], labels[10:16, 36:44] = 33, 29
    labels[22:] = 1
    return labels


def instance_ids(seed: int) -> np.ndarray:
    """(24, 48) uint16: two cars and the caravan are numbered, the bicycles are a group."""
    labels = label_ids(seed)
    instances = labels.astype(np.uint16)
    is_car = labels == 26
    first = is_car & (np.arange(WIDTH) < 12)
    instances[is_car & ~first], instances[first], instances[labels == 29] = 26000, 26001, 29000
    return instances


def write_cityscapes(root: Path, *, images: str = "leftImg8bit", truth: str = "gtFine", cities=CITIES) -> Path:
    """`images` and `truth` in `root`, which end in leftImg8bit and in gtFine or gtCoarse."""
    kind = Path(truth).name
    for split, sizes in cities.items():
        for city, size in sizes.items():
            for frame in range(size):
                seed, name = frame + len(city), f"{city}_{frame:06d}_000019"
                fakes.save(root / images / split / city / f"{name}_leftImg8bit.png", picture(split, city, frame))
                stem = root / truth / split / city / f"{name}_{kind}"
                fakes.save(stem.with_name(f"{stem.name}_labelIds.png"), label_ids(seed))
                fakes.save(stem.with_name(f"{stem.name}_instanceIds.png"), instance_ids(seed))
                fakes.save(stem.with_name(f"{stem.name}_color.png"), fakes.picture(seed, HEIGHT, WIDTH))
                stem.with_name(f"{stem.name}_polygons.json").write_text("{}")
    return root


def picture(split: str, city: str, frame: int) -> np.ndarray:
    return fakes.picture(sum(map(ord, split + city)) + 1000 * frame, HEIGHT, WIDTH)
