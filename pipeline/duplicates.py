"""Find images that a data set holds twice, images of different splits that look alike, and names that do."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.sources import Fault, folded
from pipeline.splits import SPLITS, TRAINVAL

FLAT = 8  # grey levels; a thumbnail of less contrast says nothing about its picture
ALIKE_BITS = 2  # of 64
_BLOCK = 1024  # rows compared at once; bounds the memory


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image to compare it: a digest of its pixels, and its difference hash (None where it is flat)."""

    digest: bytes
    difference_hash: int | None


@dataclass(frozen=True)
class Seen:
    """An image of a split, by the file that names it."""

    file: str
    split: str | None
    fingerprint: Fingerprint


def fingerprint(image: np.ndarray) -> Fingerprint:
    """The fingerprint of an (H, W, 3) uint8 image.

    The difference hash (Krawetz 2013, "Kind of like that") has a bit for each of 8x8 places: is it brighter to the right?
    """
    digest = hashlib.blake2b(repr(image.shape).encode() + np.ascontiguousarray(image).data, digest_size=16).digest()
    small = cv2.cvtColor(cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])  # (8,) uint8
    # neither a flat picture nor a plain gradient can be told from others of its kind
    says_nothing = np.ptp(small) < FLAT or not bits.any() or (bits == 255).all()
    return Fingerprint(digest, None if says_nothing else int.from_bytes(bits.tobytes(), "big"))


def find_duplicates(images: Sequence[Seen]) -> list[Fault]:
    """A fault for each image that repeats an earlier one, and for each that resembles one of another split.

    One fault names one other image, so that a film of 1,000 equal frames gives 999 faults and no more.
    """
    return _repeated(images) + _alike(images)


def find_alike_names(files: Mapping[str, str]) -> list[Fault]:
    """A fault for each id that some disks take for an earlier one, and for each in decomposed Unicode.

    Parameters
    ----------
    files : id -> the file that names the image
    """
    first: dict[str, str] = {}
    faults = []
    for id, file in files.items():
        other = first.setdefault(folded(id), id)
        if other != id:
            composed = unicodedata.normalize("NFC", id) == unicodedata.normalize("NFC", other)
            difference = "the form of its Unicode" if composed else "upper and lower case"
            message = f"the id {id!r} differs from {other!r} ({files[other]}) only in {difference}; rename one"
            faults.append(Fault("name_clash", file, message, value=id))
        if not unicodedata.is_normalized("NFC", id):
            message = f"the id {id!a} is in decomposed Unicode (NFD), which a list of names in the usual form does not find"
            faults.append(Fault("unicode_name", file, f"{message}; rename it in the composed form (NFC)", value=id))
    return faults


def _repeated(images: Sequence[Seen]) -> list[Fault]:
    faults = []
    first: dict[tuple[bytes, str | None], Seen] = {}
    anywhere: dict[bytes, Seen] = {}
    for image in images:
        digest = image.fingerprint.digest
        other = anywhere.setdefault(digest, image)
        twin = first.setdefault((digest, image.split), image)
        if twin is not image:
            faults.append(Fault("duplicate_image", image.file, f"has the same pixels as {twin.file}", value=twin.file))
        elif other.split != image.split:
            message = (
                f"({image.split}) has the pixels of {other.file} ({other.split}): a score on it is not one on unseen images"
            )
            faults.append(Fault("duplicate_across_splits", image.file, message, value=other.file))
    return faults


def _alike(images: Sequence[Seen]) -> list[Fault]:
    """Compare each split with those before it in train, val, test; a "trainval" that is not divided yet stands for two."""
    faults = []
    earlier: list[Seen] = []
    for split in (TRAINVAL, *SPLITS):
        here = [image for image in images if image.split == split and image.fingerprint.difference_hash is not None]
        faults += _nearest(here, earlier)
        earlier += here
    return faults


def _nearest(here: Sequence[Seen], earlier: Sequence[Seen]) -> list[Fault]:
    if not here or not earlier:
        return []
    known = _hashes(earlier)
    digests = {image.fingerprint.digest for image in earlier}
    faults = []
    for start in range(0, len(here), _BLOCK):
        block = here[start : start + _BLOCK]
        distance = np.bitwise_count(_hashes(block)[:, None] ^ known[None, :])  # (rows, earlier) uint8
        best = distance.argmin(axis=1)
        for image, row, index in zip(block, distance, best, strict=True):
            other = earlier[index]
            # equal pixels have a fault of their own
            if row[index] <= ALIKE_BITS and image.fingerprint.digest not in digests:
                message = (
                    f"({image.split}) looks like {other.file} ({other.split}): their hashes differ in {row[index]} of 64 bits"
                )
                faults.append(Fault("near_duplicate", image.file, message, value=other.file))
    return faults


def _hashes(images: Sequence[Seen]) -> np.ndarray:
    return np.array([image.fingerprint.difference_hash for image in images], np.uint64)
