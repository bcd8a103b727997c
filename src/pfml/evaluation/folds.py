"""The protocol of "A Metric Learning Reality Check" (Musgrave et al., ECCV 2020, arXiv 2003.08505), Tables 6 and 7: the
networks of a class-disjoint cross validation are measured on the test half, one by one and joined.
"""

import csv
import io
from collections.abc import Sequence

import numpy as np

from pfml.evaluation.result_file import MEASURES, FoldsResult, write_result
from pfml.evaluation.run_record import read_run, sides_of
from pfml.settings.files import write_whole
from pfml.settings.run import Run
from pfml.wasserstein import unit


def concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Embeddings of F networks side by side, each of unit length first: F of (n, D) -> (n, F D), of unit length.

    The cosine of two images is then the mean of their F cosines.
    """
    return unit(np.concatenate([unit(part) for part in parts], axis=1))


def evaluate_folds(runs: Sequence[Run]) -> dict:
    """Measure the trained folds of one cross validation on the test half; write the result (JSON) and the history (CSV)
    under reports/runs/<study>/mlrc/.

    Args:
        runs: all folds of one dataset, method and seed, in order.

    Returns:
        the flat result, measures as fractions in [0, 1]. separated_*: mean over the folds' networks; concatenated_*: of
        their joined embeddings; fold<k>_*: measures and origin of each network.

    Raises:
        ValueError: a fold was trained with another configuration, or the folds saw different test halves.
    """
    records = [read_run(run) for run in runs]
    saved = [np.load(run.paths().model / "embeddings.npz") for run in runs]
    labels = saved[0]["test_labels"]
    if any(not np.array_equal(labels, other["test_labels"]) for other in saved[1:]):
        raise ValueError(f"{runs[0].repeat}: its folds were measured on different test halves; run dvc repro")
    parts, sides = [arrays["test"] for arrays in saved], sides_of(saved[0])
    separated, joined = [_measured(part, labels, sides) for part in parts], concatenated(parts)
    histories = [list(csv.DictReader((run.paths().model / "history.csv").open(encoding="utf-8"))) for run in runs]
    run, record = runs[0], records[0]
    result = {
        "study": run.study, "dataset": run.dataset, "backbone": run.backbone, "dim": run.dim,
        "concatenated_dim": joined.shape[1], "method": run.method, "seed": run.seed, "folds": len(runs),
        **{f"separated_{name}": round(float(np.mean([m[name] for m in separated])), 6) for name in MEASURES},
        **{f"concatenated_{name}": value for name, value in _measured(joined, labels, sides).items()},
        "epochs": sum(r["epochs"] for r in records), "dataset_digest": record["dataset_digest"],
    }  # fmt: skip
    for run, record, measures, history in zip(runs, records, separated, histories, strict=True):
        chosen = next(row for row in history if int(row["epoch"]) == record["selected_epoch"])
        facts = {"digest": run.digest, **measures, "val_map@r": _number(chosen.get("val_map@r"))}
        facts |= {key: record[key] for key in ("selected_epoch", "epochs", "weights")}
        result |= {f"fold{run.fold}_{key}": value for key, value in facts.items()}
    write_result(runs[0].paths().result, FoldsResult, result)
    _write_histories(runs, histories, runs[0].paths().history)
    return result


def _measured(embeddings: np.ndarray, labels: np.ndarray, sides: dict) -> dict[str, float]:
    from pfml.retrieval import retrieval_metrics

    metrics = retrieval_metrics(embeddings, labels, ks=(1,), **sides)
    return {name: round(metrics[name], 6) for name in MEASURES}


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _write_histories(runs: Sequence[Run], histories: Sequence[list[dict]], path) -> None:
    """Write the epochs of all folds to one CSV, with the fold as first column."""
    table = io.StringIO()
    writer = csv.DictWriter(table, ["fold", *histories[0][0]], lineterminator="\n")
    writer.writeheader()
    for run, history in zip(runs, histories, strict=True):
        writer.writerows({"fold": run.fold, **row} for row in history)
    write_whole(path, table.getvalue())
