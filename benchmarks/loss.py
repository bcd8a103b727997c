"""Time and memory of one step of the PFML loss: the exact sum against eager autograd and against other losses.

All ways take turns in one process on the same points, forward and backward. Times are means over the steps. Errors are
those of the gradient against eager autograd in float64. Alpha 3, delta 0.2, batch 100 as 25 classes x 4, float32.

The scenes `cone` and `settled` are those of benchmarks/scene.py.

    PYTHONPATH=src python benchmarks/loss.py --threads 1        # prints markdown tables

benchmarks/gpu.py calls the same functions with a GPU as their `device`.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from scene import BATCH, Scene, eager_energy, gradient, plain_torch, step, wait

# (classes, M, D): the default dataset, CUB-200, 4,100 points, Stanford Online Products
SIZES = ((100, 15, 64), (100, 15, 512), (800, 5, 512), (11318, 2, 512))
EAGER_LIMIT = 8000  # points up to which eager autograd runs here; beyond, its time and memory are scaled by n^2


def compare(
    kind: str, classes: int, proxies: int, dim: int, seconds: float, device: str = "cpu", limit: int = EAGER_LIMIT
) -> dict:
    """Milliseconds of a step by every way, and the errors of its value and gradient against eager autograd in float64.

    Beyond `limit` points eager autograd is scaled by n^2, and there are no errors. On a GPU `torch` is the loss without
    its kernel.
    """
    scene = Scene(kind, classes, proxies, dim, device)
    n = BATCH + classes * proxies
    eager = n <= limit
    ways = {"eager": lambda z, y: eager_energy(scene.loss, z, y)} if eager else {}
    ways |= {"torch": plain_torch(scene.loss)} if device != "cpu" else {}
    ways["fast"] = scene.loss  # the last: Adam takes its gradient
    parameters, times = list(scene.loss.parameters()), {name: [] for name in ways}
    errors, started, k = {}, time.perf_counter(), 0
    while k < 4 or time.perf_counter() - started < seconds:
        embeddings, labels = scene.batch()
        found = {}
        for name, energy in ways.items():
            times[name].append(step(energy, parameters, embeddings, labels))
            if k == 0 and eager:
                found[name] = gradient(scene, embeddings), energy(embeddings, labels).detach()
        if found:
            double = embeddings.detach().double().requires_grad_()
            step(ways["eager"], parameters, double, labels)
            exact, value = gradient(scene, double), ways["eager"](double, labels).detach()
            for name, (slope, energy) in found.items():
                errors[f"{name}_error"] = float((slope - exact).norm() / exact.norm())
                errors[f"{name}_value_error"] = float((energy - value).abs() / value.abs())
            step(scene.loss, parameters, embeddings, labels)
        scene.optimizer.step()
        k += 1
    means = {f"{name}_ms": 1e3 * sum(taken[1:]) / (k - 1) for name, taken in times.items()}
    medians = {f"{name}_median_ms": 1e3 * statistics.median(taken[1:]) for name, taken in times.items()}
    if not eager:
        means["eager_ms"] = medians["eager_median_ms"] = scaled_eager(kind, proxies, dim, device, limit) * n**2
    sizes = {"scene": kind, "points": n, "dim": dim, "scaled": not eager, "steps": k - 1}
    return sizes | means | medians | {"first_ms": 1e3 * times["fast"][0]} | errors


def compare_row(found: dict) -> str:
    """A row: n, D, eager ms, fast ms, their ratio, errors."""
    slow, fast = found["eager_ms"], found["fast_ms"]
    cells = [f"{slow:,.1f}{' (scaled)' * found['scaled']}", f"{fast:.1f}", f"{found['first_ms']:.0f}"]
    errors = [f"{found[key]:.0e}" if key in found else "–" for key in ("eager_error", "fast_error")]
    sizes = found["scene"], f"{found['points']:,}", found["dim"]
    return row(*sizes, *cells, f"{slow / fast:.1f}", *errors, found["steps"])


def scaled_eager(kind: str, proxies: int, dim: int, device: str = "cpu", points: int = EAGER_LIMIT) -> float:
    """Milliseconds of eager autograd per n^2, from a scene of about `points` points."""
    scene = Scene(kind, (points - BATCH) // proxies, proxies, dim, device)
    embeddings, labels = scene.batch()
    parameters = list(scene.loss.parameters())
    best = min(step(lambda z, y: eager_energy(scene.loss, z, y), parameters, embeddings, labels) for _ in range(3))
    return 1e3 * best / points**2


def peers(classes: int, proxies: int, dim: int, repeats: int, device: str = "cpu") -> list[dict]:
    """Milliseconds of other losses on the settled scene, with M proxies a class, one, or none."""
    from pytorch_metric_learning import losses

    scene = Scene("settled", classes, proxies, dim, device)
    ways = {
        "PFML (this)": scene.loss,
        "ProxyAnchor": losses.ProxyAnchorLoss(classes, dim).to(device),
        "SoftTriple": losses.SoftTripleLoss(classes, dim, centers_per_class=proxies).to(device),
        "MultiSimilarity": losses.MultiSimilarityLoss(),
    }
    times = {name: [] for name in ways}
    for _ in range(repeats):
        embeddings, labels = scene.batch()
        for name, loss in ways.items():
            times[name].append(step(loss, list(loss.parameters()), embeddings, labels))
        scene.optimizer.step()
    ours = sum(times["PFML (this)"][1:])
    sizes = {"classes": classes, "proxies": proxies, "dim": dim, "steps": repeats - 1}
    return [
        {"loss": name, **sizes, "ms": 1e3 * sum(t[1:]) / (repeats - 1), "ratio": sum(t[1:]) / ours}
        for name, t in times.items()
    ]


def peer_row(found: dict) -> str:
    sizes = found["loss"], f"{found['classes']:,}", found["proxies"], found["dim"]
    return row(*sizes, f"{found['ms']:.1f}", f"{found['ratio']:.2f}")


def peak_memory(way: str, kind: str, classes: int, proxies: int, dim: int) -> float:
    """GB that three steps add to a fresh process, gradients included."""
    command = [sys.executable, __file__, "--peak", way, kind, str(classes), str(proxies), str(dim)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def added_memory(way: str, kind: str, classes: int, proxies: int, dim: int, device: str = "cpu") -> float:
    """GB that three steps add; on a GPU at the peak of this process's tensors there."""
    scene = Scene(kind, classes, proxies, dim, device)
    energy = scene.loss if way == "fast" else lambda z, y: eager_energy(scene.loss, z, y)
    batches = [scene.batch() for _ in range(3)]
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for embeddings, labels in batches:
        step(energy, list(scene.loss.parameters()), embeddings, labels)
    if device != "cpu":
        return (torch.cuda.max_memory_allocated() - before) / 1e9
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6


