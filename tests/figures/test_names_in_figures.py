"""A name in a figure is text: nothing in it is a formula, and none stops a figure."""

import re
import warnings

import numpy as np
import pytest

from pfml.figures.proxy import Shown, _legend, proxy_figure
from pfml.figures.style import figure_style, literal, new_figure, save_figure
from pfml.figures.training import training_curves

NAMES = (
    "$x_$",
    "_x",
    "a $ b",
    r"\frac{",
    r"a\$b$",
    "100 % #1 & {}^~",
    "two\nlines\x00",
    "<b>|`*`",
    "文字 🐦",
    "x" * 99 + "$",
    "",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_name_is_drawn_as_it_is(name, tmp_path):
    with figure_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = new_figure(4, 2)
        _legend(figure, {0: name, 1: "plain"})
        save_figure(figure, tmp_path / "a.png")
    texts = figure.legends[0].get_texts()
    assert [text.get_text() for text in texts][1:] == ["plain", "proxy", "wrong label"]
    drawn, formula = texts[0]._preprocess_math(texts[0].get_text())
    assert not formula and drawn == (re.sub(r"[\n\x00]", " ", name) if len(name) <= 40 else name[:40] + "…")


def test_beside_a_formula_a_name_stays_text(tmp_path):
    """The title of a panel has W_2 as a formula."""
    points, labels = np.random.default_rng(0).normal(size=(8, 3)), np.repeat([0, 1], 4)
    run = Shown("$x_$", 0.0, points, labels, labels, {c: points[:2] for c in (0, 1)}, {0: 0.1, 1: None})
    proxy_figure([run], {0: "$x_$", 1: r"\$"}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000 and (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_names_of_methods_and_datasets_are_text_too(tmp_path):
    epochs = [{"epoch": k, "loss": 3.0 - k, "recall@1": 0.1 * k} for k in (1, 2)]
    runs = {name: [(name, 0.2, epochs)] for name in ("$x_$", "$", r"\frac{$}")}
    training_curves(runs, tmp_path / "a.png")
    assert literal("plain_name 5 %") == "plain_name 5 %"
