"""What a sweep leaves in reports/sweeps/: a row for every run (<name>.csv), a table (<name>.md) and a figure."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from pfml.figures.style import HUES, MARKERS, dataset_name, figure_style, heading, literal, new_figure, save_figure
from pfml.launch.sweep.points import Point
from pfml.launch.table import aligned, result_of
from pfml.report.groups import summary_of
from pfml.report.names import method_name, share
from pfml.report.table import Column, percent, seeds, table_of, words
from pfml.settings.files import write_whole
from pfml.settings.runs import grid_runs

FOLDER = Path("reports/sweeps")
GROUP = ["dataset", "method", "noise"]  # with the axes: one row of the table


def show(name: str, axes: Mapping[str, list], points: Iterable[tuple[Point, Path]]) -> str:
    """Write the files of a sweep; its table, and where the files are.

    Args:
        points: each with its working copy, where its results lie.
    """
    rows = rows_of(points)
    if rows.empty:
        return "no point has a result"
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_whole(FOLDER / f"{name}.csv", rows.to_csv(index=False))
    table = table_of_rows(rows, list(axes))
    text = (
        f"# Sweep {name}\n\nMeasures on unseen classes, mean ± standard deviation over seeds. Each point is an "
        f"experiment of DVC (`dvc exp show`), named in\n`{FOLDER.as_posix()}/{name}.csv`.\n\n{table}\n\n"
        f"![R@1 over the settings]({name}.png)\n"
    )
    write_whole(FOLDER / f"{name}.md", text)
    figure_of_rows(rows, axes, FOLDER / f"{name}.png")
    return f"\n{table}\n{FOLDER.as_posix()}/{name}.md, .csv and .png; `dvc exp show --only-changed` has the experiments"


def rows_of(points: Iterable[tuple[Point, Path]]) -> pd.DataFrame:
    """A row for every run: the point's settings, dataset, method, noise, seed, recall@1 and map@r (fractions; NaN where
    it has no result), digest, experiment.
    """
    rows = []
    for point, copy in points:
        if not copy.is_dir():
            continue
        with contextlib.chdir(copy):
            for run in grid_runs(point.params):
                result = result_of(run)
                rows.append(dict(point.values) | {
                    "dataset": run.dataset, "method": run.method, "noise": run.noise, "seed": run.seed,
                    "recall@1": result.get("recall@1"), "map@r": result.get("map@r"), "digest": run.digest,
                    "experiment": point.name,
                })  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame[frame.groupby("experiment")["recall@1"].transform("count") > 0] if rows else frame


def table_of_rows(rows: pd.DataFrame, axes: list[str]) -> str:
    """A Markdown table with a row for every point, dataset, method and noise."""
    keys = axes + GROUP
    groups = list(rows.astype({axis: str for axis in axes}).groupby(keys, sort=False, dropna=False))
    columns = [words(axis, [key[i] for key, _ in groups]) for i, axis in enumerate(axes)]
    if rows.dataset.nunique() > 1:
        columns.append(words("Dataset", [key[-3] for key, _ in groups]))
    recall, precision = ([summary_of(group[measure]) for _, group in groups] for measure in ("recall@1", "map@r"))
    columns += [
        words("Method", [method_name(key[-2]) for key, _ in groups]),
        words("Wrong labels", [share(key[-1]) for key, _ in groups]),
        Column("R@1, %", list(map(percent, recall))), Column("MAP@R, %", list(map(percent, precision))),
        Column("Seeds", list(map(seeds, recall))),
    ]  # fmt: skip
    return aligned(table_of("sweep", "", columns))


def figure_of_rows(rows: pd.DataFrame, axes: Mapping[str, list], path: Path) -> None:
    """R@1 over the axis with the most values, those that are numbers first; a line for every method and combination of
    the other axes, a panel for every dataset and noise.
    """
    along = max(axes, key=lambda axis: (_numbers(axes[axis]), len(axes[axis])))
    others = [axis for axis in axes if axis != along and len(axes[axis]) > 1]
    panels = list(rows.groupby(["dataset", "noise"], sort=False))
    positions = axes[along] if _numbers(axes[along]) else range(len(axes[along]))
    place = {str(value): position for value, position in zip(axes[along], positions)}
    with figure_style():
        figure = new_figure(3.6 * len(panels) + 1.6, 3.4)
        for panel, ((dataset, noise), held) in zip(
            figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels
        ):
            lines = held.astype({axis: str for axis in others}).groupby(["method", *others], sort=False)
            for number, (key, line) in enumerate(lines):
                said = [f"{axis.rpartition('.')[2]} {value}" for axis, value in zip(others, key[1:])]
                over = line.groupby(line[along].astype(str), sort=False)["recall@1"].agg(["mean", "std"]).mul(100)
                over = over.loc[sorted(over.index, key=place.get)]
                panel.errorbar(
                    [place[value] for value in over.index], over["mean"], over["std"].fillna(0), capsize=2.5,
                    color=HUES[number % len(HUES)], marker=MARKERS[number % len(MARKERS)],
                    label=literal(", ".join([method_name(key[0]), *said])),
                )  # fmt: skip
            if not _numbers(axes[along]):
                panel.set_xticks(list(place.values()), [literal(value) for value in place])
            panel.set(xlabel=along, title=f"{dataset_name(dataset)}, {share(noise)} wrong labels")
        figure.axes[0].set_ylabel("R@1 (%)")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center")
        heading(figure, f"R@1 over {literal(along)}")
        save_figure(figure, path)


def _numbers(values: list) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
