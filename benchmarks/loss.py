"""Time of one training step of the PFML loss: the fast sum against the same formula in eager autograd.

Both run in turn in one process on the same points, forward and backward; the smallest time of each counts,
since other work on the machine only ever adds. Errors are those of the gradient against eager autograd in
float64. Scenes: `cone`, the start of training with proxies copied from data (all embeddings in a narrow cone,
a share of the pairs repels); `random`, the start with random proxies; `trained`, tight and separate classes,
where almost no pair repels. Alpha 3, delta 0.2, batch 100 as 25 classes x 4, 100 classes.

    PYTHONPATH=src python benchmarks/loss.py --threads 1        # prints a markdown table
"""

import argparse
import math
import platform
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pfml.losses.potential_field import PotentialFieldLoss

CLASSES, BATCH, PER_CLASS = 100, 100, 4
SIZES = ((64, 15), (64, 30), (512, 15))  # (D, M)


def eager_energy(loss: PotentialFieldLoss, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Eq. 6 in excess form, as one writes it with a full distance matrix."""
    law = loss.law
    proxies = loss.proxies.flatten(0, 1).to(embeddings.dtype)
    points = torch.cat([normalize(embeddings, dim=1), normalize(proxies, dim=1)])
    classes = torch.cat([labels, torch.arange(CLASSES).repeat_interleave(loss.proxies_per_class)])
    d2 = 2 - 2 * points @ points.T
    attraction = law.delta**-law.alpha - d2.clamp(min=law.delta**2).pow(-law.alpha / 2)
    repulsion = d2.clamp(law.eps**2, law.delta_rep**2).pow(-law.alpha / 2) - law.delta_rep**-law.alpha
    pairs = torch.where(classes[:, None] == classes[None, :], attraction, repulsion)
    return pairs.fill_diagonal_(0).sum()


def scene(kind: str, dim: int, proxies: int) -> tuple[PotentialFieldLoss, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)

    def randn(*shape):
        return torch.randn(*shape, generator=draw) / math.sqrt(dim)

    loss = PotentialFieldLoss(CLASSES, dim, proxies)
    labels = torch.arange(BATCH // PER_CLASS).repeat_interleave(PER_CLASS)
    axis = normalize(randn(1, dim))
    if kind == "trained":
        centres = normalize(randn(CLASSES, dim))
        embeddings = centres[labels] + 0.2 * randn(BATCH, dim)
        loss.proxies.data = (centres[:, None] + 0.15 * randn(CLASSES, proxies, dim)) * math.sqrt(dim)
    else:
        embeddings = axis + 0.15 * randn(BATCH, dim)
        if kind == "cone":
            loss.proxies.data = (axis + 0.15 * randn(CLASSES, proxies, dim)) * math.sqrt(dim)
        else:
            loss.proxies.data = randn(CLASSES, proxies, dim) * math.sqrt(dim)
    return loss, embeddings.requires_grad_(), labels


def step(energy, loss: PotentialFieldLoss, embeddings: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Seconds of forward and backward, and the gradient of all points."""
    embeddings.grad = loss.proxies.grad = None
    start = time.perf_counter()
    energy(embeddings, labels).backward()
    seconds = time.perf_counter() - start
    return seconds, torch.cat([embeddings.grad, loss.proxies.grad.flatten(0, 1)])


def compare(kind: str, dim: int, proxies: int, repeats: int) -> str:
    loss, embeddings, labels = scene(kind, dim, proxies)
    ways = {"fast": loss, "eager": lambda z, y: eager_energy(loss, z, y)}
    times, grads = {name: [] for name in ways}, {}
    for _ in range(repeats):
        for name, energy in ways.items():
            seconds, grads[name] = step(energy, loss, embeddings, labels)
            times[name].append(seconds)
    exact = step(ways["eager"], loss, embeddings.detach().double().requires_grad_(), labels)[1]
    error = {name: float((grad - exact).norm() / exact.norm()) for name, grad in grads.items()}
    fast, eager = 1e3 * min(times["fast"]), 1e3 * min(times["eager"])
    size = f"{BATCH + CLASSES * proxies:,} | {dim} | {torch.get_num_threads()}"
    speed = f"{eager:.1f} | {fast:.1f} | {eager / fast:.1f}"
    return f"| {kind} | {size} | {speed} | {error['eager']:.0e} | {error['fast']:.0e} |"


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--repeats", type=int, default=15, help="steps of each way; the smallest time counts")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"PFML loss, forward + backward, on {cpu_name()}, torch {torch.__version__}, float32\n")
    print("| scene | n points | D | threads | eager ms | fast ms | ratio | eager error | fast error |")
    print("|---|---|---|---|---|---|---|---|---|")
    for dim, proxies in SIZES:
        for kind in ("cone", "random", "trained"):
            print(compare(kind, dim, proxies, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
