"""Table 8: the settings of the published runs, and those that ours have, resolved as training sees them. And
reports/tuning.md: how the settings of every method were searched, what was found, and whether runs use it.
"""

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import pandas as pd

from pfml.evaluation.trials import RANDOM_TRIALS, Trial, best, read_trials
from pfml.report.files import fill
from pfml.report.markup import literal
from pfml.report.names import MISSING, dataset_name, method_name, share
from pfml.report.published import paper
from pfml.report.published.paper import NETWORKS
from pfml.report.published.printed import printed
from pfml.report.results import Studies
from pfml.report.table import Column, Entry, Table, numbers, table_of, words
from pfml.settings.run import Run

SETTINGS = ("optimizer", "lr", "proxy_lr", "weight_decay", "batch", "epochs", "frozen_epochs", "freeze_bn", "schedule",
            "sampler", "transform")  # fmt: skip
FURTHER = ("images_per_class", "clip_norm", "clip_value", "clip_proxies", "precision", "select")  # in the file only
OURS = {  # settings of training that the paper words otherwise: ours in its words
    "optimizer": lambda run: run.train["optimizer"].capitalize(),
    "bn_freeze": lambda run: "no" if run.train["freeze_bn"] == "none" else "yes",
    "warmup_epochs": lambda run: run.train["frozen_epochs"],
}
FIELD = ("pfml", "pfml_auto", "pfml_tuned")  # the methods that tables.md shows; the file beside it has all


def settings_tables(table: int, studies: Studies) -> list[Table | str]:
    grid = studies.grid
    title = "**Ours**, of PFML in studies with a finished run, resolved as training sees them; n: finished runs."
    ran = grid[grid.method.isin(FIELD) & grid.groupby("study").measured.transform("any")]
    every = "As Table 8's, of every method and with its loss settings."
    said = [f"{s.metric.replace('_', ' ')} {s.value}" + f" ({s.source})" * (s.source != "paper")
            for s in paper.settings()]  # fmt: skip
    return [
        published_settings(table, grid),
        *([used_table(f"table-{table}-ours", title, ran)] if len(ran) else ["Ours: not run."]),
        f"The paper's main text, on PFML: {'; '.join(said)}.",
        used_table(f"table-{table}-all-methods", every, grid, loss=True),
    ]


def published_settings(table: int, grid: pd.DataFrame) -> Table:
    """Settings down, datasets and networks across; those of our study of that network at the right of each."""
    theirs = paper.published(table)
    found = {(p.metric, p.backbone, p.dataset): p for p in theirs}
    metrics = list(dict.fromkeys(p.metric for p in theirs))
    columns, compared = [words("Setting", [metric.replace("_", " ") for metric in metrics])], []
    ours = {(NETWORKS.get(run.backbone), run.dataset, run.dim): run for run in grid.run[grid.method == "pfml"][::-1]}
    for backbone, dataset, dim in dict.fromkeys((p.backbone, p.dataset, p.dim) for p in theirs):
        heading = f"{dataset_name(dataset)} {backbone}"
        rows = [found.get((metric, backbone, dataset)) for metric in metrics]
        columns.append(Column(heading, [printed(p) for p in rows]))
        if run := ours.get((backbone, dataset, dim)):
            values = [OURS[metric](run) if metric in OURS else run.train[metric] for metric in metrics]
            columns.append(Column(f"ours, {heading}", list(map(_setting, values))))
            compared += [(p.value, value) for p, value in zip(rows, values) if p and p.value is not None]
    counts = [sum(p.source == s for p in theirs) for s in ("paper", "third-party", "not found")]
    said = [f"Of {len(theirs)} settings {counts[0]} are printed, {counts[1]} third-party, {counts[2]} not recovered."]
    if compared:
        equal = sum(a == b or str(a) == str(b) for a, b in compared)
        said.append(f"Ours have {equal} of the {len(compared)} that are known.")
    title = "Published, with the settings of our study of the same images and network beside them."
    return table_of(f"table-{table}-published", title, columns, said)


