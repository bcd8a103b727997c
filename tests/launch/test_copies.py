"""A preset runs in a working copy of its own and leaves the project as it was; real Git and DVC, a small pipeline."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from pfml.launch import copies
from pfml.launch import pipeline as launch
from pfml.settings.run import project_root
from tests.conftest import ROOT
from tests.launch.small_pipeline import git, make_repro, ran

MINE = "# Mine\nstudy: mine\nloss:\n  alpha: 4.0\n"


@pytest.fixture
def preset(project):
    """The project with a preset that is not committed; one beside it is."""
    (project / "presets").mkdir()
    (project / "presets/other.yaml").write_text("# Another\nstudy: other\n")
    git(project, "add", "presets")
    git(project, "commit", "-qm", "presets")
    (project / "presets/mine.yaml").write_text(MINE)
    return project


def changed(folder):
    shown = subprocess.run(["git", "status", "--porcelain", "-uall"], cwd=folder, capture_output=True, text=True)
    return sorted(line[3:] for line in shown.stdout.splitlines())


def files(folder):
    """Every file of the project but those of Git, of DVC, and of its working copies."""
    places = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in places}
    return {
        name: path.read_bytes() for name, path in names.items() if not name.startswith((".git", ".dvc", ".studies"))
    }


def test_the_project_stays_as_it_was_but_for_the_studys_own_results(preset, monkeypatch, capfd):
    before = files(preset)
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    results = [f"reports/runs/mine/{run}.json" for run in "abc"]
    made = ["reports/mine.md", "reports/mine/training.png", *results]
    assert changed(preset) == sorted(["presets/mine.yaml", *made])
    assert "\n![R@1 and loss over epochs](mine/training.png)\n" in (preset / "reports/mine.md").read_text()
    after = files(preset)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == set(made)
    copy = preset / ".studies/mine"
    settings = yaml.safe_load((copy / "params.yaml").read_text())
    assert settings["study"] == "mine" and settings["loss"]["alpha"] == 4.0
    assert all((copy / name).read_bytes() == before[f"reports/runs/glyphs/{name[-6:]}"] for name in results)
    assert not [name for name in ran(copy) if name.startswith(("train", "theory", *launch.DATA))]
    assert ".studies/mine/reports/index.html" in capfd.readouterr().out

    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    assert "nothing to run" in capfd.readouterr().out and not ran(copy) and files(preset) == after
    assert make_repro(preset, monkeypatch) == 0  # the project's own tables may show the study now
    assert set(ran(preset)) == {"report", "figures", "register", "page"}


def test_uncommitted_code_counts_and_what_left_the_project_leaves_the_copy(preset, monkeypatch):
    for name in ("src/new.py", "photos/a/1.png", "source/unknown"):
        (preset / name).parent.mkdir(parents=True, exist_ok=True)
        (preset / name).write_text(name)
    (preset / "source/train_b").write_text("edited\n")
    copy = preset / ".studies/mine"
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    assert "train_b" in ran(copy) and "train_a" not in ran(copy)
    assert (copy / "src/new.py").read_text() == "src/new.py"
    assert not (copy / "photos").exists() and not (copy / "source/unknown").exists(), "they may be anything"
    assert b"edited" in (preset / "reports/runs/mine/b.json").read_bytes()

    (preset / "src/new.py").unlink()
    (copy / "src/note.py").write_text("made in the copy")
    (copy / "reports/runs/mine/note.txt").write_text("likewise")
    git(preset, "checkout", "-q", "source")
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    assert not (copy / "src/new.py").exists() and (copy / "src/note.py").exists()
    assert b"edited" not in (preset / "reports/runs/mine/b.json").read_bytes()


def test_params_yaml_counts_as_it_is_committed(preset, monkeypatch, capfd):
    text = (preset / "params.yaml").read_text()
    (preset / "params.yaml").write_text(text.replace("epochs: 8", "epochs: 13"))
    before = (preset / "params.yaml").read_bytes()
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    assert "uncommitted changes of params.yaml do not count" in capfd.readouterr().out
    assert yaml.safe_load((preset / ".studies/mine/params.yaml").read_text())["train"]["epochs"] == 8
    assert (preset / "params.yaml").read_bytes() == before


def held(project):
    """The project with a training that does not end while the file `hold` is there."""
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text())
    wait = f"touch {project}/held; while test -e {project}/hold; do sleep 0.1; done"
    pipeline["stages"]["train_b"]["cmd"] = f"{wait} && {pipeline['stages']['train_b']['cmd']}"
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (project / "hold").touch()
    git(project, "add", "dvc.yaml")
    git(project, "commit", "-qm", "a training that waits")


def start(project, name):
    """`make repro PRESET=name` in a process group of its own, in the middle of its training."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pfml.launch", "-j2", "--preset", name], cwd=project, env=environment,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (project / "held").exists():
        assert process.poll() is None
        time.sleep(0.05)
    (project / "held").unlink()
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_the_project_as_it_was_and_the_next_start_goes_on(preset, monkeypatch, number):
    held(preset)
    before = files(preset)
    process = start(preset, "mine")
    os.killpg(process.pid, number)
    process.wait()
    own = "reports/runs/mine/"  # results of finished runs come back where the process can still bring them
    assert {name: text for name, text in files(preset).items() if not name.startswith(own)} == before
    (preset / "hold").unlink()
    first = ran(preset / ".studies/mine")
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    assert "train_b" in ran(preset / ".studies/mine") and not set(first) & {"train_b"}
    assert (preset / "reports/mine.md").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_brings_the_results_of_finished_runs_back(preset, monkeypatch, number):
    held(preset)
    (preset / "source/train_a").write_text("edited\n")
    process, measured = start(preset, "mine"), preset / ".studies/mine/reports/runs/mine/a.json"
    while not measured.exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.wait()
    assert "reports/runs/mine/a.json" in changed(preset) and not (preset / "reports/mine.md").exists()
    assert (preset / "reports/runs/mine/a.json").read_bytes() == measured.read_bytes()
    (preset / "hold").unlink()


