"""Fit one classical method: `python -m stages.classical NAME`."""

import argparse
import time
from pathlib import Path

from stages._run import run


def main(argv: list[str] | None = None) -> None:
    from pipeline import parent_death

    parent_death.die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a key of classical in params.yaml")
    name = parser.parse_args(argv).name

    import cv2
    import numpy as np

    from pipeline import files
    from pipeline.check import load_params
    from pipeline.dataset import Dataset
    from pipeline.machine import Load, peak_memory_mb
    from pipeline.search import best_options, build

    params = load_params()
    if name not in params.classical:
        raise ValueError(f"params.yaml: classical has no {name!r}; choose one of: {', '.join(params.classical)}")
    fit = params.classical[name].fit.model_dump()
    cv2.setNumThreads(params.threads)
    dataset = Dataset(Path("data/dataset"))
    started_at_s, load = time.perf_counter(), Load()
    options, tried = best_options(fit, dataset, seed=params.seed, threads=params.threads)
    method = build(fit["method"], options, dataset.label_space, threads=params.threads)
    method.fit(dataset.samples("train"), np.random.default_rng(params.seed))
    cost = {"fit_seconds": time.perf_counter() - started_at_s, "peak_memory_mb": peak_memory_mb(), **load.measured()}
    out = Path("runs") / name
    (out / "model").mkdir(parents=True, exist_ok=True)
    method.save(out / "model")
    if tried:
        files.write_csv(out / "model/search.csv", tried)
    described = _describe(name, fit, options, dataset, seed=params.seed, threads=params.threads)
    files.write_json(out / "model/model.json", described)
    files.write_json(out / "fit_cost.json", cost)
    found = ", ".join(f"{option} {options[option]}" for option in fit["search"])
    print(f"{name}: fitted in {cost['fit_seconds']:.1f} s{found and f'; found on the validation split: {found}'}")


def _describe(name: str, fit: dict, options: dict, dataset, **identity: int) -> dict:
    """model.json: what is needed to use the method elsewhere, and to know where it comes from."""
    from pipeline.classical import METHODS
    from pipeline.provenance import code_files, fit_key
    from pipeline.table import module_file

    code = code_files("stages/classical.py", module_file(METHODS, fit["method"]))
    return {
        "name": name,
        "kind": "classical",
        "method": fit["method"],
        "options": options,
        "label_space": dataset.label_space.to_json(),
        "fit": fit,
        **identity,
        "fit_key": fit_key(name, fit={**fit, **identity}, inputs={"dataset": dataset.sha256}, files=code),
    }


if __name__ == "__main__":
    run(main)
