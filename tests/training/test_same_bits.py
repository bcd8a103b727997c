"""x86-64 processors with AVX2 of one vendor give the same bits: short trainings and all their measures, by the real
stages, against bits.json. Of AMD the families 25 (AVX2 alone, and AVX-512) and 26 were tried. Intel's family 6 model
167 gives other bits than they do, which is not understood yet; so each vendor has a record of its own, or none.
benchmarks/operations.py has digests of single operations, to find where they part.

To make that of this machine again after a change of a formula: python -m tests.training.test_same_bits
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from pfml.stage import PORTABLE
from pfml.tracking.provenance import can_be_portable, processor
from tests.conftest import ROOT, merge

FILE = Path(__file__).with_name("bits.json")
SHORT = {
    "grid": {"field": ["pfml"], "baseline": ["soft_triple", "triplet"], "noise": [0.2]},
    "train": {"epochs": 1, "steps_per_epoch": 20},
    "ablation": {"points": []}, "complexity": {"proxies_per_class": [], "baseline": []},
    "memorisation": {"every": 0}, "tracking": {"enabled": False},
}  # fmt: skip
# What a shell may bring along. None of it may count.
INHERITED = dict.fromkeys(PORTABLE, "2") | {
    "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "MKL_CBWR": "AUTO", "OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_L2_SIZE": "4096", "FAISS_SIMD_LEVEL": "NONE",
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",
}  # fmt: skip
del INHERITED["NPY_DISABLE_CPU_FEATURES"]


def study(folder: Path, environment: dict, **changes) -> dict:
    """Run a short study in a folder, stage by stage, in this environment alone; its numbers by run."""
    for name in ("src", "stages"):
        (folder / name).symlink_to(ROOT / name)
    raw = merge(merge(yaml.safe_load((ROOT / "params.yaml").read_text()), SHORT), changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "src"} | environment

    def stage(name: str, *item: str) -> None:
        command = [sys.executable, f"stages/{name}.py", *item]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    runs = [f"glyphs-{method}-0.2-0" for method in raw["grid"]["field"] + raw["grid"]["baseline"]]
    stage("plan")
    for name in ("fetch", "split"):
        stage(name, "glyphs")
    stage("noise", "glyphs-0.2-0")
    for name in ("train", "evaluate"):
        for run in runs:
            stage(name, run)
    stage("embedding_figures", "glyphs")
    found = {run: json.loads((folder / f"reports/runs/glyphs/{run}.json").read_text()) for run in runs}
    keys = ("weights", "recall@1", "recall@8", "map@r", "r_precision", "nmi", "seen_map@r", "few_shot_1", "few_shot_5",
            "w2", "w2_relative")  # fmt: skip
    numbers = {run: {key: result[key] for key in keys if key in result} for run, result in found.items()}
    figures = sorted((folder / "reports/figures").glob("*.png"))
    return numbers | {path.name: hashlib.sha256(Image.open(path).tobytes()).hexdigest()[:16] for path in figures}


def vendor() -> str:
    """GenuineIntel, AuthenticAMD, ...; empty outside Linux."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "")


needs_avx2 = pytest.mark.skipif(not can_be_portable(), reason=f"other kind of processor: {processor()}")


@needs_avx2
@pytest.mark.parametrize("environment", [{}, pytest.param(INHERITED, marks=pytest.mark.long)], ids=["empty", "hostile"])
def test_this_processor_gives_the_bits_on_record(tmp_path, environment):
    expected, raw = json.loads(FILE.read_text()).get(vendor()), {}
    if expected is None:
        pytest.skip(f"bits.json has no record of {vendor()} yet")
    if environment:  # one run is enough
        raw = {"grid": {"baseline": []}}
    found = study(tmp_path, environment, **raw)
    same = found.keys() & expected.keys() if not environment else {"glyphs-pfml-0.2-0", "tsne-glyphs.png"}
    assert same >= {"glyphs-pfml-0.2-0", "tsne-glyphs.png"}
    differs = {name: (expected[name], found[name]) for name in same if found[name] != expected[name]}
    assert not differs, f"this processor computes otherwise: {processor()}"


@pytest.mark.long
def test_all_instructions_are_used_where_the_setting_asks_for_them(tmp_path):
    ask = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    widest = subprocess.run(
        [sys.executable, "-c", ask], env={"PATH": ""}, capture_output=True, text=True
    ).stdout.strip()
    changes = {"grid": {"baseline": []}, "train": {"portable": False}}
    study(tmp_path, {}, **changes)
    row = pd.read_csv(tmp_path / "reports/provenance/glyphs.csv").iloc[0]
    assert (row.instructions, row.kind) == (widest, processor())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        records = json.loads(FILE.read_text()) | {vendor(): study(Path(place), {})}
        FILE.write_text(json.dumps(records, indent=1) + "\n")
