"""What may be said of a number of ours beside a published one, and whether it may be set beside it at all.

The rule is in docs/reports.md. Of retrieval it judges the last epoch; the best epoch stands beside it for the
reader.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from pfml.report.intervals import NOT_RUN
from pfml.report.ledger import Summary
from pfml.report.names import dataset_name
from pfml.report.published import paper
from pfml.report.published.paper import Published

WORDS = ("reproduced", "below", "above", "not run", "not comparable")
TOLERANCE = 0.5  # points
DEVIATIONS = 2.0
DATASETS = ("cub200", "cars196", "sop")
NETWORKS = {  # with the weights that are published under these names; the paper's word for each
    "resnet50.tv_in1k": "resnet50",
    "bn_inception": "bninception",
    "vit_small_patch16_224.augreg_in21k_ft_in1k": "vit",
    "vit_small_patch16_224.dino": "dino",
}
UNSURE = {"third-party": "read by a third party", "not found": "published number not recovered"}
RECALLED = "the published number is recalled"  # judged, and said so with the verdict
MLRC = (6, 7)  # of cross validations, which single runs never answer


@dataclass(frozen=True)
class Verdict:
    """word: one of WORDS, or "" where the paper prints no number. difference: ours less published, in points (of a
    ratio: as a ratio).
    """

    word: str
    reason: str = ""
    difference: float | None = None

    @property
    def text(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


def verdict(theirs: Published, ours: Summary | None) -> Verdict:
    """The verdict on a cell.

    Args:
        theirs: a percentage. ours: the same measure at the last epoch as a fraction; None: no study asks for it.
    """
    if theirs.value is None and theirs.recovered:
        return Verdict("")
    if theirs.source in UNSURE:
        return Verdict("not comparable", UNSURE[theirs.source])
    if ours is None or ours.mean is None:
        if not theirs.key:
            return Verdict("not run", "no such method here")
        return Verdict("not run", "in no study" if ours is None else "")
    std = None if ours.std is None else 100 * ours.std
    return judged(100 * ours.mean, std, theirs.value, theirs.std, RECALLED if theirs.source == "recalled" else "")


def judged(
    mean: float, std: float | None, published: float, published_std: float | None = None, reason: str = "", unit=1.0
) -> Verdict:
    """Ours beside the published number, both of one unit; a std that is not known (None) counts as 0.

    Args:
        unit: what one point is in that unit: 1 for percentages, 0.01 for ratios.
    """
    difference = mean - published
    allowed = max(TOLERANCE * unit, DEVIATIONS * math.hypot(std or 0.0, published_std or 0.0)) + 1e-9
    word = "reproduced" if abs(difference) <= allowed else "above" if difference > 0 else "below"
    return Verdict(word, reason, difference)


def verdicts_once(found: Iterable[tuple[Hashable, str]]) -> Counter:
    """How often each word was said of (published number, word) pairs; of a number with several words the first that is
    not "not run" counts.
    """
    words: dict[Hashable, str] = {}
    for number, word in found:
        if words.get(number, NOT_RUN) == NOT_RUN:
            words[number] = word
    return Counter(words.values())


def why_not(runs: Sequence) -> str:
    """Why cells of one study, dataset and network may not be set beside any published number; "" where they may."""
    run = runs[0]
    if run.dataset not in DATASETS:
        return f"{dataset_name(run.dataset)} is no dataset of the paper"
    if any(c.train["hold_out"] for c in runs):
        return "measured on validation classes"
    if run.backbone not in NETWORKS or run.model["weights"] != "pretrained":
        return f"the paper has no {run.backbone}" + " with these weights" * (run.backbone in NETWORKS)
    if not any(p.dim == run.dim for p in paper.published(backbone=NETWORKS[run.backbone], dataset=run.dataset)):
        return f"the paper has no {run.backbone} of {run.dim} dimensions on {dataset_name(run.dataset)}"
    return ""


def answers(run, theirs: Published) -> bool:
    """Whether a grid cell was run for the row of a published number."""
    same = (run.method, run.dataset, run.dim, float(run.noise)) == (
        theirs.key, theirs.dataset, theirs.dim, theirs.noise,
    )  # fmt: skip
    return (
        same
        and theirs.table not in MLRC
        and NETWORKS.get(run.backbone) == theirs.backbone
        and (run.model["weights"], run.train["hold_out"]) == ("pretrained", False)
        and run.noise_kind.get("kind", "uniform") == "uniform"
    )
