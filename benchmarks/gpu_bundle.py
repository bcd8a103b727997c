"""Collect what benchmarks/gpu.py needs on a machine without a network: one folder of at most 60 MiB.

    wheels/    packages that a machine with torch, torchvision, timm, pandas and scikit-learn lacks, for CPython 3.12 on
               x86-64 Linux, in the versions of requirements.lock
    crops/     photographs of cars, an exact pack of at most 20 MB, from the folder of PFML_REAL_DATA
    commit     that of this checkout, since a copy without Git does not know it
    weights/   ImageNet weights of the check's networks, gzip, from the same folder, as many as fit

    PYTHONPATH=src python benchmarks/gpu_bundle.py        # writes gpu/bundle and lists it

A wheel that is there already is kept. Wheels come through `pip download` from the package index that is configured.
"""

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from gpu_check import NETWORKS
from gpu_crops import collect
from gpu_results import commit

ROOT = Path(__file__).resolve().parents[1]
MOST = 60 * 2**20  # bytes of the whole folder
# With what they need beyond the packages above. pyyaml, safetensors and filelock come with timm and torch.
PACKAGES = (
    "annotated-types", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection",
    "pytest", "iniconfig", "packaging", "pluggy", "pygments", "pytest-timeout",
    "hypothesis", "sortedcontainers", "pytorch-metric-learning", "tqdm",
)  # fmt: skip
TARGET = ("--implementation", "cp", "--python-version", "3.12", "--abi", "cp312", "--abi", "abi3", "--abi", "none")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def requirements() -> list[str]:
    """PACKAGES with the versions of requirements.lock.

    Raises:
        ValueError: a package is not there.
    """
    lock = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M))
    if missing := sorted(set(PACKAGES) - set(lock)):
        raise ValueError(f"requirements.lock: expected {', '.join(missing)}, found no such line")
    return [f"{name}=={lock[name]}" for name in PACKAGES]


def wheels(folder: Path) -> None:
    """Download what is missing. Raises CalledProcessError if the index cannot be reached; pip says why."""
    there = {(name.replace("_", "-").lower(), version) for name, version in
             (path.name.split("-")[:2] for path in folder.glob("*.whl"))}  # fmt: skip
    wanted = [line for line in requirements() if tuple(line.split("==")) not in there]
    if wanted:
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        options = ["-q", "--no-deps", "--only-binary=:all:", *TARGET, *platforms, "-d", str(folder)]
        subprocess.run([_python_with_pip(), "-m", "pip", "download", *options, *wanted], check=True)


def _python_with_pip() -> str:
    """This Python, or, as an environment made by uv has no pip, the one that the environment was made from."""
    base = os.path.join(sys.base_prefix, "bin", "python3")
    for python in (sys.executable, base):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            return python
    raise RuntimeError(f"pip: expected in {sys.executable} or {base}, found in neither; install it there")


def weights(real: Path, folder: Path, room: int) -> list[str]:
    """Pack the networks' weights in order, as long as they fit. Returns the networks left out."""
    left_out = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, (file, _) in NETWORKS.items():
        source, packed = real / "weights" / file, folder / f"{name}{Path(file).suffix}.gz"
        with open(source, "rb") as plain, gzip.open(packed, "wb", compresslevel=6) as small:
            shutil.copyfileobj(plain, small)
        if size(folder) > room:
            packed.unlink()
            left_out.append(name)
    return left_out


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bundle(folder: Path, real: Path, with_wheels: bool = True) -> list[str]:
    """Make the folder; what it has already is replaced, except wheels. Returns the networks that did not fit."""
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    (folder / "commit").write_text(f"{commit(None)}\n")
    if with_wheels:
        wheels(folder / "wheels")
    collect(real, folder / "crops")
    shutil.rmtree(folder / "weights", ignore_errors=True)
    return weights(real, folder / "weights", MOST - size(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "gpu/bundle")
    options = parser.parse_args()
    if not os.environ.get("PFML_REAL_DATA"):
        sys.exit("PFML_REAL_DATA: expected the folder with real images and weights, found nothing")
    left_out = bundle(options.folder, Path(os.environ["PFML_REAL_DATA"]))
    for path in sorted(options.folder.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>12,}  {path.relative_to(options.folder)}")
    print(f"{size(options.folder):>12,}  of at most {MOST:,}; left out: {', '.join(left_out) or 'nothing'}")


if __name__ == "__main__":
    main()
