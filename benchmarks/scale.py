"""Growth of the time of one step of the PFML loss with the number of proxies: 10^4 to 10^6, two a class, D 128.

Settled scene: tight classes apart from each other, batch 100 as 25 classes x 4; Adam moves the proxies between steps
(learning rate 0.01). `first`: the step that finds all near pairs, by products over all of them. `later`: mean of the
next steps, which check only proxies that have moved half the skin. `product`: time of one bare product over all pairs,
scaled from a part of it.

    PYTHONPATH=src python benchmarks/scale.py        # a table, and reports/figures/loss-scale.png, .pdf
"""

import argparse
import math
import time

import torch
from loss import row, table
from scene import BATCH, PER_CLASS, Scene, step

from pfml.figures.style import BLUE, GREEN, QUIET, VERMILION, figure_style, new_figure, save_figure

DIM, PROXIES = 128, 2
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)  # the last takes 12 GB and half an hour: --most 1000000


class Settled(Scene):
    """The settled scene of scene.py, with classes that training has pulled within delta."""

    def __init__(self, points: int):
        super().__init__("settled", points // PROXIES, PROXIES, DIM)
        self.loss.proxies.data = (self.centers[:, None] + 0.1 * self.randn(points // PROXIES, PROXIES, DIM)) * 8

    def batch(self):
        classes = torch.randint(len(self.centers), (BATCH // PER_CLASS,), generator=self.draw)
        labels = classes.repeat_interleave(PER_CLASS)
        return (self.centers[labels] + 0.2 * self.randn(BATCH, DIM)).requires_grad_(), labels


def bare_product(points: int, rows: int = 1000) -> float:
    """Seconds of X X^T, from `rows` rows of X against up to 30,000."""
    columns = min(points, 30_000)
    x, y = torch.randn(rows, DIM), torch.randn(columns, DIM)
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        x @ y.T
        best = min(best, time.perf_counter() - start)
    return best * points / rows * points / columns


def measure(points: int, steps: int) -> tuple[float, float, float]:
    scene, times = Settled(points), []
    for _ in range(steps + 1):
        times.append(step(scene.loss, [scene.loss.proxies], *scene.batch()))
        scene.optimizer.step()
    return times[0], sum(times[1:]) / steps, bare_product(points)


def draw(times: dict[int, tuple[float, float, float]], path: str) -> None:
    sizes, columns = list(times), list(zip(*times.values()))
    growth = math.log(columns[1][-1] / columns[1][0]) / math.log(sizes[-1] / sizes[0])
    names = ("first step: finds all near pairs", "later steps, mean", "bare product over all pairs")
    looks = ((BLUE, "--", "s"), (VERMILION, "-", "o"), (GREEN, "-.", "^"))
    with figure_style():
        figure = new_figure(6, 4)
        axes = figure.subplots()
        for name, (color, dash, marker), values in zip(names, looks, columns):
            axes.loglog(sizes, values, color=color, linestyle=dash, marker=marker, label=name)
        axes.loglog(sizes, [columns[1][0] * n / sizes[0] for n in sizes], ":", color=QUIET, label="linear")
        axes.set(xlabel=f"proxies ({PROXIES} a class, D {DIM})", ylabel="seconds a step")
        axes.set_title(f"The cost of n proxies: steps after the first grow as $n^{{{growth:.2f}}}$")
        axes.legend()
        save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--steps", type=int, default=30, help="timed steps after the first")
    parser.add_argument("--most", type=int, default=SIZES[-2], help="largest number of proxies")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"PFML loss, forward + backward, {arguments.threads} thread(s), float32; later steps: n = {arguments.steps}.")
    print(table("proxies", "first s", "later s", "later, per million proxies", "bare product s"))
    times = {}
    for points in SIZES:
        if points <= arguments.most:
            times[points] = first, later, product = measure(points, arguments.steps)
            cells = f"{first:.2f}", f"{later:.3f}", f"{later / points * 1e6:.2f}", f"{product:.1f}"
            print(row(f"{points:,}", *cells), flush=True)
    draw(times, "reports/figures/loss-scale.png")


if __name__ == "__main__":
    main()
