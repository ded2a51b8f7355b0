import ast
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.datasets import READERS
from pipeline.datasets import folder as folder_reader
from pipeline.datasets._polygons import UNUSABLE
from pipeline.gate import __main__ as gate_command
from pipeline.gate import inspection as gate
from pipeline.gate.inspection import GateError, inspect
from pipeline.provenance import ROOT, file_hash
from pipeline.rules import LEVELS, RULES
from pipeline.sources import Fault, FaultError, Record, Source
from pipeline.structures import InstanceSet, PanopticMap, Sample
from tests import fakes

CLASSES = ["ground", "tree", "water"]


def rows(table: Path) -> list[dict]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def broken_folder(root: Path) -> Path:
    """One of everything: nine faulty images, one good one."""
    fakes.write_folder(root, names=tuple("abcdefghij"), suffix=".png")
    (root / "images/a.png").write_bytes(b"")
    (root / "images/b.png").write_bytes((root / "images/b.png").read_bytes()[:60])
    (root / "masks/c.png").unlink()
    (root / "images/d.png").unlink()
    fakes.save(root / "masks/e.png", fakes.index_mask(0, height=5, width=6))
    fakes.save(root / "masks/f.png", np.full((24, 32, 3), (1, 2, 3), np.uint8))
    mask = fakes.index_mask(0)
    mask[7, 9], mask[20, 30], mask[20, 31] = 19, 77, 77
    fakes.save(root / "masks/g.png", mask)
    fakes.save(root / "masks/h.png", np.full((24, 32), 255, np.uint8))
    fakes.save(root / "masks/i.tif", mask)
    return root


