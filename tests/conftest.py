"""A small real configuration and small real data for tests of everything above the maths."""

import copy
import json
import os
import signal
from pathlib import Path

from pfml.stage import be_portable

be_portable()  # before NumPy and PyTorch are loaded, as every stage does

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pytest  # noqa: E402
import yaml  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

if os.environ.get("PFML_REAL_DATA"):  # whole, so that it holds in other folders too, where tests start programs
    os.environ["PFML_REAL_DATA"] = os.path.abspath(os.environ["PFML_REAL_DATA"])
REAL = os.environ.get("PFML_REAL_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="PFML_REAL_DATA names no folder with real images")

TINY = {
    "study": "tiny",
    "grid": {"field": ["pfml", "cpml"], "baseline": ["contrastive", "proxy_nca"], "noise": [0.0, 0.2], "seed": [0]},
    "train": {"epochs": 2, "steps_per_epoch": 3, "batch": 40},
    "loss": {"proxies_per_class": 2},
    "ablation": {"points": ["alpha-1", "delta_gap-0.1"]},
}


def pytest_configure(config):
    """Bits are compared on the CPU, also where there is a GPU; `pytest -m gpu` is for that. Programs that a test stops
    by Ctrl-C hear it, also where the tests themselves run in a shell's background, which ignores it.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    """Tests of minutes first: where files are shared out among processes, none should be left over at the end."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


def merge(base: dict, changes: dict) -> dict:
    for key, value in changes.items():
        base[key] = merge(base.get(key, {}), value) if isinstance(value, dict) else copy.deepcopy(value)
    return base


def put(raw: dict, key: str, value) -> dict:
    """Set a key given by its dotted name."""
    *path, last = key.split(".")
    section = raw
    for part in path:
        section = section[part]
    section[last] = value
    return raw


@pytest.fixture
def raw() -> dict:
    """The committed params.yaml as a plain dict, free to change."""
    return yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.fixture
def tiny(raw) -> dict:
    """A study of seconds: two field methods, two baselines, two ablation points."""
    return merge(raw, TINY)


@pytest.fixture
def write(tmp_path):
    """Write a dict as params.yaml into the test's folder and return the path."""

    def _write(raw: dict, folder: Path = tmp_path) -> Path:
        path = folder / "params.yaml"
        path.write_text(yaml.safe_dump(raw, sort_keys=False))
        return path

    return _write


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder with 24 classes of 12 noisy images each in the pipeline's own format, in which runs run."""
    raw, rng = tmp_path / "data/raw/glyphs", np.random.default_rng(0)
    raw.mkdir(parents=True)
    labels = np.repeat(np.arange(24), 12)
    noise = rng.integers(0, 120, (288, 16, 16, 3))
    pictures = rng.integers(0, 136, (24, 16, 16, 3))[labels] + noise
    np.save(raw / "images.npy", pictures.astype(np.uint8))
    (raw / "meta.json").write_text(json.dumps({"digest": "d" * 64}))
    (tmp_path / "data/noise").mkdir()
    halves, validation = np.where(labels < 18, "train", "test"), (labels >= 12) & (labels < 18)
    columns = {
        "item": range(288),
        "split": halves,
        "validation": validation,
        "true_label": np.where(labels < 18, labels, labels - 18),
    }
    for noise in (0.0, 0.2):
        table = pd.DataFrame(columns | {"noisy_label": columns["true_label"]})
        table["kept_true"] = table["kept_noisy"] = np.where(labels < 12, labels, -1)
        table.to_csv(tmp_path / f"data/noise/glyphs-{noise}-0.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
