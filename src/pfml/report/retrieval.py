"""Tables 1, 2, 4 and 5: retrieval on clean and on noisy labels. The published rows come first, then ours beside every
published number, then tables of our own studies.

A block is the rows of one study on one dataset with one network (`groups.blocks_of`).
"""

from collections.abc import Callable, Sequence

import pandas as pd

from pfml.report import readings
from pfml.report.claims import PAPER_NOISE
from pfml.report.groups import blocks_of, over_seeds, recall_levels, run_ids, summarize, without_repeats
from pfml.report.names import DATASETS, dataset_name, method_name, metric_name, share
from pfml.report.published import paper
from pfml.report.published.printed import network_name, published_pairs, published_parts
from pfml.report.results import Studies
from pfml.report.table import EMPTY, Column, Table, by_method, numbers, percent, plain, seeds, seeds_of, table_of, words
from pfml.report.verdicts import comparison, incomparable, rows_of

OWN = "**Our own studies.**"
SELECTED = {  # train.select in words
    "best_test": "best on the TEST classes (the published numbers' style)",
    "best_validation": "best on validation classes",
}
SMALL, DIM = (4, 5), 64  # the paper's tables of small embeddings


def retrieval_table(table: int, studies: Studies) -> list[Table | str]:
    """Tables 1, 4 and 5: clean labels."""
    blocks = [block for block in blocks_of(studies.grid) if (block.noise == 0).any()]
    shown, notes = own_blocks([b for b in blocks if table_number(b) == table], studies, clean)
    parts = [*published_parts(table), *comparison_parts(table, studies), OWN]
    parts += [clean_table(table, studies, block) for block in shown]
    if table in SMALL:
        others = [b for b in blocks if table_number(b) == 1 and b.dim.iloc[0] == DIM]
        parts += [small_table(table, studies, block) for block in own_blocks(others, studies, clean)[0]]
    if parts[-1] == OWN:
        parts.append(nothing_run(studies))
    return [*parts, *notes]


def noise_table(table: int, studies: Studies) -> list[Table | str]:
    """Table 2: clean against noisy; further noise rates are in "Beyond the paper"."""
    blocks = [b for b in blocks_of(studies.grid) if noisy(b) and (b.noise == 0).any() and table_number(b) < 6]
    shown, notes = own_blocks(blocks, studies, clean_and_noisy)
    parts = [*published_parts(table), *comparison_parts(table, studies), OWN]
    parts += [drop_table(table, studies, block) for block in shown] or [nothing_run(studies)]
    return [*parts, *notes]


def clean(block: pd.DataFrame) -> pd.DataFrame:
    return block[block.noise == 0]


def clean_and_noisy(block: pd.DataFrame) -> pd.DataFrame:
    return block[block.noise.isin([0.0, noisy(block)])]


def noisy(block: pd.DataFrame) -> float | None:
    """The noise that Table 2 shows: the paper's where the study has it, else its least, None without any."""
    levels = set(block.noise) - {0.0}
    return PAPER_NOISE if PAPER_NOISE in levels else min(levels, default=None)


def table_number(block: pd.DataFrame) -> int:
    """Which of the paper's tables a block is measured for: 4 and 5 are of small embeddings, 6 and 7 of folds."""
    first = block.iloc[0]
    if first.study.startswith("mlrc"):
        return 6 if first.dataset == "cub200" else 7
    small = first.dim == DIM and first.dataset in DATASETS
    return (5 if first.dataset == "sop" else 4) if small else 1


