"""The Oxford-IIIT Pet reader: every option by hand, the oddities of the real files, damaged lists, and the way to training."""

import json
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.dataset_writer import write
from pipeline.datasets.oxford_pet import read
from pipeline.download import obtain
from pipeline.download_list import read_list
from pipeline.provenance import ROOT, file_hash
from pipeline.sources import FaultError
from tests import fakes
from tests.fakes_published import PETS, save_as, trimap, write_oxford_pet


def sample(source, name):
    (record,) = [one for one in source if one.id == name]
    return pickle.loads(pickle.dumps(record.decode))()


@pytest.mark.parametrize("inner", ["", "oxford-iiit-pet"])  # as torchvision unpacks it
def test_official_layout(tmp_path, inner):
    write_oxford_pet(tmp_path / inner)
    source = read(tmp_path)
    assert source.label_space.names == ("pet", "background", "border") and not source.label_space.has_things
    assert [(record.id, record.split, record.group) for record in source] == [
        ("Abyssinian_100", "trainval", "Abyssinian_100"),
        ("american_bulldog_12", "trainval", "american_bulldog_12"),
        ("yorkshire_terrier_9", "trainval", "yorkshire_terrier_9"),
        ("Sphynx_7", "trainval", "Sphynx_7"),
        ("Abyssinian_201", "test", "Abyssinian_201"),
        ("beagle_116", "test", "beagle_116"),
    ]
    for seed, name in enumerate(PETS):
        found = sample(source, name)
        assert np.array_equal(found.truth.semantic(source.label_space), trimap(seed) - 1)
        assert found.split == PETS[name][1]
    prefix = f"{inner}/" if inner else ""
    assert [(fault.rule, fault.file) for fault in source.faults] == [("unlisted_image", f"{prefix}images/Bombay_30.jpg")]


@pytest.mark.parametrize(
    ("classes", "border", "names", "labels"),
    [  # the labels of pet, background and border of Sphynx_7, a cat of class 34, and of the dog beagle_116, class 5
        ("trimap", "class", ["pet", "background", "border"], {"Sphynx_7": (0, 1, 2), "beagle_116": (0, 1, 2)}),
        ("trimap", "void", ["pet", "background"], {"Sphynx_7": (0, 1, 255), "beagle_116": (0, 1, 255)}),
        ("trimap", "pet", ["pet", "background"], {"Sphynx_7": (0, 1, 0), "beagle_116": (0, 1, 0)}),
        ("species", "class", ["cat", "dog", "background", "border"], {"Sphynx_7": (0, 2, 3), "beagle_116": (1, 2, 3)}),
        ("species", "void", ["cat", "dog", "background"], {"Sphynx_7": (0, 2, 255), "beagle_116": (1, 2, 255)}),
        ("species", "pet", ["cat", "dog", "background"], {"Sphynx_7": (0, 2, 0), "beagle_116": (1, 2, 1)}),
        ("breeds", "class", [*range(37), "background", "border"], {"Sphynx_7": (33, 37, 38), "beagle_116": (4, 37, 38)}),
        ("breeds", "void", [*range(37), "background"], {"Sphynx_7": (33, 37, 255), "beagle_116": (4, 37, 255)}),
        ("breeds", "pet", [*range(37), "background"], {"Sphynx_7": (33, 37, 33), "beagle_116": (4, 37, 4)}),
    ],
)
def test_classes_and_border(tmp_path, classes, border, names, labels):
    source = read(write_oxford_pet(tmp_path), classes=classes, border=border)
    found = source.label_space.names
    assert [index if isinstance(name, int) else found[index] for index, name in enumerate(names)] == names
    assert len(found) == len(names)
    for name, (pet, background, around) in labels.items():
        wanted = np.array([0, pet, background, around], np.uint8)[trimap(list(PETS).index(name))]
        assert np.array_equal(sample(source, name).truth.semantic(source.label_space), wanted)


def test_breeds_are_those_of_the_file_names(tmp_path):
    """CLASS-ID n is the n-th breed: its name is the one of its files, but for capitals and the line below."""
    source = read(write_oxford_pet(tmp_path), classes="breeds")
    for name, (numbers, _) in PETS.items():
        breed = source.label_space.names[int(numbers.split()[0]) - 1]
        assert breed.lower().replace(" ", "_") == name.rsplit("_", 1)[0].lower()
    assert list(source.label_space.names[:37]) == sorted(source.label_space.names[:37])


