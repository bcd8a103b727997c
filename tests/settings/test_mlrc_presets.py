"""presets/mlrc-*.yaml: the protocol's fixed part is the same for all, each loss has the optimum that MLRC names."""

import re

import pytest

from pfml.losses import LOSSES, NEEDS_POSITIVES
from pfml.report.published import paper
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.presets import preset_names, preset_title, read_preset
from pfml.settings.runs import ablation_runs, fold_runs, grid_runs
from tests.conftest import ROOT
from tests.settings.preset_settings import FIELD, LEFT, MLRC, tuned_elsewhere
from tests.settings.test_presets import header, numbers
from tests.settings.test_presets import test_every_value_has_its_source_beside_or_above_it as every_value_has_its_source

PAPERS = {"mlrc-cub200": ("cub200", 6), "mlrc-cars196": ("cars196", 7)}
# CUB / Cars, as docs/papers/mlrc.md of the authors' repository lists them; "lr" is that of what the loss learns.
OPTIMAL = {
    "contrastive": {"pos_margin": (0.0, 0.2652), "neg_margin": (0.3841, 0.5409)},  # CUB: -0.2
    "triplet": {"margin": (0.0961, 0.1190)},
    "proxy_nca": {"lr": (6.04e-3, 4.43e-3), "scale": (13.98, 7.97)},
    "margin": {"lr": (1.31e-3, 1.11e-4), "margin": (0.0878, 0.0781), "beta": (0.7838, 1.3164)},
    "margin_per_class": {"lr": (2.65e-4, 4.76e-5), "margin": (0.0779, 0.0776), "beta": (0.9796, 0.9598)},
    "normalized_softmax": {"lr": (4.46e-3, 1.10e-2), "temperature": (0.1087, 0.0886)},
    "cosface": {"lr": (2.53e-3, 7.41e-3), "margin": (0.6182, 0.4324), "scale": (100.0, 161.5)},
    "arcface": {"lr": (5.13e-3, 7.39e-6), "margin": (23.22, 20.52), "scale": (100.0, 49.50)},
    "fast_ap": {"bins": (17, 27)},
    "snr": {"pos_margin": (0.3264, 0.1670), "neg_margin": (0.8446, 0.9337), "zero_mean": (0.1382, 0.0)},
    "multi_similarity": {"alpha": (17.97, 7.49), "beta": (75.66, 47.99), "base": (0.77, 0.63), "epsilon": (0.39, 0.72)},
    "soft_triple": {
        "lr": (5.37e-5, 1.40e-4), "scale": (78.02, 17.69), "gamma": (58.95, 19.18), "tau": (0.3754, 0.0669),
        "margin": (0.4307, 0.3588),
    },
}  # fmt: skip
SINGLE = {"proxy_nca", "normalized_softmax", "cosface", "arcface", "soft_triple"}  # MLRC's losses with class weights


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def params_of(name, raw):
    return params_from(merge(raw, read_preset(name)), f"presets/{name}.yaml")


@pytest.mark.parametrize("name", MLRC)
def test_a_header_says_what_how_much_and_how(name):
    text, settings = "\n".join(header(name)), read_preset(name)
    assert name in preset_names() and settings["study"] == name
    table = f"Table {PAPERS[name][1]}" if name in PAPERS else "Tables 6 and 7"
    assert preset_title(name).endswith(f"(MLRC): {table}")
    assert f"\n Command    make repro PRESET={name}\n" in text
    assert all(re.search(rf"^ {word} +\w", text, re.M) for word in ("Command", "Cost", "Published", "Sources"))
    assert settings["grid"]["field"] == settings["grid"]["baseline"] == []
    every_value_has_its_source(name)


