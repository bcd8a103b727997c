"""Light to adopt: what importing the losses loads, and the wheel, really built, and used with nothing else there."""

import ast
import importlib.metadata
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pfml.losses import LOSSES
from tests.conftest import ROOT

CORE = {"torch", "numpy", "scipy"}
HEAVY = ("dvc", "mlflow", "faiss", "pandas", "matplotlib", "timm", "torchvision", "sklearn", "pytorch_metric_learning",
         "pydantic", "yaml")  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def python(*arguments, path, cwd, **options) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "PYTHONPATH": str(path)
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=env, cwd=cwd, capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- imports


@pytest.mark.parametrize(
    "module, family", [("pfml.losses", "pfml.losses"), ("pfml.retrieval",) * 2, ("pfml.wasserstein",) * 2]
)
def test_importing_loads_nothing_of_the_pipeline(module, family, tmp_path):
    loaded = json.loads(
        python(
            "-c", f"import {module}, sys, json; print(json.dumps(list(sys.modules)))", path=ROOT / "src", cwd=tmp_path
        )
    )
    assert module in loaded
    assert {name.partition(".")[0] for name in loaded} & set(HEAVY) == set()
    others = {name for name in loaded if name.startswith("pfml.") and not name.startswith(family)}
    assert others == set(), "a module of the losses pulls in another part of the package"


def test_every_import_is_declared():
    """In the dependencies or an extra that make installs, not only brought along by something else."""
    declared = {canonicalize_name(Requirement(text).name) for text in everything()}
    imported = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    providers = importlib.metadata.packages_distributions()
    outside = imported - sys.stdlib_module_names - {"pfml", "triton"}  # triton comes with torch where it works
    assert {"torch", "mlflow", "faiss", "yaml"} <= outside
    missing = {
        name for name in outside if not declared & {canonicalize_name(provider) for provider in providers.get(name, [])}
    }
    assert missing == set()


def test_the_lock_file_holds_what_make_installs():
    lock = (ROOT / "requirements.lock").read_text()
    pinned = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, re.M):
        pinned.setdefault(canonicalize_name(name), []).append(version)
    for text in everything():
        requirement = Requirement(text)
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions and all(requirement.specifier.contains(version) for version in versions), text
    assert "://" not in lock, "an address of a package index"


def test_dvc_reads_yaml_with_the_c_parser():
    """In Python it takes three times as long, once for each of a grid's stages."""
    from ruamel.yaml import YAML

    assert YAML(typ="safe").Parser.__name__ == "CParser"


def everything() -> list[str]:
    extras = PROJECT["optional-dependencies"]
    return PROJECT["dependencies"] + extras["pipeline"] + extras["dev"]


# --- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as pip does it without isolation, by the backend that pyproject.toml names, from a copy of the source."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", folder / "copy/src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / "copy")
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["build-backend"]
    build = f"import sys, {backend} as backend; backend.build_wheel(sys.argv[1])"
    python("-c", build, folder, path="", cwd=folder / "copy", timeout=300)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def target(wheel, tmp_path_factory):
    """A folder with the wheel unpacked, which is how a pure wheel is installed."""
    folder = tmp_path_factory.mktemp("target")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_module_and_the_published_numbers(wheel):
    assert wheel.name == f"pfml-{importlib.import_module('pfml').__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/pfml").rglob("*.py")}
    assert inside == modules | {
        "pfml/report/published/published.yaml", "pfml/report/published/published_words.yaml",
        *(f"pfml/report/templates/{name}" for name in ("page.html", "tables.md", "theory.md", "tuning.md")),
    }  # fmt: skip


def test_the_wheel_requires_torch_numpy_and_scipy_alone(target):
    (package,) = importlib.metadata.distributions(path=[str(target)])
    needed = [Requirement(text) for text in package.requires]
    always = [requirement for requirement in needed if "extra" not in str(requirement.marker)]
    assert {requirement.name for requirement in always} == CORE
    assert all(requirement.marker is None and len(requirement.specifier) == 1 for requirement in always)
    assert set(package.metadata.get_all("Provides-Extra")) == {"baselines", "pipeline", "dev"}
    assert "arxiv.org/abs/2405.18560" in package.metadata["Project-URL"]


