"""Memorisation: whether a network embeds an image with a wrong label near its given class or near its true class.

A sample with a wrong label has a true class t and a given class g, which training saw. Its NEIGHBORS nearest other
training embeddings (cosine) vote with the labels that training saw. Of labels with equally many votes the label of the
nearest neighbour wins. The sample's label is then

    fitted     if the winner is g: the network memorised the image among images that it does not look like
    resisted   if the winner is t: the network embeds the image with its true class in spite of its label
    neither    otherwise
"""

import numpy as np
import torch

from pfml.retrieval import nearest_neighbors
from pfml.retrieval.inputs import integers, points

NEIGHBORS = 5  # about the number of other images of a class in Stanford Online Products, which has the smallest classes


def label_fit(embeddings, given, true) -> tuple[float, float]:
    """Shares fitted and resisted of the samples with a wrong label; NaN if there are none.

    Args:
        embeddings: (n, D) of evaluation mode, of any scale; compared on their device.
        given, true: (n,) labels, integers of any type.

    Raises:
        ValueError: no numbers of this kind and shape, or a value that is not finite.
    """
    given, true = _labels("given", given), _labels("true", true)
    if given.shape != true.shape:
        raise ValueError(f"given, true: expected one shape (n,), found {given.shape} and {true.shape}")
    wrong = np.flatnonzero(given != true)
    return shares(neighborhoods(embeddings, given, wrong), given[wrong], true[wrong])


def neighborhoods(
    embeddings: np.ndarray | torch.Tensor, labels: np.ndarray, queries: np.ndarray, k: int = NEIGHBORS
) -> np.ndarray:
    """Most frequent label among the k nearest other embeddings of each query: (q,).

    Args:
        embeddings: (n, D). labels: (n,) of all of them. queries: (q,) numbers of embeddings.

    Raises:
        ValueError: as in `label_fit`.
    """
    embeddings, labels = points(embeddings), _labels("labels", labels)
    if labels.shape != (len(embeddings),):
        raise ValueError(f"labels: expected shape ({len(embeddings)},), one for each embedding, found {labels.shape}")
    nearest = [rows for _, rows in nearest_neighbors(embeddings, queries, k)]
    near = labels[torch.cat(nearest).cpu().numpy()] if nearest else np.empty((0, k), labels.dtype)
    votes = (near[:, :, None] == near[:, None, :]).sum(2)
    return near[np.arange(len(near)), votes.argmax(1)]  # argmax takes the first of equal votes, the nearest neighbour


def shares(placed: np.ndarray, given: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Shares of samples placed in their given class (fitted) and in their true class (resisted); NaN without samples.

    Args:
        placed, given, true: (q,) classes.
    """
    return (float((placed == given).mean()), float((placed == true).mean())) if len(placed) else (np.nan, np.nan)


def _labels(name: str, labels) -> np.ndarray:
    """Integers (n,) of any type as numpy's int64."""
    labels = integers(name, labels).cpu().numpy()
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected shape (n,), found {labels.shape}")
    return labels
