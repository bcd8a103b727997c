"""Force against distance of every loss: a panel for each loss with its attraction and its repulsion, by kind of source.

The force of a loss is measured by autograd in the smallest scene in which the loss acts. All points of the scene are
on the unit sphere: an embedding x; its source s at chord distance d, which is an embedding or the proxies of a class;
and a third point at distance CONTEXT from x, at right angles to s, because most losses weigh one pair against another.
For attraction s is of the class of x and the third point of another class, for repulsion the other way round. Losses
that compare pairs of two classes (FOUR) get a fourth point like the third, so that each class has two. With t the angle
of s from x, d = 2 sin(t / 2), so that the force along the line between them, positive towards s, is

    f(d) = -dL/dd (of x alone moving) = -(dL/dx . u) / cos(t / 2),    u the unit tangent at x towards s

The other points are at right angles and add nothing to it: f is the weight that the loss gives to the pair (x, s) times
the slope of its distance. It is the gradient that training follows, also where a loss holds weights constant in it. All
proxies of a class are in one place. A loss with a memory starts afresh at every distance; a loss that draws at random
repeats its draw.

Miners are left out: they choose pairs, and a pair that they drop has no force at all. CHANGES lists what else differs
from the settings of a loss, LEFT_OUT the losses without a curve. A loss that does not say what acts (`acts` of
pfml.losses.common.describe) has none either.
"""

import copy
import csv
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import torch

from pfml.figures.style import BLUE, ORANGE, figure_style, heading, method_name, new_figure, nothing, save_figure
from pfml.losses import LOSSES, build_loss
from pfml.settings.files import write_whole

KINDS = ("attraction", "repulsion")
CONTEXT = 1.0  # chord distance of the third point, and of the fourth
DISTANCES = np.geomspace(0.05, 1.95, 60)
_BINS = "it compares histograms of pairs, so that its force on one depends on the bins of the others, in this scene "
LEFT_OUT = {
    "fast_ap": _BINS + "with a sign that changes within a bin",
    "histogram": _BINS + "with none but in two narrow intervals",
}
FOUR = ("n_pair", "hyp")
CHANGES = {
    "pfml": {"proxies_per_class": 0},  # a proxy acts as an embedding does
    "cpml": {"proxies_per_class": 0},
    "ms_das": {"epsilon": 4.0},  # leaves its mining out: no cosines differ by more
    "hist": {"lambda_s": 0.0},  # without its hypergraph, whose force goes through a network and not along a distance
    "hier": {"hierarchy": 2},  # of any number: one image draws no triplet of the hierarchy, which is then without force
    "pa_niv": {"blocks": 0},  # without its flow, whose force goes through networks and not along a distance
    "proxy_gml": {"ratio": 1.0},  # of two classes all proxies are kept, as of many those of the nearest
}
IN_PART = ("hist", "hier", "pa_niv")  # of which only what pulls to and pushes from class proxies acts
_H = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
AXES = torch.kron(_H, torch.kron(_H, _H))[1:5] / math.sqrt(8)  # of which components sum to 0, as SNR wants embeddings

LOOKS = {  # dark, light and thin on top: both are seen where they coincide, and in grey
    "attraction": {"color": BLUE, "linestyle": "-", "linewidth": 1.9},
    "repulsion": {"color": ORANGE, "linestyle": "--", "linewidth": 1.3},
}
GROUPS = {
    "field": "Fields of all points",
    "pair": "Between embeddings",
    "proxy": "Between an embedding and the proxies of a class",
}
TRENDS = {  # of an attraction: one, many, mark
    "falls": ("falls", "fall", "↘"),
    "stays": ("stays", "stay", "→"),
    "grows": ("grows", "grow", "↗"),
    "ends": ("ends", "end", "–"),
}
COLUMNS = 8
NEAR, FAR = 0.3, 1.2  # distances between which a force is said to grow or to fall
FACTOR = 2.0  # by which it must, or it is said to stay
LOWEST = 1e-4  # of the axis, as a share of the largest force
ENDED = 1e-6  # share of the largest force below which a repulsion has ended
TICKS = (0.05, 0.2, 0.5, 1, 2)


@dataclass(frozen=True)
class Curve:
    """Forces (n,) of one loss at DISTANCES; `source` is what acts (field, pair or proxy), `alpha` PFML's exponent."""

    method: str
    label: str
    source: str
    kind: str
    force: np.ndarray
    alpha: float | None = None


