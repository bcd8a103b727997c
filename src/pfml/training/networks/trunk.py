"""Cut a network in two: a front that stays as it is, whose output is computed once for all runs, and the rest that a
run trains.

train.trunk decides where. `frozen`: the front is the whole backbone with its pooling, the rest is the head. `partial`:
the rest also has the backbone's last stages. Stages are the parts that a family repeats: `layer1` ... `layer4` of a
ResNet, the entries of `blocks` in an EfficientNet, a MobileNet or a ViT, `features` of a DenseNet.
"""

import copy
import re

import torch
from torch import nn

from pfml.losses import LOSSES
from pfml.settings.run import Run
from pfml.training.batches.features import Features
from pfml.training.batches.pictures import Pictures
from pfml.training.networks.heads import build_head, in_place_of_linear
from pfml.training.networks.model import Embedder, build_model

TRUNKS = ("fine_tune", "frozen", "partial")


class Reached(Exception):
    """Carries the input of a stage out of a forward pass, whose rest is not needed."""


class Front(nn.Module):
    """Images (n, 3, h, w) -> what the rest takes, 4-D: pooled features (n, C, 1, 1), a map (n, C, h, w), or a
    transformer's tokens (n, T, C, 1).
    """

    def __init__(self, model: Embedder, stage: str | None):
        super().__init__()
        self.model, self.stage = model, stage

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        if self.stage is None:
            found = self.model.features(x_NCHW)
        else:
            handle = self.model.backbone.get_submodule(self.stage).register_forward_pre_hook(_reach)
            try:
                self.model.backbone(x_NCHW)
                raise AssertionError(f"{self.stage} did not run")
            except Reached as reached:
                (found,) = reached.args
            finally:
                handle.remove()
        return found if found.ndim == 4 else found.flatten(1)[..., None, None] if found.ndim == 2 else found[..., None]


def split_network(model: Embedder, trunk: str, trained_stages: int) -> tuple[Front, Embedder]:
    """The front and the rest of a network. The rest holds the trained parameters alone, under the names that they have
    in the whole network; it is an Embedder like that.

    Raises:
        ValueError: the backbone has no stages that are known here, or too few; names the key.
    """
    if trunk == "frozen":
        return Front(model, None), _head_alone(model.head)
    names = stages_of(model.backbone)
    if trained_stages >= len(names):
        found = f"{type(model.backbone).__name__} has {len(names)} stages ({', '.join(names) or 'none known'})"
        raise ValueError(f"train.trained_stages: expected fewer than the backbone's; {found}, found {trained_stages}")
    first = names[len(names) - trained_stages]
    rest = copy.deepcopy(model.backbone)
    for name in _before(rest, first):
        _replace(rest, name, nn.Identity())
    if hasattr(rest, "_pos_embed"):  # of a ViT: the cached tokens have their positions
        rest._pos_embed = _same
    return Front(model, first), Embedder(Tokens(rest), model.pool, model.head)


def build_trained_part(run: Run, pictures: Pictures | Features, empty: bool = False) -> Embedder:
    """The network that a run trains, from its data to embeddings.

    With a frozen trunk that is a head alone, as wide as the features. The backbone is not built, whose import and
    weights take longer than many a training on features.

    Args:
        pictures: of the training half.
        empty: with random weights, into which trained ones are loaded.

    Raises:
        ValueError: as pfml.training.networks.model.build_model and `split_network`.
    """
    if run.trunk == "frozen":
        model = _head_alone(build_head(pictures.channels, run.dim, run.model["head"], run.model["head_init"]))
    else:
        model = build_model(**dict(run.model) | ({"weights": None} if empty else {}))
    if own := LOSSES[run.loss_name].head:
        model.head = in_place_of_linear(model.head, own, run.dim, run.loss)
    return split_network(model, run.trunk, run.train["trained_stages"])[1] if run.trunk == "partial" else model


def stages_of(backbone: nn.Module) -> list[str]:
    """Names of a backbone's stages, from the first to the last."""
    children = dict(backbone.named_children())
    layers = sorted(name for name in children if re.fullmatch(r"layer\d+|stages_\d+", name))
    if layers:
        return layers
    for name in ("blocks", "stages", "features"):
        if isinstance(children.get(name), nn.Sequential | nn.ModuleList):
            return [f"{name}.{key}" for key, _ in children[name].named_children()]
    return []


def _head_alone(head: nn.Module) -> Embedder:
    return Embedder(nn.Identity(), nn.Flatten(1), head)


class Tokens(nn.Module):
    """Takes the cached activations: (n, T, C, 1) become a transformer's tokens (n, T, C), a map stays.

    The state dict is that of the backbone.
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.tokens = hasattr(backbone, "_pos_embed")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(x.squeeze(-1) if self.tokens else x)

    def state_dict(self, *arguments, prefix: str = "", **options):
        return self.backbone.state_dict(*arguments, prefix=prefix, **options)

    def _load_from_state_dict(self, state_dict, prefix, *arguments):
        for name in [name for name in state_dict if name.startswith(prefix)]:
            state_dict[f"{prefix}backbone.{name.removeprefix(prefix)}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _before(backbone: nn.Module, stage: str) -> list[str]:
    """Names of the modules that run before a stage, as far as they are the network's own children or its stages."""
    parent, _, _ = stage.rpartition(".")
    found = []
    for name, child in backbone.named_children():
        if name == (parent or stage):
            if parent:
                keys = [f"{parent}.{key}" for key, _ in child.named_children()]
                found += keys[: keys.index(stage)]
            return found
        found.append(name)
    raise AssertionError(stage)


def _replace(module: nn.Module, name: str, by: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, by)


def _reach(module: nn.Module, given: tuple) -> None:
    raise Reached(given[0])


def _same(tokens: torch.Tensor, *_: object) -> torch.Tensor:
    return tokens
