import os
import shutil

import pytest

from tests.launch.clusters import OURS, driver_with_remote, study_of_one_machine
from tests.launch.small_pipeline import build


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The small pipeline, run and committed; to be read alone."""
    return build(tmp_path_factory.mktemp("small") / "finished")


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    """A copy of it, and the working directory there."""
    for name in [name for name in os.environ if name.startswith("DVC_")]:
        monkeypatch.delenv(name)
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """The study of one machine."""
    return study_of_one_machine(tmp_path_factory.mktemp("alone"), **OURS)


@pytest.fixture
def cluster(tmp_path):
    """A cluster of two nodes with one core each, and a folder of its own for each."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [
        found.add_node(num_cpus=1, memory=8 * 2**30, env_vars={"PFML_NODE_DIR": str(tmp_path / name)}) for name in "ab"
    ]
    yield found, nodes
    found.shutdown()


@pytest.fixture
def driver(tmp_path):
    """A clone of the same study that has run nothing, with a DVC remote."""
    return driver_with_remote(tmp_path / "driver", str(tmp_path / "store"), **OURS)
