"""The parts of benchmarks/gpu.py, each in a process of its own, which gpu.py starts and stops.

    machine     the device and the versions
    tests       the tests marked gpu: the Triton kernel against the double loop, and what else needs a device
    loss        time, memory and error of the loss, against eager autograd and pytorch-metric-learning, and its share of
                a ResNet-50 step
    rate        the training loop from a fast pack against random tensors on the device
    retrieval   the measures at the size of Stanford Online Products, and whether a CPU gives the same numbers
    bits        whether two equal trainings give equal bits
    check       fine-tuned networks on crops (benchmarks/gpu_check.py)

A part writes each result the moment it has it, and starts nothing that would not be done in the time that is left.
"""

import argparse
import os
import platform
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gpu_results import append
from gpu_sizes import FULL, MINIATURE, Sizes

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Context:
    """What a part works with.

    Attributes:
        device: cuda or cpu.
        bundle: folder of `make gpu-bundle`, or None.
        work: folder of this run for files that parts share; it is removed at the end.
        until: time.time() at which this process is ended.
        write: (kind, **found) adds a result.
    """

    device: str
    sizes: Sizes
    miniature: bool
    bundle: Path | None
    work: Path
    until: float
    write: Callable

    @property
    def left(self) -> float:
        return self.until - time.time()

    def crops(self, short_side: int):
        from gpu_crops import fast_pack, generated

        exact = self.work / "exact" if self.bundle is None else self.bundle / "crops"
        if self.bundle is None and not (exact / "meta.json").exists():
            generated(exact)
        return fast_pack(exact, self.work / f"fast-{short_side}", short_side, self.sizes.classes)


