"""The command `pfml`: what each sub-command prints, and how it refuses."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from pfml import __version__, cli
from pfml.settings.load import load_params
from pfml.settings.presets import command_line, preset_title
from pfml.tuning import best, read_trials
from tests.conftest import ROOT


def pfml(*arguments, cwd=ROOT, shell=None):
    """A process of its own; `shell`: what follows the command in a shell."""
    command = [sys.executable, "-m", "pfml", *arguments]
    return subprocess.run(
        ["sh", "-c", f'"$@" {shell}', "sh", *command] if shell else command, cwd=cwd, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_help_loads_nothing_but_the_command_itself():
    code = (
        "import atexit, json, sys; from pfml.cli import main\n"
        "atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr)); main(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stderr))
    assert {name for name in loaded if name.startswith("pfml")} == {
        "pfml",
        "pfml.cli",
        "pfml.cli.study",
        "pfml.cli.use",
    }
    assert loaded.isdisjoint({"torch", "numpy", "pydantic", "yaml", "mlflow", "dvc"})
    assert all(f"\n    {cli.named(function)}" in done.stdout for function, _ in cli.COMMANDS)


def test_version_and_unknown_commands():
    assert pfml("--version").stdout == f"pfml {__version__}\n"
    assert "sub-commands" in pfml().stdout
    wrong = pfml("rerpo")
    assert (
        wrong.returncode == 2 and ", ".join(f"'{cli.named(function)}'" for function, _ in cli.COMMANDS) in wrong.stderr
    )


def test_presets_are_printed_as_commands(capsys):
    assert cli.main(["presets", "cub200-first", "sop-vit"]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert first == f"# cub200-first: {preset_title('cub200-first')}\n{command_line('cub200-first')}"
    assert second.startswith("# sop-vit: ") and "\ndvc exp run \\\n  -S " in second
    assert cli.main(["presets", "cub200-frist"]) == 2
    found = capsys.readouterr()
    assert "did you mean cub200-first?" in found.err and not found.out


def test_tune_prints_the_best_trials_as_settings(capsys):
    assert cli.main(["tune"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    files = sorted((ROOT / "reports/tuning" / load_params().grid.dataset[0]).glob("*.csv"))
    assert list(printed) == [path.stem for path in files] and len(files) > 20
    for path in files:
        found = printed[path.stem].items()
        assert {f"{part}.{name}": value for part, some in found for name, value in some.items()} == best(
            read_trials(path)[0]
        ).settings


def test_tune_without_a_search_says_how_to_run_one(tiny, write, tmp_path):
    write(tiny)
    done = pfml("tune", cwd=tmp_path)
    assert done.returncode == 1 and "reports/tuning/glyphs" in done.stderr and "make repro PRESET=" in done.stderr


@pytest.mark.parametrize("command", [cli.named(f) for f, _ in cli.COMMANDS if f not in cli.ANYWHERE])
def test_outside_the_project_every_command_says_so(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = "glyphs-pfml-0.0-0"
    needs = {"where": [run], "rerun": [run], "register-model": ["--run", run, "--name", "mine"]}
    needs |= {"grid": ["--on", "ray"], "sweep": ["-S", "loss.alpha=1,2"]}
    assert cli.main([command, *needs.get(command, [])]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "params.yaml" in error and "project's root" in error and str(tmp_path) in error
    assert list(tmp_path.iterdir()) == []


def test_a_bad_setting_is_one_line(raw, write, tmp_path):
    raw["loss"]["alpha"] = -1
    write(raw)
    for command in ("presets", "tune"):
        done = pfml(command, cwd=tmp_path)
        assert done.returncode == 2 and "loss.alpha" in done.stderr and done.stderr.count("\n") == 1


def test_repro_becomes_the_launcher_of_the_project_it_works_in(tmp_path):
    (tmp_path / "params.yaml").touch()
    (tmp_path / "src/pfml").mkdir(parents=True)
    (tmp_path / "src/pfml/__init__.py").touch()
    told = "import os, sys; print(*sys.argv, open('/proc/self/cmdline').read().split('\\0'), os.getpid())"
    (tmp_path / "src/pfml/launch.py").write_text(f"{told}; sys.exit(7)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "pfml", "repro", "-j", "3", "--preset", "mine"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    output = process.communicate()[0]
    assert process.returncode == 7  # the launcher's exit code is the command's
    assert output.startswith(f"{tmp_path / 'src/pfml/launch.py'} -j3 --preset=mine ")
    assert "'-m', 'pfml.launch'" in output and output.endswith(f" {process.pid}\n")


def test_repro_refuses_an_unknown_preset():
    done = pfml("repro", "--preset", "cub200-resnet5")
    assert done.returncode == 2 and "did you mean cub200-resnet50?" in done.stderr


def test_a_reader_may_close_the_pipe():
    done = pfml("presets", shell="| head -n 1")
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and done.stderr == ""


def test_a_setting_of_slurm_without_a_value_is_named(monkeypatch, capsys):
    from pfml.launch.__main__ import main

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["pfml.launch", "--on", "slurm", "--slurm", "partition"])
    assert main() == 2
    assert "--slurm: expected KEY=VALUE" in capsys.readouterr().err
