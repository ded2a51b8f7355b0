"""The search of a classical method's options on the validation split, and its record."""

import csv
import json

import pytest
import yaml

from pipeline import check, search
from stages import classical
from tests.project import ROOT
from tests.tiny import SPACE, TinyDataset


class Tiny(TinyDataset):
    """Counts which samples are opened."""

    def __init__(self, **counts):
        super().__init__(counts=counts)
        self.opened = []

    def sample(self, split, one):
        self.opened.append((split, one))
        return super().sample(split, one)


def fit(**values):
    return {"method": "kmeans", "options": {"restarts": 1}, "search": values}


def test_the_best_on_the_validation_split_is_taken_and_all_are_told():
    dataset = Tiny(train=4, val=3, test=3)
    options, rows = search.best_options(fit(clusters=[2, 6], sample_pixels=[1000, 2000]), dataset, seed=0, threads=1)
    assert [(row["clusters"], row["sample_pixels"]) for row in rows] == [(2, 1000), (2, 2000), (6, 1000), (6, 2000)]
    best = max(rows, key=lambda row: row["val_miou"])
    assert options == {"restarts": 1, "clusters": best["clusters"], "sample_pixels": best["sample_pixels"]}
    assert best["clusters"] == 6  # three colours, so that two clusters are too few
    assert all(0 < row["val_miou"] <= 1 for row in rows)
    assert {split for split, _ in dataset.opened} == {"train", "val"}  # never the test split


def test_the_first_of_equals_wins_and_threads_change_nothing():
    found = [
        search.best_options(fit(sample_pixels=[500, 501], clusters=[6]), Tiny(train=3, val=2), seed=0, threads=threads)
        for threads in (1, 2)
    ]
    assert found[0] == found[1]
    rows = found[0][1]
    if rows[0]["val_miou"] == rows[1]["val_miou"]:
        assert found[0][0]["sample_pixels"] == 500


def test_a_large_split_is_searched_on_a_part_of_it(monkeypatch):
    monkeypatch.setattr(search, "SEARCH_IMAGES", 3)
    dataset = Tiny(train=9, val=7)
    search.best_options(fit(clusters=[2]), dataset, seed=0, threads=1)
    opened = set(dataset.opened)
    assert {one for split, one in opened if split == "train"} == {"train_0", "train_4", "train_8"}
    assert {one for split, one in opened if split == "val"} == {"val_0", "val_3", "val_6"}


def test_nothing_to_search_opens_nothing():
    dataset = Tiny(train=2, val=0)
    assert search.best_options(fit(), dataset, seed=0, threads=1) == ({"restarts": 1}, [])
    assert dataset.opened == []


def test_without_a_validation_image_there_is_nothing_to_search_on():
    with pytest.raises(ValueError, match="no validation image to search on; set search"):
        search.best_options(fit(clusters=[2]), Tiny(train=2, val=0), seed=0, threads=1)


@pytest.mark.parametrize(
    "method, options, searched, message",
    [
        (
            "kmeans",
            {},
            {"k": [2]},
            r"classical\.kmeans\.fit\.search\.k: classical method kmeans has no such option; it takes: clu",
        ),
        ("kmeans", {}, {"clusters": [2, "three"]}, r"classical\.kmeans\.fit\.search\.clusters: 'three' is no int"),
        ("kmeans", {"clusters": 3}, {"clusters": [2]}, "stands in options too; write it in one place"),
        ("kmeans", {}, {"clusters": []}, "clusters"),
        ("kmeans", {}, {"clusters": 4}, "clusters"),
    ],
)
def test_faults_of_a_search_are_told_before_any_work(tmp_path, method, options, searched, message):
    params = yaml.safe_load((ROOT / "presets/shapes.yaml").read_text())
    params["classical"]["kmeans"]["fit"] = {"method": method, "options": options, "search": searched}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(ValueError, match=message):
        check.load_params(tmp_path / "params.yaml")


def test_a_combination_that_cannot_be_built_is_found_by_the_check(tmp_path, capsys):
    # each value is right beside the first of the other option: 32 below 64, and 16 above 2
    searched = {"largest": [64, 16], "smallest": [2, 32]}
    params = yaml.safe_load((ROOT / "presets/shapes.yaml").read_text())
    entry = {"method": "split_merge", "options": {}, "search": searched}
    params["classical"] = {"tried": {"fit": entry, "predict": {}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert check.main([str(tmp_path / "params.yaml")]) == 1
    assert capsys.readouterr().err.replace(f"{tmp_path}/", "") == (
        "params.yaml: classical.tried.fit.search: largest 16, smallest 32: split_merge: smallest 32, largest 16; "
        "give powers of two, the first no larger, to 4096\n"
    )
    dataset = Tiny(train=2, val=2)
    with pytest.raises(ValueError, match="search: largest 16, smallest 32: split_merge"):
        search.best_options(entry, dataset, seed=0, threads=1)
    assert dataset.opened == []


def test_so_many_are_built_and_each_fault_is_told_once():
    found = search.build_faults(fit(clusters=[0, 1, 0], sample_pixels=list(range(1, 9000))), place="here")
    assert [fault.split(": kmeans: ")[0] for fault in found] == [
        "here: clusters 0, sample_pixels 1",
        "here: clusters 1, sample_pixels 1",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.name)
def test_all_that_a_preset_searches_can_be_built(path):
    for entry in check.load_params(path).classical.values():
        assert search.build_faults(entry.fit.model_dump(), place="here") == []


def test_the_stage_keeps_what_was_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = Tiny(train=3, val=2)
    dataset.sha256, dataset.samples = "0" * 64, lambda split: [dataset.sample(split, one) for one in dataset.ids(split)]
    monkeypatch.setattr("pipeline.dataset.Dataset", lambda folder: dataset)
    params = yaml.safe_load((ROOT / "presets/shapes.yaml").read_text())
    params["classical"] = {"colours": {"fit": fit(clusters=[2, 6]), "predict": {}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    classical.main(["colours"])
    model = json.loads((tmp_path / "runs/colours/model/model.json").read_text())
    assert model["options"] == {"restarts": 1, "clusters": 6} and model["fit"]["search"] == {"clusters": [2, 6]}
    rows = list(csv.DictReader((tmp_path / "runs/colours/model/search.csv").read_text().splitlines()))
    assert [row["clusters"] for row in rows] == ["2", "6"] and float(rows[1]["val_miou"]) > float(rows[0]["val_miou"])


def test_every_method_is_built_with_the_threads_it_may_use():
    method = search.build("kmeans", {"clusters": 3}, SPACE, threads=4)
    assert method.threads == 4 and method.num_segments == 3
    with pytest.raises(ValueError, match="unknown classical method"):
        search.build("kmaens", {}, SPACE, threads=1)