EXPECTED = {
    ("all_void", "masks/h.png"),
    ("colour_mask", "masks/f.png"),
    ("image_without_mask", "images/c.png"),
    ("label_outside", "masks/g.png"),
    ("mask_without_image", "masks/d.png"),
    ("size_mismatch", "masks/e.png"),
    ("two_masks", "images/i.png"),
    ("unreadable_image", "images/b.png"),
    ("zero_byte", "images/a.png"),
}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_fault_is_found_at_once(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(gate, "FEW", 0)
    root = broken_folder(tmp_path / "own")
    with pytest.raises(GateError) as caught:
        inspect(folder_reader.read(root, classes=CLASSES), table=tmp_path / "gate.csv", root=root, workers=workers)
    found = rows(tmp_path / "gate.csv")
    assert {(row["rule"], row["file"]) for row in found if row["level"] == "error"} == EXPECTED
    assert [(row["x"], row["y"], row["value"]) for row in found if row["rule"] == "label_outside"] == [
        ("9", "7", "19"),
        ("30", "20", "77"),
    ]
    message = str(caught.value)
    assert message.startswith("folder: 10 errors (2 label_outside, ")
    assert "masks/g.png at pixel x=9, y=7: label 19 (1 pixels) is outside 0..2" in message
    assert f"The whole list: {tmp_path / 'gate.csv'}; fix the data, or set the rule" in message
    assert len(caught.value.faults) == 10


def test_the_message_shows_ten_and_counts_the_rest(tmp_path):
    source = replace(fakes.source(), faults=tuple(Fault("zero_byte", f"{index}.png", "is empty") for index in range(25)))
    with pytest.raises(GateError, match="25 errors") as caught:
        inspect(source, table=tmp_path / "gate.csv")
    assert str(caught.value).count("[zero_byte]") == 10
    assert "... and 15 more" in str(caught.value)
    assert len([row for row in rows(tmp_path / "gate.csv") if row["level"] == "error"]) == 25


def test_good_data(tmp_path, capsys):
    opened = inspect(fakes.source(), table=tmp_path / "gate.csv", keep=lambda record, sample: sample.shape)
    assert [(record.id, kept) for record, kept in opened] == [(id, (24, 32)) for id in "abcdefgh"]
    assert rows(tmp_path / "gate.csv") == []
    assert "8 images, no remark" in capsys.readouterr().err


def test_levels_are_set_by_params(tmp_path, capsys):
    root = broken_folder(tmp_path / "own")
    look = partial(inspect, folder_reader.read(root, classes=CLASSES), table=tmp_path / "gate.csv", root=root)
    rules = {rule: "warning" for rule, _ in EXPECTED}
    opened = look(rules=rules)
    assert [record.id for record, _ in opened] == ["h", "j"]  # the void mask can be used, the others cannot
    assert {row["level"] for row in rows(tmp_path / "gate.csv")} == {"warning"}
    assert "5 images cannot be used and are left out" in capsys.readouterr().err  # a, b, e, f, g
    look(rules={**rules, "label_outside": "ignore"})
    assert "label_outside" not in {row["rule"] for row in rows(tmp_path / "gate.csv")}
    with pytest.raises(ValueError, match=r"unknown rule 'zero_bytes'; choose one of: no_image"):
        look(rules={"zero_bytes": "error"})
    with pytest.raises(ValueError, match=r"gate.rules.zero_byte: 'fatal'; choose one of: error, warning, ignore"):
        look(rules={"zero_byte": "fatal"})


def test_nothing_is_kept_of_a_faulty_sample(tmp_path):
    kept = []
    with pytest.raises(GateError, match="all_void"):
        inspect(
            fakes.source(void_sample),
            table=tmp_path / "gate.csv",
            keep=lambda record, sample: kept.append(record.id),
            workers=1,
        )
    assert kept == []


def void_sample(seed, *, id, split, group):
    return Sample(id, split, group, fakes.picture(seed), PanopticMap(np.zeros((24, 32), np.int32)))


def constant_sample(seed, *, id, split, group):
    return Sample(id, split, group, fakes.picture(seed), PanopticMap.from_labels(np.ones((24, 32), np.uint8), fakes.STUFF))


def test_constant_masks_and_unused_classes(tmp_path):
    inspect(fakes.source(constant_sample, ids=("a", "b")), table=tmp_path / "gate.csv")
    assert [(row["level"], row["rule"], row["file"], row["value"]) for row in rows(tmp_path / "gate.csv")] == [
        ("warning", "constant_mask", "a", "tree"),
        ("warning", "constant_mask", "b", "tree"),
        ("warning", "unused_class", "(data set)", "ground"),
        ("warning", "unused_class", "(data set)", "water"),
    ]


def strange_object(seed, *, id, split, group, category):
    sample = fakes.things_sample(seed, id=id, split=split, group=group)
    return replace(sample, instances=InstanceSet.build(sample.instances.masks, [1, category, 2]))


@pytest.mark.parametrize("category", [0, 3, -1])
def test_objects_of_no_thing_class(tmp_path, category):
    source = fakes.source(partial(strange_object, category=category), ids=("a",), space=fakes.MIXED)
    with pytest.raises(GateError, match=f"a: {category} is the class of a segment or an object, and no class"):
        inspect(source, table=tmp_path / "gate.csv")


def test_splits_and_groups(tmp_path):
    source = fakes.source(ids=tuple("abcd"), groups=list("xxyz"), splits=["train", "val", "train", "train"])
    with pytest.raises(GateError, match="split test has no image"):
        inspect(source, table=tmp_path / "gate.csv")
    (row,) = [row for row in rows(tmp_path / "gate.csv") if row["rule"] == "group_across_splits"]
    assert (row["level"], row["value"]) == ("warning", "x")
    assert "in train, val" in row["message"]


def test_a_split_that_loses_its_only_image(tmp_path):
    root = fakes.write_folder(tmp_path / "own", names=("train/a", "val/b", "test/c"))
    (root / "images/test/c.jpg").write_bytes(b"")
    with pytest.raises(GateError, match="1 empty_split"):
        inspect(folder_reader.read(root, classes=CLASSES), table=tmp_path / "gate.csv", rules={"zero_byte": "warning"})


def test_id_twice(tmp_path):
    source = fakes.source(ids=("a", "b", "a"))
    with pytest.raises(GateError, match="has the id 'a', as a has; rename one"):
        inspect(source, table=tmp_path / "gate.csv")
    opened = inspect(source, table=tmp_path / "gate.csv", rules={"id_twice": "warning"})
    assert [record.id for record, _ in opened] == ["a", "b"]


def test_no_image(tmp_path):
    with pytest.raises(GateError, match="the source holds no image"):
        inspect(Source("none", fakes.STUFF, ()), table=tmp_path / "gate.csv")
    (tmp_path / "own/images").mkdir(parents=True)
    (tmp_path / "own/masks").mkdir()
    with pytest.raises(GateError, match="the source holds no image"):
        inspect(folder_reader.read(tmp_path / "own", classes=CLASSES), table=tmp_path / "gate.csv")


def exploding(seed, *, id, split, group):
    raise RuntimeError("a mistake in a reader")


def test_a_readers_mistake_is_no_fault_of_the_data(tmp_path):
    with pytest.raises(RuntimeError, match="a mistake in a reader"):
        inspect(fakes.source(exploding), table=tmp_path / "gate.csv")


def dying(seed, *, id, split, group):
    import os

    os.kill(os.getpid(), 9)


def test_a_killed_worker_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "FEW", 0)
    with pytest.raises(ValueError, match="a worker process was killed, most likely for want of memory"):
        inspect(fakes.source(dying), table=tmp_path / "gate.csv", workers=2)


