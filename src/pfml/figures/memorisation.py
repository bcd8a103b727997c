"""What wrong labels do to training: R@1 lost and labels fitted over epochs, and what became of them in the end.

`pfml.retrieval.memorisation` says when a wrong label is fitted and when it is resisted. `memorisation` counts both for
the noisy runs of a study at the end of training. It asks the run that saw only true labels about the same images too:
how many of them lie in their true class is the most that could be resisted, how many in the given class is what chance
and likeness alone would seem to fit. Beside the reading by neighbours the CSV has a second one, by the nearest class
centre: the direction of the mean embedding of the images that carry a label, without the image itself. What earlier
epochs had fitted is in the histories of the runs (params.yaml, memorisation).
"""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from statistics import fmean

import numpy as np

from pfml.evaluation.trained import Trained, read_trained
from pfml.figures.style import (
    BLUE,
    QUIET,
    VERMILION,
    figure_style,
    line_style,
    method_name,
    new_figure,
    nothing,
    save_figure,
)
from pfml.figures.training import History, ends_labelled, mean_curve
from pfml.report.inputs import read_history
from pfml.report.names import share
from pfml.retrieval.memorisation import label_fit, neighborhoods, shares
from pfml.settings.files import write_whole
from pfml.settings.run import Run
from pfml.wasserstein import unit

COLUMNS = (
    "method", "noise", "seed", "flipped", "fitted", "resisted", "clean_fitted", "clean_resisted", "centre_fitted",
    "centre_resisted",
)  # fmt: skip
PLACES = (
    "resisted: lies in its true class", "neither", "fitted: lies in the wrong one",
    "in its true class after clean training",
)  # fmt: skip
LIKE_PAPER = 0.2  # the noise that is drawn, where the grid has several


