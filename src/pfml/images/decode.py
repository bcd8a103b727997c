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

_ORIENTATION = 0x0112  # EXIF tag: the turn that makes the stored picture upright (EXIF 2.32, 4.6.4 A)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def decode(data: bytes, name: str) -> Image.Image:
    """The picture as a person sees it: mode RGB, turned upright by its EXIF orientation, first frame of several.

    Grey and bilevel images get three equal channels, palette images the palette's colours. Transparent parts become
    white, since the colour stored below them is arbitrary. CMYK goes through Pillow's formula, which takes the inks of
    a JPEG as inverted, Adobe's way; colour profiles are not applied. 16-bit grey is scaled by 255 / 65535, 16-bit
    colour by Pillow.

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
    """Modes I;16, I and F. Only 16 bits have a known range; Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise Refused(
            f"grey values of mode {image.mode} from {values.min()} to {values.max()} have no known white; "
            "save the file with 8 or 16 bits"
        )
    grey = (values.astype(np.uint32) * 255 + 32767) // 65535
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1  # upright: with broken metadata the pixels are taken as they are


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