def force_curves(asked: Mapping) -> list[Curve]:
    """Attraction and repulsion of every loss of the study that is `drawn`; PFML for each alpha of the ablation too. A
    method with `delta_rep: auto` is left out.

    Args:
        asked: data/plan/loss_figures.json: `loss` (settings that PFML and CPML share), `field` (method -> `potential`,
            which is pfml or cpml, and `loss`, its own settings), `baseline` (method -> settings), `alphas`.
    """
    found = []
    for method, row in asked["field"].items():
        known = inspect.signature(LOSSES[row["potential"]]).parameters
        settings = {key: value for key, value in asked["loss"].items() if key in known} | row["loss"]
        if settings.get("delta_rep") == "auto":  # that radius is known in a training alone
            continue
        alphas = [settings.get("alpha")]
        if method == "pfml":
            alphas = sorted({*alphas, *asked["alphas"]})
        for alpha in alphas:
            changed = {"alpha": alpha} if alpha is not None else {}
            label = method_name(method) + (f", α = {alpha:g}" if changed else "")
            found.append((method, label, row["potential"], settings | changed, alpha))
    for method, settings in asked["baseline"].items():
        if drawn(method):
            label = method_name(method) + (", in part" if method in IN_PART else "")
            found.append((method, label, method, settings, None))
    return [
        Curve(method, label, LOSSES[name].acts, kind, force_curve(name, settings, kind, DISTANCES), alpha)
        for kind in KINDS
        for method, label, name, settings, alpha in found
    ]


def drawn(name: str) -> bool:
    """Whether a loss has curves."""
    return name in LOSSES and name not in LEFT_OUT and LOSSES[name].acts is not None


def not_drawn(asked: Mapping) -> list[str]:
    """Names of the baselines of data/plan/loss_figures.json whose losses do not say what acts."""
    return [method_name(method) for method in asked["baseline"] if LOSSES[method].acts is None]


def write_forces(curves: Sequence[Curve], path: str | Path) -> None:
    """A line per kind and distance, a column per loss; positive towards the source, five significant digits."""
    text, names = StringIO(), list(dict.fromkeys(map(_column, curves)))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "distance", *names])
    for kind in KINDS:
        forces = {_column(c): c.force for c in curves if c.kind == kind}
        for i, d in enumerate(DISTANCES):
            writer.writerow([kind, f"{d:.4g}", *(f"{forces[name][i] + 0.0:.5g}" for name in names)])
    write_whole(path, text.getvalue())


def _column(curve: Curve) -> str:
    return curve.method if curve.alpha is None else f"{curve.method} alpha={curve.alpha:g}"


def force_curve(name: str, settings: Mapping, kind: str, distances: np.ndarray) -> np.ndarray:
    """Force (n,) of loss `name` on an embedding at `distances` (n,) in (0, 2); positive towards the source.

    Args:
        name: of a loss that is `drawn`. settings: the loss's own arguments. kind: attraction or repulsion.

    Raises:
        ValueError: a loss that has none, another kind, or distances outside (0, 2).
    """
    if not drawn(name):
        why = f" ({LEFT_OUT[name]})" if name in LEFT_OUT else ""
        raise ValueError(f"force_curve: name: expected one of {', '.join(filter(drawn, LOSSES))}, found {name!r}{why}")
    if kind not in KINDS:
        raise ValueError(f"force_curve: kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    distances = np.asarray(distances, float)
    if not ((distances > 0) & (distances < 2)).all():
        raise ValueError("force_curve: distances: expected chords of the unit sphere, above 0 and below 2")
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        loss = build_loss(name, 2, AXES.shape[1], **dict(settings) | CHANGES.get(name, {})).double()
    loss.miner = None
    # A loss with buffers (a memory, a counter of draws) changes with every batch; the others need no copy of their own.
    fresh = copy.deepcopy if any(True for _ in loss.buffers()) else lambda loss: loss
    return np.array([_force(fresh(loss), name, kind, float(d)) for d in distances])


def _force(loss: torch.nn.Module, name: str, kind: str, distance: float) -> float:
    angle, side = 2 * math.asin(distance / 2), 2 * math.asin(CONTEXT / 2)
    at = AXES[0].clone().requires_grad_()
    near = math.cos(angle) * AXES[0] + math.sin(angle) * AXES[1]
    aside = [math.cos(side) * AXES[0] + math.sin(side) * AXES[i] for i in ((2, 3) if name in FOUR else (2,))]
    others = [near, *aside] if kind == "attraction" else [*aside, near]  # the first is of the class of x
    if LOSSES[name].acts == "proxy":
        with torch.no_grad():
            loss.proxies[:] = torch.stack(others)[:, None]
            if name == "hist":
                loss.log_vars.zero_()  # variances of 1
        images = 2 if name == "hist" else 1  # x twice: HIST takes no batch of one, and a mean over equals is the same
        value = loss(at.expand(images, -1), torch.zeros(images, dtype=torch.long))
    else:
        value = loss(torch.stack([at, *others]), torch.tensor([0, 0, 1, 1])[: 1 + len(others)])
    (slope,) = torch.autograd.grad(value, at)
    return -float(slope @ AXES[1]) / math.cos(angle / 2)


def force_figure(curves: Sequence[Curve], path: str | Path, not_drawn: Sequence[str] = ()) -> None:
    """Every curve as a share of its largest force: losses have units of their own. Both axes are logarithmic, so that
    a power of the distance is a straight line. Where there is no force there is no line.
    """
    from matplotlib.lines import Line2D

    groups = [(text, [c for c in curves if c.source == source]) for source, text in GROUPS.items()]
    groups = [(text, members) for text, members in groups if members]
    rows = [math.ceil(len(_labels(members)) / COLUMNS) for _, members in groups]
    with figure_style():
        figure = new_figure(11.4, 1.0 + 0.4 * len(rows) + 1.35 * sum(rows))
        if not curves:
            nothing(figure, "none in params.yaml")
            return save_figure(figure, path)
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=[n + 0.3 for n in rows])[:, 0]
        for part, n, (text, members) in zip(parts, rows, groups):
            _panels(part, n, members)
            found = (f"{kind.title()}: {finding([c for c in members if c.kind == kind], kind)}" for kind in KINDS)
            part.suptitle(f"{text}. {'. '.join(found)}", x=0.04 / figure.get_figwidth(), ha="left", fontsize=9)
        lines = [Line2D([], [], label=f"{kind} / its largest", **look) for kind, look in LOOKS.items()]
        note = "over the distance d on the unit sphere (chord)"
        if not_drawn:
            note += f"; not drawn: {', '.join(not_drawn)}"
        figure.legend(handles=[*lines, Line2D([], [], linestyle="", label=note)], loc="outside lower center", ncols=3)
        heading(figure, overall(curves))
        save_figure(figure, path)


