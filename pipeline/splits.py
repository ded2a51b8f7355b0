"""Which image belongs to which split: the official splits, or by group from the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.sources import Fault, FaultError, Record

SPLITS = ("train", "val", "test")
TRAINVAL = "trainval"  # what a reader gives where the source has an official test split and leaves the other two to its user


def assign(records: Sequence[Record], *, shares: Mapping[str, float], seed: int) -> tuple[Record, ...]:
    """Give every record its split, so that no group falls into two.

    Official splits stay as they are; an official "trainval" is divided into train and val, in the proportion of their shares.
    Where there is something to divide, the largest groups are placed first, each where most images are still missing, ties in
    an order drawn from `seed`; no split with a share above 0 stays empty.

    Parameters
    ----------
    shares : split -> share of the images, 0..1

    Raises
    ------
    FaultError : there are fewer groups than splits, only some records have an official split, or there is a "trainval" and
        neither train nor val has a share.
    """
    official = [record.split is not None for record in records]
    if any(official) and not all(official):
        without = next(record.id for record in records if record.split is None)
        message = "has no split while others have one; the reader must give one to all or to none"
        raise FaultError([Fault("outside_splits", without, message)])
    divided = [record for record in records if record.split in (None, TRAINVAL)]
    if not divided:
        return tuple(records)
    parts = {split: shares[split] for split in SPLITS if shares[split] > 0 and (split != "test" or not any(official))}
    chosen = _divide(divided, parts, seed)
    return tuple(
        replace(record, split=chosen[record.group]) if record.split in (None, TRAINVAL) else record for record in records
    )


def _divide(records: Sequence[Record], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Group -> split; FaultError where the groups cannot fill the splits of `shares`."""
    if not shares:
        message = f"the official split {TRAINVAL} is to be divided; give train or val a share above 0 (dataset.splits)"
        raise FaultError([Fault("empty_split", "(data set)", message)])
    sizes = Counter(record.group for record in records)
    if len(sizes) < len(shares):
        message = (
            f"{len(sizes)} groups ({', '.join(list(sizes)[:3])}) cannot fill {', '.join(shares)}; "
            "add data, or make the groups smaller (group_pattern)"
        )
        raise FaultError([Fault("too_few_groups", "(data set)", message, value=str(len(sizes)))])
    total = sum(shares.values())
    return _place(sizes, {split: share / total * len(records) for split, share in shares.items()}, seed)


def _place(sizes: Mapping[str, int], missing: dict[str, float], seed: int) -> dict[str, str]:
    """Group -> split; `missing` is how many images each split still wants."""
    groups = sorted(sizes)
    groups = [groups[index] for index in np.random.default_rng([seed]).permutation(len(groups))]
    groups.sort(key=lambda group: -sizes[group])  # stable: groups of equal size stay in the drawn order
    empty = set(missing)
    chosen = {}
    for placed, group in enumerate(groups):
        open_splits = empty if len(groups) - placed <= len(empty) else missing
        split = max((one for one in SPLITS if one in open_splits), key=missing.__getitem__)
        chosen[group] = split
        missing[split] -= sizes[group]
        empty.discard(split)
    return chosen


def find_faults(records: Sequence[Record], *, usable: Sequence[Record]) -> list[Fault]:
    """Splits without a usable image, and groups that the splits cut through; nothing where no record has a split."""
    if all(record.split is None for record in records):
        return []
    there = {record.split for record in usable}
    there |= {"train", "val"} if TRAINVAL in there else set()
    faults = [
        Fault("empty_split", "(data set)", f"split {split} has no image that can be used; add some", value=split)
        for split in SPLITS
        if split not in there
    ]
    splits_of: dict[str, set[str]] = {}
    for record in usable:
        splits_of.setdefault(record.group, set()).add(record.split)
    for group, splits in sorted(splits_of.items()):
        if len(splits) > 1:
            message = f"group {group!r} has images in {', '.join(sorted(splits))}: scores there are better than on new groups"
            faults.append(Fault("group_across_splits", "(data set)", message, value=group))
    return faults
