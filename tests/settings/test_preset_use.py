"""Laying presets over params.yaml: the text that comes out, and what is refused so that nothing is lost."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from pfml import cli
from pfml.launch.copies import params_of
from pfml.settings import ConfigError
from pfml.settings.overlay import merge
from pfml.settings.presets import command_line, preset_title, read_preset, with_preset
from pfml.settings.validation import Loader
from tests.conftest import ROOT
from tests.conftest import merge as put
from tests.settings.preset_settings import MLRC, NAMES


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def committed() -> str:
    return (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize("name", NAMES + MLRC)
def test_the_text_is_the_merge_and_keeps_what_it_does_not_touch(name, committed, raw):
    changed = with_preset(committed, name)
    assert yaml.load(changed, Loader) == merge(raw, read_preset(name))
    assert with_preset(changed, name) == changed
    for first, last in (("# --- data", "loss:"), ("# --- theory", None), ("  pfml_tuned:", "  cpml:")):
        part = committed[committed.index(first) : committed.index(last) if last else None]
        assert part in changed
    headings = [line for line in committed.splitlines() if line.startswith("#")]
    assert [line for line in changed.splitlines() if line.startswith("#")] == headings


@pytest.mark.parametrize("name", NAMES + MLRC)
def test_dvc_makes_the_same_of_the_printed_command(name, tmp_path, committed, raw):
    """Every -S goes through DVC's own code, on a copy."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides

    words = shlex.split(command_line(name).replace("\\\n", " "))
    assert words[:3] == ["dvc", "exp", "run"] and set(words[3::2]) == {"-S"}
    [(file, found)] = to_path_overrides(words[4::2]).items()
    path = tmp_path / file
    path.write_text(committed)
    apply_overrides(path, found)
    assert yaml.load(path.read_text(), Loader) == merge(raw, read_preset(name))


def test_dvc_can_set_lists_in_what_was_laid_over(tmp_path, committed):
    from dvc.utils.hydra import apply_overrides

    for change in ("ablation.points=[]", "ablation.points=[alpha-4]", "grid.baseline=[]", "grid.seed=[0]"):
        path = tmp_path / "params.yaml"
        path.write_text(with_preset(committed, "cub200-resnet50"))
        before = yaml.load(path.read_text(), Loader)
        apply_overrides(path, [change])
        section, key = change.split("=")[0].split(".")
        assert yaml.load(path.read_text(), Loader) == put(
            before, {section: {key: yaml.safe_load(change.split("=")[1])}}
        )


def git(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch, committed):
    """A repository with params.yaml and the presets, and the working directory there."""
    (tmp_path / "params.yaml").write_text(committed)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "start")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_preset_is_laid_over_the_committed_file_and_written_nowhere(project, committed):
    path = project / "params.yaml"
    path.write_text(with_preset(committed, "sop-vit") + "# a note\n")
    text = path.read_text()
    assert params_of("cub200-noise") == with_preset(committed, "cub200-noise")
    assert path.read_text() == text
    path.write_text(committed.replace("epochs: 8", "epochs: 13"))
    assert yaml.load(params_of("cub200-dino"), Loader)["train"]["epochs"] == 8
    git(project, "commit", "-qam", "mine")
    assert yaml.load(params_of("cub200-dino"), Loader)["train"]["epochs"] == 13


def test_an_error_of_the_committed_file_is_not_taken_for_one_of_the_preset(project, committed):
    (project / "params.yaml").write_text(committed.replace("epochs: 8", "epochs: many"))
    assert params_of("sop-vit")
    git(project, "commit", "-qam", "wrong")
    with pytest.raises(ConfigError, match=r"^params\.yaml \(committed\): train\.epochs"):
        params_of("sop-vit")


def test_every_preset_can_be_run(project):
    """None is in the way of another; glyphs-tune alone has the name of the default study."""
    for path in sorted((project / "presets").glob("*.yaml")):
        assert params_of(path.stem)


