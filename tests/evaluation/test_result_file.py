"""A result file has the keys of its model, whoever writes or reads it."""

import json

import pytest

from pfml.evaluation.result_file import (
    FOLD_MEASURES,
    FRACTION,
    FoldsResult,
    RunResult,
    keys_of,
    read_result,
    write_result,
)

RESULT = {
    "study": "toy", "run": "glyphs-pfml-0.0-0", "dataset": "glyphs", "backbone": "conv4", "dim": 64, "method": "pfml",
    "noise": 0.0, "seed": 0, "axis": "", "value": None, "digest": "0123456789abcdef", "recall@1": 0.5, "recall@10": 0.9,
    "map@r": None, "r_precision": 0.25, "nmi": None, "best_recall@1": 0.5, "best_epoch": 3, "epochs": 4,
    "weights": "f" * 16, "dataset_digest": "f00d", "alpha": 3.0,
}  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    write_result(tmp_path / "deep/run.json", RunResult, RESULT)
    assert read_result(tmp_path / "deep/run.json", RunResult) == RESULT
    assert list(json.loads((tmp_path / "deep/run.json").read_text())) == list(RESULT), "keys keep their order"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": None}, "seed: Input should be a valid integer, found None"),
        ({"recall@10": 90.0}, r"recall@10: expected a fraction in \[0, 1\], found 90.0 \(percent\?\)"),
        ({"few_shot_1": float("nan")}, "few_shot_1: expected a finite number, found nan"),
    ],
)
def test_a_result_that_no_report_could_read_is_not_written(tmp_path, change, words):
    with pytest.raises(ValueError, match=rf"run\.json: {words}"):
        write_result(tmp_path / "run.json", RunResult, RESULT | change)
    assert not (tmp_path / "run.json").exists()


def test_a_cross_validation_needs_every_fold(tmp_path):
    found = {"study": "toy", "dataset": "glyphs", "method": "pfml", "folds": 2, "dataset_digest": "f00d"}
    found |= {f"{kind}_{name}": 0.5 for kind, name in FOLD_MEASURES}
    write_result(tmp_path / "whole.json", FoldsResult, found | {"fold0_digest": "a", "fold1_digest": "b"})
    with pytest.raises(ValueError, match=r"half\.json: fold1_digest: expected text, found None"):
        write_result(tmp_path / "half.json", FoldsResult, found | {"fold0_digest": "a"})


def test_every_titled_key_is_a_measure():
    assert all(FRACTION.fullmatch(key) for key, title in keys_of(RunResult).items() if title)
    assert not [key for key, title in keys_of(RunResult).items() if FRACTION.fullmatch(key) and not title]