def nearest_centres(embeddings: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Label of the nearest class centre, the sample itself left out of its own: (q,). Unit embeddings (n, D)."""
    sums = np.zeros((labels.max() + 1, embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    own = sums[labels[asked]] - embeddings[asked]
    similar = embeddings[asked] @ unit(sums).T
    similar[:, np.bincount(labels, minlength=len(sums)) == 0] = -np.inf  # a class that noise has emptied has no centre
    others = np.bincount(labels, minlength=len(sums))[labels[asked]] > 1
    similar[np.arange(len(asked)), labels[asked]] = np.where(others, (embeddings[asked] * unit(own)).sum(1), -np.inf)
    return similar.argmax(1)


def memorisation(runs: Sequence[Run]) -> list[dict]:
    """A row (COLUMNS) per noisy run; the clean columns are None without a finished clean run of method and seed.

    Raises:
        ValueError: a run belongs to another configuration, or its images are not those of the clean run.
    """
    clean = {(run.method, run.seed): run for run in runs if not run.noise}
    rows = []
    for run in runs:
        if run.noise:
            reference = clean.get((run.method, run.seed))
            rows.append(_row(read_trained(run), read_trained(reference) if reference else None))
    return rows


def _row(trained: Trained, reference: Trained | None) -> dict:
    flipped = np.flatnonzero(trained.labels != trained.true_labels)
    given, true = trained.labels[flipped], trained.true_labels[flipped]
    measured = [len(flipped), *label_fit(trained.train, trained.labels, trained.true_labels)]
    if reference is None:
        measured += [None, None]
    elif np.array_equal(reference.train_items, trained.train_items):
        measured += shares(neighborhoods(reference.train, reference.labels, flipped), given, true)
    else:
        raise ValueError(f"{reference.run.name}: expected the training images of {trained.run.name}, found others")
    measured += shares(nearest_centres(trained.train, trained.labels, flipped), given, true)
    return dict(zip(COLUMNS, [trained.run.method, float(trained.run.noise), trained.run.seed, *measured]))


def write_memorisation(rows: Sequence[dict], path: str | Path) -> None:
    """A line per noisy run; shares as fractions with four digits."""
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        measured = {key: "" if row[key] is None else f"{row[key]:.4f}" for key in COLUMNS[4:]}
        writer.writerow(dict(row) | measured)
    write_whole(path, text.getvalue())


def histories_of(runs: Sequence[Run]) -> list[History]:
    """(method, noise, rows with epoch, recall@1 and, where training counted them, fitted) of every trained run.

    Raises:
        OSError: a run without history. ValueError: a history that is no table of numbers.
    """
    return [(run.method, float(run.noise), read_history(run.paths().model / "history.csv")) for run in runs]


def memorisation_figure(rows: Sequence[Mapping], histories: Sequence[History], path: str | Path) -> None:
    """Left: over epochs, R@1 of the clean run less that of the noisy one, and the share of wrong labels fitted. Right:
    where the images with a wrong label lie in the end, per method; a diamond is the share that the clean run puts into
    their true class.

    Args:
        rows: of `memorisation`. histories: of `histories_of`; `fitted` only in epochs that asked for it.
    """
    noise = min({row["noise"] for row in rows}, key=lambda n: (abs(n - LIKE_PAPER), n), default=None)
    means = sorted(over_seeds(rows, noise).items(), key=lambda item: item[1]["resisted"])
    with figure_style():
        figure = new_figure(11.4, max(0.32 * len(means) + 1.5, 0.4 * len(means) + 2.2, 3.8))
        if not means:
            nothing(figure, "no run with wrong labels in the grid")
        else:
            grid = figure.add_gridspec(2, 2, width_ratios=[1, 1.25])
            above = figure.add_subplot(grid[0, 0])
            _gaps(above, histories, noise)
            _fitted(figure.add_subplot(grid[1, 0], sharex=above), histories, noise)
            right = figure.add_subplot(grid[:, 1])
            _bars(right, means)
            right.set_title(finding(dict(means)), pad=14)
        save_figure(figure, path)


def over_seeds(rows: Sequence[Mapping], noise: float | None) -> dict[str, dict[str, float]]:
    """Method -> its means over seeds at one noise level; a column that no seed has is left out."""
    found = {}
    for method in dict.fromkeys(row["method"] for row in rows if row["noise"] == noise):
        seeds = [row for row in rows if (row["method"], row["noise"]) == (method, noise)]
        columns = {key: [row[key] for row in seeds if row[key] is not None] for key in seeds[0] if key != "method"}
        found[method] = {key: fmean(values) for key, values in columns.items() if values}
    return found


def finding(means: Mapping[str, Mapping[str, float]]) -> str:
    """`Of the 800 wrong labels at most 1.2 % are fitted (Triplet), 4.0–74.2 % resisted`."""
    most = max(means, key=lambda method: means[method]["fitted"])
    low, high = (pick(100 * m["resisted"] for m in means.values()) for pick in (min, max))
    count, fitted = round(means[most]["flipped"]), 100 * means[most]["fitted"]
    resisted = f"{low:.0f} % resisted" if len(means) == 1 else f"{low:.0f} to {high:.0f} % resisted"
    return f"{count} wrong labels: at most {fitted:.1f} % fitted ({method_name(most)}), {resisted}"


def _gaps(axes, histories: Sequence[History], noise: float) -> None:
    """Points of R@1 between the clean and the noisy runs of each method, means over seeds."""
    ends = []
    for method in dict.fromkeys(m for m, _, _ in histories):
        clean, noisy = (mean_curve([h for h in histories if h[:2] == (method, n)], "recall@1") for n in (0.0, noise))
        epochs = sorted(clean.keys() & noisy.keys())
        if epochs:
            lost = [100 * (clean[e] - noisy[e]) for e in epochs]
            axes.plot(epochs, lost, **line_style(method), markevery=max(1, len(epochs) // 12))
            ends.append((lost[-1], epochs[-1], method, line_style(method)))
    losses = {method: lost for lost, _, method, _ in ends}
    axes.set_title(f"R@1 lost to {share(noise)} wrong labels{_extremes(losses)}", pad=14)
    axes.axhline(0, color=QUIET, linewidth=0.8, zorder=1)
    axes.set(ylabel="R@1 clean − noisy (points)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    ends_labelled(axes, ends)
    if not ends:
        axes.text(0.5, 0.5, "no clean run in the grid", transform=axes.transAxes, ha="center", color=QUIET)


def _fitted(axes, histories: Sequence[History], noise: float) -> None:
    """Percent of the wrong labels that each method had fitted, at the epochs and over the runs that were looked at."""
    ends = []
    for method in dict.fromkeys(m for m, n, _ in histories if n == noise):
        looked = [h for h in histories if h[:2] == (method, noise) and any(r.get("fitted") is not None for r in h[2])]
        curve = mean_curve(looked, "fitted")
        if curve:
            fitted = [100 * share for share in curve.values()]
            axes.plot(list(curve), fitted, **line_style(method))
            ends.append((fitted[-1], list(curve)[-1], method, line_style(method)))
    axes.set_title(f"wrong labels fitted{_extremes({method: value for value, _, method, _ in ends})}", pad=14)
    axes.set(xlabel="epoch", ylabel="fitted (%)", ylim=(0, None))
    ends_labelled(axes, ends)
    if not ends:
        axes.text(0.5, 0.5, "not looked at in training", transform=axes.transAxes, ha="center", color=QUIET)


def _extremes(losses: Mapping[str, float]) -> str:
    """`: 5.6 (SoftTriple) to 53.2 (Triplet)`."""
    ends = [pick(losses, key=losses.get) for pick in (min, max)] if losses else []
    return ": " + " to ".join(f"{losses[m]:.1f} ({method_name(m)})" for m in dict.fromkeys(ends)) if ends else ""


def _bars(axes, means: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    for y, (_, m) in enumerate(means):
        resisted, fitted = 100 * m["resisted"], 100 * m["fitted"]
        axes.barh(y, resisted, color=BLUE, label=PLACES[0])
        axes.barh(y, 100 - resisted - fitted, left=resisted, color="#E3E3E3", label=PLACES[1])
        axes.barh(y, fitted, left=100 - fitted, color=VERMILION, hatch="////", edgecolor="white", linewidth=0,
                  label=PLACES[2])  # fmt: skip
        words = f"{fitted:.1f} %"
        if "clean_resisted" in m:
            axes.plot(100 * m["clean_resisted"], y, "D", color="white", markeredgecolor="black", markersize=6,
                      linestyle="none", label=PLACES[3])  # fmt: skip
            words += f"  ({100 * m['clean_fitted']:.1f})"
        axes.text(101.5, y, words, va="center", fontsize=8)
        inside = resisted > 8
        place, colour = (1.5, "white") if inside else (resisted + 1, "black")
        axes.text(place, y, f"{resisted:.0f} %", va="center", fontsize=8, color=colour)
    axes.text(101.5, len(means) - 0.35, "fitted (clean run)", fontsize=8, va="bottom")
    axes.set_yticks(range(len(means)), [method_name(method) for method, _ in means])
    axes.set(xlim=(0, 100), xlabel="images with a wrong label, at the end of training (%)")
    axes.grid(False)
    axes.tick_params(left=False)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
    shown = [place for place in PLACES if place in handles]
    axes.legend([handles[place] for place in shown], shown, loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2)