ALONE = """
import json, sys

allowed = set(json.loads(sys.argv[1])) | sys.stdlib_module_names | {"pfml"}

class NothingElse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NothingElse())

import math
import numpy as np
import torch
import pfml
from pfml.losses import LOSSES, build_loss
from pfml.retrieval import clustering_nmi, retrieval_metrics
from pfml.wasserstein import proxy_wasserstein

def circle(*degrees):
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])

def error(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ImportError as error:
        return str(error)

three = build_loss("pfml", 2, 2, proxies_per_class=0, alpha=1, delta=0.5, delta_rep=0.8)
two = build_loss("pfml", 1, 2, proxies_per_class=0, alpha=1, delta=0.5)
points = torch.tensor([[1.0, 0.0], [0.0, 2.0]], requires_grad=True)
two(points, torch.tensor([0, 0])).backward()
four = circle(0, 10, 25, 31), torch.tensor([0, 1, 0, 1])
print(json.dumps({
    "file": pfml.__file__,
    "energy": three(circle(0, 90, 60), torch.tensor([0, 0, 1])).item(),
    "force": points.grad.tolist(),
    "retrieval": retrieval_metrics(*four, (1, 2, 3)),
    "w2": proxy_wasserstein(np.array([[[0.0], [1.0]]]), np.array([[0.0], [0.1], [3.0]]), np.array([0, 0, 0])),
    "errors": {name: error(build_loss, name, 2, 2) for name in LOSSES},
    "faiss": error(retrieval_metrics, *four, (1,), backend="faiss"),
    "nmi": error(clustering_nmi, *four),
}))
"""


def modules_of(*distributions: str) -> set[str]:
    """Top-level modules of the distributions and of all that they require."""
    seen, todo = set(), [Requirement(name) for name in distributions]
    while todo:
        wanted = todo.pop()
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            requires = importlib.metadata.requires(wanted.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, requires):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                todo.append(requirement)
    names = {name for name, _ in seen}
    return {
        module
        for module, providers in importlib.metadata.packages_distributions().items()
        if names & {canonicalize_name(provider) for provider in providers}
    }


@pytest.fixture(scope="module")
def alone(target, tmp_path_factory):
    """What the installed wheel computes where nothing but its three dependencies and theirs can be imported."""
    allowed = modules_of(*CORE)
    assert not allowed & set(HEAVY)
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "alone.py").write_text(ALONE)
    found = json.loads(python("alone.py", json.dumps(sorted(allowed)), path=target, cwd=folder))
    assert found["file"] == str(target / "pfml/__init__.py")
    return found


def test_the_installed_wheel_gives_the_right_numbers(alone):
    # Worked out in test_potential_field.py, test_retrieval.py and test_wasserstein.py.
    attraction, repulsion = 1 / 0.5 - 1 / math.sqrt(2), 1 / (2 * math.sin(math.pi / 12)) - 1 / 0.8
    assert alone["energy"] == pytest.approx(2 * attraction + 2 * repulsion, rel=1e-6)
    pull = 1 / math.sqrt(2)
    assert alone["force"] == [pytest.approx([0, -pull], abs=1e-6), pytest.approx([-pull / 2, 0], abs=1e-6)]
    assert alone["retrieval"] == {"recall@1": 0, "recall@2": 0.5, "recall@3": 1, "r_precision": 0, "map@r": 0}
    assert alone["w2"] == pytest.approx(math.sqrt(0.81 / 2))


def test_what_is_missing_is_named_with_the_command_that_brings_it(alone):
    for name, message in alone["errors"].items():
        if LOSSES[name].__module__ not in ("pfml.losses.baselines.six", "pfml.losses.baselines.library"):
            assert message is None, "our own losses need no library"
        else:
            assert repr(name) in message and "pfml[baselines]" in message
            assert "pip install pytorch-metric-learning" in message
    assert "faiss" in alone["faiss"] and "pfml[pipeline]" in alone["faiss"] and 'backend="torch"' in alone["faiss"]
    assert "pip install scikit-learn" in alone["nmi"]
