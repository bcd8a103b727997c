"""The GPU kernel: under Triton's interpreter on any machine, compiled for real GPUs, and on one where there is one."""

import os
import subprocess
import sys
import warnings
from collections import Counter

import pytest
import torch

from pfml.losses.field import energy as field_kernel
from pfml.losses.field import field_gpu
from pfml.losses.field.energy import Memory, attract
from pfml.losses.field.repulsion import Repulsion
from tests.conftest import ROOT

triton = pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
from tests.losses import triton_cases as cases  # noqa: E402

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.skipif(
    tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7), reason="this interpreter fails with numpy 2.4"
)
def test_the_kernel_agrees_with_the_double_loop_under_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.losses.triton_cases"]
    found = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
    assert "agreed" in found.stdout


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_for_real_gpus(capability):
    """Down to machine code, without a GPU; its shared memory fits every one of compute capability 8.0 and above."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from pfml.losses.field.field_triton import BLOCK, FORMS, MOST_DIMENSIONS, _field

    doubles = dict.fromkeys("PGEK", "*fp64")
    signature = {"X": "*fp32", "C": "*i32", **doubles, "n": "i32", "heads": "i32"}
    constants = {"D": MOST_DIMENSIONS, "ATTRACTION": True, "REPULSION": True, "FORM": FORMS["power"]}
    constants |= {"BD": MOST_DIMENSIONS} | {key: BLOCK[key] for key in ("BI", "BJ", "BK")}
    source = ASTSource(_field, signature | dict.fromkeys(constants, "constexpr"), constants)
    options = {key: BLOCK[key] for key in ("num_warps", "num_stages")}
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert kernel.asm["cubin"]
    assert kernel.metadata.shared <= 99 * 1024


def test_the_cpu_does_not_take_it(monkeypatch):
    monkeypatch.setattr("pfml.losses.field.field_triton.add_field", None)  # called, it would raise
    loss, _ = cases.build("alpha 3", 4, 8, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(torch.randn(8, 8), torch.arange(8) % 4)


@pytest.fixture
def kernel(monkeypatch):
    """Puts a function in the kernel's place, on the CPU: kernel(add_field)."""

    def put(add_field):
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setattr("pfml.losses.field.field_triton.INTERPRETED", True)
        monkeypatch.setattr("pfml.losses.field.field_triton.add_field", add_field)
        monkeypatch.setattr(field_gpu, "_given_up", False)
        monkeypatch.setattr(field_gpu, "_uses", Counter())

    return put


def sum_and_gradient(loss, batch):
    energy = loss(*batch)
    return energy, torch.autograd.grad(energy, loss.proxies)[0]


def by_torch(x, classes, law, grad, heads, attraction, repulsion, centred):
    """What the kernel computes, by the code that it replaces."""
    energy = attract(x, classes, law, grad, heads, attraction)
    memory = Memory()
    pairs = Repulsion(x, classes, law, grad, torch.float32, centred, memory.scratch, memory.neighbours)
    return energy + pairs.run(heads, repulsion, 1.0)


def does_not_start(x, classes, law, grad, *rest):
    grad.fill_(7)
    raise RuntimeError("out of resource: shared memory")


def wrong_energy(x, classes, law, grad, *rest):
    return by_torch(x, classes, law, grad, *rest) * 1.01


def wrong_gradient_of_one_point(x, classes, law, grad, *rest):
    energy = by_torch(x, classes, law, grad, *rest)
    grad[3] *= 1.1
    return energy


def not_a_number(x, classes, law, grad, *rest):
    return by_torch(x, classes, law, grad, *rest) * torch.nan


