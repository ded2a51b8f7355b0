"""Which pictures a command reads, where their masks and overlays go, and how a mask file holds its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline import files
from pipeline.pictures import images_in, picture_and_remarks

MASKS, OVERLAYS = Path("segments/masks"), Path("segments/overlays")
NUMBERED = (".png", ".tif", ".tiff")  # what a mask may be
PAINTED = (".png", ".jpg", ".jpeg", ".webp")  # what an overlay may be


@dataclass(frozen=True)
class Job:
    """A picture, the name of what is made of it, and where its mask and its overlay go; None where they are not wanted."""

    picture: Path
    name: str
    mask: Path | None
    overlay: Path | None
    bits: int | None  # of a deep picture; None: guessed

    def read(self) -> tuple[np.ndarray, list[str]]:
        """(H, W, 3) uint8 RGB, and what was done to it."""
        return picture_and_remarks(self.picture, bits=self.bits)


def plan(given: Path, *, out: Path | None, overlay: Path | None, bits: int | None = None, is_default: bool = True) -> list[Job]:
    """What is to be read and written; the arguments are those of the command.

    Parameters
    ----------
    is_default : both are written where neither is asked for

    Raises
    ------
    ValueError : there is no picture; a name is no place for what goes there; a file would be written over another or a picture.
    """
    if not given.exists():
        raise ValueError(f"{given}: no such file or folder")
    pictures = images_in(given) if given.is_dir() else [given]
    if not pictures:
        raise ValueError(f"{given}: no image in it; give the folder that holds them, folders in it are not searched")
    if is_default and out is None and overlay is None:
        out, overlay = MASKS, OVERLAYS
    stems = [picture.stem for picture in pictures]
    names = [path.name if stems.count(path.stem) > 1 else path.stem for path in pictures]  # a.jpg beside a.png
    jobs = [
        Job(
            picture,
            name,
            None if out is None else _place(out, name, option="--out", kinds=NUMBERED, is_file=not given.is_dir()),
            None if overlay is None else _place(overlay, name, option="--overlay", kinds=PAINTED, is_file=not given.is_dir()),
            bits,
        )
        for picture, name in zip(pictures, names, strict=True)
    ]
    _refuse_overwriting(jobs)
    return jobs


def _place(target: Path, name: str, *, option: str, kinds: Sequence[str], is_file: bool) -> Path:
    """Where something of the picture `name` goes: into the folder `target`, or where there is one picture, to that file."""
    if target.is_dir() or not target.suffix:
        return target / f"{name}.png"
    if not is_file:
        raise ValueError(f"{option} {target}: INPUT is a folder; give a folder here too, without {target.suffix}")
    if target.suffix.lower() not in kinds:
        raise ValueError(f"{option} {target}: wanted a folder, or a name that ends in {' or '.join(kinds)}")
    return target


def _refuse_overwriting(jobs: Sequence[Job]) -> None:
    taken = {job.picture.resolve(): "a picture of INPUT" for job in jobs}
    for job in jobs:
        for target, what in ((job.mask, "a mask"), (job.overlay, "an overlay")):
            if target is None:
                continue
            if target.resolve() in taken:
                raise ValueError(f"{target}: {what} would be written over {taken[target.resolve()]}; choose another folder")
            taken[target.resolve()] = what


def numbered(labels: np.ndarray, suffix: str) -> np.ndarray:
    """The pixels of a mask file, as OpenCV orders them: the numbers, but those of 32 bits in a PNG as R + 256 G + 65536 B.

    Parameters
    ----------
    labels : (H, W) uint8, uint16 or int32

    Raises
    ------
    ValueError : a number is too large for the three bytes.
    """
    if suffix.lower() != ".png" or labels.dtype != np.int32:
        return labels
    if labels.max() >= 1 << 24:
        raise ValueError(f"{labels.max() + 1} segments; a PNG numbers at most {1 << 24}; give --out NAME.tif")
    return labels.astype("<u4").view(np.uint8).reshape(*labels.shape, 4)[..., 2::-1]


def write(path: Path, pixels: np.ndarray) -> None:
    """Write pixels, as OpenCV orders them, in the format of the suffix."""
    files.write_bytes(path, cv2.imencode(path.suffix.lower(), np.ascontiguousarray(pixels))[1].data)
