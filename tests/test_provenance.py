"""The key of a fit changes with everything that can change the fit, and with nothing else."""

import subprocess

import pytest

from pipeline import table
from pipeline.provenance import code_files, fit_key, git_commit


@pytest.fixture
def code(tmp_path):
    for name, text in {
        "stages/train.py": "def main():\n    from pipeline import loop\n",
        "pipeline/__init__.py": "",
        "pipeline/loop.py": "import numpy\nfrom pipeline.parts import fast\nimport pipeline.tracking\n"
        "if TYPE_CHECKING:\n    from pipeline import other\n",
        "pipeline/tracking.py": "import pipeline.other\n",
        "pipeline/other.py": "",
        "pipeline/parts/__init__.py": '"""A table."""\nPARTS = {"slow": "pipeline.parts.slow:slow"}\n',
        "pipeline/parts/fast.py": "",
        "pipeline/parts/slow.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_are_followed_into_functions_but_not_through_tables_or_tracking(code):
    assert code_files("stages/train.py", root=code) == ["pipeline/loop.py", "pipeline/parts/fast.py", "stages/train.py"]
    assert "pipeline/parts/slow.py" in code_files("stages/train.py", "pipeline/parts/slow.py", root=code)


def test_the_key_follows_params_inputs_and_code(code):
    def key(name="unet", epochs=1, data="a", files=("pipeline/loop.py",)):
        return fit_key(name, fit={"epochs": epochs}, inputs={"arrays": data}, files=files, root=code)

    first = key()
    assert key() == first and len(first) == 64
    assert first not in {key(name="other"), key(epochs=2), key(data="b"), key(files=("pipeline/other.py",))}
    (code / "pipeline/other.py").write_text("# changed")
    assert key() == first
    (code / "pipeline/loop.py").write_text("# changed")
    assert key() != first


def test_the_commit_says_when_the_tree_differs(tmp_path):
    assert git_commit(tmp_path) == ""

    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    for name in ("code.py", "dvc.lock"):
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-qm", "One")
    clean = git_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "dvc.lock").write_text("2")
    assert git_commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    assert git_commit(tmp_path) == f"{clean}-dirty"


def test_an_unknown_name_lists_the_choices_and_the_near_one():
    with pytest.raises(ValueError, match=r"unknown shape 'crcle'; choose one of: circle, square\. Did you mean circle\?"):
        table.look_up({"circle": "a:b", "square": "a:b"}, "crcle", kind="shape")
