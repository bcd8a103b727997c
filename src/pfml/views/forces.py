"""Force against distance of a loss, measured by autograd on the smallest scene in which the loss acts.

Places on the unit sphere: an embedding x; its source s at chord distance d, an embedding or a class's proxies; and a
third at distance CONTEXT from x, at right angles to s, because most losses weigh one pair against another. For
attraction s is of the class of x and the third point of another, for repulsion the other way round. Losses that compare
pairs of two classes (FOUR) get a fourth point like the third, so that each class has two. With t the angle of s from x,
d = 2 sin(t / 2), so that the force along the line between them, positive towards s, is

    f(d) = -dL/dd (of x alone moving) = -(dL/dx . u) / cos(t / 2),    u the unit tangent at x towards s

The other points, at right angles, add nothing to it: f is the weight that the loss gives to the pair (x, s) times the
slope of its distance. It is the gradient that training follows, also where a loss holds weights constant in it. All
proxies of a class are in one place. A loss that remembers is as new at every distance, one that draws repeats its draw.

Miners are left out: they choose pairs, and a pair that they drop has no force at all. CHANGES lists what else differs
from a loss's settings, LEFT_OUT which losses have no curve, nor has a loss that does not say what acts (`acts` of
pfml.losses.common.describe).
"""

import copy
import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pfml.losses import LOSSES, build_loss
from pfml.report.names import method_name
from pfml.settings.losses import LOSS_SETTINGS
from pfml.settings.schema import Params

CONTEXT = 1.0  # chord distance of the third point, and of the fourth
KINDS = ("attraction", "repulsion")
DISTANCES = np.geomspace(0.05, 1.95, 120)
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


@dataclass(frozen=True)
class Curve:
    """Forces (n,) of one loss at DISTANCES; `source` is what acts (field, pair or proxy), `alpha` PFML's exponent."""

    method: str
    label: str
    source: str
    kind: str
    force: np.ndarray
    alpha: float | None = None


def force_curves(params: Params) -> list[Curve]:
    """Attraction and repulsion of every loss of params.yaml that is `drawn`, with its settings there; PFML for each
    alpha of the ablation too.
    """
    found = []
    for method, row in params.field.items():
        kind = LOSS_SETTINGS[row.potential]
        shared = {key: value for key, value in params.loss.model_dump().items() if key in kind.model_fields}
        settings = shared | row.loss
        alphas = [settings.get("alpha")]
        if method == "pfml":
            alphas = sorted({*alphas, *params.ablation.alpha})
        for alpha in alphas:
            changed = {"alpha": alpha} if alpha is not None else {}
            label = method_name(method) + (f", α = {alpha:g}" if changed else "")
            found.append((method, label, row.potential, settings | changed, alpha))
    for method, row in params.baseline.items():
        if drawn(method):
            label = method_name(method) + (", in part" if method in IN_PART else "")
            found.append((method, label, method, row.loss, None))
    return [
        Curve(method, label, LOSSES[name].acts, kind, force_curve(name, settings, kind, DISTANCES), alpha)
        for kind in KINDS
        for method, label, name, settings, alpha in found
    ]


def drawn(name: str) -> bool:
    """Whether a loss has curves."""
    return name in LOSSES and name not in LEFT_OUT and LOSSES[name].acts is not None


def not_drawn(params: Params) -> list[str]:
    """Names of the methods of params.yaml without curves because their losses do not say what acts."""
    return [method_name(method) for method in params.baseline if LOSSES[method].acts is None]


def write_forces(curves: Sequence[Curve], path: str | Path) -> None:
    """A line per kind and distance, a column per loss; positive towards the source, five significant digits."""
    path, names = Path(path), list(dict.fromkeys(map(_column, curves)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kind", "distance", *names])
        for kind in KINDS:
            forces = {_column(c): c.force for c in curves if c.kind == kind}
            for i, d in enumerate(DISTANCES):
                writer.writerow([kind, f"{d:.4g}", *(f"{forces[name][i] + 0.0:.5g}" for name in names)])


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
    return np.array([_force(copy.deepcopy(loss), name, kind, float(d)) for d in distances])


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
