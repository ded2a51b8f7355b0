"""Are params.yaml, the names in it and their options right? `python -m pipeline.check` answers before any work starts.

Every stage asks first, so that a misspelt option of the last network is an error in the first second.
The options are compared with the signature in the entry's source file: nothing heavy is imported.
"""

import argparse
import ast
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline import config, table
from pipeline.classical import METHODS
from pipeline.datasets import READERS
from pipeline.losses import LOSSES
from pipeline.models import NETWORKS
from pipeline.postprocess import FUSIONS, POSTPROCESSES
from pipeline.provenance import ROOT
from pipeline.rules import RULES

NUMBER = (int, float)
OPTIMIZER_OPTIONS = {
    "adam": {"amsgrad": (bool,), "betas": (list,), "eps": NUMBER, "weight_decay": NUMBER},
    "adamw": {"amsgrad": (bool,), "betas": (list,), "eps": NUMBER, "weight_decay": NUMBER},
    "sgd": {"dampening": NUMBER, "momentum": NUMBER, "nesterov": (bool,), "weight_decay": NUMBER},
}
YAML_TYPES = {  # annotation -> types that YAML gives and the entry takes
    "None": (type(None),),
    "Sequence": (list,),
    "bool": (bool,),
    "dict": (dict,),
    "float": NUMBER,
    "int": (int,),
    "list": (list,),
    "str": (str,),
    "tuple": (list,),
}
PREDICT_ENTRY = {"segment": "pipeline.inference:segment_options"}


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
    faults = _entry_faults(READERS, dataset.reader, dataset.options, kind="reader", place="dataset.options", given={"source"})
    for rule in sorted(set(params.gate.rules) - set(RULES)):
        faults.append(f"gate.rules: unknown rule {rule!r}; choose one of: {', '.join(RULES)}")
    for key, entry in params.classical.items():
        place = f"classical.{key}"
        faults += _entry_faults(
            METHODS,
            entry.fit.method,
            entry.fit.options,
            kind="classical method",
            place=f"{place}.fit.options",
            given={"label_space"},
        )
        faults += [
            f"{place}.predict.{option}: a classical method has no such option; write predict: {{}}" for option in entry.predict
        ]
    for key, network in params.networks.items():
        faults += _network_faults(network, place=f"networks.{key}")
    for key, fusion in params.fusions.items():
        faults += _entry_faults(
            FUSIONS,
            fusion.fit.method,
            fusion.predict,
            kind="fusion",
            place=f"fusions.{key}.predict",
            given={"semantic", "instance", "label_space"},
        )
    return faults


def _network_faults(network: config.Network, *, place: str) -> list[str]:
    fit = network.fit
    faults = _entry_faults(
        NETWORKS, fit.model, fit.options, kind="network", place=f"{place}.fit.options", given={"label_space"}
    )
    for index, loss in enumerate(fit.loss):
        faults += _entry_faults(
            LOSSES,
            loss.name,
            loss.options,
            kind="loss",
            place=f"{place}.fit.loss.{index}.options",
            given={"logits", "labels", "ignore_label"},
        )
    known = OPTIMIZER_OPTIONS[fit.optimizer.name]
    for option, value in fit.optimizer.options.items():
        where = f"{place}.fit.optimizer.options.{option}"
        if option not in known:
            faults.append(f"{where}: optimizer {fit.optimizer.name} has no such option; it takes: {', '.join(known)}")
        elif type(value) not in known[option]:
            faults.append(f"{where}: {value!r} is no {known[option][-1].__name__}{config.number_hint(value)}")
    schedules = {name: f"pipeline.training.schedule:{name}" for name in ("constant", "one_cycle", "poly")}
    faults += _entry_faults(
        schedules,
        fit.schedule.name,
        fit.schedule.options,
        kind="schedule",
        place=f"{place}.fit.schedule.options",
        given={"progress"},
    )
    faults += _entry_faults(PREDICT_ENTRY, "segment", network.predict, kind="prediction", place=f"{place}.predict", given=set())
    return faults + _postprocess_faults(network.predict.get("postprocess"), place=f"{place}.predict.postprocess")


def _postprocess_faults(entries: object, *, place: str) -> list[str]:
    """What is wrong with the post-processes of a network: names, or mappings with name and options."""
    faults = []
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        try:
            full = table.with_options(entry)
        except ValueError as error:
            faults.append(f"{place}.{index}: {error}")
            continue
        faults += _entry_faults(
            POSTPROCESSES,
            full["name"],
            full["options"],
            kind="post-process",
            place=f"{place}.{index}.options",
            given={"label_space"},
        )
    return faults


def _entry_faults(entries: Mapping[str, str], name: str, options: dict, *, kind: str, place: str, given: set[str]) -> list[str]:
    """What is wrong with a name and its options; `given` are the parameters that the pipeline itself fills in."""
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return [f"{place.rsplit('.', 1)[0]}: unknown {kind} {name!r}; choose one of: {', '.join(sorted(entries))}.{hint}"]
    known, required = _signature(entries, name)
    choices = ", ".join(sorted(known.keys() - given)) or "none"
    faults = []
    for option, value in options.items():
        if option not in known.keys() - given:
            faults.append(f"{place}.{option}: {kind} {name} has no such option; it takes: {choices}")
        elif not _fits(value, known[option]):
            faults.append(f"{place}.{option}: {value!r} is no {known[option]}{config.number_hint(value)}")
    faults += [f"{place}.{option}: missing; {kind} {name} needs it" for option in sorted(required - given - set(options))]
    return faults


def _signature(entries: Mapping[str, str], name: str) -> tuple[dict[str, str], set[str]]:
    """The parameters of an entry with their annotations, and those of them without a default, read from its source."""
    attribute = entries[name].split(":")[1]
    tree = ast.parse((ROOT / table.module_file(entries, name)).read_text(encoding="utf-8"))
    found = next(node for node in tree.body if getattr(node, "name", None) == attribute)
    if isinstance(found, ast.ClassDef):
        found = next((node for node in found.body if getattr(node, "name", None) == "__init__"), None)
        if found is None:
            return {}, set()
    arguments = found.args
    plain = [one for one in arguments.args if one.arg != "self"]
    optional = {one.arg for one in plain[len(plain) - len(arguments.defaults) :]} if arguments.defaults else set()
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    optional |= {one.arg for one, default in named if default is not None}
    known = {one.arg: ast.unparse(one.annotation) if one.annotation else "" for one in [*plain, *arguments.kwonlyargs]}
    return known, known.keys() - optional


def _fits(value: object, annotation: str) -> bool:
    """Whether a value from YAML has a type of the annotation; True where the annotation names none that YAML knows."""
    wanted = [part.split("[")[0].strip() for part in annotation.split(" | ")]
    if not set(wanted) <= YAML_TYPES.keys():
        return True
    return type(value) in {one for part in wanted for one in YAML_TYPES[part]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", default="params.yaml", help="the params file; params.yaml where left out")
    arguments = parser.parse_args(argv)
    try:
        params = load_params(arguments.path)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    source = params.dataset.source
    if not Path(source).exists():
        print(f"{arguments.path}: dataset.source: {source}: no such file or folder; put it there", file=sys.stderr)
        return 1
    print(f"{arguments.path}: {params.dataset.reader}, {len(params.methods)} methods, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
