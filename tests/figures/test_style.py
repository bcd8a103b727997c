"""Figures can be read in grey and by colour-blind people, and their files hold nothing but the picture."""

from itertools import combinations

import pytest
from PIL import Image

from pfml.figures import style
from pfml.losses import LOSSES
from pfml.report.names import NAMES

LEAST_LIGHTNESS = 15  # of 100: clearly another grey


def lightness(colour: str) -> float:
    """CIE L* of an sRGB colour: 0 black, 100 white."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_lightness_of_known_colours():
    assert lightness("#000000") == 0 and lightness("#FFFFFF") == pytest.approx(100, abs=0.1)
    assert lightness("#777777") == pytest.approx(50, abs=0.5)


def test_no_two_methods_share_dash_and_marker():
    """What colour says is said in grey too."""
    looks = {name: style.LOOKS[name][1:] for name in NAMES}
    assert set(looks) >= {"pfml", "cpml", "proxy_anchor", "hist", "proxy_gml"}
    assert [(a, b) for a, b in combinations(looks, 2) if looks[a] == looks[b]] == []


def test_no_two_methods_share_colour_and_marker():
    """The names at the ends of lines have no dash."""
    looks = {name: (style.LOOKS[name][0], style.LOOKS[name][2]) for name in NAMES}
    assert [(a, b) for a, b in combinations(looks, 2) if looks[a] == looks[b]] == []


def test_there_are_looks_for_many_more_methods():
    dealt = list(style._dealt())
    assert len(set(dealt)) == len(dealt) >= 64
    assert len({look[1:] for look in dealt}) == len({(colour, marker) for colour, _, marker in dealt}) == len(dealt)


def test_looks_are_dealt_in_the_order_of_the_registry():
    """A method that is added at its end leaves the looks of all others as they are."""
    dealt = [name for name in LOSSES if style.LOOKS[name] in set(style._dealt())]
    assert dealt[:3] == ["hist", "hyp", "hier"]
    assert [style.LOOKS[name] for name in dealt] == list(style._dealt())[: len(dealt)]
    assert style.LOOKS["hist"] == (style.GREEN, "--", "o") and style.LOOKS["pa_niv"] == (style.GREEN, "-.", "P")


def test_published_datasets_and_classes_differ_in_their_markers():
    assert style.LOOKS["cub200"][1:] != style.LOOKS["cars196"][1:]
    assert len({marker for _, marker in style.CLASS_LOOKS}) == len(style.CLASS_LOOKS)


def test_hits_and_misses_differ_in_lightness():
    assert lightness(style.WRONG) - lightness(style.RIGHT) > LEAST_LIGHTNESS


def test_every_colour_is_seen_on_white():
    colours = {colour for colour, *_ in (*style.LOOKS.values(), *style.CLASS_LOOKS)} | {style.QUIET}
    assert {colour for colour in colours if lightness(colour) > 75} == set()


def test_a_line_has_its_marker_and_ours_is_heavier():
    ours, theirs = style.line_style("pfml"), style.line_style("proxy_anchor")
    assert (ours["marker"], theirs["marker"]) == ("o", "^") and ours["linewidth"] > theirs["linewidth"]
    assert style.line_style("a new one")["color"] == "#AAAAAA"


def test_files_say_neither_date_nor_program(tmp_path):
    with style.figure_style():
        figure = style.new_figure(3, 2)
        figure.subplots().plot([1, 2], **style.line_style("pfml"))
        style.save_figure(figure, tmp_path / "new" / "a.png")
    pdf = (tmp_path / "new" / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and not any(w in pdf for w in (b"CreationDate", b"Producer", b"matplotlib"))
    assert Image.open(tmp_path / "new" / "a.png").info.keys() <= {"transparency"}


def test_a_figure_has_a_png_name(tmp_path):
    with style.figure_style(), pytest.raises(ValueError, match=r"ends in \.png, found .*a\.pdf"):
        style.save_figure(style.new_figure(1, 1), tmp_path / "a.pdf")
