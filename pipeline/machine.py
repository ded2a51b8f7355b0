"""The machine under a run: how much memory the process took, and how busy others kept the cores meanwhile."""

import contextlib
import os
import re
import resource
import time
from pathlib import Path

import psutil

BUSY_SHARE = 0.1  # of all cores, used by others: more marks a figure as taken under load


class Load:
    """How busy others kept the machine since this was made.

    Parameters
    ----------
    with_parent : the process that started this one, and all that it started, are no others: the processes of one training
    """

    def __init__(self, *, with_parent: bool = False):
        self._root = psutil.Process(os.getppid() if with_parent else None)
        self._started = self._read()

    def measured(self) -> dict[str, float | bool]:
        """`load_average` over the last minute, and `under_load`: others used more than a tenth of the cores."""
        wall_s, busy_s, own_s = (now - then for now, then in zip(self._read(), self._started, strict=True))
        others = (busy_s - own_s) / max(wall_s * psutil.cpu_count(), 1e-9)
        return {"load_average": round(os.getloadavg()[0], 2), "under_load": others > BUSY_SHARE}

    def _read(self) -> tuple[float, float, float]:
        """Seconds: now, used by everybody on all cores, used by our processes, those that ended among them."""
        machine, own_s = psutil.cpu_times(), 0.0
        for process in (self._root, *self._root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # ended a moment ago; its parent counts it
                own_s += sum(process.cpu_times()[:4])
        idle_s = machine.idle + getattr(machine, "iowait", 0.0)
        return time.monotonic(), sum(machine[:8]) - idle_s, own_s


def forget_peak_memory() -> None:
    """Let `peak_memory_mb` start anew from what the process holds now, where the system can do that (Linux)."""
    with contextlib.suppress(OSError):  # a container may forbid it; the peak then counts what came before
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """The most memory this process has held since its start or `forget_peak_memory`, MB of 2^20 bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # `ru_maxrss` would count what the process that started this one held
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
