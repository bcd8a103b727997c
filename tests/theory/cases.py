"""The laws, the sets of embeddings and the small survey that the tests of the theory share."""

import numpy as np

from pfml import theory

PFML, CPML = theory.DecayingLaw(alpha=3.0, delta=0.2), theory.GrowingLaw(delta=0.2)
LAWS = [PFML, theory.DecayingLaw(alpha=0.0, delta=0.2), CPML]
PAIR = np.array([[-1.0, 0.0], [1.0, 0.0]])
BASE = theory.Case(embeddings=8, proxies=3, dimension=4, groups=2, spread=0.3, start=1.0, alpha=3.0, delta=0.1)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def outlier(neighbours=16):
    """An embedding at the origin and others together at distance 1, a little spread out."""
    there = [[1.0, 0.001 * (i - (neighbours - 1) / 2)] for i in range(neighbours)]
    return np.array([[0.0, 0.0], *there])


def rows_of(changes):
    return list(theory.survey(BASE, changes, [0.3, 0.8], [3.0], sets=2, trials=3, trials_small=4, seed=0))
