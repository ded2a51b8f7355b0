"""From boxes to annotations: what the command writes, with which methods, and what it refuses."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pipeline import annotate
from pipeline.classical import METHODS
from pipeline.classical._method import Segmenting
from pipeline.files import write_json
from pipeline.overlay import segment_colours
from pipeline.structures import LabelSpace
from pipeline.table import look_up
from tests import fakes
from tests.test_annotations import from_coco, mask_of, polygons


class StandIn(Segmenting):
    """Cuts out what is light in a box; what lies outside is light too.

    Parameters
    ----------
    least : the darkest value that is light
    """

    takes = ("box",)

    def __init__(self, label_space, *, least: int = 128):
        super().__init__(label_space)
        self.least = least

    def fit(self, samples, rng):
        raise NotImplementedError

    def segment(self, image, prompt=None):
        raise NotImplementedError

    def segments(self, image, prompt=None):
        assert prompt.box.dtype == np.float32 and prompt.box.shape == (4,)
        return (image[..., 0] >= self.least).astype(np.uint8)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setitem(METHODS, "stand_in", "tests.test_annotate:StandIn")


PICTURES = {  # name -> (rows of what is light, boxes)
    "a b.JPG.png": (("##......", "##..####", "......#."), [([0, 0, 2, 2], "cat"), ([4, 1, 8, 3], "dog")]),
    "Straße/ä.PNG": (("###.....", "#.#..#..", "###....."), [([0, 0, 3, 3], "dog"), ([5, 1, 6, 2], "cat")]),
    "touching.tif": (("####....", "####....", "........"), [([0, 0, 2, 2], "cat"), ([2, 0, 4, 2], "cat")]),
    "two parts.bmp": (("#..#....", "........", "........"), [([0, 0, 4, 1], "cat"), ([5, 1, 7.5, 3], "cat")]),
    "empty.png": (("........",) * 3, []),
}


def write_pictures(root: Path) -> Path:
    """Pictures and the boxes around what is light in them; one more picture without an entry."""
    boxes = {}
    for name, (rows, entries) in PICTURES.items():
        light = mask_of(*rows).astype(np.uint8)[..., None].repeat(3, axis=2) * 200
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix.lower(), light)[1])
        boxes[name] = [{"box": box, "label": label} for box, label in entries]
    fakes.save(root / "images/unnamed.png", fakes.picture(3))
    write_json(root / "boxes.json", boxes)
    return root


def expected(name: str) -> list[np.ndarray]:
    rows, entries = PICTURES[name]
    light, masks = mask_of(*rows), []
    for (x0, y0, x1, y1), _ in entries:
        inside = np.zeros_like(light)
        inside[y0:y1, x0 : int(np.ceil(x1))] = True
        masks.append(light & inside)
    return masks


def command(root: Path, *more: str, method: str = "stand_in") -> int:
    given = [root / "images", "--boxes", root / "boxes.json", "--method", method, "--out", root / "annotations", *more]
    return annotate.main([str(one) for one in given])


def test_the_command_writes_three_kinds_of_annotation(tmp_path, capsys):
    assert command(write_pictures(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "two parts.bmp: nothing found in box 1 (cat), [5, 1, 7.5, 3]\n" in said
    assert f"annotations: 5 pictures, 7 objects; nothing found in 1 box: draw by hand; without an entry in {tmp_path}" in said
    assert said.endswith(" and left out: 1 picture\n")
    out = tmp_path / "annotations"
    names = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*")) if path.is_file()]
    stems = ["Straße/ä", "a b.JPG", "empty", "touching", "two parts"]
    assert sorted(names) == sorted(
        ["annotations.json", *(f"{one}.json" for one in stems), *(f"overlays/{one}.png" for one in stems)]
    )
    overlay = cv2.imread(str(out / "overlays/touching.png"))
    assert overlay.shape == (180, 480, 3)  # enlarged, or there would be no room for the labels
    missed = cv2.imread(str(out / "overlays/two parts.png"))[55:60, 300:450]  # the upper side of the box with nothing in it
    assert (missed == segment_colours(1)[0][::-1]).all(axis=2).any()


def test_pycocotools_reads_the_masks(tmp_path, capsys):
    command(write_pictures(tmp_path))
    written = COCO(tmp_path / "annotations/annotations.json")
    assert {one["name"]: one["id"] for one in written.cats.values()} == {"cat": 1, "dog": 2}
    assert [one["file_name"] for one in written.imgs.values()] == list(PICTURES)
    for id, image in written.imgs.items():
        assert (image["height"], image["width"]) == (3, 8)
        found = [written.annToMask(one).astype(bool) for one in written.imgToAnns[id]]
        wanted = [mask for mask in expected(image["file_name"]) if mask.any()]
        assert len(found) == len(wanted) and all(map(np.array_equal, found, wanted))
    kinds = {type(one["segmentation"]) for one in written.anns.values()}
    assert kinds == {list, dict}  # the ring has a hole


def test_labelme_files(tmp_path, capsys):
    command(write_pictures(tmp_path))
    for name in PICTURES:
        file = tmp_path / "annotations" / f"{name.rsplit('.', 1)[0]}.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        assert list(content) == ["version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"]
        assert (file.parent / content["imagePath"]).resolve() == tmp_path / "images" / name
        assert (content["imageHeight"], content["imageWidth"], content["imageData"]) == (3, 8, None)
        if content["shapes"]:
            union = np.logical_or.reduce(expected(name))
            assert np.array_equal(polygons(content["shapes"], 3, 8), union)
    touching = json.loads((tmp_path / "annotations/touching.json").read_text())["shapes"]
    assert [shape["group_id"] for shape in touching] == [None, None]
    parts = json.loads((tmp_path / "annotations/two parts.json").read_text())["shapes"]
    assert [shape["group_id"] for shape in parts] == [1, 1]


def test_threads_change_no_byte(tmp_path, capsys):
    contents = []
    for threads in "14":
        root = write_pictures(tmp_path / "same" / "place")
        assert command(root, "--threads", threads, "--overwrite") == 0
        files = sorted(path for path in (root / "annotations").rglob("*") if path.is_file())
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1] and len(contents[0]) == 11


def test_options_reach_the_method(tmp_path, capsys):
    write_pictures(tmp_path)
    assert command(tmp_path, "--set", "least=201") == 0
    assert "0 objects; nothing found in 8 boxes: draw by hand" in capsys.readouterr().out
    assert command(tmp_path, "--overwrite", "--set", "leest=1") == 1
    assert "has no such option; it takes: least" in capsys.readouterr().err
    for wrong in ("least", "least=[1", "=1"):
        assert command(tmp_path, "--overwrite", "--set", wrong) == 1
        assert f"--set {wrong}: " in capsys.readouterr().err
    for wrong in ("-1", "nan", "inf"):
        assert command(tmp_path, "--overwrite", "--simplify", wrong) == 1
        assert f"--simplify {wrong}: wanted a number of pixels, 0 or more" in capsys.readouterr().err
    assert command(tmp_path, "--overwrite", "--threads", "0") == 1
    assert "--threads 0: wanted 1 or more" in capsys.readouterr().err


def test_grabcut_and_a_folder_here_where_nothing_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(write_pictures(tmp_path))
    assert annotate.main(["images/", "--boxes", "boxes.json"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("annotations: 5 pictures, ")
    assert len(json.loads((tmp_path / "annotations/annotations.json").read_text())["annotations"]) > 4


def test_deep_and_transparent_pictures_are_read_as_segment_reads_them(tmp_path, capsys):
    light = mask_of("##......", "##..####", "......#.")
    names = {"deep.png": np.uint16, "float.tif": np.float32, "clear.png": np.uint8}
    (tmp_path / "images").mkdir()
    for name, kind in names.items():
        pixels = light.astype(kind)[..., None].repeat(4, axis=2) * {"deep.png": 60_000, "float.tif": 1, "clear.png": 200}[name]
        pixels[..., 3] = pixels.max()  # what is transparent is light in no other way
        planes = 4 if name == "clear.png" else 3
        (tmp_path / "images" / name).write_bytes(cv2.imencode(Path(name).suffix, pixels[..., :planes])[1])
    box = {"box": [4, 1, 8, 3], "label": "dog"}
    write_json(tmp_path / "boxes.json", {name: [box] for name in names})
    assert command(tmp_path) == 0
    said = capsys.readouterr().out
    assert "deep.png: uint16, taken as 16 bits\n" in said and "float.tif: float32 in 0..1\n" in said
    assert "clear.png: transparent, laid over white\n" in said
    written = COCO(tmp_path / "annotations/annotations.json")
    found = {written.imgs[one["image_id"]]["file_name"]: written.annToMask(one).tolist() for one in written.anns.values()}
    assert found["deep.png"] == found["float.tif"] == mask_of("........", "....####", "......#.").tolist()


def test_pictures_that_cannot_be_used_are_told_once_and_by_us(tmp_path, capfd):
    exif = Image.Exif()
    exif[0x0112] = 6
    fakes.save(tmp_path / "images/broken.png", fakes.picture(0))
    whole = (tmp_path / "images/broken.png").read_bytes()
    (tmp_path / "images/broken.png").write_bytes(whole[:-40])
    Image.fromarray(fakes.picture(0)).save(tmp_path / "images/turned.jpg", exif=exif)
    fakes.save(tmp_path / "images/edge.png", fakes.picture(0))  # 32 x 24 px
    boxes = {"broken.png": [], "turned.jpg": [], "edge.png": [{"box": [32.1, 0, 32.4, 9], "label": "dog"}]}
    write_json(tmp_path / "boxes.json", boxes)
    assert command(tmp_path, "--threads", "1") == 1
    said = capfd.readouterr().err.replace(f"{tmp_path / 'boxes.json'}: ", "").splitlines()
    assert said[0] == "error: broken.png: is damaged or cut off; fetch or export it again" and len(said) == 3
    assert said[1].startswith("turned.jpg: EXIF orientation 6: viewers turn it, ")
    assert said[2] == "edge.png: box 0: [32.1, 0, 32.4, 9] holds nothing of the picture, 32x24 (width x height)"
    assert not (tmp_path / "annotations").exists()


def test_coco_boxes_give_the_same(tmp_path, capsys):
    command(write_pictures(tmp_path))
    simple = json.loads((tmp_path / "annotations/annotations.json").read_text())
    images, objects = [], []
    for number, (name, (_, entries)) in enumerate(PICTURES.items()):
        images.append({"id": f"p{number}", "file_name": name, "width": 8, "height": 3})
        for (x0, y0, x1, y1), label in entries:
            category = {"dog": 70, "cat": 90}[label]
            objects.append({"image_id": f"p{number}", "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    categories = [{"id": 70, "name": "dog"}, {"id": 90, "name": "cat"}]
    write_json(tmp_path / "boxes.json", {"images": images, "annotations": objects, "categories": categories})
    assert command(tmp_path, "--overwrite") == 0
    written = json.loads((tmp_path / "annotations/annotations.json").read_text())
    assert written["categories"] == categories
    assert written["images"] == simple["images"]
    ids = {1: 90, 2: 70}
    assert written["annotations"] == [one | {"category_id": ids[one["category_id"]]} for one in simple["annotations"]]


def test_a_fitted_run_labels_boxes(tmp_path, capsys):
    """What a threshold calls "dog" is the mask of the dogs' boxes; a cat is no class of it, and gets the same pixels."""
    root = write_pictures(tmp_path)
    run, space = tmp_path / "runs/threshold", LabelSpace(("background", "dog"), ((0, 0, 0), (9, 9, 9)), (False, True))
    from pipeline.classical.mean_threshold import MeanThreshold

    method = MeanThreshold(space)
    method.classes = np.array([0, 1])
    (run / "model").mkdir(parents=True)
    method.save(run / "model")
    description = {"kind": "classical", "method": "mean_threshold", "options": {}, "label_space": space.to_json()}
    write_json(run / "model/model.json", description)
    write_json(run / "predict.json", {"options": {}, "search": []})
    assert command(root, method=str(run)) == 0
    written = COCO(root / "annotations/annotations.json")
    found = [written.annToMask(one).astype(bool) for one in written.imgToAnns[2]]
    assert all(map(np.array_equal, found, expected("Straße/ä.PNG")))
    assert command(root, "--overwrite", "--set", "flip=true", method=str(run / "model")) == 1
    assert "a run is used as it was scored" in capsys.readouterr().err
    (run / "model/model.json").write_text("{")
    assert command(root, "--overwrite", method=str(run)) == 1
    assert f"error: {run}/model/model.json: is no mapping in JSON, or damaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in METHODS if "box" in look_up(METHODS, name, kind="classical method").takes])
