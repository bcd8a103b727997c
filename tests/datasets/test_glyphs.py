"""The embedded dataset: what it contains, that it is the same everywhere, and that it is not degenerate."""

import warnings

import numpy as np
import pytest

from pfml.datasets import glyphs

FEW = {"classes": 6, "per_class": 20}


@pytest.fixture(scope="module")
def full():
    """The whole set, made once."""
    return glyphs.generate()


@pytest.fixture(scope="module")
def bases():
    """Undistorted glyphs, (16 fonts, 200 classes, 64 * 64)."""
    return np.array([[glyphs.base_glyph(font, c).ravel() for c in glyphs.CODE_POINTS] for font in glyphs.load_fonts()])


def test_the_full_set_has_the_published_contents(full):
    images, class_ids, names = full
    assert images.shape == (8000, 32, 32, 3) and images.dtype == np.uint8
    assert class_ids.shape == (8000,) and class_ids.dtype == np.int64
    assert (class_ids == np.arange(8000) // 40).all()
    assert len(names) == len(set(names)) == 200
    assert "U+0041 LATIN CAPITAL LETTER A" in names
    assert names[glyphs.CODE_POINTS.index(0x0416)] == "U+0416 CYRILLIC CAPITAL LETTER ZHE"


def test_digest_of_the_full_set(full):
    """On another Pillow, FreeType or CPU this may differ: then the warning is the specified behaviour."""
    from PIL import __version__, features

    found = glyphs.digest(*full[:2])
    if (__version__, features.version("freetype2")) != ("13.0.0", "2.14.3"):
        pytest.skip("the expected digest belongs to Pillow 13.0.0 with FreeType 2.14.3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert glyphs.check_digest(found)


def test_another_digest_warns_and_does_not_fail():
    with pytest.warns(UserWarning, match=r"digest 0000.*expected.*Here: Pillow.*not bit-comparable"):
        assert glyphs.check_digest("0" * 64) is False


def test_digest_sees_every_pixel_every_label_and_the_shape():
    images, class_ids, _ = glyphs.generate(classes=2, per_class=3)
    found = glyphs.digest(images, class_ids)
    assert found == glyphs.digest(images.copy(order="F"), class_ids.astype(">i8"))  # contents, not memory
    pixel, label = images.copy(), class_ids.copy()
    pixel[-1, -1, -1, -1] ^= 1
    label[-1] = 0
    assert len({found, glyphs.digest(pixel, class_ids), glyphs.digest(images, label)}) == 3
    assert glyphs.digest(images.reshape(6, 32, 96), class_ids) != found


def test_the_same_images_alone_or_in_the_full_set(full):
    by_class = full[0].reshape(200, 40, 32, 32, 3)
    for classes, per_class in ((1, 1), (3, 7), (6, 20)):
        images, class_ids, names = glyphs.generate(classes=classes, per_class=per_class)
        expected = by_class[:classes, :per_class].reshape(-1, 32, 32, 3)
        np.testing.assert_array_equal(images, expected)
        assert class_ids.tolist() == [c for c in range(classes) for _ in range(per_class)]
        assert names == full[2][:classes]


def test_nothing_global_steers_the_images():
    np.random.seed(1)
    first = glyphs.generate(**FEW)[0]
    np.random.seed(2)
    np.testing.assert_array_equal(first, glyphs.generate(**FEW)[0])


def test_progress_is_told_after_each_class():
    calls = []
    glyphs.generate(lambda done, total: calls.append((done, total)), classes=3, per_class=2)
    assert calls == [(2, 6), (4, 6), (6, 6)]


@pytest.mark.parametrize("sizes", [{"classes": 0}, {"classes": 201}, {"per_class": 0}, {"per_class": 41}])
def test_impossible_sizes_are_refused_by_name(sizes):
    ((name, value),) = sizes.items()
    with pytest.raises(ValueError, match=f"{name}: found {value}, expected"):
        glyphs.generate(**sizes)


def test_a_missing_font_is_named(monkeypatch):
    monkeypatch.setattr(glyphs, "FONTS", ("NoSuchFont",))
    with pytest.raises(FileNotFoundError, match=r"NoSuchFont\.ttf"):
        glyphs.generate(classes=1, per_class=1)


def test_200_distinct_characters_that_all_16_fonts_contain():
    from matplotlib.ft2font import FT2Font

    assert len(glyphs.CODE_POINTS) == len(set(glyphs.CODE_POINTS)) == 200
    fonts = glyphs.load_fonts()
    assert len({font.getname() for font in fonts}) == 16
    for font in fonts:
        # Not found in the map would mean the same "missing character" box for several classes.
        assert set(glyphs.CODE_POINTS) <= FT2Font(font.path).get_charmap().keys(), font.path


def test_both_halves_mix_scripts():
    for half in (glyphs.CODE_POINTS[:100], glyphs.CODE_POINTS[100:]):
        for low, high in ((0x30, 0x39), (0x41, 0x7A), (0x391, 0x3E1), (0x400, 0x4FF), (0x250, 0x2AF)):
            assert sum(low <= c <= high for c in half) >= 4


def test_no_two_classes_share_a_base_glyph(bases):
    for font, of_font in zip(glyphs.FONTS, bases):
        assert len({glyph.tobytes() for glyph in of_font}) == 200, font


def test_base_glyphs_fill_their_box_and_leave_the_border_empty(bases):
    ink = bases.reshape(16, 200, 64, 64) > 0
    assert not ink[:, :, :11].any() and not ink[:, :, 53:].any()
    assert not ink[..., :11].any() and not ink[..., 53:].any()
    for profile in (ink.any(2), ink.any(3)):  # columns, rows that have ink
        first, last = profile.argmax(2), 63 - profile[..., ::-1].argmax(2)
        assert (abs(first - (63 - last)) <= 3).all()  # centred
    rows, columns = (np.ptp(np.nonzero(ink[0, glyphs.CODE_POINTS.index(ord("I"))])[i]) + 1 for i in (0, 1))
    assert rows >= 41 > 2 * columns  # a thin letter keeps its proportions


def test_images_are_neither_constant_nor_saturated(full):
    images = full[0]
    spread = images.reshape(8000, -1).std(1)
    assert spread.min() > 8  # grey levels
    at_end = ((images == 0) | (images == 255)).reshape(8000, -1).mean(1)
    assert at_end.mean() < 0.10 and at_end.max() < 0.75
    assert 110 < images.mean() < 145  # random polarity: no class of dark or of light images
    assert len({image.tobytes() for image in images}) == 8000


def test_noise_of_neighbouring_images_is_independent():
    """Were the image index the low word of the counter, image i + 1 would repeat image i's noise, shifted."""
    noise = glyphs.Draws(range(2)).noise.reshape(2, -1)
    assert not np.isin(noise[1].view(np.uint64), noise[0].view(np.uint64)).any()
    assert abs(noise.mean() - 127.5) < 1.5 and set(range(256)) == set(noise.ravel().tolist())
    assert abs(noise.reshape(2, 4, -1).astype(float).sum(1).std() / glyphs.NOISE_STD - 1) < 0.03


def test_classes_can_be_told_apart_but_not_by_pixels(full):
    """Nearest neighbour on raw grey pixels beats chance (1 %) by far and stays far from solving the task."""
    images, class_ids, _ = full
    x = images[4000:].astype(np.float32).mean(3).reshape(4000, -1)
    x -= x.mean(1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = class_ids[4000:]
    similarity = np.abs(x @ x.T)  # the sign is the polarity
    np.fill_diagonal(similarity, -1)
    recall = (y[similarity.argmax(1)] == y).mean()
    assert 0.05 < recall < 0.60