def machine(context: Context) -> None:
    from importlib.metadata import PackageNotFoundError, version

    import torch
    from loss import cpu_name

    def found(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    gpu = torch.cuda.is_available()
    facts = {"gpu": torch.cuda.get_device_name() if gpu else None, "cpu": cpu_name(), "cores": os.cpu_count()}
    if gpu:
        facts["memory_gb"] = torch.cuda.get_device_properties(0).total_memory / 1e9
        facts["capability"] = torch.cuda.get_device_capability()
    facts |= {"python": platform.python_version(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    facts |= {name: found(name) for name in ("torch", "triton", "timm", "pytorch-metric-learning", "numpy")}
    context.write("facts", **facts)


def tests(context: Context) -> None:
    import pytest

    if context.device == "cpu":  # before the kernel is imported
        os.environ["TRITON_INTERPRET"] = "1"
        started = time.perf_counter()
        from tests.losses import triton_cases

        triton_cases.scene_case("cpu", "alpha 3", "tight")
        context.write("interpreted", outcome="passed", seconds=time.perf_counter() - started)

    class Writer:
        def pytest_runtest_logreport(self, report):
            if report.when == "call" or report.outcome != "passed":
                reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
                reason = report.longreprtext[-2000:] if report.failed else reason
                context.write("test", name=report.nodeid, outcome=report.outcome, reason=reason)

        def pytest_collectreport(self, report):
            if report.failed:
                context.write("test", name=report.nodeid, outcome="not imported", reason=report.longreprtext[-2000:])

    files = sorted((ROOT / "tests").rglob("test_*.py"))  # the others need packages that are not here
    marked = [str(path) for path in files if re.search(r"mark\.gpu\b", path.read_text())]
    options = ["-m", "gpu", "-p", "no:cacheprovider", "--continue-on-collection-errors", "--rootdir", str(ROOT)]
    code = pytest.main([*options, *marked], [Writer()])
    context.write("pytest", exit_code=int(code))


def loss(context: Context) -> None:
    import torch
    from loss import EAGER_LIMIT, added_memory, compare, network_share, peers

    from pfml.losses.field import field_gpu

    sizes, limit = context.sizes, EAGER_LIMIT
    if context.device == "cuda":  # eager autograd in float64 takes about 130 bytes a pair
        limit = int((0.6 * torch.cuda.get_device_properties(0).total_memory / 130) ** 0.5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for classes, proxies, dim in sizes.losses:
            for kind in ("settled", "cone"):
                scene = kind, classes, proxies, dim, sizes.seconds, context.device
                try:
                    found = compare(*scene, limit)
                except torch.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    found = compare(*scene)  # eager autograd from fewer points, scaled
                context.write("step", **found)
        reasons = sorted({str(one.message)[:500] for one in said if "kernel" in str(one.message)})
    used = sum(field_gpu._uses.values())
    context.write("kernel", uses=used, given_up=field_gpu._given_up, warnings=reasons)
    share = partial(network_share, device=context.device, precision=sizes.precision, side=sizes.side)
    for found in share(sizes.steps, sizes.images, (0, 5, 15, 20, 30)):
        context.write("share", precision=sizes.precision, images=sizes.images, **found)
    for classes, proxies, dim in sizes.losses:
        for found in peers(classes, proxies, dim, sizes.steps, context.device):
            context.write("peer", **found)
    for classes, proxies, dim in sizes.losses:
        points = 100 + classes * proxies
        for kind in ("settled", "cone"):
            for way in ("fast", "eager") if points <= limit else ("fast",):
                gb = added_memory(way, kind, classes, proxies, dim, context.device)
                context.write("memory", scene=kind, points=points, dim=dim, way=way, gb=gb)


def rate(context: Context) -> None:
    import numpy as np
    import torch
    from rate import OnDevice, run_of
    from rate import rate as pictures_a_second

    from pfml.training.batches.pictures import PackedPictures
    from pfml.training.batches.transforms import TRANSFORMS

    sizes, images = context.sizes, context.crops(context.sizes.short_side)
    options = {"steps": sizes.epoch_steps, "batch": sizes.batch, "precision": sizes.precision, "threads": 2}
    base = run_of(argparse.Namespace(backbone=sizes.backbone, compile=False, **options))
    transform = TRANSFORMS[sizes.transform]
    count = min(len(images), 2000)
    sources = {
        "random tensors on the device": OnDevice(count, sizes.batch, transform.size, context.device),
        "fast pack": PackedPictures(images, np.arange(count), transform),
    }
    longest = 0.0
    for turn in range(sizes.rounds):
        for deterministic in (True, False):
            run = replace(base, train=base.train | {"deterministic": deterministic, "transform": sizes.transform})
            for way, pictures in sources.items():
                if context.left < 1.2 * longest:
                    return context.write("left out", what=f"round {turn + 1} and later ones")
                started = time.perf_counter()
                if context.device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                found = pictures_a_second(run, pictures, min(100, count // 10))
                longest = max(longest, time.perf_counter() - started)
                peak = torch.cuda.max_memory_allocated() / 1e9 if context.device == "cuda" else None
                context.write("rate", way=way, deterministic=deterministic, turn=turn, rate=found, peak_gb=peak,
                              backbone=sizes.backbone, side=transform.size, **options)  # fmt: skip


def retrieval(context: Context) -> None:
    import torch
    from retrieval import KS, SCENES, full_size, scene

    from pfml.retrieval import retrieval_metrics

    on_gpu, first = context.device == "cuda", {}
    for kind in SCENES:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        found = full_size(kind, 5, context.sizes.points, context.device)
        first = first or found
        context.write("scene", **found, peak_gb=torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None)
    started = time.perf_counter()
    torch.set_num_threads(os.cpu_count() or 1)
    metrics = retrieval_metrics(*scene(SCENES[0], context.sizes.points), KS)
    context.write("cpu", equal=metrics == first["metrics"], seconds=time.perf_counter() - started)


def bits(context: Context) -> None:
    """Two trainings of each kind, compared in every weight, every proxy and every measure."""
    import torch
    from gpu_crops import run_data
    from rate import run_of

    from pfml.training.batches.pictures import PackedPictures
    from pfml.training.batches.transforms import TRANSFORMS
    from pfml.training.loop import train

    sizes, images = context.sizes, context.crops(context.sizes.short_side)
    longest = 0.0
    for precision, deterministic in (("bfloat16", True), ("float32", True), ("bfloat16", False)):
        started = time.perf_counter()
        if context.left < 1.2 * longest:
            return context.write("left out", what=f"{precision}, train.deterministic {deterministic}, and later ones")
        options = argparse.Namespace(backbone=sizes.backbone, batch=sizes.batch, steps=5, precision=precision,
                                     threads=2, compile=False)  # fmt: skip
        run = run_of(options)
        more = {"epochs": 2, "eval_every": 2, "deterministic": deterministic, "transform": sizes.transform}
        run = replace(run, train=run.train | more)
        data = run_data(run, images, partial(PackedPictures, images), TRANSFORMS[sizes.transform])
        states = []
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(2):
                done = train(run, data)
                rows = [{key: row[key] for key in row if key != "seconds"} for row in done.history]
                states.append((done.model.state_dict() | done.loss.state_dict(), rows))
        (one, history), (other, again) = states
        differing = [name for name in one if not torch.equal(one[name], other[name])]
        without = sorted({str(w.message).split(".")[0][:200] for w in said if "deterministic" in str(w.message)})
        context.write(
            "equal", precision=precision, deterministic=deterministic, equal=not differing and history == again,
            differing=len(differing), tensors=len(one), backbone=sizes.backbone, steps=10, not_deterministic=without,
        )  # fmt: skip
        longest = max(longest, time.perf_counter() - started)


def check(context: Context) -> None:
    from gpu_check import fine_tune

    fine_tune(context)


PARTS = {part.__name__: part for part in (machine, tests, loss, rate, retrieval, bits, check)}


def end_with(parent: int) -> None:
    """End this process and its own ones when the program that started it is gone, even by a kill."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--miniature", action="store_true")
    options = parser.parse_args()
    threading.Thread(target=end_with, args=(options.parent,), daemon=True).start()
    if options.miniature:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    context = Context(
        device, MINIATURE if options.miniature else FULL, options.miniature, options.bundle, options.work,
        options.until, partial(append, options.results, options.part),
    )  # fmt: skip
    PARTS[options.part](context)


if __name__ == "__main__":
    main()
