"""Read the picture in any image file as 8-bit RGB.

A data set is refused for what may not fit its masks (`pipeline.image_files`); here there is no mask, so that the best is
made of it, and said: a picture is turned upright, laid over white, brought to 8 bits.
"""

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from pipeline.image_files import BROKEN, SUFFIXES, read_image
from pipeline.sources import FaultError

MENDED = ("exif_rotation", "animated_image", "transparent_image", "image_depth")  # faults of a data set, and none here
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # what its files begin with
BITS = (8, 12, 16)  # depths of the sensors and files that a deep picture comes from
_ORIENTATION = 0x0112  # the EXIF tag
_DEPTH = re.compile(r"taken as (\d+) bits")  # in the remark on a deep picture
_DAMAGED = "is damaged or cut off; fetch or export it again"


def images_in(folder: Path) -> list[Path]:
    """Every image file of a folder, sorted; folders in it and hidden files are passed over."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
    return sorted(path for path in found if not path.name.startswith("."))


def read_picture(path: Path, *, bits: int | None = None, may_turn: bool = True) -> np.ndarray:
    """The picture in an image file, upright and without transparency.

    Grey, palette, CMYK and black and white become RGB; the EXIF orientation is applied; of an animation or a file with several
    pages the first is taken; what is transparent is laid over white, as a page shows it. Depth:

    - integers of 16 bits and more, none below 0: divided by the largest number of 8, 12 or 16 bits that holds all of them,
      so that the 12 bits of a camera do not come out almost black;
    - floats in 0..1: times 255;
    - any other numbers: stretched from the smallest of the picture, 0, to its largest, 255.

    Parameters
    ----------
    bits : depth of integers of 16 bits and more, in place of the guess, which may differ from one picture to the next
    may_turn : whether the EXIF orientation may turn it; else it is refused, as where something was drawn on the pixels already

    Returns
    -------
    (H, W, 3) uint8 RGB

    Raises
    ------
    ValueError : the file is empty, damaged, no image, or holds NaN, infinity, a number above its `bits` or a number of channels
        other than 1 to 4.
    """
    return picture_and_remarks(path, bits=bits, may_turn=may_turn)[0]


def picture_and_remarks(path: Path, *, bits: int | None = None, may_turn: bool = True) -> tuple[np.ndarray, list[str]]:
    """`read_picture`, and what was done to the picture beyond decoding it, a phrase each."""
    try:
        data = path.read_bytes()
        return read_image(path, root=path.parent), []
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except FaultError as error:
        [fault] = error.faults
    try:
        if fault.rule in MENDED or data.startswith(TIFF):
            with warnings.catch_warnings(action="ignore"):  # Pillow's remarks on odd metadata
                return _mended(data, fault.rule, bits=bits, may_turn=may_turn)
    except BROKEN as error:
        own = str(error) if type(error) is ValueError else _DAMAGED
        raise ValueError(f"{path}: {own}") from None
    raise ValueError(f"{path}: {fault.message}")


def depth_in(remarks: Sequence[str]) -> int | None:
    """The bits that a picture's numbers were taken to have, by the remarks on it; None where they are no such numbers.

    Examples
    --------
    >>> depth_in(["turned upright", "uint16, taken as 12 bits"])
    12
    """
    found = next(filter(None, map(_DEPTH.search, remarks)), None)
    return int(found[1]) if found else None


def _mended(data: bytes, rule: str, *, bits: int | None, may_turn: bool) -> tuple[np.ndarray, list[str]]:
    header = _header(data)
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    is_deep = deep is not None and deep.dtype != np.uint8
    if not is_deep and (header is None or rule not in MENDED):
        raise ValueError(_DAMAGED if header else "is damaged, or a TIFF of a kind that is not read; save it as PNG")
    remarks = []
    if header and header.format != "MPO" and getattr(header, "n_frames", 1) > 1:
        remarks.append(f"the first of {header.n_frames} frames")
    turn = header.getexif().get(_ORIENTATION, 1) if header else 1  # before loading, which makes Pillow forget it
    if turn != 1 and not may_turn:
        raise ValueError(
            f"EXIF orientation {turn}: viewers turn it, and what was drawn on it may be for the pixels as they are stored; "
            "store them upright and drop the tag"
        )
    if turn != 1:
        remarks.append("turned upright")
    if is_deep:
        if header and header.format == "PNG":  # of a TIFF, OpenCV has turned the pixels already
            deep = turned(deep, turn)
        has_alpha = header is not None and header.mode in ("LA", "RGBA")
        pixels, alpha = _split(deep, has_alpha=has_alpha, bits=bits, remarks=remarks)
    else:
        picture = ImageOps.exif_transpose(header)
        planes = np.asarray(picture.convert("RGBA"))
        pixels, alpha = planes[..., :3], planes[..., 3] / np.float32(255)
        if not picture.has_transparency_data:  # CMYK would lose by the way over RGBA
            pixels = np.asarray(picture.convert("RGB"))
    if alpha is not None and alpha.min() < 1:
        remarks.append("transparent, laid over white")
        pixels = np.rint(255 + (pixels - np.float32(255)) * alpha[..., None]).astype(np.uint8)
    return np.ascontiguousarray(pixels), remarks


def _header(data: bytes) -> Image.Image | None:
    """The head of a file as Pillow reads it; None where it cannot, as of TIFFs with floats in colour."""
    try:
        return Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError):
        return None


def _split(deep: np.ndarray, *, has_alpha: bool, bits: int | None, remarks: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W) or (H, W, C) numbers of any type, as OpenCV orders them, to (H, W, 3) uint8 RGB and (H, W) alpha in 0..1."""
    planes = deep[..., None] if deep.ndim == 2 else deep
    if planes.shape[2] not in (1, 3, 4):
        raise ValueError(f"has {planes.shape[2]} channels, wanted grey or RGB; export the three to use")
    alpha = None
    if planes.shape[2] == 4 and has_alpha:
        alpha = planes[..., 3].astype(np.float32) / (np.iinfo(deep.dtype).max if deep.dtype.kind in "iu" else 1)
    elif planes.shape[2] == 4:
        remarks.append("the fourth channel left out")
    colour = planes[..., [2, 1, 0]] if planes.shape[2] > 1 else planes.repeat(3, axis=2)
    pixels, remark = to_8_bits(colour, bits=bits)
    remarks.append(remark)
    return pixels, alpha


