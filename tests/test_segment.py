"""The command that segments a user's pictures: what it writes, what it prints, and what it refuses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pipeline import prompts, ready, segment
from pipeline.classical import METHODS
from pipeline.classical._method import Segmenting
from pipeline.classical.majority_class import MajorityClass
from pipeline.classical.otsu import Otsu
from pipeline.mask_files import numbered
from pipeline.models import NETWORKS
from pipeline.table import look_up
from tests import fakes
from tests.fake_prompted import Prompted
from tests.tiny import SPACE

ROOT = Path(__file__).parent.parent
OPTIONS = {"fcn_plain": {"widths": [4, 8]}, "fake": {"width": 4}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder without params.yaml, data or runs, and a method that takes prompts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(METHODS, "prompted", "tests.fake_prompted:Prompted")
    monkeypatch.setitem(NETWORKS, "fake", "tests.fake_instance_network:FakeInstanceNetwork")
    return tmp_path


@pytest.fixture
def run(capsys):
    def call(*arguments) -> str:
        """What the command prints where it succeeds."""
        code = segment.main([str(one) for one in arguments])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return call


@pytest.fixture
def fails(capsys):
    def call(*arguments) -> str:
        """What the command says where it fails; then nothing else is printed."""
        assert segment.main([str(one) for one in arguments]) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.startswith("error: ")
        return printed.err

    return call


def halves(path="x.png", dark: int = 20, light: int = 200):
    """A picture of 8 x 6 px whose right quarter is light."""
    pixels = np.full((6, 8, 3), dark, np.uint8)
    pixels[:, 6:] = light
    return fakes.save(Path(path), pixels)


def mask(path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def save_otsu(folder: Path, classes=(2, 0)) -> Path:
    """A fitted classical run: dark is "bar", light is "ground"."""
    method = Otsu(SPACE)
    method.classes = np.array(classes)
    return describe(folder, method, "classical", "otsu", {})


def save_network(folder: Path, model: str, *, weights=None) -> Path:
    """A network as train would leave it; its weights are random where no function sets them."""
    torch.manual_seed(0)
    network = look_up(NETWORKS, model, kind="network")(SPACE, **OPTIONS[model])
    if weights is not None:
        weights(network)
    (folder / "model").mkdir(parents=True)
    save_file(network.state_dict(), folder / "model/weights.safetensors")
    sizes = {"mean": [0.5] * 3, "std": [0.5] * 3, "short_side": None}
    return describe(folder, None, "network", model, OPTIONS[model], **sizes)


def describe(folder: Path, method, kind: str, name: str, options: dict, **more) -> Path:
    (folder / "model").mkdir(parents=True, exist_ok=True)
    if method is not None:
        method.save(folder / "model")
    content = {"name": folder.name, "kind": kind, "method": name, "options": options, "label_space": SPACE.to_json(), **more}
    (folder / "model/model.json").write_text(json.dumps(content))
    return folder


def test_a_picture_without_further_words_gives_a_mask_and_an_overlay(run):
    said = run("otsu", halves("pictures/x.png"))
    assert said.splitlines() == [
        "pictures/x.png: 8 x 6 px: 2 segments: ■ 0 75.0 %, ■ 1 25.0 %",
        "mask: segments/masks/x.png",
        "overlay: segments/overlays/x.png",
    ]
    found = mask("segments/masks/x.png")
    assert found.dtype == np.uint8 and found.tolist() == [[0] * 6 + [1] * 2] * 6
    drawn = mask("segments/overlays/x.png")
    assert drawn.shape == (6, 8, 3)
    first, second = (np.array(colour)[::-1] for colour in ((230, 25, 75), (60, 180, 75)))
    assert np.abs(drawn[0, 0] - (first + 20) / 2).max() <= 1 and np.abs(drawn[0, 7] - (second + 200) / 2).max() <= 1
    assert (drawn[:, 5] == 255).all()


@pytest.mark.parametrize(
    ("options", "there"),
    [
        (["--out", "m.png"], ["m.png"]),
        (["--overlay", "o.jpg"], ["o.jpg"]),
        (["--out", "deep/m", "--overlay", "deep/o"], ["deep/m/x.png", "deep/o/x.png"]),
        (["--out", "given.d"], ["given.d/x.png"]),
    ],
)
def test_where_results_go(run, here, options, there):
    (here / "given.d").mkdir()
    halves()
    run("otsu", "x.png", *options)
    assert (
        sorted(path.relative_to(here).as_posix() for path in here.rglob("*.*g") if path.name != "x.png" or path.parent != here)
        == there
    )


def test_a_folder_gives_folders_in_order_and_each_its_line(run):
    for name in ("b.png", "a.webp", "same.png", "same.bmp", "below/c.png"):
        halves(f"in/{name}")
    (Path("in") / "notes.txt").write_text("no picture")
    said = run("otsu", "in", "--out", "masks", "--overlay", "overlays", "--threads", "2").splitlines()
    assert [line.split(":")[0] for line in said] == ["in/a.webp", "in/b.png", "in/same.bmp", "in/same.png", "masks", "overlays"]
    assert said[-2:] == ["masks: 4 in masks", "overlays: 4 in overlays"]
    names = ["a.png", "b.png", "same.bmp.png", "same.png.png"]
    assert [sorted(path.name for path in Path(one).iterdir()) for one in ("masks", "overlays")] == [names, names]


def test_what_is_learned_is_learned_from_all_pictures_and_threads_change_nothing(run):
    halves("in/a.png", dark=10, light=90), halves("in/b.png", dark=90, light=240)
    run("kmeans", "in", "--set", "clusters=3", "--out", "one", "--threads", "1")
    run("kmeans", "in", "--set", "clusters=3", "--out", "two", "--threads", "2")
    first, second = mask("one/a.png"), mask("one/b.png")
    assert first[0, 7] == second[0, 0] and len({first[0, 0], first[0, 7], second[0, 7]}) == 3
    for name in ("a.png", "b.png"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


@pytest.mark.parametrize("name", ["kmeans", "felzenszwalb", "otsu", "mean_threshold"])
def test_a_picture_of_one_pixel_and_more_clusters_than_colours(run, name):
    fakes.save(Path("one.png"), np.full((1, 1, 3), 7, np.uint8))
    said = run(name, "one.png", *(["--set", "clusters=200"] if name == "kmeans" else []))
    assert "one.png: 1 x 1 px: 1 segment: " in said and "100.0 %" in said
    assert mask("segments/masks/one.png").shape == (1, 1)


def test_what_was_done_to_a_picture_is_told(run):
    Path("x.tif").write_bytes(cv2.imencode(".tif", np.array([[0, 4000]], np.uint16))[1])
    assert run("otsu", "x.tif").startswith("x.tif: 2 x 1 px, uint16, taken as 12 bits: 2 segments")
    Image.fromarray(np.zeros((2, 3, 4), np.uint8)).save("y.png")
    assert run("otsu", "y.png").startswith("y.png: 3 x 2 px, transparent, laid over white: 1 segment: ")


def test_masks_of_many_segments_have_16_bits_and_of_more_a_colour(run):
    fakes.save(Path("x.png"), np.zeros((20, 20, 3), np.uint8))
    said = run("prompted", "x.png", "--set", "spread=1", "--out", "m.png")
    assert "400 segments: " in said and ", 392 more 98.0 %" in said
    found = mask("m.png")
    assert found.dtype == np.uint16 and found.ravel().tolist() == list(range(400))
    run("prompted", "x.png", "--set", "spread=1000", "--set", "first=-3", "--out", "m.png")  # up to 399,000: counted anew
    assert mask("m.png").ravel().tolist() == list(range(400))
    fakes.save(Path("y.png"), np.zeros((300, 300, 3), np.uint8))
    said = run("prompted", "y.png", "--set", "spread=1", "--out", "m")
    assert said.startswith("y.png: 300 x 300 px, numbers of its mask as R + 256 G + 65536 B: 90000 segments: ")
    blue, green, red = np.moveaxis(mask("m/y.png").astype(int), 2, 0)
    assert (red + 256 * green + 65536 * blue).ravel().tolist() == list(range(90000))
    assert "65536 B" not in run("prompted", "y.png", "--set", "spread=1", "--out", "m.tif")
    assert mask("m.tif").dtype == np.int32 and mask("m.tif").ravel().tolist() == list(range(90000))
    with pytest.raises(ValueError, match=r"16777217 segments; a PNG numbers at most 16777216; give --out NAME\.tif"):
        numbered(np.array([[0, 1 << 24]], np.int32), ".png")


def test_scribbled_classes_are_the_numbers_of_the_mask(run):
    pixels = np.full((20, 30, 3), 40, np.uint8)
    pixels[:, 15:] = 200
    fakes.save(Path("x.png"), pixels)
    drawn = np.full((20, 30), 255, np.uint8)
    drawn[5, 2:9], drawn[9, 20:28] = 7, 3
    fakes.save(Path("s.png"), drawn)
    for name in ("grabcut", "random_walker"):
        run(name, "x.png", "--scribbles", "s.png", "--out", "m.png")
        assert mask("m.png").tolist() == [[7] * 15 + [3] * 15] * 20


def test_a_size_that_a_method_makes_smaller_is_told(run):
    fakes.save(Path("x.png"), fakes.picture(0, 30, 40))
    assert run("felzenszwalb", "x.png").startswith("x.png: 40 x 30 px: ")
    said = run("felzenszwalb", "x.png", "--set", "max_side=20", "--set", "min_size=1")
    assert said.startswith("x.png: 40 x 30 px, worked on at 20 x 15 px: ")
    said = run("grabcut", "x.png", "--box", "10,5,30,25", "--set", "max_side=15")
    assert said.startswith("x.png: 40 x 30 px, worked on at 15 x 15 px: ")  # the box and a quarter of it on each side


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_of_opencv_too(run, monkeypatch, threads):
    seen, segments, before = [], Prompted.segments, cv2.getNumThreads()
    monkeypatch.setattr(Prompted, "segments", lambda *given: seen.append(cv2.getNumThreads()) or segments(*given))
    cv2.setNumThreads(3)
    try:
        halves(), run("prompted", "x.png", "--threads", threads)
        assert seen == [threads] and cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_pictures_of_different_depths_are_told_and_one_may_be_given(capsys):
    Path("in").mkdir()
    for name, largest in (("a", 200), ("b", 4000), ("c", 4095), ("d", 3000)):
        Path(f"in/{name}.png").write_bytes(cv2.imencode(".png", np.array([[0, 100, largest]], np.uint16))[1])
    assert segment.main(["otsu", "in"]) == 0
    printed = capsys.readouterr()
    assert printed.err == (
        "warning: in/a.png (8 bits): the rest were taken as 12 bits, so that equal numbers are not equally bright; "
        "give --bits 12 if all come from one camera\n"
    )
    assert "in/a.png: 3 x 1 px, uint16, taken as 8 bits: " in printed.out
    assert segment.main(["otsu", "in", "--bits", "12"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "in/a.png: 3 x 1 px, uint16, taken as 12 bits: " in printed.out
    assert segment.main(["otsu", "in", "--bits", "11"]) == 1
    assert "3 of 4 pictures cannot be used; nothing is written" in capsys.readouterr().err


def test_prompts_reach_the_method(run):
    halves()
    fakes.save(Path("s.png"), np.array([[255, 255, 4] + [255] * 5] + [[255] * 8] * 5, np.uint8))
    run(
        "prompted",
        "x.png",
        "--box",
        "2,1,5,3",
        "--points",
        "7,5;6,5",
        "--point",
        "0,5",
        "--scribbles",
        "s.png",
        "--out",
        "m.png",
    )
    wanted = np.zeros((6, 8), int)
    wanted[1:3, 2:5], wanted[5, [7, 6, 0]], wanted[0, 2] = 1, 2, 14
    assert mask("m.png").tolist() == wanted.tolist()


def test_prompts_that_do_not_fit(fails):
    halves()
    assert fails("prompted", "x.png", "--box", "8,0,9,9") == (
        "error: x.png: prompt: box [8.0, 0.0, 9.0, 9.0] lies outside the image of 8 x 6 px (width x height)\n"
    )
    assert "box [-5.0, 0.0, -1.0, 9.0] lies outside" in fails("prompted", "x.png", "--box", "-5,0,-1,9")
    assert "wanted 4: x0,y0,x1,y1" in fails("prompted", "x.png", "--box", "8,0,9")
    assert "--polygon 1,2: 1 corners" in fails("prompted", "x.png", "--polygon", "1,2")
    said = fails("prompted", "x.png", "--polygon", "0,0;5,0;5,5")
    assert "prompted takes --box, --points, --scribbles; methods that take --polygon: " in said
    assert "otsu takes no prompt; methods that take --box: " in fails("otsu", "x.png", "--box", "0,0,2,2")
    assert "prompted" in fails("otsu", "x.png", "--box", "0,0,2,2")


def test_of_a_folder_all_faults_are_told_and_nothing_is_written(fails, here):
    halves("in/a.png"), halves("in/c.png")
    (here / "in/b.png").write_text("hello")
    (here / "in/d.png").touch()
    fakes.save(here / "in/e.png", np.zeros((2, 2, 3), np.uint8))
    said = fails("prompted", "in", "--box", "4,4,8,6").splitlines()
    assert said[0].startswith("error: in/b.png: is no image") and said[1].startswith("in/d.png: is empty")
    assert said[2].startswith("in/e.png: prompt: box") and said[3] == "3 of 5 pictures cannot be used; nothing is written"
    assert not (here / "segments").exists()


def test_careless_inputs(fails, here):
    halves()
    (here / "empty").mkdir()
    (here / "text.png").write_text("hello")
    assert fails("otsu", "nowhere.png") == "error: nowhere.png: no such file or folder\n"
    assert "empty: no image in it" in fails("otsu", "empty")
    assert "text.png: is no image that can be read" in fails("otsu", "text.png")
    assert "no such option; it takes: clusters," in fails("kmeans", "x.png", "--set", "k=5")
    assert "--set clusters: 'five' is no int" in fails("kmeans", "x.png", "--set", "clusters=five")
    assert "clusters is 1; choose 2..256" in fails("kmeans", "x.png", "--set", "clusters=1")
    for text in ("clusters", "=5", "clusters=[5"):
        assert f"--set {text}: wanted KEY=VALUE" in fails("kmeans", "x.png", "--set", text)
    assert "Did you mean clusters?" in fails("kmeans", "x.png", "--set", "k=5")
    assert fails("kmeans", "x.png", "--seed", "-1") == "error: --seed -1: wanted 0 or more\n"
    assert "--bits 17: wanted 1 to 16" in fails("otsu", "x.png", "--bits", "17")
    assert "--threads 0: wanted 1 or more" in fails("otsu", "x.png", "--threads", "0")


def test_results_that_have_no_place(fails):
    halves("in/x.png"), halves("x.png")
    for options in (["--out", "x.png"], ["--out", "."], ["--overlay", "./x.png"]):
        assert "would be written over a picture of INPUT" in fails("otsu", "x.png", *options)
    assert "in/x.png: a mask would be written over a picture" in fails("otsu", "in", "--out", "in")
    assert "an overlay would be written over a mask" in fails("otsu", "x.png", "--out", "a", "--overlay", "a")
    assert "--out m.jpg: wanted a folder, or a name that ends in .png" in fails("otsu", "x.png", "--out", "m.jpg")
    assert "--overlay m.tif: wanted a folder, or a name that ends in .png or .jpg" in fails(
        "otsu", "x.png", "--overlay", "m.tif"
    )
    assert "--out m.png: INPUT is a folder; give a folder here too" in fails("otsu", "in", "--out", "m.png")
    Path("file").write_text("")
    assert "file: File exists" in fails("otsu", "x.png", "--out", "file")


def test_names_that_are_no_method(fails):
    halves(), save_otsu(Path("runs/light"))
    said = fails("otsus", "x.png")
    assert "'otsus' is no method. Did you mean otsu?" in said and "fitted: runs/light" in said
    assert "without training: " in said and "kmeans" in said and "majority_class" not in said
    assert "Did you mean runs/light?" in fails("light", "x.png")
    assert "'runs' is a folder without model.json" in fails("runs", "x.png")
    said = fails("majority_class", "x.png")
    assert "majority_class learns from pictures with truth; fit it first" in said and "give runs/majority_class" in said


def test_a_fitted_classical_run(run, fails):
    halves(), save_otsu(Path("runs/light"))
    shutil.copytree("runs/light/model", "elsewhere")
    for number, name in enumerate(("runs/light", "runs/light/model", "elsewhere")):
        said = run(name, "x.png", "--out", f"{number}.png", "--overlay", "o.png")
        assert said.startswith("x.png: 8 x 6 px: ■ bar 75.0 %, ■ ground 25.0 %\n")
        assert mask(f"{number}.png").tolist() == [[2] * 6 + [0] * 2] * 6
    assert np.abs(mask("o.png")[0, 0] - (np.array(SPACE.colours[2])[::-1] + 20) / 2).max() <= 1
    assert "--set flip: the options of a fitted classical method belong to its fit" in fails(
        "runs/light", "x.png", "--set", "flip=true"
    )
    assert "runs/light takes no prompt" in fails("runs/light", "x.png", "--box", "0,0,1,1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no mapping in JSON, or damaged: Expecting property name"),
        ("", "is no mapping in JSON, or damaged: Expecting value"),
        ("[1]", "is no mapping in JSON, or damaged: "),
        ("{}", "kind None is none of classical, network, fusion"),
        ('{"kind": "classical", "options": {}}', "label_space, method missing; fetch a whole copy, or fit the method again"),
    ],
)
def test_a_model_that_is_not_described(fails, content, message):
    halves(), save_otsu(Path("runs/light"))
    Path("runs/light/model/model.json").write_text(content)
    assert f"error: runs/light/model/model.json: {message}" in fails("runs/light", "x.png")


def test_a_method_that_must_be_fitted_and_is(run, fails):
    method = MajorityClass(SPACE)
    method.majority = np.array(1)
    describe(Path("runs/majority_class"), method, "classical", "majority_class", {})
    assert "square 100.0 %" in run("runs/majority_class", halves())
    assert fails("majority_class", "x.png").endswith("with truth; give runs/majority_class in its place\n")


def test_a_network_predicts_with_the_options_it_was_scored_with(run, fails):
    folder = save_network(Path("runs/small"), "fcn_plain")
    fakes.save(Path("x.png"), fakes.picture(3, 40, 52))
    run(folder, "x.png", "--out", "plain.png")
    assert mask("plain.png").shape == (40, 52) and mask("plain.png").max() < 3
    favour = {"postprocess": [{"name": "temperature", "options": {"temperature": 2.0}}], "flip": True}
    Path("runs/small/predict.json").write_text(json.dumps({"options": favour, "search": []}))
    run(folder, "x.png", "--out", "scored.png")
    run(folder, "x.png", "--out", "flip.png", "--set", "postprocess=[]")
    run(folder, "x.png", "--out", "off.png", "--set", "flip=false", "--set", "postprocess=[]")
    assert Path("scored.png").read_bytes() == Path("flip.png").read_bytes()  # a temperature moves no label
    assert Path("off.png").read_bytes() == Path("plain.png").read_bytes() != Path("flip.png").read_bytes()
    assert "no such option; it takes: flip, overlap, painting, postprocess, scales, window" in fails(
        folder, "x.png", "--set", "flop=1"
    )
    assert "--set flip: 1 is no bool" in fails(folder, "x.png", "--set", "flip=1")
    assert "unknown post-process 'crf'" in fails(folder, "x.png", "--set", "postprocess=[crf]")
    said = fails(folder, "x.png", "--set", "postprocess=[{name: dense_crf, options: {iter: 2}}]")
    assert "--set postprocess.0.options.iter: post-process dense_crf has no such option" in said
    Path("runs/small/predict.json").write_text("{")
    assert "runs/small/predict.json: is no mapping in JSON, or damaged: " in fails(folder, "x.png")
    Path("runs/small/predict.json").unlink()
    Path("runs/small/model/weights.safetensors").unlink()
    assert "runs/small/model: no whole copy of a fitted method" in fails(folder, "x.png")


def test_objects_are_counted_and_what_is_none_stays_as_it_is(run):
    folder = save_network(Path("runs/objects"), "fake", weights=red_squares_and_blue_bars)
    pixels = np.full((4, 12, 3), 60, np.uint8)
    pixels[:, :4], pixels[:, 8:] = (250, 60, 60), (60, 60, 250)
    fakes.save(Path("x.png"), pixels)
    said = run(folder, "x.png", "--out", "m.png", "--overlay", "o.png")
    assert ": ■ ground 33.3 %, ■ square 33.3 % (1 object), ■ bar 33.3 % (1 object)\n" in said
    assert mask("m.png").tolist() == [[1] * 4 + [0] * 4 + [2] * 4] * 4
    drawn = mask("o.png")  # 40 times as large, so that there is room for text
    assert drawn.shape == (160, 480, 3) and (drawn[100:, 200:280] == 60).all()
    for x, colour in ((80, (230, 25, 75)), (400, (60, 180, 75))):  # each in a colour of its own
        own = pixels[0, x // 40].astype(float)
        assert np.abs(drawn[100, x][::-1] - (own + colour) / 2).max() <= 2


def red_squares_and_blue_bars(network) -> None:
    """A mask of the first thing where a pixel is red, of the second where it is blue."""
    for parameter in network.parameters():
        parameter.data.zero_()
    for thing, colour in enumerate((0, 2)):
        network.body[0].weight.data[thing, colour, 2, 2] = 1.0  # the middle of 5 x 5
        network.body[2].weight.data[thing, thing] = 10.0
        network.body[2].bias.data[thing] = -1.0


def test_it_starts_from_a_shell_without_torch(here):
    halves()
    script = (
        "import runpy, sys\n"
        "sys.argv[1:] = ['kmeans', 'x.png']\n"
        "try: runpy.run_module('pipeline.segment', run_name='__main__')\n"
        "except SystemExit as end: sys.exit(end.code or 'torch' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=here, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("x.png: 8 x 6 px: 2 segments: ")


@pytest.mark.parametrize("name", METHODS)
def test_what_the_source_says_of_a_method_is_so(name):
    method = look_up(METHODS, name, kind="classical method")
    assert ready._needs_no_truth(name) == issubclass(method, Segmenting) and ready._takes_of(name) == method.takes
    assert set(method.takes) <= set(prompts.PARTS)
