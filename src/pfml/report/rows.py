"""Summaries of our own cells by method, and the columns that are made of them."""

from collections.abc import Callable, Sequence

from pfml.report.blocks import Block, without_repeats
from pfml.report.ledger import Ledger, Summary, summarise
from pfml.report.names import method_name
from pfml.report.studies import Studies
from pfml.report.table import Column, percent, words
from pfml.report.verdicts import why_not

SHORT = 8  # digits of an MLflow run's id that stand in a table


def row_of(ledger: Ledger, block: Block, noise: float, key: str) -> dict[str, Summary]:
    """Each method's number at one noise level; methods without such a cell are left out."""
    return {m: summarise(ledger, block.row(m, noise), key) for m in block.methods if block.row(m, noise)}


def column(heading: str, row: dict[str, Summary], methods: Sequence[str], show=percent, best: str = "") -> Column:
    """One column of ours over `methods`, empty where the row has none."""
    return Column(heading, [show(row.get(m)) for m in methods], best)


def run_ids(ledger: Ledger, runs: Sequence) -> str:
    """First digits of the ids of the MLflow runs that trained some cells."""
    found = [record.numbers.get("mlflow_run") for record in ledger.find_all(runs)]
    return " ".join(f"`{name[:SHORT]}`" for name in found if name)


def method_column(methods: Sequence[str]) -> Column:
    return words("Method", list(map(method_name, methods)))


def own_blocks(blocks: Sequence[Block], studies: Studies, runs_of: Callable) -> tuple[list[Block], list[str]]:
    """The blocks of which a table is shown: of the study being run, and of the others with a finished run of their own.

    Returns:
        blocks, and a sentence about the others.
    """
    ran = [b for b in blocks if b.study == studies.running.name or studies.ledger.find_all(runs_of(b))]
    shown, holders = without_repeats(ran, runs_of, studies.running.name)
    # The paper's studies without a run stand in the comparison with the published rows already.
    waiting = [f"`{b.study}`" for b in blocks if b not in ran and why_not(b.runs)]
    notes = [f"Not run yet: {', '.join(waiting)}."] if waiting else []
    notes += [f"Not repeated: `{name}`, whose every run is one of `{holder}`." for name, holder in holders.items()]
    return shown, notes


def titled(block: Block, studies: Studies, what: str) -> str:
    """`Study `glyphs`: glyphs, conv4, 64 dimensions, clean labels; not comparable: ...`, and where MLflow has it."""
    reason = why_not(block.runs)
    comparable = f" Not comparable with any published number: {reason}." if reason else ""
    return f"{block.title}, {what}.{comparable} MLflow experiment `{studies.find(block.study).experiment}`."


def nothing_run(blocks: Sequence[Block], studies: Studies) -> str:
    names = ", ".join(dict.fromkeys(f"`{b.study}`" for b in blocks)) or f"`{studies.running.name}`"
    return f"Ours: not run ({names} does not measure this)."
