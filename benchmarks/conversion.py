"""Time and memory to check, convert and make ready a large data set. `python -m benchmarks.conversion`

The pictures are generated: smooth noise of 512 x 512 as JPEG, and masks of blobs of 8 classes as PNG. Then the stages convert
and augment, once with plain arrays and once with shards, and how quickly each is read back: single pictures by one thread, and
an epoch of batches as training has them, by the worker processes of its own loader.
"""

import argparse
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import psutil

from pipeline import arrays
from pipeline.dataset import Dataset
from pipeline.dataset_writer import write
from pipeline.datasets import folder as reader
from pipeline.training.batches import TrainingBatches, epoch_order, training_loader

CLASSES = [f"class_{index}" for index in range(8)]
SIDE = 512
WORKERS, BATCH = 2, 8
POLICY = {"horizontal_flip": 0.5, "crop": [384, 384]}


def generate(root: Path, number: int) -> None:
    """One picture and its mask."""
    rng = np.random.default_rng(number)
    noise = cv2.resize(rng.integers(0, 256, (32, 32, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.integers(0, 24, (SIDE // 2, SIDE // 2, 3), np.uint8), (SIDE, SIDE))
    labels = cv2.resize(rng.integers(0, len(CLASSES), (8, 8), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST_EXACT)
    for _ in range(6):
        centre, axes = rng.integers(0, SIDE, 2).tolist(), rng.integers(20, 120, 2).tolist()
        cv2.ellipse(labels, centre, axes, float(rng.integers(180)), 0, 360, int(rng.integers(len(CLASSES))), -1)
    cv2.imwrite(str(root / f"images/{number:06d}.jpg"), cv2.add(noise, fine))
    cv2.imwrite(str(root / f"masks/{number:06d}.png"), labels)


class Memory:
    """The largest memory of this process and its children while in the context: `peak_mb`, shared pages counted once.

    Pages of mapped files are left out: the system drops them where it needs the room, so an array larger than memory may be
    read through them.
    """

    def __enter__(self) -> "Memory":
        self.peak_mb, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.5):
            total_kb = 0
            for process in [me, *me.children(recursive=True)]:
                with suppress(OSError):  # it has ended
                    sums = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                    total_kb += sum(int(line.split()[1]) for line in sums if line.startswith("Pss_Anon:"))
            self.peak_mb = max(self.peak_mb, total_kb / 1e3)


def measured(name: str, count: int, work) -> object:
    """The result of `work`; prints its line of the table."""
    with Memory() as memory:
        started_at_s = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - started_at_s
    print(f"| {name} | {seconds:,.1f} | {count / seconds:,.0f} | {memory.peak_mb:,.0f} |", flush=True)
    return result


def read_all(split: arrays.ArraySplit) -> None:
    """Every picture once, in a random order."""
    for index in np.random.default_rng(0).permutation(len(split)).tolist():
        split.image(index).max()
        split.target(index).labels.max()


def load_all(split: arrays.ArraySplit, *, void: int, policy: dict) -> None:
    """One epoch of batches, as training has them."""
    batches = TrainingBatches(split, seed=0, void=void, stride=1, policy=policy, with_instances=False)
    order = epoch_order(split.sizes, batch_size=BATCH, seed=0, epoch=1)
    for _ in training_loader(batches, [(1, indices) for indices in order], workers=WORKERS):
        pass


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    arguments = parser.parse_args(argv)
    count = arguments.pictures
    with tempfile.TemporaryDirectory() as home:
        root = Path(home)
        for name in ("source/images", "source/masks"):
            (root / name).mkdir(parents=True)
        with ProcessPoolExecutor() as pool:
            list(pool.map(partial(generate, root / "source"), range(count), chunksize=32))
        print(f"{count:,} pictures of {SIDE} x {SIDE} px\n")
        print("| | s | pictures/s | peak memory, MB |\n| --- | ---: | ---: | ---: |")
        shares = {"train": 0.8, "val": 0.1, "test": 0.1}
        convert = partial(
            write,
            folder=root / "dataset",
            splits=shares,
            seed=0,
            rules={},
            origin={},
            root=root / "source",
            insight_folder=root / "insight",
        )
        source = partial(reader.read, root / "source", classes=CLASSES)
        dataset = measured("check and convert", count, lambda: convert(source()))
        shutil.rmtree(root / "source")
        for storage, limit in (("arrays", 1e9), ("shards", 0.0)):
            prepare = partial(arrays.write, Dataset(root / "dataset"), short_side=None, policy={}, encode_above_gib=limit)
            trained_on = len(dataset.ids("train")) + len(dataset.ids("val"))
            measured(f"make ready for training, {storage}", trained_on, partial(prepare, root / storage))
            split = arrays.TrainingArrays(root / storage).split("train")
            size_mb = sum(file.stat().st_size for file in (root / storage / "train").iterdir()) / 1e6
            measured(f"read back from {storage} ({size_mb:,.0f} MB), one thread", len(split), partial(read_all, split))
            for what, policy in (("as they are", {}), ("flipped and cropped", POLICY)):
                load = partial(load_all, split, void=dataset.label_space.void, policy=policy)
                measured(f"batches of {BATCH} from {storage}, {what}, {WORKERS} workers", len(split), load)
            shutil.rmtree(root / storage)


if __name__ == "__main__":
    main()
