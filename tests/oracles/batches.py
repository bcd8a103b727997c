"""The batches on which losses and oracles are compared: ten that training meets, and four at the edge.

Every batch is seeded, of float32 (B, D) with labels in [0, CLASSES); most embeddings have a length of about 1.
"""

import math
import zlib

import torch

CLASSES = 20


class Drawn:
    """Embeddings of one batch, drawn from its name and D."""

    def __init__(self, name, dim):
        self.dim, self.generator = dim, torch.Generator().manual_seed(zlib.crc32(f"{name} {dim}".encode()))

    def cloud(self, count):
        """Random vectors (count, D) of length about 1."""
        return torch.randn(count, self.dim, generator=self.generator) / math.sqrt(self.dim)

    def around_centres(self, labels, spread):
        """A random centre for each class, and `spread` times a random vector of length 1 on it."""
        labels = torch.tensor(labels)
        return self.cloud(CLASSES)[labels] + spread * self.cloud(len(labels)), labels

    def labels(self, count):
        return torch.randint(CLASSES, (count,), generator=self.generator).tolist()


def each(count, *classes):
    return [c for c in classes for _ in range(count)]


FOUR_BY_FOUR = each(4, 1, 5, 12, 19)


def duplicates(drawn):
    """Two equal images of class 1, and the only image of class 2 equal to the only one of class 7.

    An image with a positive equal to one of its negatives would have losses of triplets decide by rounding.
    """
    x, labels = drawn.around_centres([*each(4, 1, 5, 11), 3, 3, 2, 7], 2.0)
    x[1], x[15] = x[0], x[14]
    return x, labels


def scaled(factor):
    def make(drawn):
        x, labels = drawn.around_centres(FOUR_BY_FOUR, 2.0)
        return factor * x, labels

    return make


def narrow_cone(drawn):
    return drawn.cloud(1) + 0.1 * drawn.cloud(16), torch.tensor(FOUR_BY_FOUR)


def forty_random(drawn):
    return drawn.cloud(40), torch.tensor(drawn.labels(40))


def two_equal(drawn):
    return drawn.cloud(1).repeat(2, 1), torch.tensor([3, 3])


TRAINING = {
    "balanced": lambda drawn: (drawn.cloud(32), torch.tensor(each(4, 0, 2, 3, 8, 9, 13, 17, 19))),
    "clustered": lambda drawn: drawn.around_centres(FOUR_BY_FOUR, 2.0),
    "duplicates": duplicates,
    "some classes once": lambda drawn: drawn.around_centres([0, 0, 0, 4, 5, 5, 6, 9, 10, 10, 15, 16], 2.0),
    "two classes": lambda drawn: drawn.around_centres(each(6, 3, 17), 2.0),
    "random": forty_random,
    "narrow cone": narrow_cone,
    "long": scaled(30.0),
    "tiny": scaled(1e-3),
    "tight clusters": lambda drawn: drawn.around_centres(FOUR_BY_FOUR, 1e-3),
}
EDGE = {
    "one class": lambda drawn: drawn.around_centres(each(6, 4), 2.0),
    "all classes different": lambda drawn: (drawn.cloud(12), torch.arange(12)),
    "one image": lambda drawn: (drawn.cloud(1), torch.tensor([7])),
    "two equal images": two_equal,
}
BATCHES = TRAINING | EDGE


def batch(name, dim):
    """Embeddings (B, dim) of float32 and labels (B,)."""
    return BATCHES[name](Drawn(name, dim))
