"""Where and how each run was trained: reports/provenance/<study>.csv.

All that differs between two equal trainings stands in this file and in MLflow: processor, versions, commit, seconds.
Results, tables and figures contain none of it, so they are equal byte for byte where the numbers are equal. A training
also keeps its row in .provenance/<digest>.json in the project's root, outside Git: the list of what this clone trained.
"""

import csv
import hashlib
import io
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock

from pfml.settings.files import write_whole
from pfml.settings.run import Run, project_root

FOLDER = Path("reports/provenance")
LIBRARIES = ("torch", "torchvision", "timm", "pytorch-metric-learning", "numpy", "scipy", "scikit-learn", "faiss-gpu")
MACHINE = ("kind", "processor", "instructions", "threads", "platform", "python", *LIBRARIES)
COLUMNS = ("run", "digest", *MACHINE, "processes", "git_commit", "mlflow_run", "seconds")
WIDEST = (("avx512f", "AVX-512"), ("avx2", "AVX2"))  # flag of Linux, name
PORTABLE = (
    "x86-64 with AVX2"  # the kind of a processor whose instructions are limited to AVX2; its vendor stands before
)
VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}


def machine(portable: bool, threads: int = 1) -> dict[str, str]:
    """The columns MACHINE of this one. Processors of one `kind` give the same bits. `instructions` are those that
    PyTorch uses now, which are limited if the stage started so.
    """
    import torch

    used = torch.backends.cpu.get_cpu_capability()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    kind = gpu or (portable_kind() if portable and can_be_portable() else processor())
    return {
        "kind": kind, "processor": ", ".join(filter(None, (gpu, processor()))), "instructions": used,
        "threads": str(threads), "platform": platform_name(), "python": platform.python_version(),
    } | {name: installed(name) for name in LIBRARIES}  # fmt: skip


def portable_kind() -> str:
    """The processors that give this one's bits with train.portable: those with AVX2 of its vendor."""
    vendor = _cpuinfo().get("vendor_id", "")
    return f"{VENDORS.get(vendor, vendor)} {PORTABLE}".strip()


def can_be_portable() -> bool:
    """Whether this is an x86-64 processor with AVX2: those of a vendor give the same bits with train.portable."""
    return platform.machine().lower() in ("x86_64", "amd64") and "avx2" in (_cpuinfo().get("flags") or "avx2").split()


def processor() -> str:
    """Name of the processor, with its family, model and widest instructions where Linux tells them."""
    facts = _cpuinfo()
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" not in facts:
        return name
    flags = facts.get("flags", "").split()
    widest = next((shown for flag, shown in WIDEST if flag in flags), "no AVX2")
    return f"{name} (family {facts['cpu family']}, model {facts['model']}, {widest})"


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty outside Linux."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines() if path.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def platform_name() -> str:
    """System, kind of machine and C library, whose mathematical functions NumPy uses: `Linux x86_64, glibc 2.36`."""
    library = " ".join(filter(None, platform.libc_ver()))
    return f"{platform.system()} {platform.machine()}" + (f", {library}" if library else "")


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def record(run: Run, row: Mapping, weights: str) -> None:
    """Keep where a run was trained, in reports/provenance/<study>.csv and in .provenance/.

    Args:
        row: of `machine`, with processes, git_commit, mlflow_run and seconds.
        weights: digest of the trained weights, to tell this training from another one with the same settings.
    """
    row = {"run": run.name, "digest": run.digest} | {key: str(value) for key, value in row.items()}
    kept = project_root() / ".provenance" / f"{run.digest}.json"
    row_here = row | {"weights": weights}
    write_whole(kept, json.dumps(row_here | {"sha256": _checksum(row_here)}, indent=1) + "\n")
    _update(run.study, lambda rows: rows | {run.name: row})


def keep_row(text: str) -> None:
    """Keep what `record` has written on another machine, as if the run had been trained here. Nothing of "" and of a
    file that is not whole.
    """
    try:
        row = json.loads(text)
        if row.pop("sha256") == _checksum(row):
            write_whole(project_root() / ".provenance" / f"{row['digest']}.json", text)
    except (ValueError, KeyError):
        return


def trained_here(digest: str) -> dict | None:
    """The row of a run that this clone has trained, with its `weights`; None if it has not. A damaged file counts as
    none: it proves nothing.
    """
    path = project_root() / ".provenance" / f"{digest}.json"
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        # Files that were written before they had a checksum are judged by their keys alone.
        whole = {"weights", *COLUMNS} <= row.keys() and row.pop("sha256", None) in (None, _checksum(row))
        return row if whole else None
    except (OSError, ValueError, AttributeError):
        return None


def _checksum(row: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def restore(study: str, runs: Iterable[Run]) -> None:
    """Give every run of a study its own row again, after DVC has brought back results of other settings: the one of its
    training in this clone, else the one in the file, else the committed one. Rows of other runs leave the file.
    """
    runs, path = list(runs), FOLDER / f"{study}.csv"
    committed = _rows(_at_head(path))
    if not committed and not path.exists() and not any(trained_here(run.digest) for run in runs):
        return

    def own(rows: dict) -> dict:
        chosen = {}
        for run in runs:
            here = trained_here(run.digest) or {}
            for row in (here, rows.get(run.name, {}), committed.get(run.name, {})):
                if row.get("digest") == run.digest:
                    chosen[run.name] = {key: row[key] for key in COLUMNS}
                    break
        return chosen

    _update(study, own)


def read_provenance(folder: Path = FOLDER):
    """A pandas frame with a row for each run on record: columns `study` and COLUMNS, text but for seconds."""
    import pandas as pd

    found = [pd.read_csv(path, dtype=str, keep_default_na=False).assign(study=path.stem) for path in _files(folder)]
    frame = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["study", *COLUMNS], dtype=str)
    return frame.assign(seconds=pd.to_numeric(frame.seconds))


def _files(folder: Path) -> list[Path]:
    return sorted(Path(folder).glob("*.csv"))


def _update(study: str, change) -> None:
    """Change the rows of a study, name -> row, while no other process does."""
    path = FOLDER / f"{study}.csv"
    (project_root() / ".locks").mkdir(exist_ok=True)
    with FileLock(project_root() / ".locks/provenance"):
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        rows = change(_rows(before))
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))
        if rows and out.getvalue() != before:
            write_whole(path, out.getvalue())


def _rows(text: str) -> dict[str, dict]:
    rows = csv.DictReader(io.StringIO(text))
    return {row["run"]: {key: row.get(key) or "" for key in COLUMNS} for row in rows}


def _at_head(path: Path) -> str:
    """The committed content of a file; empty if Git has none."""
    try:
        shown = subprocess.run(
            ["git", "show", f"HEAD:./{path.as_posix()}"], capture_output=True, text=True, encoding="utf-8"
        )
    except OSError:
        return ""
    return shown.stdout if shown.returncode == 0 else ""
