"""What the paper does not have: R@1 against the noise rate for every method, α against noise, M against cost, and seen
classes against unseen ones.
"""

from collections.abc import Sequence

from pfml.report.blocks import PAPER_NOISE
from pfml.report.ledger import summarise
from pfml.report.names import method_name, metric_name, share
from pfml.report.pools import Pool, condition, pools_of
from pfml.report.studies import Studies
from pfml.report.table import Column, Section, Table, numbers, percent, plain, seeds, seeds_of, table_of, words

GENERALISATION = ("recall@1", "map@r", "seen_recall@1", "seen_map@r", "few_shot_1", "few_shot_5")
LEAD = (
    "From the runs of all studies of a dataset and network. R@1 (%) at the last epoch, mean ± std over seeds; an empty "
    "cell was not run."
)


def beyond_section(studies: Studies) -> Section:
    parts: list[Table | str] = []
    pools = pools_of(studies)
    for make, what in (
        (noise_tables, "**R@1 against the noise rate**"),
        (alpha_tables, "**α against noise**"),
        (cost_tables, "**M against cost**"),
        (generalisation_tables, "**Seen against unseen classes**"),
    ):
        found = [table for pool in pools for table in make(pool, studies)]
        parts += found or [f"{what}: not run."]
    return Section("Beyond the paper", LEAD, parts)


def noise_tables(pool: Pool, studies: Studies) -> list[Table]:
    """A table for each kind of noise with a finished run: methods down, rates across, highest at each rate bold."""
    kinds = [k for k in dict.fromkeys(kind for *_, kind in pool.rows) if k and _has_noise(pool, k)]
    tables = []
    for kind in kinds:
        levels = pool.levels(kind)
        methods = [m for m in pool.methods if any(pool.summary(m, n, "recall@1", kind).n for n in levels)]
        rows = {n: [pool.summary(m, n, "recall@1", kind) for m in methods] for n in levels}
        columns = [words("Method", list(map(method_name, methods)))]
        columns += [Column(share(n), [percent(s) for s in row], "high") for n, row in rows.items()]
        columns.append(words("n", [_counts([rows[n][i].n for n in levels]) for i in range(len(methods))]))
        title = f"**R@1 against the noise rate** ({kind}) on {pool.name}; n: finished seeds."
        tables.append(table_of(f"beyond-noise-{kind}-{pool.stem}", title, columns))
    return tables


def _has_noise(pool: Pool, kind: str) -> bool:
    return any(pool.ledger.find_all(runs) for (_, _, k), runs in pool.rows.items() if k == kind)


def _counts(found: Sequence[int]) -> str:
    """`3`, or `1 to 3` where rates differ; those without a run do not count."""
    found = [n for n in found if n]
    return f"{min(found)}" if min(found) == max(found) else f"{min(found)} to {max(found)}"


def alpha_tables(pool: Pool, studies: Studies) -> list[Table]:
    """α down, noise across, in a column the seeds that every α has; the other settings are the pool's own PFML's."""
    found = _varied(pool, studies, ("loss.alpha", "noise", "noise_kind"), lambda c: (c.loss["alpha"], float(c.noise)))
    for noise in {noise for _, noise in found}:
        column = {place: runs for place, runs in found.items() if place[1] == noise}
        shared = set.intersection(*({run.seed for run in runs} for runs in column.values()))
        found |= {place: [run for run in runs if run.seed in shared] for place, runs in column.items()}
    alphas, levels = sorted({alpha for alpha, _ in found}), sorted({noise for _, noise in found})
    if len(alphas) < 2:
        return []
    columns = [words("α", [f"{alpha:g}" for alpha in alphas])]
    for noise in levels:
        columns.append(Column(share(noise), [percent(_summary(found, (a, noise), studies)) for a in alphas], "high"))
    columns.append(Column("n", [seeds_of(_summary(found, (a, noise), studies) for noise in levels) for a in alphas]))
    title = f"**α against noise** on {pool.name}: R@1 of PFML; n: finished seeds, the same for every α of a column."
    return [table_of(f"beyond-alpha-{pool.stem}", title, columns)]


def cost_tables(pool: Pool, studies: Studies) -> list[Table]:
    """M down: R@1 and seconds of training on clean labels. Runs beside one another slow each other down."""
    found = _varied(pool, studies, ("loss.proxies_per_class",), lambda run: (run.loss["proxies_per_class"],))
    counts = sorted(found)
    if len(counts) < 2:
        return []
    recall, seconds, epochs = (
        [summarise(studies.ledger, found[m], key) for m in counts] for key in ("recall@1", "seconds", "epochs")
    )
    each = [s.mean / e.mean if s.mean and e.mean else None for s, e in zip(seconds, epochs)]
    columns = [
        words("M", [f"{m:g}" for (m,) in counts]),
        Column("R@1", [percent(s) for s in recall], "high"),
        Column("training s", [plain(1, spread=True)(s) for s in seconds]),
        numbers("s per epoch", each, digits=2),
        Column("n", [seeds(s) for s in recall]),
    ]
    title = (
        f"**M against cost** on {pool.name}: PFML, clean labels. Seconds of the runs as they came, several at a time "
        "on one machine."
    )
    return [table_of(f"beyond-cost-{pool.stem}", title, columns)]


def generalisation_tables(pool: Pool, studies: Studies) -> list[Table]:
    """A table for clean labels and one for the paper's noise: methods down, by their few-shot accuracy."""
    tables = []
    for noise in (0.0, PAPER_NOISE):
        rows = {m: {key: pool.summary(m, noise, key) for key in GENERALISATION} for m in pool.methods}
        rows = {m: row for m, row in rows.items() if any(row[key].n for key in GENERALISATION[2:])}
        if not rows:
            continue
        ordered = sorted(rows, key=lambda m: -(rows[m]["few_shot_1"].mean or 0))
        columns = [words("Method", list(map(method_name, ordered)))]
        columns += [Column(metric_name(k), [percent(rows[m][k]) for m in ordered], "high") for k in GENERALISATION]
        columns.append(Column("n", [seeds(rows[m]["recall@1"]) for m in ordered]))
        labels = f"{share(noise)} of the training labels moved" if noise else "clean labels"
        title = (
            f"**Seen against unseen classes** on {pool.name}, {labels}: retrieval within the training classes by their "
            "true labels and within the test classes, and few-shot accuracy on the latter by the nearest class mean."
        )
        tables.append(table_of(f"beyond-generalisation-{noise:g}-{pool.stem}", title, columns))
    return tables


def _varied(pool: Pool, studies: Studies, settings: tuple[str, ...], place) -> dict[tuple, list]:
    """place(cell) -> cells with a finished run that differ from the pool's clean PFML in `settings` alone."""
    base = pool.runs("pfml")
    if not base:
        return {}
    same = condition(base[0], settings)
    found: dict[tuple, dict] = {}
    for run in studies.runs:
        uniform = run.noise_kind.get("kind", "uniform") == "uniform"
        if run.loss_name == "pfml" and uniform and condition(run, settings) == same and studies.ledger.find(run):
            found.setdefault(place(run), {})[run.digest] = run
    return {key: list(runs.values()) for key, runs in found.items()}


def _summary(found: dict, key: tuple, studies: Studies):
    return summarise(studies.ledger, found[key], "recall@1") if key in found else None
