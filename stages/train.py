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
    parser.add_argument(
        "--workers", type=int, default=default_workers(), help="processes that make batches; the result is the same"
    )
    arguments = parser.parse_args(argv)

    from pipeline import files, tracking
    from pipeline.arrays import TrainingArrays
    from pipeline.check import load_params
    from pipeline.machine import Load
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
    identity["fit_key"] = key
    load = Load()
    with tracking.live({"name": name, "fit": fit, **identity}) as live, ConsoleWatch(name) as console:
        network, progress = fitting.fit_network(
            fit,
            arrays,
            Checkpoint(folder / key),
            seed=params.seed,
            threads=params.threads,
            workers=arguments.workers,
            watch=Watches(console, EpochLog(live.log)),
        )
    out = Path("runs") / name
    (out / "model").mkdir(parents=True, exist_ok=True)
    fitting.save_network(out / "model", network)
    files.write_json(out / "model/model.json", fitting.describe_network(name, fit, arrays, network, progress, **identity))
    files.write_csv(out / "history.csv", progress.history)
    cost = {"fit_seconds": progress.elapsed_s, "peak_memory_mb": progress.peak_memory_mb, **load.measured()}
    files.write_json(out / "fit_cost.json", cost)


def default_workers() -> int:
    """None on a small machine, where they would take the cores from the training itself; else half the cores, 8 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores // 2) if cores > 4 else 0


if __name__ == "__main__":
    run(main)