def test_methods_of_the_table_cut_a_disk_out_of_its_box(tmp_path, capsys, name):
    """None of them is fitted, all give 1 for the object; several threads give the same bytes."""
    y, x = np.mgrid[:90, :120]
    disk = (x - 60) ** 2 + (y - 45) ** 2 < 20**2
    noise = np.random.default_rng(0).integers(0, 30, (90, 120, 3))
    picture = (np.where(disk[..., None], (200, 160, 40), (40, 60, 90)) + noise).astype(np.uint8)
    for number in range(3):
        fakes.save(tmp_path / f"images/{number}.png", picture)
    box = {"box": [36, 21, 85, 70], "label": "disk"}
    write_json(tmp_path / "boxes.json", {f"{number}.png": [box] for number in range(3)})
    contents = []
    for threads in "13":
        assert command(tmp_path, "--threads", threads, "--overwrite", method=name) == 0
        contents.append((tmp_path / "annotations/annotations.json").read_bytes())
    assert contents[0] == contents[1]
    [found, *rest] = json.loads(contents[0])["annotations"]
    mask = from_coco(found, 90, 120)
    assert np.count_nonzero(mask & disk) / np.count_nonzero(mask | disk) > 0.85
    assert [one["segmentation"] for one in rest] == [found["segmentation"]] * 2


