"""Every loss against its paper's formula: value, gradient of the embeddings and of every parameter.

What a loss draws is given to its formula. Which triplets and neighbours may be drawn is not tested here, but in
tests/losses/test_library.py and tests/losses/test_hier.py.
"""

import copy
from functools import cache

import pytest
import torch

from pfml.losses import LOSSES, build_loss
from tests.oracles.batches import BATCHES, CLASSES, TRAINING, batch
from tests.oracles.methods import METHODS

# Losses that train and have no oracle: name -> reason.
WITHOUT = {}

# Of the value, and of the largest element of a gradient. The formula is always in float64, and so are PFML and CPML
# inside; the other losses compute in the precision that they are given.
RELATIVE = {torch.float64: 1e-9, torch.float32: 1e-4}
# Of the value, of gradients of parameters, and of the gradient of embeddings times their length: what is left where the
# formula's terms are of size 1 and cancel.
ABSOLUTE = {torch.float64: 1e-14, torch.float32: 2e-6}

# Where a gradient is a matter of rounding: (loss, batch) -> relative tolerance by precision; None: not compared.
RULED_BY_ROUNDING = {
    # BatchNorm of equal rows gives 0, where LeakyReLU has a slope of 1 or of 0.1.
    ("hist", "one class"): {torch.float64: None, torch.float32: None},
    ("hist", "two equal images"): {torch.float64: None, torch.float32: None},
    # Which of two images is farther from an ancestor: within a cluster their distances differ by less than 1e-4.
    ("hier", "tight clusters"): {torch.float32: 1e-2},
}
# A documented departure (docs/baselines.md): the library takes one mined pair of each kind in a whole batch for none.
ONE_MINED_PAIR = ("multi_similarity", "some classes once", 512)


@cache
def built(method, dim):
    """The loss in float32, with parameters as they start."""
    torch.manual_seed(0)
    loss = build_loss(method.name, CLASSES, dim, **method.settings)
    with torch.no_grad():
        method.prepare(loss)
    return loss


def of_loss(method, loss, embeddings, labels):
    """Value, gradients by name, and what was drawn."""
    leaf = embeddings.clone().requires_grad_()
    with method.record(loss) as drawn:
        value = method.run(loss, leaf, labels)
    value.backward()
    return value.detach(), {"embeddings": leaf.grad} | {key: p.grad for key, p in loss.named_parameters()}, drawn


def of_formula(method, loss, embeddings, labels, drawn):
    """Value and gradients by name, in float64."""
    leaf = embeddings.double().requires_grad_()
    value = method.formula(loss, leaf, labels, drawn) + 0 * leaf.sum()
    leaves = {"embeddings": leaf} | dict(loss.named_parameters())
    assert value.dtype == torch.float64
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return value.detach(), dict(zip(leaves, gradients))


def over_equal_rows(embeddings, gradient):
    """The sum of the gradients (B, D) of equal embeddings, for each of them."""
    equal = (embeddings[:, None] == embeddings).all(2)
    return equal.to(gradient.dtype) @ gradient


def largest(tensor):
    return 0.0 if tensor is None else tensor.abs().max().item()


def gap(found, wanted):
    """The largest difference of two gradients, of which None is 0."""
    if found is None or wanted is None:
        return largest(found if wanted is None else wanted)
    return largest(found.double() - wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("dim", [64, 512])
@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.name} {m.label}".strip())
def test_value_and_gradients_equal_the_formula(method, kind, dim, dtype):
    embeddings, labels = batch(kind, dim)
    loss, judge = copy.deepcopy(built(method, dim)).to(dtype), copy.deepcopy(built(method, dim)).double()
    if len(labels) < LOSSES[method.name].least:
        with pytest.raises(ValueError, match="at least 2"):
            loss(embeddings.to(dtype), labels)
        return
    value, found, drawn = of_loss(method, loss, embeddings.to(dtype), labels)
    expected, wanted = of_formula(method, judge, embeddings, labels, drawn)
    if (method.name, kind, dim) == ONE_MINED_PAIR:
        assert value == 0 and expected > 0
        return
    relative, absolute = RELATIVE[dtype], ABSOLUTE[dtype]
    assert abs(value.item() - expected.item()) <= relative * abs(expected.item()) + absolute
    relative = RULED_BY_ROUNDING.get((method.name, kind), {}).get(dtype, relative)
    if relative is None:
        return
    for key, gradient in wanted.items():
        if key == "embeddings":  # a loss that takes one of two equal images may take the other
            found[key], gradient = over_equal_rows(embeddings, found[key]), over_equal_rows(embeddings, gradient)
        unit = embeddings.norm(dim=1).mean().item() if key == "embeddings" else 1.0
        assert gap(found[key], gradient) <= relative * largest(gradient) + absolute / unit, key


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.name} {m.label}".strip())
def test_most_training_batches_have_a_gradient(method):
    """A comparison of zeros would say nothing."""
    loss = copy.deepcopy(built(method, 64)).double()
    gradients = [of_loss(method, loss, x.double(), y)[1]["embeddings"] for x, y in (batch(b, 64) for b in TRAINING)]
    assert sum(gradient.abs().max() > 1e-6 for gradient in gradients) >= 5


def test_every_loss_that_trains_has_an_oracle_or_a_reason():
    names, trained = {method.name for method in METHODS}, {name for name in LOSSES if LOSSES[name].trains}
    assert trained - names == set(WITHOUT), "add an oracle to tests/oracles/methods.py, or a reason to WITHOUT"
    assert names <= trained
