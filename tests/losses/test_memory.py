"""What a step takes in memory, counted from the allocations that it makes.

The unit is n * D float32 numbers, the size of the gradient. A step holds at most 7: the points and their gradient in
float64 (2 each), the places that the list of neighbours refers to, and the gradient before and after the backward
pass. What belongs to single tiles comes on top; it does not grow with n.
"""

import math
from itertools import accumulate

import pytest
import torch
from torch.autograd.profiler import profile
from torch.nn.functional import normalize

from pfml.losses.field.potential_field import PotentialFieldLoss

CLASSES, PROXIES, DIM, BATCH = 4000, 2, 512, 100
UNIT = (BATCH + CLASSES * PROXIES) * DIM * 4


def field(kind):
    """A loss and its batch: tight classes apart from each other, all points in a narrow cone, or all at random."""
    g = torch.Generator().manual_seed(0)

    def randn(*shape):
        return torch.randn(*shape, generator=g) / math.sqrt(DIM)

    centres = normalize(randn(1 if kind == "cone" else CLASSES, DIM), dim=1).expand(CLASSES, DIM)
    centres, spread = (0 * centres, 1.0) if kind == "random" else (centres, 0.15)
    labels = torch.randperm(CLASSES, generator=g)[: BATCH // 4].repeat_interleave(4)
    loss = PotentialFieldLoss(CLASSES, DIM, PROXIES)
    loss.proxies.data = centres[:, None] + spread * randn(CLASSES, PROXIES, DIM)
    return loss, (centres[labels] + spread * randn(BATCH, DIM)).requires_grad_(), labels


def allocations(work):
    """Bytes of each tensor that comes (positive) or goes (negative), in order."""
    with profile(profile_memory=True) as seen:
        work()
    events = [event for event in seen.kineto_results.events() if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


@pytest.mark.parametrize("kind", ["settled", "cone", "random"])
def test_a_step_takes_few_arrays_of_the_size_of_its_gradient(kind):
    loss, embeddings, labels = field(kind)
    changes = allocations(lambda: loss(embeddings, labels).backward())
    assert max(accumulate(changes)) < 7.5 * UNIT
    # Arrays that come and go in another size each time leave holes, which a process keeps.
    assert sum(change for change in changes if change > 0) < 30 * UNIT
    assert (loss._memory.neighbours.reference is None) == (kind == "cone")
