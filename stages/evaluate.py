"""Evaluate one method, of any kind, on the test split: `python -m stages.evaluate NAME`."""

import argparse
import shutil
from pathlib import Path

from stages._run import run


def main(argv: list[str] | None = None) -> None:
    from pipeline import parent_death

    parent_death.die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a key of classical, networks or fusions in params.yaml")
    name = parser.parse_args(argv).name

    import cv2
    from rich.progress import track

    from pipeline import cost, evaluation, files, inference, tracking
    from pipeline.check import load_params
    from pipeline.dataset import Dataset

    params = load_params()
    if name not in params.methods:
        raise ValueError(f"params.yaml has no method {name!r}; choose one of: {', '.join(params.methods)}")
    cv2.setNumThreads(params.threads)
    folder = Path("runs") / name
    if name in params.fusions:
        _assemble(name, params, folder / "model")
    method = inference.load(folder / "model", predict=params.methods[name].predict, threads=params.threads)
    dataset = Dataset(Path("data/dataset"))
    files.write_json(folder / "predict.json", method.fit_prediction(lambda count: _validation(dataset, count)))
    ids = dataset.ids("test")
    chosen = evaluation.evenly(ids, params.evaluate.samples)
    shutil.rmtree(folder / "samples", ignore_errors=True)
    samples = track(dataset.samples("test"), description=f"evaluate {name}", total=len(ids), transient=True)
    scores, tables = evaluation.score(method, samples, pictured=chosen, pictures=folder / "samples")
    evaluation.write(folder, scores, tables)
    timed = [dataset.sample("test", one).image for one in evaluation.evenly(ids, params.evaluate.timed_images)]
    files.write_json(folder / "cost.json", cost.measure(method, timed))
    print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in scores.items()))
    tracking.publish(name)


def _validation(dataset, count: int) -> list:
    """At most `count` samples of the validation split, spread evenly."""
    from pipeline.evaluation import evenly

    return [dataset.sample("val", one) for one in evenly(dataset.ids("val"), count)]


def _assemble(name: str, params, folder: Path) -> None:
    """A fusion is fitted by putting its two methods side by side."""
    from pipeline import files
    from pipeline.postprocess import FUSIONS
    from pipeline.provenance import code_files, file_hash, fit_key
    from pipeline.table import module_file

    fusion = params.fusions[name]
    fit = fusion.model_dump(exclude={"predict"})
    parts = {part: Path("runs") / getattr(fusion, part) / "model" for part in ("semantic", "instance")}
    shutil.rmtree(folder, ignore_errors=True)
    for part, source in parts.items():
        shutil.copytree(source, folder / part)
    description = {
        "name": name,
        "kind": "fusion",
        "method": fusion.fit.method,
        "options": {},
        "label_space": files.read_json(parts["semantic"] / "model.json")["label_space"],
        "fit": fit,
        "seed": params.seed,
        "threads": params.threads,
        "fit_key": fit_key(
            name,
            fit=fit,
            inputs={part: file_hash(source / "model.json") for part, source in parts.items()},
            files=code_files(module_file(FUSIONS, fusion.fit.method)),
        ),
    }
    files.write_json(folder / "model.json", description)


if __name__ == "__main__":
    run(main)
