"""Where a result comes from: the code files behind it, the key of a fit, the commit."""

import ast
import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# these cannot change a result: they refuse params, show progress, record, try rates, and see to processes. Nor can tables
EXEMPT = {
    "pipeline/check.py",
    "pipeline/config.py",
    "pipeline/parent_death.py",
    "pipeline/served_model.py",
    "pipeline/tracking.py",
    "pipeline/training/console.py",
    "pipeline/training/rate_finder.py",
    "pipeline/training/watch.py",
    "stages/_run.py",
}


def code_files(*starts: str, root: Path = ROOT) -> list[str]:
    """Every file of `pipeline` and `stages` that the files `starts` import, however far down, themselves included.

    Found by reading the source, imports inside functions too. The entries of a table are strings and are not
    followed: name the chosen entry's file as a start. Files without a line of code but a table are left out.

    Parameters
    ----------
    starts : paths relative to `root`, such as "stages/train.py"

    Returns
    -------
    sorted paths relative to `root`
    """
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        name = waiting.pop()
        if name in found or name in EXEMPT:
            continue
        found.add(name)
        waiting += _imports(root / name, root)
    return sorted(name for name in found if not _is_table(root / name))


def _imports(path: Path, root: Path) -> list[str]:
    modules = []
    for node in _that_run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = []
    for module in modules:
        if module.split(".")[0] in ("pipeline", "stages"):
            stem = module.replace(".", "/")
            files += [one for one in (f"{stem}.py", f"{stem}/__init__.py") if (root / one).is_file()]
    return files


def _that_run(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it, but for what only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _that_run(child)


def _is_table(path: Path) -> bool:
    """True for a package file that holds nothing but a docstring and constants: the tables, and the empty ones."""
    if path.name != "__init__.py":
        return False
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Assign | ast.Expr) for node in body)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fit_key(name: str, *, fit: dict, inputs: dict[str, str], files: Iterable[str], root: Path = ROOT) -> str:
    """The identity of a fitted method: SHA-256, in hex, over everything its fit depends on.

    Parameters
    ----------
    name : the method's key in params.yaml; two entries with equal options are two runs
    fit : the fit half of its entry, with seed and threads
    inputs : name -> SHA-256 of each input
    files : code files, relative to `root`

    Examples
    --------
    >>> one = fit_key("unet", fit={"epochs": 1}, inputs={}, files=[])
    >>> one == fit_key("unet", fit={"epochs": 2}, inputs={}, files=[])
    False
    """
    content = {
        "name": name,
        "fit": fit,
        "inputs": inputs,
        "code": {file: file_hash(root / file) for file in sorted(files)},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def git_commit(root: Path = ROOT) -> str:
    """The commit of the work tree, with "-dirty" where a tracked file other than dvc.lock differs; "" outside git."""
    try:
        commit = _git("rev-parse", "HEAD", root=root)
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!dvc.lock", root=root)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str, root: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
