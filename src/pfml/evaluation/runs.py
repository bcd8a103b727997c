"""Measure a trained run and write the result files that the reports read."""

import csv
from collections.abc import Mapping

import numpy as np

from pfml.evaluation.few_shot import few_shot_accuracy
from pfml.evaluation.proxies import measure_wasserstein
from pfml.evaluation.result_file import RunResult, write_result
from pfml.evaluation.run_record import read_run, sides_of
from pfml.settings.files import write_whole
from pfml.settings.run import Run
from pfml.settings.study import Wasserstein

SHOTS = (1, 5)


def seen_and_few_shot(run: Run, settings: Mapping) -> dict[str, float | None]:
    """Measures of generalisation: retrieval within the training classes, by their true labels, and few-shot accuracy on
    the other classes. Measures that `settings` switches off are left out.
    """
    from pfml.evaluation.trained import read_trained
    from pfml.retrieval import retrieval_metrics

    record, measures = read_trained(run), {}
    if settings["seen"]:
        seen = retrieval_metrics(record.train, record.true_labels, [1])
        measures |= {f"seen_{name}": seen[name] for name in ("recall@1", "map@r")}
    for shots in SHOTS if settings["few_shot_episodes"] else ():
        accuracy = few_shot_accuracy(record.test, record.test_labels, shots, settings["few_shot_episodes"])
        measures[f"few_shot_{shots}"] = accuracy
    return measures


def _distance(saved: Mapping) -> float:
    """Mean distance between unit embeddings of training images of different classes, after training."""
    import torch

    from pfml.losses.common.radius import pair_distances

    between = pair_distances(torch.from_numpy(saved["train"]), torch.from_numpy(saved["train_labels"]))[1]
    return round(float(between.double().mean()), 6)


def evaluate_run(run: Run, settings: Mapping, wasserstein: Wasserstein) -> dict:
    """Measure a trained run on the test half, and W2 of its proxies, and write its result (JSON) and history (CSV)
    under reports/runs/.

    Args:
        settings: section `evaluate` of params.yaml.
        wasserstein: section `wasserstein`.

    Returns:
        the flat result: measures as fractions in [0, 1], `best_recall@1` over the epochs, ...
    """
    from pfml.retrieval import clustering_nmi, retrieval_metrics

    record, paths = read_run(run), run.paths()
    saved = np.load(paths.model / "embeddings.npz")
    measures = retrieval_metrics(saved["test"], saved["test_labels"], settings["recall_at"], **sides_of(saved))
    measures["nmi"] = clustering_nmi(saved["test"], saved["test_labels"]) if settings["nmi"] else None
    measures |= seen_and_few_shot(run, settings)
    history = list(csv.DictReader((paths.model / "history.csv").open(encoding="utf-8")))
    measured = [(float(row["recall@1"]), int(row["epoch"])) for row in history if row.get("recall@1")]
    best, epoch = max(measured, key=lambda pair: pair[0]) if measured else (None, None)
    loss = record.get("loss") or run.config["loss"]  # with numbers in the place of auto
    field = {key: loss.get(key) for key in ("alpha", "delta", "delta_rep", "proxies_per_class")}
    proxies = (field if run.loss_name in ("pfml", "cpml") else {}) | measure_wasserstein(run, wasserstein)
    if "start_distance" in record:
        proxies |= {"start_distance": record["start_distance"], "end_distance": _distance(saved)}
    result = {
        "study": run.study, "run": run.name, "dataset": run.dataset, "backbone": run.backbone, "dim": run.dim,
        "method": run.method, "noise": float(run.noise), "seed": run.seed, "axis": run.axis, "value": run.value,
        "digest": run.digest,
        **{name: None if value is None else round(value, 6) for name, value in measures.items()},
        "best_recall@1": best, "best_epoch": epoch, "epochs": record["epochs"],
        "selected_epoch": record["selected_epoch"], "dataset_digest": record["dataset_digest"],
        "weights": record["weights"],
        **proxies,
    }  # fmt: skip
    write_result(paths.result, RunResult, result)
    write_whole(paths.history, (paths.model / "history.csv").read_bytes())
    return result
