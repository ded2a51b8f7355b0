"""The reader of COCO 2017: its three kinds of truth by hand, its splits, and what the canonical form keeps of them."""

import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO

from pipeline import download
from pipeline.dataset_writer import write
from pipeline.datasets._coco_classes import MERGED_STUFF, STUFF, THINGS
from pipeline.datasets.coco import TASKS, read
from pipeline.download_list import read_list
from pipeline.gate.inspection import inspect
from pipeline.provenance import ROOT, file_hash
from pipeline.sources import FaultError
from tests import fakes, fakes_coco
from tests.archives import zipped
from tests.fakes_coco import box, thing

SHARES = {"train": 0.5, "val": 0.5, "test": 0.0}
WRITE = {"instances": fakes_coco.write_instances, "stuff": fakes_coco.write_stuff, "panoptic": fakes_coco.write_panoptic}


def tree(root, task: str, **images):
    return WRITE[task](fakes_coco.write_images(root, **images))


def sample_of(source, id: int):
    (record,) = (record for record in source if record.id == f"{id:012}")
    return record.decode()


def with_annotations(root, annotations: list[dict]):
    """val2017 alone, its table of instances replaced."""
    fakes_coco.write_images(root, parts=("val2017",))
    fakes_coco.write_table(root, "instances", "val2017", annotations)
    return root


def test_the_categories_are_those_of_the_official_files():
    """Counts, the gaps in the ids, and places in the lists of panoptic_coco_categories.json and labels.txt."""
    assert (len(THINGS), len(STUFF), len(MERGED_STUFF)) == (80, 92, 53)
    assert set(range(1, 91)) - set(THINGS) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert list(STUFF) == list(range(92, 184))
    assert [id for id in MERGED_STUFF if id > 183] == list(range(184, 201))
    assert THINGS[1] == ("person", (220, 20, 60)) and THINGS[90] == ("toothbrush", (191, 162, 208))
    assert STUFF[92] == ("banner", (54, 178, 118)) and STUFF[182][0] == "wood" and STUFF[183] == ("other", (255, 214, 0))
    assert MERGED_STUFF[184] == ("tree-merged", (107, 142, 35)) and MERGED_STUFF[200] == ("rug-merged", (250, 141, 255))
    assert all(STUFF[id][0] == MERGED_STUFF[id][0] for id in MERGED_STUFF if id < 184)
    for table in (THINGS, STUFF, THINGS | MERGED_STUFF):
        assert len({name for name, _ in table.values()}) == len(table)
        assert all(0 <= part <= 255 for _, colour in table.values() for part in colour)


@pytest.mark.parametrize(("task", "classes", "things"), [("instances", 81, 80), ("stuff", 92, 0), ("panoptic", 133, 80)])
@pytest.mark.parametrize("folder", [".", "images"])
def test_official_layout(tmp_path, task, classes, things, folder):
    """Val is the test split; train is left to be divided."""
    tree(tmp_path / "wrapped", task, folder=folder)
    source = read(tmp_path, task=task)
    assert not source.faults
    space = source.label_space
    assert (space.num_classes, sum(space.isthing)) == (classes, things)
    assert [(record.id, record.split, record.group) for record in source] == [
        *((f"{id:012}", "trainval", f"{id:012}") for id in (9, 25, 30, 34)),
        *((f"{id:012}", "test", f"{id:012}") for id in (139, 285)),
    ]
    for record in source:
        assert np.array_equal(record.decode().image, cv2.imread(str(record.image_file))[..., ::-1])
    assert {record.split for record in read(tmp_path, task=task, official=False)} == {None}


@pytest.mark.parametrize("part", ["val2017", "train2017"])
def test_one_folder_alone_is_divided_into_all_splits(tmp_path, part):
    tree(tmp_path, "instances", parts=(part,))
    source = read(tmp_path)
    assert not source.faults
    assert [(int(record.id), record.split) for record in source] == [(id, None) for id in fakes_coco.IDS[part]]