def size(curve: Curve) -> np.ndarray:
    """A force in its direction, as a share of its largest; the other direction counts as none."""
    force = np.maximum(curve.force if curve.kind == "attraction" else -curve.force, 0)
    return force / force.max() if force.max() > 0 else force


def trend(curve: Curve) -> str:
    """Whether a force `falls`, `grows` or `stays` (within FACTOR) from NEAR to FAR, or `ends` where neither has any."""
    near, far = np.interp((NEAR, FAR), DISTANCES, size(curve))
    if near == far == 0:
        return "ends"
    return "grows" if far > FACTOR * near else "falls" if near > FACTOR * far else "stays"


def overall(curves: Sequence[Curve]) -> str:
    """Which attractions fall with distance, by method, and what those of the others do."""
    found = {}
    for curve in (c for c in curves if c.kind == "attraction"):
        found.setdefault(curve.label.split(",")[0], []).append(trend(curve))
    falling = [name for name, trends in found.items() if "falls" in trends]
    others = [trends[0] for name, trends in found.items() if name not in falling]
    names = " and ".join(filter(None, (", ".join(falling[:-1]), *falling[-1:])))
    parts = [f"falls with distance for {f'{names} alone' if falling else 'no loss'}"]
    parts += [f"{key} for {others.count(key)}" for key in ("grows", "stays", "ends") if key in others]
    return f"Attraction {', '.join(parts)} (over {FACTOR:g}-fold from d = {NEAR:g} to {FAR:g})"


def finding(curves: Sequence[Curve], kind: str) -> str:
    """`4 grow, 2 stay` of attractions; how far repulsions reach."""
    if not curves:
        return "none"
    if kind == "repulsion":
        ends = [f"{DISTANCES[size(c) >= ENDED].max(initial=0.0):.1f}" for c in curves]
        low, high = min(ends, key=float), max(ends, key=float)
        return f"reaches to d = {low}" + (f" and up to {high}" if high != low else "")
    trends = [trend(c) for c in curves]
    counts = [(trends.count(key), one, many) for key, (one, many, _) in TRENDS.items() if key in trends]
    return ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts)


def _labels(curves: Sequence[Curve]) -> list[str]:
    return list(dict.fromkeys(c.label for c in curves))


def _panels(part, rows: int, curves: Sequence[Curve]) -> None:
    """A panel for each label; the panels left over stay empty."""
    from matplotlib.ticker import NullLocator

    labels = _labels(curves)
    for i, (axes, label) in enumerate(zip(part.subplots(rows, COLUMNS).flat, labels)):
        mark = ""
        for curve in (c for c in curves if c.label == label):
            share = size(curve)
            axes.plot(DISTANCES, np.where(share > 0, share, np.nan), **LOOKS[curve.kind])
            mark = TRENDS[trend(curve)][2] if curve.kind == "attraction" else mark
        axes.set_title(f"{label} {mark}", fontsize=8)
        axes.set(xscale="log", yscale="log", xlim=(DISTANCES[0], 2), ylim=(LOWEST, 1.6))
        axes.set_xticks(TICKS, [f"{t:g}" for t in TICKS])
        axes.set_yticks((1e-4, 1e-2, 1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=7, labelleft=i % COLUMNS == 0, labelbottom=i + COLUMNS >= len(labels))
    for axes in part.axes[len(labels) :]:
        axes.set_axis_off()
