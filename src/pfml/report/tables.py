"""reports/tables.md: the paper's Tables 1-9 and Figure 3, what was run beside what was published."""

from collections.abc import Mapping, Sequence

from pfml import paper
from pfml.paper import AXIS_NAMES, CAPTIONS, TITLES
from pfml.report import readings
from pfml.report.blocks import Block, blocks_of
from pfml.report.ledger import Ledger, Summary, Sweep, recall_levels, summarise
from pfml.report.printed import LOST, printed, published_pair, published_table
from pfml.report.style import (
    MISSING,
    bold_best,
    dataset_name,
    markdown_table,
    method_name,
    metric_name,
    number,
    share,
)  # fmt: skip

PREAMBLE = """# Results

What was run here beside what the paper published (Bhatnagar & Ahuja, CVPR 2025, arXiv 2405.18560). Written from
`reports/runs` and the published numbers; `make tables` renders it again without training.

* **Ours.** The last epoch is primary; the best epoch, chosen on the test classes as the published numbers are, stands
  beside it. Percent; mean ± sample standard deviation over seeds; n is the number of finished seeds. A run counts only
  where its configuration's digest equals that of the present configuration.
* **`glyphs`** is a small embedded dataset of rendered characters with a small network. Its numbers compare methods with
  each other; they are NOT comparable with the published numbers, which are of other images and pretrained networks.
* **Published.** As printed; "{lost}" where our copy of the paper lost the number, never filled in. *recalled*
  numbers are from memory and unverified, *third-party* ones were read by someone else, Figure 3 was measured from its
  plot.
* **{missing}**: of ours, the run is not finished or not part of the configuration; of the paper, it prints none.
  **Bold**: best of a column. A number that contradicts the paper stands as it came out.
"""
THEORY = """## Theory

Proposition 1 and Corollary 1 in numbers: [theory.md](theory.md), written by the stage `theory`.
"""


def render_tables(
    ledger: Ledger, grid: Sequence, sweeps: Sequence[Sweep], mlrc: Mapping[int, Sequence[str]] | None = None
) -> str:
    """The whole of reports/tables.md.

    Args:
        ledger: finished runs, split by what the configuration asks for.
        grid: the expected grid cells of all studies to show, the study being run first.
        sweeps: its ablation axes.
        mlrc: our part of Tables 6 and 7 (pfml.report.mlrc.lines).
    """
    blocks = blocks_of(grid)
    sections = [PREAMBLE.format(lost=LOST, missing=MISSING)]
    for table in range(1, 10):
        parts = {2: table_2, 3: table_3, 8: table_8, 9: table_9}.get(table, retrieval_table)(table, ledger, blocks)
        if ours := (mlrc or {}).get(table):
            parts = [*ours, *(part for part in parts if part != not_run(blocks))]
        sections.append("\n\n".join([f"## Table {table}", f"**{TITLES[table]}.** {CAPTIONS[table]}", *parts]) + "\n")
    sections.append(THEORY)
    sections.append("\n\n".join(["## Ablations", *ablations(ledger, sweeps)]) + "\n")
    sections.append("\n\n".join(["## Results outside the present configuration", outside(ledger)]) + "\n")
    return "\n".join(sections)


def percent(summary: Summary) -> str:
    return number(*(None if v is None else 100 * v for v in (summary.mean, summary.std)))


def seeds(summary: Summary) -> str:
    return str(summary.n) if summary.n == summary.expected else f"{summary.n} of {summary.expected}"


def not_run(blocks: Sequence[Block]) -> str:
    studies = ", ".join(dict.fromkeys(f"`{b.study}`" for b in blocks)) or "this configuration"
    return f"Ours: not run ({studies} does not measure this)."


def row_of(ledger: Ledger, block: Block, noise: float, key: str) -> dict[str, Summary]:
    """Each method's number at one noise level; methods without such a cell are left out."""
    return {m: summarise(ledger, block.row(m, noise), key) for m in block.methods if block.row(m, noise)}


def columns_table(header: Sequence[str], labels: Sequence[str], columns: Sequence[tuple]) -> str:
    """A table from columns of (texts, values, best: "high", "low" or "")."""
    texts = [bold_best(t, v, best == "high") if best else t for t, v, best in columns]
    return markdown_table(header, list(zip(labels, *texts)))


def column(row: dict[str, Summary], methods: Sequence[str], show=percent, best: str = "") -> tuple:
    """One column of ours over `methods`, a dash where the row has none."""
    found = [row.get(m) for m in methods]
    return [MISSING if s is None else show(s) for s in found], [s and s.mean for s in found], best