def test_instances_by_hand(tmp_path):
    """A table of 216 pixels, a cup of 24 in two parts on it, a toothbrush, a crowd of people below all."""
    source = read(tree(tmp_path, "instances"))
    space, sample = source.label_space, sample_of(source, 9)
    assert space.names[:3] == ("background", "person", "bicycle") and space.colours[1] == (220, 20, 60)
    cup, table = box(4, 5, 8, 9) | box(10, 5, 12, 9), box(2, 3, 20, 15)
    brush, crowd = box(25, 0, 30, 4), box(0, 0, 32, 20)
    found = {
        space.names[category]: mask for category, mask in zip(sample.instances.classes, sample.instances.masks, strict=True)
    }
    wanted = {"cup": cup, "dining table": table, "toothbrush": brush, "person": crowd}
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], mask) for name, mask in wanted.items())  # whole, though they overlap
    assert sorted(zip(sample.instances.iscrowd, sample.instances.classes, strict=True)) == sorted(
        (name == "person", space.names.index(name)) for name in wanted
    )
    labels = np.zeros((24, 32), np.uint8)  # background
    for name in ("person", "dining table", "toothbrush", "cup"):
        labels[wanted[name]] = space.names.index(name)
    assert np.array_equal(sample.truth.semantic(space), labels)
    assert {space.names[one.category] for one in sample.truth.info if one.iscrowd} == {"person"}
    assert sample.remarks == ()


def test_an_image_without_objects_and_void_for_background(tmp_path):
    tree(tmp_path, "instances")
    source = read(tmp_path)
    empty = sample_of(source, 285)
    assert len(empty.instances) == 0 and (empty.truth.semantic(source.label_space) == 0).all()
    source = read(tmp_path, background=False)
    assert source.label_space.names[0] == "person" and source.label_space.num_classes == 80
    labels = sample_of(source, 139).truth.semantic(source.label_space)
    assert (labels[20:] == 255).all() and (labels[:20] != 255).all()


def test_an_object_that_covers_no_pixel_is_left_out_with_a_warning(tmp_path):
    """As two of train2017 do: height 0, github.com/cocodataset/cocoapi/issues/355."""
    flat = thing(918, 139, 58, [[6.65, 8.33, 6.65, 8.33, 7.68, 8.33, 7.68, 8.33]])
    with_annotations(tmp_path, [flat, thing(5, 139, 1, [fakes_coco.polygon(0, 0, 4, 4)])])
    source = read(tmp_path)
    sample = sample_of(source, 139)
    assert sample.instances.classes.tolist() == [1]
    (remark,) = sample.remarks
    assert (remark.rule, remark.file, remark.value) == ("empty_outline", "annotations/instances_val2017.json", "918")
    assert "annotation 0 (id 918, 000000000139.jpg): its segmentation covers no pixel; the object is left out" in str(remark)
    assert len(inspect(source, table=tmp_path / "gate.csv", root=tmp_path)) == 2  # no error
    assert "warning,empty_outline,annotations/instances_val2017.json,,,918," in (tmp_path / "gate.csv").read_text()


def test_annotations_that_cannot_be_used_are_faults(tmp_path):
    with_annotations(tmp_path, [thing(5, 139, 12, [fakes_coco.polygon(0, 0, 4, 4)]), thing(6, 139, 1, [[0, 0, 4]])])
    with pytest.raises(FaultError) as caught:
        sample_of(read(tmp_path), 139)
    assert [(fault.rule, fault.value) for fault in caught.value.faults] == [
        ("missing_category", "5"),
        ("unusable_outline", "6"),
    ]
    fakes.save(tmp_path / "val2017/000000000285.jpg", fakes.picture(0, 20, 20))
    with pytest.raises(FaultError, match=r"285\.jpg: is 20x20, and annotations/instances_val2017\.json says 32x24"):
        sample_of(read(tmp_path), 285)


def test_stuff_is_the_same_from_codes_and_from_maps(tmp_path):
    tree(tmp_path, "stuff")
    codes = read(tmp_path, task="stuff")
    fakes_coco.write_pixelmaps(tmp_path)
    maps = read(tmp_path, task="stuff")
    assert not maps.faults
    assert maps.label_space == codes.label_space
    assert [(record.id, record.split) for record in maps] == [(record.id, record.split) for record in codes]
    assert not codes.records[0].truth_files and len(maps.records[0].truth_files) == 1
    table = np.zeros(256, np.uint8)
    table[[0, 92, 182, 183]] = 255, 0, 90, 91
    for code, map in zip(codes, maps, strict=True):
        wanted = table[fakes_coco.stuff_ids(int(code.id))]
        for sample in (code.decode(), map.decode()):
            assert np.array_equal(sample.truth.semantic(codes.label_space), wanted)
            assert sample.instances is None


