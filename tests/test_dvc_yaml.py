"""dvc.yaml lists every code file that a stage runs: what can change its output is among its deps."""

from pathlib import Path

import pytest
import yaml

from pipeline.classical import METHODS
from pipeline.datasets import READERS
from pipeline.losses import LOSSES
from pipeline.metrics import METRICS
from pipeline.models import NETWORKS
from pipeline.postprocess import DIVISIONS, FUSIONS, POSTPROCESSES
from pipeline.provenance import code_files
from pipeline.table import module_file

ROOT = Path(__file__).parent.parent
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
METRIC_FILES = [module_file(METRICS, name) for name in METRICS]
DIVISION_FILES = [module_file(DIVISIONS, name) for name in DIVISIONS]
POSTPROCESS_FILES = [module_file(POSTPROCESSES, name) for name in POSTPROCESSES]
# stage -> the variable in its deps -> the table it chooses from, and what it always chooses
CHOICES = {
    "download": ({}, []),
    "convert": ({"${dataset.reader}": READERS}, []),
    "augment": ({}, []),
    "classical": ({"${item.fit.method}": METHODS}, []),
    "train": (
        {"${item.fit.model}": NETWORKS, "${item.fit.loss[0].name}": LOSSES, "${item.fit.loss[-1].name}": LOSSES},
        [],
    ),
    "evaluate_classical": ({"${item.fit.method}": METHODS}, METRIC_FILES + DIVISION_FILES),
    "evaluate_network": ({"${item.fit.model}": NETWORKS}, METRIC_FILES + DIVISION_FILES + POSTPROCESS_FILES),
    "evaluate_fusion": ({"${item.fit.method}": FUSIONS}, METRIC_FILES),
    "report": ({}, []),
}
SCRIPT = {name: f"stages/{name.split('_')[0]}.py" for name in STAGES}


def cases():
    for stage, (variables, _) in CHOICES.items():
        if not variables:
            yield pytest.param(stage, {}, id=stage)
        for variable, table in variables.items():
            for name in table:
                others = {one: next(iter(entries)) for one, entries in variables.items() if one != variable}
                yield pytest.param(stage, {**others, variable: name}, id=f"{stage}-{name}")


def test_every_stage_is_looked_at():
    assert set(CHOICES) == set(STAGES)


@pytest.mark.parametrize("stage, chosen", list(cases()))
def test_every_code_dependency_is_listed(stage, chosen):
    section = STAGES[stage].get("do", STAGES[stage])
    listed = []
    for dep in section["deps"]:
        for variable, name in chosen.items():
            dep = dep.replace(variable, name)
        listed.append(dep)
    variables, always = CHOICES[stage]
    entries = [module_file(variables[variable], name) for variable, name in chosen.items()]
    missing = [
        file
        for file in code_files(SCRIPT[stage], *entries, *always)
        if not any(file == dep or file.startswith(f"{dep}/") for dep in listed)
    ]
    assert missing == [], f"{stage}: add these to its deps in dvc.yaml"


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_listed_code_file_exists_and_is_used(stage):
    section = STAGES[stage].get("do", STAGES[stage])
    variables, always = CHOICES[stage]
    entries = [module_file(table, name) for table in variables.values() for name in table]
    used = set(code_files(SCRIPT[stage], *entries, *always))
    for dep in section["deps"]:
        if dep.startswith(("pipeline/", "stages/")) and "$" not in dep:
            assert (ROOT / dep).exists(), f"{stage}: {dep} is no file"
            assert any(file == dep or file.startswith(f"{dep}/") for file in used), f"{stage}: {dep} changes nothing here"


@pytest.mark.parametrize("stage", list(STAGES))
def test_commands_are_single_so_that_a_stage_dies_with_dvc(stage):
    command = STAGES[stage].get("do", STAGES[stage])["cmd"]
    assert isinstance(command, str) and not set(command) & set(";&|")
    assert command.split()[:4] == ["exec", "python", "-m", SCRIPT[stage][:-3].replace("/", ".")]
