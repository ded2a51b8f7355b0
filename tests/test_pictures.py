"""Any image file as 8-bit RGB, its numbers worked out by hand."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.image_files import read_image
from pipeline.pictures import depth_in, images_in, picture_and_remarks, read_picture, turned
from tests import fakes

PICTURE = fakes.picture(1)
GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def written(path, picture: Image.Image, kind: str, **options):
    memory = io.BytesIO()
    picture.save(memory, kind, **options)
    path.write_bytes(memory.getvalue())
    return path


def encoded(path, pixels: np.ndarray):
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1])
    return path


def read_grey(path) -> tuple[list, list[str]]:
    """The numbers of a grey picture, and the remarks."""
    image, remarks = picture_and_remarks(path)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.flags.c_contiguous
    assert (image == image[..., :1]).all()
    return image[..., 0].tolist(), remarks


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK"])
def test_what_a_data_set_may_hold_is_read_as_there_and_needs_no_remark(tmp_path, mode):
    path = written(tmp_path / "x.tif", Image.fromarray(PICTURE).convert(mode), "tiff")
    image, remarks = picture_and_remarks(path)
    assert np.array_equal(image, read_image(path, root=tmp_path)) and remarks == []


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("values", "wanted", "bits"),
    [
        ([[0, 257, 65535]], [[0, 1, 255]], 16),
        ([[0, 273, 4095]], [[0, 17, 255]], 12),  # 273 / 4095 * 255
        ([[0, 4096, 65535]], [[0, 16, 255]], 16),  # 15.94
        ([[0, 17, 255]], [[0, 17, 255]], 8),
        ([[0, 0, 256]], [[0, 0, 16]], 12),  # 15.94
    ],
)
def test_16_bits_are_scaled_by_the_depth_that_holds_them(tmp_path, suffix, values, wanted, bits):
    path = encoded(tmp_path / f"x{suffix}", np.array(values, np.uint16))
    assert read_grey(path) == (wanted, [f"uint16, taken as {bits} bits"])


def test_a_depth_may_be_given_in_place_of_the_guess(tmp_path):
    path = encoded(tmp_path / "x.png", np.array([[0, 255, 1023]], np.uint16))
    for bits, wanted in ((10, [0, 64, 255]), (12, [0, 16, 64]), (16, [0, 1, 4])):  # 255 / 1023 * 255 = 63.6
        image, remarks = picture_and_remarks(path, bits=bits)
        assert (image[0, :, 0].tolist(), remarks, depth_in(remarks)) == (wanted, [f"uint16, taken as {bits} bits"], bits)
    with pytest.raises(ValueError, match=r"x\.png: holds 1023, and 9 bits end at 511; give more"):
        read_picture(path, bits=9)
    assert depth_in(picture_and_remarks(encoded(tmp_path / "x.tif", np.array([[-1, 0, 4]], np.float32)), bits=9)[1]) is None
    assert depth_in(picture_and_remarks(encoded(tmp_path / "x.png", PICTURE), bits=9)[1]) is None


def test_16_bits_in_colour_keep_the_order_of_their_channels(tmp_path):
    for name in ("x.png", "x.tif"):
        path = encoded(tmp_path / name, PICTURE[..., ::-1].astype(np.uint16) * 257)
        assert np.array_equal(read_picture(path), PICTURE)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_in_0_to_1_and_others_by_their_range(tmp_path, kind):
    path = encoded(tmp_path / "x.tif", np.array([[0, 0.2, 0.8]], kind))
    assert read_grey(path) == ([[0, 51, 204]], [f"{kind.__name__} in 0..1"])
    path = encoded(tmp_path / "x.tif", np.array([[-1, 0, 4]], kind))
    assert read_grey(path) == ([[0, 51, 255]], [f"{kind.__name__} from -1 to 4, stretched"])
    path = encoded(tmp_path / "x.tif", np.full((1, 3), 7, kind))
    assert read_grey(path)[0] == [[0, 0, 0]]
    colour = np.array([[[0.2, 0.4, 1]]], kind)  # blue, green, red
    assert read_picture(encoded(tmp_path / "x.tif", colour)).tolist() == [[[255, 102, 51]]]


def test_other_integers(tmp_path):
    path = encoded(tmp_path / "x.tif", np.array([[-1000, 0, 1550]], np.int16))
    assert read_grey(path) == ([[0, 100, 255]], ["int16 from -1000 to 1550, stretched"])
    path = written(tmp_path / "x.tif", Image.fromarray(np.array([[0, 100_000, 255_000]], np.int32)), "tiff")
    assert read_grey(path) == ([[0, 100, 255]], ["int32 from 0 to 255000, stretched"])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_floats_that_are_no_numbers_are_refused(tmp_path, wrong):
    path = encoded(tmp_path / "x.tif", np.array([[0, wrong, 1]], np.float32))
    with pytest.raises(ValueError, match=r"x\.tif: holds NaN, infinity"):
        read_picture(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_as_pillow_turns(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, kind in (("x.png", "png"), ("x.tif", "tiff")):
        path = written(tmp_path / name, Image.fromarray(GREY), kind, exif=exif)
        # in memory: Pillow 13 mixes up height and width of an uncompressed TIFF that it maps from a file
        upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(path.read_bytes())))).tolist()
        assert read_grey(path) == (upright, ["turned upright"] if orientation > 1 else [])
        assert turned(GREY, orientation).tolist() == upright
        path = written(tmp_path / name, Image.fromarray(GREY.astype(np.uint16) * 257), kind, exif=exif)
        assert read_grey(path)[0] == upright


def test_where_none_may_turn_an_exif_turn_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = (Image.fromarray(PICTURE), "jpeg", "x.jpg"), (Image.fromarray(GREY.astype(np.uint16) * 257), "tiff", "x.tif")
    for picture, kind, name in pictures:
        path = written(tmp_path / name, picture, kind, exif=exif)
        with pytest.raises(
            ValueError, match=rf"{name}: EXIF orientation 6: viewers turn it, and what was drawn .* upright and"
        ):
            read_picture(path, may_turn=False)
    assert read_picture(encoded(tmp_path / "y.png", PICTURE), may_turn=False).shape == PICTURE.shape


def test_a_turned_photo(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(tmp_path / "x.jpg", Image.fromarray(PICTURE), "jpeg", exif=exif, quality=100, subsampling=0)
    assert np.abs(read_picture(path).astype(int) - np.rot90(PICTURE, -1)).mean() < 3


def test_what_is_transparent_is_laid_over_white(tmp_path):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 0, 50, 51]]], np.uint8)  # alpha 1, 0, 0.2
    wanted = [[[10, 20, 30], [255, 255, 255], [224, 204, 214]]]
    path = written(tmp_path / "x.png", Image.fromarray(pixels), "png")
    image, remarks = picture_and_remarks(path)
    assert (image.tolist(), remarks) == (wanted, ["transparent, laid over white"])
    deep = pixels[..., [2, 1, 0, 3]].astype(np.uint16) * 257
    assert read_picture(encoded(tmp_path / "x.png", deep)).tolist() == wanted
    path = written(tmp_path / "x.png", Image.fromarray(pixels[..., [0, 3]]), "png")  # grey and alpha
    assert read_grey(path)[0] == [[10, 255, 224]]


def test_a_transparent_colour_of_a_palette(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    picture.putpalette([9, 9, 9, 70, 70, 70])
    assert read_grey(written(tmp_path / "x.png", picture, "png", transparency=0))[0] == [[255, 70]]


@pytest.mark.parametrize("kind", ["gif", "png", "tiff"])
def test_of_several_frames_the_first_is_taken(tmp_path, kind):
    first, other = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    path = written(tmp_path / "x", first, kind, save_all=True, append_images=[other, first])
    assert read_grey(path) == (GREY.tolist(), ["the first of 3 frames"])


def test_a_fourth_channel_that_is_no_alpha_is_left_out(tmp_path):
    bands = np.array([[[0.2, 0.4, 1, 0.5]]], np.float32)  # blue, green, red, infrared
    image, remarks = picture_and_remarks(encoded(tmp_path / "x.tif", bands))
    assert image.tolist() == [[[255, 102, 51]]] and remarks == ["the fourth channel left out", "float32 in 0..1"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.png", b"", "is empty"),
        ("x.png", b"hello", "is no image that can be read"),
        ("x.tif", b"II*\0hello", "is damaged, or a TIFF of a kind that is not read"),
        ("x.png", cv2.imencode(".png", PICTURE)[1].tobytes()[:-30], "is damaged or cut off"),
        ("x.tif", cv2.imencode(".tif", PICTURE.astype(np.uint16) * 257)[1].tobytes()[:900], "is damaged"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        read_picture(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_cut_photo_that_would_be_turned_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(tmp_path / "x.jpg", Image.fromarray(fakes.picture(1, 200, 300)), "jpeg", exif=exif)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"x\.jpg: is damaged or cut off"):
        read_picture(path)


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_picture(tmp_path)


def test_images_in_a_folder(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.txt", ".d.png", "sub/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in images_in(tmp_path)] == ["a.jpeg", "b.PNG"]
