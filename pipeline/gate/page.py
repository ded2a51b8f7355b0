"""What the data gate found as a page: by rule, with its level, what to do, and pictures of the first few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files import write_text
from pipeline.pages import render
from pipeline.rules import RULES
from pipeline.sources import Fault

if TYPE_CHECKING:
    from pipeline.gate.pictures import Picture

PICTURED = 36  # faults with pictures, of all rules; bounds the size of the page
PICTURED_PER_RULE = 6
NAMED_PER_RULE = 60  # further files by name; all of them stand in the table
BEGIN, END = "<!-- findings -->", "<!-- end of findings -->"  # around what the report takes over


@dataclass(frozen=True)
class _Shown:
    fault: Fault
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class _Group:
    """The faults of one rule: the first few with pictures, more by name, the rest as a number."""

    rule: str
    level: str
    meaning: str
    count: int
    shown: list[_Shown]
    more: list[str]
    left: int


def write_page(
    path: Path,
    faults: Sequence[tuple[str, Fault]],
    *,
    name: str,
    total: int,
    table: str,
    pictures: Callable[[Fault], tuple[Picture, ...]],
) -> None:
    """Write one self-contained HTML file, the same bytes for the same faults.

    Parameters
    ----------
    faults : level and fault, in the order of the table
    name : of the data set
    total : images looked at
    table : where the whole list stands, for the reader
    pictures : of a fault; called for no more than PICTURED of them
    """
    groups = _groups(faults, pictures)
    counts = [(sum(level == one for one, _ in faults), level) for level in ("error", "warning")]
    said = " and ".join(f"{count} {level}{'s' if count > 1 else ''}" for count, level in counts if count)
    context = {"name": name, "total": total, "table": table, "groups": groups, "counts": said}
    write_text(path, render(Path(__file__).with_name("page.html"), context))


def findings_in(page: Path) -> str:
    """What `write_page` wrote, without its frame: markup for another page; "" where there is no such file."""
    if not page.is_file():
        return ""
    return page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def _groups(faults: Sequence[tuple[str, Fault]], pictures: Callable[[Fault], tuple[Picture, ...]]) -> list[_Group]:
    by_rule = [list(group) for _, group in groupby(faults, key=lambda one: (one[0], one[1].rule))]
    most = max(1, min(PICTURED_PER_RULE, PICTURED // max(1, len(by_rule))))
    groups = []
    for group in by_rule:
        level, first = group[0]
        shown = [_Shown(fault, pictures(fault)) for _, fault in group[:most]]
        names = [str(fault).rpartition(" [")[0] for _, fault in group[most : most + NAMED_PER_RULE]]
        left = max(0, len(group) - most - NAMED_PER_RULE)
        groups.append(_Group(first.rule, level, RULES[first.rule][1], len(group), shown, names, left))
    return groups
