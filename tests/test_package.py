"""Light to adopt: what importing the losses loads; the wheel, really built, and used with nothing else there; the
project installed into its environment; license, citation and continuous integration."""

import ast
import importlib.metadata
import inspect
import json
import math
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pfml import __version__
from pfml.losses import LOSSES
from tests.conftest import ROOT
from tests.installed import UV, environment, installed_clone, sh, site_packages

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
def project(tmp_path_factory):
    return installed_clone(tmp_path_factory.mktemp("package") / "clone")


@pytest.fixture(scope="module")
def wheel(project):
    sh(project, "make", "wheel")
    (wheel,) = (project / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
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


def test_the_wheel_holds_every_module_and_the_published_numbers(wheel):
    assert wheel.name == f"pfml-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/pfml").rglob("*.py")}
    assert inside == modules | {
        "pfml/report/published/published.yaml", "pfml/report/published/published_words.yaml",
        *(f"pfml/report/templates/{name}" for name in ("page.html", "tables.md", "theory.md", "tuning.md")),
    }  # fmt: skip


def test_the_wheel_requires_torch_numpy_and_scipy_alone(empty):
    (package,) = importlib.metadata.distributions(name="pfml", path=[str(site_packages(empty))])
    needed = [Requirement(text) for text in package.requires]
    always = [requirement for requirement in needed if "extra" not in str(requirement.marker)]
    assert {requirement.name for requirement in always} == CORE
    assert all(requirement.marker is None and len(requirement.specifier) == 1 for requirement in always)
    assert set(package.metadata.get_all("Provides-Extra")) == {"baselines", "pipeline", "dev"}
    assert "arxiv.org/abs/2405.18560" in package.metadata["Project-URL"]
    assert package.metadata["License-Expression"] == "MIT"
    assert "MIT License" in package.read_text("licenses/LICENSE")


def alone_environment(empty) -> dict[str, str]:
    return environment() | {"PATH": f"{empty / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"}


ALONE = """
import json, math
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


@pytest.fixture(scope="module")
def alone(empty, tmp_path_factory):
    """What the installed wheel computes where nothing but its three dependencies and theirs can be imported."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "alone.py").write_text(ALONE)
    found = json.loads(sh(folder, "python", "-W", "ignore", "alone.py", env=alone_environment(empty)))
    assert found["file"] == str(site_packages(empty) / "pfml/__init__.py")
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
        if inspect.isclass(LOSSES[name]):
            assert message is None, "our own losses need no library"
        else:
            assert repr(name) in message and "pfml[baselines]" in message
            assert "pip install pytorch-metric-learning" in message
    assert "faiss" in alone["faiss"] and "pfml[pipeline]" in alone["faiss"] and 'backend="torch"' in alone["faiss"]
    assert "pip install scikit-learn" in alone["nmi"]


LOOP = """
import json, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
train_labels = torch.arange(100).repeat(10)
images = torch.randn(100, 12).repeat(10, 1) + 0.3 * torch.randn(1000, 12)
model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 512))
train_embeddings, device = model(images).detach(), torch.device("cpu")
loader = DataLoader(TensorDataset(images, train_labels), batch_size=100, shuffle=True, drop_last=True)
energies = []
nn.modules.module.register_module_forward_hook(
    lambda module, _, output: type(module).__name__ == "PotentialFieldLoss" and energies.append(float(output.detach()))
    or None
)
exec(open("loop.py").read())
print(json.dumps(energies))
"""


def test_the_loop_of_the_readme_trains_with_the_wheel_alone(empty, tmp_path):
    loop = next(block for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
                if "optimizer.step()" in block)  # fmt: skip
    (tmp_path / "loop.py").write_text(loop)
    (tmp_path / "program.py").write_text(LOOP)
    energies = json.loads(sh(tmp_path, "python", "program.py", env=alone_environment(empty)).splitlines()[-1])
    assert len(energies) >= 10 and energies[-1] < energies[0]


def test_the_command_names_the_extra_that_is_missing(empty, tmp_path):
    for command in (["pfml", "presets"], ["python", "-m", "pfml", "repro"]):
        done = subprocess.run(command, cwd=tmp_path, env=alone_environment(empty), capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "pip install 'pfml[pipeline]'" in done.stderr and "dvc, mlflow, pydantic, yaml" in done.stderr
    assert sh(tmp_path, "pfml", "--version", env=alone_environment(empty)) == f"pfml {__version__}\n"


# --- the editable install of `make`


WHERE = "import pfml, importlib.metadata as m; print(pfml.__file__, m.version('pfml'))"


def test_make_installs_the_project_itself(project, tmp_path):
    where = sh(tmp_path, "python", "-c", WHERE, env=environment(project / ".venv/bin")).split()
    assert where == [str(project / "src/pfml/__init__.py"), __version__]
    assert sh(project, "git", "status", "--short") == ""


def test_a_stage_runs_the_code_of_its_own_checkout(project, tmp_path):
    """In a queued or temporary experiment of DVC the environment's pfml is that of the workspace."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    assert all(stage.get("do", stage)["cmd"].startswith("PYTHONPATH=src python ") for stage in stages)
    (tmp_path / "src/pfml").mkdir(parents=True)
    (tmp_path / "src/pfml/__init__.py").touch()
    where = sh(tmp_path, "sh", "-c", f'PYTHONPATH=src python -c "{WHERE}"', env=environment(project / ".venv/bin"))
    assert where.split()[0] == str(tmp_path / "src/pfml/__init__.py")


# --- the files of a public project


def test_the_citation_has_what_its_schema_requires():
    """https://github.com/citation-file-format/citation-file-format/blob/main/schema-guide.md"""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited) and cited["cff-version"] == "1.2.0"
    assert (cited["type"], cited["license"], cited["version"]) == ("software", PROJECT["license"], __version__)
    assert cited["authors"] == PROJECT["authors"]
    paper = cited["preferred-citation"]
    assert (paper["type"], paper["year"]) == ("conference-paper", 2025)
    assert paper["title"] == "Potential Field Based Deep Metric Learning"
    assert [author["family-names"] for author in paper["authors"]] == ["Bhatnagar", "Ahuja"]
    assert all(set(author) == {"family-names", "given-names"} for author in paper["authors"])
    assert paper["identifiers"][0]["value"] == "arXiv:2405.18560"


def test_the_license_is_the_one_that_is_named():
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith(f"{PROJECT['license']} License") and PROJECT["authors"][0]["name"] in text


def test_the_workflow_runs_targets_of_the_makefile_on_pythons_that_the_package_takes():
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    targets = [re.match(r"make (\w+)", step["run"])[1] for step in steps if "run" in step]
    assert {"test", "repro"} == set(targets) and all(f"\n{target}:" in makefile for target in targets)
    assert set(workflow[True]) >= {"push", "pull_request", "schedule"}  # YAML 1.1 reads the key `on` as true
    versions = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(version) for version in versions)


def test_pre_commit_has_the_ruff_of_the_lock_file():
    [hooks] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert f"\nruff=={hooks['rev'].removeprefix('v')} " in (ROOT / "requirements.lock").read_text()
