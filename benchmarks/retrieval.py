"""Time and memory of the retrieval measures at the size of Stanford Online Products' test half, beside bare X X^T.

60,502 points in 512 dimensions, 11,316 classes of 2 to 12; Recall@1, 10, 100, 1000, R-Precision and MAP@R. The bare
product runs over the same strips into one buffer. All ways of a row take turns in one process. The best of the repeats
counts, of wall and of processor seconds each (on a shared machine the latter vary less).

Scenes: `classes`, separated about as well as a trained network's; `noise`, embeddings independent of the class, so that
no short list of neighbours contains a positive; `cone`, so narrow that float32 cannot distinguish the neighbours, and
nearly every query needs the exact pass.

    PYTHONPATH=src python benchmarks/retrieval.py        # prints markdown tables, a quarter of an hour on two cores
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from loss import cpu_name, row, table
from scene import wait
from torch import Tensor
from torch.nn.functional import normalize

from pfml.retrieval import retrieval_metrics
from pfml.retrieval.ranks import STRIP

POINTS, CLASSES, DIM = 60_502, 11_316, 512
KS = (1, 10, 100, 1000)
SCENES = ("classes", "noise", "cone")
PEER_SIZES = (5_000, 20_000)  # pytorch-metric-learning holds all similarities: 20,000 points take it 2 GB


def scene(kind: str, points: int) -> tuple[Tensor, Tensor]:
    """Embeddings (points, DIM) and labels: classes of 2 to 12, 5.3 on average, in random order."""
    draw = torch.Generator().manual_seed(0)
    sizes = torch.full((CLASSES * points // POINTS,), 2)
    while missing := points - int(sizes.sum()):
        free = (sizes < 12).nonzero()[:, 0]
        sizes[free[torch.randint(len(free), (missing // 20 + 1,), generator=draw)].unique()] += 1
    labels = torch.arange(len(sizes)).repeat_interleave(sizes)[torch.randperm(points, generator=draw)]
    embeddings = torch.randn(points, DIM, generator=draw)
    if kind != "noise":
        embeddings = embeddings / 2.6 + torch.randn(len(sizes), DIM, generator=draw)[labels] / 6
    return embeddings + (200 if kind == "cone" else 0), labels


def product(unit: Tensor) -> None:
    """X X^T over strips, into one buffer."""
    rows = STRIP // len(unit)
    strip = torch.empty(rows, len(unit), device=unit.device)
    for some in unit.split(rows):
        torch.mm(some, unit.T, out=strip[: len(some)])


def seconds(work, *on: Tensor) -> tuple[float, float]:
    """Wall and processor seconds, the latter of all threads. A GPU with a tensor of `on` is waited for."""
    for tensor in on:
        wait(tensor)
    start = time.perf_counter(), time.process_time()
    work()
    for tensor in on:
        wait(tensor)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def full_size(kind: str, repeats: int, points: int = POINTS, device: str = "cpu") -> dict:
    """The measures, and the best seconds of the bare product and of ours, wall and processor."""
    embeddings, labels = (part.to(device) for part in scene(kind, points))
    unit, times, metrics = normalize(embeddings, dim=1), {"product": [], "ours": []}, {}
    for _ in range(repeats):
        times["product"].append(seconds(lambda: product(unit), unit))
        times["ours"].append(seconds(lambda: metrics.update(retrieval_metrics(embeddings, labels, KS)), unit))
    best = {way: [*map(min, zip(*taken))] for way, taken in times.items()}
    return {"scene": kind, "points": points, "best": best, "repeats": repeats, "metrics": metrics}


def full_size_row(found: dict, peak: float) -> str:
    cells = [f"{100 * found['metrics'][name]:.1f}" for name in ("recall@1", "recall@1000", "map@r")]
    for bare, ours in zip(*found["best"].values()):
        cells += [f"{bare:.1f}", f"{ours:.1f}", f"{ours / bare:.2f}"]
    return row(found["scene"], *cells, f"{peak:.2f}", found["repeats"])


def peak_memory(kind: str) -> float:
    """GB at the peak of a fresh process, embeddings and libraries included."""
    command = [sys.executable, __file__, "--peak", kind]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def neighbor_lists(queries: int = 2048) -> float:
    """Seconds of faiss's exact search for 1,000 neighbours of every point, from some of the queries."""
    import faiss

    unit = normalize(scene("classes", POINTS)[0], dim=1).numpy()
    index = faiss.IndexFlatIP(DIM)
    index.add(unit)
    return seconds(lambda: index.search(unit[:queries], 1000))[0] * POINTS / queries


def peers(points: int, repeats: int) -> str:
    """Row: pytorch-metric-learning's calculator of precision@1, R-Precision and MAP@R beside ours."""
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    embeddings, labels = scene("classes", points)
    names = "precision_at_1", "r_precision", "mean_average_precision_at_r"
    ways = {
        how: AccuracyCalculator(include=names, k="max_bin_count", device=torch.device("cpu"), knn_func=search)
        for how, search in {"faiss": None, "torch": CustomKNN(CosineSimilarity())}.items()
    }
    unit, best = normalize(embeddings, dim=1), {}
    for _ in range(repeats):
        for how, calculator in ways.items():
            taken, _ = seconds(lambda calculator=calculator: calculator.get_accuracy(unit, labels))
            best[how] = min(best.get(how, taken), taken)
        taken, _ = seconds(lambda: retrieval_metrics(embeddings, labels, (1,)))
        best["ours"] = min(best.get("ours", taken), taken)
    theirs = (cell for how in ways for cell in (f"{best[how]:.2f}", f"{best[how] / best['ours']:.1f}"))
    return row(f"{points:,}", f"{best['ours']:.2f}", *theirs, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", choices=SCENES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        retrieval_metrics(*scene(arguments.peak, POINTS), KS)
        return print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
    print(
        f"{POINTS:,} points, D {DIM}, {CLASSES:,} classes of 2 to 12 (the size of Stanford Online Products), "
        f"on {cpu_name()}, {arguments.threads} threads, torch {torch.__version__}, float32 embeddings.\n"
        "Recall@1, 10, 100, 1000, R-Precision and MAP@R, beside the bare product X X^T in the same strips."
    )
    head = "scene", "R@1 %", "R@1000 %", "MAP@R %", "product s", "measures s", "ratio"
    print(table(*head, "product CPU s", "measures CPU s", "CPU ratio", "peak GB", "best of"))
    # First: a process inherits the peak of the one that started it.
    peaks = {kind: peak_memory(kind) for kind in SCENES}
    for kind in SCENES:
        print(full_size_row(full_size(kind, arguments.repeats), peaks[kind]), flush=True)
    print(f"\nfaiss's lists of the 1,000 nearest alone would take {neighbor_lists():.0f} s (2,048 queries, scaled).")
    print("\nBeside pytorch-metric-learning's AccuracyCalculator: R@1, R-Precision and MAP@R on `classes`.")
    print(table("points", "ours s", "theirs (faiss) s", "/ ours", "theirs (CustomKNN) s", "/ ours", "best of"))
    for points in PEER_SIZES:
        print(peers(points, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