SLOW = """
import time
from functools import partial
from pathlib import Path
from pipeline.gate import inspection as gate
from tests import fakes

def slow(seed, **options):
    time.sleep(0.05)
    return fakes.stuff_sample(seed, **options)

if __name__ == "__main__":
    gate.inspect(fakes.source(slow, ids=[str(one) for one in range(5000)]), table=Path("gate.csv"), workers=2)
"""


def test_workers_end_with_a_killed_parent(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "slow.py"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        children = []
        for _ in range(300):  # until both workers have come up: interpreters, and not only started
            time.sleep(0.05)
            children = psutil.Process(process.pid).children()
            if len([one for one in children if one.num_threads() > 1]) == 2:
                break
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert len(children) == 3  # two workers and the tracker of their resources
    assert not alive


FOLDER = ["--reader", "folder", "--set", "classes=[a, b, c]"]


def test_alone_on_a_folder_and_on_an_archive(tmp_path, capsys):
    root = fakes.write_folder(tmp_path / "own")
    options = ["--reader", "folder", "--set", "classes=[a, b, c]", "--out", str(tmp_path / "out")]
    assert gate_command.main([str(root), *options]) == 0
    archive = shutil.make_archive(str(tmp_path / "own"), "zip", root)
    assert gate_command.main([archive, *options]) == 0
    (root / "images/a.jpg").write_bytes(b"")
    assert gate_command.main([str(root), *options]) == 1
    assert "images/a.jpg: is empty" in capsys.readouterr().err
    assert rows(tmp_path / "out/gate.csv")[0]["file"] == "images/a.jpg"
    assert gate_command.main([str(root), *options, "--rule", "zero_byte=warning"]) == 0


def test_alone_on_what_must_be_fetched(tmp_path, monkeypatch, capsys):
    """A list of downloads, an address of a folder, one of an archive; what is fetched stays, and what is unpacked does not."""
    root = fakes.write_folder(tmp_path / "own")
    (root / "images/a.jpg").write_bytes(b"")
    archive = Path(shutil.make_archive(str(tmp_path / "own"), "zip", root))
    entry = f"- {{url: '{archive.as_uri()}', sha256: {file_hash(archive)}}}"
    (tmp_path / "list.yaml").write_text(entry, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for source in ("list.yaml", root.as_uri(), archive.as_uri()):
        assert gate_command.main([source, *FOLDER]) == 1
        assert "images/a.jpg: is empty" in capsys.readouterr().err
        assert list((tmp_path / "temporary").iterdir()) == []
    assert list((tmp_path / "downloads").rglob("own.zip"))


def test_alone_on_a_generator(tmp_path, capsys):
    source = Path(gate.__file__).parent.parent / "datasets/shapes.py"
    counts = [word for name in ("train", "val", "test") for word in ("--set", f"{name}=2")]
    arguments = ["--reader", "shapes", *counts, "--out", str(tmp_path)]
    assert gate_command.main([str(source), *arguments]) == 0
    assert "6 images" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["own [/v2]", "own [red]", "own :car:"])
def test_a_name_is_printed_as_it_is(tmp_path, capsys, name):
    inspect(replace(fakes.source(), name=name), table=tmp_path / "gate.csv")
    assert f"gate: {name}, 8 images, no remark" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", *FOLDER], "dataset.source: nowhere: no such file or folder"),
        (["a.rar", *FOLDER], "a.rar: wanted a folder, a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz archive, a .yaml list of"),
        (["b.yaml", *FOLDER], "b.yaml: entry 1: sha256 is None; wanted 64 hex digits"),
        ([".", "--reader", "foldr"], f"unknown reader 'foldr'; choose one of: {', '.join(READERS)}. Did you mean"),
        ([".", "--reader", "folder"], "--set classes: missing; reader folder needs it"),
        ([".", *FOLDER, "--set", "clases=[a]"], "--set clases: reader folder has no such option; it takes: "),
        ([".", *FOLDER, "--set", "clases=[a]"], "Did you mean classes?"),
        ([".", "--reader", "folder", "--set", "classes=5"], "--set classes: 5 is no list"),
        ([".", *FOLDER, "--set", "classes"], "--set classes: wanted KEY=VALUE"),
        (
            [".", *FOLDER, "--set", "classes=[a"],
            "--set classes=[a: wanted KEY=VALUE with a YAML value, such as classes=[ground",
        ),
        ([".", *FOLDER, "--rule", "zero_byte"], "--rule zero_byte: wanted KEY=VALUE"),
        (["nowhere", *FOLDER, "--rule", "zero_bytes=error"], "unknown rule 'zero_bytes'; choose one of: no_image"),
        ([".", *FOLDER, "--page", "."], "--page .: is a folder; name a file, such as gate.html"),
        ([".", *FOLDER, "--page", "a.rar/gate.html", "--rule", "no_image=warning"], "a.rar: File exists"),
    ],
)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    (tmp_path / "b.yaml").write_text("- {url: https://x/a.zip}")
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    assert gate_command.main(arguments) == 1
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_table_of_rules():
    for rule, (level, meaning) in RULES.items():
        assert rule.isidentifier()
        assert level in LEVELS
        assert meaning


