"""Which cells make one table of ours."""

from collections.abc import Sequence
from dataclasses import dataclass

from pfml.report.style import dataset_name

SELECTED = {  # train.select in words
    "best_test": "best on the TEST classes (the published numbers' style)",
    "best_validation": "best on validation classes",
}


@dataclass(frozen=True)
class Block:
    """The grid cells of one study on one dataset with one network: one table of ours."""

    study: str
    dataset: str
    backbone: str
    dim: int
    cells: tuple

    def row(self, method: str, noise: float) -> list:
        return [c for c in self.cells if c.method == method and float(c.noise) == noise]

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(c.method for c in self.cells))

    @property
    def noises(self) -> list[float]:
        return sorted({float(c.noise) for c in self.cells})

    @property
    def noise_kind(self) -> str:
        """uniform, as the paper's, or another of pfml.data.noise_kinds."""
        return next((c.noise_kind["kind"] for c in self.cells if getattr(c, "noise_kind", None)), "uniform")

    @property
    def title(self) -> str:
        recipes = [getattr(cell, "train", {}) for cell in self.cells]
        held_out = any(recipe.get("hold_out") for recipe in recipes)
        chosen = {recipe.get("select", "last") for recipe in recipes} - {"last"}
        notes = ["; measured on held-out validation classes, NOT on the test half"] * held_out
        notes += [f"; not the last epoch's network but the {SELECTED[select]}" for select in sorted(chosen)]
        where = f"{dataset_name(self.dataset)}, {self.backbone}, {self.dim} dimensions"
        return f"Study `{self.study}`: {where}{''.join(notes)}"

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
    for cell in grid:
        groups.setdefault((cell.study, cell.dataset, cell.backbone, cell.dim), []).append(cell)
    return [Block(*key, tuple(cells)) for key, cells in groups.items()]
