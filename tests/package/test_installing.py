"""Light to install: what importing the losses loads, what the wheel holds and requires, the project installed into its
environment; license, citation and continuous integration."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pfml import __version__
from tests.conftest import ROOT
from tests.installed import environment, sh, site_packages
from tests.package.conftest import CORE

HEAVY = ("dvc", "mlflow", "faiss", "pandas", "matplotlib", "timm", "torchvision", "sklearn", "pytorch_metric_learning",
         "pydantic", "yaml")  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENGINES = [name for extra in ("ray", "slurm") for name in PROJECT["optional-dependencies"][extra]]


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
    """In the dependencies or an extra, not only brought along by something else. Engines are not installed by make."""
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
    assert missing - set(ENGINES) == set()


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
    return PROJECT["dependencies"] + extras["pipeline"] + extras["export"] + extras["dev"]


# --- the wheel


def test_the_wheel_holds_every_module_and_the_published_numbers(wheel):
    assert wheel.name == f"pfml-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/pfml").rglob("*.py")}
    assert inside == modules | {
        "pfml/report/published/published.yaml", "pfml/report/published/published_words.yaml",
        *(f"pfml/report/templates/page.{kind}" for kind in ("css", "html", "js")),
        *(f"pfml/report/templates/{name}.md" for name in ("tables", "theory", "tuning")),
    }  # fmt: skip


def test_the_wheel_requires_torch_numpy_and_scipy_alone(empty):
    (package,) = importlib.metadata.distributions(name="pfml", path=[str(site_packages(empty))])
    needed = [Requirement(text) for text in package.requires]
    always = [requirement for requirement in needed if "extra" not in str(requirement.marker)]
    assert {requirement.name for requirement in always} == CORE
    assert all(requirement.marker is None and len(requirement.specifier) == 1 for requirement in always)
    assert set(package.metadata.get_all("Provides-Extra")) == {
        "baselines",
        "pipeline",
        "ray",
        "slurm",
        "storage",
        "servers",
        "export",
        "dev",
    }
    assert "arxiv.org/abs/2405.18560" in package.metadata["Project-URL"]
    assert package.metadata["License-Expression"] == "MIT"
    assert "MIT License" in package.read_text("licenses/LICENSE")


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
