"""Evaluate one method, of any kind, on the test split: `python -m stages.evaluate NAME`."""

import argparse
import shutil
from pathlib import Path

from stages._run import run

PRINTED = ("miou", "pixel_accuracy", "boundary_iou", "ece", "mask_ap", "pq")  # those of them that there are


def main(argv: list[str] | None = None) -> None:
    from pipeline import parent_death

    parent_death.die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a key of classical, networks or fusions in params.yaml")
    name = parser.parse_args(argv).name

    import cv2
    from rich.progress import track

    from pipeline import cost, evaluation, files, tracking
    from pipeline.check import load_params
    from pipeline.dataset import Dataset

    params = load_params()
    if name not in params.methods:
        raise ValueError(f"params.yaml has no method {name!r}; choose one of: {', '.join(params.methods)}")
    cv2.setNumThreads(params.threads)
    folder = Path("runs") / name
    if name in params.fusions:
        _assemble(name, params, folder / "model")
    dataset, predict = Dataset(Path("data/dataset")), params.methods[name].predict
    method, options = _load(folder / "model", predict, params.threads, dataset)
    files.write_json(folder / "predict.json", options)
    ids = dataset.ids("test")
    chosen = evaluation.evenly(ids, params.evaluate.samples)
    shutil.rmtree(folder / "samples", ignore_errors=True)
    samples = dataset.samples("test")
    scores, tables = evaluation.score(
        method,
        samples,
        pictured=chosen,
        pictures=folder / "samples",
        show=lambda results: track(results, description=f"evaluate {name}", total=len(ids), transient=True),
    )
    evaluation.write(folder, scores, tables)
    others = (_load(path, predict, params.threads, dataset)[0] for path in sorted((folder / "model/seeds").glob("*")))
    seeds = evaluation.seed_rows(method, scores, others, samples)
    files.write_csv(folder / "seeds.csv", seeds, columns=["seed", *scores])
    timed = [dataset.sample("test", one).image for one in evaluation.evenly(ids, params.evaluate.timed_images)]
    files.write_json(folder / "cost.json", cost.measure(method, timed))
    print(f"{name}: " + ", ".join(f"{key} {scores[key]:.4f}" for key in PRINTED if key in scores))
    tracking.publish(name)


def _load(folder: Path, predict: dict, threads: int, dataset) -> tuple:
    """A fitted method, and its prediction options with what was fitted for them on the validation split."""
    from pipeline import inference
    from pipeline.evaluation import evenly

    method = inference.load(folder, predict=predict, threads=threads)
    ids = dataset.ids("val")
    return method, method.fit_prediction(lambda count: [dataset.sample("val", one) for one in evenly(ids, count)])


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
        shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("seeds"))
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