def comparison_parts(table: int, studies: Studies) -> list[Table | str]:
    """R@1 of each dataset; further measures of a dataset, and of the rows, that have a finished run."""
    parts: list[Table | str] = []
    for dataset in dict.fromkeys(p.dataset for p in paper.published(table)):
        rows, name = rows_of(paper.published(table, dataset=dataset), studies), f"table-{table}-{dataset}"
        first = [row for row in rows if row.theirs.metric == "recall@1"]
        best = [EMPTY if row.runs is None else percent(summarize(row.runs, "best_recall@1")) for row in first]
        ours = {"last epoch": [percent(row.ours) for row in first], "best epoch": best}
        runs = ["" if row.runs is None else run_ids(row.runs) for row in first]
        title = f"**{dataset_name(dataset)}, R@1**: ours beside the published."
        parts.append(comparison(name, title, first, network_name, ours, runs=runs))
        further = [row for row in rows if row.theirs.metric != "recall@1" and row.finished]
        if further:
            ours = {"last epoch": [percent(row.ours) for row in further]}
            title = f"**{dataset_name(dataset)}, further measures** of the rows that were run."
            parts.append(comparison(f"{name}-further", title, further, network_name, ours, counts=False))
    return parts


def clean_table(table: int, studies: Studies, block: pd.DataFrame) -> Table:
    """Every measure of every method of one study at the last epoch, and R@1 of the best."""
    rows = clean(block)
    keys = [*(f"recall@{k}" for k in recall_levels(block)), "map@r", "r_precision", "nmi", "best_recall@1"]
    found = {key: over_seeds(rows, "method", key) for key in [*keys, "best_epoch", "seconds"]}
    recall = found["recall@1"]
    methods = list(recall)
    columns = [words("Method", list(map(method_name, methods)))]
    columns += [by_method(metric_name(key), found[key], methods, best="high") for key in keys]
    columns += [by_method("at epoch", found["best_epoch"], methods, plain(0))]
    columns += [by_method("training s", found["seconds"], methods, plain(0)), by_method("n", recall, methods, seeds)]
    columns += [words("MLflow runs", [run_ids(rows[rows.method == method]) for method in methods])]
    said = [readings.standing(recall, m) for m in methods if m.startswith("pfml")]
    said += [readings.pair_order(recall, "pfml", "cpml")]
    said += [readings.seeds_note(recall)]
    return block_table(table, studies, block, "clean labels", columns, said)


def small_table(table: int, studies: Studies, block: pd.DataFrame) -> Table:
    """Of a study of other images with an embedding as small as Table 4's and 5's: the table's own rows and measures."""
    theirs, rows = paper.published(table), clean(block)
    methods = list(dict.fromkeys(["pfml", *(p.key for p in theirs if p.key in set(block.method))]))
    found = {key: over_seeds(rows, "method", key) for key in dict.fromkeys(p.metric for p in theirs)}
    columns = [words("Method", list(map(method_name, methods)))]
    columns += [by_method(metric_name(key), row, methods, best="high") for key, row in found.items()]
    columns += [by_method("n", found["recall@1"], methods, seeds)]
    lost = [metric_name(key) for key, row in found.items() if not readings.means(row)]
    said = [f"Not measured by this study: {', '.join(lost)}."] if lost and readings.means(found["recall@1"]) else []
    return block_table(table, studies, block, "clean labels", columns, said)


