"""Every loss goes through pickle, torch.save and copies, and goes on from there bit for bit."""

import copy
import io
import pickle

import pytest
import torch

from pfml.losses import LOSSES
from tests.losses.baseline_cases import call, make, random_batch


def saved_and_loaded(loss):
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {
    "pickle": lambda loss: pickle.loads(pickle.dumps(loss)),
    "torch.save": saved_and_loaded,
    "deepcopy": copy.deepcopy,
    "twice": lambda loss: copy.deepcopy(pickle.loads(pickle.dumps(saved_and_loaded(loss)))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_copy_goes_on_bit_for_bit(name, way):
    loss = make(name)
    call(loss, *random_batch(0))
    other = WAYS[way](loss)
    assert type(other).__name__ == type(loss).__name__ and repr(other) == repr(loss)
    assert [key for key, _ in other.named_parameters()] == [key for key, _ in loss.named_parameters()]
    for seed in (1, 2):
        value, grad, parameters = call(loss, *random_batch(seed))
        again, grad_again, parameters_again = call(other, *random_batch(seed))
        assert torch.equal(again, value) and torch.equal(grad_again, grad)
        assert parameters_again.keys() == parameters.keys()
        assert all(torch.equal(parameters_again[key], parameters[key]) for key in parameters)
    for (key, left), right in zip(loss.state_dict().items(), other.state_dict().values()):
        assert torch.equal(left, right), key
    if getattr(loss, "proxies", None) is not None:
        assert torch.equal(other.proxies, loss.proxies)


@pytest.mark.parametrize("name", ["hist", "hier", "pa_niv", "proxy_anchor", "pfml"])
def test_an_optimizer_that_is_pickled_along_moves_the_copy(name):
    loss = make(name)
    other, optimizer = pickle.loads(pickle.dumps((loss, torch.optim.SGD(loss.parameters(), lr=0.1))))
    before = [value.detach().clone() for value in other.parameters()]
    call(other, *random_batch(0))
    optimizer.step()
    held = [id(value) for group in optimizer.param_groups for value in group["params"]]
    assert held == [*map(id, other.parameters())]
    assert any(not torch.equal(value, old) for value, old in zip(other.parameters(), before))
