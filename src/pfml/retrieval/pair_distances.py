"""How far apart embeddings are, of one class and of different classes: which radius reaches which pairs."""

import numpy as np
import torch
import torch.nn.functional as F

AT_MOST = 2_000  # images of which all pairs are looked at


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