def memory_rows(classes: int, proxies: int, dim: int) -> list[str]:
    n, small = BATCH + classes * proxies, (EAGER_LIMIT - BATCH) // proxies
    eager = peak_memory("eager", "settled", small, proxies, dim) * (n / (BATCH + small * proxies)) ** 2
    fast = {kind: peak_memory("fast", kind, classes, proxies, dim) for kind in ("settled", "cone")}
    return [row(kind, f"{n:,}", dim, f"{eager:.1f} (scaled)", f"{gb:.2f}") for kind, gb in fast.items()]


def network_share(
    repeats: int, images: int = 20, proxies: tuple[int, ...] = (0, 5, 20, 30), device: str = "cpu",
    precision: str = "float32", side: int = 224,
) -> list[dict]:  # fmt: skip
    """Seconds of the loss beside those of a ResNet-50's forward and backward, as the paper's Table 9 varies M."""
    import timm

    network = timm.create_model("resnet50", num_classes=512).to(device, memory_format=torch.channels_last)
    pictures = torch.randn(images, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    taken = []
    for _ in range(1 if device == "cpu" else repeats):
        wait(pictures)
        start = time.perf_counter()
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            embeddings = network(pictures)
        embeddings.float().sum().backward()
        wait(pictures)
        taken.append(time.perf_counter() - start)
    network_seconds = statistics.median(taken) * BATCH / images
    rows = []
    for count in proxies:
        scene = Scene("settled", 100, count, 512, device)
        seconds = []
        for _ in range(repeats):
            seconds.append(step(scene.loss, list(scene.loss.parameters()), *scene.batch()))
            scene.optimizer.step()
        mean = sum(seconds[1:]) / (repeats - 1)
        rows.append({"proxies": count, "loss_ms": 1e3 * mean, "network_s": network_seconds, "steps": repeats - 1})
    return rows


def share_row(found: dict) -> str:
    share = 1e-3 * found["loss_ms"] / found["network_s"]
    return row(found["proxies"], f"{found['loss_ms']:.1f}", f"{found['network_s']:.1f}", f"{100 * share:.2f}")


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
            print(compare_row(compare(kind, classes, proxies, dim, arguments.seconds)), flush=True)
    print("\nOther losses (pytorch-metric-learning) on the settled scene; they sum over fewer pairs.")
    print(table("loss", "classes", "M", "D", "ms", "time / PFML's"))
    for classes, proxies, dim in SIZES[1:]:
        print("\n".join(map(peer_row, peers(classes, proxies, dim, 12))), flush=True)
    print("\nShare of a ResNet-50 step of 100 images (float32 on the same thread; 20 images measured, times five).")
    print(table("M", "loss ms", "ResNet-50 s", "loss / network %"))
    print("\n".join(map(share_row, network_share(12))), flush=True)


if __name__ == "__main__":
    main()
