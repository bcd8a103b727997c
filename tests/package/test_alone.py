"""The wheel used where nothing but torch, numpy and scipy is installed: numbers, errors, the printed loop."""

import inspect
import json
import math
import re
import subprocess

import pytest

from pfml import __version__
from pfml.losses import LOSSES
from tests.conftest import ROOT
from tests.installed import sh, site_packages
from tests.package.conftest import alone_environment

ALONE = """
import json, math
import numpy as np
import torch
import pfml
from pfml.losses import LOSSES, build_loss
from pfml.retrieval import clustering_nmi, retrieval_metrics
from pfml.training.networks.model import build_model
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
    "errors": {name: error(build_loss, name, 2, 4) for name in LOSSES},
    "faiss": error(retrieval_metrics, *four, (1,), backend="faiss"),
    "nmi": error(clustering_nmi, *four),
    "conv3": list(build_model("conv3", 5)(torch.zeros(2, 3, 32, 32)).shape),
    "timm": error(build_model, "resnet50", 5),
    "pretrained": error(build_model, "bn_inception", 5, weights="pretrained"),
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


def test_our_own_networks_need_no_package_and_the_others_name_theirs(alone):
    assert alone["conv3"] == [2, 5]
    for key, package, message in (("backbone", "timm", alone["timm"]), ("weights", "tqdm", alone["pretrained"])):
        assert message.startswith(f"model.{key}: ") and f" needs {package}, " in message
        assert "pip install '.[pipeline]'" in message


def test_every_import_of_the_package_that_a_page_prints_works(empty, tmp_path):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    code = "\n".join(
        block for page in pages for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    )
    lines = sorted(set(re.findall(r"^(?:from pfml|import pfml).*", code, re.M)))
    alone, more = ([line for line in lines if ("pfml.use" in line) is needs_more] for needs_more in (False, True))
    assert len(alone) >= 4 and any("build_model" in line for line in alone) and more
    sh(tmp_path, "python", "-c", "\n".join(alone), env=alone_environment(empty))
    for line in (*more, "import pfml; pfml.load('some-run')"):
        done = subprocess.run(
            ["python", "-c", line], cwd=tmp_path, env=alone_environment(empty), capture_output=True, text=True
        )
        assert done.returncode == 1 and "pfml.use needs PIL" in done.stderr and "pfml[pipeline]" in done.stderr


LOOP = """
import json, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
train_labels = torch.arange(100).repeat(10)
images = torch.randn(100, 12).repeat(10, 1) + 0.3 * torch.randn(1000, 12)
model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 512))
train_embeddings, device, epochs = model(images).detach(), torch.device("cpu"), 2
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