def test_unknown_options_list_the_choices(tmp_path):
    with pytest.raises(ValueError, match="classes: 'breed'; choose one of: trimap, species, breeds"):
        read(tmp_path, classes="breed")
    with pytest.raises(ValueError, match="border: 'ignore'; choose one of: class, void, pet"):
        read(tmp_path, border="ignore")


def test_files_that_are_not_what_their_name_says(tmp_path):
    """GIF, PNG with an opaque alpha, grey and CMYK under .jpg all decode to their picture."""
    write_oxford_pet(tmp_path)
    picture = Image.fromarray(fakes.picture(9))
    file = tmp_path / "images/Sphynx_7.jpg"
    shown = {
        "GIF": picture.quantize(64),
        "PNG": picture.convert("RGBA"),
        "BMP": picture,
    }
    for format, image in shown.items():
        save_as(file, image, format)
        assert np.array_equal(sample(read(tmp_path), "Sphynx_7").image, np.asarray(image.convert("RGB"))), format
    save_as(file, picture.convert("L"), "JPEG", quality=100)
    grey = sample(read(tmp_path), "Sphynx_7").image
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert np.abs(grey[..., 0].astype(int) - np.asarray(picture.convert("L"))).max() <= 2
    save_as(file, picture.convert("CMYK"), "JPEG", quality=100)
    assert np.abs(sample(read(tmp_path), "Sphynx_7").image.astype(int) - np.asarray(picture)).max() <= 12


def test_jpeg_with_an_odd_end(tmp_path, capfd):
    """Stray bytes before or after the end marker are bridged; a file that is cut off is not."""
    write_oxford_pet(tmp_path)
    file = tmp_path / "images/beagle_116.jpg"
    data = file.read_bytes()
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert data.endswith(b"\xff\xd9")
    for odd in (data[:-2] + bytes(240) + data[-2:], data + b"stray", data + bytes(7)):
        file.write_bytes(odd)
        assert np.array_equal(sample(read(tmp_path), "beagle_116").image, whole)
    assert "extraneous bytes before marker 0xd9" in capfd.readouterr().err  # libjpeg sees them
    file.write_bytes(data[:-40])
    with pytest.raises(FaultError, match=r"images/beagle_116.jpg: is damaged or cut off"):
        sample(read(tmp_path), "beagle_116")


def test_missing_files_are_listed(tmp_path):
    write_oxford_pet(tmp_path, unlisted=())
    (tmp_path / "images/Sphynx_7.jpg").unlink()
    (tmp_path / "annotations/trimaps/beagle_116.png").unlink()
    source = read(tmp_path)
    assert [(fault.rule, fault.file) for fault in source.faults] == [
        ("mask_without_image", "images/Sphynx_7.jpg"),
        ("image_without_mask", "images/beagle_116.jpg"),
    ]
    assert len(source.records) == 4