def test_pixelmaps_need_no_table_and_are_checked(tmp_path):
    fakes_coco.write_pixelmaps(fakes_coco.write_images(tmp_path))
    shutil.move(tmp_path / "annotations/stuff_val2017_pixelmaps", tmp_path)  # as people unpack it, too
    (tmp_path / "stuff_val2017_pixelmaps/000000000139.png").unlink()
    (tmp_path / "train2017/000000000009.jpg").unlink()
    mask = np.full((24, 32), 183, np.uint8)
    mask[3, 4:6] = 91
    fakes.save(tmp_path / "stuff_val2017_pixelmaps/000000000285.png", mask)
    source = read(tmp_path, task="stuff")
    assert [str(fault) for fault in source.faults] == [
        "annotations/stuff_train2017_pixelmaps/000000000009.png: there is no train2017/000000000009.jpg; unpack "
        "train2017.zip again [mask_without_image]",
        "val2017/000000000139.jpg: there is no stuff_val2017_pixelmaps/000000000139.png; unpack "
        "stuff_val2017_pixelmaps.zip again [image_without_mask]",
    ]
    with pytest.raises(FaultError, match=r"285\.png at pixel x=4, y=3: value 91 \(2 pixels\) is none of 0, 92, 93"):
        sample_of(source, 285)


@pytest.mark.parametrize("folder", ["annotations", "."])
def test_panoptic_by_hand(tmp_path, folder):
    """A person, a crowd of people, trees and a rug; the upper row is void. The same from both places people unpack the maps."""
    fakes_coco.write_panoptic(fakes_coco.write_images(tmp_path), folder=folder)
    source = read(tmp_path, task="panoptic")
    assert not source.faults
    space = source.label_space
    assert space.names[79:82] == ("toothbrush", "banner", "blanket") and space.names[132] == "rug-merged"
    assert space.isthing[79:81] == (True, False) and space.colours[132] == (250, 141, 255)
    for id in (9, 285):
        sample, given = sample_of(source, id), fakes_coco.segments(id)
        assert sample.instances is None
        found = {one.id: one for one in sample.truth.info}
        assert len(found) == 4
        seen = {int(new): int(given[sample.truth.segments == new][0]) for new in (0, *found)}
        for new, old in seen.items():  # the same pixels, whatever the numbers
            assert np.array_equal(sample.truth.segments == new, given == old)
        assert seen[0] == 0
        for new, one in found.items():
            category, crowd = fakes_coco.SEGMENTS[seen[new]]
            assert space.names[one.category] == (THINGS | MERGED_STUFF)[category][0]
            assert one.iscrowd == bool(crowd)
        things = sample.objects(space)
        assert sorted(things.iscrowd.tolist()) == [False, True] and set(things.classes.tolist()) == {0}


