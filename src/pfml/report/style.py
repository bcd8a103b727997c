"""How the report looks: names and colours of methods, number formats, Markdown tables, the one figure style."""

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

MISSING = "–"
NAMES = {
    "pfml": "PFML", "pfml_tuned": "PFML tuned", "cpml": "CPML", "proxy_anchor": "Proxy Anchor",
    "proxy_nca": "ProxyNCA", "soft_triple": "SoftTriple", "multi_similarity": "Multi-Similarity",
    "triplet": "Triplet", "contrastive": "Contrastive", "hist": "HIST", "hyp": "Hyp", "hier": "HIER",
    "n_pair": "N-Pair", "margin": "Margin", "margin_per_class": "Margin per class", "cosface": "CosFace",
    "normalised_softmax": "N.Softmax", "arcface": "ArcFace", "sub_center_arcface": "Sub-centre ArcFace",
    "fast_ap": "FastAP", "snr": "SNR", "circle": "Circle", "lifted_structure": "Lifted Structure",
    "histogram": "Histogram", "proxy_nca_pp": "ProxyNCA++", "esphn": "ESPHN", "prism": "PRISM", "ms_das": "MS + DAS",
    "proxy_gml": "ProxyGML",
}  # fmt: skip
DATASETS = {"cub200": "CUB-200", "cars196": "Cars-196", "sop": "SOP"}
METRICS = {
    "map@r": "MAP@R", "r_precision": "R-Prec.", "nmi": "NMI", "w2": "W2", "w2_relative": "relative W2",
    "best_recall@1": "best R@1", "seconds_per_epoch": "s per epoch",
}  # fmt: skip

# Okabe and Ito's colour-blind-safe colours; a dash sets the second user of a hue apart.
LINES = {
    "pfml": ("#D55E00", "-"), "pfml_tuned": ("#D55E00", "--"), "cpml": ("#CC79A7", "-"),
    "proxy_anchor": ("#0072B2", "-"), "proxy_nca": ("#56B4E9", "-"), "soft_triple": ("#009E73", "-"),
    "multi_similarity": ("#000000", "-"), "triplet": ("#E69F00", "-"), "contrastive": ("#7F7F7F", "-"),
    "hist": ("#0072B2", "--"), "hyp": ("#009E73", "--"), "hier": ("#000000", "--"),
    "cub200": ("#009E73", "-"), "cars196": ("#D55E00", "-"),
}  # fmt: skip
RIGHT, WRONG = "#009E73", "#D55E00"

FIGURE_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.6, "legend.frameon": False,
    "figure.facecolor": "white", "figure.dpi": 130,
}  # fmt: skip


def method_name(method: str) -> str:
    return NAMES.get(method, method)


def dataset_name(dataset: str) -> str:
    return DATASETS.get(dataset, dataset)


def metric_name(metric: str) -> str:
    """Column heading of a measured number: recall@1 -> R@1."""
    return METRICS.get(metric, metric.replace("recall@", "R@"))


def line_style(name: str) -> dict:
    """Colour, dash and weight of a method's (or published dataset's) line; an unknown name is a thin dotted grey."""
    colour, dash = LINES.get(name, ("#AAAAAA", ":"))
    return {"color": colour, "linestyle": dash, "linewidth": 2.4 if name.startswith("pfml") else 1.5}


def number(mean: float | None, std: float | None = None, digits: int = 1) -> str:
    """`12.3` or `12.3 ± 0.4`; a dash where there is no number."""
    if mean is None:
        return MISSING
    mean = round(mean, digits) + 0.0  # no minus sign before a zero
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")


def share(fraction: float) -> str:
    """0.2 -> `20 %`."""
    return f"{100 * fraction:g} %"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int | Sequence[bool] = 1) -> str:
    """A Markdown table; columns of words are set left, of numbers right.

    Args:
        words: how many of the first columns hold words, or for each column whether it does.
    """
    left = [i < words for i in range(len(header))] if isinstance(words, int) else words
    marks = [":---" if word else "---:" for word in left]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, marks, *rows))


def new_figure(width: float, height: float):
    """A figure (inches) with the Agg canvas, outside pyplot's global state. Use inside `figure_style()`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
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


def save_png(figure, path: str | Path) -> None:
    """Write a PNG of 256 colours without program name or date: small, and equal bytes for equal numbers."""
    import numpy as np
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(path, format="PNG", optimize=True)
