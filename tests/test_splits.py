import numpy as np
import pytest

from pipeline.sources import FaultError, Record
from pipeline.splits import assign
from tests import fakes


def records(sizes: dict[str, int], split=None) -> list[Record]:
    return [Record(f"{group}{index}", split, group, lambda: None) for group, size in sizes.items() for index in range(size)]


def split_sizes(assigned) -> dict[str, int]:
    return {split: sum(record.split == split for record in assigned) for split in ("train", "val", "test")}


def test_split_by_image_hits_the_shares():
    assigned = assign(
        records({f"g{index}": 1 for index in range(20)}), shares={"train": 0.7, "val": 0.15, "test": 0.15}, seed=3
    )
    assert split_sizes(assigned) == {"train": 14, "val": 3, "test": 3}


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole(seed):
    rng = np.random.default_rng([seed])
    sizes = {f"g{index}": int(size) for index, size in enumerate(rng.integers(1, 12, 15))}
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    assigned = assign(records(sizes), shares=shares, seed=seed)
    for group in sizes:
        assert len({record.split for record in assigned if record.group == group}) == 1
    total = sum(sizes.values())
    for split, size in split_sizes(assigned).items():
        assert abs(size - shares[split] * total) <= max(sizes.values())
    assert assign(records(sizes), shares=shares, seed=seed) != assign(records(sizes), shares=shares, seed=seed + 1)


def test_three_groups_fill_three_splits():
    assigned = assign(records({"a": 50, "b": 50, "c": 1}), shares={"train": 0.9, "val": 0.05, "test": 0.05}, seed=0)
    assert sorted(split_sizes(assigned).values()) == [1, 50, 50]


def test_too_few_groups():
    with pytest.raises(FaultError, match=r"2 groups \(a, b\) cannot fill train, val, test"):
        assign(records({"a": 5, "b": 5}), shares=fakes.SHARES, seed=0)
    assert {one.split for one in assign(records({"a": 5}), shares={"train": 1.0, "val": 0.0, "test": 0.0}, seed=0)} == {"train"}


def test_official_splits_are_kept():
    official = records({"a": 3}, split="test")
    assert assign(official, shares=fakes.SHARES, seed=0) == tuple(official)
    with pytest.raises(FaultError, match="has no split while others have one"):
        assign([*official, *records({"b": 1})], shares=fakes.SHARES, seed=0)
