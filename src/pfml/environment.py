"""What a report was made with: versions, hardware, commits, digests, seeds."""

import hashlib
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pfml.schema import Params

PACKAGES = (
    "torch", "torchvision", "timm", "pytorch-metric-learning", "faiss-gpu", "numpy", "scipy", "scikit-learn", "pandas",
    "matplotlib", "optuna", "dvc", "mlflow",
)  # fmt: skip


def environment(params: Params, commits: Iterable[str], root: Path = Path()) -> dict[str, str | list[str]]:
    """Name -> text or list of texts, for people.

    Args:
        commits: Git commits of the code that trained the results that are shown; "-dirty" behind one says that the
            code differed from it.
    """
    found = {
        "Rendered with": [f"Python {platform.python_version()}", *map(_package, PACKAGES)],
        "Rendered on": [platform.platform(), *processors()],
        "Code that trained the results (Git commits)": sorted({commit for commit in commits if commit}) or "none",
        "Environment (SHA-256 of requirements.lock)": _digest(root / "requirements.lock"),
        "Settings (SHA-256 of params.yaml)": _digest(root / "params.yaml"),
        "Seeds of the study": ", ".join(map(str, params.grid.seed)),
    }
    for name in params.grid.dataset:
        found[f"Dataset {name} (SHA-256 of its meta.json)"] = _digest(root / "data/raw" / name / "meta.json")
    return found


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name}: not installed"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else f"{path} is not here"


def processors() -> list[str]:
    """What Linux calls the processor (elsewhere what Python knows of it), and the GPUs that torch sees."""
    import torch

    names = []
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = sorted({line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")})
    processor = ", ".join(names) or platform.processor() or platform.machine()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [f"{processor}, {os.cpu_count()} cores", *gpus]
