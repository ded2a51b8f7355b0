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
from pipeline.postprocess import POSTPROCESSES
from pipeline.provenance import ROOT
from pipeline.rules import RULES

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
            POSTPROCESSES,
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
    return faults


def _entry_faults(entries: Mapping[str, str], name: str, options: dict, *, kind: str, place: str, given: set[str]) -> list[str]:
    """What is wrong with a name and its options; `given` are the parameters that the pipeline itself fills in."""
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return [f"{place.rsplit('.', 1)[0]}: unknown {kind} {name!r}; choose one of: {', '.join(sorted(entries))}.{hint}"]
    known, required = _signature(entries, name)
    faults = []
    for option in options:
        if option not in known - given:
            choices = ", ".join(sorted(known - given)) or "none"
            faults.append(f"{place}.{option}: {kind} {name} has no such option; it takes: {choices}")
    faults += [f"{place}.{option}: missing; {kind} {name} needs it" for option in sorted(required - given - set(options))]
    return faults


def _signature(entries: Mapping[str, str], name: str) -> tuple[set[str], set[str]]:
    """The parameters of an entry, and those of them without a default, read from its source."""
    attribute = entries[name].split(":")[1]
    tree = ast.parse((ROOT / table.module_file(entries, name)).read_text(encoding="utf-8"))
    found = next(node for node in tree.body if getattr(node, "name", None) == attribute)
    if isinstance(found, ast.ClassDef):
        found = next((node for node in found.body if getattr(node, "name", None) == "__init__"), None)
        if found is None:
            return set(), set()
    arguments = found.args
    plain = [one.arg for one in arguments.args if one.arg != "self"]
    optional = set(plain[len(plain) - len(arguments.defaults) :]) if arguments.defaults else set()
    optional |= {
        one.arg for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is not None
    }
    known = {*plain, *(one.arg for one in arguments.kwonlyargs)}
    return known, known - optional


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", default="params.yaml", help="the params file; params.yaml where left out")
    arguments = parser.parse_args(argv)
    try:
        params = load_params(arguments.path)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.path}: {params.dataset.reader}, {len(params.methods)} methods, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
