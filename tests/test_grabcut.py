"""GrabCut: marks and windows by hand, what each prompt gives on a picture of one shape, and the same result in any thread."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from pipeline.classical import grabcut
from pipeline.classical.grabcut import GrabCut
from pipeline.structures import LabelSpace, PanopticMap, Prompt, Sample

SPACE = LabelSpace(("road", "sky", "car"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), (False, False, True))
VOID = 255


def scene(height=60, width=50):
    """A bluish 20 x 24 rectangle on reddish ground, both noisy; its mask, and the picture."""
    mask = np.zeros((height, width), bool)
    mask[18:42, 14:34] = True
    image = np.where(mask[..., None], (60, 90, 200), (180, 100, 60)) + np.random.default_rng(0).integers(
        -20, 21, (height, width, 3)
    )
    return mask, image.astype(np.uint8)


MASK, IMAGE = scene()
BOX = np.array([10, 12, 38, 46], np.float32)  # around it, not tight


def cutter(**options):
    method = GrabCut(SPACE, **options)
    method.classes = np.array([0, 2])  # as if the training split had voted so
    return method


def scribbles(**strokes):
    """Class index by name, a slice of rows and columns each."""
    drawn = np.full(MASK.shape, VOID, np.uint8)
    for name, place in strokes.items():
        drawn[place] = SPACE.names.index(name)
    return drawn


@pytest.mark.parametrize("core", [0.0, 0.3])
def test_a_box_cuts_the_shape_out(core):
    assert np.array_equal(cutter(core=core).segments(IMAGE, Prompt(box=BOX)), MASK)


def test_a_polygon_is_cut_and_not_together_with_a_box():
    around = np.array([[12, 16], [36, 16], [36, 44], [12, 44]], np.float32)
    assert np.array_equal(cutter().segments(IMAGE, Prompt(polygon=around)), MASK)
    with pytest.raises(ValueError, match="grabcut: the prompt has box and polygon; give one of them alone"):
        cutter().segments(IMAGE, Prompt(polygon=around, box=BOX))


def test_what_is_outside_of_the_box_is_background_whatever_its_colour():
    half = Prompt(box=np.array([10, 12, 24, 46], np.float32), points=np.array([[18, 30]]))
    found = cutter().segments(IMAGE, half)
    assert found[30, 18] and not found[:, 24:].any() and not found[:12].any()


def test_without_a_prompt_it_cuts_the_box_that_a_margin_leaves_and_votes_name_the_sides():
    labels = np.where(MASK, 2, 1).astype(np.uint8)
    method = GrabCut(SPACE, margin=0.2)
    method.fit([Sample("a", "train", "a", IMAGE, PanopticMap.from_labels(labels, SPACE))], np.random.default_rng(0))
    assert method.classes.tolist() == [1, 2]
    assert np.array_equal(method.segment(IMAGE).labels, labels)
    assert not cutter(margin=0.4).segments(IMAGE)[:24].any()


@pytest.mark.parametrize(
    "shape, margin, wanted",
    [((10, 20), 0.1, (1, 9, 2, 18)), ((10, 20), 0.01, (1, 9, 1, 19)), ((3, 7), 0.4, (1, 2, 3, 4)), ((1, 2), 0.1, (0, 1, 0, 2))],
)
def test_the_margin_by_hand(shape, margin, wanted):
    rows, columns = np.nonzero(grabcut._amid(shape, margin))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == wanted


def test_the_window_is_the_region_and_its_surroundings_by_hand():
    mask = np.zeros((20, 30), bool)
    mask[8:12, 1:11] = True
    assert grabcut._around(mask, 0.25) == (slice(7, 13), slice(0, 14))
    assert grabcut._around(mask, 9.0) == (slice(0, 20), slice(0, 30))


def test_the_context_says_where_the_background_is_learnt():
    far = np.concatenate(
        [IMAGE, *[np.tile(IMAGE[18:38, 14:34], (3, 1, 1))] * 6], axis=1
    )  # its colour is everywhere to the right
    near, whole = (cutter(context=context, core=0.0).segments(far, Prompt(box=BOX)) for context in (0.25, 9.0))
    assert np.array_equal(near[:, :50], MASK) and not whole.any()  # so that it looks like background, as the paper has it


def test_the_core_of_a_box_alone_is_foreground():
    flat = np.full((40, 40, 3), 90, np.uint8)
    box = Prompt(box=np.array([10, 0, 30, 40], np.float32))
    found = cutter(core=0.5).segments(flat, box).astype(bool)
    core = grabcut._ellipse((10, 0, 30, 40), 0.5, (40, 40))
    assert abs(core.sum() - np.pi / 4 * 10 * 20) < 10 and found[core].all()
    assert core[20].tolist() == [False] * 15 + [True] * 10 + [False] * 15


@pytest.mark.parametrize(
    "marks", [{"points": np.array([[12, 14]])}, {"scribbles": scribbles(road=np.s_[13:15, 12:20], car=np.s_[30:32, 30:32])}]
)
def test_a_box_with_marks_has_no_core(marks):
    drawn = cutter(core=0.9, point_radius=1)._drawn(Prompt(box=BOX, **marks), MASK.shape, None)
    assert drawn[29, 24] == grabcut.UNMARKED


def test_points_are_foreground_and_what_looks_like_them():
    prompt = Prompt(points=np.array([[20, 25], [28, 36]], np.float32))
    assert (cutter(point_radius=2).segments(IMAGE, prompt) == MASK).mean() > 0.99
    found = cutter(point_radius=8).segments(np.full((40, 40, 3), 9, np.uint8), Prompt(points=np.array([[20, 20]])))
    assert found[20, 12:29].all() and found[12:29, 20].all()


def test_the_box_cuts_the_discs_of_points_off_and_no_point_lies_outside():
    points = np.array([[45, 55], [36, 30]], np.float32)  # outside of the box, and two pixels from its side at x = 38
    found = cutter(point_radius=4).segments(IMAGE, Prompt(box=BOX, points=points[1:]))
    assert found[30, 32:40].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    for around, region in (("box", {"box": BOX}), ("polygon", {"polygon": np.array([[9, 9], [38, 9], [38, 46]])})):
        with pytest.raises(ValueError, match=f"grabcut: the point x=45, y=55 lies outside the {around}, where all is backgr"):
            cutter().segments(IMAGE, Prompt(points=points, **region))


def test_two_scribbled_classes_are_the_classes_of_the_result():
    drawn = scribbles(sky=np.s_[2:5, 5:45], car=np.s_[25:28, 20:30])
    found = cutter().segment(IMAGE, Prompt(scribbles=drawn))
    assert np.array_equal(found.labels, np.where(MASK, 2, 1)) and np.array_equal(found.regions, MASK)
    assert np.array_equal(GrabCut(SPACE).segments(IMAGE, Prompt(scribbles=drawn)), found.labels)  # nothing need be fitted
    swapped = scribbles(car=np.s_[2:5, 5:45], sky=np.s_[25:28, 20:30])  # the lower index is the background
    assert np.array_equal(cutter().segment(IMAGE, Prompt(scribbles=swapped)).labels, np.where(MASK, 1, 2))


@pytest.mark.parametrize("name, rest", [("sky", 0), ("car", 0), ("road", 2)])
def test_one_scribbled_class_is_foreground_and_the_rest_has_a_class_that_was_voted_for(name, rest):
    drawn = scribbles(**{name: np.s_[20:40, 18:30]})
    found = cutter().segment(IMAGE, Prompt(scribbles=drawn, box=BOX)).labels
    assert np.array_equal(found, np.where(MASK, SPACE.names.index(name), rest))


def test_scribbles_hold_against_the_colours_also_beside_a_box():
    drawn = scribbles(road=np.s_[18:24, 14:34], car=np.s_[26:40, 16:32])
    found = cutter().segment(IMAGE, Prompt(box=BOX, scribbles=drawn)).labels
    assert (found[18:24, 14:34] == 0).all() and (found[26:40, 16:32] == 2).all() and (found[:12] == 0).all()


def test_a_third_class_is_for_another_method():
    drawn = scribbles(road=np.s_[0:2], sky=np.s_[4:6], car=np.s_[8:10])
    with pytest.raises(ValueError, match=r"3 classes \(road, sky, car\); draw two at most, or use random_walker"):
        cutter().segment(IMAGE, Prompt(scribbles=drawn))


def test_prompts_outside_the_picture_are_refused():
    with pytest.raises(ValueError, match=r"box \[60.0, 0.0, 70.0, 9.0\] lies outside the image of 50 x 60 px"):
        cutter().segment(IMAGE, Prompt(box=np.array([60, 0, 70, 9])))
    with pytest.raises(ValueError, match="is empty"):
        cutter().segment(IMAGE, Prompt(box=np.array([9, 5, 9, 9])))
    with pytest.raises(ValueError, match=r"point .* lies outside"):
        cutter().segment(IMAGE, Prompt(points=np.array([[50, 3]])))


def test_a_box_partly_outside_is_clipped_and_one_around_everything_is_foreground():
    clipped = cutter().segments(IMAGE[:, 20:], Prompt(box=np.array([-10, 12, 18, 46], np.float32)))
    assert np.array_equal(clipped, MASK[:, 20:])
    assert cutter().segments(IMAGE, Prompt(box=np.array([-1, -1, 99, 99]))).all()  # there is no background to tell it from


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 7), (20, 30)])
@pytest.mark.parametrize("prompt", [None, Prompt(box=np.array([0, 0, 1, 1])), Prompt(points=np.array([[0, 0]]))])
def test_flat_and_tiny_pictures_give_a_result(shape, prompt):
    found = cutter().segment(np.full((*shape, 3), 77, np.uint8), prompt)
    assert found.shape == shape and set(np.unique(found.labels)) <= {0, 2}


def test_large_pictures_are_cut_at_a_smaller_size_and_lose_no_mark():
    mask, image = (np.repeat(np.repeat(one, 6, axis=0), 6, axis=1) for one in (MASK, IMAGE))
    found = cutter(max_side=60).segments(image, Prompt(box=BOX * 6)).astype(bool)
    assert (found & mask).sum() / (found | mask).sum() > 0.93
    dot = np.full(mask.shape, VOID, np.uint8)
    dot[100, 250], dot[200, 150] = 0, 2  # a pixel each, of which the small size has 1 of 36
    marked = cutter(max_side=60).segments(image, Prompt(scribbles=dot))
    assert marked[100, 250] == 0 and marked[200, 150] == 2


def test_it_says_at_what_size_it_works():
    method = cutter(max_side=60)
    assert method.works_at((360, 300), Prompt(box=BOX * 6)) == (60, 49)  # 28 x 34 px and a quarter on each side: 252 x 306
    assert method.works_at((360, 300), Prompt(box=BOX)) == (360, 300)  # 42 x 52 px as they are
    assert method.works_at((360, 300)) == (60, 50)


def test_more_iterations_go_on_from_fewer(monkeypatch):
    rounds = []
    cut = cv2.grabCut
    monkeypatch.setattr(cv2, "grabCut", lambda *given: rounds.append(given[5]) or cut(*given))
    cutter(iterations=3).segments(IMAGE, Prompt(box=BOX))
    assert rounds == [3]


def test_the_result_is_the_same_in_any_thread_and_after_any_other_use_of_the_generator(monkeypatch):
    pictures, box = [patches(0), patches(1)], Prompt(box=np.array([12, 12, 52, 52], np.float32))
    method = cutter(core=0.6, iterations=1)
    alone = [method.segments(image, box) for image in pictures]

    def after_other_use(turn):
        cv2.setRNGSeed(turn + 7)
        cv2.randu(np.empty(turn + 1), 0, 1)
        return method.segments(pictures[turn % 2], box)

    with ThreadPoolExecutor(2) as pool:
        for turn, found in enumerate(pool.map(after_other_use, range(8))):
            assert np.array_equal(found, alone[turn % 2])
    different = set()
    for seed in range(6):
        monkeypatch.setattr(grabcut, "SEED", seed)
        different.add(method.segments(pictures[0], box).tobytes())
    assert len(different) > 1  # the seed matters on this picture, so that the test can fail


def patches(seed):
    """64 x 64 px of smooth colours that change every 9 px, with noise: the k-means ends where its start lets it."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth.astype(int) + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"iterations": 0}, "grabcut: iterations 0"),
        ({"max_side": 0}, "max_side 0"),
        ({"point_radius": -1}, "point_radius -1"),
        ({"margin": 0.0}, "margin 0.0"),
        ({"margin": 0.5}, "margin 0.5"),
        ({"context": 0.0}, "context 0.0"),
        ({"core": 1.0}, "core 1.0"),
        ({"core": np.nan}, "core nan"),
        ({"context": np.inf}, "context inf"),
        ({"context": np.nan}, "context nan"),
        ({"point_radius": 10**9}, "point_radius 1000000000; give >= 1, >= 1 and 0 to 1000"),
    ],
)
def test_options_of_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GrabCut(SPACE, **options)
