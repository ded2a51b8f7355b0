"""Train one network: `python -m stages.train NAME`. Interrupted at any moment, it goes on where it was."""

import argparse
import os
from pathlib import Path

from stages._run import run


def main(argv: list[str] | None = None) -> None:
    from pipeline import parent_death

    parent_death.die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a key of networks in params.yaml")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes that make batches, 0: none")
    arguments = parser.parse_args(argv)

    from pipeline import tracking
    from pipeline.arrays import TrainingArrays
    from pipeline.check import load_params
    from pipeline.training import fit as fitting
    from pipeline.training.console import ConsoleWatch
    from pipeline.training.loop import EpochLog, Watches
    from pipeline.training.state import Checkpoint, drop_finished

    params, name = load_params(), arguments.name
    if name not in params.networks:
        raise ValueError(f"params.yaml: networks has no {name!r}; choose one of: {', '.join(params.networks)}")
    fit = params.networks[name].fit.model_dump()
    arrays = TrainingArrays(Path("data/train"))
    identity = {"seed": params.seed, "threads": params.threads}
    key = fitting.network_key(name, fit, arrays, **identity)
    folder = Path("checkpoints") / name
    drop_finished(folder, but=key)
    model = {"name": name, "fit": fit, **identity, "fit_key": key}
    with tracking.live(model) as live, ConsoleWatch(name) as console:
        watch = Watches(console, EpochLog(live.log))
        checkpoint = Checkpoint(folder / key)
        network, progress = fitting.fit_network(fit, arrays, checkpoint, **identity, workers=arguments.workers, watch=watch)
    fitting.write_run(Path("runs") / name, model, arrays, network, progress)


def default_workers() -> int:
    """None on a small machine, where they would take the cores from the training itself; else half the cores, 8 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores // 2) if cores > 4 else 0


if __name__ == "__main__":
    run(main)
