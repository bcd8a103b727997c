"""dvc.yaml names what each stage depends on: DVC follows no imports, so a forgotten module would be a stale result."""

import ast
import hashlib
from functools import cache

import pytest
import yaml

from tests.conftest import ROOT

SRC = ROOT / "src"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

AXES = ("proxies_per_class", "alpha", "delta", "delta_gap")
FIELD = {
    f"pfml.losses.{name}"
    for name in (
        "checks",
        "contrastive_field",
        "distributed",
        "field_gpu",
        "field_kernel",
        "field_loss",
        "field_triton",
        "neighbours",
        "pair_law",
        "potential_field",
        "proxies",
        "repulsion",
        "scratch",
    )
}
BASELINES = {
    f"pfml.losses.{name}"
    for name in (
        "ancestors",
        "baselines",
        "clustering",
        "coupling_flow",
        "das",
        "esphn",
        "facility_search",
        "hier",
        "hist",
        "histogram",
        "hyp",
        "library",
        "non_isotropy",
        "prism",
        "proxy_gml",
        "proxy_nca_pp",
        "sampling",
    )
}
PROBED = BASELINES - {"pfml.losses.baselines.histogram", "pfml.losses.common.sampling"}  # those whose force is measured
# Making a dataset: the split reads of it how many classes train.
MAKING = {
    f"pfml.data.{name}" for name in ("archives", "copies", "glyph_codepoints", "glyphs", "layouts", "own", "pack")
}
SETTINGS = ("losses", "schema", "study")  # that decide a run's digest
# Modules that act through something that every stage lists anyway: params, or the files of earlier stages.
PLUMBING = {
    "pfml",
    "pfml.settings.run",
    "pfml.settings.runs",
    "pfml.settings.load",
    "pfml.settings",
    *(f"pfml.settings.{name}" for name in (*SETTINGS, "cell_checks", "theory", "validation", "values")),
    "pfml.networks",
    "pfml.views",
    "pfml.training.run",
    "pfml.tracking.mlflow",
    "pfml.losses",
    "pfml.data",
    "pfml.datasets.download",  # what it fetches is held to its checksum
    "pfml.datasets.listing",
    "pfml.images.threads",
    "pfml.datasets.transfer",
    "pfml.report",
    "pfml.theory",
}

# stage: (modules that its script uses, modules that those import but this stage does not use)
STAGE_MODULES = {
    "fetch": ({"pfml.datasets.catalogue"}, set()),
    "split": (
        {"pfml.datasets.catalogue", "pfml.images.packed", "pfml.labels.split", "pfml.labels.verify"},
        MAKING | {"pfml.images.decode"},
    ),
    "noise": ({"pfml.labels.tables", "pfml.images.packed"}, set()),
    "train": ({"pfml.training.loop", *FIELD}, set()),
    "train_baseline": ({"pfml.training.loop", *BASELINES}, set()),
    "train_mlrc": ({"pfml.training.loop", *FIELD}, set()),
    "train_mlrc_baseline": ({"pfml.training.loop", *BASELINES}, set()),
    "wasserstein": ({"pfml.evaluation.proxies"}, {"pfml.retrieval", "pfml.retrieval.ranks"}),
    "tables": (
        {"pfml.report.tables", "pfml.report.studies", "pfml.report.study", "pfml.report.files"},
        set(),
    ),
    "figures": ({"pfml.figures.ablation", "pfml.figures.training", "pfml.report.study"}, set()),
    "loss_figures": (
        {
            "pfml.views.forces",
            "pfml.views.overview",
            "pfml.figures.force",
            "pfml.figures.overview",
            *FIELD,
            *PROBED,
        },
        set(),
    ),
    "gallery": ({"pfml.views.gallery", "pfml.figures.gallery", "pfml.report.stamps"}, set()),
    "embedding_figures": (
        {
            "pfml.views.embeddings",
            "pfml.views.memorisation",
            "pfml.report.ledger",
            "pfml.figures.map",
            "pfml.figures.memorisation",
            "pfml.report.stamps",
        },
        set(),
    ),
    "page": (
        {"pfml.tracking.environment", *(f"pfml.report.{name}" for name in ("captions", "page", "studies", "tables"))},
        set(),
    ),
    "complexity": ({"pfml.evaluation.timing", *FIELD, *BASELINES}, set()),
    "tune": ({"pfml.tuning", "pfml.settings.tune", *FIELD, *BASELINES}, set()),
    "tuning_table": (
        {"pfml.report.tuning", "pfml.report.studies", "pfml.settings.tune"},
        {"pfml.training.loop", "pfml.training.batches.run_data"},
    ),
    "theory": ({"pfml.theory.survey", "pfml.figures.field", "pfml.report.theory"}, set()),
}  # fmt: skip
for axis in AXES:
    STAGE_MODULES[f"ablate_{axis}"] = ({"pfml.training.loop", *FIELD}, {"pfml.losses.field.contrastive_field"})
