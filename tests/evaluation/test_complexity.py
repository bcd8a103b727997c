"""Table 9's stage: what is timed, and what is written. No test asserts on the seconds themselves."""

import csv
from dataclasses import replace

import pytest

from pfml.evaluation.timing import time_runs, write_timings
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.runs import timing_runs
from tests.conftest import merge


@pytest.fixture
def params(tiny, write):
    return lambda **changes: load_params(write(merge(tiny, {"complexity": changes})))


def test_the_runs_are_the_papers_rows_with_the_methods_own_settings(params):
    runs = timing_runs(params(proxies_per_class=[0, 5], baseline=["proxy_nca", "soft_triple"]))
    assert [(c.method, c.loss.get("proxies_per_class")) for c in runs] == [
        ("proxy_nca", None), ("soft_triple", None), ("pfml", 0), ("pfml", 5),
    ]  # fmt: skip
    assert len({c.name for c in runs}) == len({c.digest for c in runs}) == 4


def test_epochs_are_timed_by_the_training_loop_and_written(params, images, tmp_path, monkeypatch):
    import pfml.training.loop as training

    real, trained = training.train, []
    monkeypatch.setattr(training, "train", lambda run, data: trained.append(run) or real(run, data))
    runs = timing_runs(params(proxies_per_class=[2], baseline=["soft_triple", "proxy_nca"]))
    timings = time_runs(runs, steps=2, rounds=3)
    assert trained[0] == trained[1] and len(timings[0].seconds) == 3  # the first run warms up
    assert [run.name for run in trained[1:]] == [run.name for run in runs] * 3  # in turns
    assert {run.train["steps_per_epoch"] for run in trained} == {2}
    write_timings(timings, 2, tmp_path / "out/tiny.csv")
    rows = list(csv.DictReader((tmp_path / "out/tiny.csv").open()))
    assert [(row["method"], row["proxies_per_class"]) for row in rows] == [
        ("soft_triple", "5"), ("proxy_nca", ""), ("pfml", "2"),
    ]  # fmt: skip
    for row, timing in zip(rows, timings):
        low, middle, _ = sorted(timing.seconds)
        assert float(row["seconds_per_step"]) == pytest.approx(middle, abs=1e-6)
        assert [float(text) for text in row["seconds_by_round"].split()] == pytest.approx(timing.seconds, abs=1e-6)
        assert row["digest"] == timing.run.digest
        assert (row["steps"], row["rounds"], row["steps_per_epoch"]) == ("2", "3", "3") and low > 0
        assert float(row["seconds_per_epoch"]) == pytest.approx(3 * middle, abs=1e-3)
        assert row["processor"] and row["torch"] and row["dataset"] == "glyphs"


def test_an_epoch_without_a_number_of_steps_is_one_pass(params, images):
    runs = timing_runs(params(proxies_per_class=[], baseline=["contrastive"]))
    run = replace(runs[0], train={**runs[0].train, "steps_per_epoch": None})
    [timing] = time_runs([run], steps=1, rounds=1)
    assert timing.steps_per_epoch == 216 // 40 and timing.proxies_per_class is None


@pytest.mark.parametrize("change, message", [
    ({"baseline": ["proxy_nc"]}, "complexity.baseline: unknown method 'proxy_nc'; did you mean proxy_nca"),
    ({"proxies_per_class": [5, 5]}, "expected each value once"),
    ({"rounds": 0}, "complexity.rounds"),
])  # fmt: skip
def test_what_cannot_be_timed_is_refused(params, change, message):
    with pytest.raises(ConfigError, match=message):
        params(**change)
