"""Every loss by name. `build_loss("pfml", num_classes=100, embedding_dim=64, alpha=4.0)` gives a torch module with
`loss(embeddings, labels)` -> scalar; modules with proxies have them as `loss.proxies` (classes, M, D).

To add one: a module or builder here, its settings in pfml.settings.losses.LOSS_SETTINGS, its section in params.yaml,
its row in docs/baselines.md; its name in common.sampling.NEEDS_POSITIVES if it learns from pairs of one class.
"""

import difflib
import inspect

from pfml.losses.baselines import six as baselines
from pfml.losses.baselines.clustering import Clustering
from pfml.losses.baselines.esphn import EasyPositive
from pfml.losses.baselines.hier import HIER
from pfml.losses.baselines.hist import HIST
from pfml.losses.baselines.histogram import Histogram
from pfml.losses.baselines.hyp import Hyp
from pfml.losses.baselines.library import LIBRARY
from pfml.losses.baselines.ms_das import MultiSimilarityDAS
from pfml.losses.baselines.pa_niv import NonIsotropic
from pfml.losses.baselines.prism import Prism
from pfml.losses.baselines.proxy_gml import ProxyGML
from pfml.losses.baselines.proxy_nca_pp import ProxyNCAPlusPlus
from pfml.losses.common.sampling import NEEDS_POSITIVES, check_sampler
from pfml.losses.field.contrastive_field import ContrastiveFieldLoss
from pfml.losses.field.potential_field import PotentialFieldLoss

LOSSES = {
    "pfml": PotentialFieldLoss,
    "cpml": ContrastiveFieldLoss,
    "proxy_anchor": baselines.proxy_anchor,
    "proxy_nca": baselines.proxy_nca,
    "soft_triple": baselines.soft_triple,
    "multi_similarity": baselines.multi_similarity,
    "triplet": baselines.triplet,
    "contrastive": baselines.contrastive,
    **LIBRARY,
    "histogram": Histogram,
    "proxy_nca_pp": ProxyNCAPlusPlus,
    "hist": HIST,
    "hyp": Hyp,
    "esphn": EasyPositive,
    "hier": HIER,
    "prism": Prism,
    "ms_das": MultiSimilarityDAS,
    "proxy_gml": ProxyGML,
    "clustering": Clustering,
    "pa_niv": NonIsotropic,
}


def build_loss(name: str, num_classes: int, embedding_dim: int, **settings):
    """The loss called `name`.

    Args:
        name: a key of LOSSES.
        num_classes: number of training classes.
        embedding_dim: D of the embeddings that it will be given.
        settings: the loss's own keyword arguments.

    Raises:
        ValueError: unknown name or setting; tells the nearest valid one.
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


__all__ = ["LOSSES", "NEEDS_POSITIVES", "ContrastiveFieldLoss", "PotentialFieldLoss", "build_loss", "check_sampler"]
