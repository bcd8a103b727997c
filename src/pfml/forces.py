"""Force against distance of a loss, measured by autograd on the smallest scene in which the loss acts.

Three places on the unit sphere: an embedding x; its source s at chord distance d, an embedding or a proxy; and a third
point at distance CONTEXT from x, at right angles to s, because most losses weigh one pair against another. For
attraction s is of the class of x and the third point of another, for repulsion the other way round. With t the angle
of s from x, d = 2 sin(t / 2), so that the force along the line between them, positive towards s, is

    f(d) = -dL/dd (of x alone moving) = -(dL/dx . u) / cos(t / 2),    u the unit tangent at x towards s

The third point, at right angles, adds nothing to it: f is the weight that the loss gives to the pair (x, s) times the
slope of its distance. It is the gradient that training follows, also where a loss holds weights constant in it. Mining
is left out: it chooses pairs, and a pair that it drops has no force at all.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pfml.loss_settings import LOSS_SETTINGS
from pfml.losses import build_loss
from pfml.report.style import method_name
from pfml.schema import Params

CONTEXT = 1.0  # chord distance of the third point
DIMENSION = 4
KINDS = ("attraction", "repulsion")
DISTANCES = np.geomspace(0.05, 1.95, 120)
# What acts on an embedding, of the losses whose value is a sum over pairs. Others compare whole lists, distributions or
# clusters, or draw at random, and have no force of a pair.
SOURCES = {
    "pfml": "field", "cpml": "field",
    "contrastive": "pair", "triplet": "pair", "multi_similarity": "pair", "margin": "pair", "circle": "pair",
    "lifted_structure": "pair",
    "proxy_anchor": "proxy", "proxy_nca": "proxy", "soft_triple": "proxy", "normalised_softmax": "proxy",
    "cosface": "proxy", "arcface": "proxy",
}  # fmt: skip


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
    """Attraction and repulsion of every loss of pairs in params.yaml, with its settings there; PFML for each alpha of
    the ablation too.
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
        if method in SOURCES:
            found.append((method, method_name(method), method, row.loss, None))
    return [
        Curve(method, label, SOURCES[name], kind, force_curve(name, settings, kind, DISTANCES), alpha)
        for kind in KINDS
        for method, label, name, settings, alpha in found
    ]


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
        name: a key of SOURCES. settings: the loss's own arguments. kind: attraction or repulsion.

    Raises:
        ValueError: a loss without force of a pair, another kind, or distances outside (0, 2).
    """
    if name not in SOURCES:
        raise ValueError(f"force_curve: name: expected a loss of pairs ({', '.join(SOURCES)}), found {name!r}")
    if kind not in KINDS:
        raise ValueError(f"force_curve: kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    distances = np.asarray(distances, float)
    if not ((distances > 0) & (distances < 2)).all():
        raise ValueError("force_curve: distances: expected chords of the unit sphere, above 0 and below 2")
    settings = dict(settings)
    if SOURCES[name] == "field":
        settings |= {"proxies_per_class": 0}  # a proxy acts as an embedding does
    loss = build_loss(name, 2, DIMENSION, **settings).double()
    loss.miner = None
    return np.array([_force(loss, SOURCES[name], kind, float(d)) for d in distances])


def _force(loss: torch.nn.Module, source: str, kind: str, distance: float) -> float:
    angle, side = 2 * math.asin(distance / 2), 2 * math.asin(CONTEXT / 2)
    axes = torch.eye(DIMENSION, dtype=torch.float64)
    at = axes[0].clone().requires_grad_()
    near = math.cos(angle) * axes[0] + math.sin(angle) * axes[1]
    aside = math.cos(side) * axes[0] + math.sin(side) * axes[2]
    same = kind == "attraction"
    if source == "proxy":
        with torch.no_grad():
            loss.proxies[:] = torch.stack([near, aside] if same else [aside, near])[:, None]
        value = loss(at[None], torch.tensor([0]))
    else:
        value = loss(torch.stack([at, near, aside]), torch.tensor([0, 0, 1] if same else [0, 1, 0]))
    (slope,) = torch.autograd.grad(value, at)
    return -float(slope @ axes[1]) / math.cos(angle / 2)