@pytest.mark.parametrize("name", PAPERS)
def test_published_scores_are_those_of_published_yaml(name):
    dataset, table = PAPERS[name]
    lines, text = header(name), " ".join("\n".join(header(name)).split())
    assert f"Table {table}, recalled (MLRC's own numbers, unverified), R@1 / R-Prec. / MAP@R (%)" in text
    found, grid = {}, read_preset(name)["mlrc"]
    for line in lines:
        if row := re.fullmatch(r" {14}(\w+) +([\d. /]+?) {3}([\d. /]+?)( \(not here\))?", line):
            found[row[1]] = numbers(row[2]), numbers(row[3])
            assert bool(row[4]) == (row[1] not in grid["baseline"])
    lost = set(re.search(r"Not recovered: ([\w, ]+?) Sources", text)[1].split(", "))
    wanted = {}
    for p in paper.published(table, dataset=dataset):
        wanted.setdefault(p.key or p.method, {}).setdefault(p.dim, []).append(p.value)
    assert found == {key: (rows[128], rows[512]) for key, rows in wanted.items() if rows[128][0] is not None}
    assert lost == {key for key, rows in wanted.items() if rows[128][0] is None}
    assert {*grid["field"], *grid["baseline"]} == {p.key for p in paper.published(table) if p.key in LOSSES}


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_resolves_to_the_protocol(name, raw):
    dataset, _ = PAPERS[name]
    params = params_of(name, raw)
    runs = fold_runs(params)
    assert not grid_runs(params) + ablation_runs(params)
    assert len(runs) == 680 and {(run.seed, run.fold) for run in runs} == {(s, k) for s in range(10) for k in range(4)}
    for run in runs:
        assert (run.backbone, run.model["weights"], run.dim, run.folds) == ("bn_inception", "pretrained", 128, 4)
        every, patience = (2, 5) if dataset == "cub200" else (5, 3)
        shared = LEFT | {
            "epochs": 1000, "steps_per_epoch": 100, "batch": 32, "optimizer": "rmsprop", "momentum": 0.9, "lr": 1e-6,
            "weight_decay": 1e-4, "warmup": 0.0, "frozen_epochs": 0, "freeze_bn": "statistics", "schedule": "none",
            "transform": "mlrc", "precision": "float32", "eval_every": every, "patience": patience, "hold_out": True,
            "select": "best_validation", "sampler": "m_per_class", "checkpoint_steps": None, "clip_value": 0.0,
            "images_per_class": 1 if run.method in SINGLE else 4, "clip_norm": 1.0 if run.method == "pfml" else 0.0,
            "clip_proxies": run.method == "pfml",
        }  # fmt: skip
        left = {"proxy_lr", "step_epochs", "step_factor", "step_times", "crop_padding", "threads"}
        assert {key: run.train[key] for key in run.train if key not in left} == shared, run.method
        assert run.method not in SINGLE or run.method not in NEEDS_POSITIVES
        known = {"lr": run.train["proxy_lr"], **run.loss}
        optimal = {key: pair[dataset == "cars196"] for key, pair in OPTIMAL.get(run.method, {}).items()}
        assert {key: known[key] for key in optimal} == optimal, run.method
    pfml = next(run for run in runs if run.method == "pfml")
    assert pfml.loss == FIELD | {"alpha": 3.0, "alpha_zero": "log", "proxies_per_class": 15}
    assert pfml.train["proxy_lr"] == pytest.approx(100 * pfml.train["lr"])


@pytest.mark.parametrize("name", MLRC)
def test_nothing_that_was_tuned_on_another_dataset_is_left(name, raw):
    tuned = tuned_elsewhere(raw)
    tuned["train"]["momentum"], tuned["train"]["images_per_class"] = 0.5, 2
    before, after = (fold_runs(params_of(name, settings)) for settings in (raw, tuned))
    assert [run.digest for run in before] == [run.digest for run in after]


def test_the_network_takes_the_protocols_pictures():
    import torch

    from pfml.settings.schema import TRANSFORMS as SIDES
    from pfml.training.batches.transforms import TRANSFORMS
    from pfml.training.networks.model import build_model

    side = TRANSFORMS["mlrc"].size
    assert SIDES["mlrc"] == side == 227
    with torch.inference_mode():
        assert build_model("bn_inception", 128).eval()(torch.zeros(1, 3, side, side)).shape == (1, 128)


def test_the_documented_table_is_this_list():
    rows = re.findall(r"^\| `(mlrc-[a-z0-9]+)` \| (.+) \|$", (ROOT / "docs/mlrc.md").read_text(), re.M)
    assert sorted(name for name, _ in rows) == MLRC
    for name, runs in rows:
        methods = read_preset(name)["mlrc"]
        assert runs.split(" | ")[0].split(", ") == methods["field"] + methods["baseline"]
