"""The first page of reports/tables.md: what became of the paper's claims, and how many of its numbers we reproduced."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from pfml.report.ablations import figure_rows
from pfml.report.claims import CLAIMS, FAILS, HOLDS, LEVEL, SUBJECTS, Evidence, claims_of
from pfml.report.folds import fold_rows
from pfml.report.groups import place_name
from pfml.report.names import DATASETS, dataset_name, method_name, number
from pfml.report.proxies import ratio_rows, w2_blocks
from pfml.report.published import paper
from pfml.report.results import Studies
from pfml.report.table import MIXED, Column, Entry, Section, Table, mixed_note, numbers, table_of, words
from pfml.report.timing import BASE, cost_rows
from pfml.report.verdicts import MLRC, WORDS, Row, count_verdicts, incomparable, rows_of

PAPER_FIELD = {"alpha": 3.0, "delta": 0.2, "proxies_per_class": 15}  # Fig. 3, Table 8; of SOP M 2 (Sec. 4.1)
FIELD_NAMES = {"alpha": "α", "delta": "δ", "proxies_per_class": "M"}
COUNTED = (
    "**Verdicts** on the published numbers, each counted once, by runs that are comparable with it. Table 3 has five "
    "lost numbers and a ratio, Table 9 percents over ProxyNCA; what is recovered of Tables 6 and 7 is recalled."
)
PLURAL = {HOLDS: "hold", FAILS: "do not hold"}
RADIX = {"w2": 3, "w2_relative": 3}  # decimals of effects; points have 1


def summary_section(studies: Studies, pools: Sequence[pd.DataFrame], costs: Sequence[Evidence] = ()) -> Section:
    """`costs`: the claim on time, judged where it is measured (pfml.report.claims.Evidence "overhead")."""
    found = {place_name(pool): claims_of(pool, studies, costs) for pool in pools}
    evidence = [e for claims in found.values() for e in claims if e.found]
    return Section("Summary", paper.LEADS["summary"].format(level=f"{100 * LEVEL:g} %"), [
        claims_table(pools, found),
        *([evidence_table(evidence)] if evidence else []),
        *count_parts(studies),
    ])  # fmt: skip


def claims_table(pools: Sequence[pd.DataFrame], found: dict[str, list[Evidence]]) -> Table:
    """A row for each claim, a column for each dataset and network with runs; below, what may be concluded."""
    columns = [words("Claim", list(CLAIMS.values())), words("In the paper", [paper.SAID[c] for c in CLAIMS])]
    for name, evidence in found.items():
        by_claim = [[e for e in evidence if e.claim == claim] for claim in CLAIMS]
        columns.append(Column(name, [_judgement(claims) for claims in by_claim], words=True))
    title = (
        f"**Claims.** PFML is the paper's setting{departures(pools)}; the tuned one is named. In brackets the "
        "effect and its interval, in points of R@1, units of W2, or percent of time."
    )
    mixed = frozenset().union(*(e.kinds for claims in found.values() for e in claims if len(e.kinds) > 1))
    return replace(table_of("summary-claims", title, columns, conclusions(pools, found)), note=mixed_note(mixed))


def _judgement(evidence: Sequence[Evidence]) -> Entry:
    """`does not hold (-8.0, -10.7 to -5.3); tuned: holds`, marked where it mixes kinds of processors."""
    said = []
    for e in evidence:
        low_high = [e.found.low, e.found.high] if e.found and e.found.low is not None else []
        shown = [number(v, None, RADIX.get(e.claim, 1)) for v in ([e.found.mean] if e.found else []) + low_high]
        effect = f" ({', '.join(filter(None, [shown[0], ' to '.join(shown[1:])]))})" if shown else ""
        said.append(("" if e.subject == SUBJECTS[0] else "tuned: ") + e.verdict + effect)
    return Entry(text="; ".join(said), mark=MIXED if any(len(e.kinds) > 1 for e in evidence) else "")


def conclusions(pools: Sequence[pd.DataFrame], found: dict[str, list[Evidence]]) -> list[str]:
    """How many claims hold for the paper's setting, and where none of this says anything about the paper's numbers."""
    said = []
    for pool, (name, evidence) in zip(pools, found.items()):
        counts = Counter(e.verdict.partition(":")[0] for e in evidence if e.subject == SUBJECTS[0])
        parts = ", ".join(f"{count} {PLURAL.get(word, word)}" for word, count in sorted(counts.items()))
        said.append(f"On {name}, of {counts.total()} claims {parts}.")
        if reason := incomparable(pool.run):
            said.append(f"This compares the methods there and tests none of the paper's numbers: {reason}.")
    missing = [dataset_name(dataset) for dataset in DATASETS if dataset not in {pool.dataset.iloc[0] for pool in pools}]
    return [*said, *([f"Not run: {', '.join(missing)}; nothing can be concluded there."] if missing else [])]


def departures(pools: Sequence[pd.DataFrame]) -> str:
    """Where PFML's settings are not the paper's, as after `dvc exp run -S loss.alpha=4`: `, but for α 4 on glyphs`."""
    found = []
    for pool in pools:
        for run in pool.run[(pool.method == SUBJECTS[0]) & (pool.noise == 0)][:1]:
            printed = PAPER_FIELD | ({"proxies_per_class": 2} if run.dataset == "sop" else {})
            other = [f"{FIELD_NAMES[key]} {run.loss[key]:g}" for key in printed if run.loss[key] != printed[key]]
            found += [f"{', '.join(other)} on {place_name(pool)}"] if other else []
    return f", but for {'; '.join(found)}" if found else ""


def evidence_table(evidence: Sequence[Evidence]) -> Table:
    """The effects behind the verdicts: in percent points of R@1, and for W2 in its own unit."""
    digits = [RADIX.get(e.claim, 1) for e in evidence]
    bounds = [[getattr(e.found, key) for e in evidence] for key in ("mean", "low", "high")]
    means, lows, highs = ([Entry(v, digits=d) for v, d in zip(values, digits)] for values in bounds)
    columns = [
        Column("Claim", [Entry(text=CLAIMS[e.claim], kinds=e.kinds) for e in evidence], words=True),
        words("Where", [e.pool for e in evidence]),
        words("Method", [method_name(e.subject) for e in evidence]),
        words("Against", [e.against for e in evidence]),
        Column("effect", means),
        Column("from", lows),
        Column("to", highs),
        numbers("n", [e.found.n for e in evidence], digits=0),
        words("Verdict", [e.verdict for e in evidence]),
        words("Detail", [e.detail for e in evidence]),
    ]
    title = (
        f"**Evidence.** Effects are differences paired by seed: mean, Student's {100 * LEVEL:g} % interval, n seeds. "
        "R@1 in percent points of the last epoch; W2 in its own unit, lower is better. Rivals: the best by mean."
    )
    return table_of("summary-evidence", title, columns, listed=False)


def count_parts(studies: Studies) -> list[Table | str]:
    """How often each verdict was given: of all published numbers in a line, of each table in a file."""
    places = [(f"Table {n}", count_verdicts(table_rows(n, studies))) for n in (*range(1, 8), 9)]
    places.append(("Figure 3", count_verdicts(figure_rows(studies))))
    columns = [
        words("Where", [place for place, _ in places]),
        numbers("published numbers", [sum(counts[word] for word in WORDS) for _, counts in places], digits=0),
        *(numbers(word, [counts[word] for _, counts in places], digits=0) for word in WORDS),
    ]
    total = sum((counts for _, counts in places), Counter())
    said = ", ".join(f"{total[word]} {word}" for word in WORDS)
    numbered = sum(total[word] for word in WORDS)
    return [
        f"**Of {numbered} published numbers**: {said}.",
        table_of("summary-verdicts", COUNTED, columns, listed=False),
    ]


def table_rows(table: int, studies: Studies) -> list[Row]:
    """Ours beside each published number of a table."""
    if table in MLRC:
        return fold_rows(table, studies)
    if table == 9:
        return [row for row in cost_rows(studies) if row.theirs.key != BASE]
    ratios = ratio_rows(w2_blocks(studies)) if table == 3 else []  # beside five lost values
    return rows_of(paper.published(table), studies) + [row for row in ratios if row.verdict.word]
