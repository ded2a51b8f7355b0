"""Tiny trees in the layouts of published data sets."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tests import fakes

FRAMES = ("0001TP_006690", "0001TP_008550", "0006R0_f00930", "0016E5_07959", "Seq05VD_f00000")
# label_colors.txt as its authors wrote it, one tab or two
LABEL_COLOURS = """\
64 128 64\tAnimal
192 0 128\tArchway
0 128 192\tBicyclist
0 128 64\tBridge
128 0 0\t\tBuilding
64 0 128\tCar
64 0 192\tCartLuggagePram
192 128 64\tChild
192 192 128\tColumn_Pole
64 64 128\tFence
128 0 192\tLaneMkgsDriv
192 0 64\tLaneMkgsNonDriv
128 128 64\tMisc_Text
192 0 192\tMotorcycleScooter
128 64 64\tOtherMoving
64 192 128\tParkingBlock
64 64 0\t\tPedestrian
128 64 128\tRoad
128 128 192\tRoadShoulder
0 0 192\t\tSidewalk
192 128 128\tSignSymbol
128 128 128\tSky
64 128 192\tSUVPickupTruck
0 0 64\t\tTrafficCone
0 64 64\t\tTrafficLight
192 64 128\tTrain
128 128 0\tTree
192 128 192\tTruck_Bus
64 0 64\t\tTunnel
192 192 0\tVegetationMisc
0 0 0\t\tVoid
64 192 0\tWall
"""
CAMVID_COLOURS = {
    line.split()[3]: tuple(map(int, line.split()[:3])) for line in LABEL_COLOURS.splitlines()
}  # name -> RGB, in the order of the file


def write_camvid_original(root: Path, *, frames=FRAMES, folder: str = "LabeledApproved_full") -> Path:
    """701_StillsRaw_full/NAME.png and LabeledApproved_full/NAME_L.png: a column for each colour, in an order by frame."""
    colours = np.array(list(CAMVID_COLOURS.values()), np.uint8)
    for seed, name in enumerate(frames):
        fakes.save(root / "701_StillsRaw_full" / f"{name}.png", fakes.picture(seed, 24, 32))
        fakes.save(root / folder / f"{name}_L.png", np.roll(colours, seed, axis=0)[None].repeat(24, axis=0))
    (root / "label_colors.txt").write_text(LABEL_COLOURS)
    return root


def write_lists(root: Path, splits: Mapping[str, list[str]]) -> Path:
    """train.txt, val.txt and test.txt with these lines."""
    for split, lines in splits.items():
        (root / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def people_mask(seed: int, count: int, height: int = 30, width: int = 40) -> np.ndarray:
    """(H, W) uint8: 0, and a box of each number 1..count; the first is cut in two by a lamp post, and moves with the seed."""
    mask = np.zeros((height, width), np.uint8)
    for number in range(1, count + 1):
        mask[4 : 20 + number, 8 * number - 6 : 8 * number - 1] = number
    mask[10 + seed % 3 : 12 + seed % 3] = 0
    return mask


def write_penn_fudan(root: Path, counts: Mapping[str, int]) -> Path:
    """PennFudanPed/: PNGImages, PedMasks, Annotation and the two text files; name -> how many people."""
    home = root / "PennFudanPed"
    for seed, (name, count) in enumerate(counts.items()):
        mask = people_mask(seed, count)
        fakes.save(home / "PNGImages" / f"{name}.png", fakes.picture(seed, *mask.shape))
        fakes.save(home / "PedMasks" / f"{name}_mask.png", mask)
        labels = " ".join(['"PASpersonWalking"'] * count)
        lines = [
            "# Compatible with PASCAL Annotation Version 1.00",
            f'Image filename : "PennFudanPed/PNGImages/{name}.png"',
            f"Image size (X x Y x C) : {mask.shape[1]} x {mask.shape[0]} x 3",
            f"Objects with ground truth : {count} {{ {labels} }}",
        ]
        (home / "Annotation").mkdir(exist_ok=True)
        (home / "Annotation" / f"{name}.txt").write_text("\n".join(lines))
    (home / "readme.txt").write_text("1. Directory structure:\n")
    (home / "added-object-list.txt").write_text("# image name (\\t) object index\n")
    return root


PETS = {  # name -> CLASS-ID SPECIES BREED-ID, and the list it stands in
    "Abyssinian_100": ("1 1 1", "trainval"),
    "american_bulldog_12": ("2 2 1", "trainval"),
    "yorkshire_terrier_9": ("37 2 25", "trainval"),
    "Sphynx_7": ("34 1 12", "trainval"),
    "Abyssinian_201": ("1 1 1", "test"),
    "beagle_116": ("5 2 4", "test"),
}


def trimap(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    """(H, W) uint8: 1 within, 3 around it, 2 outside; the place moves with the seed."""
    mask = np.full((height, width), 2, np.uint8)
    mask[4:20, 5 + seed : 20 + seed] = 3
    mask[6:18, 7 + seed : 18 + seed] = 1
    return mask


def write_oxford_pet(root: Path, *, pets: Mapping[str, tuple[str, str]] = PETS, unlisted=("Bombay_30",)) -> Path:
    """images/, annotations/ with their lists, trimaps and head boxes; `unlisted` have image and trimap and stand in no list.

    As in the real archives, there are .mat files among the images, and a ._NAME.png of macOS beside each trimap.
    """
    for seed, name in enumerate([*pets, *unlisted]):
        fakes.save(root / "images" / f"{name}.jpg", fakes.picture(seed))
        fakes.save(root / "annotations/trimaps" / f"{name}.png", trimap(seed))
        (root / "annotations/trimaps" / f"._{name}.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (root / "images/Abyssinian_101.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    (root / "annotations/README").write_text("OXFORD-IIIT PET Dataset\n")
    (root / "annotations/xmls").mkdir()
    head = "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n#SPECIES: 1:Cat 2:Dog\n#BREED ID: 1-25:Cat 1:12:Dog\n"
    lines = {name: f"{name} {numbers}\n" for name, (numbers, _) in pets.items()}
    (root / "annotations/list.txt").write_text(head + "".join(lines.values()))
    for split in ("trainval", "test"):
        text = "".join(lines[name] for name, (_, where) in pets.items() if where == split)
        (root / f"annotations/{split}.txt").write_text(text)
    return root


def save_as(path: Path, image: Image.Image, format: str, **options) -> Path:
    """A picture in the format, whatever the suffix of its name says."""
    image.save(path, format, **options)
    return path
