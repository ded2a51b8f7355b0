"""Are params.yaml, the names in it and their options right? `python -m pipeline.check` answers before any work starts.

Every stage asks first, so that a misspelt option of the last network is an error in the first second.
The options are compared with the signature in the entry's source file: nothing heavy is imported. The command alone also builds
the classical methods whose options are searched, with every combination of these.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline import config, table
from pipeline.classical import METHODS
from pipeline.datasets import BY_HAND, READERS
from pipeline.losses import LOSSES
from pipeline.models import NETWORKS
from pipeline.options import NUMBER, classes_of, entry_faults
from pipeline.postprocess import DIVISIONS, FUSIONS, POSTPROCESSES
from pipeline.rules import RULES

OPTIMIZER_OPTIONS = {
    "adam": {"amsgrad": (bool,), "betas": (list,), "eps": NUMBER, "weight_decay": NUMBER},
    "adamw": {"amsgrad": (bool,), "betas": (list,), "eps": NUMBER, "weight_decay": NUMBER},
    "sgd": {"dampening": NUMBER, "momentum": NUMBER, "nesterov": (bool,), "weight_decay": NUMBER},
}
TRAINING_ENTRY = {"training": "pipeline.training.updates:training_options"}
PAINTING_ENTRY = {"painting": "pipeline.painting:fused"}
OF_PROBABILITIES = {"flip": False, "window": None, "scales": [1.0], "postprocess": []}  # options of prediction, switched off
PREDICT_ENTRY = {
    "segment": "pipeline.prediction_options:segment_options",
    "classical": "pipeline.prediction_options:classical_options",
}


def load_params(path: str | Path = "params.yaml") -> config.Params:
    """Read a params file and check everything in it that can be checked without data.

    Raises
    ------
    ValueError : every fault, a line each: unknown keys, wrong types, unknown names with the choices, unknown options.
    """
    params = config.load(path)
    faults = [f"{path}: {fault}" for fault in _faults(params)]
    if faults:
        raise ValueError("\n".join(faults))
    return params


def _faults(params: config.Params) -> list[str]:
    dataset = params.dataset
    faults = entry_faults(READERS, dataset.reader, dataset.options, kind="reader", place="dataset.options", given={"source"})
    for rule in sorted(set(params.gate.rules) - set(RULES)):
        faults.append(f"gate.rules: unknown rule {rule!r}; choose one of: {', '.join(RULES)}")
    for key, entry in params.classical.items():
        place = f"classical.{key}"
        faults += entry_faults(
            METHODS,
            entry.fit.method,
            entry.fit.options,
            kind="classical method",
            place=f"{place}.fit.options",
            given={"label_space"},
        )
        faults += _search_faults(entry.fit, place=f"{place}.fit")
        faults += predict_faults("classical", entry.predict, place=f"{place}.predict")
    for key, network in params.networks.items():
        faults += _network_faults(network, place=f"networks.{key}")
    for key, fusion in params.fusions.items():
        faults += entry_faults(
            FUSIONS,
            fusion.fit.method,
            fusion.predict,
            kind="fusion",
            place=f"fusions.{key}.predict",
            given={"semantic", "instance", "label_space"},
        )
    return faults


def _search_faults(fit: config.ClassicalFit, *, place: str) -> list[str]:
    """What is wrong with the options that are searched; each value is checked as an option is."""
    faults = [
        f"{place}.search.{option}: stands in options too; write it in one place"
        for option in fit.search
        if option in fit.options
    ]
    for option, values in fit.search.items() if fit.method in METHODS else ():
        for value in values:
            rest = {name: tried[0] for name, tried in fit.search.items() if name != option}
            found = entry_faults(
                METHODS,
                fit.method,
                fit.options | rest | {option: value},
                kind="classical method",
                place=f"{place}.search",
                given={"label_space"},
            )
            faults += [fault for fault in found if fault.startswith(f"{place}.search.{option}:") and fault not in faults]
    return faults


def _network_faults(network: config.Network, *, place: str) -> list[str]:
    fit = network.fit
    faults = entry_faults(NETWORKS, fit.model, fit.options, kind="network", place=f"{place}.fit.options", given={"label_space"})
    for index, loss in enumerate(fit.loss):
        faults += entry_faults(
            LOSSES,
            loss.name,
            loss.options,
            kind="loss",
            place=f"{place}.fit.loss.{index}.options",
            given={"logits", "labels", "ignore_label"},
        )
    if fit.model in NETWORKS:
        faults += _own_loss_faults(fit, place=f"{place}.fit.loss") + _label_faults(fit.model, network.predict, place=place)
    known = OPTIMIZER_OPTIONS[fit.optimizer.name]
    for option, value in fit.optimizer.options.items():
        where = f"{place}.fit.optimizer.options.{option}"
        if option not in known:
            faults.append(f"{where}: optimizer {fit.optimizer.name} has no such option; it takes: {', '.join(known)}")
        elif type(value) not in known[option]:
            faults.append(f"{where}: {value!r} is no {known[option][-1].__name__}{config.number_hint(value)}")
    schedules = {name: f"pipeline.training.schedule:{name}" for name in ("constant", "one_cycle", "poly")}
    faults += entry_faults(
        schedules,
        fit.schedule.name,
        fit.schedule.options,
        kind="schedule",
        place=f"{place}.fit.schedule.options",
        given={"progress"},
    )
    faults += entry_faults(TRAINING_ENTRY, "training", fit.training, kind="entry", place=f"{place}.fit.training", given=set())
    return faults + predict_faults("segment", network.predict, place=f"{place}.predict")


def _own_loss_faults(fit: config.NetworkFit, *, place: str) -> list[str]:
    """A network that gives logits needs a loss of these; any other has all its losses itself."""
    gives_logits = _is_a(fit.model, "SemanticNetwork")
    names, wanted = [loss.name for loss in fit.loss], "[{name: own, weight: 1.0, options: {}}]"
    if gives_logits and "own" in names:
        return [f"{place}: network {fit.model} has no losses of its own; name another, such as cross_entropy"]
    if not gives_logits and (names != ["own"] or fit.loss[0].weight != 1):
        return [f"{place}: network {fit.model} has all its losses itself, and their weights; write loss: {wanted}"]
    return []


def _label_faults(model: str, predict: dict, *, place: str) -> list[str]:
    """Options of prediction that a network has no use for: those of class probabilities, or of painting objects."""
    gives_logits, faults = _is_a(model, "SemanticNetwork"), []
    for option, off in OF_PROBABILITIES.items():
        if not gives_logits and predict.get(option, off) != off:
            faults.append(f"{place}.predict.{option}: network {model} finds objects, without class probabilities; leave it out")
    if predict.get("painting") is not None and not _is_a(model, "PanopticFPN"):
        faults.append(f"{place}.predict.painting: is for a network of things and stuff, which {model} is not; leave it out")
    return faults


def _is_a(model: str, base: str) -> bool:
    home, name = table.module_file(NETWORKS, model), NETWORKS[model].split(":")[1]
    return any(one.name == base for one in classes_of(home, name))


def predict_faults(entry: str, options: dict, *, place: str, without: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with the options of the predict half, of a network ("segment") or a "classical" method.

    Those in `without` are of no use in this place, and unknown there.
    """
    faults = entry_faults(PREDICT_ENTRY, entry, options, kind="prediction", place=place, given=set(without))
    processes, division = options.get("postprocess"), options.get("instances")
    for index, process in enumerate(processes if isinstance(processes, list) else []):
        faults += _named_faults(POSTPROCESSES, process, kind="post-process", place=f"{place}.postprocess.{index}")
    if isinstance(division, str | dict):
        faults += _named_faults(DIVISIONS, division, kind="division", place=f"{place}.instances")
    if isinstance(painting := options.get("painting"), dict):
        given = {"instances", "labels", "label_space"}
        faults += entry_faults(PAINTING_ENTRY, "painting", painting, kind="entry", place=f"{place}.painting", given=given)
    return faults


