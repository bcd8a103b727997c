"""A device that is not the CPU, on any machine: "other", whose tensors compute on the CPU but refuse to meet the CPU's.

As on a GPU, an operation on tensors of both devices, NumPy on a tensor of the other device, and a generator of the
wrong device are errors; reading a number back, copies from one device to the other, and indices on the CPU are not.
So code that runs here has all its tensors in the right place, and gives the same bits as on the CPU. It says nothing
of what a GPU's own kernels do. Built on torch's support for devices written in Python.
"""

import json
from typing import ClassVar

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_map

NAME = "other"
BETWEEN = {"aten::_to_copy", "aten::copy_", "aten::_local_scalar_dense"}  # may meet both devices
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
LOOKS = {
    name: getattr(torch.Tensor, method)
    for method in ("size", "stride", "numel", "storage_offset", "dim", "is_contiguous")
    for name in (f"aten::{method}", f"aten::sym_{method}")
}


class _Device(backend_registration._DummyBackendModule):
    """What torch asks of torch.other."""

    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]

    def is_bf16_supported(self):
        return True

    def get_rng_state(self, device=0):
        return torch.zeros(8, dtype=torch.uint8)

    def set_rng_state(self, state, device=0):
        pass


class OtherTensor(torch.Tensor):
    """On the other device; `inner` is the CPU tensor behind it."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=torch.device(NAME, 0), dispatch_sizes_strides_policy="sizes",
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, *args, **kwargs or {})

    def tolist(self):
        return self.inner.tolist()

    def __repr__(self):
        return f"OtherTensor({self.inner})"


class Generator(torch.Generator):
    """In place of torch.Generator, which knows no device that is written in Python."""

    there: ClassVar = {}  # the other device's, kept so that no address is used again

    def __new__(cls, device="cpu"):
        if torch.device(device).type != NAME:
            return super().__new__(cls, device)
        made = super().__new__(cls, "cpu")
        cls.there[made._cdata] = made
        return made


def _run(func, *args, **kwargs):
    """The operation on the CPU, its result where it belongs."""
    name, owners, others = func._schema.name, {}, []
    if name in LOOKS:
        return LOOKS[name](args[0].inner)
    if name == "aten::is_strides_like_format":
        return args[0].inner.is_contiguous(memory_format=args[1])

    def inner(x):
        if isinstance(x, OtherTensor):
            owners[id(x.inner)] = x
            return x.inner
        if isinstance(x, torch.Tensor) and x.ndim:
            others.append(x)
        return torch.device("cpu") if isinstance(x, torch.device) and x.type == NAME else x

    inputs, options = tree_map(inner, (args, kwargs))
    indices = sum(isinstance(x, torch.Tensor) for x in args[1]) if name in INDEXING else 0
    if owners and len(others) > indices and name not in BETWEEN:
        shapes = ", ".join(str(tuple(x.shape)) for x in others)
        raise RuntimeError(f"{name}: expected all tensors on one device, found {NAME} and, on the cpu, {shapes}")
    target = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else None
    here = target == NAME or (target is None and bool(owners))
    if name == "aten::copy_":
        here = isinstance(args[0], OtherTensor)
    drawn_by = kwargs.get("generator")
    if drawn_by is not None and here != (drawn_by._cdata in Generator.there):
        raise RuntimeError(f"{name}: expected a generator of the tensor's device")
    out = func(*inputs, **{key: value for key, value in options.items() if key != "pin_memory"})
    if name == "aten::_local_scalar_dense" or not here:
        return out
    return tree_map(lambda x: owners.get(id(x), OtherTensor(x)) if isinstance(x, torch.Tensor) else x, out)


def _install() -> list[torch.library.Library]:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Device())
    every, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    every.fallback(_run, "PrivateUse1")
    for name in ("empty.memory_format", "empty_strided", "copy_", "_to_copy", "_copy_from"):  # torch.tensor needs them
        packet, _, overload = name.partition(".")
        operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
        aten.impl(name, lambda *args, operation=operation, **kwargs: _run(operation, *args, **kwargs), "PrivateUse1")
    return [every, aten]


_libraries = _install()  # once in a process; they last as long as this list


def main() -> None:
    """Print what this device refuses, as JSON."""
    there = torch.ones(3).to(NAME)
    forbidden = {
        "two devices": lambda: there + torch.ones(3),
        "NumPy": lambda: there.numpy(),
        "a generator of the CPU": lambda: torch.rand(3, device=NAME, generator=Generator()),
        "nothing": lambda: there[torch.tensor([0])].sum().item() + there.cpu()[0] + torch.ones(()) * there,
    }
    for name, operation in forbidden.items():
        try:
            operation()
        except RuntimeError:
            print(json.dumps(name))


if __name__ == "__main__":
    main()
