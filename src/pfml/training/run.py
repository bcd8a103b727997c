"""A training run as a process: it resumes from its checkpoint, logs to its tracker, writes its files, and stops when
the pipeline that started it has died.
"""

import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from pfml.losses import FIELDS, LOSSES
from pfml.settings.files import write_whole
from pfml.settings.run import Run, inputs_digest
from pfml.stage import single_writer, stopper, use_all_instructions
from pfml.tracking.mlflow import tracked_run
from pfml.tracking.provenance import machine, record
from pfml.tracking.tags import git_commit
from pfml.training.checkpoint import MEMORY, checkpoint_folder, load_checkpoint, save_checkpoint

NUMERIC_CODE = ("images", "losses", "retrieval", "training")  # packages whose change makes a checkpoint invalid


def execute(run: Run, tracking: Mapping) -> None:
    """Train a run and write its model.safetensors, loss.safetensors, embeddings.npz, history.csv and run.json.

    A killed run continues from its last checkpoint, at most an epoch old, if it is started again with the same
    configuration, data and code. The checkpoint stays after the end, until DVC has stored the files. An interrupted run
    exits with code 130. With PFML_PROCESSES=4 in the environment, torchrun starts four processes that share the work,
    of which the first one writes.

    Args:
        tracking: section `tracking` of params.yaml.

    Raises:
        FloatingPointError: the loss became NaN or infinite; the last checkpoint stays.
        RuntimeError: train.portable is false, and PyTorch or NumPy is loaded already.
        ValueError: the data cannot fill the batches that the recipe asks for.
    """
    processes = int(os.environ.get("PFML_PROCESSES", "1"))
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *sys.argv]
        os.execv(sys.executable, [sys.executable, *torchrun])
    if not run.train["portable"]:
        use_all_instructions()
    stop = stopper()
    from pfml.training.processes import joined_ranks

    folder = checkpoint_folder(run)
    with joined_ranks() as ranks, single_writer(folder, run.name, stop) if ranks.first else nullcontext():
        _train_and_write(run, tracking, folder, stop, ranks)


def _train_and_write(run: Run, tracking: Mapping, folder: Path, stop, ranks) -> None:

    from pfml.training.batches.run_data import load_run_data
    from pfml.training.loop import Interrupted, train
    from pfml.training.measure import embed
    from pfml.training.zero_shot import measure_untrained

    data = load_run_data(run)
    dataset_digest = json.loads(Path("data/raw", run.dataset, "meta.json").read_text(encoding="utf-8"))["digest"][:32]
    fingerprint = work_fingerprint(run)
    state = ranks.from_first(load_checkpoint(folder, fingerprint, partial(say, run)) if ranks.first else None)
    if state and ranks.first:
        inside = f", step {state['unfinished'][0]} of the next" if state["unfinished"][0] else ""
        say(run, f"goes on after epoch {len(state['history'])}{inside}")
    elif ranks.first:  # an MLflow run in this folder belongs to other data or code
        (folder / MEMORY).unlink(missing_ok=True)
    tracked = tracked_run(run, tracking, dataset_digest, folder / MEMORY) if ranks.first else nullcontext()
    with tracked as tracker:
        progress = Progress(run, len(state["history"]) if state else 0)

        def report(history: list[dict]) -> None:
            if ranks.first:
                progress(history)
                tracker.log_history(history)

        def save(state: dict) -> None:
            if ranks.first:
                save_checkpoint(folder, state | {"work": fingerprint})

        try:
            if LOSSES[run.loss_name].trains:
                trained = train(run, data, state, save, report, stop, ranks, run.label_fit_every)
            else:
                trained = measure_untrained(run, data, report, ranks)
        except Interrupted as interruption:
            print(interruption, file=sys.stderr)
            sys.exit(130)
        measured = data.validation if run.never_sees_test else data.test
        embeddings = {
            "test": embed(trained.model, measured.pictures, ranks), "test_labels": measured.labels,
            "train": embed(trained.model, data.train.pictures, ranks), "train_labels": data.train.labels,
            "passed": trained.passed, "passed_labels": trained.passed_labels,
        }  # fmt: skip
        if measured.queries is not None:
            embeddings |= {"test_queries": measured.queries, "test_gallery": measured.gallery}
        if not ranks.first:
            return
        facts = {
            "run": run.name, "digest": run.digest, "config": run.config, "inputs": inputs_digest(run),
            "dataset_digest": dataset_digest, "epochs": trained.history[-1]["epoch"], "selected_epoch": trained.epoch,
            "weights": weights_digest(trained.model),
        }  # fmt: skip
        if trained.start.distance is not None:
            facts |= {"start_distance": trained.start.distance, "loss": dict(trained.start.loss)}
        write_outputs(run.paths().model, trained, embeddings, "val_" if run.never_sees_test else "", facts)
        origin = {
            "processes": ranks.size, "git_commit": git_commit(), "mlflow_run": tracker.run_id,
            "seconds": round(trained.history[-1]["seconds"], 1),
        }  # fmt: skip
        record(run, machine(run.train["portable"], run.train["threads"]) | origin, facts["weights"])


