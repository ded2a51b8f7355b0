import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.image_files import images_below, read_image, read_index_mask
from pipeline.sources import FaultError
from tests import fakes


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    memory = io.BytesIO()
    picture.save(memory, kind, **options)
    return memory.getvalue()


PICTURE = Image.fromarray(fakes.picture(1))
PNG, JPEG, WEBP = (encoded(PICTURE, kind) for kind in ("png", "jpeg", "webp"))
TURNED = Image.Exif()
TURNED[0x0112] = 6
FRAMES = {"save_all": True, "append_images": [Image.fromarray(fakes.picture(2))]}
HALF_CLEAR = PICTURE.copy()
HALF_CLEAR.putalpha(Image.fromarray(np.pad(np.full((23, 31), 255, np.uint8), ((1, 0), (1, 0)), constant_values=9)))
WITH_ALPHA = np.dstack([fakes.picture(1), np.full((24, 32), 255)])
DEEP_WITH_ALPHA = cv2.imencode(".png", WITH_ALPHA.astype(np.uint16) * 257)[1].tobytes()
DEEP = cv2.imencode(".png", fakes.picture(1).astype(np.uint16) * 256)[1].tobytes()


@pytest.mark.parametrize(
    ("rule", "data"),
    [
        ("zero_byte", b""),
        ("unreadable_image", b"hello"),
        ("unreadable_image", PNG[:-1]),
        ("unreadable_image", PNG[: len(PNG) // 2]),
        ("unreadable_image", PNG[:20]),
        ("unreadable_image", PNG[:300] + bytes(40) + PNG[340:]),
        ("unreadable_image", JPEG[:-3]),
        ("unreadable_image", JPEG[: len(JPEG) // 2]),
        ("unreadable_image", WEBP[:-9]),
        ("exif_rotation", encoded(PICTURE, "jpeg", exif=TURNED)),
        ("exif_rotation", encoded(PICTURE, "png", exif=TURNED)),
        ("exif_rotation", encoded(PICTURE, "webp", exif=TURNED)),
        ("animated_image", encoded(PICTURE, "png", **FRAMES)),
        ("animated_image", encoded(PICTURE, "gif", **FRAMES)),
        ("animated_image", encoded(PICTURE, "tiff", **FRAMES)),
        ("transparent_image", encoded(HALF_CLEAR, "png")),
        ("image_depth", DEEP),
        ("image_depth", encoded(Image.fromarray(np.full((4, 4), 300, np.uint16)), "png")),
        ("image_depth", DEEP_WITH_ALPHA),  # Pillow would read 8 of its 16 bits
        ("image_depth", cv2.imencode(".tiff", np.full((4, 4, 4), 65535, np.uint16))[1].tobytes()),
        ("image_depth", encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "tiff")),
        ("image_depth", encoded(Image.fromarray(np.full((4, 4), 70000, np.int32)), "tiff")),
    ],
)
def test_images_that_cannot_be_used(tmp_path, rule, data):
    file = tmp_path / "sub" / "x.png"
    file.parent.mkdir()
    file.write_bytes(data)
    with pytest.raises(FaultError, match=r"sub/x\.png") as caught:
        read_image(file, root=tmp_path)
    (fault,) = caught.value.faults
    assert (fault.rule, fault.file) == (rule, "sub/x.png")


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP])
def test_a_cut_file_never_gives_other_pixels(tmp_path, data):
    """A JPEG that lacks its last two bytes, the end mark, has all its pixels; anything shorter is refused."""
    file = tmp_path / "x"
    file.write_bytes(data)
    whole = read_image(file, root=tmp_path)
    refused = 0
    for cut in (1, 2, 3, 5, 8, *range(13, len(data), 37)):
        file.write_bytes(data[:-cut])
        try:
            assert np.array_equal(read_image(file, root=tmp_path), whole)
        except FaultError:
            refused += 1
    assert refused > len(data) / 37


def test_where_an_image_is_transparent(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(HALF_CLEAR, "png"))
    with pytest.raises(FaultError, match=r"x\.png at pixel x=0, y=0: alpha is 9"):
        read_image(tmp_path / "x.png", root=tmp_path)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA", "RGB"])
def test_images_of_other_modes(tmp_path, mode):
    picture = PICTURE.convert(mode)
    (tmp_path / "x.png").write_bytes(encoded(picture, "png"))
    assert np.array_equal(read_image(tmp_path / "x.png", root=tmp_path), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("kind", ["tiff", "jpeg"])
def test_cmyk(tmp_path, kind):
    picture = PICTURE.convert("CMYK")
    (tmp_path / "x.tif").write_bytes(encoded(picture, kind))
    image = read_image(tmp_path / "x.tif", root=tmp_path)
    assert np.abs(image.astype(int) - fakes.picture(1)).mean() < (1 if kind == "tiff" else 12)


def test_upright_exif_is_fine(tmp_path):
    upright = Image.Exif()
    upright[0x0112] = 1
    (tmp_path / "x.jpg").write_bytes(encoded(PICTURE, "jpeg", exif=upright))
    assert read_image(tmp_path / "x.jpg", root=tmp_path).shape == (24, 32, 3)


def test_index_masks(tmp_path):
    mask = fakes.index_mask(0)
    file = tmp_path / "m.png"
    fakes.save(file, mask)
    assert np.array_equal(read_index_mask(file, root=tmp_path), mask)
    palette = Image.fromarray(mask, "P")
    palette.putpalette([200, 10, 10, 0, 99, 0] + [7] * 762)
    file.write_bytes(encoded(palette, "png"))
    assert np.array_equal(read_index_mask(file, root=tmp_path), mask)
    file.write_bytes(encoded(Image.fromarray(mask == 1), "png"))
    assert np.array_equal(read_index_mask(file, root=tmp_path), mask == 1)
    deep = mask.astype(np.uint16) * 257
    fakes.save(file, deep)
    assert np.array_equal(read_index_mask(file, root=tmp_path), deep)
    file.write_bytes(encoded(Image.fromarray(mask.astype(np.int32)), "tiff"))
    assert np.array_equal(read_index_mask(file, root=tmp_path), mask)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_masks_say_how_to_convert(tmp_path, mode):
    file = tmp_path / "m.png"
    mask = Image.fromarray(np.array([[0, 0, 3], [0, 3, 0]], np.uint8))
    file.write_bytes(encoded(mask.convert(mode), "png"))
    with pytest.raises(FaultError, match=r"channels .* that repeat one; keep it alone: Image.open"):
        read_index_mask(file, root=tmp_path)
    if mode != "LA":
        colours = np.zeros((2, 3, 3), np.uint8)
        colours[1, 2] = 128, 0, 64
        file.write_bytes(encoded(Image.fromarray(colours).convert(mode), "png"))
        value = "128,0,64,255" if mode == "RGBA" else "128,0,64"
        with pytest.raises(
            FaultError, match=r"m.png at pixel x=2, y=1: mask holds colours .* replace each colour by its index"
        ) as caught:
            read_index_mask(file, root=tmp_path)
        assert caught.value.faults[0].value == value


def test_masks_that_cannot_be_used(tmp_path):
    file = tmp_path / "m.png"
    for rule, data in {
        "lossy_mask": encoded(PICTURE.convert("L"), "jpeg"),
        "zero_byte": b"",
        "unreadable_image": PNG[:60],
        "exif_rotation": encoded(Image.fromarray(fakes.index_mask(0)), "tiff", exif=TURNED),  # OpenCV would turn it
    }.items():
        file.write_bytes(data)
        with pytest.raises(FaultError) as caught:
            read_index_mask(file, root=tmp_path)
        assert caught.value.faults[0].rule == rule
    file.write_bytes(encoded(Image.fromarray(np.zeros((3, 3), np.float32)), "tiff"))
    with pytest.raises(FaultError, match="mask of mode F, wanted class indices"):
        read_index_mask(file, root=tmp_path)


def test_images_below(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.txt", ".d.png", ".e/f.png", "g/h.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in images_below(tmp_path)] == ["a.jpeg", "b.PNG", "g/h.tif"]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


TIFF, BMP, GIF = (encoded(PICTURE.convert("P" if kind == "gif" else "RGB"), kind) for kind in ("tiff", "bmp", "gif"))
BROKEN_HEADS = {
    "tiff": TIFF.replace(struct.pack("<HHIHH", 257, 4, 1, 24, 0), struct.pack("<HHII", 257, 4, 1, 2**32 - 5)),
    "bmp": BMP[:22] + struct.pack("<i", 2**31 - 9) + BMP[26:],
    "gif": GIF[: GIF.index(b",", 13 + 3 * 2) + 1] + b"\0",
    "png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 70000, 70000, 8, 2, 0, 0, 0)) + PNG[33:],
}


@pytest.mark.parametrize("name", BROKEN_HEADS)
@pytest.mark.parametrize("read", [read_image, read_index_mask])
def test_damage_that_decoders_do_not_expect(tmp_path, read, name):
    file = tmp_path / "x.png"
    file.write_bytes(BROKEN_HEADS[name])
    with pytest.raises(FaultError) as caught:
        read(file, root=tmp_path)
    assert [fault.rule for fault in caught.value.faults] == ["unreadable_image"]


@pytest.mark.parametrize("error", [IndexError, OverflowError, MemoryError, cv2.error])
def test_whatever_a_decoder_raises_is_told(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error("bad")

    file = fakes.save(tmp_path / "m.png", fakes.index_mask(0))
    monkeypatch.setattr(cv2, "imdecode", fail)
    for read in (read_image, read_index_mask):
        with pytest.raises(FaultError, match=r"m\.png: is damaged or cut off"):
            read(file, root=tmp_path)


@pytest.mark.parametrize("shape", [(1, 2**20 + 8), (1, 2**20 + 8, 3)])
def test_pictures_larger_than_opencv_reads(tmp_path, shape):
    pixels = np.zeros(shape, np.uint8)
    pixels[0, -1] = 7
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(pixels), "png"))
    image = read_image(tmp_path / "x.png", root=tmp_path)
    assert image.shape == (1, 2**20 + 8, 3) and image[0, -1].tolist() == [7, 7, 7]
    if len(shape) == 2:
        assert np.array_equal(read_index_mask(tmp_path / "x.png", root=tmp_path), pixels)


def test_a_colour_mask_costs_little_memory(tmp_path):
    pixels = np.zeros((1000, 1000, 3), np.uint8)
    pixels[5, 4] = 1, 2, 3
    file = fakes.save(tmp_path / "m.png", pixels)
    tracemalloc.start()
    with pytest.raises(FaultError, match="x=4, y=5"):
        read_index_mask(file, root=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * pixels.nbytes
