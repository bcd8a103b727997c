"""Tables 1, 2, 4 and 5: retrieval on clean and on noisy labels, the published rows first, then ours beside them."""

from pfml.report import readings
from pfml.report.blocks import PAPER_NOISE, Block
from pfml.report.comparison import comparison_parts
from pfml.report.ledger import recall_levels
from pfml.report.names import dataset_name, metric_name, share
from pfml.report.published import paper
from pfml.report.published.printed import footnotes, published_pair, published_parts
from pfml.report.rows import column, method_column, nothing_run, own_blocks, row_of, run_ids, titled
from pfml.report.studies import Studies
from pfml.report.table import Column, Table, numbers, plain, seeds, seeds_of, table_of, words

OWN = "**Our own studies.**"
SMALL, DIM = (4, 5), 64  # the paper's tables of small embeddings


def retrieval_table(table: int, studies: Studies, blocks: list[Block]) -> list[Table | str]:
    """Tables 1, 4 and 5: clean labels."""
    mine = [b for b in blocks if b.table == table and 0.0 in b.noises]
    shown, notes = own_blocks(mine, studies, _clean)
    parts = [*published_parts(table), *comparison_parts(table, studies), OWN]
    parts += [clean_table(table, studies, block) for block in shown]
    if table in SMALL:
        others = [b for b in blocks if b.table == 1 and b.dim == DIM and 0.0 in b.noises]
        parts += [small_table(table, studies, block) for block in own_blocks(others, studies, _clean)[0]]
    if parts[-1] == OWN:
        parts.append(nothing_run([], studies))
    return [*parts, *notes, *footnotes(table)]


def small_table(table: int, studies: Studies, block: Block) -> Table:
    """Of a study of other images with an embedding as small as Table 4's and 5's: the table's own rows and measures."""
    theirs = paper.published(table)
    asked = [p.key for p in theirs if p.key in block.methods]
    methods = list(dict.fromkeys(["pfml", *asked]))
    rows = {key: row_of(studies.ledger, block, 0.0, key) for key in dict.fromkeys(p.metric for p in theirs)}
    columns = [method_column(methods)]
    columns += [column(metric_name(key), row, methods, best="high") for key, row in rows.items()]
    columns += [column("n", rows["recall@1"], methods, seeds)]
    lost = [metric_name(key) for key, row in rows.items() if not readings.means(row)]
    said = [f"Not measured by this study: {', '.join(lost)}."] if lost and readings.means(rows["recall@1"]) else []
    return table_of(f"table-{table}-{block.stem}", titled(block, studies, "clean labels"), columns, said)


def _clean(block: Block) -> list:
    return [run for run in block.runs if float(run.noise) == 0]


def clean_table(table: int, studies: Studies, block: Block) -> Table:
    """Every measure of every method of one study at the last epoch, and R@1 of the best."""
    ledger = studies.ledger
    levels = recall_levels(ledger.find_all(block.runs))
    keys = [*(f"recall@{k}" for k in levels), "map@r", "r_precision", "nmi", "best_recall@1"]
    rows = {key: row_of(ledger, block, 0.0, key) for key in [*keys, "best_epoch", "seconds"]}
    recall = rows["recall@1"]
    methods = list(recall)
    columns = [method_column(methods)]
    columns += [column(metric_name(key), rows[key], methods, best="high") for key in keys]
    columns += [column("at epoch", rows["best_epoch"], methods, plain(0))]
    columns += [column("training s", rows["seconds"], methods, plain(0)), column("n", recall, methods, seeds)]
    columns += [words("MLflow runs", [run_ids(ledger, block.row(m, 0.0)) for m in methods])]
    said = [readings.standing(recall, m) for m in methods if m.startswith("pfml")]
    said += [readings.pair_order(recall, "pfml", "cpml", 1, backbone="resnet50", metric="recall@1")]
    said += [readings.seeds_note(recall)]
    return table_of(f"table-{table}-{block.stem}", titled(block, studies, "clean labels"), columns, _only(said))


def noise_table(table: int, studies: Studies, blocks: list[Block]) -> list[Table | str]:
    """Table 2: clean against noisy; further noise rates are in "Beyond the paper"."""
    mine = [b for b in blocks if b.noisy and 0.0 in b.noises and b.table < 6]
    shown, notes = own_blocks(mine, studies, _clean_and_noisy)
    parts = [*published_parts(table), *comparison_parts(table, studies), OWN]
    parts += [drop_table(table, studies, block) for block in shown] or [nothing_run([], studies)]
    return [*parts, *notes, *footnotes(table)]


def _clean_and_noisy(block: Block) -> list:
    return [run for run in block.runs if float(run.noise) in (0.0, block.noisy)]


def drop_table(table: int, studies: Studies, block: Block) -> Table:
    """One study at its noise level, with the published columns beside it where they are of the same noise."""
    ledger, noise, level = studies.ledger, block.noisy, f"at {share(block.noisy)}"
    clean, noisy, second, best = (
        row_of(ledger, block, at, key)
        for at, key in ((0.0, "recall@1"), (noise, "recall@1"), (noise, "recall@2"), (noise, "best_recall@1"))
    )
    theirs = {d: published_pair(d) for d in ("cub200", "cars196")}
    theirs = theirs if (noise, block.noise_kind) == (PAPER_NOISE, "uniform") else {}
    methods = list(dict.fromkeys([*clean, *noisy, *(m for pair in theirs.values() for m in pair)]))
    columns = [method_column(methods), column("clean R@1", clean, methods, best="high")]
    columns += [column(f"R@1 {level}", noisy, methods, best="high"), drop_column(clean, noisy, methods)]
    columns += [column(f"R@2 {level}", second, methods, best="high")]
    columns += [column("best epoch R@1", best, methods, best="high")]
    columns += [Column("n", [seeds_of(row.get(m) for row in (clean, noisy)) for m in methods])]
    for dataset, pair in theirs.items():
        for i, (what, best_is) in enumerate((("clean", "high"), (level, "high"), ("drop", "low"))):
            values = [pair.get(m, (None,) * 3)[i] for m in methods]
            columns.append(numbers(f"{dataset_name(dataset)} {what}", values, best=best_is))
    own = [m for m in noisy if m.startswith("pfml")]
    said = [readings.standing(noisy, m, f"R@1 at {share(noise)} noise") for m in own]
    said += [readings.noise_drop(clean, noisy, m) for m in own]
    said += [readings.published_noise_order()] * bool(theirs) + [readings.seeds_note(noisy)]
    what = f"{share(noise)} of the training labels moved"
    if block.noise_kind == "list":
        what = f"noisy labels of the list that is called {share(noise)} here"
    how = "published columns at the right" if theirs else f"{block.noise_kind} noise, no published numbers"
    if theirs == {} and block.noise_kind == "uniform":
        how = f"no published numbers at {share(noise)}"
    return table_of(f"table-{table}-{block.stem}", titled(block, studies, f"{what}; {how}"), columns, _only(said))


def drop_column(clean: dict, noisy: dict, methods: list[str]):
    before, after = readings.means(clean), readings.means(noisy)
    drops = [100 * (before[m] - after[m]) if m in before and m in after else None for m in methods]
    return numbers("drop", drops, best="low")


def _only(texts: list[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip()]
