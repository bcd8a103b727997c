"""Which cells make one table of ours, and which tables would only repeat another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pfml.report.names import dataset_name

SELECTED = {  # train.select in words
    "best_test": "best on the TEST classes (the published numbers' style)",
    "best_validation": "best on validation classes",
}
PAPER_NOISE = 0.2  # of Table 2


@dataclass(frozen=True)
class Block:
    """The grid cells of one study on one dataset with one network: one table of ours."""

    study: str
    dataset: str
    backbone: str
    dim: int
    runs: tuple

    def row(self, method: str, noise: float) -> list:
        return [c for c in self.runs if c.method == method and float(c.noise) == noise]

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(c.method for c in self.runs))

    @property
    def noises(self) -> list[float]:
        return sorted({float(c.noise) for c in self.runs})

    @property
    def noisy(self) -> float | None:
        """The noise that Table 2 shows: the paper's where the study has it, else its least, None without any."""
        levels = [noise for noise in self.noises if noise > 0]
        return PAPER_NOISE if PAPER_NOISE in levels else min(levels, default=None)

    @property
    def noise_kind(self) -> str:
        """uniform, as the paper's, or another of pfml.labels.noise_kinds."""
        return next((c.noise_kind["kind"] for c in self.runs if c.noise_kind), "uniform")

    @property
    def title(self) -> str:
        held_out = any(run.train["hold_out"] for run in self.runs)
        chosen = {run.train["select"] for run in self.runs} - {"last"}
        notes = ["; measured on held-out validation classes, NOT on the test half"] * held_out
        notes += [f"; not the last epoch's network but the {SELECTED[select]}" for select in sorted(chosen)]
        where = f"{dataset_name(self.dataset)}, {self.backbone}, {self.dim} dimensions"
        return f"Study `{self.study}`: {where}{''.join(notes)}"

    @property
    def stem(self) -> str:
        """Of the names of the block's files; a study of several datasets has several blocks."""
        return f"study-{self.study}" + f"-{self.dataset}" * (self.dataset != self.study)

    @property
    def table(self) -> int:
        """Which of the paper's retrieval tables this is measured for: 4 and 5 the small, 6 and 7 the MLRC ones."""
        if self.study.startswith("mlrc"):
            return 6 if self.dataset == "cub200" else 7
        small = self.dim == 64 and self.dataset in ("cub200", "cars196", "sop")
        return (5 if self.dataset == "sop" else 4) if small else 1


def blocks_of(grid: Sequence) -> list[Block]:
    """Grid cells grouped by study, dataset and network, in the order in which they come."""
    groups: dict = {}
    for run in grid:
        groups.setdefault((run.study, run.dataset, run.backbone, run.dim), []).append(run)
    return [Block(*key, tuple(runs)) for key, runs in groups.items()]


def without_repeats(blocks: Sequence[Block], runs_of: Callable, keep: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks less those whose every cell (`cells_of(block)`), told by digest, is one of another block's.

    Of two with the same cells the first stays, and the study `keep` always does.

    Returns:
        what is left, and for each study that is not: the name of one that holds its cells.
    """
    digests = [{run.digest for run in runs_of(block)} for block in blocks]
    left, holders = [], {}
    for i, (block, own) in enumerate(zip(blocks, digests)):
        holding = (j for j, other in enumerate(digests) if own < other or (own == other and j < i))
        holder = next(holding, None)
        if holder is None or block.study == keep:
            left.append(block)
        else:
            holders[block.study] = blocks[holder].study
    return left, holders
