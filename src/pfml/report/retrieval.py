"""Tables 1, 2, 4 and 5: retrieval on clean and on noisy labels. Ours beside every published number that was run, then
our own studies with the published R@1 beside them.

A block is the rows of one study on one dataset with one network (`groups.blocks_of`).
"""

from collections.abc import Callable, Sequence

import pandas as pd

from pfml.report import readings
from pfml.report.claims import PAPER_NOISE
from pfml.report.groups import blocks_of, most_runs, over_seeds, recall_levels, summarize, without_repeats
from pfml.report.markup import literal
from pfml.report.names import DATASETS, dataset_name, method_name, metric_name, share
from pfml.report.published import paper
from pfml.report.published.printed import network_name, published_pairs, published_parts
from pfml.report.results import Studies
from pfml.report.table import Column, Table, by_method, numbers, percent, seeds, seeds_of, table_of, words
from pfml.report.verdicts import Row, comparison, incomparable, rows_of

SELECTED = {  # train.select in words
    "best_test": "best on the TEST classes (the published numbers' style)",
    "best_validation": "best on validation classes",
}
SMALL, DIM = (4, 5), 64  # the paper's tables of small embeddings


def retrieval_table(table: int, studies: Studies) -> list[Table | str]:
    """Tables 1, 4 and 5: clean labels."""
    blocks = [block for block in blocks_of(studies.grid) if (block.noise == 0).any()]
    own = [block for block in blocks if table_number(block) == table]
    if table in SMALL:  # other images with an embedding as small
        own += [b for b in blocks if table_number(b) == 1 and b.dim.iloc[0] == DIM]
    shown, notes = own_blocks(own, studies, clean)
    own = [(block, listed and (table != max(SMALL) or block.dataset.iloc[0] in DATASETS)) for block, listed in shown]
    tables = [clean_table(table, block, listed) for block, listed in own]
    return [*compared(table, studies), *tables, *notes, *published_parts(table)]


def noise_table(table: int, studies: Studies) -> list[Table | str]:
    """Table 2: clean against noisy; further noise rates are in "Beyond the paper"."""
    blocks = [b for b in blocks_of(studies.grid) if noisy(b) and (b.noise == 0).any() and table_number(b) < 6]
    shown, notes = own_blocks(blocks, studies, clean_and_noisy)
    running = studies.running.name  # listed too: it has clean and noisy R@1 of an experiment
    tables = [drop_table(table, block, listed or block.study.iloc[0] == running) for block, listed in shown]
    return [*compared(table, studies), *tables, *notes, *published_parts(table)]


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


def compared(table: int, studies: Studies) -> list[Table | str]:
    def ours(rows: Sequence[Row]) -> dict:
        best = [summarize(r.runs, "best_recall@1") if r.ran and r.theirs.metric == "recall@1" else None for r in rows]
        return {"last epoch": [percent(row.ours) for row in rows], "best epoch": list(map(percent, best))}

    return comparison(table, rows_of(paper.published(table), studies), network_name, ours)


def clean_table(table: int, block: pd.DataFrame, listed: bool) -> Table:
    """One study at the last epoch, and R@1 of the best, with the published R@1 beside it. Of Table 1 every method with
    every measure; of small embeddings the methods and measures of the paper's table.
    """
    rows, theirs = clean(block), paper.recalls(table)
    keys, methods = [*(f"recall@{k}" for k in recall_levels(block)), "map@r", "r_precision", "nmi"], [*rows.method]
    if table in SMALL:
        published = paper.published(table)
        keys, methods = [p.metric for p in published], ["pfml", *(p.key for p in published if p.key in methods)]
    keys, methods = list(dict.fromkeys([*keys, "best_recall@1"])), list(dict.fromkeys(methods))
    found = {key: over_seeds(rows, "method", key) for key in keys}
    recall = found["recall@1"]
    columns = [words("Method", list(map(method_name, methods)))]
    columns += [by_method(metric_name(key), found[key], methods, best="high") for key in keys]
    columns += [by_method("n", recall, methods, seeds)]
    columns += [numbers(f"{dataset_name(d)} R@1", map(row.get, methods), best="high") for d, row in theirs.items()]
    lost = [metric_name(key) for key, row in found.items() if not readings.means(row)]
    said = [readings.standing(recall, m) for m in methods if m.startswith("pfml") and table not in SMALL]
    said += [f"Not measured by this study: {', '.join(lost)}."] if lost and readings.means(recall) else []
    said += [readings.seeds_note(recall)]
    return block_table(table, block, "clean labels; published R@1 at the right", columns, said, listed)


