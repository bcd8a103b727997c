"""From a trained cell's files to the result files that the reports read: retrieval measures and proxy distances."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np

from pfml.cell import Cell, inputs_digest
from pfml.schema import Params


def read_run(cell: Cell) -> dict:
    """run.json of a trained cell.

    Raises:
        ValueError: the files belong to another configuration than params.yaml asks for.
    """
    path = cell.paths().model / "run.json"
    run = json.loads(path.read_text())
    if _training(run["config"], run["inputs"]) != _training(cell.config, inputs_digest(cell)):
        raise ValueError(
            f"{path}: trained with configuration {run['digest']} on its images and labels, params.yaml and data/ now "
            f"ask for {cell.digest}; run dvc repro"
        )
    return run


def _training(config: dict, inputs: str) -> str:
    """What training depends on, spelled in one way: of the kind of noise and of the dataset's section the files that
    came of them, since the same files may come of other settings.
    """
    rest = {key: config[key] for key in config if key not in ("noise_kind", "data")}
    return json.dumps(rest | {"inputs": inputs}, sort_keys=True, default=str)


def evaluate_cell(cell: Cell, params: Params) -> dict:
    """Measure a trained cell on the test half and write its result (JSON) and history (CSV) under reports/runs/.

    Returns:
        the result: flat, measures as fractions in [0, 1], `seconds` of training, `best_recall@1` over the epochs.
    """
    from pfml.retrieval import clustering_nmi, retrieval_metrics

    run, paths = read_run(cell), cell.paths()
    saved = np.load(paths.model / "embeddings.npz")
    measures = retrieval_metrics(saved["test"], saved["test_labels"], params.evaluate.recall_at)
    measures["nmi"] = clustering_nmi(saved["test"], saved["test_labels"]) if params.evaluate.nmi else None
    history = list(csv.DictReader((paths.model / "history.csv").open()))
    measured = [(float(row["recall@1"]), int(row["epoch"])) for row in history if row.get("recall@1")]
    best, epoch = max(measured, key=lambda pair: pair[0]) if measured else (None, None)
    field = {key: cell.config["loss"].get(key) for key in ("alpha", "delta", "delta_rep", "proxies_per_class")}
    result = {
        "study": cell.study, "cell": cell.name, "dataset": cell.dataset, "backbone": cell.backbone, "dim": cell.dim,
        "method": cell.method, "noise": float(cell.noise), "seed": cell.seed, "axis": cell.axis, "value": cell.value,
        "digest": cell.digest,
        **{name: None if value is None else round(value, 6) for name, value in measures.items()},
        "best_recall@1": best, "best_epoch": epoch, "epochs": run["epochs"], "selected_epoch": run["selected_epoch"],
        "seconds": run["seconds"],
        "git_commit": run["git_commit"], "mlflow_run": run["mlflow_run"], "dataset_digest": run["dataset_digest"],
        **(field if cell.loss_name in ("pfml", "cpml") else {}),
    }  # fmt: skip
    paths.result.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(paths.model / "history.csv", paths.history)
    paths.result.write_text(json.dumps(result, indent=1) + "\n")
    return result


def measure_wasserstein(cells: list[Cell]) -> list[dict]:
    """W2 between proxies and the training embeddings that they stand for, after training, for methods with proxies.

    Classes are those of the (noisy) training labels, as the proxies saw them. `w2_relative` is W2 over the spread of
    the classes' embeddings, because a narrow cone of embeddings makes any W2 small.
    """
    from pfml.wasserstein import proxy_wasserstein, spread

    rows = []
    for cell in cells:
        read_run(cell)
        saved = np.load(cell.paths().model / "embeddings.npz")
        proxies, labels = saved["proxies"], saved["train_labels"]
        if not proxies.size:
            continue
        embeddings = unit(saved["train"])
        if cell.loss.get("normalize_proxies", True):
            proxies = unit(proxies)
        try:
            w2 = proxy_wasserstein(proxies, embeddings, labels)
        except ValueError as error:  # more proxies than images in a class: no such distance
            print(f"{cell.name}: no W2, {error}")
            continue
        rows.append(
            {
                "cell": cell.name,
                "digest": cell.digest,
                "method": cell.method,
                "noise": float(cell.noise),
                "seed": cell.seed,
                "proxies_per_class": proxies.shape[1],
                "w2": round(w2, 6),
                "w2_relative": round(w2 / spread(embeddings, labels), 6),
            }
        )
    return rows


def unit(vectors: np.ndarray) -> np.ndarray:
    """L2-normalised along the last axis."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def write_wasserstein(rows: list[dict], path: Path) -> None:
    columns = ["cell", "digest", "method", "noise", "seed", "proxies_per_class", "w2", "w2_relative"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def gallery_of(cell: Cell, queries: int = 8, neighbours: int = 5) -> tuple:
    """Test images for a picture of a cell's retrieval: one query from each of evenly spaced test classes.

    Returns:
        images (of the whole dataset), query indices (q,), neighbour indices (q, k), labels per index.
    """
    import pandas as pd
    import torch

    from pfml.data.packed import open_images
    from pfml.retrieval import nearest_neighbours

    read_run(cell)
    saved = np.load(cell.paths().model / "embeddings.npz")
    labels = saved["test_labels"]
    classes = np.unique(labels)
    chosen = classes[np.linspace(0, len(classes) - 1, min(queries, len(classes))).astype(int)]
    asked = torch.tensor([int(np.flatnonzero(labels == c)[0]) for c in chosen])
    _, found = next(nearest_neighbours(torch.from_numpy(saved["test"]), asked, neighbours))
    split = pd.read_csv(f"data/split/{cell.dataset}.csv")
    measured = split["validation"] if cell.spares_test else split["split"] == "test"
    items = split.loc[measured, "item"].to_numpy()
    of_item = np.full(len(split), -1)
    of_item[items] = labels
    return open_images(Path("data/raw", cell.dataset)), items[asked.numpy()], items[found.numpy()], of_item
