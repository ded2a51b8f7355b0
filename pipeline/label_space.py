"""The classes of a data set: names, colours, which of them are things, and what label means "ignore"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set, in order of their index.

    Parameters
    ----------
    names : C class names, all different
    colours : C RGB triples, 0..255
    isthing : C flags; countable classes are things, the others stuff
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    isthing: tuple[bool, ...]

    def __post_init__(self):
        if not (len(self.names) == len(self.colours) == len(self.isthing)):
            raise ValueError(
                f"label space: {len(self.names)} names, {len(self.colours)} colours and {len(self.isthing)} thing flags; "
                "give one of each per class"
            )
        if not self.names:
            raise ValueError("label space: no class; give at least one")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"label space: {', '.join(twice)} stands there twice; class names must differ")
        if self.num_classes > 65535:
            raise ValueError(f"label space: {self.num_classes} classes, at most 65535 fit a uint16 label map")

    @classmethod
    def from_json(cls, given: dict) -> LabelSpace:
        """The classes that `to_json` wrote."""
        return cls(tuple(given["names"]), tuple(tuple(one) for one in given["colours"]), tuple(given["isthing"]))

    def to_json(self) -> dict:
        """What stands in dataset.json, arrays.json and model.json."""
        return {"names": list(self.names), "colours": [list(one) for one in self.colours], "isthing": list(self.isthing)}

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @property
    def void(self) -> int:
        """The label that means "ignore": 255, or 65535 where there are more than 254 classes."""
        return 255 if self.num_classes <= 254 else 65535

    @property
    def dtype(self) -> type:
        return np.uint8 if self.num_classes <= 254 else np.uint16

    @property
    def has_things(self) -> bool:
        return any(self.isthing)

    @property
    def uncovered(self) -> int:
        """The label of a pixel on which no thing stands: the class of stuff where there is one only, else void."""
        stuff = [index for index, isthing in enumerate(self.isthing) if not isthing]
        return stuff[0] if len(stuff) == 1 else self.void

    @cached_property
    def palette(self) -> np.ndarray:
        """(void + 1, 3) uint8: the colour of each label; void is black."""
        palette = np.zeros((self.void + 1, 3), np.uint8)
        palette[: self.num_classes] = self.colours
        return palette

    def paint(self, labels: np.ndarray) -> np.ndarray:
        """Colour a (H, W) label map: (H, W, 3) uint8."""
        return self.palette[labels]

    def check_classes(self, classes, *, where: str) -> None:
        """Raise ValueError where class indices, of instances or segments, are none of 0..C-1."""
        wrong = sorted({int(one) for one in classes if not 0 <= one < self.num_classes})
        if wrong:
            raise ValueError(f"{where}: classes {wrong} are outside 0..{self.num_classes - 1}")

    def check(self, labels: np.ndarray, *, where: str) -> None:
        """Raise ValueError where (H, W) integer `labels` hold anything but classes and void."""
        if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"{where}: labels are {labels.shape} {labels.dtype}, wanted (H, W) uint8 or uint16")
        wrong = (labels >= self.num_classes) & (labels != self.void)
        if wrong.any():
            y, x = np.argwhere(wrong)[0]
            raise ValueError(
                f"{where}: label {labels[y, x]} at pixel x={x}, y={y} is outside 0..{self.num_classes - 1} "
                f"and is not void ({self.void}); fix the mask or add the class"
            )
