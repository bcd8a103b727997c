"""The embedded default dataset: 200 characters x 40 images, 32 x 32 RGB, from fonts that matplotlib ships.

It exists so that the whole pipeline runs without a download and without a GPU, on a task that is neither
trivial nor hopeless: classes are characters, and 100 of them are never seen in training.  An image is one
character in one of 16 fonts, seen through a random homography and an elastic warp, usually with a piece of
another character at its border, then blurred, coloured, lit by a gradient, and covered with noise.

Everything is bit-deterministic.  Each image draws from a Philox generator of its own, whose counter is the
image's index, so that it does not depend on what else is generated.  The arithmetic is elementwise
+ - * / and comparisons in float32, which IEEE 754 fixes to the last bit; there is no libm function (rotations
come from the tangent of the half angle), no matrix product and no reduction, whose results depend on the CPU.
One part is outside our control, the rasteriser: Pillow brings its own FreeType, and matplotlib the fonts.
`check_digest` warns when the images differ from those that the committed numbers were measured on.

Shape suffixes: n images of one class, P = 64 supersampled pixels, S = 32 pixels, 3 colour channels.
"""

from __future__ import annotations

import hashlib
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pfml.datasets.glyph_codepoints import CODE_POINTS

CLASSES, PER_CLASS, SIZE = len(CODE_POINTS), 40, 32
TRAIN_CLASSES = 100  # the first half of CODE_POINTS
SUPER = 2 * SIZE  # each output pixel is the mean of 2 x 2 samples
BASE, BOX, FONT_PX = 64, 42, 56  # base glyph: 64 x 64 pixels, its ink scaled to a 42 px box from a 56 px font
SEED = 0  # the Philox key
STRENGTH = 0.7  # multiplies the ranges of all geometric distortions: 0.3 is easy, 1 too hard

# Four families x four styles; image k of a class uses font k mod 16.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
)  # fmt: skip

# SHA-256 of the full set, with Pillow 13.0.0 (FreeType 2.14.3) and matplotlib 3.11.2 on x86-64.
EXPECTED_DIGEST = "2f8245b06e7cf4f6b4c65abbefa7f1f7ed7457012081fbf00ffb52d54244f033"

PARAMETERS = 96  # 64-bit words per image for everything but the noise
NOISE_BYTES = 4 * SIZE * SIZE * 3  # four bytes per value: their sum is close enough to a Gaussian
NOISE_STD = np.float32(147.8005)  # of that sum: sqrt(4 (256^2 - 1) / 12), written out to stay clear of libm


def load_fonts() -> list:
    """The 16 fonts as Pillow objects, in the order of `FONTS`.  FileNotFoundError if matplotlib lacks one."""
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = [folder / f"{name}.ttf" for name in FONTS]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: font not found; the glyphs dataset needs all fonts of matplotlib "
                f"{matplotlib.__version__}. Reinstall it from its wheel (some distributions strip the fonts)."
            )
    # BASIC: the other layout engine, RAQM, depends on libraries of the system.
    return [ImageFont.truetype(str(p), FONT_PX, layout_engine=ImageFont.Layout.BASIC) for p in paths]


