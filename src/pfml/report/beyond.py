"""What the paper does not have: R@1 against the noise rate for every method, α against noise, M against cost."""

from collections.abc import Sequence

from pfml.report.ledger import summarise
from pfml.report.pools import Pool, condition, pools_of
from pfml.report.studies import Studies
from pfml.report.style import method_name, share
from pfml.report.table import Column, Section, Table, numbers, percent, plain, seeds, table_of, words

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
    return any(pool.ledger.find_all(cells) for (_, _, k), cells in pool.rows.items() if k == kind)


def _counts(found: Sequence[int]) -> str:
    """`3`, or `1 to 3` where rates differ; those without a run do not count."""
    found = [n for n in found if n]
    return f"{min(found)}" if min(found) == max(found) else f"{min(found)} to {max(found)}"


def alpha_tables(pool: Pool, studies: Studies) -> list[Table]:
    """α down, noise across; the other settings are those of the pool's own PFML."""
    found = _varied(pool, studies, ("loss.alpha", "noise", "noise_kind"), lambda c: (c.loss["alpha"], float(c.noise)))
    alphas, levels = sorted({alpha for alpha, _ in found}), sorted({noise for _, noise in found})
    if len(alphas) < 2:
        return []
    columns = [words("α", [f"{alpha:g}" for alpha in alphas])]
    for noise in levels:
        columns.append(Column(share(noise), [percent(_summary(found, (a, noise), studies)) for a in alphas], "high"))
    title = f"**α against noise** on {pool.name}: R@1 of PFML."
    return [table_of(f"beyond-alpha-{pool.stem}", title, columns)]


def cost_tables(pool: Pool, studies: Studies) -> list[Table]:
    """M down: R@1 and seconds of training on clean labels. Runs beside one another slow each other down."""
    found = _varied(pool, studies, ("loss.proxies_per_class",), lambda cell: (cell.loss["proxies_per_class"],))
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


def _varied(pool: Pool, studies: Studies, settings: tuple[str, ...], place) -> dict[tuple, list]:
    """place(cell) -> cells with a finished run that differ from the pool's clean PFML in `settings` alone."""
    base = pool.cells("pfml")
    if not base:
        return {}
    same = condition(base[0], settings)
    found: dict[tuple, dict] = {}
    for cell in studies.cells:
        uniform = cell.noise_kind.get("kind", "uniform") == "uniform"
        if cell.loss_name == "pfml" and uniform and condition(cell, settings) == same and studies.ledger.find(cell):
            found.setdefault(place(cell), {})[cell.digest] = cell
    return {key: list(cells.values()) for key, cells in found.items()}


def _summary(found: dict, key: tuple, studies: Studies):
    return summarise(studies.ledger, found[key], "recall@1") if key in found else None
