"""Find images that a data set holds twice or that look alike, films that the splits cut through, and names that look alike."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from pipeline.sources import Fault, folded
from pipeline.splits import SPLITS, TRAINVAL

FLAT = 8  # grey levels; a thumbnail of less contrast says nothing about its picture
ALIKE_BITS = 2  # of 64
FEW_NEIGHBOURS = 20  # pairs of images; fewer tell nothing of how they follow each other
FOLLOWING = 0.75  # of the bits in which unrelated images differ; neighbours of a film differ in fewer
NAMED = 4  # files in a message
_COMPARED = 1 << 23  # pairs of hashes at once; bounds the memory


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
    group: str = ""


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

    One fault names one other image, so that a film of 1,000 equal frames gives 999 faults and no more. Images that look alike
    within a split, each like another, are one fault.

    A changed copy is found where it keeps its frame, and a cropped or mirrored one is not. Of 40 frames of CamVid (each 17th of
    its 701 by path, 480 x 360), so many copies differed in `ALIKE_BITS` or less: at half the size 40, as JPEG of quality 90 39
    and of quality 40 39, 1.2 times as bright 39; cut by 1 % of the size at each side 23, by 2 % 10, by 5 % 2; mirrored 0.
    """
    said = [image for image in images if image.fingerprint.difference_hash is not None]
    hashes, number = np.unique(np.array([one.fingerprint.difference_hash for one in said], np.uint64), return_inverse=True)
    first, second, bits = _close_pairs(hashes)
    numbers = number.tolist()
    return _repeated(images) + _alike_across(said, numbers, first, second, bits) + _alike_within(said, numbers, first, second)


