"""ProxyGML by hand and against the authors' arithmetic in loops."""

import math

import pytest
import torch

from tests.losses.baseline_cases import CLASSES, assert_agrees, make, random_batch
from tests.oracles.proxies import proxy_gml


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio, per_class, weight", [(0.05, 12, 0.3), (0.3, 3, 0.0), (1.0, 2, 1.0), (0.05, 1, 0.3)])
def test_value_and_gradients_equal_the_authors(seed, ratio, per_class, weight):
    loss = make("proxy_gml", ratio=ratio, proxies_per_class=per_class, weight=weight)
    batch = random_batch(seed, count=9, spread=2.0)
    assert_agrees(loss, lambda judge, x, y: proxy_gml(x, y, judge.proxies, ratio, weight), *batch)


def test_by_hand():
    """Two proxies a class. Of half of all an image keeps its own; of three quarters also the best other one."""
    proxies = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.6, 0.8]]])
    image, label = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    for ratio, expected in ((0.5, 0.0), (0.75, math.log1p(math.exp(0.6 - 1)))):
        loss = make("proxy_gml", 2, 2, proxies_per_class=2, ratio=ratio, weight=0.0)
        with torch.no_grad():
            loss.proxies.copy_(proxies)
        assert loss(image, label).item() == pytest.approx(expected, abs=1e-6)
    loss.weight = 1.0
    # Sums by class of the proxies' own cosines: (1, -0.4), (1, 0.8), (-1, 0.4), (1.4, 0.4).
    own = [math.log1p(math.exp(z)) for z in (-1.4, -0.2, -1.4, 1.0)]
    assert loss(image, label).item() == pytest.approx(expected + sum(own) / 4, abs=1e-6)


def test_proxies_start_as_the_authors_do():
    proxies = make("proxy_gml", 50, 64).proxies
    assert proxies.shape == (50, 12, 64) and proxies.abs().max() <= 600**-0.5
    assert proxies.std().item() == pytest.approx(600**-0.5 / 3**0.5, rel=0.02)
    assert make("proxy_gml").kept == math.ceil(0.05 * 12 * CLASSES)