@pytest.mark.parametrize(
    ("add_field", "message"),
    [
        (does_not_start, "without its GPU kernel.*shared memory"),
        (wrong_energy, "without its GPU kernel.*differ from the torch code's by 1e-02 and 0e"),
        (wrong_gradient_of_one_point, "without its GPU kernel.*differ from the torch code's by 0e"),
        (not_a_number, "without its GPU kernel.*differ from the torch code's by nan"),
    ],
)
def test_a_kernel_that_fails_is_replaced(monkeypatch, kernel, add_field, message):
    """What a GPU that cannot run it, or runs it wrongly, would do: a warning, once, and the sum of the torch path."""
    loss, _ = cases.build("alpha 3", 4, 8, 4)
    batch = torch.randn(8, 8), torch.arange(8) % 4
    expected = sum_and_gradient(loss, batch)
    kernel(add_field)
    with pytest.warns(RuntimeWarning, match=message):
        found = sum_and_gradient(loss, batch)
    assert all(map(torch.equal, found, expected))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(loss(*batch), expected[0])
        monkeypatch.setattr(field_gpu, "_given_up", False)
        monkeypatch.setenv("PFML_TRITON", "0")
        assert torch.equal(loss(*batch), expected[0])


def test_a_kernel_is_checked_at_its_1st_10th_100th_use_and_the_sum_is_its_own(monkeypatch, kernel):
    """Wrong by less than a check forgives, so that its sum can be told from the torch path's."""
    loss, _ = cases.build("alpha 3", 4, 8, 4)
    batch = torch.randn(8, 8), torch.arange(8) % 4
    energy, gradient = sum_and_gradient(loss, batch)
    kernel(lambda *problem: by_torch(*problem) * (1 + 1e-5))
    checked, check = [], field_gpu._check
    monkeypatch.setattr(field_gpu, "_check", lambda *a: (checked.append(sum(field_gpu._uses.values())), check(*a)))
    for _ in range(101):
        found = sum_and_gradient(loss, batch)
        torch.testing.assert_close(found[0], energy * (1 + 1e-5), rtol=1e-6, atol=0)
        assert torch.equal(found[1], gradient)
    assert checked == [1, 10, 100]


def test_a_check_without_memory_is_left_out(monkeypatch, kernel):
    loss, _ = cases.build("alpha 3", 4, 8, 4)
    batch = torch.randn(8, 8), torch.arange(8) % 4
    expected = sum_and_gradient(loss, batch)
    kernel(by_torch)

    def too_large(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(field_kernel, "attract", too_large)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(map(torch.equal, sum_and_gradient(loss, batch), expected))


class TestOnGpu:
    pytestmark = gpu

    @pytest.mark.parametrize("kind", cases.KINDS)
    @pytest.mark.parametrize("method", cases.METHODS)
    def test_scenes(self, method, kind):
        cases.scene_case("cuda", method, kind)
        cases.scene_case("cuda", method, kind, dim=70, batch=40, proxies=7)

    @pytest.mark.parametrize("options", cases.OPTIONS, ids=str)
    def test_options(self, options):
        cases.option_case("cuda", **options)

    @pytest.mark.parametrize("seed", range(3))
    def test_duplicates(self, seed):
        cases.duplicates_case("cuda", seed)

    @pytest.mark.parametrize("dim", [64, 512, 600])
    @pytest.mark.parametrize("kind", ["cone", "tight"])
    def test_the_same_as_on_the_cpu(self, kind, dim):
        """At the size of CUB-200, and beyond the kernel's dimensions on the torch path."""
        embeddings, labels, start = cases.scene(kind, dim, 100, 15, 100)
        loss, _ = cases.build("alpha 3", 100, dim, 15)
        found = []
        for device in ("cpu", "cuda"):
            loss.proxies.data = start.to(device)
            loss.proxies.grad = None
            z = embeddings.to(device).requires_grad_()
            value = loss.to(device)(z, labels.to(device))
            value.backward()
            found.append([t.cpu() for t in (value.detach(), z.grad, loss.proxies.grad)])
        for on_cpu, on_gpu in zip(*found):
            assert (on_gpu - on_cpu).norm() <= 1e-5 * on_cpu.norm()

    def test_twice_the_same_bits(self):
        embeddings, labels, start = cases.scene("cone", 64, 100, 15, 100)
        loss, _ = cases.build("alpha 3", 100, 64, 15)
        loss.proxies.data = start
        loss = loss.cuda()
        grads = []
        for _ in range(2):
            z = embeddings.cuda().requires_grad_()
            loss(z, labels.cuda()).backward()
            grads.append(z.grad)
        assert torch.equal(*grads)
