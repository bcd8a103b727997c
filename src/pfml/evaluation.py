"""From a trained cell's files to the result files that the reports read: retrieval measures and proxy distances."""

import csv
import json
import shutil

import numpy as np

from pfml.cell import Cell
from pfml.few_shot import few_shot_accuracy
from pfml.run_record import read_run
from pfml.settings.schema import Evaluate, Params

SHOTS = (1, 5)


def seen_and_few_shot(cell: Cell, settings: Evaluate) -> dict[str, float | None]:
    """How far a cell's network generalises: retrieval within the classes that it learned, by their true labels, and
    few-shot accuracy on those that it did not; what `settings` switches off is left out.
    """
    from pfml.retrieval import retrieval_metrics
    from pfml.trained import read_trained

    run, found = read_trained(cell), {}
    if settings.seen:
        seen = retrieval_metrics(run.train, run.true_labels, [1])
        found |= {f"seen_{name}": seen[name] for name in ("recall@1", "map@r")}
    for shots in SHOTS if settings.few_shot_episodes else ():
        accuracy = few_shot_accuracy(run.test, run.test_labels, shots, settings.few_shot_episodes)
        found[f"few_shot_{shots}"] = accuracy
    return found


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
    measures |= seen_and_few_shot(cell, params.evaluate)
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
