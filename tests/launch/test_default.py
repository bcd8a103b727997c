"""`make default` from every state: real Git, real experiments of DVC, finished and killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pfml import cli
from pfml.launch import pipeline as launch
from pfml.launch.default import comments, restore_default
from pfml.settings import ConfigError
from pfml.settings.presets import with_preset
from tests.launch.small_pipeline import git

OWN = """
dataset:
  birds:                       # mine
    kind: folder
    path: photos
"""
RECIPE = "  birds:\n    train:\n      transform: small     # 64 pixels\n"


@pytest.fixture
def params(project):
    (project / "presets").mkdir()
    (project / "presets/alpha.yaml").write_text("# Alpha\nstudy: alpha\nloss:\n  alpha: 4.0\n")
    git(project, "add", "presets")
    git(project, "commit", "-qm", "presets")
    return project / "params.yaml"


def dvc(*command):
    subprocess.run([*launch.DVC, *command], check=True, capture_output=True)


def status():
    return subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout


def experiment(*changes):
    dvc("exp", "run", *(word for change in changes for word in ("-S", change)), "plan")


def with_own(text):
    """The text with a dataset and a recipe of one's own, typed below the sections that are there."""
    text = text.replace("\ndataset:\n", OWN, 1)
    return text.replace("\nrecipe:\n", f"\nrecipe:\n{RECIPE}", 1)


def test_nothing_to_do(params):
    before = params.read_bytes(), (params.parent / "dvc.lock").read_bytes()
    assert "as it is committed" in restore_default()
    assert (params.read_bytes(), (params.parent / "dvc.lock").read_bytes()) == before and not status()


@pytest.mark.parametrize("staged", [False, True])
def test_after_a_finished_experiment(params, staged):
    before, lock = params.read_bytes(), params.parent / "dvc.lock"
    known = lock.read_bytes()
    experiment("loss.alpha=4")
    lock.write_bytes(known + b"  another:\n    cmd: 'true'\n")
    if staged:
        git(params.parent, "add", "-A")
    assert "M" in status()
    assert "params.yaml: experiment " in restore_default()
    assert (params.read_bytes(), lock.read_bytes()) == (before, known) and not status()


def test_an_experiment_keeps_also_sections_that_were_typed_before_it(params):
    """DVC saves the whole file with the experiment, so nothing is lost."""
    params.write_text(with_own(params.read_text()))
    experiment("loss.alpha=4")
    assert "experiment" in restore_default() and not status()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("staged", [False, True])
def test_after_a_killed_experiment_the_value_is_printed(params, stop, staged):
    before = params.read_bytes()
    kill_an_experiment(params.parent, stop)
    assert params.read_bytes() != before
    if staged:
        git(params.parent, "add", "params.yaml")
    said = restore_default()
    assert "did not end; to have it again: dvc exp run -S loss.alpha=4;" in said
    assert params.read_bytes() == before and "params.yaml" not in status()


