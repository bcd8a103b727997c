"""The published numbers of the paper (Tables 1-9, Figure 3), typed: each with its table, row, metric and source,
and what the paper says about them in words.

A number that our sources do not hold is None with source "not found"; it is never filled in. A dash that the paper
itself prints is None with source "paper".
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import SimpleNamespace

import yaml


def _yaml(name: str) -> dict:
    return yaml.safe_load(files("pfml.report.published").joinpath(name).read_text(encoding="utf-8"))


_WORDS = _yaml("published_words.yaml")
TITLES, CAPTIONS, AXIS_NAMES = (_WORDS[key] for key in ("titles", "captions", "axis_names"))  # by table, by axis
LEADS = _WORDS["leads"]  # of the report's other sections
CLAIMS = {name: claim["text"] for name, claim in _WORDS["claims"].items()}
SAID = {name: claim["paper"] for name, claim in _WORDS["claims"].items()}  # what the paper's own numbers say of it
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


def recalls(table: int) -> dict[str, dict[str, float | None]]:
    """dataset -> our method, or the paper's word -> R@1 in percent with a ResNet-50, None where a dash is printed."""
    found: dict = {}
    for p in published(table, backbone="resnet50", metric="recall@1"):
        found.setdefault(p.dataset, {})[p.key or p.method] = p.value
    return found


def figure3(axis: str) -> tuple[Published, ...]:
    """R@1 of PFML in percent along one setting, CUB-200 and Cars-196, measured from the plot."""
    return published(axis=axis, source="digitised")


def curves(axis: str) -> dict[str, dict[float, float]]:
    """The same by dataset and value of the setting, values as sweeps have them."""
    found: dict = {}
    for p in figure3(axis):
        found.setdefault(p.dataset, {})[round(float(p.at), 6)] = p.value
    return found


def statements(table: int) -> tuple[SimpleNamespace, ...]:
    """Relations that the text states although the numbers of a table are lost: table, dataset, metric, kind ("ratio":
    method / other, "gap": method - other), method, other, value, text, dim (None: no dimension is named).
    """
    return tuple(SimpleNamespace(**{"dim": None} | s) for s in _WORDS["statements"] if s["table"] == table)


def settings() -> tuple[SimpleNamespace, ...]:
    """Settings of the published runs that the main text gives, in its words: metric, value, source."""
    return tuple(SimpleNamespace(**s) for s in _WORDS["settings"])


def footnotes(place: int | str | None = None) -> tuple[SimpleNamespace, ...]:
    """Where the paper contradicts itself: places (tables 1 to 9, "figure 3") and text; of one place, or all."""
    found = [SimpleNamespace(**note) for note in _WORDS["footnotes"]]
    return tuple(note for note in found if place is None or place in note.places)


@cache
def _load() -> tuple[Published, ...]:
    raw = _yaml("published.yaml")
    numbers = [number for block in raw["tables"] for number in _block(block)]
    return tuple(numbers + [number for panel in raw["figure3"] for number in _panel(panel)])


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
