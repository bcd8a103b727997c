"""presets/*.yaml: what each reproduces stands in its header, and nothing tuned on the default dataset is left in it."""

import re

import pytest

from pfml.losses import LOSSES, NEEDS_POSITIVES
from pfml.report.published import paper
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.presets import preset_names, preset_title, read_preset
from pfml.settings.runs import ablation_runs, fold_runs, grid_runs, timing_runs
from pfml.settings.study import ABLATION_AXES, parse_point
from tests.conftest import ROOT
from tests.settings.preset_settings import (
    ADAM_EPS,
    BY_DATASET,
    DATASETS,
    DIVA,
    IMAGES_PER_CLASS,
    LEFT,
    NAMES,
    NETWORK,
    OWN_NETWORKS,
    PUBLISHED_NETWORK,
    RATES,
    SETTINGS,
    UNREAD,
    tuned_elsewhere,
)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def runs_of(name, raw):
    path = f"presets/{name}.yaml"
    params = params_from(merge(raw, read_preset(name)), path)
    return grid_runs(params, path), ablation_runs(params, path)


def points_of(name):
    """Axis -> values of the preset's ablation."""
    found = {}
    for axis, value in map(parse_point, read_preset(name)["ablation"]["points"]):
        found.setdefault(axis, []).append(value)
    return found


def header(name):
    lines = (ROOT / f"presets/{name}.yaml").read_text().splitlines()
    return [line.removeprefix("#") for line in lines[: next(i for i, x in enumerate(lines) if not x.startswith("#"))]]


def numbers(text):
    return [None if one == "–" else float(one) for one in text.split(" / ")]


def rows_of(name):
    """The published numbers of every row in the tables that a preset's title names."""
    dataset, family = name.split("-")
    where = {"dataset": dataset, "dim": NETWORK[family][2], "noise": 0.2 if family == "noise" else 0.0}
    tables = map(int, re.findall(r"Table (\d)", preset_title(name)))
    return [p for t in tables for p in paper.published(t, backbone=PUBLISHED_NETWORK.get(family, family), **where)]


def loss_of(row, losses):
    """The loss that a published row is about, by its key or else by its name; None where `losses` has none."""
    names = {re.sub(r"[^a-z0-9]", "", one.lower()): one for one in losses}
    return names.get(re.sub(r"[^a-z0-9]", "", (row.key or row.method).lower()))


def not_in_the_grid(name, losses):
    grid = read_preset(name)["grid"]
    return {
        row.method for row in rows_of(name) if loss_of(row, losses) not in (None, *grid["field"], *grid["baseline"])
    }


def test_there_is_one_for_every_group_of_rows():
    assert set(NAMES) <= set(preset_names())  # and perhaps some of your own


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_what_how_much_and_how(name):
    dataset, family = name.split("-")
    title, text = preset_title(name), "\n".join(header(name))
    assert title.startswith(DATASETS[dataset]) and f"{NETWORK[family][2]} dimensions" in title
    assert f"\n Command    make repro PRESET={name}\n" in text
    assert "An estimate, not measured" in " ".join(text.split())
    assert all(re.search(rf"^ {word} +\w", text, re.M) for word in ("Command", "Cost", "Published", "Sources"))
    assert read_preset(name)["study"] == name and read_preset(name)["grid"]["dataset"] == [dataset]
    tables = set(re.findall(r"Table (\d), (?:as printed|W2)", text))
    assert tables == set(re.findall(r"Table (\d)", title)) and tables


@pytest.mark.parametrize("name", NAMES)
def test_published_scores_are_those_of_published_yaml(name):
    dataset, family = name.split("-")
    backbone, dim = PUBLISHED_NETWORK.get(family, family), NETWORK[family][2]
    noise = 0.2 if family == "noise" else 0.0
    table, metrics, found, digitised = None, [], {}, {}
    for line in header(name):
        if opened := re.search(r"Table (\d), as printed, ((?:R@\d+(?: / )?)+) \(%\)", line):
            table, metrics = int(opened[1]), [f"recall@{m[2:]}" for m in opened[2].split(" / ")]
        elif row := re.fullmatch(r" {14}([\w+-]+) +([\d.–]+(?: / [\d.–]+)*)( \(not here\))?", line):
            found[table, row[1]] = dict(zip(metrics, numbers(row[2]), strict=True)), bool(row[3])
        elif curve := re.fullmatch(r" {14}(\w+) ([\d. /]+): ([\d. /]+)", line):
            digitised[curve[1]] = dict(zip(numbers(curve[2]), numbers(curve[3]), strict=True))
    wanted = {}
    for table in {table for table, _ in found}:
        for p in paper.published(table, dataset=dataset, backbone=backbone, dim=dim, noise=noise, source="paper"):
            wanted.setdefault((table, p.key or p.method), {})[p.metric] = p.value
    assert {key: values for key, (values, _) in found.items()} == wanted and (min(wanted)[0], "pfml") in wanted
    grid = read_preset(name)["grid"]
    for (_, method), (_, missing) in found.items():
        assert missing == (method not in LOSSES), f"{method} exists now: add it to the grid and say so" * missing
        assert missing != (method in grid["field"] + grid["baseline"]), f"{method}: in the grid or marked, not both"
    if digitised:
        for axis, curve in digitised.items():
            assert curve == {p.at: p.value for p in paper.figure3(axis) if p.dataset == dataset}
            default = {"delta_gap": 0, "proxies_per_class": 15, **SETTINGS["pfml"]}[axis]
            assert points_of(name).get(axis, []) == [value for value in curve if value != default]
    assert set(digitised) == (set(ABLATION_AXES) if "Figure 3" in preset_title(name) else set())
    assert digitised or not points_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_that_exists_is_in_the_grid(name):
    """A loss that is new, or a row's key, belongs into the presets whose tables have the row."""
    assert not_in_the_grid(name, LOSSES) == set()
    grid, rows = read_preset(name)["grid"], rows_of(name)
    assert set(grid["field"] + grid["baseline"]) == {loss_of(row, LOSSES) for row in rows} - {None}
    unbuilt = (ROOT / "docs/baselines.md").read_text().split("## Not built")[1]
    for row in rows:
        assert row.key in ("", *LOSSES), f"{row.method}: published.yaml names a loss that there is not"
        if not row.key:
            listed = re.search(rf"^\|[^|]*(?<![\w-]){re.escape(row.method)}(?![\w-])", unbuilt, re.M)
            assert listed, (
                f"{row.method}: built (then give its row in published.yaml a key) or not (docs/baselines.md)?"
            )


