"""A map: a field method trained once at every point of a grid of two settings of its loss, and measured on unseen
classes. All points train in one process, since a start takes longer than a training on features of a frozen trunk.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from pfml.settings.files import write_whole
from pfml.settings.run import Run

MEASURES = ("recall@1", "map@r", "start_distance", "end_distance")
TELLS = "work"  # column with the digest of a point's configuration, data and code


def make_map(runs: Sequence[tuple[dict, Run]], out: Path, tell: Callable[[str], None] = print) -> list[dict]:
    """Train every point that `out` does not have yet, and write each finished one.

    Args:
        runs: the settings of a point and its run, for every point.
        out: a CSV file with a column for each setting, the measures (fractions; distances between unit vectors, mean
            over pairs of training images of different classes, None where they are not measured) and the digest of the
            work.

    Returns:
        a row for every point, in the order of `runs`; a point whose loss became NaN or infinite has no measures.
    """
    from pfml.training.run import work_fingerprint

    marks = [hashlib.sha256(work_fingerprint(run).encode()).hexdigest()[:16] for _, run in runs]
    known = {row[TELLS]: row for row in read_map(out)} if out.exists() else {}
    rows = []
    for number, ((point, run), mark) in enumerate(zip(runs, marks), 1):
        if mark not in known:
            known[mark] = point | measured(run) | {TELLS: mark}
            where, score = ", ".join(f"{key} {value:g}" for key, value in point.items()), known[mark]["recall@1"]
            tell(f"point {number} of {len(runs)}: {where}: " + ("diverged" if score is None else f"R@1 {score:.4f}"))
        rows.append(point | {key: known[mark][key] for key in (*MEASURES, TELLS)})
        write_map(out, rows + [row for other, row in known.items() if other in marks[number:]])
    return rows


def measured(run: Run) -> dict[str, float | None]:
    """The measures of a run that is trained here and not kept."""
    from pfml.losses.common.radius import pair_distances
    from pfml.training.batches.run_data import load_run_data
    from pfml.training.loop import train
    from pfml.training.measure import embed

    data = load_run_data(run)
    try:
        trained = train(run, data)
    except FloatingPointError:  # a point that diverges is a result too
        return dict.fromkeys(MEASURES)
    _, between = pair_distances(embed(trained.model, data.train.pictures), data.train.labels)
    last = trained.history[-1]
    found = last["recall@1"], last["map@r"], trained.start.distance, float(between.double().mean())
    return {key: None if value is None else round(value, 6) for key, value in zip(MEASURES, found)}


def write_map(path: Path, rows: Sequence[dict]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, table.getvalue())


def read_map(path: Path) -> list[dict]:
    """The rows of a map's file.

    Raises:
        ValueError: a file that `write_map` did not write; names it.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [
            {key: value if key == TELLS else float(value) if value else None for key, value in row.items()}
            for row in rows
            if row[TELLS]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected the file of a map ({error}); remove it and make the map again") from None