def kill_an_experiment(project, stop):
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text())
    pipeline["stages"]["slow"] = {"cmd": f"touch {project}/held && sleep 60"}
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    git(project, "commit", "-qam", "a stage that waits")
    process = subprocess.Popen(
        [*launch.DVC, "exp", "run", "-S", "loss.alpha=4", "slow"], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (project / "held").exists():
        assert process.poll() is None
        time.sleep(0.05)
    (project / "held").unlink()
    os.killpg(process.pid, stop)
    process.wait()


def test_a_killed_experiment_on_sections_of_ones_own_loses_nothing(params):
    params.write_text(with_own(params.read_text()))
    kill_as_it_begins()
    text = params.read_text()
    with pytest.raises(ConfigError, match=r"dataset\.birds"):
        restore_default()
    assert params.read_text() == text


def kill_as_it_begins():
    process = subprocess.Popen(
        [*launch.DVC, "exp", "run", "-S", "loss.alpha=4", "report"], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while "alpha: 4 " not in Path("params.yaml").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


REFUSED = {
    "a section": (with_own, r"dataset\.birds\.kind=folder, dataset\.birds\.path=photos"),
    "a value": (lambda text: text.replace("epochs: 8", "epochs: 13"), r"train\.epochs=13 would be lost"),
    "a comment": (lambda text: text + "# a note\n", r"a comment would be lost"),
    "no YAML": (lambda text: text + "a: [1\n", r"params\.yaml: not valid YAML"),
    "no mapping": (lambda text: "- a\n", r"params\.yaml: expected sections, found list"),
    "a setting less": (lambda text: text.replace("  neighbours: 5", "  #neighbours: 5"), r"~noise\.neighbours would"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("staged", [False, True])
def test_what_nothing_else_has_is_refused_with_what_to_do(params, what, staged):
    change, message = REFUSED[what]
    params.write_text(change(params.read_text()))
    if staged:
        git(params.parent, "add", "params.yaml")
    text, before = params.read_text(), status()
    with pytest.raises(ConfigError, match=message) as refused:
        restore_default()
    assert "git checkout HEAD params.yaml" in str(refused.value) and "\n" not in str(refused.value)
    assert params.read_text() == text and status() == before


def test_a_preset_that_an_older_version_wrote_is_taken_back(params):
    before = params.read_text()
    params.write_text(with_preset(before, "alpha"))
    assert "preset alpha was laid over it" in restore_default()
    assert params.read_text() == before and not status()
    params.write_text(with_preset(before, "alpha") + "# a note\n")
    with pytest.raises(ConfigError, match="would be lost"):
        restore_default()


def test_what_another_commit_has_is_not_lost(params):
    before, other = params.read_text(), params.read_text().replace("epochs: 8", "epochs: 13")
    git(params.parent, "checkout", "-qb", "other")
    params.write_text(other)
    git(params.parent, "commit", "-qam", "13")
    git(params.parent, "checkout", "-q", "-")
    params.write_text(other)
    assert "params.yaml: commit " in restore_default() and params.read_text() == before


def test_own_sections_become_a_preset_with_their_comments(params, capsys):
    before = params.read_text()
    params.write_text(with_own(before).replace("epochs: 8", "epochs: 13"))
    wanted = yaml.safe_load(params.read_text()) | {"study": "mine"}
    assert cli.main(["default", "--save", "mine"]) == 0
    assert "presets/mine.yaml: what params.yaml had" in capsys.readouterr().out
    assert params.read_text() == before and status() == "?? presets/mine.yaml\n"
    assert yaml.safe_load(with_preset(before, "mine")) == wanted
    saved = params.with_name("presets") / "mine.yaml"
    assert {"# mine", "# 64 pixels"} <= comments(saved.read_text())
    params.write_text(before.replace("epochs: 8", "epochs: 14"))
    assert cli.main(["default", "--save", "mine"]) == 2, "it never replaces one"
    assert "presets/mine.yaml: expected a new name" in capsys.readouterr().err and "epochs: 14" in params.read_text()


def test_a_removed_setting_is_no_preset(params):
    params.write_text(params.read_text().replace("  omniglot:", "  #omniglot:"))
    text = params.read_text()
    with pytest.raises(ConfigError):
        restore_default("mine")
    assert params.read_text() == text and not (params.parent / "presets/mine.yaml").exists()


def test_a_pipeline_at_work_is_left_alone(params, capsys):
    (params.parent / "dvc").write_text("import time; time.sleep(60)")
    process = subprocess.Popen([sys.executable, "dvc"])
    table = params.parent / ".dvc/tmp/rwlock"
    table.write_text(f'{{"write": {{"a": {{"pid": {process.pid}, "cmd": "dvc"}}}}, "read": {{}}}}')
    try:
        assert cli.main(["default"]) == 1 and str(process.pid) in capsys.readouterr().err
    finally:
        process.kill()
        process.wait()
    (params.parent / "dvc").unlink()


def test_without_git_there_is_no_way_back(tmp_path, write, raw, monkeypatch):
    write(raw)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"params\.yaml: expected it to be committed.*not a git repository"):
        restore_default()
