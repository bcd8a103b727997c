"""The registry imports what is asked for; a baseline imports nothing of ours but losses/common."""

import ast
import json
import subprocess
import sys

import pytest

import pfml.losses
from pfml.losses import BASELINES, FIELDS, LOSSES, ContrastiveFieldLoss, PotentialFieldLoss, build_loss
from tests.conftest import ROOT

FOLDER = ROOT / "src/pfml/losses"
MAY_IMPORT = {"common": ("common",), "field": ("common", "field"), "baselines": ("common",)}


def imported(path) -> set[str]:
    """Every module that a file names in an import, relative ones and those inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(path.parent.parts[: len(path.parent.parts) - node.level + 1]) if node.level else ""
            names |= {".".join(filter(None, (start, node.module, alias.name))) for alias in node.names}
    return names


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_of_the_package_only_what_it_may(folder):
    files = sorted((FOLDER / folder).glob("*.py"))
    assert len(files) > 5
    for path in files:
        ours = {name for name in imported(path) if "pfml" in name.split(".")}
        allowed = tuple(f"pfml.losses.{one}." for one in MAY_IMPORT[folder])
        assert all(name.startswith(allowed) for name in ours), f"{path.name}: {sorted(ours)}"


def test_baselines_are_files_named_as_in_params_yaml():
    assert {path.stem for path in (FOLDER / "baselines").glob("*.py")} == {"__init__", *BASELINES}
    for name in BASELINES:
        assert LOSSES[name].__module__ == f"pfml.losses.baselines.{name}"
    assert FIELDS == ("pfml", "cpml") and (*FIELDS, *BASELINES) == tuple(LOSSES)


def test_the_registry_is_a_mapping():
    assert LOSSES["pfml"] is PotentialFieldLoss and LOSSES["cpml"] is ContrastiveFieldLoss
    assert list(LOSSES)[:2] == ["pfml", "cpml"] and len(LOSSES) == len(dict(LOSSES.items())) >= 30
    assert "triplet" in LOSSES and "tripled" not in LOSSES and LOSSES.get("tripled") is None
    assert LOSSES["triplet"] is LOSSES["triplet"]
    with pytest.raises(KeyError, match="tripled"):
        LOSSES["tripled"]
    with pytest.raises(AttributeError, match=r"'pfml\.losses' has no attribute 'Triplet'"):
        _ = pfml.losses.Triplet


LOADED = """
import json, sys
{code}
print(json.dumps(sorted(name for name in sys.modules if name.startswith("pfml.losses.") or name == "torch")))
"""


def loaded(code: str) -> set[str]:
    """The modules of the losses, and torch, that a fresh process has after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return set(json.loads(done.stdout))


def test_names_alone_load_no_loss_and_no_torch():
    assert loaded("from pfml.losses import LOSSES; assert 'triplet' in LOSSES and len(list(LOSSES)) > 20") == set()


@pytest.mark.parametrize("name", ["triplet", "ms_das"])
def test_building_a_baseline_loads_no_other_loss(name):
    code = f"from pfml.losses import build_loss; build_loss({name!r}, 4, 8)"
    own = {module for module in loaded(code) if not module.startswith("pfml.losses.common")}
    assert own == {"torch", "pfml.losses.baselines", f"pfml.losses.baselines.{name}"}


def test_training_a_baseline_loads_no_other_loss():
    code = """
from pfml.training.loop import train
from pfml.losses import LOSSES, build_loss
from pfml.losses.common.sampling import check_sampler
check_sampler("triplet", LOSSES["triplet"], "balanced", 8, 4, [10, 10])
build_loss("triplet", 2, 8)
"""
    own = {module for module in loaded(code) if module.startswith("pfml.losses.baselines.")}
    assert own == {"pfml.losses.baselines.triplet"}


def test_the_field_loads_no_baseline():
    assert not {name for name in loaded("from pfml.losses import PotentialFieldLoss") if "baselines" in name}


def test_unknown_names_and_settings_tell_the_nearest():
    with pytest.raises(ValueError, match="'proxy_anchor'"):
        build_loss("proxy_anchr", 3, 4)
    with pytest.raises(ValueError, match="'margin'"):
        build_loss("triplet", 3, 4, margn=0.1)
