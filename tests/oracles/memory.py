"""Losses with a memory: PRISM and Multi-Similarity with DAS. Embeddings (B, D) of float64, labels (B,)."""

import torch

from tests.oracles.pairs import multi_similarity
from tests.oracles.vectors import classes_of, unit


class Prism:
    """Liu et al., CVPR 2021: the memory of past images, the filter and the contrastive loss, image
    by image. `step` gives the loss of the next batch.
    """

    def __init__(self, classes, dim, noise_rate, memory, window, margin=0.5, weight=1.0, warmup=0):
        self.rate, self.size, self.window, self.margin, self.weight = noise_rate, memory, window, margin, weight
        self.warmup, self.steps, self.bounds, self.last = warmup, 0, [], None
        self.rows, self.labels, self.next = [None] * memory, [-1] * memory, 0
        self.means, self.known = torch.zeros(classes, dim, dtype=torch.float64), set()

    def held(self):
        """The memory's images (m, D) and labels (m,)."""
        count = self.size if self.labels[-1] != -1 else self.next
        return torch.stack(self.rows[:count]), torch.tensor(self.labels[:count])

    def contrast(self, x, labels, others, other_labels):
        """Sum over pairs of 1 - s of one class, but for the image itself, and of s above the margin of two classes."""
        total = 0
        for a, y in zip(x, labels):
            s, same = others @ a, other_labels == y
            total = total + (1 - s[same & (s < 1 - 1e-5)]).sum() + s[~same & (s > self.margin)].sum()
        return total

    def keep(self, x, labels):
        """Which images seem clean: a probability above the smooth top-R threshold."""
        rows, row_labels = self.held()
        for c in set(self.last or []):
            self.means[c] = rows[row_labels == c].mean(0)
            self.known.add(c)
        clean = [(self.means @ a).softmax(0)[y].item() if y in self.known else 1.0 for a, y in zip(x, labels)]
        remove = int(self.rate * len(x))
        if not remove:
            return [True] * len(x)
        worst = sorted(range(len(x)), key=lambda i: clean[i])[:remove]
        if clean[worst[-1]] != 1.0:
            self.bounds = [*self.bounds, clean[worst[-1]]][-self.window :]
        if self.bounds:
            bound = sum(self.bounds) / len(self.bounds)
            if any(p > bound for p in clean):
                return [p > bound for p in clean]
            self.bounds = self.bounds[-1:]
        return [i not in worst for i in range(len(x))]

    def step(self, embeddings, labels):
        """The loss of a batch, embeddings (B, D) and labels (B,); its clean images enter the memory."""
        x, loss, kept = unit(embeddings), 0, torch.ones(len(labels), dtype=torch.bool)
        if self.steps:
            held = self.held()
            if self.steps >= self.warmup:
                kept = torch.tensor(self.keep(x.detach(), labels.tolist()))
            loss = self.weight * self.contrast(x[kept], labels[kept], *held) / len(x)
            self.last = labels[kept].tolist()
        x, labels = x[kept], labels[kept]
        loss = loss + self.contrast(x, labels, x, labels) / len(x)
        first = self.next if self.next + len(x) <= self.size else self.size - len(x)
        for place, (row, y) in enumerate(zip(x.detach(), labels.tolist()), first):
            self.rows[place], self.labels[place] = row, y
        self.next = first + len(x) if first == self.next else 0
        self.steps += 1
        return loss


class Ring:
    """DAS's queue of the latest differences of a class."""

    def __init__(self, size, dim):
        self.size, self.rows, self.at = size, [torch.zeros(dim).double()] * size, 0

    def add(self, rows):
        if len(rows) > self.size:
            self.rows = list(rows[-self.size :])
        elif self.at + len(rows) > self.size:
            end = self.size - self.at
            self.rows[self.at :] = rows[:end]
            self.rows[: len(rows) - end] = rows[end:]
            self.at = len(rows) - end
        else:
            self.rows[self.at : self.at + len(rows)] = rows
            self.at += len(rows)


def first_das_step(embeddings, labels, draws, *, alpha, beta, base, epsilon, scaled, scale_low, scale_high, bank,
                   shift_scale, detach):  # fmt: skip
    """Liu et al., ECCV 2022, one step from an empty memory: Multi-Similarity over the images and over those
    that are made of them.

    draws: uniform numbers (produced, B, 1 + scaled); the first of an image names its difference, the others give its
        channels' factors.
    """
    x, dim = unit(embeddings), embeddings.shape[1]
    counts, rings = {}, {}
    for members in classes_of(labels):
        y, mine = int(labels[members[0]]), x[members].detach()
        largest = torch.cat([row.argsort(descending=True, stable=True)[:scaled] for row in mine])
        counts[y], rings[y] = largest.bincount(minlength=dim), Ring(bank, dim)
        rings[y].add([a - b for a in mine for b in mine if (a - b).any()])
    made = [x]
    for numbers in draws:
        for source, y, own in zip(x.detach() if detach else x, labels.tolist(), numbers.double()):
            channels = counts[y].argsort(descending=True, stable=True)[:scaled]
            factors = torch.ones(dim, dtype=x.dtype)
            factors[channels] = scale_low + (scale_high - scale_low) * own[1:]
            moved, rows = source * factors, [row for row in rings[y].rows if row.any()]
            if rows:
                moved = moved + shift_scale * rows[int(own[0] * len(rows))]
            made.append(unit(moved)[None])
    every_label = labels.repeat(1 + len(draws))
    return multi_similarity(torch.cat(made), every_label, alpha, beta, base, epsilon, over="anchors")
