"""dvc.yaml: a stage depends on the folders of code that it runs. DVC follows no imports, so a folder that is not listed
would leave a result stale.
"""

import ast
import hashlib
import itertools
import json
from functools import cache

import pytest
import yaml

from tests.committed import committed
from tests.conftest import ROOT

SRC = ROOT / "src"
STAGES = {
    name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
# Packages that act through the plan or through files on which the stages depend, and so are no dependency of a stage:
# what they change shows in their outputs. settings: the plan. tracking: MLflow, never read back. stage: how a process
# starts. download, transfer: files that are held to a checksum. checkpoint: removes what no stage reads.
THROUGH_FILES = (
    "pfml.settings", "pfml.stage", "pfml.tracking", "pfml.datasets.download", "pfml.datasets.transfer",
    "pfml.training.checkpoint",
)  # fmt: skip
NAMES = ("pfml", "pfml.losses", "pfml.datasets")  # packages that hold names alone, imported when asked
READS_PARAMS = ("plan", "register", "report", "figures", "page")  # page: by way of the tables


@cache
def imports(module: str) -> frozenset:
    """Modules of the package that a module imports, anywhere in its text."""
    path = path_of(module)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pfml":
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "pfml"}
    return frozenset(name for name in found if path_of(name) is not None)


def path_of(module: str):
    """The file of a module of the package or of a stage script; None where there is none."""
    if module.startswith("stages."):
        return ROOT / "stages" / f"{module.removeprefix('stages.')}.py"
    place = SRC / module.replace(".", "/")
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists()), None)


def through_files(module: str) -> bool:
    return module in NAMES or any(module == name or module.startswith(f"{name}.") for name in THROUGH_FILES)


def closure(start: str) -> set[str]:
    """All that a module imports, and what that imports, without packages that act through files."""
    seen, todo = set(), [start]
    while todo:
        module = todo.pop()
        seen.add(module)
        todo += [found for found in imports(module) if not through_files(found) and found not in seen]
    return seen - {start}


def listed(stage: str) -> set[str]:
    """The places of code among the dependencies of a stage, with every method of the registry in place of its name."""
    return {dep for dep in STAGES[stage]["deps"] if isinstance(dep, str) and dep.startswith("src/")}


def covers(places: set[str], module: str) -> bool:
    path = path_of(module).relative_to(ROOT).as_posix()
    return any(path == place or path.startswith(f"{place}/") for place in places)


def script(stage: str) -> str:
    return "stages." + STAGES[stage]["cmd"].split("stages/")[1].split(".py")[0]


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_imports_is_a_dependency(stage):
    needed = closure(script(stage))
    if stage in ("plan", "register"):  # write nothing that depends on other code
        return
    missing = {module for module in needed if not covers(listed(stage), module)}
    assert missing == set(), f"add their folders to the deps of {stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_no_folder_is_listed_that_a_stage_does_not_import(stage):
    """Else a change there would run the stage again for nothing."""
    needed = closure(script(stage)) | {m for m in imports(script(stage)) if m.startswith("pfml.settings")}
    losses = {"src/pfml/losses", "src/pfml/losses/common", "src/pfml/losses/field"}  # imported by name
    unused = {
        place for place in listed(stage) - losses if "${" not in place and not any(covers({place}, m) for m in needed)
    }
    assert unused == set()


@pytest.mark.parametrize("stage", [name for name in STAGES if name.startswith(("train", "ablate"))])
def test_a_training_depends_on_the_code_of_its_own_loss(stage):
    own = "src/pfml/losses/baselines/${item.method}.py" if stage.endswith("baseline") else "src/pfml/losses/field"
    assert {place for place in listed(stage) if place.startswith("src/pfml/losses")} == {
        own, "src/pfml/losses/common"
    }  # fmt: skip


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in READS_PARAMS])
def test_no_stage_behind_the_plan_depends_on_all_of_params_yaml(stage):
    deps = STAGES[stage]["deps"]
    assert "params.yaml" not in deps and "params" not in STAGES[stage]
    assert any(dep.startswith("data/plan/") for dep in deps), "it reads its settings from there"


def test_nothing_that_differs_between_equal_runs_is_in_the_lock_file():
    """The page shows the machine, so it is no output, and where runs were trained is no dependency."""
    assert "outs" not in STAGES["page"] and "reports/tables.md" in STAGES["page"]["deps"]
    assert not [name for name, stage in STAGES.items() if "reports/provenance" in map(str, stage["deps"])]


