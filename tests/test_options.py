"""Options are compared with the source of an entry, down to what a list holds and to the class that takes them."""

import ast

import pytest

from pipeline.classical import METHODS
from pipeline.losses import LOSSES
from pipeline.models import NETWORKS
from pipeline.options import _fits, entry_faults


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [3, -1], [True, 3.0, "3", None, [3]]),
        ("float", [3, 0.5], [True, "1e-3", None]),
        ("bool | str", [True, "a.safetensors"], [1, None]),
        ("Sequence[int]", [[], [1, 2]], [3, [1.0], ["a"], [[1]], "12"]),
        ("Sequence[int] | None", [None, [1]], [False, [None]]),
        ("tuple[int, ...]", [[1, 2, 3]], [[1, "a"], 1]),
        ("tuple[float, str]", [[1, "a"]], [["a", 1], [1], [1, "a", 2]]),
        ("Sequence[Sequence[int]]", [[[1], []]], [[1], [["a"]]]),
        ("dict[str, int]", [{"a": 1}], [[1], 3]),
        ("LabelSpace | None", [None, 3], []),  # not of YAML: it is not for this check to say
    ],
)
def test_a_value_is_of_the_annotation(annotation, good, bad):
    wanted = ast.parse(annotation, mode="eval").body
    assert all(_fits(value, wanted) for value in good)
    assert not any(_fits(value, wanted) for value in bad)


def test_options_that_a_base_class_in_another_file_takes_are_known():
    faults = entry_faults(
        NETWORKS, "fcn16s", {"channels": "many", "chanels": 1}, kind="network", place="a.options", given={"label_space"}
    )
    assert faults == [
        "a.options.channels: 'many' is no int",
        "a.options.chanels: network fcn16s has no such option; it takes: channels, dropout, encoder, kernel_size, pretrained. "
        "Did you mean channels?",
    ]


def test_options_that_a_class_hands_on_to_its_base_are_known():
    options = {"semantic_width": 8.5, "box_width": "many", "widht": 8, "encoder": "resnet18"}
    faults = entry_faults(NETWORKS, "panoptic_fpn", options, kind="network", place="a.options", given={"label_space"})
    assert faults[:2] == ["a.options.semantic_width: 8.5 is no int", "a.options.box_width: 'many' is no int"]
    assert len(faults) == 3 and faults[2].endswith("Did you mean width?")
    assert faults[2].count("pretrained") == 1


def test_what_textbooks_call_an_option_leads_to_it():
    def told(method, option):
        (fault,) = entry_faults(METHODS, method, {option: 5}, kind="classical method", place="--set", given={"label_space"})
        return fault

    assert told("kmeans", "k") == (
        "--set.k: classical method kmeans has no such option; it takes: clusters, place, restarts, sample_pixels, space. "
        "Did you mean clusters?"
    )
    assert told("gaussian_mixture", "k").endswith("Did you mean components?") and "Did you mean" not in told("otsu", "k")


def test_an_unknown_name_is_told_with_what_was_meant():
    (fault,) = entry_faults(LOSSES, "cross_entropi", {}, kind="loss", place="a.loss.0.options", given=set())
    assert fault.startswith("a.loss.0: unknown loss 'cross_entropi'") and fault.endswith("Did you mean cross_entropy?")