def test_trimaps_that_cannot_be_used(tmp_path):
    write_oxford_pet(tmp_path)
    mask = trimap(3)
    mask[5, 6:9], mask[20, 30] = 0, 4
    fakes.save(tmp_path / "annotations/trimaps/Sphynx_7.png", mask)
    with pytest.raises(FaultError) as caught:
        sample(read(tmp_path), "Sphynx_7")
    assert [(fault.rule, fault.pixel, fault.value) for fault in caught.value.faults] == [
        ("label_outside", (6, 5), "0"),
        ("label_outside", (30, 20), "4"),
    ]
    assert "annotations/trimaps/Sphynx_7.png at pixel x=6, y=5: value 0 (3 pixels) is none of 1..3; fetch" in str(caught.value)
    fakes.save(tmp_path / "annotations/trimaps/Sphynx_7.png", trimap(3)[:, :30])
    with pytest.raises(FaultError, match=r"mask is 30x24, its image 32x24"):
        sample(read(tmp_path), "Sphynx_7")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("test.txt", "beagle_116 5 2", r"test.txt line 1: 'beagle_116 5 2'; wanted NAME CLASS-ID SPECIES BREED-ID"),
        ("test.txt", "beagle_116 5 2 x", r"test.txt line 1: .* wanted NAME CLASS-ID SPECIES BREED-ID"),
        (
            "trainval.txt",
            "#x\n\nbeagle_116 38 2 4",
            r"trainval.txt line 3: .* wanted a CLASS-ID of 1..37 and a SPECIES of 1..2",
        ),
        ("trainval.txt", "beagle_116 0 2 4", r"wanted a CLASS-ID of 1..37"),
        ("trainval.txt", "beagle_116 5 3 4", r"SPECIES of 1..2"),
        ("trainval.txt", "beagle_116 5 2 4", r"test.txt line 2: beagle_116 stands in trainval.txt too; keep one"),
    ],
)
def test_damaged_lists(tmp_path, file, line, message):
    write_oxford_pet(tmp_path)
    (tmp_path / "annotations" / file).write_text(line)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_not_oxford_pet(tmp_path):
    write_oxford_pet(tmp_path)
    (tmp_path / "annotations/test.txt").unlink()
    message = (
        r"wanted images, annotations/trimaps, annotations/trainval.txt, annotations/test.txt, found annotations, images; unpack"
    )
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_to_the_canonical_form_and_back(tmp_path):
    """The test split is the official one, trainval is divided; the panoptic PNG holds every pixel, also of a GIF named .jpg."""
    root = write_oxford_pet(tmp_path / "raw")
    save_as(root / "images/Sphynx_7.jpg", Image.fromarray(fakes.picture(9)).quantize(64), "GIF")
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    source = read(root, classes="species", border="void")
    dataset = write(source, tmp_path / "out", splits=shares, seed=0, rules={}, origin={}, root=root, workers=1)
    assert dataset.ids("test") == ["Abyssinian_201", "beagle_116"]
    assert (len(dataset.ids("train")), len(dataset.ids("val"))) == (3, 1)
    assert "unlisted_image,images/Bombay_30.jpg" in (tmp_path / "out/gate.csv").read_text()
    for split in ("train", "val", "test"):
        panoptic = json.loads((tmp_path / f"out/panoptic_{split}.json").read_text())
        for image, described in zip(panoptic["images"], panoptic["annotations"], strict=True):
            name = Path(image["file_name"]).stem
            colours = np.array(Image.open(tmp_path / f"out/panoptic/{split}/{name}.png"), np.int64)
            categories = {0: 0} | {one["id"]: one["category_id"] for one in described["segments_info"]}
            pet = 1 if PETS[name][0].split()[1] == "1" else 2
            wanted = np.array([0, pet, 3, 0])[trimap(list(PETS).index(name))]
            assert np.array_equal(np.vectorize(categories.get)(colours @ [1, 256, 256**2]), wanted)
            with Image.open(tmp_path / f"out/images/{split}/{image['file_name']}") as stored:
                shown = np.asarray(stored.convert("RGB"))
            assert np.array_equal(shown, sample(source, name).image)


def test_from_a_list_of_downloads(tmp_path):
    """The two archives, plain tars that are named .tar.gz as the official ones, unpack side by side without hidden files."""
    write_oxford_pet(tmp_path / "official")
    entries = []
    for name in ("images", "annotations"):
        archive = tmp_path / f"{name}.tar.gz"
        with tarfile.open(archive, "w") as opened:
            opened.add(tmp_path / "official" / name, name)
        entries.append({"url": archive.as_uri(), "sha256": file_hash(archive)})
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(entries))
    obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert not list((tmp_path / "raw").rglob("._*"))
    source = read(tmp_path / "raw")
    assert [record.id for record in source] == list(PETS)
    assert sample(source, "Sphynx_7").shape == (24, 32)


def test_a_trimap_of_background_alone_is_a_remark(tmp_path):
    root = write_oxford_pet(tmp_path / "raw")
    fakes.save(root / "annotations/trimaps/Sphynx_7.png", np.full((24, 32), 2, np.uint8))
    write(read(root), tmp_path / "out", splits=fakes.SHARES, seed=0, rules={}, origin={}, root=root, workers=1)
    assert "warning,constant_mask,annotations/trimaps/Sphynx_7.png" in (tmp_path / "out/gate.csv").read_text()


def test_the_preset_names_a_list_of_pinned_downloads():
    preset = yaml.safe_load((ROOT / "presets/oxford_pet.yaml").read_text())
    assert preset["dataset"]["reader"] == "oxford_pet"
    entries = read_list(ROOT / preset["dataset"]["source"])  # refuses an entry without a checksum
    assert [entry.name for entry in entries] == ["images.tar.gz", "annotations.tar.gz"]
