"""Every loss by name. `build_loss("pfml", num_classes=100, embedding_dim=64, alpha=4.0)` gives a torch module with
`loss(embeddings, labels)` -> scalar; modules with proxies have them as `loss.proxies` (classes, M, D).

    field/      the two losses of the paper
    baselines/  the others, a file each, named as in params.yaml; each imports common/ alone
    common/     what they share

A loss is imported when it is asked for, and no other with it. To add one: CONTRIBUTING.md, "Add a loss".
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfml.losses.common.radius import radius_at_start
    from pfml.losses.field.contrastive_field import ContrastiveFieldLoss
    from pfml.losses.field.potential_field import PotentialFieldLoss

# Name in params.yaml -> module and class, or function that builds the loss. New ones at the end: looks in figures are
# dealt in this order.
PLACES = {
    "pfml": "field.potential_field.PotentialFieldLoss",
    "cpml": "field.contrastive_field.ContrastiveFieldLoss",
    "proxy_anchor": "baselines.proxy_anchor.proxy_anchor",
    "proxy_nca": "baselines.proxy_nca.proxy_nca",
    "soft_triple": "baselines.soft_triple.soft_triple",
    "multi_similarity": "baselines.multi_similarity.multi_similarity",
    "triplet": "baselines.triplet.triplet",
    "contrastive": "baselines.contrastive.contrastive",
    "hist": "baselines.hist.HIST",
    "hyp": "baselines.hyp.Hyp",
    "hier": "baselines.hier.HIER",
    "n_pair": "baselines.n_pair.n_pair",
    "margin": "baselines.margin.margin",
    "margin_per_class": "baselines.margin_per_class.margin_per_class",
    "cosface": "baselines.cosface.cosface",
    "normalized_softmax": "baselines.normalized_softmax.normalized_softmax",
    "arcface": "baselines.arcface.arcface",
    "sub_center_arcface": "baselines.sub_center_arcface.sub_center_arcface",
    "fast_ap": "baselines.fast_ap.fast_ap",
    "snr": "baselines.snr.snr",
    "circle": "baselines.circle.circle",
    "lifted_structure": "baselines.lifted_structure.lifted_structure",
    "histogram": "baselines.histogram.Histogram",
    "proxy_nca_pp": "baselines.proxy_nca_pp.ProxyNCAPlusPlus",
    "esphn": "baselines.esphn.EasyPositive",
    "prism": "baselines.prism.Prism",
    "ms_das": "baselines.ms_das.MultiSimilarityDAS",
    "proxy_gml": "baselines.proxy_gml.ProxyGML",
    "clustering": "baselines.clustering.Clustering",
    "pa_niv": "baselines.pa_niv.NonIsotropic",
    "zero_shot": "baselines.zero_shot.ZeroShot",
    "diva": "baselines.diva.DiVA",
    "drml_pa": "baselines.drml_pa.DRML",
    "dcml_mdw": "baselines.dcml_mdw.DCML",
    "htl": "baselines.htl.HTL",
    "multi_similarity_unmined": "baselines.multi_similarity_unmined.multi_similarity_unmined",
}
FIELDS = tuple(name for name, place in PLACES.items() if place.startswith("field."))
BASELINES = tuple(name for name in PLACES if name not in FIELDS)


class Lazy(Mapping):
    """Names and what `make` gives for each, made when it is first asked for."""

    def __init__(self, names: Iterable[str], make: Callable):
        self._names, self._make, self._made = tuple(names), make, {}

    def __getitem__(self, name: str):
        if name not in self._names:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:  # Mapping's own would make it
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _import(name: str) -> Callable:
    module, _, attribute = PLACES[name].rpartition(".")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


LOSSES = Lazy(PLACES, _import)


def build_loss(name: str, num_classes: int, embedding_dim: int, **settings):
    """The loss called `name`.

    Args:
        name: a key of LOSSES.
        num_classes: number of training classes.
        embedding_dim: D of the embeddings that it will be given.
        settings: the loss's own keyword arguments.

    Raises:
        ValueError: unknown name or setting (tells the nearest valid one), or a value that the loss refuses.
        ImportError: a baseline whose library is not installed.
    """
    if name not in LOSSES:
        near = difflib.get_close_matches(str(name).lower(), LOSSES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"name: unknown loss {name!r}{hint} (valid: {', '.join(LOSSES)})")
    valid = list(inspect.signature(LOSSES[name]).parameters)[2:]
    for key in settings:
        if key not in valid:
            near = difflib.get_close_matches(key, valid, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{key}: not a setting of {name!r}{hint} (valid: {', '.join(valid)})")
    try:
        return LOSSES[name](num_classes, embedding_dim, **settings)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name!r} comes from pytorch-metric-learning, and {error.name} is not installed; "
            "expected the extra pfml[baselines]: pip install pytorch-metric-learning"
        ) from error


def __getattr__(name: str):
    """Names that need a loss, or torch: loaded when asked for."""
    if name == "PotentialFieldLoss":
        return LOSSES["pfml"]
    if name == "ContrastiveFieldLoss":
        return LOSSES["cpml"]
    if name == "radius_at_start":
        from pfml.losses.common.radius import radius_at_start

        return radius_at_start
    if name == "NEEDS_POSITIVES":
        return frozenset(name for name, loss in LOSSES.items() if loss.pairs)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BASELINES", "FIELDS", "LOSSES", "ContrastiveFieldLoss", "PotentialFieldLoss", "build_loss", "radius_at_start",
]  # fmt: skip
