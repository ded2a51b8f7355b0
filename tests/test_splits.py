from dataclasses import replace

import numpy as np
import pytest

from pipeline.sources import FaultError, Record
from pipeline.splits import TRAINVAL, assign, find_faults
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


def test_an_official_trainval_is_divided_and_its_test_kept():
    """Shares 0.6 and 0.2 of 20 images, the test images apart: 15 and 5."""
    sizes = {f"g{index:02}": 1 for index in range(20)}
    official = [*records(sizes, split=TRAINVAL), *records({"t": 3}, split="test")]
    assigned = assign(official, shares={"train": 0.6, "val": 0.2, "test": 0.2}, seed=0)
    assert split_sizes(assigned) == {"train": 15, "val": 5, "test": 3}
    assert [record.id for record in assigned] == [record.id for record in official]
    assert all(record.split == "test" for record in assigned[20:])
    other = assign(official, shares={"train": 0.6, "val": 0.2, "test": 0.2}, seed=1)
    assert other != assigned and other[20:] == assigned[20:]
    assert find_faults(assigned, usable=assigned) == []


def test_groups_of_a_trainval_stay_whole():
    official = [*records({"a": 5, "b": 4, "c": 3, "d": 3}, split=TRAINVAL), *records({"t": 2}, split="test")]
    assigned = assign(official, shares={"train": 0.7, "val": 0.3, "test": 0.0}, seed=0)
    assert find_faults(assigned, usable=assigned) == []
    assert split_sizes(assigned)["test"] == 2
    with pytest.raises(FaultError, match=r"1 groups \(a\) cannot fill train, val"):
        assign(records({"a": 5}, split=TRAINVAL), shares=fakes.SHARES, seed=0)
    with pytest.raises(FaultError, match="give train or val a share above 0"):
        assign(official, shares={"train": 0.0, "val": 0.0, "test": 1.0}, seed=0)


def test_a_trainval_that_is_not_divided_yet_is_no_empty_split():
    official = records({"a": 1, "b": 1}, split=TRAINVAL)
    assert [fault.value for fault in find_faults(official, usable=official)] == ["test"]
    official.append(replace(official[0], id="t", split="test"))
    assert [fault.rule for fault in find_faults(official, usable=official)] == ["group_across_splits"]