def drop_table(table: int, studies: Studies, block: pd.DataFrame) -> Table:
    """One study at its noise level, with the published columns beside it where they are of the same noise."""
    noise = noisy(block)
    level, at = f"at {share(noise)}", {n: block[block.noise == n] for n in (0.0, noise)}
    before, after, second, best = (
        over_seeds(at[n], "method", key)
        for n, key in ((0.0, "recall@1"), (noise, "recall@1"), (noise, "recall@2"), (noise, "best_recall@1"))
    )
    kind = next((kind for kind in block.noise_kind if kind), "uniform")
    theirs = published_pairs() if (noise, kind) == (PAPER_NOISE, "uniform") else {}
    methods = list(dict.fromkeys([*before, *after, *(m for pair in theirs.values() for m in pair)]))
    drops = readings.drops_of(before, after)
    columns = [
        words("Method", list(map(method_name, methods))),
        by_method("clean R@1", before, methods, best="high"),
        by_method(f"R@1 {level}", after, methods, best="high"),
        numbers("drop", map(drops.get, methods), best="low"),
        by_method(f"R@2 {level}", second, methods, best="high"),
        by_method("best epoch R@1", best, methods, best="high"),
        Column("n", [seeds_of(row.get(m) for row in (before, after)) for m in methods]),
    ]
    for dataset, pair in theirs.items():
        for i, (what, best_is) in enumerate((("clean", "high"), (level, "high"), ("drop", "low"))):
            values = [pair.get(m, (None,) * 3)[i] for m in methods]
            columns.append(numbers(f"{dataset_name(dataset)} {what}", values, best=best_is))
    own = [m for m in after if m.startswith("pfml")]
    said = [readings.standing(after, m, f"R@1 at {share(noise)} noise") for m in own]
    said += [readings.noise_drop(drops, m) for m in own]
    said += [readings.published_noise_order()] * bool(theirs) + [readings.seeds_note(after)]
    what = f"{share(noise)} of the training labels moved"
    if kind == "list":
        what = f"noisy labels of the list that is called {share(noise)} here"
    how = "published columns at the right" if theirs else f"{kind} noise, no published numbers"
    if not theirs and kind == "uniform":
        how = f"no published numbers at {share(noise)}"
    return block_table(table, studies, block, f"{what}; {how}", columns, said)


def own_blocks(
    blocks: Sequence[pd.DataFrame], studies: Studies, part: Callable
) -> tuple[list[pd.DataFrame], list[str]]:
    """The blocks of which a table is shown: of the study being run, and of the others with a finished run of their own.

    Args:
        part: block -> those of its rows that the table shows.

    Returns:
        blocks, and a sentence about the others.
    """
    parts = [(block, part(block)) for block in blocks]
    running = studies.running.name
    ran = [(b, rows) for b, rows in parts if b.study.iloc[0] == running or rows.measured.any()]
    left, holders = without_repeats([rows for _, rows in ran], running)
    # The paper's studies without a run stand in the comparison with the published rows already.
    waiting = [f"`{b.study.iloc[0]}`" for b, rows in parts
               if b.study.iloc[0] != running and not rows.measured.any() and incomparable(b.run)]  # fmt: skip
    notes = [f"Not run yet: {', '.join(waiting)}."] if waiting else []
    notes += [f"Not repeated: `{name}`, whose every run is one of `{holder}`." for name, holder in holders.items()]
    return [ran[i][0] for i in left], notes


def block_table(
    table: int, studies: Studies, block: pd.DataFrame, what: str, columns: Sequence[Column], said: Sequence[str]
) -> Table:
    """Titled `Study `glyphs`: glyphs, conv4, 64 dimensions, clean labels (what). Not comparable ...`, and where MLflow
    has it; `said` stands below. A study of several datasets has several blocks, and a table of each.
    """
    first, reason = block.iloc[0], incomparable(block.run)
    notes = ["; measured on held-out validation classes, NOT on the test half"] * bool(block.hold_out.any())
    chosen = {run.train["select"] for run in block.run} - {"last"}
    notes += [f"; not the last epoch's network but the {SELECTED[select]}" for select in sorted(chosen)]
    where = f"{dataset_name(first.dataset)}, {first.backbone}, {first.dim} dimensions{''.join(notes)}"
    comparable = f" Not comparable with any published number: {reason}." if reason else ""
    experiment = studies.find(first.study).experiment
    title = f"Study `{first.study}`: {where}, {what}.{comparable} MLflow experiment `{experiment}`."
    stem = f"study-{first.study}" + f"-{first.dataset}" * (first.dataset != first.study)
    return table_of(f"table-{table}-{stem}", title, columns, said)


def nothing_run(studies: Studies) -> str:
    return f"Ours: not run (`{studies.running.name}` does not measure this)."
