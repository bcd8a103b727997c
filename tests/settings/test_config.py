import copy
import subprocess
import sys

import pytest
import yaml

from pfml.datasets.catalogue import CATALOGUE
from pfml.losses import LOSSES
from pfml.settings import ConfigError
from pfml.settings.load import check_backbone, load_params
from pfml.settings.losses import BASELINES, LOSS_SETTINGS
from pfml.settings.runs import ablation_base, ablation_runs, find_run, grid_runs
from pfml.settings.schema import DATASETS
from tests.conftest import ROOT, put


def test_a_recipe_has_the_last_word_for_its_dataset_and_no_word_for_others(raw, write):
    raw["grid"] |= {"dataset": ["glyphs", "sop"], "field": ["pfml", "pfml_tuned", "cpml"], "baseline": ["triplet"]}
    runs = {(c.dataset, c.method): c for c in grid_runs(load_params(write(raw))) if not c.noise}
    glyphs, sop = runs["glyphs", "pfml"], runs["sop", "pfml"]
    assert (glyphs.backbone, glyphs.dim, glyphs.loss["proxies_per_class"]) == ("conv3", 64, 15)
    assert glyphs.train["lr"] == raw["field"]["pfml"]["train"]["lr"] != sop.train["lr"]
    assert (sop.backbone, sop.dim, sop.train["lr"], sop.loss["proxies_per_class"]) == ("resnet50.tv_in1k", 512, 1e-4, 2)
    assert runs["sop", "pfml_tuned"].loss["proxies_per_class"] == runs["sop", "cpml"].loss["proxies_per_class"] == 2
    assert runs["sop", "triplet"].train["transform"] == "proxy_anchor" and "alpha" not in runs["sop", "cpml"].loss
    assert sop.train["clip_proxies"] and not sop.train["steps_per_epoch"]  # what no recipe names stays the method's


def test_your_own_dataset_needs_two_short_sections(raw, write):
    raw["grid"]["dataset"] = ["birds"]
    raw["dataset"]["birds"] = {"kind": "csv", "path": "birds.csv"}
    raw["recipe"]["birds"] = {"train": {"transform": "small"}}
    params = load_params(write(raw))
    assert {run.train["transform"] for run in grid_runs(params) + ablation_runs(params)} == {"small"}
    assert {run.dataset for run in ablation_runs(params)} == {"birds"}
    assert (params.dataset["birds"].pack, params.dataset["birds"].short_side) == ("exact", 256)


def test_the_kind_of_noise_is_part_of_the_configuration_of_noisy_runs_only(raw, write):
    plain = {c.name: c.digest for c in grid_runs(load_params(write(raw)))}
    raw["noise"] |= {"kind": "semantic", "neighbours": 3}
    semantic = {c.name: c for c in grid_runs(load_params(write(raw)))}
    same = {name for name, run in semantic.items() if run.digest == plain[name]}
    assert same == {name for name, run in semantic.items() if not run.noise}
    assert semantic["glyphs-pfml-0.2-0"].config["noise_kind"] == {
        "kind": "semantic", "neighbours": 3, "embeddings": None, "confusable": None,
    }  # fmt: skip
    raw["noise"]["list"] = "unread.csv"  # a key of another kind
    assert {c.name: c.digest for c in grid_runs(load_params(write(raw)))} == {n: c.digest for n, c in semantic.items()}


def test_how_images_are_made_is_part_of_the_configuration(raw, write):
    raw["grid"]["dataset"] = ["cub200"]

    def digest(**changes):
        raw["dataset"]["cub200"] |= changes
        return grid_runs(load_params(write(raw)))[0].digest

    exact = digest()
    assert digest(short_side=300) == exact  # which nobody reads
    fast = digest(pack="fast")
    assert len({exact, fast, digest(short_side=256), digest(skip_unreadable=True)}) == 4
    assert digest(validation_classes=7) == digest(validation_classes=None)  # but where they are held out
    raw["train"]["hold_out"] = True
    assert digest(validation_classes=7) != digest(validation_classes=None)


def test_one_list_cannot_stand_for_two_fractions(raw, write):
    raw["grid"]["noise"], raw["noise"]["kind"], raw["noise"]["list"] = [0.0, 0.2, 0.5], "list", "noisy.csv"
    with pytest.raises(ConfigError, match=r"noise\.list: one file for the fractions \[0\.2, 0\.5\]"):
        load_params(write(raw))
    raw["noise"]["list"] = "noisy_{noise}.csv"
    load_params(write(raw))