def test_methods_that_cannot(tmp_path, capsys):
    write_pictures(tmp_path)
    assert command(tmp_path, method="kmeans") == 1
    said = capsys.readouterr().err
    assert "--method kmeans: takes no box; those that do: " in said and "stand_in" in said
    assert command(tmp_path, method="grabcuts") == 1
    assert "neither the folder of a fitted run" in capsys.readouterr().err
    assert not (tmp_path / "annotations").exists()


def test_nothing_corrected_is_lost(tmp_path, capsys):
    write_pictures(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/empty.json").write_text("corrected")
    assert command(tmp_path) == 1
    assert "has files in it, which somebody may have corrected" in capsys.readouterr().err
    assert (tmp_path / "annotations/empty.json").read_text() == "corrected"
    assert annotate.main([str(tmp_path / "images"), "--boxes", "b", "--method", "m", "--out", str(tmp_path / "images/a")]) == 1
    assert "lies in the folder of the pictures" in capsys.readouterr().err
    assert annotate.main([str(tmp_path / "nowhere"), "--boxes", "b", "--method", "m", "--out", "o"]) == 1
    assert "no such folder of pictures" in capsys.readouterr().err


def test_a_picture_called_as_the_file_of_all(tmp_path, capsys):
    fakes.save(tmp_path / "images/annotations.png", fakes.picture(0))
    write_json(tmp_path / "boxes.json", {"annotations.png": []})
    assert command(tmp_path) == 1
    assert "its file would be annotations.json" in capsys.readouterr().err
