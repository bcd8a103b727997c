"""The sections of params.yaml that say what is measured beside the grid."""

from typing import Literal

from pydantic import field_validator

from pfml.settings.values import Count, CountOrZero, Number, Section, one_of_each


class Wasserstein(Section):
    """What Table 3 leaves open; the names are those of pfml.wasserstein.proxy_wasserstein."""

    mean: bool
    assignment: Literal["class", "nearest", "all"]
    normalize_proxies: bool
    embeddings: Literal["end", "epoch", "passing"]

    @property
    def name(self) -> str:
        """The measure in a word; the default is "reconstruction"."""
        words = [] if self.mean else ["sum"]
        words += [f"assignment {self.assignment}"] if self.assignment != "class" else []
        words += [] if self.normalize_proxies else ["raw proxies"]
        words += {"end": [], "epoch": ["batches of an epoch"], "passing": ["passing batches"]}[self.embeddings]
        return ", ".join(words) or "reconstruction"


class Memorisation(Section):
    """How often a run with wrong labels is asked, while it trains, how many of them it has fitted."""

    every: CountOrZero


class Ablation(Section):
    noise: Number
    proxies_per_class: list[CountOrZero]
    alpha: list[Number]
    delta: list[Number]
    delta_gap: list[Number]


class Complexity(Section):
    proxies_per_class: list[CountOrZero]
    baseline: list[str]
    steps: Count
    rounds: Count

    @field_validator("proxies_per_class", "baseline")
    @classmethod
    def _each_once(cls, values):
        return one_of_each(values) if values else values


class MLRC(Section):
    """The protocol of "A Metric Learning Reality Check": methods that train once a fold."""

    field: list[str]
    baseline: list[str]
    fold: list[CountOrZero]

    @field_validator("fold")
    @classmethod
    def _folds(cls, values):
        return one_of_each(values)

    @property
    def methods(self) -> list[str]:
        return self.field + self.baseline
