"""Which studies there are, what their presets are laid over, and which results belong to them."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from report_runs import write
from report_studies import pick, preset, runs_of, sections_of, tables_of, text_of, toy, write_all

from pfml.report.results import read_studies
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.presets import every_params, preset_names, read_preset, with_preset
from tests.committed import committed
from tests.conftest import ROOT, put

NAMES = ("cub200-noise", "sop-vit")


@pytest.fixture
def project(tmp_path, monkeypatch, raw):
    """A repository with the default study and two presets; returns a function that lays changes over params.yaml."""
    (tmp_path / "presets").mkdir()
    for name in NAMES:
        shutil.copy(ROOT / f"presets/{name}.yaml", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)

    def change(**changes):
        for key, value in changes.items():
            put(raw, key.replace("__", "."), value)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        return load_params()

    change()
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], check=True)
    return change


def digests(studies):
    return {study.name: [run.digest for run in study.runs] for study in studies.every}


def test_the_study_being_run_comes_first_then_the_presets(project):
    assert [study.name for study in read_studies(project()).every] == ["glyphs", *NAMES]


def test_an_experiment_moves_the_study_being_run_and_no_other(project):
    before = digests(read_studies(project()))
    after = digests(read_studies(project(loss__alpha=4.0, train__ema=0.5)))
    assert set(before["glyphs"]).isdisjoint(after["glyphs"])
    assert all(before[name] == after[name] for name in NAMES)


def test_with_a_preset_laid_over_params_the_default_study_is_still_there(project):
    default = digests(read_studies(project()))["glyphs"]
    path = Path("params.yaml")
    path.write_text(with_preset(path.read_text(), "cub200-noise"))
    running = load_params()
    assert [study.name for study in read_studies(running).every] == ["cub200-noise", "glyphs", "sop-vit"]
    assert digests(read_studies(running))["glyphs"] == default
    changed = running.model_copy(update={"grid": running.grid.model_copy(update={"seed": [7]})})
    assert {run.seed for run in read_studies(changed).running.runs} == {7}  # params.yaml wins over the preset


def test_outside_git_params_as_it_stands_takes_the_place_of_the_committed_one(project, tmp_path, capsys):
    shutil.rmtree(tmp_path / ".git")
    assert [p.study for p in every_params(project())] == ["glyphs", *NAMES]
    assert "presets are laid over params.yaml as it stands" in capsys.readouterr().out


def test_a_committed_file_that_does_not_fit_the_code_is_passed_over(project, tmp_path, capsys, raw):
    good = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(good.replace("\nsplit:", "\nsplitt:"))
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "y"], check=True)
    assert [p.study for p in every_params(project())] == ["glyphs", *NAMES]
    assert "params.yaml (committed): split: missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "study: sop-vit\n",
            r"presets/sop-vit.yaml: study: .* of its own, found 'sop-vit', which presets/extra.yaml has",
        ),
        ("grid: {seed: [1]}\n", r"presets/extra.yaml: study: missing"),
    ],
)
def test_a_preset_that_cannot_be_used_is_named(project, tmp_path, text, words):
    (tmp_path / "presets/extra.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_studies(project())


def test_a_preset_that_does_not_fit_is_left_out_and_said_so(project, tmp_path, capsys):
    (tmp_path / "presets/extra.yaml").write_text("study: extra\nloss: {alhpa: 2}\n")
    found = read_studies(project())
    assert found.find("extra") is None and len(found.every) > 1
    said = "left out of the report: presets/extra.yaml: loss.alhpa: unknown key; did you mean alpha"
    assert said in capsys.readouterr().out


def test_every_committed_preset_is_a_study(monkeypatch, raw):
    monkeypatch.chdir(ROOT)
    names = {study.name for study in read_studies(load_params(ROOT / "params.yaml"), committed("reports")).every}
    assert {read_preset(name)["study"] for name in preset_names()} <= names


def test_zero_shot_has_a_table_beside_those_of_its_study():
    """Its embeddings are as wide as the features, so that it is a block of its own, with a name of its own."""
    tables = committed("reports/tables")
    for name, known in (("", "pfml_tuned"), ("-zero-shot", "zero_shot")):
        rows = (tables / f"table-1-study-photos-frozen-cars98{name}.csv").read_text().splitlines()[1:]
        assert ([row.split(",")[0] for row in rows] == ["Zero-shot"]) == (known == "zero_shot")


def test_outdated_results_are_listed_with_why_and_stand_in_no_row(tmp_path):
    old, gone = toy(loss={"alpha": 4.0}), toy(study="abandoned")
    run = pick(old, "pfml", 0.0, 0)[0]
    write(tmp_path, run, 0.999)
    write(tmp_path, pick(toy(grid={"seed": [5]}), "cpml", 0.0)[0], 0.997)
    write(tmp_path, pick(gone, "pfml", 0.2, 0, axis="")[0], 0.995, digest="0" * 16)
    text = text_of(tmp_path, toy())
    tables, outside = text.split("## Results outside the present configuration")
    assert not [value for value in ("99.9", "99.7", "99.5") if value in tables]
    assert "1 of `toy` (outdated: its configuration has changed)" in outside
    assert run.digest in {row["Digest"].text.strip("`") for row in _outside_rows(tmp_path)}
    why = {row["Run"].text: row["Why"].text for row in _outside_rows(tmp_path)}
    assert why["glyphs-pfml-0.0-0"] == "outdated: its configuration has changed"
    assert why["glyphs-cpml-0.0-5"] == "the study no longer asks for it"
    assert why["glyphs-pfml-0.2-0"] == "there is no study of this name"


def _outside_rows(reports):
    table = tables_of(reports, toy())["outside"]
    return [dict(zip(table.header, row)) for row in table.rows]


def test_a_study_within_another_is_named_and_not_repeated(tmp_path):
    small, large = toy(), toy(study="large", grid={"seed": [0, 1, 2]})
    for study in (small, large):
        write_all(tmp_path, study, {"pfml": 0.7, "cpml": 0.6})
    running_small, running_large = (sections_of(tmp_path, *order) for order in ((small, large), (large, small)))
    names = [[table.name for table in found["Table 2"].tables] for found in (running_small, running_large)]
    assert "table-2-study-toy-glyphs" in names[0] and "table-2-study-large-glyphs" in names[0]
    assert "table-2-study-toy-glyphs" not in names[1]
    assert "Not repeated: `toy`, whose every run is one of `large`." in running_large["Table 2"].parts


def test_a_study_without_runs_is_named_and_the_papers_stand_in_the_comparison(tmp_path):
    found = sections_of(tmp_path, toy(), toy(study="later", model={"embedding_dim": 128}), preset("cub200-noise"))
    assert "Not run yet: `toy`, `later`." in found["Table 1"].parts
    rows = tables_of(tmp_path, toy(), preset("cub200-noise"))["table-2-compared"].rows
    assert {row[4].text for row in rows if row[0].text == "CUB-200"} == {"`cub200-noise`"}


def test_seeds_of_two_studies_are_one_row_where_their_settings_are_the_same(tmp_path):
    small, large, other = toy(grid={"seed": [0]}), toy(study="large"), toy(study="other", train={"epochs": 3})
    write_all(tmp_path, small, {"pfml": 0.7})
    write_all(tmp_path, large, {"pfml": 0.7})
    write_all(tmp_path, other, {"pfml": 0.1})
    table = tables_of(tmp_path, small, other, large)["beyond-noise-uniform-glyphs-conv3-64"]
    row = runs_of(table)["PFML"]
    assert row["0 %"].value == pytest.approx(71.0) and row["n"].text == "2"
