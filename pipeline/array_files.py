"""Plain pictures in .npy files mapped into memory: those of one size share a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

OPEN_FILES = 128  # array files mapped at once: each holds a file descriptor, and sources have up to hundreds of sizes


class ArrayWriter:
    """Appends pictures to images_HxW.npy and labels_HxW.npy of a folder; a context, which completes them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._written: dict[str, tuple[tuple[int, ...], np.dtype]] = {}  # file -> shape so far, type

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *error) -> None:
        for name, (shape, dtype) in self._written.items():
            _write_header(self.folder / name, shape, dtype, mode="r+b")

    @staticmethod
    def packed(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What `add` takes."""
        return image, labels

    def add(self, image: np.ndarray, labels: np.ndarray) -> tuple[int]:
        """Where the picture lies: its row in the files of its size."""
        row = self._append(_file_name("images", *labels.shape), image)
        self._append(_file_name("labels", *labels.shape), labels)
        return (row,)

    def _append(self, name: str, array: np.ndarray) -> int:
        path, before = self.folder / name, self._written.get(name)
        row = before[0][0] if before else 0
        if not row:
            _write_header(path, (0, *array.shape), array.dtype, mode="wb")
        try:
            with path.open("ab") as file:
                file.write(np.ascontiguousarray(array).data)
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, error.strerror, str(path)) from None
        self._written[name] = (row + 1, *array.shape), array.dtype
        return row


class ArrayFiles:
    """The pictures of a folder that an `ArrayWriter` wrote; files are opened when they are first read. Pickles and forks."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._open: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_open": {}}

    def image(self, size: tuple[int, int], row: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, a read-only view of the file."""
        return self._mapped(_file_name("images", *size))[row]

    def labels(self, size: tuple[int, int], row: int) -> np.ndarray:
        """(H, W) uint8 or uint16, a read-only view of the file."""
        return self._mapped(_file_name("labels", *size))[row]

    def _mapped(self, name: str) -> np.ndarray:
        if name not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.clear()
            # a plain array over the map: slicing np.memmap itself costs more than reading a small picture
            self._open[name] = np.asarray(np.lib.format.open_memmap(self.folder / name, mode="r"))
        return self._open[name]


def _file_name(kind: str, height: int, width: int) -> str:
    return f"{kind}_{height}x{width}.npy"


def _write_header(path: Path, shape: tuple[int, ...], dtype: np.dtype, *, mode: str) -> None:
    """A .npy file's header, which keeps its length when it is written again: NumPy leaves room for the first axis to grow."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with path.open(mode) as file:
        np.lib.format.write_array_header_1_0(file, header)
