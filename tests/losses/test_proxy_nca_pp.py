"""ProxyNCA++ by hand, against the authors' arithmetic, and against ProxyNCA of which it is a case."""

import math

import pytest
import torch

from tests.losses.baseline_cases import CLASSES, assert_agrees, make, random_batch
from tests.oracles.methods import of_proxies
from tests.oracles.proxies import proxy_nca


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [1 / 9, 1.0])
def test_value_and_gradients_equal_the_authors(seed, temperature):
    loss = make("proxy_nca_pp", temperature=temperature)
    formula = of_proxies(proxy_nca, scale=1 / temperature)
    assert_agrees(loss, lambda judge, x, y: formula(judge, x, y, []), *random_batch(seed, classes=4))


def test_by_hand():
    # At its own proxy, the other at squared distance 2: log(1 + exp(-2 / T)).
    loss = make("proxy_nca_pp", 2, 2, temperature=0.5)
    with torch.no_grad():
        loss.proxies.copy_(torch.tensor([[[3.0, 0.0]], [[0.0, 0.1]]]))
    value = loss(torch.tensor([[7.0, 0.0]]), torch.tensor([0]))
    assert value.item() == pytest.approx(math.log1p(math.exp(-4)), rel=1e-5)


def test_it_is_proxy_nca_at_scale_nine():
    loss, library = make("proxy_nca_pp").double(), make("proxy_nca", scale=9.0).double()
    with torch.no_grad():
        loss.proxies.copy_(library.proxies)
    batch = random_batch(0, dtype=torch.float64)
    assert loss(*batch).item() == pytest.approx(library(*batch).item(), rel=1e-9)


def test_proxies_start_short_as_the_authors_do():
    assert make("proxy_nca_pp", 200, 64).proxies.std().item() == pytest.approx(1 / 8, rel=0.02)
    assert make("proxy_nca_pp").proxies.shape == (CLASSES, 1, 8)
