"""Memory comes back when, and only when, nothing refers to it."""

import torch

from pfml.training.batches.buffers import Buffers


def test_memory_is_handed_out_again_once_it_is_dropped():
    buffers = Buffers()
    first = buffers.take(4, 3)
    place = first.data_ptr()
    second = buffers.take(4, 3)
    assert first.shape == (4, 3) and first.dtype == torch.float32 and second.data_ptr() != place
    del first
    assert buffers.take(4, 3).data_ptr() == place
    other = buffers.take(2, 3)
    assert other.shape == (2, 3) and not buffers.free, "memory of the old shape is given up"


def test_views_keep_memory():
    buffers = Buffers()
    taken = buffers.take(1000)
    place, view = taken.data_ptr(), taken[3:7]
    del taken
    other = buffers.take(1000)
    assert other.data_ptr() != place
    del view
    assert buffers.take(1000).data_ptr() == place


def test_autograd_keeps_memory():
    buffers = Buffers()
    taken, weight = buffers.take(1000).fill_(2.0), torch.ones(1000, requires_grad=True)
    product = (weight * taken).sum()  # needs `taken` for its gradient
    del taken
    buffers.take(1000).fill_(5.0)
    product.backward()
    assert (weight.grad == 2.0).all()


def test_memory_outlives_its_buffers():
    taken = Buffers().take(5).fill_(1.0)
    assert taken.sum() == 5
