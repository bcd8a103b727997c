"""How far apart embeddings are, and the radius of repulsion that follows from it."""

import numpy as np
import torch
import torch.nn.functional as F

AT_MOST = 2_000  # images of which all pairs are looked at
# Of the distances between classes before training: in the first step one pair in twenty repels. Chosen on validation
# classes of glyphs and of Cars crops with frozen features (docs/findings.md); ours, not the paper's.
QUANTILE = 0.05


def radius_at_start(embeddings: torch.Tensor, labels: torch.Tensor) -> float:
    """A radius of repulsion for PotentialFieldLoss, `delta_rep=`, from the embeddings before the first step.

    Args:
        embeddings: (n, D) float of any scale: of the training images by the network as it starts, in evaluation mode.
        labels: (n,) integers.

    Returns:
        the 5 % quantile of the distances between unit embeddings of different classes, 0 to 2.

    Raises:
        ValueError: no two classes.
    """
    return radius_of(pair_distances(embeddings, labels)[1])


def radius_of(between: torch.Tensor) -> float:
    """`radius_at_start` of the distances (q,) between embeddings of different classes. ValueError if there are none."""
    if not len(between):
        raise ValueError("labels: expected images of two classes or more, found one class")
    return round(float(between.quantile(QUANTILE)), 4)


def pair_distances(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances between unit vectors, 0 to 2, of the pairs of one class and of those of different classes.

    Args:
        embeddings: (n, D) float of any scale, on any device. Of more than 2,000, evenly spaced ones are taken.
        labels: (n,).

    Returns:
        two float32 tensors (p,) and (q,) on the CPU, each pair once.
    """
    if len(embeddings) > AT_MOST:
        some = torch.from_numpy(np.linspace(0, len(embeddings) - 1, AT_MOST).astype(np.int64))
        embeddings, labels = embeddings[some.to(embeddings.device)], labels[some.to(labels.device)]
    points, labels = F.normalize(embeddings.detach().cpu().double(), dim=1), labels.cpu()
    distances = (2 - 2 * points @ points.T).clamp(min=0).sqrt().float()
    pairs = torch.ones_like(distances, dtype=torch.bool).triu(1)
    same = labels[:, None] == labels
    return distances[pairs & same], distances[pairs & ~same]