def test_one_preset_runs_once_and_two_beside_each_other_and_the_default(preset, monkeypatch, capfd):
    held(preset)
    process = start(preset, "mine")
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 1
    assert "another `make repro PRESET=mine` is at work" in capfd.readouterr().err
    (preset / "hold").unlink()
    assert make_repro(preset, monkeypatch, "--preset", "other") == 0 == make_repro(preset, monkeypatch)
    assert process.wait() == 0
    assert {path.stem for path in preset.glob("reports/*.md")} == {"mine", "other", "tables"}


BAD = {
    "loss: {alpha: 4.0}": r"presets/mine\.yaml: study: missing; expected a name of its own",
    "study: other": r"presets/mine\.yaml: study: expected a name of its own, found 'other', which presets/other\.yaml",
    "study: tables": r"presets/mine\.yaml: study: 'tables' is taken: reports/tables\.md is another document",
    "study: mine\ntrian: {epochs: 3}": r"presets/mine\.yaml: trian: unknown key; did you mean train",
}


@pytest.mark.parametrize("text", BAD)
def test_what_would_overwrite_another_study_is_refused_before_anything_runs(preset, monkeypatch, capfd, text):
    (preset / "presets/mine.yaml").write_text(text + "\n")
    before = files(preset)
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 2
    assert re.search(BAD[text], capfd.readouterr().err)
    assert files(preset) == before and not (preset / ".studies/mine/.git").exists()


def test_settings_of_dvc_hold_in_the_copy(preset, monkeypatch):
    git(preset, "config", "user.name", "t")
    (preset / ".dvc/config.local").write_text(
        "[cache]\n    dir = ../shared\n['remote \"store\"']\n    url = ../store\n"
    )
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    copy = preset / ".studies/mine"
    shown = subprocess.run([*launch.DVC, "config", "--list"], cwd=copy, capture_output=True, text=True, check=True)
    assert f"cache.dir={preset / 'shared'}" in shown.stdout and "core.analytics=false" in shown.stdout
    monkeypatch.setenv("COLUMNS", "400")  # else DVC breaks a long path into two lines
    remotes = subprocess.run([*launch.DVC, "remote", "list"], cwd=copy, capture_output=True, text=True, check=True)
    assert str(preset / "store") in remotes.stdout
    assert not (copy / ".dvc/cache").exists() and list((preset / "shared").iterdir())


def test_a_removed_copy_comes_from_the_cache(preset, monkeypatch):
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    before = files(preset)
    shutil.rmtree(preset / ".studies")
    assert make_repro(preset, monkeypatch, "--preset", "mine") == 0
    assert files(preset) == before
    assert not [name for name in ran(preset / ".studies/mine") if name.startswith("train")]


def test_what_a_study_writes_is_read_from_the_pipeline():
    own = copies.outputs((ROOT / "dvc.yaml").read_text(), "mine")
    for name in (
        "reports/runs/mine/birds-pfml-0.2-0.json", "reports/runs/mine/ablation/a-pfml-0.2-0-alpha-4.csv",
        "reports/tables/beyond.csv", "reports/tables.md", "data/plan/study.json",
        "reports/figures/gallery-birds.png", "reports/tuning/glyphs/pfml.csv", "reports/complexity/mine.csv",
    ):  # fmt: skip
        assert copies.is_own(name, own), name
    for name in ("reports/runs/glyphs/glyphs-pfml-0.2-0.json", "src/pfml/cli.py", "reports/benchmarks.md", "dvc.yaml"):
        assert not copies.is_own(name, own), name


def test_relative_paths_start_at_the_project_also_in_its_copies(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    copy = tmp_path / ".studies/mine"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert project_root() == copy, "a folder of this name that is in no project"
    (tmp_path / "params.yaml").touch()
    assert project_root() == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(copy))  # an experiment of DVC in a temporary folder
    assert project_root() == tmp_path
