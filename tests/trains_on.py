"""Run by `launch`: two processes train, are killed or stopped on the way and go on; their checkpoints are to be compared."""

import os
import signal
import sys
from pathlib import Path

import pytest

from pipeline.arrays import TrainingArrays
from pipeline.training import fit as fitting
from pipeline.training.processes import Processes, joined
from pipeline.training.state import Checkpoint
from pipeline.training.watch import Watch
from tests.test_training import FIT, STATES, StopAt, Stopped

STOPPED = {
    name: STATES[name] for name in ("scaler, accumulate, average, clip", "frozen encoder, average", "momentum, accumulate")
}
UNET = {"model": "unet", "options": {"width": 4, "depth": 2}, "training": {"accumulate": 2, "average": 0.9}}


class KillAt(Watch):
    """Kills this process after so many steps."""

    def __init__(self, steps: int):
        self.steps = steps

    def stepped(self, progress):
        if progress.step == self.steps:
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, state: dict, processes: Processes, *, watch: Watch | None = None) -> None:
    """Train from the checkpoint in `folder` on the arrays beside it, with a checkpoint after every step."""
    arrays, fit = TrainingArrays(folder.parent / "data"), {**FIT, **state}
    options = {"seed": 3, "processes": processes, "checkpoint_every_s": 0.0, "watch": watch}
    fitting.make_trainer(fit, arrays, Checkpoint(folder), **options).run()


if __name__ == "__main__":
    folder, is_killed = Path(sys.argv[1]), sys.argv[2] == "killed"
    with joined(threads=2) as processes:
        train(folder / "killed", UNET, processes, watch=KillAt(3) if is_killed and processes.rank == 1 else None)
        train(folder / "killed, whole", UNET, processes)
        for name, state in STOPPED.items():
            train(folder / f"{name}, whole", state, processes)
            with pytest.raises(Stopped):
                train(folder / name, state, processes, watch=StopAt(5))
            train(folder / name, state, processes)
