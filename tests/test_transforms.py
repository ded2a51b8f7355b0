"""Augmentation: identity, exact flips and crops, aligned warps, colour against a plain computation."""

import colorsys

import cv2
import numpy as np
import pytest

from pipeline.structures import InstanceSet, LabelSpace, Target
from pipeline.transforms import _View, _warp, augment

VOID = 255
STILL = {"horizontal_flip": 0.0}
EVERYTHING = {
    "horizontal_flip": 0.5,
    "vertical_flip": 0.5,
    "rotation_degrees": 30.0,
    "zoom": [0.7, 1.4],
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.5,
    "hue_degrees": 20.0,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def picture(rng, height=31, width=44, num_classes=20):
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    labels = rng.integers(0, num_classes, (height, width)).astype(np.uint8)
    masks = np.stack([labels == 0, labels == 1, np.zeros_like(labels, bool)])
    masks[2, 0, 0] = True
    return image, Target(labels, InstanceSet.build(masks, [0, 1, 2], iscrowd=[False, True, False]))


def view(size=(8, 8), frame=None, offset=(0, 0), flips=(False, False), degrees=0.0, zoom=1.0):
    return _View(size, frame or size, offset, flips[0], flips[1], float(np.deg2rad(degrees)), zoom)


def warped(labels, seen):
    """Labels warped, without colour."""
    image = np.zeros((*labels.shape, 3), np.uint8)
    return _warp(image, Target(labels), seen, VOID)[1].labels


def test_nothing_drawn_is_the_identity(rng):
    image, target = picture(rng)
    result, moved = augment(image, target, rng, void=VOID, **STILL)
    np.testing.assert_array_equal(result, image)
    np.testing.assert_array_equal(moved.labels, target.labels)
    np.testing.assert_array_equal(moved.instances.masks, target.instances.masks)
    assert moved.instances.iscrowd.tolist() == [False, True, False]


@pytest.mark.parametrize(("option", "axis"), [("horizontal_flip", 1), ("vertical_flip", 0)])
def test_a_flip_is_an_array_flip(rng, option, axis):
    image, target = picture(rng)
    result, moved = augment(image, target, rng, void=VOID, **{**STILL, option: 1.0})
    np.testing.assert_array_equal(result, np.flip(image, axis))
    np.testing.assert_array_equal(moved.labels, np.flip(target.labels, axis))
    np.testing.assert_array_equal(moved.instances.masks, np.flip(target.instances.masks, axis + 1))


def test_a_flip_happens_as_often_as_asked(rng):
    image = np.array([[[0] * 3, [9] * 3]], np.uint8)
    target = Target(np.array([[0, 1]], np.uint8))
    flipped = sum(int(augment(image, target, rng, void=VOID, horizontal_flip=0.25)[1].labels[0, 0]) for _ in range(2000))
    assert 440 < flipped < 560  # 500 expected, standard deviation 19


def test_a_crop_is_a_part_of_the_picture(rng):
    image, target = picture(rng)
    places = set()
    for _ in range(60):
        result, moved = augment(image, target, rng, void=VOID, crop=[29, 40], **STILL)
        found = [
            (y, x) for y in range(3) for x in range(5) if np.array_equal(moved.labels, target.labels[y : y + 29, x : x + 40])
        ]
        assert len(found) == 1
        (y, x) = found[0]
        np.testing.assert_array_equal(result, image[y : y + 29, x : x + 40])
        places.add((y, x))
    assert len(places) > 12  # of 15


def test_a_crop_beyond_the_edge_is_padded_with_void_and_the_mean_colour(rng):
    image, target = picture(rng, 5, 9)
    result, moved = augment(image, target, rng, void=VOID, crop=[12, 6], **STILL)
    assert result.shape == (12, 6, 3)
    outside = moved.labels == VOID
    assert outside.sum() == 7 * 6
    assert (result[outside] == np.round(image.mean(axis=(0, 1)))).all()
    assert not moved.instances.masks[:, outside].any()


def test_a_warp_that_moves_by_whole_pixels_equals_the_array_operation(rng):
    labels = rng.integers(0, 200, (7, 7)).astype(np.uint8)
    np.testing.assert_array_equal(warped(labels, view((7, 7))), labels)
    np.testing.assert_array_equal(warped(labels, view((7, 7), flips=(True, False))), labels[:, ::-1])
    np.testing.assert_array_equal(warped(labels, view((7, 7), flips=(False, True))), labels[::-1])
    np.testing.assert_array_equal(warped(labels, view((7, 7), degrees=180)), labels[::-1, ::-1])
    np.testing.assert_array_equal(warped(labels, view((7, 7), degrees=90)), np.rot90(labels))
    np.testing.assert_array_equal(warped(labels, view((7, 7), frame=(3, 4), offset=(2, 1))), labels[2:5, 1:5])


def test_zoom_by_two_doubles_every_pixel():
    labels = np.array([[1, 2], [3, 4]], np.uint8)
    doubled = warped(labels, view((2, 2), frame=(4, 4), zoom=2.0))
    np.testing.assert_array_equal(doubled, labels.repeat(2, axis=0).repeat(2, axis=1))


def test_zoom_by_a_third_takes_the_middle_of_each_block_and_uncovers_void():
    labels = np.arange(36, dtype=np.uint8).reshape(6, 6)
    small = warped(labels, view((6, 6), offset=(-1, 0), zoom=1 / 3))
    expected = np.full((6, 6), VOID)
    expected[1:3, :2] = [[7, 10], [25, 28]]
    np.testing.assert_array_equal(small, expected)


def test_labels_are_the_nearest_pixel_for_any_view(rng):
    for _ in range(50):
        labels = rng.integers(0, 200, (23, 31)).astype(rng.choice([np.uint8, np.uint16]))
        seen = _View(
            (23, 31),
            (19, 40),
            (int(rng.integers(-9, 9)), int(rng.integers(-9, 9))),
            *rng.random(2).round().astype(bool),
            rng.uniform(-3, 3),
            rng.uniform(0.4, 2),
        )
        y, x = np.mgrid[:19, :40]
        place = np.rint(np.einsum("ij,jhw->ihw", seen.matrix(), np.stack([x, y, np.ones_like(x)]))).astype(int)
        inside = (place >= 0).all(axis=0) & (place[0] < 31) & (place[1] < 23)
        expected = np.where(inside, labels[place[1].clip(0, 22), place[0].clip(0, 30)], VOID)
        differs = warped(labels, seen) != expected
        assert differs.sum() <= 2  # a sample within 0.001 px of the line between two pixels may go either way


def test_image_labels_and_masks_stay_aligned(rng):
    # the picture shows its own labels as a smooth ramp: level = 4 x column, label = column
    height, width = 40, 50
    labels = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
    image = np.repeat((4 * labels)[..., None], 3, axis=2)
    target = Target(labels, InstanceSet.build([labels >= 25], [0]))
    for _ in range(40):
        result, moved = augment(
            image,
            target,
            rng,
            void=VOID,
            rotation_degrees=45.0,
            zoom=[0.6, 1.6],
            vertical_flip=0.5,
        )
        seen = moved.labels != VOID
        # a linear sample beside the edge is mixed with what lies outside
        inner = cv2.erode(seen.astype(np.uint8), np.ones((5, 5)), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
        error = result[inner, 0] / 4 - moved.labels[inner]
        assert abs(error).max() <= 0.63  # half a pixel to the nearest one, and rounding to a quarter
        assert abs(error.mean()) < 0.05  # no shift
        if len(moved.instances):
            np.testing.assert_array_equal(moved.instances.masks[0], seen & (moved.labels >= 25))


def test_instances_that_left_the_picture_are_dropped(rng):
    labels = np.zeros((20, 20), np.uint8)
    masks = np.zeros((2, 20, 20), bool)
    masks[0, 10, 10] = masks[1, 0, 0] = True
    target = Target(labels, InstanceSet.build(masks, [3, 4]))
    _, moved = augment(np.zeros((20, 20, 3), np.uint8), target, rng, void=VOID, rotation_degrees=180.0, zoom=[3.0, 3.0])
    assert len(moved.instances) < 2
    assert moved.instances.masks.any(axis=(1, 2)).all()


def test_the_same_state_gives_the_same_result_and_another_differs(rng):
    image, target = picture(rng)
    first, second, third = (augment(image, target, np.random.default_rng(seed), void=VOID, **EVERYTHING) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1].labels, second[1].labels)
    assert not np.array_equal(first[0], third[0])


def test_one_option_does_not_shift_the_draws_of_another(rng):
    image, target = picture(rng)
    plain = augment(image, target, np.random.default_rng(3), void=VOID, rotation_degrees=20.0)[1]
    coloured = augment(image, target, np.random.default_rng(3), void=VOID, rotation_degrees=20.0, hue_degrees=9.0)[1]
    np.testing.assert_array_equal(plain.labels, coloured.labels)


def draw_colour(image, seed=5, **options):
    target = Target(np.zeros(image.shape[:2], np.uint8))
    return augment(image, target, np.random.default_rng(seed), void=VOID, **STILL, **options)[0]


def factor(position, span, seed=5):
    """What `augment` draws for brightness, contrast, saturation and hue (positions 6..9)."""
    return (2 * np.random.default_rng(seed).random(10)[position] - 1) * span


def test_brightness_contrast_and_saturation_against_plain_formulas(rng):
    image = rng.integers(60, 180, (9, 11, 3)).astype(np.uint8)
    luma = image @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(draw_colour(image, brightness=0.3), image * (1 + factor(6, 0.3)), atol=0.51)
    contrast = 1 + factor(7, 0.3)
    np.testing.assert_allclose(draw_colour(image, contrast=0.3), (image - luma.mean()) * contrast + luma.mean(), atol=0.51)
    saturation, grey = 1 + factor(8, 0.4), luma[..., None]
    np.testing.assert_allclose(draw_colour(image, saturation=0.4), (image - grey) * saturation + grey, atol=0.6)


def test_hue_keeps_luma_and_grey_and_turns_colours():
    grey = np.full((4, 4, 3), 90, np.uint8)
    np.testing.assert_array_equal(draw_colour(grey, hue_degrees=90.0, saturation=1.0), grey)
    brick = np.full((4, 4, 3), (150, 100, 90), np.uint8)
    turned = draw_colour(brick, hue_degrees=40.0)
    luma = np.array([0.299, 0.587, 0.114])
    assert turned[0, 0] @ luma == pytest.approx(brick[0, 0] @ luma, abs=1)
    turn = np.rad2deg(np.subtract(chroma_angle(turned[0, 0]), chroma_angle(brick[0, 0])))
    assert turn == pytest.approx(factor(9, 40.0), abs=2)


def chroma_angle(colour):
    _, in_phase, quadrature = colorsys.rgb_to_yiq(*colour.tolist())
    return np.arctan2(quadrature, in_phase)


def test_levels_are_clipped_and_never_wrap():
    bright = np.full((4, 4, 3), 250, np.uint8)
    levels = {int(draw_colour(bright, seed, brightness=1.0)[0, 0, 0]) for seed in range(40)}
    assert 255 in levels
    assert min(levels) < 100


def test_a_wide_label_map_gets_its_own_void(rng):
    space = LabelSpace(tuple(f"c{index}" for index in range(300)), ((1, 2, 3),) * 300, (False,) * 300)
    labels = np.full((16, 16), 299, space.dtype)
    _, moved = augment(
        np.zeros((16, 16, 3), np.uint8), Target(labels), rng, void=space.void, rotation_degrees=45.0, zoom=[0.5, 0.5]
    )
    assert moved.labels.dtype == np.uint16
    assert set(np.unique(moved.labels)) == {299, 65535}


def test_one_pixel(rng):
    image, target = np.full((1, 1, 3), 7, np.uint8), Target(np.zeros((1, 1), np.uint8))
    for _ in range(20):
        result, moved = augment(image, target, rng, void=VOID, **EVERYTHING)
        assert result.shape == (1, 1, 3)
        assert moved.labels.tolist() in ([[0]], [[VOID]])


def test_the_input_is_not_changed(rng):
    image, target = picture(rng)
    arrays = (image, target.labels, target.instances.masks)
    before = [array.copy() for array in arrays]
    for _ in range(10):
        augment(image, target, rng, void=VOID, **EVERYTHING)
    assert all(np.array_equal(array, copy) for array, copy in zip(arrays, before, strict=True))


def test_every_option_of_the_config_is_an_option_of_augment():
    import inspect

    from pipeline.config import Policy

    options = [name for name, one in inspect.signature(augment).parameters.items() if one.kind is one.KEYWORD_ONLY]
    assert set(options) - {"void"} == set(Policy.model_fields)


def test_wrong_sizes_and_zoom_are_refused(rng):
    image, target = picture(rng)
    with pytest.raises(ValueError, match="image is"):
        augment(image[:-1], target, rng, void=VOID)
    with pytest.raises(ValueError, match="0 < least <= greatest"):
        augment(image, target, rng, void=VOID, zoom=[1.2, 0.8])
