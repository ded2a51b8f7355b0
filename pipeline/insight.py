"""What a data set is made of: how much of each class, how large its segments, the sizes of images, and a sheet of them.

    classes.csv   a row for each class of each split, and of all: images, pixels, number of segments and quantiles of their area
    sizes.csv     a row for each size of images of a split
    truth.jpg     a contact sheet of some images of each split with their truth laid over them
    gate.html     what the gate found, which `pipeline.gate.page` makes

`measure` runs in the workers that convert a data set, while the pixels are at hand; `write` makes the files of what they found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline import sheet
from pipeline.dataset import Dataset
from pipeline.files import write_csv
from pipeline.splits import SPLITS
from pipeline.structures import LabelSpace

ALL, VOID = "all", "(void)"  # of the columns split and class
QUANTILES = (5, 25, 50, 75, 95)  # in %
PICTURED = 5  # images of each split on the sheet
FILES = ("classes.csv", "sizes.csv", "truth.jpg", "gate.html")
FINENESS = 16  # bins of areas to a doubling: a quantile is right to 3 %
AREAS = (*(f"area_{one:02}" for one in QUANTILES), "area_half")
CLASS_COLUMNS = ("split", "class", "kind", "images", "pixels", "share", "segments", *AREAS)
SIZE_COLUMNS = ("split", "width", "height", "images")


@dataclass(frozen=True)
class Measured:
    """What is kept of one image.

    Parameters
    ----------
    size : height and width
    pixels : class index -> pixels of it, of the classes in the image
    areas : (class index, bin of area) -> segments
    """

    size: tuple[int, int]
    pixels: Mapping[int, int]
    areas: Mapping[tuple[int, int], int]


@dataclass
class _Sum:
    """Of many images."""

    images: int = 0
    pixels: Counter = field(default_factory=Counter)  # class index, or None for void
    images_with: Counter = field(default_factory=Counter)
    areas: Counter = field(default_factory=Counter)
    sizes: Counter = field(default_factory=Counter)

    def add(self, one: Measured) -> None:
        void = one.size[0] * one.size[1] - sum(one.pixels.values())
        pixels = {**one.pixels, **({None: void} if void else {})}
        self.images += 1
        self.pixels.update(pixels)
        self.images_with.update(pixels.keys())
        self.areas.update(one.areas)
        self.sizes[one.size] += 1


def measure(
    segments: np.ndarray,
    described: Sequence[tuple[int, int, int]],
    objects: Sequence[tuple[int, int]],
    label_space: LabelSpace,
) -> Measured:
    """Count the pixels and segments of an image.

    A segment of a thing is an object, whole even where another hides a part of it; a segment of stuff is a connected piece.

    Parameters
    ----------
    segments : (H, W) int32, segment id; 0 is void
    described : of each id: id, class index and pixels
    objects : of each object that is no crowd: class index and pixels, hidden ones too
    """
    pixels: Counter = Counter()
    stuff = {}
    for id, index, area in described:
        pixels[index] += area
        if not label_space.isthing[index]:
            stuff[id] = index
    found = [(index, area) for index, area in objects if area and label_space.isthing[index]]
    if stuff:
        ids, areas = pieces(segments)
        found += [(stuff[id], area) for id, area in zip(ids.tolist(), areas.tolist(), strict=True) if id in stuff]
    bins = area_bins(np.array([area for _, area in found], np.int64)).tolist()
    return Measured(segments.shape, dict(pixels), Counter((index, bin) for (index, _), bin in zip(found, bins, strict=True)))


def pieces(segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of a map, of pixels with one value that touch at their sides: (P,) values and (P,) areas.

    Runs of pixels along the rows are joined where they touch: ten times as fast as a pass for each value.

    Examples
    --------
    >>> [one.tolist() for one in pieces(np.array([[7, 7, 1], [7, 1, 1], [1, 7, 7]]))]
    [[7, 1, 1, 7], [3, 3, 1, 2]]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    height, width = segments.shape
    begins = np.ones((height, width), bool)
    np.not_equal(segments[:, 1:], segments[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)  # of each run
    meets = (segments[1:] == segments[:-1]) & (begins[1:] | begins[:-1])  # once for each pair of runs, or little more
    places = np.flatnonzero(meets)
    above, below = (np.searchsorted(starts, one, side="right") - 1 for one in (places, places + width))
    links = coo_array((np.ones(len(places), np.uint8), (above, below)), (len(starts), len(starts)))
    count, piece = connected_components(links, directed=False)
    lengths = np.diff(starts, append=segments.size)
    areas = np.bincount(piece, weights=lengths, minlength=count).astype(np.int64)
    values = np.zeros(count, segments.dtype)
    values[piece] = segments.ravel()[starts]
    return values, areas


def area_bins(areas: np.ndarray) -> np.ndarray:
    """The bin of each of (N,) areas, of which FINENESS make a doubling."""
    return np.floor(FINENESS * np.log2(areas)).astype(np.int64)


def quantiles(bins: Mapping[int, int]) -> list[int | None]:
    """The areas in px below which QUANTILES of all segments lie, and below which half of their pixels do; None for none.

    Where a mask is full of specks, the last says how large the segments are that matter.

    Parameters
    ----------
    bins : bin of area -> segments

    Examples
    --------
    >>> quantiles(Counter(area_bins(np.array([1, 2, 2, 3, 80])).tolist()))
    [1, 2, 2, 3, 81, 81]
    """
    if not bins:
        return [None] * len(AREAS)
    numbers = sorted(bins)
    areas = [2 ** ((number + 0.5) / FINENESS) for number in numbers]
    counts = [bins[number] for number in numbers]
    segments, pixels = np.cumsum(counts), np.cumsum(np.multiply(counts, areas))
    places = [int(np.searchsorted(segments, share / 100 * segments[-1])) for share in QUANTILES]
    return [round(areas[place]) for place in (*places, int(np.searchsorted(pixels, pixels[-1] / 2)))]


def write(folder: Path, dataset: Dataset, measured: Mapping[str, Mapping[str, Measured]]) -> None:
    """Write the tables and the sheet: the same bytes for the same images.

    Parameters
    ----------
    measured : split -> id -> what was measured of the image
    """
    sums = {split: _Sum() for split in (*SPLITS, ALL)}
    for split in SPLITS:
        for one in measured[split].values():
            sums[split].add(one)
            sums[ALL].add(one)
    space = dataset.label_space
    rows = [row for split, total in sums.items() if total.images for row in _class_rows(split, total, space)]
    write_csv(folder / "classes.csv", rows, columns=CLASS_COLUMNS)
    sizes = [
        {"split": split, "width": width, "height": height, "images": images}
        for split in SPLITS
        for (height, width), images in sorted(sums[split].sizes.items(), key=lambda one: (-one[1], one[0]))
    ]
    write_csv(folder / "sizes.csv", sizes, columns=SIZE_COLUMNS)
    _write_sheet(folder / "truth.jpg", dataset, {split: choose(measured[split]) for split in SPLITS})


def choose(measured: Mapping[str, Measured], *, count: int = PICTURED) -> list[str]:
    """Ids of images for the sheet: those that show most of the classes not shown before, then others spread evenly.

    Of equals, the one with fewest pixels of its largest class, which is the one with most to see.
    """
    left, shown = dict(measured), set()
    chosen: list[str] = []
    while left and len(chosen) < count:
        gain = {id: len(one.pixels.keys() - shown) for id, one in left.items()}
        best = max(gain.values())
        if not best:
            break
        id = min((id for id in left if gain[id] == best), key=lambda id: max(left[id].pixels.values()) / np.prod(left[id].size))
        chosen.append(id)
        shown |= left.pop(id).pixels.keys()
    rest = list(left)
    spread = np.linspace(0, len(rest) - 1, max(0, count - len(chosen)) + 2).round().astype(int)[1:-1] if rest else []
    return [*chosen, *(rest[index] for index in dict.fromkeys(map(int, spread)))]


def _class_rows(split: str, total: _Sum, space: LabelSpace) -> list[dict]:
    labelled = sum(pixels for index, pixels in total.pixels.items() if index is not None)
    bins: dict[int, dict[int, int]] = {}
    for (index, number), count in total.areas.items():
        bins.setdefault(index, {})[number] = count
    rows = []
    for index, name in enumerate(space.names):
        pixels, own = total.pixels[index], bins.get(index, {})
        values = (split, name, "thing" if space.isthing[index] else "stuff", total.images_with[index], pixels)
        share = round(pixels / labelled, 6) if labelled else None
        rows.append(dict(zip(CLASS_COLUMNS, (*values, share, sum(own.values()), *quantiles(own)), strict=True)))
    void = total.pixels[None]
    share = round(void / (labelled + void), 6) if labelled + void else None
    rows.append(dict(zip(CLASS_COLUMNS, (split, VOID, "", total.images_with[None], void, share), strict=False)))
    return rows


def _write_sheet(path: Path, dataset: Dataset, chosen: Mapping[str, Sequence[str]]) -> None:
    rows, titles, seen = [], [], set()
    for split, ids in chosen.items():
        tiles = []
        for id in ids:
            sample = dataset.sample(split, id)
            labels = sample.truth.semantic(dataset.label_space)
            seen.update(np.unique(labels).tolist())
            tiles.append(sheet.overlay(sample.image, labels, label_space=dataset.label_space, parts=sample.truth.segments))
        if tiles:
            rows.append(tiles)
            titles.append([f"{split}: {id}" for id in ids])
    if rows:
        sheet.draw(path, rows, titles=titles, label_space=dataset.label_space, seen=sorted(seen))