def weights_digest(model) -> str:
    """SHA-256 of the bytes of a network's tensors, in the order of its state dict, as 16 hexadecimal digits."""
    import torch

    state = hashlib.sha256()
    for tensor in model.state_dict().values():
        state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()[:16]


def write_outputs(folder: Path, trained, embeddings: dict, prefix: str, record: dict) -> None:
    """Write the files of a finished run.

    Args:
        embeddings: arrays of embeddings.npz; float32, not normalised. `train` and `test` come from evaluation mode;
            `test` are the images that the run is measured on, the validation classes if it never sees the test half;
            `test_queries` and `test_gallery` number its queries and gallery, where the dataset separates them.
            `passed` are the selected epoch's batches in training.
        prefix: dropped from the names of the history's columns.
        record: content of run.json.

    Equal trainings give equal files: no time, place or commit is in them.
    """
    import numpy as np
    import pandas as pd
    from safetensors.torch import save

    for name in ("model", "loss"):
        tensors = {k: v.detach().cpu().contiguous() for k, v in getattr(trained, name).state_dict().items()}
        write_whole(folder / f"{name}.safetensors", save(tensors))
    proxies, arrays = getattr(trained.loss, "proxies", None), io.BytesIO()
    np.savez(
        arrays, **{name: tensor.numpy() for name, tensor in embeddings.items()},
        proxies=np.empty((0, 0, 0), np.float32) if proxies is None else proxies.detach().cpu().numpy(),
    )  # fmt: skip
    write_whole(folder / "embeddings.npz", arrays.getvalue())
    history = [
        {key.removeprefix(prefix): value for key, value in row.items() if key != "seconds"} for row in trained.history
    ]
    table = pd.DataFrame(history).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_whole(folder / "history.csv", table)
    write_whole(folder / "run.json", json.dumps(record, indent=1, default=str) + "\n")


def numeric_code(loss_name: str) -> list[Path]:
    """Every module of the packages in NUMERIC_CODE; of the losses what they share and the own folder or file of this
    one, so that a further loss leaves checkpoints and searches of the others as they are.
    """
    package = Path(__file__).parents[1]
    losses = package / "losses"
    own = losses / "field" if loss_name in FIELDS else losses / "baselines" / f"{loss_name}.py"
    return [
        path
        for name in NUMERIC_CODE
        for path in sorted((package / name).rglob("*.py"))
        if losses not in path.parents or own in (path, path.parent) or path.parent == losses / "common"
    ]


def work_fingerprint(run: Run) -> str:
    """Digest of everything that a checkpoint depends on: configuration, labels and images, code (NUMERIC_CODE), epochs
    between measurements of fitted labels.
    """
    parts = [run.digest.encode(), inputs_digest(run).encode(), str(run.label_fit_every).encode()]
    parts += [path.read_bytes() for path in numeric_code(run.loss_name)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def say(run: Run, text: str) -> None:
    print(f"{run.name:<34} {text}", flush=True)


class Progress:
    """Prints one line per epoch: epoch, loss, R@1, time spent, time left."""

    def __init__(self, run: Run, done: int):
        self.run, self.done, self.started = run, done, time.perf_counter()

    def __call__(self, history: list[dict]) -> None:
        row, epochs = history[-1], self.run.train["epochs"]
        spent = time.perf_counter() - self.started
        left = spent / (len(history) - self.done) * max(epochs - len(history), 0)
        recall = row.get("recall@1", row.get("val_recall@1"))
        measured = "" if recall is None else f"  R@1 {100 * recall:5.1f} %"
        done = f"epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:<10.4g}{measured}"
        say(self.run, f"{done}  {spent:4.0f} s, {left:4.0f} s left")