for suffix in ("", "_baseline", *(f"_{axis}" for axis in AXES)):
    STAGE_MODULES[f"evaluate{suffix}"] = ({"pfml.evaluation.runs"}, set())
for suffix in ("", "_baseline"):
    STAGE_MODULES[f"evaluate_mlrc{suffix}"] = ({"pfml.evaluation.folds"}, set())


@cache
def imports(module: str) -> frozenset:
    """Modules of the package that a module imports, anywhere in its text."""
    path = SRC / (module.replace(".", "/") + ".py")
    path = path if path.exists() else SRC / module.replace(".", "/") / "__init__.py"
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pfml"):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("pfml")}
    return frozenset(
        m for m in found if (SRC / (m.replace(".", "/") + ".py")).exists() or (SRC / m.replace(".", "/")).is_dir()
    )


def closure(modules, skip) -> set:
    seen, todo = set(), list(modules - skip)
    while todo:
        module = todo.pop()
        seen.add(module)
        todo += imports(module) - skip - seen
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_module_is_a_dependency(stage):
    if stage in ("check", "register"):
        return  # write nothing that a later stage reads
    used, unused = STAGE_MODULES[stage]
    needed = closure(used, PLUMBING | unused)
    paths = [dep for dep in STAGES[stage].get("do", STAGES[stage])["deps"] if dep.endswith(".py")]
    listed = {path.removeprefix("src/").removesuffix(".py").replace("/", ".") for path in paths}
    decide_digests = {f"pfml.settings.{name}" for name in ("run", "runs", "load", *SETTINGS)}
    front = decide_digests if stage in ("tables", "page", "tuning_table", "figures") else set()
    assert listed == needed | front


def test_every_module_of_the_losses_belongs_to_a_training_stage():
    assert imports("pfml.losses") - {"pfml.losses"} <= FIELD | BASELINES


def test_every_figure_is_drawn_twice_and_described():
    """As PNG and as PDF, with a word in docs/figures.md."""
    stages = [stage.get("do", stage) for stage in STAGES.values()]
    outs = [
        path for stage in stages for out in stage.get("outs", ()) for path in (out if isinstance(out, dict) else [out])
    ]
    drawn = {ending: {p[:-4] for p in outs if p.endswith(f".{ending}")} for ending in ("png", "pdf")}
    assert len(drawn["png"]) >= 9 and drawn["png"] == drawn["pdf"]
    text = (ROOT / "docs/figures.md").read_text()
    names = {path.removeprefix("reports/figures/").replace("${item}", "<dataset>") for path in drawn["png"]}
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_the_committed_lock_file_is_true():
    """Every module that the recorded results were made with is the committed one."""
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    stale = {
        (name, dep["path"])
        for name, stage in lock.items()
        for dep in stage.get("deps", [])
        if dep["path"].startswith("src/") and hashlib.md5((ROOT / dep["path"]).read_bytes()).hexdigest() != dep["md5"]
    }
    assert stale == set(), "run make repro and commit dvc.lock with reports/"


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