def base_glyph(font, code_point: int) -> np.ndarray:
    """One undistorted character, (64, 64) uint8, centred in a 42 px box, 255 is ink.  ValueError if blank."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (4 * FONT_PX, 4 * FONT_PX))
    ImageDraw.Draw(canvas).text((FONT_PX, FONT_PX), chr(code_point), fill=255, font=font)
    ink = canvas.getbbox()
    if ink is None:
        raise ValueError(f"U+{code_point:04X} is blank in {font.getname()}; expected a visible character")
    glyph = canvas.crop(ink)
    longest = max(glyph.size)
    # Rounded in integers: a float product could round differently elsewhere.
    width, height = (max(1, (2 * side * BOX + longest) // (2 * longest)) for side in glyph.size)
    glyph = glyph.resize((width, height), Image.Resampling.BILINEAR)
    base = Image.new("L", (BASE, BASE))
    base.paste(glyph, ((BASE - width) // 2, (BASE - height) // 2))
    return np.array(base)


class Draws:
    """Random numbers of n images, one row each; every call hands out the next column.

    The order of the calls is part of the dataset: a new distortion draws after all existing ones.
    """

    def __init__(self, images: range):
        words = np.empty((len(images), PARAMETERS + NOISE_BYTES // 8), np.uint64)
        for row, index in zip(words, images):
            # The index is the counter's second word: Philox advances the first, so no two images overlap.
            row[:] = np.random.Philox(key=SEED, counter=[0, index, 0, 0]).random_raw(len(row))
        # 24 bits: exact in float32.
        self.unit = (words[:, :PARAMETERS] >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        # "<u8": the same bytes on a big-endian machine.
        noise = np.ascontiguousarray(words[:, PARAMETERS:].astype("<u8")).view(np.uint8)
        self.noise = noise.reshape(len(images), 4, SIZE, SIZE, 3)
        self.used = 0

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Uniform in [low, high): (n, *shape), by default (n, 1, 1) to go with images."""
        shape = shape or (1, 1)
        start, self.used = self.used, self.used + int(np.prod(shape))
        if self.used > PARAMETERS:
            raise RuntimeError(f"{self.used} random parameters per image drawn, {PARAMETERS} reserved")
        unit = self.unit[:, start : self.used].reshape(-1, *shape)
        return np.float32(low) + np.float32(high - low) * unit

    def signed(self, size: float, *shape: int) -> np.ndarray:
        """Uniform in [-size, size)."""
        return self.uniform(-size, size, *shape)


def axis(samples: int) -> np.ndarray:
    """Centres of `samples` pixels that cover [-1, 1], (samples,) float32."""
    return (2 * np.arange(samples, dtype=np.float32) + 1) / np.float32(samples) - 1