def retrieval_table(table: int, ledger: Ledger, blocks: Sequence[Block]) -> list[str]:
    """Tables 1, 4, 5, 6 and 7: clean labels; ours per study, then the published block and the reading."""
    parts, mine = [], [b for b in blocks if b.table == table and 0.0 in b.noises]
    for block in mine:
        levels = recall_levels(ledger.find_all(block.cells))
        keys = [*(f"recall@{k}" for k in levels), "map@r", "r_precision", "nmi", "best_recall@1"]
        rows = {key: row_of(ledger, block, 0.0, key) for key in [*keys, "best_epoch", "seconds"]}
        recall = rows["recall@1"]
        methods = list(recall)
        whole = {key: lambda s: number(s.mean, digits=0) for key in ("best_epoch", "seconds")}
        columns = [column(row, methods, whole.get(key, percent), "high" * (key in keys)) for key, row in rows.items()]
        header = ["Method", *map(metric_name, keys), "at epoch", "training s", "n"]
        parts.append(f"{block.title}, clean labels.")
        parts.append(columns_table(header, list(map(method_name, methods)), [*columns, column(recall, methods, seeds)]))
        own = [m for m in methods if m.startswith("pfml")]
        words = [readings.standing(recall, m) for m in own] + [
            readings.pair_order(recall, "pfml", "cpml", 1, backbone="resnet50", metric="recall@1")
        ]
        parts.append("Reading: " + " ".join(words) + readings.seeds_note(recall))
    if not mine:
        parts.append(not_run(blocks))
    return [
        *parts,
        "Published:",
        published_table(paper.published(table)),
        "Reading: " + readings.published_leads(table),
    ]


def table_2(table: int, ledger: Ledger, blocks: Sequence[Block]) -> list[str]:
    """Clean against noisy, ours and both published datasets in one table per noise level."""
    parts = []
    for block, noise in [(b, n) for b in blocks for n in b.noises if n > 0 and 0.0 in b.noises]:
        clean, noisy, second, best = (
            row_of(ledger, block, level, key)
            for level, key in ((0.0, "recall@1"), (noise, "recall@1"), (noise, "recall@2"), (noise, "best_recall@1"))
        )
        theirs = {d: published_pair(d) for d in ("cub200", "cars196")}
        theirs = theirs if (noise, block.noise_kind) == (0.2, "uniform") else {}
        methods = list(dict.fromkeys([*clean, *noisy, *(m for pair in theirs.values() for m in pair)]))
        columns = [
            *(column(row, methods, best="high") for row in (clean, noisy)),
            drop_column(clean, noisy, methods),
            *(column(row, methods, best="high") for row in (second, best)),
            column(noisy, methods, seeds),
        ]
        level = f"at {share(noise)}"
        header = ["Method", "clean R@1", f"R@1 {level}", "drop", f"R@2 {level}", "best epoch R@1", "n"]
        for dataset, pair in theirs.items():
            header += [f"{dataset_name(dataset)} {what}" for what in ("clean", level, "drop")]
            for i, best_is in enumerate(("high", "high", "low")):
                values = [pair.get(m, (None,) * 3)[i] for m in methods]
                columns.append(([number(v) for v in values], values, best_is))
        what = f"{share(noise)} of the training labels moved"
        if block.noise_kind == "list":
            what = f"noisy labels of the list that is called {share(noise)} here"
        how = "published columns at the right" if theirs else f"{block.noise_kind} noise, no published numbers"
        parts.append(f"{block.title}, {what}; {how}.")
        parts.append(columns_table(header, list(map(method_name, methods)), columns))
        words = [readings.standing(noisy, m, f"R@1 at {share(noise)} noise") for m in noisy if m.startswith("pfml")]
        words += [readings.noise_drop(clean, noisy, m) for m in noisy if m.startswith("pfml")]
        words += [readings.published_noise_order()] * bool(theirs)
        parts.append("Reading: " + " ".join(words) + readings.seeds_note(noisy))
    if not parts:
        parts = [not_run(blocks)]
    return [*parts, "Published, as printed:", published_table(paper.published(table))]


def drop_column(clean: dict, noisy: dict, methods: Sequence[str]) -> tuple:
    before, after = readings.means(clean), readings.means(noisy)
    drops = [100 * (before[m] - after[m]) if m in before and m in after else None for m in methods]
    return [number(d) for d in drops], drops, "low"


def table_3(table: int, ledger: Ledger, blocks: Sequence[Block]) -> list[str]:
    """W2 absolute and relative, clean and noisy, for the methods that have proxies."""
    parts = []
    theirs = {p.key: printed(p) for p in paper.published(table)}
    for block in blocks:
        rows = {(n, key): row_of(ledger, block, n, key) for n in block.noises for key in ("w2", "w2_relative")}
        having = {m for row in rows.values() for m in readings.means(row)}
        methods = [m for m in dict.fromkeys([*block.methods, *theirs]) if m in having or m in theirs]
        proxies = row_of(ledger, block, block.noises[0], "proxies_per_class")
        columns = [column(proxies, methods, lambda s: number(s.mean, digits=0))]
        columns += [column(row, methods, lambda s: number(s.mean, s.std, 3), "low") for row in rows.values()]
        columns += [([theirs.get(m, MISSING) for m in methods], [None] * len(methods), "")]
        header = ["Method", "M", *(f"{metric_name(key)} at {share(n)}" for n, key in rows), "published, CUB-200"]
        parts.append(f"{block.title}; columns by label noise, smaller is better.")
        parts.append(columns_table(header, list(map(method_name, methods)), columns))
        words = [readings.w2_order(row, f"{metric_name(key)} at {share(n)} noise") for (n, key), row in rows.items()]
        words.append(readings.unequal_proxies(proxies))
        parts.append("Reading: " + " ".join([*words, readings.published_w2()]))
    if not parts:
        parts = [not_run(blocks), published_table(paper.published(table))]
    return [*parts, f"Published values: {LOST}."]


