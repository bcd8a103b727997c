"""A setting that cannot be used ends in one line that names it."""

import pytest

from pfml.settings import ConfigError
from pfml.settings.load import load_params
from tests.conftest import put

LONELY = dict.fromkeys(("embeddings", "proxies", "groups"), 1) | {
    "dimension": 2, "spread": 0.1, "start": 1.0, "alpha": 3.0, "delta": 0.2,
}  # fmt: skip

# key, value, and what the one-line message must contain
BAD = [
    ("loss.alpha", -1, ["loss.alpha", "-1", "greater than or equal to 0"]),
    ("loss.alpha", "oops", ["loss.alpha", "'oops'", "number"]),
    ("loss.alpha", float("nan"), ["loss.alpha", "finite"]),
    ("loss.alhpa", 3, ["loss.alhpa", "unknown key", "did you mean alpha?"]),
    ("loss.delta", 0, ["loss.delta", "greater than 0"]),
    ("loss.delta_rep", -0.1, ["loss.delta_rep", "greater than 0"]),
    ("loss.proxies_per_class", -1, ["loss.proxies_per_class", "-1"]),
    ("loss.proxy_init", "zeros", ["loss.proxy_init", "'zeros'", "'data'"]),
    ("grid.noise", [1.0], ["grid.noise", "[0, 1)", "1.0"]),
    ("grid.noise", [-0.1], ["grid.noise", "-0.1"]),
    ("grid.noise", [], ["grid.noise", "empty list"]),
    ("grid.seed", [], ["grid.seed", "empty list"]),
    ("grid.seed", [0, 0], ["grid.seed", "twice"]),
    ("grid.dataset", ["glyph"], ["grid.dataset", "'glyph'", "did you mean glyphs?", "cub200"]),
    ("grid.dataset", ["my-birds"], ["grid.dataset", "'my-birds'", "letters, digits and _"]),
    ("grid.dataset", [], ["grid.dataset", "empty list"]),
    ("dataset.birds", {"kind": "folder", "path": "birds"}, ["recipe.birds", "missing", "{}"]),
    ("dataset.birds", {"kind": "folder"}, ["dataset.birds", "path", "kind folder"]),
    ("dataset.birds", {"kind": "catalogue"}, ["dataset.birds.kind", "folder or csv", "cub200"]),
    ("dataset.cub200.kind", "folder", ["dataset.cub200", "path", "missing"]),
    ("dataset.cub200.path", "birds", ["dataset.cub200", "path", "your own data"]),
    ("dataset.cub200.pack", "slow", ["dataset.cub200.pack", "'slow'", "'fast'"]),
    ("dataset.glyphs.pack", "fast", ["dataset.glyphs", "drawn, not packed", "pack"]),
    ("train.transform", "small", ["train.transform", "glyphs has images of one size", "expected shift", "found small"]),
    ("noise.list", "a{noise.x}.csv", ["noise", "list", "{dataset} and {noise}"]),
    ("dataset.cub200.short_side", 0, ["dataset.cub200.short_side", "greater than or equal to 1"]),
    ("dataset.cub200.pakc", "fast", ["dataset.cub200.pakc", "did you mean pack?"]),
    ("recipe.birds", {}, ["recipe.birds", "there is no dataset.birds"]),
    ("recipe.sop.train.epoch", 5, ["recipe.sop.train.epoch", "did you mean epochs?"]),  # also where the grid has no sop
    ("recipe.sop.loss.alpha", -1.0, ["recipe.sop.loss.alpha", "-1"]),
    ("recipe.cub200.model.backbon", "x", ["recipe.cub200.model.backbon", "did you mean backbone?"]),
    ("split.folds", 1, ["split.folds", "0 (none) or at least 2"]),
    ("noise.kind", "unifrm", ["noise.kind", "'unifrm'", "'pairflip'"]),
    ("noise.kind", "list", ["noise", "list: missing"]),
    ("noise.list", "lists/{datset}.csv", ["noise", "list", "{dataset} and {noise}", "{datset}"]),
    ("noise.numbering", 2, ["noise.numbering", "2", "'matched'"]),
    ("train.select", "best_validation", ["train", "select", "hold_out: true"]),
    ("train.patience", 3, ["train", "patience", "hold_out: true"]),
    ("train", {"select": "best_test", "hold_out": True}, ["train", "select: best_test", "hold_out leaves unseen"]),
    ("train.freeze_bn", "all", ["train.freeze_bn", "'all'", "'statistics'"]),
    ("train.transform", "shfit", ["train.transform", "'shfit'", "'shift'"]),
    (
        "field.pfml.train",
        {"sampler": "m_per_class", "images_per_class": 3},
        ["field.pfml.train", "images_per_class (3)"],
    ),
    ("grid.baseline", ["proxy_anchr"], ["grid.baseline", "'proxy_anchr'", "did you mean proxy_anchor?"]),
    ("grid.field", ["pfmll"], ["grid.field", "'pfmll'", "did you mean pfml"]),
    ("baseline.triplet.loss.margn", 1.0, ["baseline.triplet.loss.margn", "did you mean margin?"]),
    ("field.cpml.train.lr", 0, ["field.cpml.train.lr", "greater than 0"]),
    ("field.pfml.los", {}, ["field.pfml.los", "did you mean loss?"]),
    ("train.epochs", 1.5, ["train.epochs", "integer", "1.5"]),
    ("train.epochs", True, ["train.epochs", "integer"]),
    ("train.batch", 101, ["batch (101)", "images_per_class (4)"]),
    ("ablation.alpha", [-1], ["ablation.alpha", "-1"]),
    ("ablation.delta", [0.1, 0.1], ["ablation.delta", "once"]),
    ("ablation.noise", 0.5, ["ablation", "0.5", "grid.noise"]),
    ("evaluate.recall_at", [2], ["evaluate.recall_at", "1"]),
    ("lss", {}, ["lss", "did you mean loss?"]),
    ("train", None, ["train"]),
    ("study", "a/b", ["study", "a/b"]),
    ("grid.noise", [0, 0.2], ["ablation", "0.0", "grid.noise"]),  # files are named after the spelling
    ("loss.delta", 0.0005, ["loss.delta", "greater than 0.001"]),
    ("model.weights", "pretrained", ["model", "conv3 has no published weights"]),
    ("model.pooling", "max", ["model.pooling", "'max'", "'avg+max'"]),
    ("split.validation_classes", 150, ["split.validation_classes", "100 training classes", "150"]),
    ("train.batch", 1000, ["train.batch", "needs 250 classes", "100"]),
    ("theory.base.alpha", -1, ["theory.base.alpha", "-1", "greater than or equal to 0"]),
    ("theory.base.proxies", 61, ["theory.base", "proxies", "at most the 60 embeddings", "61"]),
    ("theory.base.spread", 0.0, ["theory.base", "spread", "in one place"]),
    ("theory.changes", [{"alhpa": 1.0}], ["theory.changes.0.alhpa", "did you mean alpha?"]),
    ("theory.changes", [{"delta": 0.1}, {"groups": 61}], ["theory.changes.1", "groups", "60 embeddings"]),
    ("theory.changes", [{"delta": 0.1}, {"delta": 0.1}], ["theory.changes.1", "case of its own"]),
    ("theory.changes", [{"delta": 0.2}], ["theory.changes.0", "case of its own"]),
    ("theory.base", LONELY, ["theory.base", "at least 2"]),
    ("theory.radii", [], ["theory.radii", "empty list"]),
    ("theory.trials", 0, ["theory.trials", "greater than or equal to 1"]),
]


@pytest.mark.parametrize("key, value, expected", BAD, ids=[f"{k}={v}" for k, v, _ in BAD])
def test_bad_settings_are_refused_with_one_clear_line(raw, write, key, value, expected):
    with pytest.raises(ConfigError) as error:
        load_params(write(put(raw, key, raw[key] | value if key == "train" and value else value)))
    message = str(error.value)
    assert "\n" not in message
    for text in ["params.yaml", *expected]:
        assert text in message
