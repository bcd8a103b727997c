"""The published numbers of the paper (Tables 1-9, Figure 3), typed: each with its table, row, metric and source,
and what the paper says about them in words.

A number that our sources do not hold is None with source "not found"; it is never filled in. A dash that the paper
itself prints is None with source "paper".
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

TITLES = {
    1: "Retrieval on unseen classes",
    2: "Retrieval after training with noisy labels",
    3: "Distance between proxies and the data they stand for",
    4: "Retrieval with 64 dimensions, CUB-200 and Cars-196",
    5: "Retrieval with 64 dimensions, Stanford Online Products",
    6: "MLRC protocol, CUB-200",
    7: "MLRC protocol, Cars-196",
    8: "Training settings of PFML",
    9: "Time per epoch against the number of proxies",
}
CAPTIONS = {
    1: "Train on the first half of the classes, retrieve among the second half. R@K: a neighbour of the query's class "
    "is among the K nearest. Published: four backbones, three datasets.",
    2: "20 % of the training labels moved to another class, test labels untouched. Published: ResNet-50, 512 "
    "dimensions, mean and std of 5 runs; its clean column is Table 1's.",
    3: "W2: 2-Wasserstein distance between a class's proxies and the training embeddings that match them best, mean "
    "over classes; relative W2 divides by the embeddings' own spread, so that a shrunken space gains nothing.",
    4: "As Table 1 with a ResNet-50 and 64 output dimensions.",
    5: "As Table 4 on Stanford Online Products, where K is 1, 10, 100 and 1000.",
    6: "Fixed optimisation, 4-fold cross-validated settings, BN-Inception; four 128-dimensional models separately, or "
    "concatenated to 512. That Table 6 is CUB and Table 7 Cars is inferred.",
    7: "As Table 6.",
    8: "Optimiser, learning rates and batch of the published runs.",
    9: "Seconds of one training epoch on one NVIDIA A4000; the paper does not name the dataset.",
}
AXIS_NAMES = {
    "proxies_per_class": "proxies per class M",
    "delta": "radius δ",
    "alpha": "decay exponent α",
    "delta_gap": "δ_rep − δ",
}
NETWORKS = {  # ours, with the weights that are published under these names -> the paper's word
    "resnet50.tv_in1k": "resnet50",
    "bn_inception": "bninception",
    "vit_small_patch16_224.augreg_in21k_ft_in1k": "vit",
    "vit_small_patch16_224.dino": "dino",
}
SOURCES = ("paper", "digitised", "recalled", "third-party", "not found")


@dataclass(frozen=True)
class Published:
    """One published number.

    table: 1 to 9, or "3a" ... "3d" for the panels of Figure 3. method: the paper's word. key: our method, "" where
    there is none. value: percent for recall@K, r_precision and map@r; seconds or a setting elsewhere; None: a printed
    dash (source "paper") or lost ("not found"). std: as printed, over 5 runs. axis, at: the setting that a row or
    point varies ("" and None: none).
    """

    table: int | str
    method: str
    key: str
    dataset: str
    backbone: str
    dim: int | None
    noise: float
    metric: str
    value: float | str | None
    std: float | None
    source: str
    axis: str = ""
    at: float | None = None

    @property
    def recovered(self) -> bool:
        return self.source != "not found"


@dataclass(frozen=True)
class Statement:
    """A relation that the text states although the numbers are lost. ratio: method / other; gap: method - other."""

    table: int
    dataset: str
    metric: str
    kind: str
    method: str
    other: str
    value: float
    text: str
    dim: int | None = None


@dataclass(frozen=True)
class Setting:
    """A setting of the published runs that the main text gives, in its words."""

    metric: str
    value: str
    source: str


@dataclass(frozen=True)
class Footnote:
    """Where the paper contradicts itself. places: tables (1 to 9) and figures ("figure 3") that it concerns."""

    places: tuple[int | str, ...]
    text: str


def published(table: int | str | None = None, **wanted) -> tuple[Published, ...]:
    """The published numbers whose fields equal `wanted` (for example key="pfml", metric="recall@1"), in print order.

    Args:
        table: 1 to 9, "3a" to "3d" for Figure 3's panels; None for all.

    Raises:
        ValueError: a field that `Published` does not have.
    """
    unknown = set(wanted) - set(Published.__dataclass_fields__)
    if unknown:
        raise ValueError(f"published: unknown field {sorted(unknown)}; expected {list(Published.__dataclass_fields__)}")
    if table is not None:
        wanted["table"] = table
    return tuple(p for p in _load() if all(getattr(p, name) == value for name, value in wanted.items()))


def published_value(table: int | str, **wanted) -> float | str | None:
    """The one number that `wanted` describes, None where there is none or it is not recovered.

    Raises:
        ValueError: several numbers fit.
    """
    found = published(table, **wanted)
    if len(found) > 1:
        raise ValueError(f"published_value(table={table!r}, {wanted}): expected one number, found {len(found)}")
    return found[0].value if found else None


def figure3(axis: str) -> tuple[Published, ...]:
    """R@1 of PFML in percent along one setting, CUB-200 and Cars-196, measured from the plot."""
    return published(axis=axis, source="digitised")


def statements(table: int) -> tuple[Statement, ...]:
    """What the text says about a table whose numbers are lost."""
    return tuple(Statement(**s) for s in _words()["statements"] if s["table"] == table)


def settings() -> tuple[Setting, ...]:
    """What the main text says of the published runs' settings."""
    return tuple(Setting(**s) for s in _words()["settings"])