def to_8_bits(pixels: np.ndarray, *, bits: int | None = None) -> tuple[np.ndarray, str]:
    """Numbers of any type to 0..255 by the rules of `read_picture`, and which of them was taken.

    Examples
    --------
    >>> to_8_bits(np.array([0, 273, 4095], np.uint16))
    (array([  0,  17, 255], dtype=uint8), 'uint16, taken as 12 bits')
    >>> to_8_bits(np.array([-1.0, 0.0, 3.0]))
    (array([  0,  64, 255], dtype=uint8), 'float64 from -1 to 3, stretched')
    """
    low, high, kind = float(pixels.min()), float(pixels.max()), pixels.dtype
    if not np.isfinite(high - low):
        raise ValueError("holds NaN, infinity or numbers too far apart; replace them")
    if kind.kind in "iu" and low >= 0 and high < 1 << BITS[-1]:
        bits = bits or next(one for one in BITS if high < 1 << one)
        if high >= 1 << bits:
            raise ValueError(
                f"holds {high:g}, and {bits} bits end at {(1 << bits) - 1}; give more bits, or none to have them guessed"
            )
        low, high, remark = 0.0, float((1 << bits) - 1), f"{kind}, taken as {bits} bits"
    elif kind.kind == "f" and low >= 0 and high <= 1:
        low, high, remark = 0.0, 1.0, f"{kind} in 0..1"
    else:
        remark = f"{kind} from {low:g} to {high:g}, stretched"
    exact = pixels.astype(np.float64 if kind.itemsize > 2 else np.float32)
    return np.rint((exact - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8), remark


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W) or (H, W, C) pixels upright, by their EXIF orientation, 1..8; another number turns nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
