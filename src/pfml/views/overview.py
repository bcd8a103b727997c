"""The scene of Figure 1: a batch and its proxies on a patch of the unit sphere in R^3, moved by the loss itself.

Everything is what the package's own functions give: `PotentialFieldLoss` draws the proxies, its energy's gradient is
the force, torch's optimiser takes the steps, and `pfml.theory.fields.class_field` is the potential between the points.
Only the embeddings are drawn at random, since there is no network: they are free points here.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pfml.losses import PotentialFieldLoss
from pfml.theory.fields import DecayingLaw, class_field

CLASSES, BATCH, PROXIES = 3, 8, 3  # classes, embeddings a class in the batch, proxies a class
GROUPS = (((-0.4, 0.22), (0.2, 0.4)), ((0.38, 0.02),), ((-0.28, -0.25), (0.15, -0.36)))  # centres of each class
WIDTH, SEED = 0.12, 3
STEPS, RATE = 40, 0.01  # of Adam
PATCH = 0.88  # half the side of the patch seen from above


@dataclass(frozen=True)
class Overview:
    """points (n, 3): the batch, then all proxies; labels (n,); proxy (n,) bool; force (n, 3): -dU/dpoint along the
    sphere; path (STEPS + 1, n, 3): where the steps lead; energy (STEPS + 1,).
    """

    law: DecayingLaw
    points: np.ndarray
    labels: np.ndarray
    proxy: np.ndarray
    force: np.ndarray
    path: np.ndarray
    energy: np.ndarray

    def potential(self, own: int, cells: int = 120) -> tuple[np.ndarray, np.ndarray]:
        """Ticks (cells,) of the patch, and Psi_own (cells, cells) on it."""
        ticks = np.linspace(-PATCH, PATCH, cells)
        plane = np.stack(np.meshgrid(ticks, ticks), -1)
        height = np.sqrt(np.maximum(1 - (plane**2).sum(-1), 0))[..., None]
        return ticks, class_field(np.concatenate([plane, height], -1), self.points, self.labels, own, self.law)[0]

    def own_nearest(self, step: int) -> float:
        """Share of the points whose nearest other point is of their class."""
        at = self.path[step]
        distance = np.linalg.norm(at[:, None] - at, axis=-1) + np.diag(np.full(len(at), np.inf))
        return float((self.labels[distance.argmin(1)] == self.labels).mean())


def overview(alpha: float = 3.0, delta: float = 0.2) -> Overview:
    """Draws the scene and lets the loss move it; the same every time."""
    embeddings, labels = _training_set()
    draw = torch.Generator().manual_seed(SEED)
    loss = PotentialFieldLoss(CLASSES, 3, PROXIES, alpha, delta, proxy_init="data").double()
    loss.initialize_proxies(torch.from_numpy(embeddings), torch.from_numpy(labels), draw)
    batch = np.concatenate([np.flatnonzero(labels == c)[::2][:BATCH] for c in range(CLASSES)])
    free = torch.nn.Parameter(torch.from_numpy(embeddings[batch]))
    classes = torch.from_numpy(labels[batch])
    optimizer = torch.optim.Adam([{"params": [free]}, {"params": loss.parameters(), "lr": RATE * 3**0.5}], lr=RATE)
    path, energies, force = [_points(free, loss)], [], None
    for _ in range(STEPS + 1):
        energy = loss(free, classes)
        energies.append(energy.item())
        optimizer.zero_grad()
        energy.backward()
        if force is None:
            scale = loss.proxies.detach().norm(dim=2, keepdim=True)  # from a proxy to its direction, which acts
            force = -torch.cat([free.grad, (loss.proxies.grad * scale).flatten(0, 1)]).numpy().copy()
        optimizer.step()
        path.append(_points(free, loss))
    return Overview(
        law=DecayingLaw(alpha, delta), points=path[0], force=force, path=np.array(path[: STEPS + 1]),
        labels=np.concatenate([labels[batch], np.repeat(np.arange(CLASSES), PROXIES)]),
        proxy=np.arange(len(path[0])) >= len(batch), energy=np.array(energies),
    )  # fmt: skip


def _training_set() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, 3) on the patch and labels (n,): 2 BATCH a class, spread evenly over its groups."""
    draw, found, labels = np.random.default_rng(SEED), [], []
    for label, centres in enumerate(GROUPS):
        near = np.array(centres)[np.arange(2 * BATCH) // 2 % len(centres)]
        flat = near + draw.normal(0, WIDTH, near.shape)
        found.append(np.concatenate([flat, np.sqrt(1 - (flat**2).sum(1, keepdims=True))], 1))
        labels.append(np.full(len(near), label))
    return np.concatenate(found), np.concatenate(labels)


def _points(free: torch.Tensor, loss: PotentialFieldLoss) -> np.ndarray:
    both = torch.cat([free, loss.proxies.flatten(0, 1)]).detach()
    return torch.nn.functional.normalize(both, dim=1).numpy().copy()
