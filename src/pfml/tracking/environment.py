"""The environment of a report: versions, hardware, commits, digests, seeds."""

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pfml.settings.schema import Params

PACKAGES = (
    "torch", "torchvision", "timm", "pytorch-metric-learning", "faiss-gpu", "numpy", "scipy", "scikit-learn", "pandas",
    "matplotlib", "optuna", "dvc", "mlflow",
)  # fmt: skip


def environment(params: Params, results: Iterable[Mapping], root: Path = Path()) -> dict[str, str | list[str]]:
    """Facts about the environment for people: name -> text or list of texts.

    Args:
        results: the results of the report, each with dataset, dataset_digest and git_commit. A commit that ends with
            "-dirty" means that the code of the training differed from it.
    """
    results = list(results)
    facts = {
        "Rendered with": [f"Python {platform.python_version()}", *map(_package, PACKAGES)],
        "Rendered on": [platform.platform(), *processors()],
        "Code that trained the results (Git commits)": _distinct(results, "git_commit"),
        "Environment (SHA-256 of requirements.lock)": _digest(root / "requirements.lock"),
        "Settings (SHA-256 of params.yaml)": _digest(root / "params.yaml"),
        "Seeds of the study": ", ".join(map(str, params.grid.seed)),
    }
    for name in sorted({result["dataset"] for result in results}):
        of_dataset = [result for result in results if result["dataset"] == name]
        facts[f"Dataset {name} (start of its SHA-256)"] = _distinct(of_dataset, "dataset_digest")
    return facts


def _distinct(results: Iterable[Mapping], key: str) -> list[str]:
    return sorted({result[key] for result in results if result[key]}) or ["none"]


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name}: not installed"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else f"{path} is not here"


def processors() -> list[str]:
    """Name of the processor as Linux gives it (elsewhere as Python does), with its cores, and of the GPUs."""
    import torch

    names = []
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = sorted({line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")})
    processor = ", ".join(names) or platform.processor() or platform.machine()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [f"{processor}, {os.cpu_count()} cores", *gpus]
