"""Omniglot's official 20 one-shot runs (20-way, within an alphabet), with trained networks.

    python benchmarks/one_shot.py all_runs.zip .studies/omniglot/models/grid/omniglot/*

Each run has one drawing of 20 characters and 20 drawings by another person. A drawing is taken for the character whose
drawing is nearest, in cosine distance. Nothing is trained on them: their alphabets are in the half of Omniglot that no
run trains on. The archive is all_runs.zip of github.com/brendenlake/omniglot (python/one-shot-classification).
Writes reports/one_shot.csv.
"""

import csv
import io
import statistics
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from pfml.settings.files import write_whole
from pfml.use.model import EmbeddingModel, load_folder

RUNS, TABLE = 20, Path("reports/one_shot.csv")
COLUMNS = ["run", "digest", "weights", "accuracy", "lowest", "highest"]
# Shares of right answers as their papers report them for these runs, from memory, unchecked; with another protocol each
# (augmentation, strokes, the alphabets that they trained on), so none is a target.
RECALLED = {
    "people (Lake et al., Science 2015)": 0.955,
    "Bayesian program learning (Lake et al., Science 2015)": 0.967,
    "Siamese network (Koch et al., 2015)": 0.920,
    "prototypical network (Lake et al., 2019, of Snell et al., 2017)": 0.863,
}


def read_runs(archive: Path) -> list[tuple[list[Image.Image], list[Image.Image], np.ndarray]]:
    """The known drawings, the drawings to recognise and the place (n,) of each one's character, for every run.

    Raises:
        ValueError: not the archive of 20 one-shot runs; says what is missing.
    """
    with zipfile.ZipFile(archive) as file:
        names = {name for name in file.namelist() if name.endswith(("class_labels.txt", ".png"))}

        def drawing(name: str) -> Image.Image:
            if name not in names:
                raise ValueError(f"{archive}: {name}: missing; expected all_runs.zip of Omniglot")
            return Image.open(io.BytesIO(file.read(name))).convert("RGB")

        runs = []
        for number in range(1, RUNS + 1):
            labels = f"run{number:02d}/class_labels.txt"
            if labels not in names:
                raise ValueError(f"{archive}: {labels}: missing; expected all_runs.zip of Omniglot")
            pairs = [line.split() for line in file.read(labels).decode("utf-8").splitlines()]
            known = sorted({character for _, character in pairs})
            places = np.array([known.index(character) for _, character in pairs])
            runs.append(([drawing(name) for name in known], [drawing(name) for name, _ in pairs], places))
    return runs


def accuracies(model: EmbeddingModel, runs: list[tuple]) -> list[float]:
    """The share of right answers of each run."""
    known = model.embed([drawing for run in runs for drawing in run[0]]).reshape(len(runs), -1, model.embedding_dim)
    asked = model.embed([drawing for run in runs for drawing in run[1]]).reshape(len(runs), -1, model.embedding_dim)
    found = [(there @ here.T).argmax(axis=1) for here, there in zip(known, asked)]
    return [float(np.mean(places == chosen)) for (_, _, places), chosen in zip(runs, found)]


def main(archive: str, *folders: str) -> None:
    runs, rows = read_runs(Path(archive)), []
    for folder in sorted(map(Path, folders)):
        model = load_folder(folder, "cpu")
        found, record = accuracies(model, runs), model.record
        scores = statistics.mean(found), min(found), max(found)
        rows.append([record["run"], record["digest"], model.digest, *(f"{score:.4f}" for score in scores)])
        mean, low, high = (100 * score for score in scores)
        print(f"{record['run']:<40} {mean:5.1f} % in the mean of {RUNS} runs, {low:.0f} to {high:.0f} %", flush=True)
    for name, share in RECALLED.items():
        print(f"{name:<40} {100 * share:5.1f} %, recalled, unchecked")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    write_whole(TABLE, text.getvalue())


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