def edit(path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_wrong_with_a_panoptic_map(tmp_path):
    tree(tmp_path, "panoptic", parts=("val2017",))
    table, maps = tmp_path / "annotations/panoptic_val2017.json", tmp_path / "annotations/panoptic_val2017"
    edit(table, lambda content: content["annotations"][0]["segments_info"].pop())  # the rug, id 5
    with pytest.raises(FaultError) as caught:
        sample_of(read(tmp_path, task="panoptic"), 139)
    assert str(caught.value) == (
        "annotations/panoptic_val2017/000000000139.png at pixel x=0, y=18: segment 5 (186 pixels) is none of the "
        "segments_info in annotations/panoptic_val2017.json [label_outside]"
    )
    edit(table, lambda content: content["annotations"][0]["segments_info"].append({"id": 5, "category_id": 12}))
    with pytest.raises(
        FaultError, match=r"annotation 0 \(000000000139\.png\): \{'id': 5, 'category_id': 12\} has no category_id"
    ):
        sample_of(read(tmp_path, task="panoptic"), 139)
    # an entry that the map does not hold has no pixel to lose
    edit(table, lambda content: content["annotations"][0]["segments_info"][-1].update(category_id=200))
    edit(table, lambda content: content["annotations"][0]["segments_info"].append({"id": 8, "category_id": 199}))
    source = read(tmp_path, task="panoptic")
    names = [source.label_space.names[one.category] for one in sample_of(source, 139).truth.info]
    assert names == ["person", "person", "tree-merged", "rug-merged"]
    fakes.save(maps / "000000000285.png", np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(FaultError, match=r"285\.png: mask is 10x10, its image 32x24"):
        sample_of(source, 285)
    (maps / "000000000285.png").unlink()
    edit(table, lambda content: content["annotations"].append(content["annotations"][0]))
    advice = "wanted one of each: unpack panoptic_annotations_trainval2017.zip again [image_without_mask]"
    assert [str(fault) for fault in read(tmp_path, task="panoptic").faults] == [
        "val2017/000000000139.jpg: it has 2 entries in annotations/panoptic_val2017.json, 1 maps in panoptic_val2017/; "
        + advice,
        "val2017/000000000285.jpg: it has 1 entries in annotations/panoptic_val2017.json, 0 maps in panoptic_val2017/; "
        + advice,
    ]
    maps.rename(tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match=r"no annotations/panoptic_val2017/; unpack annotations/panoptic_val2017\.zip where it lies"
    ):
        read(tmp_path, task="panoptic")


@pytest.mark.parametrize("task", ["instances", "panoptic"])
def test_files_that_do_not_belong_together(tmp_path, task):
    tree(tmp_path, task, parts=("val2017",))
    (tmp_path / "val2017/000000000139.jpg").unlink()
    fakes.save(tmp_path / "val2017/extra.jpg", fakes.picture(1))
    (tmp_path / "val2017/.DS_Store").write_bytes(b"")
    table = tmp_path / f"annotations/{task}_val2017.json"
    edit(table, lambda content: content["annotations"].append(content["annotations"][0] | {"image_id": 77}))
    where = f"annotations/{task}_val2017.json"
    found = [(fault.rule, fault.file, fault.value) for fault in read(tmp_path, task=task).faults]
    assert found == [
        ("mask_without_image", where, "000000000139.jpg"),
        ("image_without_mask", "val2017/extra.jpg", ""),
        ("mask_without_image", where, "77"),
    ]


def test_errors_say_what_to_fetch(tmp_path):
    with pytest.raises(ValueError, match="task: 'things'; choose one of: instances, stuff, panoptic"):
        read(tmp_path, task="things")
    with pytest.raises(
        ValueError, match=r"wanted annotations, found nothing; unpack train2017\.zip, val2017\.zip and stuff_annotations"
    ):
        read(tmp_path, task="stuff")
    fakes_coco.write_instances(tmp_path)
    with pytest.raises(ValueError, match=r"no train2017/ and no val2017/; unpack train2017\.zip, val2017\.zip or both"):
        read(tmp_path)
    fakes_coco.write_images(tmp_path)
    with pytest.raises(
        ValueError, match=r"panoptic_train2017\.json: no such file; unpack panoptic_annotations_trainval2017\.zip"
    ):
        read(tmp_path, task="panoptic")
    other = [{"id": 1, "name": "cat"}, {"id": 2, "name": "bicycle"}, {"id": 1000, "name": "car"}]
    fakes_coco.write_table(tmp_path, "instances", "train2017", [], categories=other)
    with pytest.raises(ValueError, match=r"2 categories are not COCO's \(1 is 'cat'\); the reader coco_json takes any"):
        read(tmp_path)


def test_a_record_carries_places_and_no_outlines(tmp_path):
    """A polygon of a third of a megabyte; what goes to a worker is some hundred bytes beside the classes."""
    corners = np.random.default_rng([0]).uniform(0, 24, 50_000).round(3).tolist()
    with_annotations(tmp_path, [thing(1, 139, 1, [corners])])
    assert (tmp_path / "annotations/instances_val2017.json").stat().st_size > 300_000
    record = read(tmp_path).records[0]
    assert len(pickle.dumps(record)) < 15_000


def canonical_labels(folder, split: str, id: str) -> tuple[np.ndarray, dict]:
    """Segment ids of the canonical PNG as panopticapi reads them, and the category name and crowd flag of each."""
    table = json.loads((folder / f"panoptic_{split}.json").read_text())
    names = {one["id"]: one["name"] for one in table["categories"]}
    (entry,) = (one for one in table["annotations"] if one["file_name"] == f"{id}.png")
    colours = cv2.imread(str(folder / f"panoptic/{split}/{id}.png"))[..., ::-1].astype(int)
    info = {one["id"]: (names[one["category_id"]], one["iscrowd"], one["area"]) for one in entry["segments_info"]}
    return colours @ [1, 256, 65536], info


@pytest.mark.parametrize("task", ["instances", "stuff", "panoptic"])
def test_the_canonical_form_holds_the_same_pixels(tmp_path, task):
    tree(tmp_path / "raw", task)
    source = read(tmp_path / "raw", task=task)
    folder = tmp_path / "dataset"
    dataset = write(source, folder, splits=SHARES, seed=0, rules={"unused_class": "ignore"}, origin={}, root=tmp_path / "raw")
    assert {split: len(dataset.ids(split)) for split in ("train", "val", "test")} == {"train": 2, "val": 2, "test": 2}
    assert dataset.ids("test") == ["000000000139", "000000000285"]
    space = source.label_space
    for split in ("train", "val", "test"):
        for id in dataset.ids(split):
            sample = sample_of(source, int(id))
            ids, info = canonical_labels(folder, split, id)
            assert np.array_equal(ids, sample.truth.segments)
            wanted = {
                one.id: (space.names[one.category], int(one.iscrowd), int((sample.truth.segments == one.id).sum()))
                for one in sample.truth.info
            }
            assert info == wanted
        if task == "stuff":
            assert not (folder / f"instances_{split}.json").exists()
            continue
        coco = COCO(folder / f"instances_{split}.json")
        for number, image in coco.imgs.items():
            objects = sample_of(source, int(image["file_name"].split(".")[0])).objects(space)
            found = coco.imgToAnns[number]
            assert [coco.cats[one["category_id"]]["name"] for one in found] == [space.names[one] for one in objects.classes]
            assert [one["iscrowd"] for one in found] == objects.iscrowd.astype(int).tolist()
            for one, mask in zip(found, objects.masks, strict=True):
                assert np.array_equal(coco.annToMask(one), mask)


@pytest.mark.parametrize("path", sorted((ROOT / "presets/downloads").glob("coco_*.yaml")), ids=lambda path: path.name)
def test_the_lists_name_official_addresses_and_their_checksums(path):
    entries = read_list(path)
    assert "val2017.zip" in [entry.name for entry in entries]
    for entry in entries:
        place = f"{'annotations' if 'annotations' in entry.name else 'zips'}/{entry.name}"
        addresses = f"http://images.cocodataset.org/{place}", f"https://s3.amazonaws.com/images.cocodataset.org/{place}"
        assert entry.urls == addresses and entry.sums["sha256"]
    assert {entry.name for entry in entries if "annotations" in entry.name} <= {archive for _, archive in TASKS.values()}


def test_from_a_list_of_downloads(tmp_path):
    """The archives packed as the official ones, the maps in an archive of their own, fetched and read."""
    official = fakes_coco.write_panoptic(fakes_coco.write_images(tmp_path / "official", parts=("val2017",)))
    inner = (official / "annotations/panoptic_val2017").iterdir()
    maps = zipped(tmp_path / "maps.zip", {f"panoptic_val2017/{path.name}": path.read_bytes() for path in inner}).read_bytes()
    archives = {
        "val2017.zip": {f"val2017/{path.name}": path.read_bytes() for path in (official / "val2017").iterdir()},
        "panoptic_annotations_trainval2017.zip": {
            "annotations/panoptic_val2017.json": (official / "annotations/panoptic_val2017.json").read_bytes(),
            "annotations/panoptic_val2017.zip": maps,
        },
    }
    entries = yaml.safe_load((ROOT / "presets/downloads/coco_2017_panoptic.yaml").read_text())
    for entry in entries:
        name = entry["url"][0].rpartition("/")[2]
        archive = zipped(tmp_path / name, archives[name])
        entry |= {"url": archive.as_uri(), "sha256": file_hash(archive)}
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(entries))
    download.obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    source = read(tmp_path / "raw", task="panoptic")
    assert not source.faults
    for id in fakes_coco.IDS["val2017"]:
        assert np.array_equal(sample_of(source, id).truth.segments == 0, fakes_coco.segments(id) == 0)
