"""The wheel, really built, and an environment in which nothing but it and its three dependencies can be imported."""

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.installed import UV, environment, installed_clone, sh, site_packages

CORE = {"torch", "numpy", "scipy"}


def alone_environment(empty) -> dict[str, str]:
    return environment() | {"PATH": f"{empty / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"}


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    return installed_clone(tmp_path_factory.mktemp("package") / "clone")


@pytest.fixture(scope="session")
def wheel(project):
    sh(project, "make", "wheel")
    (wheel,) = (project / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def empty(wheel, tmp_path_factory):
    """A virtual environment with torch, numpy, scipy and what they require, linked from this one, and the wheel."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    sh(folder.parent, sys.executable, "-m", "venv", "--without-pip", folder)
    for package in required(*CORE):
        for entry in {Path(file.parts[0]) for file in package.files} - {Path(".."), Path("__pycache__")}:
            link = site_packages(folder) / entry
            if not link.exists():
                link.symlink_to(package.locate_file(entry))
    sh(folder.parent, UV, "pip", "install", "-q", "--python", folder / "bin/python", "--offline", "--no-deps", wheel)
    present = {
        canonicalize_name(found.name) for found in importlib.metadata.distributions(path=[site_packages(folder)])
    }
    assert {"pfml", "torch"} <= present and not present & {"dvc", "mlflow", "pandas", "pydantic", "pytest", "pyyaml"}
    return folder


def required(*names: str) -> list[importlib.metadata.Distribution]:
    """The distributions and all that they require, where they are installed."""
    found, todo = {}, [Requirement(name) for name in names]
    while todo:
        wanted = todo.pop()
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key in found:
            continue
        try:
            found[key] = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, found[key].requires or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                todo.append(requirement)
    return list(found.values())
