"""Baselines on small batches: what came of a call, awkward batches, and a loss against a slow formula in float64."""

import copy

import torch

from pfml.losses import build_loss
from pfml.losses.common.draws import Draws

CLASSES, DIM = 6, 8
FITTING = {  # their own sizes take longer, and some of these batches meet a margin of 1
    "prism": {"memory": 64}, "hier": {"hierarchy": 24, "triplets": 5},
    "diva": {"memory": 64}, "pa_niv": {"blocks": 2, "depth": 3, "width": 16}, "clustering": {"gamma": 20.0},
}  # fmt: skip


def make(name, classes=CLASSES, dim=DIM, seed=0, **settings):
    torch.manual_seed(seed)
    return build_loss(name, classes, dim, **FITTING.get(name, {}) | settings)


def draws(loss) -> list[Draws]:
    """The parts of a loss that draw random numbers at each step."""
    return [part for part in loss.modules() if isinstance(part, Draws)]


def random_batch(seed, count=24, dim=DIM, classes=CLASSES, spread=0.7, dtype=torch.float32):
    """Embeddings around a centre for each class, of lengths from 0.5 to 1.5; labels in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count)[torch.randperm(count, generator=generator)] % classes
    centres = torch.randn(classes, dim, generator=generator)
    embeddings = centres[labels] + spread * torch.randn(count, dim, generator=generator)
    embeddings = embeddings / embeddings.norm(dim=1, keepdim=True) * (0.5 + torch.rand(count, 1, generator=generator))
    return embeddings.to(dtype), labels


def rows(loss, embeddings):
    """What the loss takes of embeddings (B, D): these, or for a loss with wider rows from a head of its own, rows made
    of them, (B, W): twice the embeddings, a positive number, and a number from 0 to 3.
    """
    width = loss.sizes[1] if hasattr(loss, "sizes") else embeddings.shape[1]
    if width == embeddings.shape[1]:
        return embeddings
    turn = embeddings[:, :4].argmax(1, keepdim=True)
    return torch.cat([embeddings, embeddings, embeddings[:, :1].abs(), turn], 1)[:, :width]


def call(loss, embeddings, labels):
    """Value, gradient of the embeddings and gradients of the parameters, of a loss that keeps its state."""
    embeddings = embeddings.clone().requires_grad_()
    loss.zero_grad()
    value = loss(rows(loss, embeddings), labels)
    value.backward()
    return value.detach(), embeddings.grad, {key: p.grad for key, p in loss.named_parameters() if p.grad is not None}


def awkward_batches():
    """Batches that training may meet: name -> (embeddings, labels)."""
    embeddings, labels = random_batch(5)
    twice = embeddings.clone()
    twice[1::2] = twice[::2]
    zero = embeddings.clone()
    zero[3] = 0
    same = embeddings.clone()
    for label in range(CLASSES):
        same[labels == label] = same[labels == label][0]
    axis = torch.zeros(8, DIM)
    axis[torch.arange(8), torch.arange(8) % 2] = 1.0
    axis[4:] *= -1
    return {
        "duplicates within and across classes": (twice, labels),
        "positives at distance zero": (same, labels),
        "all images one point": (embeddings[:1].repeat(24, 1), labels),
        "a zero vector": (zero, labels),
        "one class": (embeddings, torch.full((24,), 2)),
        "two images of one class": (embeddings[:2], torch.zeros(2, dtype=torch.int64)),
        "every class once": (embeddings[:CLASSES], torch.arange(CLASSES)),
        "one class once, others more": (embeddings[:7], torch.tensor([0, 1, 1, 2, 2, 2, 2])),
        "opposite and equal directions": (axis, torch.tensor([0, 1, 0, 1, 2, 2, 3, 0])),
        "constant vectors": (torch.ones(8, DIM) * torch.arange(1, 9)[:, None], torch.arange(8) % 4),
        "huge": (embeddings * 1e3, labels),
    }


def assert_agrees(loss, formula, embeddings, labels, rtol=1e-8, atol=1e-10):
    """Value and all gradients of `loss` equal those of formula(loss, embeddings, labels) in float64."""
    loss = loss.double()
    judge = copy.deepcopy(loss)
    value, grad, parameters = call(loss, embeddings.double(), labels)
    leaf = embeddings.double().requires_grad_()
    expected = formula(judge, leaf, labels)
    names = [name for name, _ in judge.named_parameters()]
    wanted = torch.autograd.grad(expected, [leaf, *judge.parameters()], allow_unused=True)
    torch.testing.assert_close(value, expected.detach(), rtol=rtol, atol=atol)
    torch.testing.assert_close(grad, wanted[0], rtol=rtol, atol=atol)
    for name, gradient in zip(names, wanted[1:]):
        found = parameters.get(name)
        gradient = torch.zeros_like(found) if gradient is None and found is not None else gradient
        if gradient is not None:
            found = torch.zeros_like(gradient) if found is None else found
            torch.testing.assert_close(found, gradient, rtol=rtol, atol=atol, msg=lambda m, name=name: f"{name}: {m}")
