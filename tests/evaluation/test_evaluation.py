"""A really trained run's result: what is measured on which half, with which labels."""

import json

import numpy as np
import pandas as pd
import pytest

from pfml.evaluation import few_shot
from pfml.evaluation.few_shot import few_shot_accuracy
from pfml.evaluation.runs import evaluate_run
from pfml.retrieval import retrieval_metrics
from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs
from pfml.training.run import execute


@pytest.fixture
def params(tiny, write):
    tiny["tracking"]["enabled"] = False
    return lambda **switches: load_params(write(tiny | {"evaluate": tiny["evaluate"] | switches}))


@pytest.fixture
def run(params, images, monkeypatch):
    """Trained with every fourth label wrong."""
    monkeypatch.setenv("DVC_ROOT", str(images))
    monkeypatch.setattr(few_shot, "QUERIES", 6)  # the classes have 12 images
    path = images / "data/noise/glyphs-0.2-0.csv"
    table = pd.read_csv(path)
    wrong = (table["split"] == "train") & (table["item"] % 4 == 0)
    table.loc[wrong, "noisy_label"] = (table.loc[wrong, "noisy_label"] + 1) % 18
    table.to_csv(path, index=False)
    run = find_run(grid_runs(params()), "glyphs-contrastive-0.2-0")
    execute(run, params().tracking.model_dump())
    return run


def test_seen_classes_are_measured_by_their_true_labels_and_unseen_ones_by_few_shots(run, params):
    result = evaluate_run(run, params(few_shot_episodes=50).evaluate.model_dump(), params().wasserstein)
    saved = np.load(run.paths().model / "embeddings.npz")
    true = np.repeat(np.arange(18), 12)
    assert (saved["train_labels"] != true).mean() == pytest.approx(0.25)
    seen, given = (retrieval_metrics(saved["train"], labels, [1]) for labels in (true, saved["train_labels"]))
    for name in ("recall@1", "map@r"):
        assert result[f"seen_{name}"] == pytest.approx(seen[name], abs=1e-6) != given[name]
    for shots in (1, 5):
        accuracy = few_shot_accuracy(saved["test"], saved["test_labels"], shots, 50)
        assert result[f"few_shot_{shots}"] == pytest.approx(accuracy, abs=1e-6) and 0.2 < accuracy <= 1
    assert json.loads(run.paths().result.read_text()) == result


def test_what_is_switched_off_is_not_in_the_result(run, params):
    result = evaluate_run(run, params(seen=False, few_shot_episodes=0).evaluate.model_dump(), params().wasserstein)
    assert not [name for name in result if name.startswith(("seen_", "few_shot_"))] and result["recall@1"] > 0