def test_an_unknown_backbone_is_refused_by_the_check_stage(raw, write):
    raw["model"]["backbone"] = "resnet5"
    with pytest.raises(ConfigError, match=r"model\.backbone: 'resnet5'.*did you mean resnet50"):
        check_backbone(load_params(write(raw)))


@pytest.mark.parametrize("text", ["1e-05", "1.0e-5", "1E-5", "0.00001"])
def test_small_numbers_are_numbers_however_dvc_writes_them(raw, write, text):
    path = write(raw)
    path.write_text(path.read_text().replace("weight_decay: 0.0001", f"weight_decay: {text}"))
    assert load_params(path).train.weight_decay == 1e-5


def test_the_committed_study_is_the_documented_one():
    params = load_params(ROOT / "params.yaml")
    assert params.grid.field == ["pfml", "pfml_tuned", "cpml"]
    tuned = {"proxy_anchor", "proxy_nca", "soft_triple", "multi_similarity", "triplet", "contrastive"}
    assert set(params.grid.baseline) >= tuned and set(params.baseline) == set(BASELINES)
    assert params.grid.noise == [0.0, 0.2] and params.study == "glyphs"
    paper = find_run(grid_runs(params), "glyphs-pfml-0.0-0").config["loss"]
    assert (paper["alpha"], paper["delta"], paper["delta_rep"], paper["proxies_per_class"]) == (3, 0.2, 0.2, 15)
    assert (paper["reduction"], paper["proxy_proxy"], paper["absent_proxies"]) == ("sum", "all", True)


