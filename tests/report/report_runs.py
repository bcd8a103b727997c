"""Result files as the stages write them."""

import json
from pathlib import Path

import pandas as pd

from pfml.settings.run import Run
from pfml.tracking.provenance import COLUMNS


def result(run: Run, recall: float, **changes) -> dict:
    """A result file's content; `recall` is R@1 as a fraction."""
    found = {key: getattr(run, key) for key in ("study", "dataset", "backbone", "dim", "method", "noise", "seed")}
    found |= {"run": run.name, "axis": run.axis, "value": run.value, "digest": run.digest}
    found |= {f"recall@{k}": min(recall + 0.05 * i, 1.0) for i, k in enumerate((1, 2, 4, 8))}
    found |= {"map@r": recall / 2, "r_precision": recall / 2 + 0.1, "nmi": None, "best_recall@1": min(recall + 0.01, 1)}
    found |= {"best_epoch": 3, "epochs": 4}
    return found | {"dataset_digest": "f00d"} | changes


def write(reports: Path, run: Run, recall: float, folder: str = "", **changes) -> Path:
    path = reports / "runs" / run.study / folder / f"{run.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result(run, recall, **changes)))
    return path


def write_provenance(reports: Path, study: str, kinds: dict[Run, str]) -> None:
    """reports/provenance/<study>.csv with the kind of processor of each run."""
    path = reports / "provenance" / f"{study}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict.fromkeys(COLUMNS, "") | {"run": r.name, "digest": r.digest, "kind": kind} for r, kind in kinds.items()]
    pd.DataFrame(rows).to_csv(path, index=False)


def write_wasserstein(
    reports: Path, rows: list[tuple[Run, float, float]], study: str = "toy", measure: str = "reconstruction"
) -> None:
    """Add W2 to the results of a study that are there."""
    for run, w2, relative in rows:
        (path,) = (reports / "runs" / study).rglob(f"{run.name}.json")
        found = {"proxies_per_class": 15, "w2": w2, "w2_relative": relative, "w2_measure": measure}
        path.write_text(json.dumps(json.loads(path.read_text()) | found))


def table_after(text: str, heading: str, nth: int = 0) -> dict[str, dict[str, str]]:
    """The nth Markdown table of a section: first column -> column heading -> text of the cell."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = [b for b in section.split("\n\n") if b.startswith("| ")]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[nth].splitlines()]
    return {row[0]: dict(zip(lines[0], row)) for row in lines[2:]}
