"""Real files of every kind, made by Pillow, decoded to pixels that a person can state beforehand."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from pfml.images.decode import MAX_PIXELS, content_digest, decode
from tests.datasets.pictures import encoded

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def pixels(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    decoded = decode(encoded(image, kind, **options), "x")
    assert decoded.mode == "RGB"
    return np.asarray(decoded)


def picture(mode: str, *colours) -> Image.Image:
    """One pixel per colour, side by side."""
    image = Image.new(mode, (len(colours), 1))
    for x, colour in enumerate(colours):
        image.putpixel((x, 0), colour)
    return image


@pytest.fixture
def photo() -> Image.Image:
    """Smooth, so that JPEG changes little, and without any symmetry. 40 wide, 24 high."""
    y, x = np.mgrid[:24, :40]
    return Image.fromarray(np.stack([x * 6, y * 10, 255 - x * 3 - y * 4], 2).astype(np.uint8))


def test_grey_and_bilevel_have_equal_channels():
    assert pixels(picture("L", 0, 77, 255)).tolist() == [[[0] * 3, [77] * 3, [255] * 3]]
    assert pixels(picture("1", 0, 1)).tolist() == [[[0] * 3, [255] * 3]]
    assert pixels(picture("L", 0, 77, 255), "PPM").tolist() == [[[0] * 3, [77] * 3, [255] * 3]]


@pytest.mark.parametrize(
    "image, kind, options",
    [
        (picture("RGBA", (*RED, 255), (*RED, 0), (0, 0, 0, 51)), "PNG", {}),
        (picture("RGBA", (*RED, 255), (*RED, 0), (0, 0, 0, 51)), "WEBP", {"lossless": True, "exact": True}),
        (picture("RGBA", (*RED, 255), (*RED, 0), (0, 0, 0, 51)), "TIFF", {}),
    ],
)
def test_transparent_parts_stand_on_white(image, kind, options):
    # 255 + (0 - 255) * 51 / 255 = 204
    assert pixels(image, kind, **options).tolist() == [[list(RED), list(WHITE), [204] * 3]]


def test_grey_with_alpha_stands_on_white():
    assert pixels(picture("LA", (100, 255), (100, 0), (0, 51))).tolist() == [[[100] * 3, [255] * 3, [204] * 3]]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_palette_is_looked_up(kind):
    image = picture("P", 0, 1, 2)
    image.putpalette([*RED, *GREEN, *BLUE])
    assert pixels(image, kind).tolist() == [[list(RED), list(GREEN), list(BLUE)]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_entry_is_white(kind):
    image = picture("P", 0, 1, 2)
    image.putpalette([*RED, *GREEN, *BLUE])
    assert pixels(image, kind, transparency=1).tolist() == [[list(RED), list(WHITE), list(BLUE)]]


def test_a_colour_declared_transparent_is_white():
    assert pixels(picture("RGB", RED, BLUE), transparency=RED).tolist() == [[list(WHITE), list(BLUE)]]
    assert pixels(picture("L", 7, 9), transparency=7).tolist() == [[list(WHITE), [9] * 3]]


def test_cmyk_has_the_colours_of_the_picture(photo):
    inks = photo.convert("CMYK")
    data = encoded(inks, "JPEG", quality=100)
    assert b"Adobe" in data  # which stores inks inverted: 255 is no ink
    assert np.abs(np.asarray(decode(data, "x")).astype(int) - np.asarray(photo)).mean() < 2
    assert pixels(picture("CMYK", (0, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)), "TIFF").tolist() == [
        [list(WHITE), list(RED), list(BLACK)]
    ]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    deep = Image.fromarray(np.array([[0, 128, 200, 257 * 100, 65400, 65535]], dtype=np.uint16))
    assert pixels(deep, kind)[0, :, 0].tolist() == [0, 0, 1, 100, 254, 255]


@pytest.mark.parametrize(
    "values, mode",
    [
        (np.float32([[0.5, 1.0]]), "F"), (np.float32([[0, 255]]), "F"), (np.int32([[0, 70000]]), "I"),
        (np.arange(256, dtype=np.int32).reshape(16, 16), "I"), (np.int32([[0, 65535]]), "I"),
        (np.int32([[-1, 9]]), "I"),
    ],
)  # fmt: skip
def test_grey_without_a_known_white_is_refused(values, mode):
    """Also where the values would fit 8 or 16 bits: what they were scaled by is not in the file."""
    with pytest.raises(ValueError, match=rf"^scan.tif: grey values of mode {mode} from .* no known white"):
        decode(encoded(Image.fromarray(values), "TIFF"), "scan.tif")


def grey_tiff(bits: int, samples: bytes, width: int, white_is_zero: bool = False, sample_format: int = 1) -> bytes:
    """An uncompressed little-endian TIFF of one row, written by hand."""
    tags = {
        256: (4, width), 257: (4, 1), 258: (3, bits), 259: (3, 1), 262: (3, 0 if white_is_zero else 1), 273: (4, 0),
        277: (3, 1), 278: (4, 1), 279: (4, len(samples)), 339: (3, sample_format),
    }  # fmt: skip
    tags[273] = (4, 8 + 2 + 12 * len(tags) + 4)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + samples


def test_twelve_bits_are_white_at_4095():
    # Two samples in three bytes, the high bits first: 0x000 and 0xfff, 0x800 and 0x00f.
    data = grey_tiff(12, bytes.fromhex("000fff80000f"), 4)
    assert np.asarray(decode(data, "x"))[0, :, 0].tolist() == [0, 255, 128, 1]


@pytest.mark.parametrize("white_is_zero, expected", [(False, [0, 100, 255]), (True, [255, 155, 0])])
def test_sixteen_bits_whose_white_is_zero_are_no_negative(white_is_zero, expected):
    data = grey_tiff(16, struct.pack("<3H", 0, 25700, 65535), 3, white_is_zero)
    assert np.asarray(decode(data, "x"))[0, :, 0].tolist() == expected
    eight = grey_tiff(8, bytes([0, 100, 255]), 3, white_is_zero)
    assert np.asarray(decode(eight, "x"))[0, :, 0].tolist() == expected, "as for 8 bits"


def test_signed_sixteen_bits_have_no_known_white():
    with pytest.raises(ValueError, match=r"^ct.tif: grey values of mode I from 0 to 900 have no known white"):
        decode(grey_tiff(16, struct.pack("<3h", 0, 5, 900), 3, sample_format=2), "ct.tif")


@pytest.mark.parametrize("most", [1023, 4095, 65535])
def test_a_deep_pgm_says_its_white(most):
    data = b"P5 3 1 %d\n" % most + np.array([0, most // 2, most], dtype=">u2").tobytes()
    assert np.asarray(decode(data, "x"))[0, :, 0].tolist() == [0, 127, 255]


# Where the stored row 0 and column 0 are in the upright picture (EXIF 2.32, orientation), written as stored[y][x] for
# the upright picture [[1, 2, 3], [4, 5, 6]].
STORED = {
    1: [[1, 2, 3], [4, 5, 6]], 2: [[3, 2, 1], [6, 5, 4]], 3: [[6, 5, 4], [3, 2, 1]], 4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]], 6: [[3, 6], [2, 5], [1, 4]], 7: [[6, 3], [5, 2], [4, 1]], 8: [[4, 1], [5, 2], [6, 3]],
}  # fmt: skip


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind, options", [("PNG", {}), ("JPEG", {"quality": 100}), ("TIFF", {})])
def test_exif_orientation_turns_the_picture_upright(orientation, kind, options):
    stored = np.kron(np.array(STORED[orientation]) * 40, np.ones((8, 8))).astype(np.uint8)  # 8 x 8: whole JPEG blocks
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = pixels(Image.fromarray(stored), kind, exif=exif, **options)[4::8, 4::8, 0]
    assert np.rint(upright / 40).tolist() == STORED[1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("junk", [b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_broken_exif_leaves_the_picture_as_stored(photo, kind, junk):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pixels(photo, kind, exif=junk).shape == (24, 40, 3)


def test_the_first_of_several_frames_is_taken():
    frames = [Image.new("RGB", (4, 4), colour) for colour in (GREEN, RED)]
    for kind in ("GIF", "TIFF", "PNG"):
        assert pixels(frames[0], kind, save_all=True, append_images=frames[1:])[0, 0].tolist() == list(GREEN)


@pytest.mark.parametrize(
    "data, what",
    [
        (b"", "empty file"),
        (b"hello, I am a text that somebody renamed\n" * 9, "not an image"),
        (b"\xff\xd8\xff\xe0", "not an image|cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_what_is_no_image_is_named(data, what):
    with pytest.raises(ValueError, match=rf"^birds/a 1\.jpg: ({what})"):
        decode(data, "birds/a 1.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_file_is_named(kind, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ValueError, match=r"^cut\.file: (cannot be decoded|not an image)"):
        decode(data[: int(len(data) * share)], "cut.file")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_damaged_bytes_never_raise_anything_but_a_named_error(photo, kind):
    data, rng = encoded(photo, kind), np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            damaged = np.frombuffer(data, np.uint8).copy()
            damaged[rng.integers(0, len(data), 6)] = rng.integers(0, 256, 6)
            try:
                assert decode(damaged.tobytes(), "bad").mode == "RGB"
            except ValueError as error:
                assert str(error).startswith("bad: ")


def test_decoders_that_raise_their_own_errors_are_caught(photo):
    png = encoded(photo)
    at = png.index(b"IDAT")
    length = int.from_bytes(png[at - 4 : at], "big")
    broken_chunk = png[: at - 4] + (length // 2).to_bytes(4, "big") + png[at:]  # SyntaxError
    for data in (broken_chunk, b"P6 2x 1 255\n123456"):  # and ValueError
        with pytest.raises(ValueError, match=r"^a\.file: cannot be decoded \((SyntaxError|ValueError)"):
            decode(data, "a.file")


@pytest.mark.parametrize("side", [9_600, 30_000])  # above our limit, and above twice it, where Pillow itself stops
def test_a_decompression_bomb_is_refused_before_decoding(side):
    one = encoded(Image.new("1", (side, 1)))
    assert side * side > MAX_PIXELS
    header = one[8:33]  # the IHDR chunk claims one row; let it claim a square
    claim = header[4:12] + side.to_bytes(4, "big") + header[16:21]
    bomb = one[:8] + header[:4] + claim + zlib.crc32(claim).to_bytes(4, "big") + one[33:]
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"^bomb\.png: .*89478485") as caught:
        warnings.simplefilter("ignore")
        decode(bomb, "bomb.png")
    assert "pixels" in str(caught.value)


def test_the_digest_is_of_the_picture_not_of_the_file(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    same = [
        encoded(photo), encoded(photo, "BMP"), encoded(photo, "TIFF"), encoded(photo, "WEBP", lossless=True),
        encoded(turned, "PNG", exif=exif), encoded(photo.convert("RGBA")),
    ]  # fmt: skip
    assert len(set(same)) == 6
    assert len({content_digest(decode(data, "x")) for data in same}) == 1
    assert content_digest(photo) == content_digest(np.asarray(photo))
    other = photo.copy()
    other.putpixel((0, 0), (1, 0, 255))
    reshaped = np.asarray(photo).reshape(40, 24, 3)  # the same bytes in another shape
    found = {content_digest(p) for p in (photo, other, turned, reshaped, decode(encoded(photo, "JPEG"), "x"))}
    assert len(found) == 5


def test_the_digest_is_fixed_for_ever():
    # printf '2x1 RGB\n\001\002\003\004\005\006' | sha256sum
    expected = "c13f1cad138dd25b06faa22831124b4f957f223c72db8a4c8651881f9dafb941"
    assert content_digest(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)) == expected


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.uint8)])
def test_the_digest_takes_rgb_only(wrong):
    with pytest.raises(ValueError, match="expected"):
        content_digest(wrong)
