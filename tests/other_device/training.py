"""Training and its parts on the other device, against the CPU: a line of JSON each. Run as a script, in a process of
its own, in an empty folder.
"""

import contextlib
import copy
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import yaml
from torch.utils._pytree import tree_map

from pfml.datasets.pack import pack
from pfml.losses import LOSSES
from pfml.retrieval import nearest_neighbors, retrieval_metrics
from pfml.settings.load import params_from
from pfml.settings.run import Run
from pfml.settings.runs import find_run, grid_runs
from pfml.training.batches.crops import batched_crops, resized_crops
from pfml.training.batches.pictures import PackedPictures
from pfml.training.batches.run_data import RunData
from pfml.training.loop import Interrupted, train
from pfml.training.processes import Ranks
from tests.conftest import ROOT, TINY, merge
from tests.losses.baseline_cases import FITTING
from tests.other_device.device import NAME, Generator, OtherTensor
from tests.training.scenes import bits, half, same, with_wrong_labels
from tests.training.test_pictures import IMAGES, listing
from tests.training.test_pictures import TINY as CROPS_OF_24

EVERYTHING = {
    "ema": 0.8, "frozen_epochs": 1, "freeze_bn": "statistics", "schedule": "step", "step_epochs": 2, "clip_value": 0.1,
    "clip_norm": 1.0, "optimizer": "rmsprop", "momentum": 0.9, "select": "best_test", "sampler": "m_per_class",
}  # fmt: skip
THERE = torch.device(NAME, 0)


def run_of(**recipe) -> Run:
    params = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY)
    params["train"] |= {"epochs": 2, "batch": 20, "images_per_class": 4} | recipe
    return find_run(grid_runs(params_from(params, "params.yaml")), "glyphs-pfml-0.0-0")


def data() -> RunData:
    return with_wrong_labels(RunData(half(12, 8, 0), half(6, 8, 1), None, 12))


def train_on(run: Run, device: torch.device, data: RunData, **options):
    return train(run, data, ranks=Ranks(device), label_fit_every=1, **options)


def assert_same(run: Run, data: RunData, **options) -> None:
    """Two trainings, one on each device, are one."""
    here, there = train_on(run, torch.device("cpu"), data), train_on(run, THERE, data, **options)
    for name in ("model", "loss"):
        states = [bits(getattr(trained, name)) for trained in (here, there)]
        assert all(tensor.device in (THERE, torch.device("cpu")) for tensor in states[1].values())
        assert same(states[0], {key: tensor.cpu() for key, tensor in states[1].items()}), name
    assert torch.equal(here.passed, there.passed) and torch.equal(here.passed_labels, there.passed_labels)
    histories = [[dict(row, seconds=0) for row in trained.history] for trained in (here, there)]
    assert histories[0] == histories[1]


def loss_case(name: str) -> None:
    run = run_of(sampler="m_per_class", epochs=1)
    own = run.loss if name == "pfml" else FITTING.get(name, {})
    if LOSSES[name].head:  # which is built from all settings
        arguments = inspect.signature(LOSSES[name]).parameters.values()
        own = {one.name: one.default for one in arguments if one.default is not one.empty} | own
    assert_same(replace(run, loss_name=name, method=name, loss=own), data())


def resumed_case(where: str) -> None:
    """From inside the second epoch; a checkpoint's tensors are on the CPU, those of a state in memory where it was."""
    run, states, steps = run_of(checkpoint_steps=1, **EVERYTHING), [], iter(range(10**6))
    with contextlib.suppress(Interrupted):
        train_on(
            run, THERE, data(), save=lambda state: states.append(copy.deepcopy(state)), stop=lambda: next(steps) == 5
        )
    state = states[-1]
    assert state["unfinished"][0] == 2 and any(tensor.device == THERE for tensor in state["model"].values())
    if where == "cpu":
        state = tree_map(lambda x: x.cpu() if isinstance(x, torch.Tensor) else x, state)
    assert_same(run, data(), state=state)


def validation_case() -> None:
    whole = data()
    assert_same(run_of(hold_out=True, select="best_validation"), replace(whole, validation=half(6, 8, 2)))


def crops_case() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40 + i, 50 - i, 3), dtype=np.uint8) for i in range(6)]
    boxes = torch.tensor([[i, 2, 20 + i, 30 - i] for i in range(6)])
    flips = torch.arange(6) % 2 == 0
    for interpolation in ("bilinear", "bicubic"):
        expected = batched_crops(images, boxes, 16, flips, "cpu", interpolation)
        found = resized_crops(images, boxes, 16, flips, THERE, interpolation)
        assert found.device == THERE and torch.equal(found.cpu(), expected)


def packs_case() -> None:
    """Cut on the device, batches are those cut on the CPU but for rounding; evaluation is equal."""
    pack(listing(), Path("exact"), "mine")
    feed, batches = PackedPictures("exact", np.arange(IMAGES), CROPS_OF_24), list(torch.arange(IMAGES).split(4))
    for (rows, expected), (others, found) in zip(feed.training(batches, 0, 0), feed.training(batches, 0, 0, THERE)):
        assert torch.equal(rows, others) and found.device == THERE and found.shape == expected.shape
        assert ((found.cpu() - expected).abs() * 255 * 0.23).mean() < 0.05
    for expected, found in zip(feed.evaluation(4), feed.evaluation(4, THERE)):
        assert torch.equal(found.cpu(), expected)


def retrieval_case() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 40
    embeddings = torch.randn(40, 16, generator=generator)[labels] + 1.5 * torch.randn(300, 16, generator=generator)
    embeddings[50:60] = embeddings[40:50]  # ties
    for backend in ("torch", "faiss"):
        expected = retrieval_metrics(embeddings, labels, (1, 10, 200), backend)
        with mock.patch.object(OtherTensor, "is_cuda", True, create=True):  # else it would be brought to the CPU
            assert retrieval_metrics(embeddings.to(THERE), labels, (1, 10, 200), backend) == expected
    queries = torch.arange(20)
    pairs = zip(nearest_neighbors(embeddings, queries, 5), nearest_neighbors(embeddings.to(THERE), queries, 5))
    assert all(rows == others and torch.equal(near, far.cpu()) for (rows, near), (others, far) in pairs)


CASES: dict[str, Callable[[], None]] = {
    **{f"loss {name}": (lambda name=name: loss_case(name)) for name in LOSSES},
    "everything": lambda: assert_same(run_of(**EVERYTHING), data()),
    "resumed from memory": lambda: resumed_case("memory"),
    "resumed from a file": lambda: resumed_case("cpu"),
    "validation classes": validation_case,
    "crops": crops_case,
    "packs": packs_case,
    "retrieval": retrieval_case,
}


def main() -> None:
    for name in sys.argv[1:] or CASES:
        try:
            CASES[name]()
            verdict = "equal"
        except Exception:
            verdict = traceback.format_exc()
        print(json.dumps([name, verdict]), flush=True)


if __name__ == "__main__":
    Path("data").mkdir(exist_ok=True)
    with mock.patch("torch.Generator", Generator):
        main()
