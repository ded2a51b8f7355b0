"""Open the image and mask files of a data set, and say exactly what is wrong with one that cannot be used.

OpenCV decodes, since it is fast and notices cut-off files; Pillow reads the header, which OpenCV hides, and what is too large
for OpenCV.

Not noticed: a JPEG damaged inside whose end mark is there, unless its decoder loses the thread. The decoder fills the rest with
grey and only prints a warning, which neither OpenCV, Pillow nor torchvision hands on.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.sources import Fault, FaultError

Image.MAX_IMAGE_PIXELS = None  # aerial and microscope pictures are larger than Pillow's guard for web servers

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
# what Pillow and OpenCV raise for a damaged file
BROKEN = (OSError, SyntaxError, ValueError, LookupError, OverflowError, MemoryError, TypeError, EOFError)
BROKEN += (struct.error, zlib.error, cv2.error)
LARGE = 1 << 26  # pixels; from here on a head is compared with the size of its file before memory is taken for it
RATIO = 10_000  # bytes of pixels for a byte of a file; deflate and LZW stay below 3000
UNREAD = {
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".jxl",
    ".jfif",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".psd",
    ".svg",
    ".dcm",
    ".exr",
}
_OPENCV_SIDE, _OPENCV_PIXELS = 1 << 20, 1 << 30  # the most it decodes
_ORIENTATION = 0x0112  # the EXIF tag
_COLOUR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_DAMAGED = "is damaged or cut off; fetch or export it again"


def images_below(folder: Path) -> list[Path]:
    """Every image file in `folder` and below, sorted; hidden files and folders are passed over."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def pictures_not_read(folder: Path, root: Path) -> list[Fault]:
    """A fault that counts and names what `images_below` passes over: pictures of other formats, links that lead nowhere."""
    found = sorted(path for path in folder.rglob("*") if not any(one.startswith(".") for one in path.relative_to(folder).parts))
    lost = [path for path in found if path.suffix.lower() in UNREAD or (path.is_symlink() and not path.exists())]
    if not lost:
        return []
    names = ", ".join(path.name for path in lost[:5]) + (" ..." if len(lost) > 5 else "")
    message = f"{len(lost)} files are left out ({names}); save them as PNG, or mend the links"
    return [Fault("not_read", name_of(lost[0], root), message, value=str(len(lost)))]


def read_image(path: Path, *, root: Path) -> np.ndarray:
    """The picture in a file; grey, palette, CMYK and fully opaque RGBA become RGB.

    Parameters
    ----------
    root : faults name the file relative to this folder

    Returns
    -------
    (H, W, 3) uint8 RGB

    Raises
    ------
    FaultError : the file is empty, damaged, cut off, animated, turned by EXIF, transparent, or deeper than 8 bits.
    """
    file = name_of(path, root)
    data, header = _open(path, file)
    with _damage_told(file):
        _refuse_frames(header, file)
        _refuse_turn(header, file)
        _refuse_depth(data, header, file)
        if header.mode not in ("L", "RGB") or not _is_for_opencv(header):
            return _convert(header, file)
        if header.format in ("JPEG", "MPO") and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
            header.load()  # OpenCV lets some JPEGs without an end pass
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _COLOUR)
    if image is None:
        raise fault("unreadable_image", file, _DAMAGED)
    return image


def read_index_mask(path: Path, *, root: Path) -> np.ndarray:
    """The class indices in a mask file: grey of 8 or 16 bits, black and white (0 and 1), or a palette's indices.

    Returns
    -------
    (H, W) uint8 or uint16

    Raises
    ------
    FaultError : the file is empty, damaged, a JPEG, animated, turned by EXIF, or holds colours.
    """
    file = name_of(path, root)
    data, header = _open(path, file)
    with _damage_told(file):
        _refuse_frames(header, file)
        _refuse_turn(header, file)
        if header.format in ("JPEG", "MPO"):
            message = "a JPEG mask has lost its exact labels; export it again as PNG"
            raise fault("lossy_mask", file, message, value="JPEG")
        if header.mode in ("L", "I;16") and _is_for_opencv(header):
            mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if mask is None:
                raise fault("unreadable_image", file, _DAMAGED)
            if mask.ndim == 2 and mask.dtype in (np.uint8, np.uint16):
                return mask
        pixels = np.asarray(header)
    if header.mode == "1":
        return pixels.astype(np.uint8)
    if pixels.ndim == 2 and header.mode in ("L", "P"):
        return pixels
    if pixels.ndim == 2 and pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 65535:
        return pixels.astype(np.uint16)
    raise _colour_fault(pixels, header.mode, file)


def read_colour_mask(path: Path, *, root: Path) -> np.ndarray:
    """The colours in a mask file, RGB or of a palette: (H, W, 3) uint8; FaultError as `read_image`, and for a JPEG."""
    with path.open("rb") as file:
        is_jpeg = file.read(2) == b"\xff\xd8"
    if is_jpeg:
        message = "a JPEG mask has lost its exact colours; export it again as PNG"
        raise fault("lossy_mask", name_of(path, root), message, value="JPEG")
    return read_image(path, root=root)


