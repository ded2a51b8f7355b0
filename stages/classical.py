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
    from pipeline.classical import METHODS
    from pipeline.dataset import Dataset
    from pipeline.machine import Load, peak_memory_mb
    from pipeline.provenance import code_files, fit_key
    from pipeline.table import look_up, module_file

    params = load_params()
    if name not in params.classical:
        raise ValueError(f"params.yaml: classical has no {name!r}; choose one of: {', '.join(params.classical)}")
    fit = params.classical[name].fit.model_dump()
    cv2.setNumThreads(params.threads)
    dataset = Dataset(Path("data/dataset"))
    identity = {"seed": params.seed, "threads": params.threads}
    key = fit_key(
        name,
        fit={**fit, **identity},
        inputs={"dataset": dataset.sha256},
        files=code_files("stages/classical.py", module_file(METHODS, fit["method"])),
    )
    started_at_s, load = time.perf_counter(), Load()
    method = look_up(METHODS, fit["method"], kind="classical method")(dataset.label_space, **fit["options"])
    method.fit(dataset.samples("train"), np.random.default_rng(params.seed))
    out = Path("runs") / name
    (out / "model").mkdir(parents=True, exist_ok=True)
    method.save(out / "model")
    description = {
        "name": name,
        "kind": "classical",
        "method": fit["method"],
        "options": fit["options"],
        "label_space": dataset.label_space.to_json(),
        "fit": fit,
        **identity,
        "fit_key": key,
    }
    files.write_json(out / "model/model.json", description)
    cost = {"fit_seconds": time.perf_counter() - started_at_s, "peak_memory_mb": peak_memory_mb(), **load.measured()}
    files.write_json(out / "fit_cost.json", cost)
    print(f"{name}: fitted in {cost['fit_seconds']:.1f} s")


if __name__ == "__main__":
    run(main)
