"""Pictures for a page that needs no other file: photos as JPEG, masks as PNG, both inside the address."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.resizing import resize_labels

LONGEST_PX = 480
SHEET_PX = 1400  # widest of a sheet of pictures
JPEG_QUALITY = 82
BLUE = (37, 99, 235)


def photo(image: np.ndarray) -> str:
    """An (H, W, 3) RGB photo as a data address, at most `LONGEST_PX` wide or high."""
    height, width = _fit(image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return _address(encoded.tobytes(), "jpeg")


def mask(colours: np.ndarray) -> str:
    """A colour-coded (H, W, 3) mask as a data address: no colour that was not there, at most `LONGEST_PX` wide or high."""
    packed = colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)  # (H, W)
    small = resize_labels(packed.astype(np.int32), *_fit(packed.shape))
    values, index = np.unique(small, return_inverse=True)
    rgb = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.uint8)  # (colours, 3)
    return _address(_png(index.reshape(small.shape), rgb), "png")


@dataclass(frozen=True)
class Layer:
    """What a page lays over a photo: a data address; drawn at a page's size, or else a colour for each pixel."""

    address: str
    is_drawn: bool


def layer(path: Path) -> Layer:
    """A prediction as it was kept: with objects drawn as it is, colour-coded as `mask` makes it.

    Raises
    ------
    ValueError : no picture can be read there.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is not None and picture.ndim == 3 and picture.shape[2] == 4:
        return Layer(_address(path.read_bytes(), "png"), is_drawn=True)
    return Layer(mask(read_mask(path)), is_drawn=False)


def heat(shares: np.ndarray) -> str:
    """(R, P) shares in 0..1 as a picture of P x R pixels, the more the bluer; nothing and NaN are clear."""
    pixels = np.zeros((*shares.shape, 4), np.uint8)
    pixels[..., :3] = BLUE
    pixels[..., 3] = np.round(255 * np.nan_to_num(shares) ** 0.7)  # lifts the small confusions into sight
    _, encoded = cv2.imencode(".png", pixels[..., [2, 1, 0, 3]])
    return _address(encoded.tobytes(), "png")


def sheet(path: Path) -> str | None:
    """A picture file as the data address of a JPEG, at most `SHEET_PX` wide; None where there is no such file.

    Raises
    ------
    ValueError : no picture can be read there.
    """
    if not path.is_file():
        return None
    picture = read_mask(path)
    height, width = picture.shape[:2]
    if path.suffix == ".jpg" and width <= SHEET_PX:
        return _address(path.read_bytes(), "jpeg")
    scale = min(1.0, SHEET_PX / width)
    small = cv2.resize(picture, (round(width * scale), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return _address(encoded.tobytes(), "jpeg")


def read_mask(path) -> np.ndarray:
    """A colour-coded prediction: (H, W, 3) uint8 RGB.

    Raises
    ------
    ValueError : no picture can be read there.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: not a readable picture; run `dvc repro -f` for the stage that wrote it")
    return picture[..., ::-1]


def _fit(shape: Sequence[int]) -> tuple[int, int]:
    scale = min(1.0, LONGEST_PX / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _png(index: np.ndarray, rgb: np.ndarray) -> bytes:
    """A PNG with a palette where the colours fit one: a third of the bytes."""
    from PIL import Image

    if len(rgb) <= 256:
        picture = Image.fromarray(index.astype(np.uint8), mode="P")
        picture.putpalette(rgb.tobytes())
    else:
        picture = Image.fromarray(rgb[index])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
