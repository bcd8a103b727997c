"""A clone of the project with an environment of its own, which the Makefile makes without network: the packages are
those of the environment that runs the tests, the project itself is really installed there."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.conftest import ROOT

UV = shutil.which("uv") or str(ROOT / ".uv/bin/uv")
FOREIGN = ("DVC_", "GIT_", "MAKE", "MFLAGS", "MLFLOW_TRACKING", "PYTEST_", "PYTHON", "VIRTUAL_ENV")


def environment(*folders: Path) -> dict[str, str]:
    """Environment variables with the programs of some folders, as after `source .venv/bin/activate`."""
    programs = [*folders, Path(sys.executable).parent, Path(UV).parent, os.environ["PATH"]]
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)} | {
        "PATH": os.pathsep.join(map(str, programs)), "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "true",
        **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }  # fmt: skip


def sh(folder: Path, *command, env: dict | None = None, timeout: float = 300) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=env or environment(folder / ".venv/bin"), timeout=timeout, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


def installed_clone(folder: Path) -> Path:
    """The working tree, committed in a clone with the whole history, and `make .venv/ready` there."""
    sh(folder.parent, "git", "clone", "-q", ROOT, folder)
    listed = sh(ROOT, "git", "ls-files", "-co", "--exclude-standard")
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    sh(folder, "git", "add", "-A")
    sh(folder, "git", "commit", "-q", "--allow-empty", "-m", "working tree")
    sh(folder, "git", "tag", "working-tree")
    sh(folder, sys.executable, "-m", "venv", "--without-pip", ".venv")
    Path(site_packages(folder / ".venv"), "linked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (folder / ".venv/locked").touch()  # the packages of requirements.lock are there
    sh(folder, "make", ".venv/ready")
    return folder


def site_packages(environment: Path) -> Path:
    [found] = environment.glob("lib/python*/site-packages")
    return found