def table_8(table: int, ledger: Ledger, blocks: Sequence[Block]) -> list[str]:
    """Settings down, datasets and networks across."""
    numbers = paper.published(table)
    places = list(dict.fromkeys((p.backbone, p.dataset) for p in numbers))
    found = {(p.metric, p.backbone, p.dataset): p for p in numbers}
    rows = [[metric.replace("_", " "), *(printed(found.get((metric, *place))) for place in places)]
            for metric in dict.fromkeys(p.metric for p in numbers)]  # fmt: skip
    counts = [sum(p.source == s for p in numbers) for s in ("paper", "third-party", "not found")]
    return [
        not_run(blocks) + " The settings of the runs above are in `params.yaml` and in each run's configuration.",
        markdown_table(["Setting", *(f"{dataset_name(d)} {b}" for b, d in places)], rows),
        f"Reading: of {len(numbers)} settings {counts[0]} are printed, {counts[1]} third-party, {counts[2]} {LOST}.",
    ]


def table_9(table: int, ledger: Ledger, blocks: Sequence[Block]) -> list[str]:
    """Published seconds per epoch, each as a ratio to the first row."""
    numbers = paper.published(table)
    base = numbers[0]
    rows = [[p.method, f"{p.value:.1f}", f"{p.value / base.value:.3f}"] for p in numbers]
    worst = max(numbers, key=lambda p: p.value)
    return [
        not_run(blocks) + " Training seconds of the runs above stand in Table 1.",
        markdown_table(["Method", "published s per epoch", f"ratio to {base.method}"], rows),
        f"Reading: the slowest, {worst.method}, takes {100 * (worst.value / base.value - 1):.1f} % longer than "
        f"{base.method}.",
    ]


def ablations(ledger: Ledger, sweeps: Sequence[Sweep]) -> list[str]:
    """Figure 3's four series: R@1 of PFML along one setting, others at their default."""
    if not sweeps:
        return ["Ours: not run (the configuration has no ablation)."]
    parts = []
    for sweep in sweeps:
        cells = dict(sweep.points())
        last = {value: summarise(ledger, c, "recall@1") for value, c in cells.items()}
        best = {value: summarise(ledger, c, "best_recall@1") for value, c in cells.items()}
        theirs = {(p.dataset, round(float(p.at), 6)): p.value for p in paper.figure3(sweep.axis)}
        values = sorted({round(v, 6) for v in cells} | {at for _, at in theirs})
        ours = [{round(v, 6): s for v, s in row.items()} for row in (last, best)]
        columns = [column(row, values, best="high") for row in ours] + [column(ours[0], values, seeds)]
        for dataset in ("cub200", "cars196"):
            held = [theirs.get((dataset, v)) for v in values]
            columns.append(([number(v) for v in held], held, "high"))
        labels = [f"{v:g}" + " (default)" * (v == round(float(sweep.default), 6)) for v in values]
        study = next((f" on {dataset_name(c.dataset)}" for c in (*sweep.base, *sweep.cells)), "")
        parts.append(f"**{AXIS_NAMES[sweep.axis]}** (Figure 3{paper.figure3(sweep.axis)[0].table[1]}); ours{study}.")
        header = [AXIS_NAMES[sweep.axis], "R@1", "best epoch R@1", "n", "CUB-200 (digitised)", "Cars-196 (digitised)"]
        parts.append(columns_table(header, labels, columns))
        parts.append("Reading: " + readings.sweep_reading(list(last.items()), sweep.default, sweep.axis))
    return parts


def outside(ledger: Ledger) -> str:
    """Runs on disk whose digest no expected cell has."""
    if not ledger.others:
        return "None: every run on disk belongs to the present configuration."
    rows = [[r.study, r.cell, f"`{r.digest}`", percent_of(r, "recall@1"), percent_of(r, "best_recall@1"),
             str(r.numbers["epochs"] or MISSING), (r.numbers["git_commit"] or MISSING)[:10]]
            for r in ledger.others]  # fmt: skip
    header = ["Study", "Run", "Digest", "R@1", "best R@1", "epochs", "commit"]
    return ("On disk, but the present configuration does not ask for them; in no table above.\n\n"
            + markdown_table(header, rows, notes=3))  # fmt: skip


def percent_of(record, key: str) -> str:
    value = record.numbers.get(key)
    return number(None if value is None else 100 * value)
