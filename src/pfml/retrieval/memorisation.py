"""Where a network puts images whose training label is wrong: with the label (fitted) or with their kind (resisted).

A sample with a wrong label has a true class t and a given one, g, that training saw. Where the network has put it is
read from its NEIGHBOURS nearest other training embeddings (cosine) by the label that most of *them* carry, as training
saw it; of labels with equally many votes the one with the nearest neighbour counts. The label is then

    fitted     if the neighbourhood is g: the image was learned by heart, among images that it does not look like
    resisted   if it is t: the image lies with its kind, whatever its label said
    neither    otherwise
"""

import numpy as np
import torch

from pfml.retrieval import nearest_neighbours

NEIGHBOURS = 5  # about as many as others of a class in Stanford Online Products, the set with the smallest classes


def label_fit(embeddings: np.ndarray | torch.Tensor, given: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Shares fitted and resisted of the samples whose given label is not the true one; NaN where there is none.

    Args:
        embeddings: (n, D), of any scale, in evaluation mode; compared on their device. given, true: (n,) labels.
    """
    wrong = np.flatnonzero(given != true)
    return shares(neighbourhoods(embeddings, given, wrong), given[wrong], true[wrong])


def neighbourhoods(
    embeddings: np.ndarray | torch.Tensor, labels: np.ndarray, asked: np.ndarray, k: int = NEIGHBOURS
) -> np.ndarray:
    """Label that most of the k nearest others carry: (q,).

    Args:
        embeddings: (n, D). labels: (n,) of all of them. asked: (q,) numbers of embeddings.
    """
    found = [rows for _, rows in nearest_neighbours(embeddings, torch.from_numpy(asked), k)]
    near = labels[torch.cat(found).cpu().numpy()] if found else np.empty((0, k), labels.dtype)
    votes = (near[:, :, None] == near[:, None, :]).sum(2)
    return near[np.arange(len(near)), votes.argmax(1)]  # the first of equal ones: the nearest


def shares(placed: np.ndarray, given: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Shares fitted and resisted of samples placed in classes (q,). NaN where there is no sample."""
    return (float((placed == given).mean()), float((placed == true).mean())) if len(placed) else (np.nan, np.nan)
