"""Digests of single operations under the limits of PORTABLE, to find which library computes otherwise on a processor.

    python benchmarks/operations.py             # adds this processor to benchmarks/operations.json

Compare the lines of two processors: an operation whose digests differ is where their trainings part.
"""

import hashlib
import json
from pathlib import Path

from pfml.stage import be_portable

be_portable()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from pfml.tracking.provenance import processor  # noqa: E402

FILE = Path(__file__).with_suffix(".json")


def digest(*tensors: torch.Tensor) -> str:
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(tensor.detach().contiguous().numpy().tobytes())
    return state.hexdigest()[:12]


def convolution(inputs: int, outputs: int, side: int, kernel: int = 3, stride: int = 1) -> dict[str, str]:
    x = torch.randn(100, inputs, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(outputs, inputs, kernel, kernel, requires_grad=True)
    y = F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), stride=stride, padding=1)
    gradients = torch.autograd.grad(y, (x, weight), torch.ones_like(y) * torch.randn(outputs, 1, 1))
    name = f"conv {inputs}-{outputs} {kernel}x{kernel}/{stride} at {side}"
    return {f"{name}: {part}": digest(one) for part, one in zip(("forward", "input", "weight"), (y, *gradients))}


def operations() -> dict[str, str]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    a, b, x = torch.randn(100, 1024), torch.randn(1024, 64), torch.randn(100, 16, 32, 32)
    points, proxies = torch.randn(100, 64), torch.randn(1500, 64)  # as the losses multiply them
    found = {
        "draws": digest(a, b, x), "product float32": digest(a @ b), "product float64": digest(a.double() @ b.double()),
        "exp": digest(a.exp()), "log": digest(a.abs().log()), "power": digest(a.abs() ** 1.7), "sum": digest(a.sum(1)),
        "norm": digest(a.norm(dim=1)), "batch norm": digest(F.batch_norm(x, None, None, training=True)),
        "softmax": digest(a.softmax(1)), "cdist": digest(torch.cdist(a, a)), "mean": digest(x.mean((0, 2, 3))),
        "numpy product": digest(torch.from_numpy(a.double().numpy() @ b.double().numpy())),
        "numpy exp": digest(torch.from_numpy(np.exp(a.double().numpy()))),
    }  # fmt: skip
    for name, one in (("float32", lambda t: t), ("float64", torch.Tensor.double)):
        found |= {
            f"points proxies^T {name}": digest(one(points) @ one(proxies).T),
            f"proxies proxies^T {name}": digest(one(proxies) @ one(proxies).T),
            f"points points^T {name}": digest(one(points) @ one(points).T),
            f"a^T points {name}": digest(one(a).T @ one(points)),
            f"a a^T, 1024 long, {name}": digest(one(a) @ one(a).T),
            f"linear layer {name}": digest(F.linear(one(a), one(b).T, torch.ones(64, dtype=one(a).dtype))),
        }
    found["cdist without a product"] = digest(torch.cdist(points, proxies, compute_mode="donot_use_mm_for_euclid_dist"))
    for shape in ((3, 16, 32, 4, 2), (16, 32, 16), (32, 64, 8), (3, 16, 32), (64, 128, 4)):
        found |= convolution(*shape)
    return found


if __name__ == "__main__":
    records = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(json.dumps(records | {processor(): operations()}, indent=1, sort_keys=True) + "\n")
