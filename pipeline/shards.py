"""Encoded pictures in shards: Arrow files mapped into memory, from which any picture is read and decoded on its own.

For training data that memory would not hold as plain arrays: of photographs a shard takes about an eighth of their space.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

QUALITY = 95  # of JPEG, without subsampled colours: about one grey level off on photographs
SHARD_BYTES = 1 << 30  # a file is closed when it holds so much
SCHEMA = pa.schema([("image", pa.binary()), ("labels", pa.binary())])
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


class ShardWriter:
    """Appends encoded pictures to shard_0.arrow, shard_1.arrow, ... of a folder; a context, which completes the last one."""

    def __init__(self, folder: Path):
        self.folder, self.number, self.row, self.size = folder, -1, 0, SHARD_BYTES
        self._file: pa.RecordBatchFileWriter | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error) -> None:
        self._close()

    @staticmethod
    def packed(image: np.ndarray, labels: np.ndarray) -> tuple[bytes, bytes]:
        """What `add` takes: (H, W, 3) uint8 RGB as JPEG, and (H, W) uint8 or uint16 as PNG, which loses nothing."""
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)[1]
        return jpeg.tobytes(), cv2.imencode(".png", labels, _PNG)[1].tobytes()

    def add(self, image: bytes, labels: bytes) -> tuple[int, int]:
        """Where the picture lies: shard and row."""
        if self.size >= SHARD_BYTES:
            self._close()
            self.number, self.row, self.size = self.number + 1, 0, 0
            self._file = pa.ipc.new_file(str(_path(self.folder, self.number)), SCHEMA)
        self._file.write_batch(pa.record_batch([pa.array([image]), pa.array([labels])], schema=SCHEMA))
        self.size += len(image) + len(labels)
        self.row += 1
        return self.number, self.row - 1

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Shards:
    """The pictures of a folder that a `ShardWriter` wrote; files are opened when they are first read. Pickles and forks."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._open: dict[int, pa.RecordBatchFileReader] = {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_open": {}}

    def image(self, size: tuple[int, int], shard: int, row: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return self._decode(shard, row, "image", cv2.IMREAD_COLOR_RGB)

    def labels(self, size: tuple[int, int], shard: int, row: int) -> np.ndarray:
        """(H, W) uint8 or uint16."""
        return self._decode(shard, row, "labels", cv2.IMREAD_UNCHANGED)

    def _decode(self, shard: int, row: int, column: str, flags: int) -> np.ndarray:
        if shard not in self._open:
            self._open[shard] = pa.ipc.open_file(pa.memory_map(str(_path(self.folder, shard))))
        code = self._open[shard].get_batch(row).column(column)[0].as_buffer()
        pixels = cv2.imdecode(np.frombuffer(code, np.uint8), flags)
        if pixels is None:
            raise ValueError(f"{_path(self.folder, shard)}: row {row} is damaged; run `dvc repro -f augment`")
        return pixels


def _path(folder: Path, shard: int) -> Path:
    return folder / f"shard_{shard}.arrow"
