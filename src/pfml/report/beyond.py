"""What the paper does not have: R@1 against the noise rate for every method, α against noise, and seen classes against
unseen ones. Each table is of a pool: all studies' runs of one dataset and network.
"""

from collections.abc import Sequence

import pandas as pd

from pfml.report.claims import PAPER_NOISE
from pfml.report.groups import over_seeds, place_name, place_stem
from pfml.report.names import method_name, metric_name, share
from pfml.report.published import paper
from pfml.report.results import Studies, condition
from pfml.report.table import Column, Section, Table, percent, seeds, seeds_of, table_of, words

GENERALISATION = ("recall@1", "map@r", "seen_recall@1", "seen_map@r", "few_shot_1", "few_shot_5")


def beyond_section(studies: Studies, pools: Sequence[pd.DataFrame]) -> Section:
    parts: list[Table | str] = []
    for make, what in (
        (noise_tables, "**R@1 against the noise rate**"),
        (alpha_tables, "**α against noise**"),
        (generalisation_tables, "**Seen against unseen classes**"),
    ):
        found = [table for pool in pools for table in make(pool, studies)]
        parts += found or [f"{what}: not run."]
    return Section("Beyond the paper", paper.LEADS["beyond"], parts)


def noise_tables(pool: pd.DataFrame, studies: Studies) -> list[Table]:
    """A table for each kind of noise with a finished run: methods down, rates across, highest at each rate bold."""
    tables = []
    for kind in pool.noise_kind[pool.measured & (pool.noise > 0)].drop_duplicates():
        rows = pool[pool.noise_kind.isin(["", kind])]
        found = over_seeds(rows, ["method", "noise"], "recall@1")
        ran = rows[rows.measured]
        levels, methods = sorted(set(ran.noise)), [m for m in rows.method.unique() if m in set(ran.method)]
        counts = ran.groupby(["method", "noise"]).size().groupby("method").agg(["min", "max"]).loc[methods]
        columns = [words("Method", list(map(method_name, methods)))]
        columns += [Column(share(n), [percent(found.get((m, n))) for m in methods], "high") for n in levels]
        texts = [f"{low}" if low == high else f"{low} to {high}" for low, high in zip(counts["min"], counts["max"])]
        columns.append(words("n", texts))
        title = f"**R@1 against the noise rate** ({kind}) on {place_name(pool)}; n: finished seeds."
        tables.append(table_of(f"beyond-noise-{kind}-{place_stem(pool)}", title, columns))
    return tables


def alpha_tables(pool: pd.DataFrame, studies: Studies) -> list[Table]:
    """α down, noise across, in a column the seeds that every α has; the other settings are the pool's own PFML's."""
    rows = _varied(pool, studies, ("loss.alpha", "noise", "noise_kind"))
    rows = rows.assign(alpha=[run.loss["alpha"] for run in rows.run])
    if rows.alpha.nunique() < 2:
        return []
    alphas, levels = sorted(set(rows.alpha)), sorted(set(rows.noise))
    having = rows.groupby(["noise", "seed"]).alpha.transform("nunique")
    rows = rows[having == rows.groupby("noise").alpha.transform("nunique")]
    found = over_seeds(rows, ["alpha", "noise"], "recall@1")
    columns = [words("α", [f"{alpha:g}" for alpha in alphas])]
    columns += [Column(share(noise), [percent(found.get((a, noise))) for a in alphas], "high") for noise in levels]
    columns.append(Column("n", [seeds_of(found.get((a, noise)) for noise in levels) for a in alphas]))
    title = (
        f"**α against noise** on {place_name(pool)}: R@1 of PFML; n: finished seeds, the same for every α of a column."
    )
    return [table_of(f"beyond-alpha-{place_stem(pool)}", title, columns)]


def generalisation_tables(pool: pd.DataFrame, studies: Studies) -> list[Table]:
    """A table for clean labels and one for the paper's noise: methods down, by their few-shot accuracy."""
    tables = []
    for noise in (0.0, PAPER_NOISE):
        rows = pool[(pool.noise == noise) & pool.noise_kind.isin(["", "uniform"])]
        found = {key: over_seeds(rows, "method", key) for key in GENERALISATION}
        methods = [m for m in found["recall@1"] if any(found[key][m].n for key in GENERALISATION[2:])]
        if not methods:
            continue
        methods.sort(key=lambda m: -(found["few_shot_1"][m].mean or 0))
        columns = [words("Method", list(map(method_name, methods)))]
        columns += [Column(metric_name(k), [percent(found[k][m]) for m in methods], "high") for k in GENERALISATION]
        columns.append(Column("n", [seeds(found["recall@1"][m]) for m in methods]))
        labels = f"{share(noise)} of the training labels moved" if noise else "clean labels"
        title = (
            f"**Seen against unseen classes** on {place_name(pool)}, {labels}: retrieval within the training classes "
            "by their true labels and within the test classes, and few-shot accuracy on the latter by the nearest "
            "class mean."
        )
        tables.append(table_of(f"beyond-generalisation-{noise:g}-{place_stem(pool)}", title, columns, listed=False))
    return tables


def _varied(pool: pd.DataFrame, studies: Studies, settings: tuple[str, ...]) -> pd.DataFrame:
    """Finished runs of every study that differ from the pool's clean PFML in `settings` alone, each digest once."""
    base = pool[(pool.method == "pfml") & (pool.noise == 0)]
    runs = studies.runs[studies.runs.measured & studies.runs.noise_kind.isin(["", "uniform"])]
    if base.empty:
        return runs[:0]
    same = condition(base.run.iloc[0], settings)
    alike = runs.run.map(lambda run: run.loss_name == "pfml" and condition(run, settings) == same)
    return runs[alike.astype(bool)].drop_duplicates("digest", keep="last")
