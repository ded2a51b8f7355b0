"""What a person points at, from texts."""

import numpy as np
import pytest

from pipeline import prompts
from pipeline.structures import LabelSpace
from tests import fakes

SPACE = LabelSpace(("ground", "object"), ((0, 0, 0), (9, 9, 9)), (False, False))
WIDE = LabelSpace(tuple(map(str, range(300))), ((0, 0, 0),) * 300, (False,) * 300)


def test_nothing_given_is_no_prompt():
    assert prompts.parse() is None and prompts.parts(None) == ()
    prompts.check(None, (1, 1), SPACE)


def test_a_box_points_and_a_polygon():
    given = prompts.parse(box="1, 2,30.5,4", points=["5,6;7,8", "9,1"], polygon="0,0;4,0;4,3;")
    assert given.box.tolist() == [1, 2, 30.5, 4] and given.box.dtype == np.float32
    assert given.points.tolist() == [[5, 6], [7, 8], [9, 1]] and given.points.dtype == np.float32
    assert given.polygon.tolist() == [[0, 0], [4, 0], [4, 3]]
    assert prompts.parts(given) == ("box", "polygon", "points")
    prompts.check(given, (9, 31), SPACE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"box": "1,2,3"}, "--box 1,2,3: 3 numbers, wanted 4"),
        ({"box": "1,2,3,x"}, "--box 1,2,3,x: '1,2,3,x' is no list of numbers; write x0,y0,x1,y1"),
        ({"box": ""}, "is no list of numbers"),
        ({"box": "1,2,3,nan"}, "wanted finite numbers"),
        ({"box": "5,0,5,9"}, "nothing lies in it"),
        ({"box": "0,9,5,2"}, "nothing lies in it"),
        ({"points": ["1"]}, "--points 1: wanted two numbers for each"),
        ({"points": ["1,2", "3,4,5"]}, "--points 1,2;3,4,5: wanted two numbers for each"),
        ({"points": [";"]}, "wanted two numbers for each"),
        ({"points": ["1,inf"]}, "wanted finite numbers"),
        ({"polygon": "1,2;3,4"}, "2 corners, wanted 3 or more"),
    ],
)
def test_texts_that_are_no_prompt(given, message):
    with pytest.raises(ValueError, match=message):
        prompts.parse(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"box": "7,0,9,2"}, "box .* lies outside the image of 7 x 5 px"),
        ({"points": ["6,4", "7,0"]}, r"point \[7.0, 0.0\] \(x, y\) lies outside"),
        ({"polygon": "8,0;9,0;9,9"}, "covers no pixel"),
    ],
)
def test_what_lies_outside_the_picture(given, message):
    with pytest.raises(ValueError, match=message):
        prompts.check(prompts.parse(**given), (5, 7), SPACE)


def test_scribbles_of_8_and_16_bits_get_the_void_of_the_method(tmp_path):
    for kind, void in ((np.uint8, 255), (np.uint16, 255), (np.uint16, 65535)):
        path = fakes.save(tmp_path / "s.png", np.array([[0, void, 1]], kind))
        given = prompts.parse(scribbles=path)
        assert prompts.parts(given) == ("scribbles",) and prompts.num_classes(given) == 2
        narrow, wide = (prompts.with_classes_of(given, space).scribbles for space in (SPACE, WIDE))
        assert (narrow.tolist(), narrow.dtype) == ([[0, 255, 1]], np.uint8)
        assert (wide.tolist(), wide.dtype) == ([[0, 65535, 1]], np.uint16)
        prompts.check(prompts.with_classes_of(given, SPACE), (1, 3), SPACE)
    assert prompts.num_classes(None) == prompts.num_classes(prompts.parse(box="0,0,1,1")) == 0


def test_scribbles_that_do_not_fit(tmp_path):
    path = fakes.save(tmp_path / "s.png", np.array([[0, 255, 2]], np.uint8))
    with pytest.raises(ValueError, match=r"--scribbles: label 2 at pixel x=2, y=0 is outside 0\.\.1"):
        prompts.with_classes_of(prompts.parse(scribbles=path), SPACE)
    with pytest.raises(ValueError, match=r"scribbles are \(1, 3\)"):
        prompts.check(prompts.with_classes_of(prompts.parse(scribbles=path), WIDE), (2, 3), WIDE)
    with pytest.raises(ValueError, match="nothing is drawn"):
        prompts.parse(scribbles=fakes.save(tmp_path / "s.png", np.full((2, 2), 255, np.uint8)))
    with pytest.raises(ValueError, match=r"--scribbles .*s\.png: mask holds colours"):
        prompts.parse(scribbles=fakes.save(tmp_path / "s.png", fakes.picture(0)))
    with pytest.raises(ValueError, match="cannot be read"):
        prompts.parse(scribbles=tmp_path / "nowhere.png")