def footnotes(place: int | str | None = None) -> tuple[Footnote, ...]:
    """The paper's inconsistencies, those that concern a table or figure, or all."""
    found = [Footnote(tuple(note["places"]), note["text"]) for note in _words()["footnotes"]]
    return tuple(note for note in found if place is None or place in note.places)


@cache
def _load() -> tuple[Published, ...]:
    raw = _yaml("published.yaml")
    numbers = [number for block in raw["tables"] for number in _block(block)]
    return tuple(numbers + [number for panel in raw["figure3"] for number in _panel(panel)])


@cache
def _words() -> dict:
    return _yaml("published_words.yaml")


def _yaml(name: str) -> dict:
    return yaml.safe_load(files("pfml.report.published").joinpath(name).read_text(encoding="utf-8"))


def _block(block: dict):
    for row in block["rows"]:
        for dataset, metrics in block["metrics"].items():
            held = dataset in row
            values = row.get(dataset, [None] * len(metrics))
            stds = row.get(f"{dataset}_std", [None] * len(metrics))
            if not len(values) == len(stds) == len(metrics):
                raise ValueError(f"published.yaml: table {block['table']}, {row['method']}, {dataset}: expected "
                                 f"{len(metrics)} values and stds, found {len(values)} and {len(stds)}")  # fmt: skip
            for metric, value, std in zip(metrics, values, stds):
                yield Published(
                    table=block["table"], method=row["method"], key=row.get("key", ""), dataset=dataset,
                    backbone=block.get("backbone", ""), dim=block.get("dim"), noise=block.get("noise", 0.0),
                    metric=metric, value=value, std=std,
                    source=block.get("source", "paper") if held else "not found",
                    axis=row.get("axis", ""), at=row.get("at"),
                )  # fmt: skip


def _panel(panel: dict):
    for dataset in ("cub200", "cars196"):
        for at, value in zip(panel["at"], panel[dataset], strict=True):
            yield Published(
                table=f"3{panel['panel']}", method="Potential Field (Ours)", key="pfml", dataset=dataset,
                backbone="resnet50", dim=512, noise=0.0, metric="recall@1", value=value, std=None, source="digitised",
                axis=panel["axis"], at=at,
            )  # fmt: skip
