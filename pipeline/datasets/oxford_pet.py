"""Oxford-IIIT Pet: 7,349 photographs of 37 breeds of cats and dogs, each with a trimap of the animal.

`images/NAME.jpg` and `annotations/trimaps/NAME.png`, whose values are 1 pet, 2 background, 3 "not classified", a border around
the animal. `annotations/trainval.txt` (3,680) and `test.txt` (3,669) are the paper's splits, of lines `NAME CLASS-ID SPECIES
BREED-ID`: classes 1..37, species 1 cat and 2 dog. `list.txt`, their union, and the boxes of heads in `xmls/` are not read.

The files are as the web gave them: some .jpg are GIF or PNG inside, some grey, two hold stray bytes before their end, and a few
trimaps are background from edge to edge. 41 images stand in no list, and hidden `._NAME.png` of macOS lie among the trimaps.

Parkhi et al. 2012, Cats and Dogs, CVPR; the README among its annotations; TensorFlow Datasets' oxford_iiit_pet for the breeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pipeline.datasets._files import home_of, mapped_labels, same_size
from pipeline.datasets._own_data import distinct_colours
from pipeline.image_files import images_below, name_of, read_image, read_index_mask
from pipeline.sources import Fault, Record, Source
from pipeline.splits import TRAINVAL
from pipeline.structures import LabelSpace, PanopticMap, Sample

LISTS = {"trainval.txt": TRAINVAL, "test.txt": "test"}
PET, BACKGROUND, BORDER = 1, 2, 3  # in the trimaps
BORDERS = ("class", "void", "pet")
SPECIES = ("cat", "dog")
BREEDS = (
    "Abyssinian",
    "American Bulldog",
    "American Pit Bull Terrier",
    "Basset Hound",
    "Beagle",
    "Bengal",
    "Birman",
    "Bombay",
    "Boxer",
    "British Shorthair",
    "Chihuahua",
    "Egyptian Mau",
    "English Cocker Spaniel",
    "English Setter",
    "German Shorthaired",
    "Great Pyrenees",
    "Havanese",
    "Japanese Chin",
    "Keeshond",
    "Leonberger",
    "Maine Coon",
    "Miniature Pinscher",
    "Newfoundland",
    "Persian",
    "Pomeranian",
    "Pug",
    "Ragdoll",
    "Russian Blue",
    "Saint Bernard",
    "Samoyed",
    "Scottish Terrier",
    "Shiba Inu",
    "Siamese",
    "Sphynx",
    "Staffordshire Bull Terrier",
    "Wheaten Terrier",
    "Yorkshire Terrier",
)
# option -> the classes of animals, and which of the numbers in the lists tells them
CLASSES = {"trimap": (("pet",), None), "species": (SPECIES, 1), "breeds": (BREEDS, 0)}


def read(source: Path, *, classes: str = "trimap", border: str = "class") -> Source:
    """Read the official lists; trainval is divided from the seed, and every image is a group of its own.

    Parameters
    ----------
    source : the folder that holds `images` and `annotations`, or one whose only folder does
    classes : what the pixels of an animal are: "trimap": pet; "species": cat or dog; "breeds": one of 37. After these come
        background and border
    border : what the pixels around an animal are: "class": a class; "void": ignored; "pet": a part of the animal

    Raises
    ------
    ValueError : an option is none of these, a folder or list is missing, or a list is damaged.
    """
    for name, given, choices in (("classes", classes, CLASSES), ("border", border, BORDERS)):
        if given not in choices:
            raise ValueError(f"{name}: {given!r}; choose one of: {', '.join(choices)}")
    source = Path(source)
    lists = [f"annotations/{name}" for name in LISTS]
    advice = "unpack images.tar.gz and annotations.tar.gz side by side"
    home = home_of(source, "images", "annotations/trimaps", *lists, advice=advice)
    pets, column = CLASSES[classes]
    names = (*pets, "background", *(["border"] if border == "class" else []))
    label_space = LabelSpace(names, tuple(distinct_colours(len(names))), (False,) * len(names))
    images = {path.stem: path for path in images_below(home / "images")}
    masks = {path.stem: path for path in images_below(home / "annotations" / "trimaps")}
    listed = _listed(home)
    records, faults = [], []
    for name, (split, numbers) in listed.items():
        pet = 0 if column is None else numbers[column] - 1
        around = {"class": len(pets) + 1, "void": label_space.void, "pet": pet}[border]
        table = {PET: pet, BACKGROUND: len(pets), BORDER: around}
        fault = _missing(name, images, masks, home, source)
        if fault:
            faults.append(fault)
        else:
            decode = partial(_decode, root=source, label_space=label_space, table=table)
            records.append(_record(name, split, images[name], masks[name], decode))
    faults += [
        Fault("unlisted_image", name_of(path, source), "stands in neither trainval.txt nor test.txt, and is left out")
        for name, path in images.items()
        if name not in listed
    ]
    return Source("Oxford-IIIT Pet", label_space, tuple(records), tuple(faults))


def _record(name: str, split: str, image: Path, mask: Path, decode: partial) -> Record:
    return Record(name, split, name, partial(decode, id=name, split=split, image=image, mask=mask), image, (mask,))


def _listed(home: Path) -> dict[str, tuple[str, tuple[int, int, int]]]:
    """Name -> its official split, and its CLASS-ID, SPECIES and BREED-ID."""
    found: dict[str, tuple[str, tuple[int, int, int]]] = {}
    for file, split in LISTS.items():
        path = home / "annotations" / file
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            name, *numbers = line.split()
            if len(numbers) != 3 or not all(one.isdecimal() for one in numbers):
                raise ValueError(f"{path} line {number}: {line!r}; wanted NAME CLASS-ID SPECIES BREED-ID")
            breed, species, _ = numbers = tuple(map(int, numbers))
            if not (1 <= breed <= len(BREEDS) and 1 <= species <= len(SPECIES)):
                raise ValueError(f"{path} line {number}: {line!r}; wanted a CLASS-ID of 1..{len(BREEDS)} and a SPECIES of 1..2")
            if found.setdefault(name, (split, numbers)) != (split, numbers):
                raise ValueError(f"{path} line {number}: {name} stands in {found[name][0]}.txt too; keep one")
    return found


def _missing(name: str, images: Mapping[str, Path], masks: Mapping[str, Path], home: Path, root: Path) -> Fault | None:
    """The fault of a listed image whose picture or trimap is not there."""
    if name not in images:
        file = name_of(home / "images" / f"{name}.jpg", root)
        return Fault("mask_without_image", file, "stands in a list and does not exist; unpack images.tar.gz again")
    if name not in masks:
        file = f"annotations/trimaps/{name}.png"
        return Fault("image_without_mask", name_of(images[name], root), f"there is no {file}; unpack annotations.tar.gz again")
    return None


def _decode(
    *, id: str, split: str, image: Path, mask: Path, root: Path, label_space: LabelSpace, table: Mapping[int, int]
) -> Sample:
    pixels, trimap = read_image(image, root=root), read_index_mask(mask, root=root)
    file = name_of(mask, root)
    same_size(pixels, trimap, file=file)
    labels = mapped_labels(trimap, table, label_space, file=file)
    return Sample(id, split, id, pixels, PanopticMap.from_labels(labels, label_space))
