"""Table 3: how far proxies are from the data that they stand for."""

from pfml.report import readings
from pfml.report.blocks import Block
from pfml.report.ledger import Summary
from pfml.report.names import metric_name, share
from pfml.report.pools import USUAL, measures_of
from pfml.report.proxy_ratio import ratio_rows, ratio_table
from pfml.report.published import paper
from pfml.report.published.printed import LOST, footnotes, printed
from pfml.report.retrieval_tables import OWN
from pfml.report.rows import column, method_column, nothing_run, own_blocks, row_of, titled
from pfml.report.studies import Studies
from pfml.report.table import Column, Table, plain, seeds_of, table_of

MEASURES = ("w2", "w2_relative")


def proxy_table(table: int, studies: Studies, blocks: list[Block]) -> list[Table | str]:
    mine = [b for b in blocks if b.table < 6]
    shown, notes = own_blocks(mine, studies, lambda block: [c for c in block.runs if float(c.noise) in _levels(block)])
    parts = [distance_table(table, studies, block) for block in shown if _measured(block, studies)]
    compared = ratio_table(table, studies, ratio_rows(studies, shown, mine))
    lost = f"Published values: {LOST}. {readings.published_w2()}"
    return [lost, compared, OWN, *(parts or [nothing_run([], studies)]), *notes, *footnotes(table)]


def _levels(block: Block) -> list[float]:
    """Clean labels, and the noise of Table 2."""
    return [noise for noise in block.noises if noise in (0.0, block.noisy)]


def _measured(block: Block, studies: Studies) -> bool:
    found = studies.ledger.find_all(block.runs)
    return block.study == studies.running.name or any(record.numbers["w2"] is not None for record in found)


def distance_table(table: int, studies: Studies, block: Block) -> Table:
    """W2 absolute and relative, clean and noisy, for the methods that have proxies and those of the paper."""
    theirs = {p.key: printed(p) for p in paper.published(table)}
    rows: dict[tuple, dict[str, Summary]] = {
        (noise, key): row_of(studies.ledger, block, noise, key) for noise in _levels(block) for key in MEASURES
    }
    having = {m for row in rows.values() for m in readings.means(row)}
    methods = [m for m in dict.fromkeys([*block.methods, *theirs]) if m in having or m in theirs]
    proxies = row_of(studies.ledger, block, _levels(block)[0], "proxies_per_class")
    columns = [method_column(methods), column("M", proxies, methods, plain(0))]
    for (noise, key), row in rows.items():
        columns.append(column(f"{metric_name(key)} at {share(noise)}", row, methods, plain(3, spread=True), "low"))
    columns.append(Column("n", [seeds_of(rows[noise, "w2"].get(m) for noise in _levels(block)) for m in methods]))
    columns.append(Column("published, CUB-200", [printed(None) if m not in theirs else theirs[m] for m in methods]))
    said = [readings.w2_order(row, f"{metric_name(key)} at {share(n)} noise") for (n, key), row in rows.items()]
    said.append(readings.unequal_proxies(proxies))
    measures = measures_of(studies.ledger.find_all(block.runs))
    other = f"; measure: {' and '.join(measures)}" if measures != [USUAL] else ""
    title = titled(block, studies, f"columns by label noise; smaller is better{other}")
    return table_of(f"table-{table}-{block.stem}", title, columns, said)
