"""Small pictures of what the data gate found: the image, its truth, and the place of the fault marked in both."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline import overlay
from pipeline.image_files import BROKEN, SUFFIXES, refuse_false_head
from pipeline.pictures import read_picture
from pipeline.sources import Fault, FaultError, Record
from pipeline.structures import LabelSpace

SIDE_PX = 180  # longest side of a picture on the page
JPEG_QUALITY = 78
CLOSE_PX, CELL_PX = 12, 5  # pixels around the place of a fault in its close-up, on each side; how large each is shown
LARGEST_BYTES = 1 << 26  # of a file; a larger one is not opened once more for a small picture
MARK, OUTER = (255, 0, 200), (255, 255, 255)  # a colour that photographs do not have, and what parts it from them
MASKS = ("mask_without_image",)  # rules whose file is a mask, where no record says so


@dataclass(frozen=True)
class Picture:
    """A picture for a page.

    Parameters
    ----------
    address : the JPEG itself, as a data address
    caption : what it shows
    """

    address: str
    caption: str


@dataclass(frozen=True)
class _View:
    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    caption: str
    file: Path | None = None  # where the pixels are those of one file

    @property
    def size(self) -> str:
        """Width and height."""
        return f"{self.pixels.shape[1]}×{self.pixels.shape[0]}"


class FaultPictures:
    """Makes the pictures of faults: `pictures(fault, record)`.

    Parameters
    ----------
    label_space : gives masks their colours
    named : how faults name a record -> the record
    root : the folder that names of files are relative to; None where there is none
    """

    def __init__(self, label_space: LabelSpace, named: Mapping[str, Record], root: Path | None):
        self._space, self._named, self._root = label_space, named, root

    def __call__(self, fault: Fault, record: Record | None) -> tuple[Picture, ...]:
        """The pictures that show a fault; none where nothing can be opened, or the fault is of the whole data set.

        Parameters
        ----------
        record : in which it was found; None: the one that its file belongs to, if there is one
        """
        record = record or self._named.get(fault.file)
        other = self._named.get(fault.value)
        if record and other and record is not other:  # one of two that are alike
            views = [*self._photo(record, fault.file), *self._photo(other, fault.value)]
        elif record:
            views = self._opened(record) or self._files(record, fault)
        else:
            path = None if self._root is None else self._root / fault.file
            views = [] if path is None else self._file(path, is_mask=fault.rule in MASKS, fault=fault)
        shown = [Picture(_address(_marked(view.pixels, fault.pixel)), f"{view.caption}, {view.size}") for view in views]
        if fault.pixel and views:
            own = next((view for view in views if self._root and view.file == self._root / fault.file), views[-1])
            close = _close_up(own.pixels, *fault.pixel)
            shown += [] if close is None else [Picture(_address(close), f"around x={fault.pixel[0]}, y={fault.pixel[1]}")]
        return tuple(shown)

    def _opened(self, record: Record) -> list[_View]:
        """The image, and its truth laid over it, where the record can be opened."""
        if any(_is_too_large(path) for path in (record.image_file, *record.truth_files) if path):
            return []
        try:
            sample = record.decode()
        except FaultError:
            return []
        labels = sample.truth.semantic(self._space)
        painted = overlay.draw(sample.image, labels, labels, colours=self._space.palette, clear=self._space.void)
        return [_View(sample.image, "image"), _View(painted, "with its truth")]

    def _photo(self, record: Record, name: str) -> list[_View]:
        caption = name.rpartition("/")[2]
        return [_View(view.pixels, caption) for view in (self._opened(record) or self._files(record, None))[:1]]

    def _files(self, record: Record, fault: Fault | None) -> list[_View]:
        views = self._file(record.image_file, is_mask=False, fault=fault) if record.image_file else []
        return views + [view for path in record.truth_files for view in self._file(path, is_mask=True, fault=fault)]

    def _file(self, path: Path, *, is_mask: bool, fault: Fault | None) -> list[_View]:
        """What a file shows; nothing where it is no picture, or damaged."""
        if path.suffix.lower() not in SUFFIXES or not path.is_file() or _is_too_large(path):
            return []
        try:
            mask = _index_mask(path) if is_mask else None
            pixels = read_picture(path) if mask is None else self._painted(mask, fault)
        except BROKEN:
            return []
        return [_View(pixels, "mask" if is_mask else "image", path)]

    def _painted(self, mask: np.ndarray, fault: Fault | None) -> np.ndarray:
        """A mask of indices in colours: those of the classes, others beyond them, and the mark's for the value of the fault."""
        values, index = np.unique(mask, return_inverse=True)
        colours = overlay.segment_colours(len(values))
        for row, value in enumerate(values.tolist()):
            if fault and fault.rule == "label_outside" and str(value) == fault.value:
                colours[row] = MARK
            elif value < self._space.num_classes:
                colours[row] = self._space.colours[value]
            elif value == self._space.void:
                colours[row] = 0
        return colours[index.reshape(mask.shape)]


def _index_mask(path: Path) -> np.ndarray | None:
    """(H, W) integers; None where the file holds colours."""
    with Image.open(path) as header:
        refuse_false_head(header, path.stat().st_size, path.name)
        return np.asarray(header).astype(np.int64) if header.mode in ("1", "L", "P", "I", "I;16") else None


def _is_too_large(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > LARGEST_BYTES


def _marked(pixels: np.ndarray, place: tuple[int, int] | None) -> np.ndarray:
    """The picture at its size on the page, with a ring around the place."""
    height, width = pixels.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST_EXACT)
    if place and place[0] < width and place[1] < height:
        centre = tuple(round((one + 0.5) * scale) for one in place)
        small = np.ascontiguousarray(small)
        for colour, thickness in ((OUTER, 5), (MARK, 2)):
            cv2.circle(small, centre, 10, colour, thickness, cv2.LINE_AA)
    return small


def _close_up(pixels: np.ndarray, x: int, y: int) -> np.ndarray | None:
    """The pixels around a place, each large enough to see, with a frame around the one; None where the whole is as small."""
    height, width = pixels.shape[:2]
    side = 2 * CLOSE_PX + 1
    if x >= width or y >= height or max(height, width) <= 2 * side:
        return None
    left, top = (max(0, min(one - CLOSE_PX, whole - side)) for one, whole in ((x, width), (y, height)))
    large = pixels[top : top + side, left : left + side].repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)
    corner = (x - left) * CELL_PX, (y - top) * CELL_PX
    large = np.ascontiguousarray(large)
    for colour, grown in ((OUTER, 2), (MARK, 1)):
        first = corner[0] - grown, corner[1] - grown
        cv2.rectangle(large, first, (corner[0] + CELL_PX - 1 + grown, corner[1] + CELL_PX - 1 + grown), colour, 1)
    return large


def _address(pixels: np.ndarray) -> str:
    _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