def drop_table(table: int, block: pd.DataFrame, listed: bool) -> Table:
    """One study at its noise level, with the published columns beside it where they are of the same noise."""
    noise = noisy(block)
    level, at = f"at {share(noise)}", {n: block[block.noise == n] for n in (0.0, noise)}
    before, after, second, best = (
        over_seeds(at[n], "method", key)
        for n, key in ((0.0, "recall@1"), (noise, "recall@1"), (noise, "recall@2"), (noise, "best_recall@1"))
    )
    kind = next((kind for kind in block.noise_kind if kind), "uniform")
    theirs = published_pairs() if (noise, kind) == (PAPER_NOISE, "uniform") else {}
    methods = list(dict.fromkeys([*before, *after]))
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
    said.append(readings.seeds_note(after))
    what = f"{share(noise)} of the training labels moved"
    if kind == "list":
        what = f"noisy labels of the list that is called {share(noise)} here"
    how = "published columns at the right" if theirs else f"{kind} noise, no published numbers"
    if not theirs and kind == "uniform":
        how = f"no published numbers at {share(noise)}"
    return block_table(table, block, f"{what}; {how}", columns, said, listed)


def own_blocks(
    blocks: Sequence[pd.DataFrame], studies: Studies, part: Callable
) -> tuple[list[tuple[pd.DataFrame, bool]], list[str]]:
    """The blocks with a finished run of their own, each with whether tables.md lists it: of each dataset and network
    the one with the most finished runs.

    Args:
        part: block -> those of its rows that the table shows.

    Returns:
        blocks, and a sentence about the others.
    """
    running, parts = studies.running.name, [(block, part(block)) for block in blocks]
    ran = [(block, rows) for block, rows in parts if rows.measured.any()]
    left, holders = without_repeats([rows for _, rows in ran], running)
    first = most_runs([ran[i][1] for i in left])
    shown = [(ran[i][0], place in first) for place, i in enumerate(left)]
    # The paper's studies without a run are named in the comparison with the published rows already.
    waiting = [f"`{b.study.iloc[0]}`" for b, rows in parts if not rows.measured.any() and incomparable(b.run)]
    notes = [f"Not run yet: {', '.join(waiting)}."] if waiting else []
    notes += [f"Not repeated: `{name}`, whose every run is one of `{holder}`." for name, holder in holders.items()]
    return shown, [" ".join(notes)] if notes else []


def block_table(
    table: int, block: pd.DataFrame, what: str, columns: Sequence[Column], said: Sequence[str], listed: bool
) -> Table:
    """Titled `Study `glyphs`: glyphs, conv4, 64 dimensions, clean labels (what). Not comparable ...`; `said` stands
    below. A study of several datasets has several blocks, and a table of each.
    """
    first, reason = block.iloc[0], incomparable(block.run)
    notes = ["; measured on held-out validation classes, NOT on the test half"] * bool(block.hold_out.any())
    chosen = {run.train["select"] for run in block.run} - {"last"}
    notes += [f"; not the last epoch's network but the {SELECTED[select]}" for select in sorted(chosen)]
    where = f"{dataset_name(first.dataset)}, {literal(first.backbone)}, {first.dim} dimensions{''.join(notes)}"
    comparable = f" Not comparable with any published number: {reason}." if reason else ""
    title = f"**Study `{first.study}`**: {where}, {what}.{comparable}"
    stem = f"study-{first.study}" + f"-{first.dataset}" * (first.dataset != first.study)
    stem += "-zero-shot" * (set(block.method) == {"zero_shot"})  # as wide as the features, so a block of its own
    return table_of(f"table-{table}-{stem}", title, columns, said, listed)