RULE_AT = {"Fault": 0, "fault": 0, "_fault": 0, "remark": 0, "OutlineError": 1}  # callable -> place of its argument `rule`


def raised_in(code: str) -> set[str]:
    """The rules that stand in the code as they are raised."""
    rules = set()
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        place = RULE_AT.get(getattr(call.func, "attr", getattr(call.func, "id", "")))
        if place is not None:
            given = [*call.args[place : place + 1], *(one.value for one in call.keywords if one.arg == "rule")]
            choices = [part for one in given for part in ([one.body, one.orelse] if isinstance(one, ast.IfExp) else [one])]
            rules |= {one.value for one in choices if isinstance(one, ast.Constant)}
    return rules


def test_every_rule_is_raised_and_every_raised_one_stands_in_the_table():
    root = Path(gate.__file__).parent.parent
    files = [file for folder in (root, root / "gate", root / "datasets") for file in folder.glob("*.py")]
    assert set().union(*(raised_in(file.read_text(encoding="utf-8")) for file in files), {UNUSABLE}) == set(RULES)


@pytest.mark.parametrize(
    "code",
    [
        'Fault("zero_bite", file, message)',
        'raise fault("zero_bite", file, message) from None',
        'self._fault("zero_bite", message)',
        'outlines.remark("zero_bite", message)',
        'raise OutlineError(message, "zero_bite")',
        'raise _polygons.OutlineError(message, rule="zero_bite")',
        'Fault("zero_bite" if size else "zero_byte", file, message)',
    ],
)
def test_a_misspelt_rule_is_seen(code):
    assert raised_in(code) - set(RULES) == {"zero_bite"}


def test_record_without_file_is_named_by_its_id():
    assert gate._name_of(Record("x", None, "x", lambda: None), root=None) == "x"
    record = Record("x", None, "x", lambda: None, Path("/data/i/x.jpg"), (Path("/data/m/x.png"),))
    assert gate._name_of(record, root=Path("/data")) == "m/x.png"
    assert gate._name_of(record, root=Path("/elsewhere")) == "x.png"


def test_fault_error_lists_all():
    error = FaultError([Fault("zero_byte", "a", "is empty"), Fault("all_void", "b", "no label", (1, 2))])
    assert str(error).splitlines() == ["a: is empty [zero_byte]", "b at pixel x=1, y=2: no label [all_void]"]


def test_id_twice_names_the_images_where_they_share_a_mask(tmp_path):
    fakes.write_folder(tmp_path, names=("x", "y"))
    fakes.save(tmp_path / "images/x.png", fakes.picture(9))
    source = folder_reader.read(tmp_path, classes=["ground", "tree", "water"])
    with pytest.raises(GateError, match=r"images/x\.png: has the id 'x', as images/x\.jpg has; rename one"):
        inspect(source, table=tmp_path / "gate.csv", root=tmp_path)
