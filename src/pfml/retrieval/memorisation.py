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

NEIGHBORS = 5  # about the number of other images of a class in Stanford Online Products, which has the smallest classes


def label_fit(embeddings: np.ndarray | torch.Tensor, given: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Shares fitted and resisted of the samples with a wrong label; NaN if there are none.

    Args:
        embeddings: (n, D) of evaluation mode, of any scale; compared on their device.
        given, true: (n,) labels.
    """
    wrong = np.flatnonzero(given != true)
    return shares(neighborhoods(embeddings, given, wrong), given[wrong], true[wrong])


def neighborhoods(
    embeddings: np.ndarray | torch.Tensor, labels: np.ndarray, queries: np.ndarray, k: int = NEIGHBORS
) -> np.ndarray:
    """Most frequent label among the k nearest other embeddings of each query: (q,).

    Args:
        embeddings: (n, D). labels: (n,) of all of them. queries: (q,) numbers of embeddings.
    """
    nearest = [rows for _, rows in nearest_neighbors(embeddings, torch.from_numpy(queries), k)]
    near = labels[torch.cat(nearest).cpu().numpy()] if nearest else np.empty((0, k), labels.dtype)
    votes = (near[:, :, None] == near[:, None, :]).sum(2)
    return near[np.arange(len(near)), votes.argmax(1)]  # argmax takes the first of equal votes, the nearest neighbour


def shares(placed: np.ndarray, given: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Shares of samples placed in their given class (fitted) and in their true class (resisted); NaN without samples.

    Args:
        placed, given, true: (q,) classes.
    """
    return (float((placed == given).mean()), float((placed == true).mean())) if len(placed) else (np.nan, np.nan)