@pytest.mark.parametrize("new, name, rows", [
    ("dfml_pa", "cub200-bninception", {"DFML-PA"}), ("hse_pa", "sop-resnet50", {"HSE-PA"}),
    ("hse_pa", "cub200-64d", set()),
])  # fmt: skip
def test_a_further_loss_is_missed_where_a_table_has_it(new, name, rows):
    assert not_in_the_grid(name, {*LOSSES, new}) == rows


@pytest.mark.parametrize("name", NAMES)
def test_every_value_has_its_source_beside_or_above_it(name):
    before = ""
    for line in (ROOT / f"presets/{name}.yaml").read_text().splitlines():
        key, _, comment = line.partition("#")
        if key.strip() and not key.rstrip().endswith((":", "[", "]")) and not key.startswith("study"):
            assert comment.strip() or before.lstrip().startswith("#"), f"{name}: {line}"
        before = line
        assert len(line) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_resolves_to_the_papers_setting(name, raw):
    dataset, family = name.split("-")
    backbone, transform, dim, batch, lr, proxy_lr = NETWORK[family]
    sop, transformer = dataset == "sop", family in ("vit", "dino")
    grid, ablations = runs_of(name, raw)
    assert [c.seed for c in grid if c.method == "pfml" and not c.noise] == [0, 1, 2, 3, 4]
    assert f"for the {len(grid)} runs of the grid" in " ".join(" ".join(header(name)).split())
    assert {c.noise for c in grid} == ({0.0, 0.2} if family == "noise" else {0.0})
    assert len(ablations) == (115 if family == "resnet50" and not sop else 0)
    assert not {c.method for c in grid} & {"pfml_tuned", "contrastive"}  # tuned on glyphs; in none of these tables
    for run in grid + ablations:
        trains = LOSSES[run.loss_name].trains
        assert run.model == {
            "backbone": backbone, "weights": "pretrained", "embedding_dim": dim, "pooling": None,
            "head": "linear" if trains else "none",
            "head_init": "default", "backbone_options": {},
        }  # fmt: skip
        if not trains:
            assert run.train["transform"] == transform and transformer
            continue
        shared = {
            "epochs": 200, "steps_per_epoch": None, "batch": batch, "optimizer": "adam", "lr": lr,
            "proxy_lr": proxy_lr, "weight_decay": 5e-4 if dataset == "cub200" and not transformer else 1e-4,
            "warmup": 0.0, "frozen_epochs": 0 if sop else 1, "schedule": "none", "transform": transform,
            "freeze_bn": "none" if sop or transformer else "statistics",
            "precision": "bfloat16" if transformer else "float32", "select": "last",
            "eval_every": 10 if sop else 5, "checkpoint_steps": 200 if sop else None, **LEFT,
        }  # fmt: skip
        pairs, field = run.method in NEEDS_POSITIVES, run.method in ("pfml", "cpml")
        own = {"sampler": "balanced" if pairs else "random", "clip_proxies": not pairs}
        if run.method == "normalized_softmax" and not sop:
            own["sampler"] = "balanced"  # its authors' command, 25 images of each class
            assert run.train["images_per_class"] == 25
        if run.method in ADAM_EPS:
            own["adam_eps"] = ADAM_EPS[run.method]
        own |= {"clip_norm": 1.0, "clip_value": 0.0} if field else {"clip_norm": 0.0, "clip_value": 10.0}
        assert {key: run.train[key] for key in run.train if key not in UNREAD} == shared | own, run.method
        if pairs:
            few = {("hyp", "sop"): 2, ("esphn", "sop"): 5}.get((run.method, dataset))  # its classes have 2 to 12
            few = few or IMAGES_PER_CLASS.get(run.method, 5)
            assert run.train["images_per_class"] == few and batch % few == 0
        if run.method == "triplet" and dim == 64:
            assert run.loss == {"margin": 1.0, "mining": "tensorflow"}  # Table 4's row SemiHard
            continue
        loss = SETTINGS[run.method] | BY_DATASET.get(run.method, {}).get(dataset, {})
        if run.method in RATES:
            key, times = RATES[run.method]
            loss[key] = pytest.approx(times[dataset] * lr / proxy_lr)
        if run.method == "diva":
            weight, loss["separation"] = DIVA[dataset, family]
            loss |= dict.fromkeys(("self_weight", "shared_weight", "intra_weight"), weight)
        if run.method in ("pfml", "cpml"):
            loss["proxies_per_class"] = 2 if sop else 15
        if run.method == "soft_triple":  # for Table 3 as many as PFML, which our CUB study is about
            loss["centers_per_class"] = 2 if sop else 15 if name == "cub200-resnet50" else 10
        moved = {"delta_gap": "delta_rep"}.get(run.axis, run.axis)
        assert {k: v for k, v in run.loss.items() if k != moved} == {k: v for k, v in loss.items() if k != moved}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_was_tuned_on_another_dataset_is_left(name, raw):
    tuned = tuned_elsewhere(raw)
    before, after = runs_of(name, raw), runs_of(name, tuned)
    assert [c.digest for runs in before for c in runs] == [c.digest for runs in after for c in runs]


