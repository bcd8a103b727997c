"""Fetch a backbone's weights and load them, completely or with an error.

A file is a state dict: .safetensors, or a .pth that torch reads with weights_only=True, which runs no code.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from pfml.datasets.download import DownloadError, Source, download, find
from pfml.datasets.transfer import local
from pfml.settings.run import project_root
from pfml.training.networks.extras import extra

MANUAL = Path("data/manual")  # files that a person fetched, as for the datasets
CLASSIFIERS = ("fc", "head", "classifier", "last_linear")  # first part of the names of an ImageNet classifier

# The address in the code of Proxy-Anchor, HIST and SoftTriple. The file name has the first digits of the sha256; the
# other digits come from a public project that checked the file.
BN_INCEPTION = (
    Source(
        "http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",
        "bn_inception-52deb4733.pth",
        sha256="52deb473314542a5c2f87e9e6f26f4ca42fe863d15f986414dbae8c2dfdd2353",
        bytes=45_400_000,
        note="this server has been down for days at a time",
    ),
)


def fetch_weights(backbone: str) -> Path:
    """The file with a backbone's published weights, from a cache on this machine or from the network.

    In order: the cache of Hugging Face (timm names only), the cache of pfml, data/manual, the network. Downloads go to
    the cache of pfml. If several processes need the same file, one fetches it and the others wait.

    Args:
        backbone: "bn_inception", or a name that timm knows; without a tag, timm's own choice of weights for it.

    Raises:
        ValueError: timm publishes no weights under this name.
        ImportError: a package of the extra `pipeline` is not installed.
        DownloadError: the file could not be fetched; lists the attempts, and says how to provide the file by hand.
    """
    if backbone == "bn_inception":
        sources = BN_INCEPTION
    else:
        repository, revision, file = _hugging_face(backbone)
        cached = _hugging_face_cache(repository, revision, file)
        if cached is not None:
            return cached
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        label = f"{repository.replace('/', '--')}--{file}"
        sources = (Source(f"{hub}/{repository}/resolve/{revision}/{file}", label),)
    try:
        return _download_once(sources, cache_folder())
    except DownloadError as error:
        raise DownloadError(
            f"model.weights: the published weights of {backbone} could not be fetched. {error}\n"
            "Or name a file that you have: model.weights: path/to/file (.pth or .safetensors)."
        ) from error


def cache_folder() -> Path:
    """$PFML_CACHE, or ~/.cache/pfml."""
    return Path(os.environ.get("PFML_CACHE") or "~/.cache/pfml").expanduser()


def load_backbone(network: nn.Module, path: Path | str) -> None:
    """Fill a backbone from a file, strictly: the file must have every parameter and buffer, and no others.

    Allowed differences: a classifier (fc., head., classifier., last_linear.) that the backbone lacks is dropped;
    BatchNorm's batch counters, which files before torch 0.4.1 lack, stay 0; a vector stored as (1, C), as in old Caffe
    conversions, becomes (C,); other floating types are cast. A file may be wrapped as {"state_dict": ...} or
    {"model": ...}, and its names may begin with "module." or "backbone.", as those of a network trained here do.

    Raises:
        ValueError: no such file, not a state dict, or one of another network; lists names that are missing, unexpected
            or of another shape.
    """
    given, expected = read_state_dict(path), network.state_dict()
    given = {name: value for name, value in given.items() if name in expected or name.split(".")[0] not in CLASSIFIERS}
    for name, value in given.items():
        if name in expected and value.shape == (1, *expected[name].shape):
            given[name] = value[0]
    different = [name for name in expected if name in given and _form(given[name]) != _form(expected[name])]
    problems = [
        _listed("missing", [n for n in expected if n not in given and not n.endswith("num_batches_tracked")]),
        _listed("unexpected", [n for n in given if n not in expected]),
        _listed("different", [f"{n}: found {_form(given[n])}, expected {_form(expected[n])}" for n in different]),
    ]
    if any(problems):
        raise ValueError(
            f"model.weights: {path} does not fit this {type(network).__name__}: {'; '.join(filter(None, problems))}. "
            "Expected a state dict of this very backbone (check model.backbone and model.backbone_options)"
        )
    network.load_state_dict(given, strict=False)


def read_state_dict(path: Path | str) -> dict[str, torch.Tensor]:
    """Name -> tensor on the CPU, unwrapped, of a .safetensors or .pth file. ValueError if the file is neither."""
    path = project_root() / Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"model.weights: expected 'pretrained' or an existing file, found {str(path)!r}")
    if path.suffix == ".safetensors":
        with extra(f"model.weights: {path}"):
            from safetensors.torch import load_file
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file can raise anything in a parser
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(
            f"model.weights: {path} could not be read as a state dict ({type(error).__name__}: {reason}); expected a "
            ".pth of tensors only, or .safetensors. A .pth that needs to run code is never opened: save its state dict"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    names = [*content] if isinstance(content, dict) else []
    if not names or not all(isinstance(n, str) and isinstance(v, torch.Tensor) for n, v in content.items()):
        raise ValueError(
            f"model.weights: {path}: expected a state dict (names with tensors), found a {type(content).__name__}"
            + (f" with {', '.join(map(str, names[:5]))}" if names else "")
        )
    for prefix in ("module.", "backbone."):
        content = {name.removeprefix(prefix): value for name, value in content.items()}
    return content


def _download_once(sources: Sequence[Source], folder: Path) -> Path:
    manual = project_root() / "data/manual"  # files that a person fetched, as for the datasets
    path = find(sources, folder, manual)
    if path is not None:
        return path
    with extra("model.weights: pretrained"):
        import tqdm  # noqa: F401  (the bar of the download, before its first byte)
        from filelock import FileLock
    with local(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{sources[0].file}.lock").acquire()
    with lock:
        # Few attempts, so that a run without its weights ends in seconds. A slow download may take its time.
        return download(sources, folder, manual, attempts=3, timeout=10.0)


def _hugging_face(backbone: str) -> tuple[str, str, str]:
    """Repository, revision and file in which timm publishes a name's weights."""
    with extra("model.weights: pretrained"):
        import timm

    known = timm.get_pretrained_cfg(backbone)
    if known is None or not known.hf_hub_id:
        raise ValueError(
            f"model.weights: timm publishes no weights for {backbone!r} on Hugging Face; expected the path of a file, "
            "or null for random weights"
        )
    repository, _, revision = known.hf_hub_id.partition("@")
    return repository, revision or "main", known.hf_hub_filename or "model.safetensors"


def _hugging_face_cache(repository: str, revision: str, file: str) -> Path | None:
    """The file in the cache of huggingface_hub, if timm or another program has fetched it; else None."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    folder = folder / f"models--{repository.replace('/', '--')}"
    reference = folder / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    path = folder / "snapshots" / commit / file
    return path if path.is_file() else None


def _listed(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def _form(value: torch.Tensor) -> str:
    """Type and shape, which a file must share with the network. Floating types count as equal."""
    return f"{'float' if value.is_floating_point() else 'integer'} {tuple(value.shape)}"
