"""Time and memory of one step of the PFML loss: the exact sum against eager autograd and against other losses.

All ways take turns in one process on the same points, forward and backward. Times are means over the steps. Errors are
those of the gradient against eager autograd in float64. Alpha 3, delta 0.2, batch 100 as 25 classes x 4, float32.

There are two scenes. `cone` is the start of training with proxies copied from data: all embeddings are in a narrow
cone, most pairs repel, and the points stay where they are. `settled` has tight classes apart from each other, where
almost no pair repels: the batch changes with every step and Adam moves the proxies (learning rate 0.01), so that the
list of near pairs has to follow them.

    PYTHONPATH=src python benchmarks/loss.py --threads 1        # prints markdown tables
"""

import argparse
import math
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pfml.losses.field.potential_field import PotentialFieldLoss

BATCH, PER_CLASS = 100, 4
# (classes, M, D): the default dataset, CUB-200, 4,100 points, Stanford Online Products
SIZES = ((100, 15, 64), (100, 15, 512), (800, 5, 512), (11318, 2, 512))
EAGER_LIMIT = 8000  # points up to which eager autograd runs here; beyond, its time and memory are scaled by n^2


class Scene:
    """A loss, its batches and the motion of its proxies."""

    def __init__(self, kind: str, classes: int, proxies: int, dim: int):
        self.draw = torch.Generator().manual_seed(0)
        self.kind, self.dim = kind, dim
        self.loss = PotentialFieldLoss(classes, dim, proxies)
        self.axis = normalize(self.randn(1, dim), dim=1)
        self.centers = normalize(self.randn(classes, dim), dim=1)
        places = self.axis if kind == "cone" else self.centers[:, None]
        self.loss.proxies.data = (places + 0.15 * self.randn(classes, proxies, dim)) * math.sqrt(dim)
        self.optimizer = torch.optim.Adam(self.loss.parameters(), lr=0.01 if kind == "settled" else 0.0)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draw) / math.sqrt(self.dim)

    def batch(self) -> tuple[Tensor, Tensor]:
        classes = torch.randperm(len(self.centers), generator=self.draw)[: BATCH // PER_CLASS]
        labels = classes.repeat_interleave(PER_CLASS)
        places = self.axis if self.kind == "cone" else self.centers[labels]
        return (places + 0.2 * self.randn(BATCH, self.dim)).requires_grad_(), labels


def eager_energy(loss: PotentialFieldLoss, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Eq. 6 in excess form, with a full distance matrix."""
    law = loss.law
    proxies = loss.proxies.flatten(0, 1).to(embeddings.dtype)
    points = torch.cat([normalize(embeddings, dim=1), normalize(proxies, dim=1)])
    classes = torch.cat([labels, torch.arange(loss.num_classes).repeat_interleave(loss.proxies_per_class)])
    d2 = 2 - 2 * points @ points.T
    attraction = law.delta**-law.alpha - d2.clamp(min=law.delta**2).pow(-law.alpha / 2)
    repulsion = d2.clamp(law.eps**2, law.delta_rep**2).pow(-law.alpha / 2) - law.delta_rep**-law.alpha
    pairs = torch.where(classes[:, None] == classes[None, :], attraction, repulsion)
    return pairs.fill_diagonal_(0).sum()


def step(energy, parameters: list[Tensor], embeddings: Tensor, labels: Tensor) -> float:
    """Seconds of forward and backward; the gradients stay on the tensors."""
    embeddings.grad = None
    for parameter in parameters:
        parameter.grad = None
    start = time.perf_counter()
    energy(embeddings, labels).backward()
    return time.perf_counter() - start


def gradient(scene: Scene, embeddings: Tensor) -> Tensor:
    return torch.cat([embeddings.grad, scene.loss.proxies.grad.flatten(0, 1)])


def compare(kind: str, classes: int, proxies: int, dim: int, seconds: float) -> str:
    """A row: n, D, eager ms, fast ms, their ratio, errors."""
    scene = Scene(kind, classes, proxies, dim)
    n = BATCH + classes * proxies
    eager = n <= EAGER_LIMIT
    parameters, times = list(scene.loss.parameters()), {"fast": [], "eager": []}
    errors = {}
    started, k = time.perf_counter(), 0
    while k < 4 or time.perf_counter() - started < seconds:
        embeddings, labels = scene.batch()
        if eager:
            times["eager"].append(step(lambda z, y: eager_energy(scene.loss, z, y), parameters, embeddings, labels))
            gradients = {"eager": gradient(scene, embeddings)}
        times["fast"].append(step(scene.loss, parameters, embeddings, labels))
        if eager and k == 0:
            gradients["fast"] = gradient(scene, embeddings)
            double = embeddings.detach().double().requires_grad_()
            step(lambda z, y: eager_energy(scene.loss, z, y), parameters, double, labels)
            exact = gradient(scene, double)
            errors = {name: f"{float((g - exact).norm() / exact.norm()):.0e}" for name, g in gradients.items()}
            step(scene.loss, parameters, embeddings, labels)
        scene.optimizer.step()
        k += 1
    first, later = times["fast"][0], times["fast"][1:]
    fast = 1e3 * sum(later) / len(later)
    if eager:
        slow, how = 1e3 * sum(times["eager"][1:]) / (k - 1), ""
    else:
        slow, how = scaled_eager(kind, proxies, dim) * n**2, " (scaled)"
    cells = [kind, f"{n:,}", dim, f"{slow:,.1f}{how}", f"{fast:.1f}", f"{1e3 * first:.0f}", f"{slow / fast:.1f}"]
    return row(*cells, errors.get("eager", "–"), errors.get("fast", "–"), k - 1)


def scaled_eager(kind: str, proxies: int, dim: int) -> float:
    """Milliseconds of eager autograd per n^2, from a scene of EAGER_LIMIT points."""
    scene = Scene(kind, (EAGER_LIMIT - BATCH) // proxies, proxies, dim)
    embeddings, labels = scene.batch()
    parameters = list(scene.loss.parameters())
    best = min(step(lambda z, y: eager_energy(scene.loss, z, y), parameters, embeddings, labels) for _ in range(3))
    return 1e3 * best / EAGER_LIMIT**2


def peers(classes: int, proxies: int, dim: int, repeats: int) -> list[str]:
    """Rows: other losses on the settled scene, with M proxies a class, one, or none."""
    from pytorch_metric_learning import losses

    scene = Scene("settled", classes, proxies, dim)
    ways = {
        "PFML (this)": scene.loss,
        "ProxyAnchor": losses.ProxyAnchorLoss(classes, dim),
        "SoftTriple": losses.SoftTripleLoss(classes, dim, centers_per_class=proxies),
        "MultiSimilarity": losses.MultiSimilarityLoss(),
    }
    times = {name: [] for name in ways}
    for _ in range(repeats):
        embeddings, labels = scene.batch()
        for name, loss in ways.items():
            times[name].append(step(loss, list(loss.parameters()), embeddings, labels))
        scene.optimizer.step()
    ours = sum(times["PFML (this)"][1:])
    return [
        row(name, f"{classes:,}", proxies, dim, f"{1e3 * sum(t[1:]) / (repeats - 1):.1f}", f"{sum(t[1:]) / ours:.2f}")
        for name, t in times.items()
    ]


def peak_memory(way: str, kind: str, classes: int, proxies: int, dim: int) -> float:
    """GB that three steps add to a fresh process, gradients included."""
    command = [sys.executable, __file__, "--peak", way, kind, str(classes), str(proxies), str(dim)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def added_memory(way: str, kind: str, classes: int, proxies: int, dim: int) -> float:
    scene = Scene(kind, classes, proxies, dim)
    energy = scene.loss if way == "fast" else lambda z, y: eager_energy(scene.loss, z, y)
    batches = [scene.batch() for _ in range(3)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for embeddings, labels in batches:
        step(energy, list(scene.loss.parameters()), embeddings, labels)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6


def memory_rows(classes: int, proxies: int, dim: int) -> list[str]:
    n, small = BATCH + classes * proxies, (EAGER_LIMIT - BATCH) // proxies
    eager = peak_memory("eager", "settled", small, proxies, dim) * (n / (BATCH + small * proxies)) ** 2
    fast = {kind: peak_memory("fast", kind, classes, proxies, dim) for kind in ("settled", "cone")}
    return [row(kind, f"{n:,}", dim, f"{eager:.1f} (scaled)", f"{gb:.2f}") for kind, gb in fast.items()]


def network_share(repeats: int, images: int = 20) -> list[str]:
    """Rows: seconds of the loss beside a ResNet-50 step (float32, 224 px), as the paper's Table 9 varies M."""
    import timm

    network = timm.create_model("resnet50", num_classes=512)
    pictures = torch.randn(images, 3, 224, 224)
    start = time.perf_counter()
    network(pictures).sum().backward()
    network_seconds = (time.perf_counter() - start) * BATCH / images
    rows = []
    for proxies in (0, 5, 20, 30):
        scene = Scene("settled", 100, proxies, 512)
        seconds = []
        for _ in range(repeats):
            seconds.append(step(scene.loss, list(scene.loss.parameters()), *scene.batch()))
            scene.optimizer.step()
        mean = sum(seconds[1:]) / (repeats - 1)
        rows.append(row(proxies, f"{1e3 * mean:.1f}", f"{network_seconds:.1f}", f"{100 * mean / network_seconds:.2f}"))
    return rows


def row(*cells) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def table(*head: str) -> str:
    return f"\n{row(*head)}\n{row(*['---'] * len(head))}"


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--seconds", type=float, default=10, help="for each row")
    parser.add_argument("--peak", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        way, kind, *sizes = arguments.peak
        return print(added_memory(way, kind, *map(int, sizes)))
    threads = f"{arguments.threads} thread{'s' * (arguments.threads > 1)}"
    print(f"PFML loss, forward + backward, on {cpu_name()}, {threads}, torch {torch.__version__}, float32; steps: n.")
    # First: a process inherits the peak of the one that started it.
    print("\nMemory that a step adds, gradients included.")
    print(table("scene", "points", "D", "eager GB", "fast GB"))
    print("\n".join(memory_rows(*SIZES[-1])), flush=True)
    print("\nTime of a step.")
    print(table("scene", "points", "D", "eager ms", "fast ms", "first ms", "ratio", "eager error", "fast error", "n"))
    for classes, proxies, dim in SIZES:
        for kind in ("settled", "cone"):
            print(compare(kind, classes, proxies, dim, arguments.seconds), flush=True)
    print("\nOther losses (pytorch-metric-learning) on the settled scene; they sum over fewer pairs.")
    print(table("loss", "classes", "M", "D", "ms", "time / PFML's"))
    for classes, proxies, dim in SIZES[1:]:
        print("\n".join(peers(classes, proxies, dim, 12)), flush=True)
    print("\nShare of a ResNet-50 step of 100 images (float32 on the same thread; 20 images measured, times five).")
    print(table("M", "loss ms", "ResNet-50 s", "loss / network %"))
    print("\n".join(network_share(12)), flush=True)


if __name__ == "__main__":
    main()
