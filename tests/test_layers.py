"""Imports run one way, and the heavy servers are imported in one place each."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAMILIES = ("datasets", "classical", "models", "losses", "metrics", "postprocess")
# what families may use: what flows between the parts, and small tools that know nothing of segmentation
BASE = (
    "structures",
    "label_space",
    "painting",
    "resizing",
    "image_files",
    "sources",
    "splits",
    "spread",
    "config",
    "table",
    "options",
    "files",
    "provenance",
    "machine",
    "rules",
    "parent_death",
)
ONLY_IN = {"mlflow": {"pipeline/tracking.py"}, "prefect": {"pipeline/flow.py"}, "dvc": {"pipeline/flow.py"}}
FILES = sorted(path.relative_to(ROOT).as_posix() for folder in ("pipeline", "stages") for path in (ROOT / folder).rglob("*.py"))


@cache
def imported(name: str) -> set[str]:
    """Every module that a file imports, anywhere in it; `from a import b` counts as a and as a.b."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: write `from {'.' * node.level}{node.module}` with its full name"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def parts(name: str) -> set[str]:
    """The parts of `pipeline` that a file imports: "structures", "models", "training"."""
    return {module.split(".")[1] for module in imported(name) if module.startswith("pipeline.")}


@pytest.mark.parametrize("name", FILES)
def test_servers_are_imported_in_one_place(name):
    top = {module.split(".")[0] for module in imported(name)}
    for library, allowed in ONLY_IN.items():
        assert library not in top or name in allowed, f"{name} imports {library}"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("pipeline/")])
def test_the_pipeline_never_imports_stages(name):
    assert not any(module.split(".")[0] == "stages" for module in imported(name))


@pytest.mark.parametrize("name", [name for name in FILES if name.split("/")[1] in FAMILIES])
def test_families_import_the_base_and_themselves(name):
    family = name.split("/")[1]
    assert parts(name) <= {*BASE, family}


@pytest.mark.parametrize("part", BASE)
def test_the_base_imports_only_itself(part):
    assert parts(f"pipeline/{part}.py") <= set(BASE)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("pipeline/training/", "pipeline/report/"))])
def test_training_and_report_do_not_know_each_other(name):
    assert not ({"training", "report"} - {name.split("/")[1]}) & parts(name)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("stages/")])
def test_stages_import_heavy_packages_where_they_are_used(name):
    light = {"argparse", "collections", "contextlib", "errno", "importlib", "os", "pathlib", "shutil", "stages", "sys", "time"}
    light |= {"__future__"}
    body = ast.parse((ROOT / name).read_text()).body
    top = {alias.name.split(".")[0] for node in body if isinstance(node, ast.Import) for alias in node.names}
    top |= {node.module.split(".")[0] for node in body if isinstance(node, ast.ImportFrom)}
    assert top <= light, f"{name}: {sorted(top - light)} at the top costs start-up time in every stage"