def _named_faults(entries: Mapping[str, str], entry: object, *, kind: str, place: str) -> list[str]:
    """What is wrong with a name, or a mapping with name and options."""
    try:
        full = table.with_options(entry)
    except ValueError as error:
        return [f"{place}: {error}"]
    given = {"label_space", "prediction"}
    return entry_faults(entries, full["name"], full["options"], kind=kind, place=f"{place}.options", given=given)


def _refuse_what_cannot_be_built(params: config.Params, path: str) -> None:
    from pipeline.search import build_faults  # heavy

    faults = []
    for key, entry in params.classical.items():
        if entry.fit.search:  # to import every method would take seconds
            faults += build_faults(entry.fit.model_dump(), place=f"{path}: classical.{key}.fit.search")
    if faults:
        raise ValueError("\n".join(faults))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", default="params.yaml", help="the params file; params.yaml where left out")
    arguments = parser.parse_args(argv)
    try:
        params = load_params(arguments.path)
        _refuse_what_cannot_be_built(params, arguments.path)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    source = params.dataset.source
    if not config.is_watched(source) and not Path(source).exists():
        from pipeline.download import dvc_advice

        advice = dvc_advice(source) or BY_HAND.get(params.dataset.reader, "put it there")
        print(f"{arguments.path}: dataset.source: {source}: no such file or folder; {advice}", file=sys.stderr)
        return 1
    print(f"{arguments.path}: {params.dataset.reader}, {len(params.methods)} methods, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