def used_table(name: str, title: str, grid: pd.DataFrame, loss: bool = False) -> Table:
    """A row for each study, dataset and method, its settings across; noise and seed change none that is shown.

    Args:
        loss: all settings of the loss as one text and further ones of training, in the files only; else the field's.
    """
    by = grid.groupby(["study", "dataset", "method"], sort=False)
    first = by.run.first().tolist()
    columns = [
        words("Study", [f"`{run.study}`" for run in first]),
        words("Dataset", [dataset_name(run.dataset) for run in first]),
        words("Method", [method_name(run.method) for run in first]),
        words("Network", [f"{literal(run.backbone)} {run.dim}-d" for run in first]),
        numbers("n", by.measured.sum(), digits=0),
    ]
    if loss:
        texts = ["; ".join(f"{key} {_setting(value).text}" for key, value in run.loss.items()) for run in first]
        columns.append(words("loss", texts))
    else:
        for key, heading in (("proxies_per_class", "M"), ("alpha", "α"), ("delta", "δ"), ("delta_rep", "δ_rep")):
            columns.append(Column(heading, [_setting(run.config["loss"][key]) for run in first]))
    shared = SETTINGS + FURTHER * loss
    columns += [
        Column(key.replace("_", " "), [_setting(run.train.get(key, MISSING)) for run in first]) for key in shared
    ]
    return table_of(name, title, columns, listed=not loss)


def _setting(value) -> Entry:
    if isinstance(value, bool) or value is None:
        return Entry(text={True: "yes", False: "no", None: "none"}[value])
    return Entry(text=f"{value:g}" if isinstance(value, float) else literal(value))


def read_searches(folder: str | Path) -> dict[str, dict[str, list[Trial]]]:
    """dataset -> method -> its trials, from reports/tuning.

    Raises:
        ValueError: a file that is not one of trials; names it.
    """
    found: dict[str, dict[str, list[Trial]]] = {}
    for path in sorted(Path(folder).glob("*/*.csv")):
        found.setdefault(path.parent.name, {})[path.stem] = read_trials(path)[0]
    return found


def render_tuning(searches: Mapping, used: Mapping[str, Mapping[str, Mapping]]) -> str:
    """The whole of reports/tuning.md.

    Args:
        searches: of `read_searches`.
        used: dataset -> method -> its settings in runs of today, "section.key" -> value; a method may lack.
    """
    filters = {
        "dataset_name": lambda name: literal(dataset_name(name)),
        "method_name": lambda name: literal(method_name(name)),
        "method_html": lambda name: escape(method_name(name)), "best": best, "moved": _moved, "share": share,
        "percent": lambda fraction: f"{100 * fraction:.1f}",
    }  # fmt: skip
    return fill(
        "tuning.md", filters, searches=searches, used=used, random=RANDOM_TRIALS - 1, in_use=_in_use,
        ranked=lambda methods: sorted(methods.items(), key=lambda item: -best(item[1]).score),
        trainings=lambda methods: sum(len(trial.noise) for trials in methods.values() for trial in trials),
    )  # fmt: skip


def _moved(trial: Trial) -> str:
    """`lr 0.006, clip_proxies true`."""
    return ", ".join(f"{literal(key.partition('.')[2])} {_short(value)}" for key, value in trial.settings.items())


def _short(value) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else literal(value)


def _in_use(won: Trial, settings: Mapping | None) -> str:
    """Whether runs have the best trial's settings today."""
    if settings is None:
        return MISSING
    return "yes" if all(settings.get(key) == value for key, value in won.settings.items()) else "no"


def settings_in_use(runs: Iterable[Run]) -> dict[str, dict[str, dict]]:
    """dataset -> method -> "section.key" -> value; the first run of a method counts."""
    used: dict[str, dict[str, dict]] = {}
    for run in runs:
        flat = {f"{name}.{key}": value for name in ("loss", "train") for key, value in getattr(run, name).items()}
        used.setdefault(run.dataset, {}).setdefault(run.method, flat)
    return used