@pytest.mark.parametrize("dataset", ["cub200", "cars196"])
def test_clean_runs_that_two_presets_share_are_one_run(dataset, raw):
    def digests(name):
        return {c.name: c.digest for c in runs_of(name, raw)[0]}

    clean, noisy = digests(f"{dataset}-resnet50"), digests(f"{dataset}-noise")
    both = set(clean) & set(noisy)
    assert {f"{dataset}-{method}-0.0-0" for method in ("pfml", "proxy_anchor", "hist")} <= both
    assert all(clean[name] == noisy[name] for name in both)


@pytest.mark.parametrize("backbone, transform", sorted({(n[0], n[1]) for n in NETWORK.values()}))
def test_a_backbone_exists_and_sees_the_presets_images(backbone, transform):
    import timm
    import torch

    from pfml.training.batches.transforms import TRANSFORMS
    from pfml.training.networks.model import build_model

    assert backbone in OWN_NETWORKS or (timm.is_model(backbone) and timm.is_model_pretrained(backbone))
    side = TRANSFORMS[transform].size
    model = build_model(backbone, 7).eval()
    with torch.inference_mode():
        embeddings = model(torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)))
    assert embeddings.shape == (2, 7) and embeddings.isfinite().all()


def test_the_first_run_is_one_of_the_whole_study(raw):
    first, whole = (params_from(merge(raw, read_preset(f"cub200-{name}")), name) for name in ("first", "resnet50"))
    (run,) = grid_runs(first) + ablation_runs(first) + fold_runs(first)
    assert run.digest in {other.digest for other in grid_runs(whole)} and first.study == "cub200-first"
    assert not timing_runs(first)


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_of_the_field_is_moved_by_its_own_name(name, raw):
    """`dvc exp run -S loss.alpha=4` on top of a preset reaches the field's runs, and no other."""
    base = merge(raw, read_preset(name))
    changed = merge(base, {"loss": {"alpha": 4.0, "delta": 0.3, "proxies_per_class": 7}})
    for before, after in zip(*(grid_runs(params_from(one, name)) for one in (base, changed))):
        if before.loss_name in ("pfml", "cpml"):
            assert (after.loss["delta"], after.loss["proxies_per_class"]) == (0.3, 7)
            assert after.loss.get("alpha", 4.0) == 4.0
        else:
            assert after.digest == before.digest


def test_the_documented_table_is_this_list():
    rows = re.findall(r"^\| `([a-z0-9]+-[a-z0-9]+)` \| (.+) \|$", (ROOT / "docs/presets.md").read_text(), re.M)
    assert sorted(name for name, _ in rows) == NAMES
    for name, runs in rows:
        tables, methods, missing, cost, _ = runs.split(" | ")
        assert set(re.findall(r"\d", tables)) == set(re.findall(r"(?:Table|Figure) (\d)", preset_title(name)))
        grid = read_preset(name)["grid"]
        assert methods.split(", ") == grid["field"] + grid["baseline"]
        assert set(missing.split(", ")) == ({row.method for row in rows_of(name) if not row.key} or {"–"})
        text = " ".join(" ".join(header(name)).split())
        run, runs, total = re.search(r"about ([\d.]+ \w+) a run, ([\d.]+ \w+) for the (\d+) runs", text).group(1, 3, 2)
        assert cost.startswith(f"{run} × {runs}") and f": {total}" in cost
