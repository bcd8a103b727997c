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
PREFIXES = ("module.", "model.", "encoder.", "backbone.")  # which wrappers and other programs put before names
COMPILED = "_orig_mod."  # before the names in a part that torch.compile has wrapped

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
        backbone: "bn_inception", or a name that timm knows, also one that timm has given up for another; without a tag,
            timm's own choice of weights for it.

    Raises:
        ValueError: timm publishes no weights under this name.
        ImportError: a package of the extra `pipeline` is not installed.
        DownloadError: the file could not be fetched; lists the attempts, and says how to provide the file by hand.
    """
    if backbone == "bn_inception":
        sources = BN_INCEPTION
    else:
        current = _current_name(backbone)
        backbone = backbone if current == backbone else f"{backbone} (which timm calls {current} now)"
        repository, revision, file = _hugging_face(current, backbone)
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
    {"model": ...}, and its names may begin with any chain of PREFIXES, such as "module.backbone.".

    Raises:
        ValueError: no such file, not a state dict, one of another network (lists names that are missing, unexpected or
            of another shape, and the prefix by which they would fit), or numbers that are not finite.
    """
    expected = network.state_dict()
    given, prefix = _unprefixed(read_state_dict(path), [*expected])
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
        hint = f"; its names begin with {prefix!r}, which you can take away" if prefix else ""
        raise ValueError(
            f"model.weights: {path} does not fit this {type(network).__name__}: {'; '.join(filter(None, problems))}. "
            f"Expected a state dict of this very backbone (check model.backbone and model.backbone_options{hint})"
        )
    broken = [name for name in given if not given[name].to(expected[name].dtype).isfinite().all()]
    if broken:
        raise ValueError(
            f"model.weights: {path}: expected finite numbers, found NaN or infinity in {_listed('tensors', broken)}; "
            "the training that wrote it has diverged, or the file is damaged"
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
    return content


def _unprefixed(given: dict[str, torch.Tensor], expected: list[str]) -> tuple[dict[str, torch.Tensor], str]:
    """The entries with the prefix taken away by which most names are those expected, and the prefix that stays.

    A prefix is a chain of PREFIXES; where the names fit by another one, that one is returned, and nothing is taken away
    for it. Names without the prefix, such as those of a head, lose the chain that they have.
    """
    given = {name.replace(COMPILED, ""): value for name, value in given.items()}  # torch.compile of a part of a network
    names = [name for name in expected if not name.endswith("num_batches_tracked")]
    some = names[:: max(1, len(names) // 8)]  # a prefix stands before all of them
    found = {name.removesuffix(wanted) for wanted in some for name in given if f".{name}".endswith(f".{wanted}")} | {""}
    fits = {one: sum(one + name in given for name in names) for one in sorted(found, key=len)}
    prefix = max((one for one in fits if _chain(one) == one), key=fits.get)
    other = max(fits, key=fits.get)
    if fits[other] > fits[prefix] and 2 * fits[other] > len(names):
        return given, other
    bare = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
    for name, value in given.items():
        if not name.startswith(prefix):
            rest = name.removeprefix(_chain(name))
            bare[name if rest in bare else rest] = value
    return bare, ""


def _chain(name: str) -> str:
    """The PREFIXES with which a name begins, one after another."""
    length = 0
    while found := next((one for one in PREFIXES if name.startswith(one, length)), ""):
        length += len(found)
    return name[:length]


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


def _current_name(backbone: str) -> str:
    """The name that timm itself puts in place of one that it has given up, else the name.

    Raises:
        ValueError: timm has removed the network.
    """
    with extra("model.weights: pretrained"):
        from timm.models import get_deprecated_models

    current = get_deprecated_models().get(backbone, backbone)
    if not current:
        raise ValueError(f"model.weights: timm has removed {backbone!r} without a replacement; expected another name")
    return current


def _hugging_face(backbone: str, shown: str) -> tuple[str, str, str]:
    """Repository, revision and file in which timm publishes a name's weights; `shown` in place of it in messages."""
    with extra("model.weights: pretrained"):
        import timm

    try:
        known = timm.get_pretrained_cfg(backbone)
    except RuntimeError as error:  # a tag that the network does not have
        raise ValueError(f"model.weights: timm publishes no weights for {shown!r}: {error}") from None
    if known is None or not known.hf_hub_id:
        raise ValueError(
            f"model.weights: timm publishes no weights for {shown!r} on Hugging Face; expected the path of a file, "
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
