"""What a method costs: time and memory for one image after the other."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from pipeline.inference import Fitted
from pipeline.machine import Load


def measure(method: Fitted, images: Sequence[np.ndarray]) -> dict[str, float | int | bool]:
    """Time one image after the other, alone on this machine as far as this pipeline goes: a file lock sees to that.

    Parameters
    ----------
    images : (H, W, 3) uint8 each

    Returns
    -------
    dict with latency_ms (median), images_per_s, peak_memory_mb (this process, or the GPU where one computes), load_average,
    under_load, and where the method has them parameters and multiply_adds (of the first image's size)
    """
    lock = Path(tempfile.gettempdir()) / "segmentation-pipeline-timing.lock"
    method.forget_peak_memory()  # scoring and fitting of post-processes are no part of a prediction
    with FileLock(lock, mode=0o666):
        for image in images[:2]:  # warm-up
            method.segment(image)
        load = Load()
        seconds = [_timed(method, image) for image in images]
        busy = load.measured()
    return {
        **method.cost(*images[0].shape[:2]),
        "latency_ms": 1000 * statistics.median(seconds),
        "images_per_s": len(seconds) / sum(seconds),
        "peak_memory_mb": method.peak_memory_mb(),
        **busy,
    }


def _timed(method: Fitted, image: np.ndarray) -> float:
    started_at_s = time.perf_counter()
    method.segment(image)  # its arrays are on the CPU when it returns, so a GPU has finished too
    return time.perf_counter() - started_at_s
