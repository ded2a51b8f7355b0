"""Which image belongs to which split: the official splits, or by group from the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.sources import Fault, FaultError, Record

SPLITS = ("train", "val", "test")


def assign(records: Sequence[Record], *, shares: Mapping[str, float], seed: int) -> tuple[Record, ...]:
    """Give every record its split, so that no group falls into two.

    Official splits stay as they are. Otherwise the largest groups are placed first, each where most images are
    still missing, ties in an order drawn from `seed`; no split with a share above 0 stays empty.

    Parameters
    ----------
    shares : split -> share of the images, 0..1

    Raises
    ------
    FaultError : there are fewer groups than splits, or only some records have an official split.
    """
    official = [record.split is not None for record in records]
    if all(official):
        return tuple(records)
    if any(official):
        without = next(record.id for record in records if record.split is None)
        message = "has no split while others have one; the reader must give one to all or to none"
        raise FaultError([Fault("outside_splits", without, message)])
    sizes = Counter(record.group for record in records)
    wanted = [split for split in SPLITS if shares[split] > 0]
    if len(sizes) < len(wanted):
        message = (
            f"{len(sizes)} groups ({', '.join(list(sizes)[:3])}) cannot fill {', '.join(wanted)}; "
            "add data, or make the groups smaller (group_pattern)"
        )
        raise FaultError([Fault("too_few_groups", "(data set)", message, value=str(len(sizes)))])
    chosen = _place(sizes, {split: shares[split] * len(records) for split in wanted}, seed)
    return tuple(replace(record, split=chosen[record.group]) for record in records)


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
    faults = [
        Fault("empty_split", "(data set)", f"split {split} has no image that can be used; add some", value=split)
        for split in SPLITS
        if all(record.split != split for record in usable)
    ]
    splits_of: dict[str, set[str]] = {}
    for record in usable:
        splits_of.setdefault(record.group, set()).add(record.split)
    for group, splits in sorted(splits_of.items()):
        if len(splits) > 1:
            message = f"group {group!r} has images in {', '.join(sorted(splits))}: scores there are better than on new groups"
            faults.append(Fault("group_across_splits", "(data set)", message, value=group))
    return faults