def test_a_missing_key_is_named(raw, write):
    del raw["loss"]["delta"]
    with pytest.raises(ConfigError, match=r"loss\.delta: missing"):
        load_params(write(raw))


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_params(tmp_path / "nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("loss: [1\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_params(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(ConfigError, match="NoneType"):
        load_params(tmp_path / "empty.yaml")


READ_PARAMS = ("figures", "plan", "register", "page", "report")


@pytest.mark.parametrize("stage", sorted(p.stem for p in (ROOT / "stages").glob("*.py")))
def test_every_stage_ends_with_exit_code_2_before_it_touches_anything(raw, write, tmp_path, stage):
    """Those that read params.yaml for a bad value; the others read their file of the plan, which is not there."""
    write(put(raw, "loss.alpha", -1))
    found = subprocess.run(
        [sys.executable, ROOT / f"stages/{stage}.py", "glyphs"], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
    )  # fmt: skip
    assert found.returncode == 2
    expected = "loss.alpha" if stage in READ_PARAMS else "data/plan/"
    assert found.stderr.count("\n") == 1 and expected in found.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]


def test_the_digest_follows_what_decides_the_numbers(raw, write):
    def digest(**changes):
        changed = {key.replace("__", "."): value for key, value in changes.items()}
        for key, value in changed.items():
            put(raw, key, value)
        runs = grid_runs(load_params(write(raw)))
        return {run.method: run.digest for run in runs if run.noise == 0}

    base = digest()
    assert len(set(base.values())) == len(base)
    assert digest(study="other") == base, "the study's name decides nothing"
    assert digest(evaluate__nmi=False) == base
    assert digest(loss__alpha=3) == base, "3 and 3.0 are one value"
    assert digest(loss__delta_rep=0.2) == base, "delta_rep null means delta"
    moved = digest(loss__alpha=4)
    assert {m for m in base if moved[m] != base[m]} == {"pfml"}, "cpml has no alpha, pfml_tuned its own, baselines none"
    assert all(moved[m] != d for m, d in digest(train__weight_decay=0.5).items())


def test_ablation_runs_move_one_setting(raw, write):
    params = load_params(write(raw))
    base = find_run(grid_runs(params), "glyphs-pfml-0.0-0")
    for run in ablation_runs(params):
        moved = {k for k in base.config["loss"] if run.config["loss"][k] != base.config["loss"][k]}
        expected = {"delta": {"delta", "delta_rep"}, "delta_gap": {"delta_rep"}}.get(run.axis, {run.axis})
        assert moved == expected and run.train == base.train
    value, runs = ablation_base(params, "delta_gap")
    assert value == 0 and runs == [base]
    gap = next(c for c in ablation_runs(params) if c.axis == "delta_gap" and c.value == 0.1)
    assert gap.config["loss"]["delta_rep"] == pytest.approx(0.3)


@pytest.mark.parametrize("points, message", [
    (["alfa-1"], r"ablation\.points: expected <axis>-<value> .* found 'alfa-1'; did you mean alpha\?"),
    (["alpha-x"], r"ablation\.points: expected a number behind alpha-, found 'alpha-x'"),
    (["alpha-nan"], r"expected a number behind alpha-, found 'alpha-nan'"),
    (["alpha-01"], r"ablation\.points: expected alpha-1, found alpha-01"),
    (["delta-0.10"], r"expected delta-0\.1, found delta-0\.10"),
    (["alpha-1", "alpha-1"], r"ablation\.points: expected each value once"),
    (["delta-0.0"], r"ablation\.points: delta-0\.0 cannot be used \(delta: .*greater than 0\.001, found 0\.0\)"),
    (["alpha--1"], r"ablation\.points: alpha--1 cannot be used"),
    ([4], r"ablation\.points\.0: .*found 4"),
])  # fmt: skip
def test_points_that_cannot_be_run_are_refused(raw, write, points, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_params(write(put(raw, "ablation.points", points)))
    assert "\n" not in str(error.value)


def test_the_four_lists_of_earlier_versions_answer_with_the_one_of_today(raw, write):
    raw["ablation"] = {"noise": 0.0, "proxies_per_class": [], "alpha": [1, 4], "delta": [], "delta_gap": []}
    with pytest.raises(ConfigError, match=r"ablation\.points: \[\]"):
        load_params(write(raw))
    raw["ablation"] = {"noise": 0.0, "alpha": [1, 4]}
    with pytest.raises(ConfigError, match=r"ablation\.points: \[alpha-1, alpha-4\], found alpha: \[1, 4\]"):
        load_params(write(raw))


def test_seeds_multiply_grid_and_ablations(raw, write):
    one = load_params(write(raw))
    three = load_params(write(put(raw, "grid.seed", [0, 1, 2])))
    assert len(grid_runs(three)) == 3 * len(grid_runs(one))
    assert len(ablation_runs(three)) == 3 * len(ablation_runs(one))
    names = [c.name for c in grid_runs(three) + ablation_runs(three)]
    assert len(set(names)) == len(names)


def test_an_unknown_run_names_the_nearest(raw, write):
    with pytest.raises(ConfigError, match=r"glyphs-pfml-0\.2-0"):
        find_run(grid_runs(load_params(write(raw))), "glyphs-pfml-0.2-7")


def test_every_loss_has_settings_and_every_setting_a_loss():
    assert set(LOSSES) == set(LOSS_SETTINGS)


def test_every_dataset_name_is_in_the_catalogue():
    assert {name: entry.train_classes for name, entry in CATALOGUE.items()} == DATASETS


def test_every_row_of_the_grid_builds_its_loss(raw, write):
    from pfml.losses import build_loss

    for run in grid_runs(load_params(write(raw))):
        assert build_loss(run.loss_name, 5, 8, **run.loss) is not None


def lists_in(section, path=()):
    for key, value in section.items():
        if isinstance(value, dict):
            yield from lists_in(value, (*path, key))
        elif isinstance(value, list) and not any(isinstance(one, dict) for one in value):
            yield ".".join((*path, key)), value


MAY_BE_EMPTY = {
    "grid.field",
    "grid.baseline",
    "mlrc.field",
    "mlrc.baseline",
    "tune.method",
    "complexity.proxies_per_class",
    "complexity.baseline",
    "ablation.points",
}
EMPTY = {"tune.space"}  # of sections, for a preset to fill


def test_dvc_can_set_every_list_on_the_command_line(raw, tmp_path):
    """A list with a comment beside its name, once emptied, takes a later line break with it: DVC 3.67 then leaves a
    file that is no YAML."""
    from dvc.utils.hydra import apply_overrides

    path = tmp_path / "params.yaml"
    for key, value in lists_in(raw):
        longer = [*value, value[-1] if value else "name"]
        for changed in [] if key in EMPTY else [[], longer] if key in MAY_BE_EMPTY else [longer]:
            path.write_text((ROOT / "params.yaml").read_text())
            apply_overrides(path, [f"{key}={changed}".replace("'", "").replace(" ", "")])
            assert yaml.safe_load(path.read_text()) == put(copy.deepcopy(raw), key, changed), key
