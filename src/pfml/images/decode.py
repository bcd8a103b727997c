"""Decode the bytes of an image file of any kind to upright RGB pixels, and compute a digest of the pixels."""

import hashlib
import io
import struct

import numpy as np
from PIL import Image

# Formats that Pillow may read ("JPEG" with its multi-picture form). Formats that run other programs are left out.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm",
)  # fmt: skip
MAX_PIXELS = 89_478_485  # Pillow's own limit, a quarter of a GiB of RGB; a small file can claim any size
EVALUATION_SIDE = 256  # pixels, the largest short side to which a transform resizes

_ORIENTATION = 0x0112  # EXIF tag: the turn that makes the stored picture upright (EXIF 2.32, 4.6.4 A)
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags (TIFF 6.0, sections 8 and 19)
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def decode(data: bytes, name: str) -> Image.Image:
    """The picture as a person sees it: mode RGB, turned upright by its EXIF orientation, first frame of several.

    Grey and bilevel images get three equal channels, palette images the palette's colours. Transparent parts become
    white, since the colour stored below them is arbitrary. CMYK goes through Pillow's formula, which takes the inks of
    a JPEG as inverted, Adobe's way; colour profiles are not applied. 16-bit grey is scaled by 255 / 65535, 12-bit
    grey of a TIFF by 255 / 4095, 16-bit colour by Pillow.

    Args:
        data: the file's content.
        name: of the file, for messages.

    Raises:
        ValueError: empty, truncated, no image of a known format, more than MAX_PIXELS, or grey values without a known
            range.
    """
    if not data:
        raise ValueError(f"{name}: empty file, expected an image")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_size(*image.size)
        image.load()
        return _upright(_rgb(image), _orientation(image))
    except Refused as error:
        raise ValueError(f"{name}: {error}") from None
    except Image.UnidentifiedImageError:
        raise ValueError(f"{name}: not an image ({len(data)} bytes; expected {', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name}: {error}; expected at most {MAX_PIXELS} pixels") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many types for broken files: OSError, SyntaxError, struct.error, ...
        raise ValueError(f"{name}: cannot be decoded ({type(error).__name__}: {error})") from error


def resized(image: Image.Image, short_side: int, resample: Image.Resampling = Image.Resampling.BILINEAR) -> Image.Image:
    """The image with this short side in pixels, same aspect (long side rounded down), antialiased.

    This is torchvision's Resize(short_side): a fast pack of 256 pixels holds the image that the usual evaluation crops.

    Raises:
        ValueError: the result would be larger than any image may be.
    """
    shorter = min(image.size)
    width, height = (side * short_side // shorter for side in image.size)
    check_size(width, height)
    return image.resize((width, height), resample)


def content_digest(image: Image.Image | np.ndarray) -> str:
    """SHA-256 (64 digits) of the decoded pixels and their size: RGB, uint8, row by row, after turning upright.

    Equal for the same picture in another lossless container (PNG, BMP, lossless WebP), with other metadata, or stored
    turned with an EXIF orientation. Different after a lossy re-encoding, a resize, or one changed pixel. What a JPEG
    decodes to depends on the decoder: libjpeg-turbo in Pillow's wheels.

    Raises:
        ValueError: not RGB with 8 bits.
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"content_digest: expected (height, width, 3) uint8, found {pixels.shape} {pixels.dtype}")
    state = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]} RGB\n".encode())
    state.update(np.ascontiguousarray(pixels))
    return state.hexdigest()


def check_thin(width: int, height: int) -> None:
    """Raises Refused for a picture that would be larger than any may be once evaluation has enlarged it."""
    wide, high = (side * EVALUATION_SIDE // min(width, height) for side in (width, height))
    if wide * high > MAX_PIXELS:
        raise Refused(
            f"{width} x {height} pixels are too thin a strip: resized to a short side of {EVALUATION_SIDE}, as for "
            f"evaluation, {wide} x {high} pixels, expected at most {MAX_PIXELS} in all; cut the picture or remove it"
        )


class Refused(ValueError):
    """A readable picture that is not accepted."""


def check_size(width: int, height: int) -> None:
    """Raises Refused above MAX_PIXELS, before any memory of that size is used."""
    if width * height > MAX_PIXELS:
        raise Refused(f"{width} x {height} pixels, expected at most {MAX_PIXELS} in all; shrink the picture")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Modes I;16, I and F. Up to 16 bits have a known white; Pillow's own conversion would clip at 255."""
    values, white = np.asarray(image), _white(image)
    if white is None or values.min() < 0 or values.max() > white:
        raise Refused(
            f"grey values of mode {image.mode} from {values.min()} to {values.max()} have no known white; "
            "save the file with 8 or 16 bits"
        )
    grey = (values.astype(np.uint32) * 255 + white // 2) // white
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which Pillow inverts for 8 bits
        grey = 255 - grey
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _white(image: Image.Image) -> int | None:
    """The value of white by the file's format, never by its values; None where the format leaves it open."""
    if image.format == "TIFF":
        bits, signs = image.tag_v2.get(_BITS, (1,)), image.tag_v2.get(_SAMPLE_FORMAT, (1,))
        return 2 ** bits[0] - 1 if bits[0] <= 16 and signs[0] == _UNSIGNED else None
    deep_pgm = image.format == "PPM" and image.mode == "I"  # whose maximum Pillow scales to 16 bits
    return 65535 if deep_pgm or image.mode.startswith("I;16") else None


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1  # upright: with broken metadata the pixels are taken as they are


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
