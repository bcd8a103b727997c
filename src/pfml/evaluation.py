"""From a trained cell's files to the result files that the reports read: retrieval measures and proxy distances."""

import csv
import json
import shutil

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
