"""The real pipeline on images of your own in a preset of your own: real DVC, packs as outputs, kinds of noise."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from tests.pipeline.clones import REPRO, clone, commit, ran, results, sh

pytestmark = [pytest.mark.pipeline, pytest.mark.long]
MINE = {
    "study": "mine",
    "grid": {"dataset": ["birds"], "baseline": [], "seed": [0, 1]},
    "dataset": {"birds": {"kind": "folder", "path": "photos", "pack": "fast", "short_side": 72}},
    "recipe": {"birds": {"train": {"transform": "small", "batch": 4, "images_per_class": 2, "sampler": "m_per_class"}}},
    "split": {"validation_classes": 1, "folds": 2},
    "ablation": {"points": []},
    "tune": {"method": []},
}
PRESET = (*REPRO, "--preset", "mine")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone with six classes of ten small pictures each in its folder photos, which Git does not know, and a preset
    that is not committed.
    """
    folder = clone(tmp_path_factory.mktemp("clone"))
    for c in range(6):
        (folder / f"photos/bird {c}").mkdir(parents=True)
        for i in range(10):
            hue = np.array([c * 40, 250 - c * 40, 128]) + np.random.default_rng(10 * c + i).integers(
                -20, 20, (9 + i, 12, 3)
            )
            Image.fromarray(hue.clip(0, 255).astype(np.uint8)).save(folder / f"photos/bird {c}/{i}.png")
    (folder / "reports").mkdir(exist_ok=True)
    (folder / "reports/tables.md").write_text("the tables of another study\n")
    commit_all_but_photos(folder)
    (folder / "presets/mine.yaml").write_text(yaml.safe_dump(MINE, sort_keys=False))
    return folder


def commit_all_but_photos(folder):
    (folder / ".git/info/exclude").write_text("")
    sh(folder, "git", "add", "-A", "--", ":!photos")
    sh(folder, "git", "commit", "-qm", "tables")


def changed(folder):
    """What Git sees in the project, whole folders as one."""
    return sorted(line.split(maxsplit=1)[1] for line in sh(folder, "git", "status", "--porcelain").splitlines())


@pytest.fixture(scope="module")
def first(project):
    """What the first run of the preset printed."""
    assert changed(project) == ["photos/", "presets/mine.yaml"]
    return sh(project, *PRESET)


def test_a_study_ends_with_its_table_and_changes_no_file_of_another(project, first):
    assert "done in" in first
    assert changed(project) == [
        "photos/", "presets/mine.yaml", "reports/mine.md", "reports/mine/", "reports/provenance/", "reports/runs/",
    ]  # fmt: skip
    found = [path.relative_to(project / "reports").as_posix() for path in (project / "reports").rglob("*.*")]
    assert sorted(name for name in found if name.endswith(".json")) == [
        f"runs/mine/birds-pfml-{noise}-{seed}.json" for noise in (0.0, 0.2) for seed in (0, 1)
    ]
    table = (project / "reports/mine.md").read_text()
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert all(line in first.splitlines() for line in lines), "the terminal has the same table"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["Method", "Wrong labels", "R@1, %", "MAP@R, %", "Selected epoch", "Seeds"]
    recalls = {
        noise: [
            100 * json.loads((project / f"reports/runs/mine/birds-pfml-{noise}-{seed}.json").read_text())["recall@1"]
            for seed in (0, 1)
        ]
        for noise in (0.0, 0.2)
    }
    for row, (noise, label) in zip(rows[2:], ((0.0, "0 %"), (0.2, "20 %")), strict=True):
        assert row[:2] == ["PFML", label] and row[4:] == ["2", "2"]
        assert row[2] == f"{np.mean(recalls[noise]):.1f} ± {np.std(recalls[noise], ddof=1):.1f}"
    assert ".studies/mine/reports/index.html" in first


def test_the_images_of_the_project_are_packed_in_the_copy(project, first):
    copy = project / ".studies/mine"
    pack = sorted(path.name for path in (copy / "data/raw/birds").iterdir())
    assert pack == ["index.npy", "items.csv", "meta.json", "pixels.bin"]
    assert not (copy / "photos").exists() and not (project / "data").exists() and not (project / "models").exists()
    rows = [row for row in results(copy) if row["status"] == "current"]
    assert [(row["dataset"], row["noise"]) for row in rows] == [("birds", "0")] * 2 + [("birds", "0.2")] * 2
    tables = (copy / "reports/tables.md").read_text()
    assert "**Study `mine`**: birds, conv3" in tables and "published columns at the right" in tables
    assert (copy / "reports/figures/gallery-birds.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((copy / "data/split/birds.json").read_text())["counts"]["train_images"] == 30
    assert (project / "mlflow.db").exists() and not (copy / "mlflow.db").exists()
    assert (project / ".dvc/cache/runs").exists() and not (copy / ".dvc/cache").exists()


def test_a_second_run_does_nothing_and_shows_the_table_again(project, first):
    before = {path: path.read_bytes() for path in (project / "reports").rglob("*") if path.is_file()}
    out = sh(project, *PRESET)
    assert "nothing to run" in out and not ran(out) and "| PFML " in out
    assert {path: path.read_bytes() for path in (project / "reports").rglob("*") if path.is_file()} == before


def test_another_kind_of_noise_reruns_the_noisy_runs_alone(project, first):
    """An experiment of DVC works in the copy; the preset takes its params.yaml back."""
    copy = project / ".studies/mine"
    before = {(row["noise"], row["seed"]): row["digest"] for row in results(copy)}
    out = sh(copy, "dvc", "exp", "run", "-S", "noise.kind=pairflip")
    trained = re.findall(r"Running stage 'train@(\S+)'", out)
    assert trained == [f"birds-pfml-0.2-{seed}" for seed in (0, 1)] and {"plan", "noise", "evaluate"} <= ran(out)
    assert not {"fetch", "split"} & ran(out)
    after = {(row["noise"], row["seed"]): row["digest"] for row in results(copy) if row["status"] == "current"}
    assert {key[0] for key in after if after[key] != before[key]} == {"0.2"}
    labels = pd.read_csv(copy / "data/noise/birds-0.2-0.csv")
    moved = labels[labels["corrupted"]]
    assert len(moved) == 6 and ((moved["true_label"] + 1) % 3 == moved["noisy_label"]).all()
    tables = (copy / "reports/tables.md").read_text()
    assert "pairflip noise, no published numbers" in tables
    out = sh(project, *PRESET)
    assert "Running stage 'train" not in out and "pairflip" not in (project / "reports/mine.md").read_text()


def test_a_committed_preset_and_its_results_stay_as_they_are(project, first):
    commit(project, "mine")
    sh(project, *PRESET)
    assert changed(project) == []
