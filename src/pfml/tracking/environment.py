"""The environment of a report: machines, versions, commits, digests, seeds. All that differs between equal reports."""

import hashlib
import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pfml.settings.schema import Params
from pfml.tracking.provenance import LIBRARIES, installed, processor

PACKAGES = (*LIBRARIES, "pandas", "matplotlib", "optuna", "dvc", "mlflow")
TRAINED = {  # column of reports/provenance -> what it is called
    "kind": "Kinds of processors that trained the results", "processor": "Processors",
    "instructions": "Instructions that PyTorch used", "threads": "Threads of a training",
    "platform": "Operating systems", "libraries": "Libraries of the trainings", "git_commit": "Code (Git commits)",
}  # fmt: skip


def environment(
    params: Params, results: Iterable[Mapping], trained: Iterable[Mapping], root: Path = Path()
) -> dict[str, str | list[str]]:
    """Facts about the environment for people: name -> text or list of texts.

    Args:
        results: the results of the report, each with dataset and dataset_digest.
        trained: how their runs were trained, rows of reports/provenance. A commit that ends with "-dirty" means that
            the code of the training differed from it.
    """
    results, trained = list(results), [row | {"libraries": _libraries(row)} for row in trained]
    facts = {name: _counted(row[column] for row in trained) for column, name in TRAINED.items()}
    facts |= {
        "Rendered with": [f"Python {platform.python_version()}", *map(_package, PACKAGES)],
        "Rendered on": [platform.platform(), *processors()],
        "Environment (SHA-256 of requirements.lock)": _digest(root / "requirements.lock"),
        "Settings (SHA-256 of params.yaml)": _digest(root / "params.yaml"),
        "Seeds of the study": ", ".join(map(str, params.grid.seed)),
    }
    for name in sorted({result["dataset"] for result in results}):
        digests = {result["dataset_digest"] for result in results if result["dataset"] == name}
        facts[f"Dataset {name} (start of its SHA-256)"] = sorted(filter(None, digests)) or ["none"]
    return facts


def _counted(texts: Iterable[str]) -> list[str]:
    """`AMD EPYC (31 runs)`, sorted; what a file does not say is "not recorded"."""
    return [f"{text or 'not recorded'} ({count} runs)" for text, count in sorted(Counter(texts).items())] or ["none"]


def _libraries(row: Mapping) -> str:
    return ", ".join(f"{name} {row[name]}" for name in ("python", *LIBRARIES) if row[name])


def _package(name: str) -> str:
    return f"{name} {found}" if (found := installed(name)) else f"{name}: not installed"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else f"{path} is not here"


def processors() -> list[str]:
    """Name of the processor with its cores, and of the GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [f"{processor()}, {os.cpu_count()} cores", *gpus]