def find_sequences(images: Sequence[Seen]) -> list[Fault]:
    """A fault where images that follow each other by name look alike and lie in different splits and groups, as frames do.

    They look alike where they differ in clearly fewer bits than images that are far apart by name. Where no image has a split
    yet, all that have different groups may come to lie in different splits.
    """
    said = sorted((one for one in images if one.fingerprint.difference_hash is not None), key=lambda one: _place(one.file))
    hashes = np.array([one.fingerprint.difference_hash for one in said], np.uint64)
    apart = [
        index
        for index, (one, other) in enumerate(pairwise(said))
        if one.group != other.group and (one.split != other.split or one.split is None)
    ]
    if len(apart) < FEW_NEIGHBOURS:
        return []
    bits = np.bitwise_count(hashes[1:] ^ hashes[:-1])
    near = float(np.median(bits[apart]))
    far = float(np.median(np.bitwise_count(hashes ^ np.roll(hashes, len(hashes) // 2))))
    if near > FOLLOWING * far:
        return []
    index = min(apart, key=lambda index: bits[index])
    one, other = said[index], said[index + 1]
    where = "may fall into different splits" if one.split is None else "lie in different splits"
    message = (
        f"and {other.file}, the next by name, look alike, as do most of the {len(apart)} neighbours that {where}: their hashes "
        f"differ in {near:g} of 64 bits, those of images far apart in {far:g}. Are they frames of a film, or slices of a body? "
        "Then put them in one group (group_pattern, where the reader has it): what stands beside a training image is no new one"
    )
    return [Fault("sequence_across_splits", one.file, message, value=other.file)]


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


def _alike_across(
    images: Sequence[Seen], numbers: Sequence[int], first: np.ndarray, second: np.ndarray, bits: np.ndarray
) -> list[Fault]:
    """Compare each split with those before it in train, val, test; a "trainval" that is not divided yet stands for two.

    Parameters
    ----------
    numbers : of the hash of each image
    first, second, bits : the pairs of hashes that are alike, by number, and in how many bits they differ
    """
    near: dict[int, list[tuple[int, int]]] = {}
    for one, other, count in zip(first.tolist(), second.tolist(), bits.tolist(), strict=True):
        near.setdefault(one, []).append((count, other))
        near.setdefault(other, []).append((count, one))
    faults = []
    earlier: dict[int, tuple[int, Seen]] = {}  # number of a hash -> the first image that has it, and its place in order
    digests: set[bytes] = set()
    for split in (TRAINVAL, *SPLITS):
        here = [(image, number) for image, number in zip(images, numbers, strict=True) if image.split == split]
        for image, number in here:
            found = [(count, *earlier[one]) for count, one in [(0, number), *near.get(number, [])] if one in earlier]
            if found and image.fingerprint.digest not in digests:  # equal pixels have a fault of their own
                count, _, other = min(found, key=lambda one: one[:2])
                message = f"({split}) looks like {other.file} ({other.split}): their hashes differ in {count} of 64 bits"
                faults.append(Fault("near_duplicate", image.file, message, value=other.file))
        for image, number in here:
            earlier.setdefault(number, (len(earlier), image))
            digests.add(image.fingerprint.digest)
    return faults


def _alike_within(images: Sequence[Seen], numbers: Sequence[int], first: np.ndarray, second: np.ndarray) -> list[Fault]:
    """A fault for each set of images of a split of which each looks like another one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    faults = []
    for split in dict.fromkeys(image.split for image in images):
        here: dict[bytes, tuple[Seen, int]] = {}  # equal pixels have a fault of their own
        for image, number in zip(images, numbers, strict=True):
            if image.split == split:
                here.setdefault(image.fingerprint.digest, (image, number))
        size = max(numbers) + 1
        is_here = np.zeros(size, bool)
        is_here[[number for _, number in here.values()]] = True
        both = is_here[first] & is_here[second]
        links = coo_array((np.ones(both.sum(), np.uint8), (first[both], second[both])), (size, size))
        part = connected_components(links, directed=False)[1].tolist()
        sets: dict[int, list[Seen]] = {}
        for image, number in here.values():
            sets.setdefault(part[number], []).append(image)
        faults += [_alike_fault(alike, split) for alike in sets.values() if len(alike) > 1]
    return faults


def _alike_fault(alike: Sequence[Seen], split: str | None) -> Fault:
    others = ", ".join(image.file for image in alike[1 : NAMED + 1]) + (", ..." if len(alike) > NAMED + 1 else "")
    where = f" of {split}" if split else ""
    message = (
        f"and {len(alike) - 1} more{where} look alike: {others}; what they show counts {len(alike)} times. "
        "Keep one of them, or see that they are meant"
    )
    return Fault("near_duplicate_in_split", alike[0].file, message, value=alike[1].file)


def _close_pairs(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of (N,) different uint64 hashes that differ in ALIKE_BITS bits at most: first and second index, and bits.

    Two that differ in so few bits agree in one of ALIKE_BITS + 1 parts at least: only hashes with an equal part are compared.

    References
    ----------
    Norouzi et al. 2012, Fast search in Hamming space with multi-index hashing, section 2.
    """
    parts, found = ALIKE_BITS + 1, [np.zeros((0, 3), np.int64)]
    for part in range(parts):  # every third bit, so that a dark border empties no part
        mask = np.uint64(sum(1 << bit for bit in range(part, 64, parts)))
        order = np.argsort(hashes & mask, kind="stable")
        ends = np.flatnonzero(np.diff(hashes[order] & mask)) + 1
        for run in np.split(order, ends):
            if len(run) > 1:
                found += _compare(hashes, run)
    pairs = np.unique(np.concatenate(found), axis=0)  # some agree in two parts
    return pairs[:, 0], pairs[:, 1], pairs[:, 2]


def _compare(hashes: np.ndarray, run: np.ndarray) -> list[np.ndarray]:
    """(P, 3) first and second index and bits of the alike pairs among the hashes that `run` names, in blocks."""
    found, rows = [], max(1, _COMPARED // len(run))
    for start in range(0, len(run), rows):
        block = run[start : start + rows]
        bits = np.bitwise_count(hashes[block][:, None] ^ hashes[run][None, :])  # (rows, len(run)) uint8
        row, column = np.nonzero(bits <= ALIKE_BITS)
        is_pair = block[row] < run[column]
        row, column = row[is_pair], column[is_pair]
        found.append(np.stack([block[row], run[column], bits[row, column]], axis=1, dtype=np.int64))
    return found


def _place(file: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """What sorts files as they were numbered: the words of the name, then its numbers; folders count for nothing.

    Examples
    --------
    >>> _place("val/seq1_10.png") > _place("train/seq1_9.png")
    True
    """
    parts = re.split(r"(\d+)", file.rpartition("/")[2].partition(".")[0])
    return tuple(parts[::2]), tuple(int(one) for one in parts[1::2])
