"""The one style of figures: colours, dashes and markers of methods, how a figure is made and saved."""

from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from pfml.losses import LOSSES
from pfml.report import names
from pfml.settings.files import write_whole

# Okabe and Ito's colours, which colour-blind people tell apart. Several are equally light, so that dash and marker say
# in grey what colour says: no two methods share both.
BLACK, ORANGE, SKY, GREEN, YELLOW = "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"
HUES = (BLUE, GREEN, BLACK, PURPLE, SKY, ORANGE, GREY)  # vermilion is PFML's
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES = ("-", "--", ":", "-.")
FURTHER_MARKERS = ("<", ">", "d", "*", "H", "8")
FURTHER_DASHES = (*DASHES, (0, (6, 2)), (0, (1, 3)), (0, (3, 1, 1, 1, 1, 1)))
LOOKS = {  # colour, dash, marker
    "pfml": (VERMILION, "-", "o"), "pfml_tuned": (VERMILION, "--", "h"), "pfml_auto": (VERMILION, "-.", "*"),
    "cpml": (PURPLE, "-", "X"),
    "proxy_anchor": (BLUE, "-", "^"), "proxy_nca": (SKY, "-", "v"), "soft_triple": (GREEN, "-", "D"),
    "multi_similarity": (BLACK, "-", "P"), "triplet": (ORANGE, "-", "p"), "contrastive": (GREY, "-", "s"),
    "cub200": (GREEN, "-", "s"), "cars196": (BLUE, "--", "D"),
}  # fmt: skip


def _dealt():
    """Looks for further methods: no two have the same dash and marker, and no two the same colour and marker."""
    yield from ((HUES[(i + 1) % 7], DASHES[1 + i // 8], MARKERS[i % 8]) for i in range(24))
    yield from ((HUES[i % 7], FURTHER_DASHES[i // 6], FURTHER_MARKERS[i % 6]) for i in range(42))


# In the order of the registry, so that a method that is added at its end changes no other's look.
LOOKS |= dict(zip((name for name in LOSSES if name not in LOOKS), _dealt()))
CLASS_LOOKS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (SKY, "v"), (ORANGE, "P"))
RIGHT, WRONG = BLUE, ORANGE  # dark and light: also told apart in grey
QUIET = "#6E6E6E"  # notes and guides

FIGURE_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.6, "legend.frameon": False,
    "axes.titlelocation": "left", "figure.titlesize": 10.5, "figure.facecolor": "white", "figure.dpi": 130,
    "pdf.fonttype": 42, "pdf.compression": 9,
}  # fmt: skip


def line_style(name: str) -> dict:
    """Colour, dash, weight and marker of a method's (or published dataset's) line; an unknown name is dotted grey."""
    colour, dash, marker = LOOKS.get(name, ("#AAAAAA", ":", "."))
    ours = name.startswith("pfml")
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    return {"color": colour, "linestyle": dash, "linewidth": 2.4 if ours else 1.5, "marker": marker,
            "markersize": 6 if ours else 5.5} | edge  # fmt: skip


def new_figure(width: float, height: float, layout: str | None = "constrained"):
    """A figure (inches) with the Agg canvas, outside pyplot's global state. Use inside `figure_style()`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def figure_style():
    """Context in which every figure is drawn and saved: matplotlib's defaults under ours, whatever a user has set."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(FIGURE_STYLE)
        yield


def literal(text: str) -> str:
    """A name as it is drawn, in one line: matplotlib would read `$...$` in it as a formula, and stop at a wrong one."""
    return "".join(one if one.isprintable() else " " for one in text).replace("$", r"\$")


def method_name(method: str) -> str:
    return literal(names.method_name(method))


def dataset_name(dataset: str) -> str:
    return literal(names.dataset_name(dataset))


def heading(figure, text: str) -> None:
    """What the whole figure shows, over its left edge."""
    figure.suptitle(text, x=0.04 / figure.get_figwidth(), ha="left")


def frame(axes, colour: str, width: float) -> None:
    """Nothing but a frame around what the axes hold."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=width)


def nothing(figure, why: str) -> None:
    """A figure that has nothing to show says why."""
    figure.text(0.5, 0.5, why, ha="center", va="center", color=QUIET)


def save_figure(figure, path: str | Path) -> None:
    """Write a PNG of 256 colours at `path` and a PDF beside it, without program name or date: equal bytes for equal
    numbers. A stop leaves no half of one.

    Raises:
        ValueError: `path` does not end in .png.
    """
    import numpy as np
    from PIL import Image

    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"save_figure: path: expected a name that ends in .png, found {path}")
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture, document = BytesIO(), BytesIO()
    image.save(picture, format="PNG", optimize=True)
    unsaid = dict.fromkeys(("CreationDate", "Creator", "Producer"))
    figure.savefig(document, format="pdf", metadata=unsaid)
    write_whole(path, picture.getvalue())
    write_whole(path.with_suffix(".pdf"), document.getvalue())