def test_a_preset_over_another_says_what_differs_from_it(project, committed, raw):
    (project / "presets/own.yaml").write_text("over: sop-vit\nstudy: own\ngrid:\n  seed: [7]\n")
    wanted = merge(merge(raw, read_preset("sop-vit")), {"study": "own", "grid": {"seed": [7]}})
    assert yaml.load(with_preset(committed, "own"), Loader) == wanted
    assert "over" not in wanted and wanted["grid"]["baseline"] == read_preset("sop-vit")["grid"]["baseline"]


@pytest.mark.parametrize("below, words", [
    ("own", r"own\.yaml: over: own is laid over own"),
    ("circle", r"own\.yaml: over: .*circle\.yaml: over: own is laid"),
    ("sop-vti", r"own\.yaml: over: .*did you mean sop-vit\?"), ("[a]", r"own\.yaml: over: .*there is no"),
])  # fmt: skip
def test_presets_that_cannot_be_laid_over_each_other_are_named(project, below, words):
    (project / "presets/own.yaml").write_text(f"over: {below}\nstudy: own\n")
    (project / "presets/circle.yaml").write_text("over: own\nstudy: circle\n")
    with pytest.raises(ConfigError, match=words):
        read_preset("own")


def test_without_git_there_is_no_way_back(project):
    shutil.rmtree(project / ".git")
    with pytest.raises(ConfigError, match=r"params\.yaml: expected it to be committed.*not a git repository"):
        params_of("cub200-dino")


BAD = [
    ("train: {epcohs: 3}", r"presets/mine\.yaml: train\.epcohs: unknown key; did you mean epochs"),
    ("recipe: {cub200: {train: {lr: fast}}}", r"presets/mine\.yaml: recipe\.cub200\.train\.lr: .*'fast'"),
    ("baseline: {triplet: {loss: {margin: 0.1}}}", r"presets/mine\.yaml: baseline\.triplet\.loss\.mining: missing"),
    ("grid: {baseline: [hist_]}", r"presets/mine\.yaml: grid\.baseline: unknown method 'hist_'"),
    ("train: 3", r"presets/mine\.yaml: train: .*found 3"),
    ("trian: {epochs: 3}", r"presets/mine\.yaml: trian: unknown key; did you mean train"),
    ("[1]", r"presets/mine\.yaml: expected sections of params\.yaml, found list"),
    ("a: [1", r"presets/mine\.yaml: not valid YAML"),
]


@pytest.mark.parametrize("text, message", BAD, ids=[text for text, _ in BAD])
def test_a_bad_preset_is_refused_with_its_file_and_key(project, committed, text, message):
    (project / "presets/mine.yaml").write_text(f"# mine\n{text}\n")
    with pytest.raises(ConfigError, match=message) as error:
        params_of("mine")
    assert "\n" not in str(error.value)
    assert (project / "params.yaml").read_text() == committed
    params_of("sop-dino")  # a bad one beside it is no obstacle
    params_of("sop-vit")


def test_an_unknown_name_is_answered_with_the_nearest_and_all(project):
    found = subprocess.run(
        [sys.executable, "-m", "pfml.launch", "--preset", "cub200-resnet5"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert found.returncode == 2 and found.stderr.count("\n") == 1
    assert "did you mean cub200-resnet50?" in found.stderr and all(name in found.stderr for name in NAMES)


def test_they_are_listed_with_their_titles(capsys, monkeypatch, tmp_path):
    assert cli.main(["presets"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {name: listed.get(name) for name in NAMES} == {name: preset_title(name) for name in NAMES}
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["presets"]) == 2
    assert "project's root" in capsys.readouterr().err


def test_make_hands_on_the_preset():
    found = subprocess.run(
        ["make", "-n", "repro", "PRESET=cub200-vit", "-j", "2"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    ).stdout  # fmt: skip
    assert "pfml repro -j2 --preset=cub200-vit" in found
