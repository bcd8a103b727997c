"""A loss is added in three places: the recipe of CONTRIBUTING.md in a copy of the project, where the tests that list
losses run as they are.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.losses.toy_loss import TOY, add_toy_loss

TRIED = """
import json, sys
import torch
from pfml.figures.style import LOOKS
from pfml.losses import LOSSES, NEEDS_POSITIVES, build_loss
from pfml.report.names import method_name
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs
from pfml.training.optimizer import build_optimizer
from pfml.training.run import numeric_code

params = load_params()
run = find_run(grid_runs(params), "glyphs-toy-0.0-0")
torch.manual_seed(0)
network, loss = torch.nn.Linear(6, 8), build_loss("toy", 5, 8, **run.loss)
optimizer = build_optimizer(network, loss, run.train)
images, labels, values = torch.randn(20, 6), torch.arange(20) % 5, []
for _ in range(20):
    values.append(loss(network(images), labels))
    optimizer.zero_grad()
    values[-1].backward()
    optimizer.step()

def refused(old, new):
    text = open("params.yaml").read()
    open("other.yaml", "w").write(text.replace(old, new, 1))
    try:
        load_params("other.yaml")
    except ConfigError as error:
        return str(error)

print(json.dumps({
    "loss": run.loss, "first": values[0].item(), "last": values[-1].item(), "title": method_name("toy"),
    "pairs": "toy" in NEEDS_POSITIVES, "looks": len(set(LOOKS.values())) == len(LOOKS), "looks_of": list(LOOKS),
    "code": sorted(path.name for path in numeric_code("toy") if path.parent.name == "baselines"),
    "others_code": sorted(path.name for path in numeric_code("triplet") if path.parent.name == "baselines"),
    "range": refused("      margin: 0.1\\n      weight: 1.0", "      margin: 1.0\\n      weight: 1.0"),
    "key": refused("      margin: 0.1\\n      weight: 1.0", "      margin: 0.1\\n      margn: 0.1\\n      weight: 1.0"),
}))
"""
LISTING_LOSSES = (  # tests that go through all losses, and those that hold the study
    "tests/losses/test_baselines.py", "tests/losses/test_baseline_contract.py", "tests/losses/test_ranges.py",
    "tests/losses/test_sampling.py", "tests/losses/test_registry.py", "tests/figures/test_forces.py",
    "tests/figures/test_style.py", "tests/settings/test_config.py", "tests/settings/test_loss_rehearsal.py",
    "tests/settings/test_presets.py", "tests/settings/test_run_digests.py", "tests/settings/test_tuned_rows.py",
    "tests/training/test_optimisation.py",
)  # fmt: skip
# The toy's own cases, and the tests that have no case for each loss and look at all of them.
SELECTED = (
    "toy or folder or files_named or mapping or looks or titles or every_other or losses_that_say or study or "
    "committed or setting_a_loss or builds_its_loss or equal_ones or trials or best_trial or digest or no_two or "
    "row_that_exists"
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tracked files, without results, as a repository with the toy loss."""
    folder = tmp_path_factory.mktemp("toy") / "copy"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if not name.startswith(("reports/runs/", "reports/figures/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    commit = ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "as it was"]
    subprocess.run(["git", *commit], cwd=folder, check=True)
    add_toy_loss(folder)
    return folder


def python(folder, *arguments, **options):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GIT_", "PYTEST"))}
    env |= {"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, **options
    )  # fmt: skip


def test_it_is_three_edits(copy):
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=copy, capture_output=True, text=True, check=True
    ).stdout.split("\n")  # fmt: skip
    assert sorted(filter(None, changed)) == [
        " M params.yaml", " M src/pfml/losses/__init__.py", "?? src/pfml/losses/baselines/toy.py",
    ]  # fmt: skip
    diff = subprocess.run(["git", "diff", "--numstat"], cwd=copy, capture_output=True, text=True, check=True).stdout
    assert sorted(line.split("\t")[:2] for line in diff.splitlines()) == [["1", "0"], ["6", "0"]]


def test_it_is_built_trained_named_and_refused_as_every_other(copy):
    done = python(copy, "-c", TRIED)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["loss"] == {"margin": 0.1, "weight": 1.0}
    assert 0 < found["last"] < 0.9 * found["first"], "it does not learn"
    assert found["title"] == "Toy" and found["pairs"] and found["looks"] and found["looks_of"][-1] == "toy"
    assert found["code"] == ["toy.py"] and found["others_code"] == ["triplet.py"]
    assert "baseline.toy.loss.margin" in found["range"] and "less than 1" in found["range"]
    assert "baseline.toy.loss.margn" in found["key"] and "did you mean margin?" in found["key"]


@pytest.mark.long
def test_the_tests_that_list_losses_pass_as_they_are(copy):
    done = python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", *LISTING_LOSSES, "-k", SELECTED)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.findall(r"^PASSED (\S+::\S+)", done.stdout, re.M)
    own = {re.split(r"::", one)[0] for one in passed if "toy" in one.split("[")[-1]}
    assert {f"tests/losses/{name}.py" for name in ("test_baselines", "test_baseline_contract", "test_ranges")} <= own
    assert {"tests/losses/test_sampling.py", "tests/figures/test_forces.py"} <= own
    assert len(passed) > 70


def test_the_recipe_shows_the_toy_that_is_tested():
    recipe = (ROOT / "CONTRIBUTING.md").read_text()
    [shown] = re.findall(r"```python\n(.*?)```", recipe.partition("## Add a loss")[2].partition("\n## ")[0], re.S)
    assert shown == TOY
