"""Table 3 of really trained runs, under each reading of the paper's measure."""

import numpy as np
import pytest

from pfml.evaluation.proxies import embed_last_epoch, measure_wasserstein
from pfml.evaluation.result_file import RunResult, read_result
from pfml.evaluation.runs import evaluate_run
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs
from pfml.training.run import execute
from pfml.wasserstein import proxy_wasserstein, spread, unit

KEYS = ("proxies_per_class", "w2", "w2_relative", "w2_measure")


@pytest.fixture
def params(tiny, write):
    tiny["tracking"]["enabled"] = False
    return lambda **switches: load_params(write(tiny | {"wasserstein": tiny["wasserstein"] | switches}))


@pytest.fixture
def trained(params, images, monkeypatch):
    """PFML with 2 proxies a class, and a method without proxies, trained on small images."""
    monkeypatch.setenv("DVC_ROOT", str(images))
    runs = [find_run(grid_runs(params()), f"glyphs-{method}-0.2-0") for method in ("pfml", "contrastive")]
    for run in runs:
        execute(run, params().tracking.model_dump())
    return runs


def test_each_switch_gives_what_its_formula_gives(params, trained):
    saved = np.load(trained[0].paths().model / "embeddings.npz")
    embeddings, labels, raw = unit(saved["train"]), saved["train_labels"], saved["proxies"]
    proxies = unit(raw)

    def measured(**switches):
        return measure_wasserstein(trained[0], params(**switches).wasserstein)

    row = measured()
    assert row["w2"] == pytest.approx(proxy_wasserstein(proxies, embeddings, labels), abs=1e-6)
    assert row["w2_relative"] == pytest.approx(row["w2"] / spread(embeddings, labels), rel=1e-4)
    assert (row["w2_measure"], row["proxies_per_class"]) == ("reconstruction", 2)
    assert measure_wasserstein(trained[1], params().wasserstein) == {}
    summed = measured(mean=False)
    assert summed["w2"] == pytest.approx(row["w2"] * np.sqrt(2), abs=1e-5) and summed["w2_measure"] == "sum"
    nearest, over_all = measured(assignment="nearest"), measured(assignment="all")
    assert nearest["w2"] <= row["w2"] + 1e-6 and nearest["w2_measure"] == "assignment nearest"
    assert over_all["w2"] == pytest.approx(proxy_wasserstein(proxies, embeddings, labels, assignment="all"), abs=1e-6)
    free = measured(normalize_proxies=False)
    assert free["w2"] == pytest.approx(proxy_wasserstein(raw, embeddings, labels), abs=1e-6)
    assert free["w2_measure"] == "raw proxies"
    again = measured(embeddings="epoch")
    assert again["w2"] != row["w2"] and again["w2_measure"] == "batches of an epoch"
    passing = measured(embeddings="passing")
    passed, whose = unit(saved["passed"]), saved["passed_labels"]
    assert passing["w2"] == pytest.approx(proxy_wasserstein(proxies, passed, whose), abs=1e-6)
    assert passing["w2_relative"] == pytest.approx(passing["w2"] / spread(passed, whose), rel=1e-4)
    assert passing["w2"] not in (row["w2"], again["w2"]) and passing["w2_measure"] == "passing batches"


def test_the_result_of_a_run_has_its_w2(trained, params):
    settings = params(mean=False)
    pfml, contrastive = (evaluate_run(run, settings.evaluate.model_dump(), settings.wasserstein) for run in trained)
    assert {key: pfml[key] for key in KEYS} == measure_wasserstein(trained[0], settings.wasserstein)
    assert not set(KEYS) & set(contrastive) and read_result(trained[0].paths().result, RunResult) == pfml


def test_what_passed_is_of_the_images_that_the_epoch_drew_but_not_of_the_network_at_its_end(trained):
    saved = np.load(trained[0].paths().model / "embeddings.npz")
    embeddings, labels = embed_last_epoch(trained[0], 1)  # the last of two epochs
    np.testing.assert_array_equal(saved["passed_labels"], labels)
    assert saved["passed"].shape == embeddings.shape and not np.allclose(saved["passed"], embeddings, atol=1e-3)


def test_the_batches_of_an_epoch_are_those_that_training_drew(trained):
    run = trained[0]
    embeddings, labels = embed_last_epoch(run, 1)
    assert embeddings.shape == (3 * 40, 64) and labels.shape == (120,)  # 3 steps of 40 images
    assert run.train["sampler"] == "random" and len(set(labels[:40].tolist())) > 10  # balanced: 4 images of 10 classes
    np.testing.assert_array_equal(embeddings, embed_last_epoch(run, 1)[0])
    assert not np.array_equal(labels, embed_last_epoch(run, 0)[1])


def test_a_reading_that_there_is_not_is_refused(params):
    with pytest.raises(ConfigError, match=r"wasserstein\.assignment: .*'class', 'nearest' or 'all', found 'classes'"):
        params(assignment="classes")