def test_features_are_in_the_run_cache():
    """DVC's run cache, which presets share, leaves out a stage with an output that persists."""
    assert STAGES["features"]["outs"] == ["data/features/${item}"]


def test_stages_hold_no_logic():
    """A stage file is a few lines that call the package."""
    long = {path.name for path in (ROOT / "stages").glob("*.py") if len(path.read_text().splitlines()) > 40}
    assert long == set()


def test_packages_import_only_those_before_them():
    """The order of imports: each package knows those of earlier lines alone."""
    order = [
        ("images", "losses", "retrieval", "wasserstein"), ("settings",), ("stage",),
        ("datasets", "labels", "tracking"), ("training",), ("evaluation",), ("tuning", "report"), ("theory",),
        ("figures",), ("launch",), ("use",), ("cli",), ("__main__",),
    ]  # fmt: skip
    rank = {name: i for i, names in enumerate(order) for name in names}
    wrong = set()
    for path in (SRC / "pfml").rglob("*.py"):
        parts = path.relative_to(SRC / "pfml").with_suffix("").parts
        if parts == ("__init__",):
            continue
        here, module = parts[0], ".".join(("pfml", *parts)).removesuffix(".__init__")
        for found in imports(module) - {"pfml"}:
            there = found.split(".")[1]
            allowed = there == here or rank[there] < rank[here]
            wrong |= set() if allowed else {(module, found)}
    assert wrong == set()
    tops = {p.stem for p in (SRC / "pfml").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert tops - {"__init__"} <= set(rank) and len(tops) <= 20, "a package of its own needs a place in the order"


def test_mlflow_is_imported_by_tracking_alone():
    for path in (SRC / "pfml").rglob("*.py"):
        names = itertools.chain.from_iterable(
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
        if any(name.partition(".")[0] == "mlflow" for name in names):
            assert path.parent.name == "tracking", path


def test_every_figure_is_drawn_twice_and_described():
    """As PNG and as PDF, with a word in docs/figures.md."""
    outs = [
        path
        for stage in STAGES.values()
        for out in stage.get("outs", ())
        for path in (out if isinstance(out, dict) else [out])
    ]
    drawn = {ending: {p[:-4] for p in outs if p.endswith(f".{ending}")} for ending in ("png", "pdf")}
    assert len(drawn["png"]) >= 9 and drawn["png"] == drawn["pdf"]
    text = (ROOT / "docs/figures.md").read_text()
    names = {
        path.removeprefix("reports/figures/").replace("${item}", "<dataset>").replace("${item.name}", "<name>")
        for path in drawn["png"]
    }
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_the_committed_lock_file_is_true():
    """The recorded results were made with the committed code: DVC's own digest of every place of code in dvc.lock."""
    lock = yaml.safe_load(committed("dvc.lock").read_text())["stages"]
    stale = {
        (name.split("@")[0], dep["path"])
        for name, stage in lock.items()
        for dep in stage.get("deps", [])
        if dep["path"].startswith("src/") and digest_of(dep["path"]) != dep["md5"]
    }
    assert stale == set(), "run make repro and commit dvc.lock with reports/"


@cache
def digest_of(path: str) -> str:
    """The MD5 that DVC writes: of a file's bytes, or of the JSON list of a folder's files and theirs."""
    place = committed(path)
    if place.is_file():
        return hashlib.md5(place.read_bytes()).hexdigest()
    ignored = ("__pycache__", ".ipynb_checkpoints")  # .dvcignore
    files = {
        file.relative_to(place).as_posix(): file
        for file in place.rglob("*")
        if file.is_file() and not set(file.parts) & set(ignored) and file.suffix not in (".pyc", ".pyo")
    }
    entries = [{"md5": hashlib.md5(files[name].read_bytes()).hexdigest(), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"


def test_no_parameter_has_a_name_that_dvc_ignores(raw):
    """DVC's run cache leaves parameters called `size` or `nfiles` out of its key and returns stale results."""

    def names(section):
        for key, value in section.items():
            yield key
            if isinstance(value, dict):
                yield from names(value)

    assert not {"size", "nfiles"} & set(names(raw))


def test_params_are_in_the_style_that_dvc_keeps():
    """`-S` rewrites flow lists (an empty one has no other form) and silently changes nothing through YAML anchors."""
    text = (ROOT / "params.yaml").read_text()
    lines = [line.split("#")[0].rstrip() for line in text.splitlines()]
    assert not [
        line for line in lines if (line.endswith("]") and not line.endswith(": []")) or "&" in line or "*" in line
    ]