def homography(draw: Draws, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in the glyph for each pixel (x, y) of the image: u, v of shape (n, P, P), in half box widths."""
    s = STRENGTH
    x, y = x - draw.signed(0.2 * s), y - draw.signed(0.2 * s)
    t = draw.signed(0.2 * s)  # tangent of half the angle: +-23 degrees at strength 1
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    shear, narrow = draw.signed(0.35 * s), 1 + draw.signed(0.2 * s)
    scale = np.float32(1.05) + draw.signed(0.25 * s)
    w = (1 + draw.signed(0.2 * s) * x + draw.signed(0.2 * s) * y) * scale
    u, v = cos * x - sin * y, sin * x + cos * y
    return (u + shear * v) * narrow / w, v / narrow / w


def elastic(draw: Draws) -> np.ndarray:
    """A smooth displacement, (n, P, P), of at most 0.1 * strength, between 4 x 4 random knots."""
    knots = draw.signed(0.1 * STRENGTH, 4, 4)
    place = (axis(SUPER) + 1) * np.float32(1.5)  # 0..3, in knots
    left = np.minimum(place.astype(np.int64), 2)
    f = place - left.astype(np.float32)
    f = f * f * (3 - 2 * f)  # smooth at the knots
    rows = knots[:, left] * (1 - f)[:, None] + knots[:, left + 1] * f[:, None]
    return rows[:, :, left] * (1 - f) + rows[:, :, left + 1] * f


def sample(glyphs: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear look-up of glyphs (n, 64, 64) float32 at u (across) and v (down), each (n, P, P) in [-1, 1].

    Outside of the box there is no ink: the border of a base glyph is empty and the look-up stops at it.
    """
    last = np.float32(BASE - 1)
    column = np.minimum(np.maximum((u + 1) * np.float32(BASE / 2) - np.float32(0.5), 0), last)
    row = np.minimum(np.maximum((v + 1) * np.float32(BASE / 2) - np.float32(0.5), 0), last)
    column_0 = np.minimum(column.astype(np.int64), BASE - 2)
    row_0 = np.minimum(row.astype(np.int64), BASE - 2)
    right, down = column - column_0.astype(np.float32), row - row_0.astype(np.float32)
    at = (np.arange(len(glyphs))[:, None, None] * BASE + row_0) * BASE + column_0
    flat = glyphs.reshape(-1)
    top = flat[at] * (1 - right) + flat[at + 1] * right
    bottom = flat[at + BASE] * (1 - right) + flat[at + BASE + 1] * right
    return top * (1 - down) + bottom * down


def clutter(draw: Draws, others: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ink of a second glyph across one border, (n, P, P); drawn on 70 % of the images, visible on 61 %."""
    present = draw.uniform(0, 1) < np.float32(0.7)
    side = draw.uniform(0, 4).astype(np.int64)  # right, left, bottom, top
    outward, along = draw.uniform(1.2, 1.5), draw.signed(0.9)
    outward = np.where(side % 2 == 0, outward, -outward)
    center_x, center_y = np.where(side < 2, outward, along), np.where(side < 2, along, outward)
    t, scale = draw.signed(0.2), draw.uniform(0.8, 1.2)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    x, y = x - center_x, y - center_y
    ink = sample(others, (cos * x - sin * y) / scale, (sin * x + cos * y) / scale)
    return np.where(present, ink, np.float32(0))


def blur(image: np.ndarray) -> np.ndarray:
    """One pass of the kernel (1, 2, 1) / 4 along both axes of (n, S, S), edges repeated."""
    for direction in (1, 2):
        beside = np.clip(np.arange(SIZE) + np.array([[-1], [1]]), 0, SIZE - 1)
        near, far = (np.take(image, neighbors, axis=direction) for neighbors in beside)
        image = (near + far + 2 * image) * np.float32(0.25)
    return image


def paint(draw: Draws, ink: np.ndarray) -> np.ndarray:
    """Ink (n, S, S) in [0, 1] to noisy colour images (n, S, S, 3) uint8."""
    contrast, room = draw.uniform(0.30, 0.75), draw.uniform(0, 1)
    dark = np.float32(0.05) + room * (np.float32(0.90) - contrast)  # darker level; the lighter one is <= 0.95
    inverted = draw.uniform(0, 1) < np.float32(0.5)
    paper, pen = np.where(inverted, dark, dark + contrast), np.where(inverted, dark + contrast, dark)
    paper = paper[..., None] + draw.signed(0.08, 1, 1, 3)
    pen = pen[..., None] + draw.signed(0.08, 1, 1, 3)
    slope_x, slope_y = draw.signed(0.1), draw.signed(0.1)
    light = slope_x * axis(SIZE) + slope_y * axis(SIZE)[:, None]
    sigma = draw.uniform(0.02, 0.12, 1, 1, 1)
    a, b, c, d = (draw.noise[:, i].astype(np.float32) for i in range(4))
    noise = (a + b + c + d - 510) / NOISE_STD * sigma
    color = paper + (pen - paper) * ink[..., None] + light[..., None] + noise
    color = np.minimum(np.maximum(color, 0), 1)
    return (color * 255 + np.float32(0.5)).astype(np.uint8)


def render(images: range, glyphs: np.ndarray, other_glyphs: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Images (n, 32, 32, 3) uint8 of given indices from their base glyphs (n, 64, 64) float32 in [0, 1].

    `other_glyphs` maps draws (n,) in [0, 1) to the base glyphs of the clutter.
    """
    draw = Draws(images)
    x, y = axis(SUPER), axis(SUPER)[:, None]
    others = other_glyphs(draw.uniform(0, 1, 1)[:, 0])
    u, v = homography(draw, x, y)
    ink = sample(glyphs, u + elastic(draw), v + elastic(draw))
    ink = np.maximum(ink, clutter(draw, others, x, y))
    ink = (ink[:, ::2, ::2] + ink[:, ::2, 1::2] + ink[:, 1::2, ::2] + ink[:, 1::2, 1::2]) * np.float32(0.25)
    passes = draw.uniform(0, 3).astype(np.int64)
    for passed in range(2):
        ink = np.where(passes > passed, blur(ink), ink)
    return paint(draw, ink)


def generate(
    progress: Callable[[int, int], object] | None = None, classes: int = CLASSES, per_class: int = PER_CLASS
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The dataset, or the first `per_class` images of each of its first `classes` classes.

    An image is the same in a small set and in the full one.  `progress(images done, images in all)` is
    called after each class.  The full set takes a few seconds on one core and below 200 MB.

    Returns images (classes * per_class, 32, 32, 3) uint8 in class-major order, class_ids
    (classes * per_class,) int64, and one name per class such as "U+0041 LATIN CAPITAL LETTER A".  Raises
    ValueError for sizes outside of 1..200 and 1..40, FileNotFoundError when a font is missing.
    """
    if not 1 <= classes <= CLASSES:
        raise ValueError(f"classes: found {classes}, expected 1 to {CLASSES}")
    if not 1 <= per_class <= PER_CLASS:
        raise ValueError(f"per_class: found {per_class}, expected 1 to {PER_CLASS}")
    fonts = load_fonts()
    bases: dict[tuple[int, int], np.ndarray] = {}

    def base(class_id: int, font: int) -> np.ndarray:
        if (class_id, font) not in bases:
            glyph = base_glyph(fonts[font], CODE_POINTS[class_id])
            bases[class_id, font] = glyph.astype(np.float32) / np.float32(255)
        return bases[class_id, font]

    images = np.empty((classes * per_class, SIZE, SIZE, 3), np.uint8)
    used = [k % len(FONTS) for k in range(per_class)]
    for class_id in range(classes):

        def others(draws: np.ndarray, class_id: int = class_id) -> np.ndarray:
            # From the same half: no training image shows a test class, not even as clutter.
            half = class_id // TRAIN_CLASSES * TRAIN_CLASSES
            steps = 1 + (draws * np.float32(TRAIN_CLASSES - 1)).astype(np.int64)  # never 0: another class
            ids = half + (class_id - half + steps) % TRAIN_CLASSES
            return np.stack([base(int(other), font) for other, font in zip(ids, used)])

        glyphs = np.stack([base(class_id, font) for font in used])
        indices = range(class_id * PER_CLASS, class_id * PER_CLASS + per_class)
        images[class_id * per_class : (class_id + 1) * per_class] = render(indices, glyphs, others)
        if progress is not None:
            progress((class_id + 1) * per_class, len(images))
    class_ids = np.repeat(np.arange(classes, dtype=np.int64), per_class)
    names = [f"U+{c:04X} {unicodedata.name(chr(c))}" for c in CODE_POINTS[:classes]]
    return images, class_ids, names


def digest(images: np.ndarray, class_ids: np.ndarray) -> str:
    """SHA-256 (hexadecimal) of shapes and contents; the same on little- and big-endian machines."""
    state = hashlib.sha256()
    for array, kind in ((images, "|u1"), (class_ids, "<i8")):
        state.update(repr((kind, array.shape)).encode())
        state.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return state.hexdigest()


def check_digest(found: str) -> bool:
    """Whether the digest of the full set is the expected one; warns and returns False if not."""
    if found == EXPECTED_DIGEST:
        return True
    import matplotlib
    import PIL
    from PIL import features

    warnings.warn(
        f"glyphs: the generated images have digest {found[:16]}..., expected {EXPECTED_DIGEST[:16]}... "
        "(Pillow 13.0.0, FreeType 2.14.3, matplotlib 3.11.2, x86-64). "
        f"Here: Pillow {PIL.__version__}, FreeType {features.version('freetype2')}, matplotlib "
        f"{matplotlib.__version__}. Another Pillow, FreeType, set of fonts or CPU can draw single pixels "
        "differently. The dataset is as good, but results are not bit-comparable with the committed ones; "
        "for those, install the versions of requirements.lock.",
        stacklevel=2,
    )
    return False