def refuse_false_head(header: Image.Image, size: int, file: str) -> None:
    """Raise FaultError where a head announces more pixels than a file of `size` bytes can hold, before they cost memory."""
    pixels = header.width * header.height
    # WebP is never larger than 16383 x 16383, and holds a plain one in a few bytes
    if header.format != "WEBP" and pixels > LARGE and pixels * len(header.getbands()) > RATIO * size:
        message = f"says that it is {header.width}x{header.height}, which {size} bytes cannot hold: it {_DAMAGED}"
        raise fault("unreadable_image", file, message)


def fault(rule: str, file: str, message: str, *, value: object = "", pixel: tuple[int, int] | None = None) -> FaultError:
    """A FaultError with a single fault."""
    return FaultError([Fault(rule, file, message, pixel, str(value))])


def name_of(path: Path, root: Path) -> str:
    """How a fault names a file: relative to the source, with forward slashes."""
    return path.relative_to(root).as_posix()


def _open(path: Path, file: str) -> tuple[bytes, Image.Image]:
    """The bytes of a file and its header, nothing decoded yet."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise fault("unreadable_image", file, f"cannot be read: {error.strerror}") from None
    if not data:
        raise fault("zero_byte", file, "is empty (0 bytes); fetch or export it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
        try:
            header = Image.open(io.BytesIO(data))
        except BROKEN:
            raise fault("unreadable_image", file, "is no image that can be read, or its head is damaged") from None
    refuse_false_head(header, len(data), file)
    return data, header


@contextmanager
def _damage_told(file: str) -> Iterator[None]:
    """Whatever decoding raises is a fault of the file."""
    try:
        yield
    except FaultError:
        raise
    except BROKEN:
        raise fault("unreadable_image", file, _DAMAGED) from None


def _is_for_opencv(header: Image.Image) -> bool:
    return max(header.size) <= _OPENCV_SIDE and header.width * header.height <= _OPENCV_PIXELS


def _refuse_frames(header: Image.Image, file: str) -> None:
    # the extra frames of an MPO, the JPEG of phones, are depth and brightness maps: no animation
    if header.format != "MPO" and getattr(header, "is_animated", False):
        raise fault(
            "animated_image", file, f"has {header.n_frames} frames, wanted 1; export the one to use", value=header.n_frames
        )


def _refuse_turn(header: Image.Image, file: str) -> None:
    # for a PNG without the tag, getexif() would decode the whole picture in search of it
    has_exif = header.format != "PNG" or "exif" in header.info
    turn = header.getexif().get(_ORIENTATION, 1) if has_exif else 1
    if turn != 1:
        other = "viewers turn this file, the mask or image that belongs to it may not be"
        raise fault(
            "exif_rotation", file, f"EXIF orientation {turn}: {other}; store the pixels upright and drop the tag", value=turn
        )


def _refuse_depth(data: bytes, header: Image.Image, file: str) -> None:
    # by the header: Pillow cuts what it gives no mode of its own, such as 16 bits with alpha, to 8 bits
    bits = data[24] if header.format == "PNG" else 8
    if header.format == "TIFF":
        bits = int(np.max(header.tag_v2.get(258, 8)))
    kind = {"I": "int32", "F": "float32"}.get(header.mode, f"uint{bits}")
    if bits > 8 or header.mode.startswith(("I", "F")):
        message = f"{kind} values, wanted 8 bits per channel; scale them to 0..255 in a way that suits your data"
        raise fault("image_depth", file, message, value=kind)


def _convert(header: Image.Image, file: str) -> np.ndarray:
    """RGB from what is too large for OpenCV, and from the modes that it does not convert faithfully.

    These are palette, alpha, CMYK, Lab, black and white.
    """
    header.load()
    if header.has_transparency_data:
        alpha = np.asarray(header.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            y, x = np.argwhere(alpha < 255)[0]
            message = f"alpha is {alpha[y, x]}: what lies behind transparent pixels is unknown; flatten the image to RGB"
            raise fault("transparent_image", file, message, value=alpha[y, x], pixel=(int(x), int(y)))
    return np.asarray(header.convert("RGB"))


def _colour_fault(pixels: np.ndarray, mode: str, file: str) -> FaultError:
    """Say how to turn a mask of `mode` into indices."""
    if pixels.ndim == 2:
        return fault("colour_mask", file, f"mask of mode {mode}, wanted class indices; save it as 8- or 16-bit grey PNG")
    colour = pixels[..., : 1 if mode == "LA" else 3]  # without alpha
    differ = (colour != colour[..., :1]).any(axis=2)
    if not differ.any() and mode in ("LA", "RGB", "RGBA"):
        message = (
            f"mask has {pixels.shape[2]} channels ({mode}) that repeat one; keep it alone: Image.open(f).getchannel(0).save(f)"
        )
        return fault("colour_mask", file, message, value=mode)
    y, x = np.argwhere(differ)[0] if differ.any() else (0, 0)
    value = ",".join(str(one) for one in pixels[y, x])
    message = (
        f"mask holds colours ({mode}), wanted one channel of class indices; replace each colour by its index: "
        "index[(mask == colour).all(axis=2)] = class, and save index as 8-bit grey PNG; "
        "or, with the reader folder, set mask_kind: colour and give every class its colour"
    )
    return fault("colour_mask", file, message, value=value, pixel=(int(x), int(y)))
