"""Rows of the tables in MLflow: a run with the mean over the seeds, above the runs of the seeds."""

import json
import re
import statistics
from dataclasses import replace

import pytest

from pfml.settings.load import load_params
from pfml.settings.runs import ablation_runs, find_run, fold_runs, grid_runs
from pfml.tracking.mlflow import open_store
from pfml.tracking.register import by_level, everything, register
from pfml.tracking.rows import PARENT, row_metrics, row_name
from pfml.tracking.tags import experiment_name, row_of
from tests.conftest import ROOT
from tests.tracking.stores import HISTORY, SETTINGS, tracked_run

RESULT = {"map@r": 0.1, "dataset_digest": "d", "git_commit": "abc"}


def result(value: float, run_id: str, **more) -> dict:
    return RESULT | {"recall@1": value, "mlflow_run": run_id} | more


def levels(name="pfml-tiny"):
    client, experiment = open_store(name)
    return client, *by_level(everything(client, experiment))


def seeds_of(run, count: int) -> list:
    return [replace(run, seed=seed) for seed in range(count)]


def test_a_row_has_the_mean_over_its_seeds_and_its_seeds_below_it(store, run):
    values = [0.4, 0.5, 0.9]
    results = [
        (one, result(value, f"{one.seed}" * 32, w2=0.3), HISTORY) for one, value in zip(seeds_of(run, 3), values)
    ]
    register(results, "pfml", "tiny")
    _, seeds, [row] = levels()
    assert row.info.run_name == "row: pfml, noise 0.2, glyphs" and row.info.status == "FINISHED"
    assert row.data.metrics["final/recall_at_1"] == pytest.approx(0.6) and row.data.metrics["n"] == 3
    assert row.data.metrics["final/recall_at_1_std"] == pytest.approx(statistics.stdev(values))
    assert row.data.metrics["final/w2_std"] == pytest.approx(0)
    assert row.data.params["loss.alpha"] == "3.0" and not {"seed", "fold"} & set(row.data.params)
    assert row.data.tags["row"] == "glyphs/conv3/64/pfml/0.2" == row_of(run)
    assert {seed.data.tags[PARENT] for seed in seeds} == {row.info.run_id} and len(seeds) == 3
    assert all(seed.info.run_id in row.data.tags["mlflow.note.content"] for seed in seeds)
    # Again: nothing to do. Another seed: the same row has it too.
    before = row.info.end_time
    assert register(results, "pfml", "tiny")["complete"] == 3
    assert levels()[2][0].info.end_time == before
    register([*results, (replace(run, seed=3), result(0.2, "e" * 32), HISTORY)], "pfml", "tiny")
    _, seeds, [row] = levels()
    assert row.data.metrics["n"] == 4 and row.data.metrics["final/recall_at_1"] == pytest.approx(0.5)
    assert {seed.data.tags[PARENT] for seed in seeds} == {row.info.run_id} and len(seeds) == 4


def test_other_settings_are_another_row(store, run):
    changed = replace(run, loss=dict(run.loss) | {"alpha": 1.0})
    for one, value in ((run, 0.4), (changed, 0.5)):
        register([(one, result(value, one.digest * 2), HISTORY)], "pfml", "tiny")
    _, seeds, rows = levels()
    assert {row.data.metrics["final/recall_at_1"] for row in rows} == {0.4, 0.5} and len(rows) == 2
    assert {row.data.tags["row"] for row in rows} == {"glyphs/conv3/64/pfml/0.2"}
    assert {(row.info.run_id, row.data.params["loss.alpha"]) for row in rows} == {
        (seed.data.tags[PARENT], seed.data.params["loss.alpha"]) for seed in seeds
    }


def test_a_point_of_an_ablation_and_the_folds_of_a_cross_validation_are_rows(store, tiny, write):
    tiny["mlrc"]["field"], tiny["train"]["hold_out"] = ["pfml"], True
    params = load_params(write(tiny))
    runs = [*ablation_runs(params), *fold_runs(params)]
    history = [{"epoch": 1, "loss": 3.0, "val_map@r": 0.1}]
    register([(one, result(0.5, one.digest * 2), history) for one in runs], "pfml", "tiny")
    _, seeds, rows = levels()
    names = {row.info.run_name: row.data.metrics["n"] for row in rows}
    assert names.pop("row: pfml, noise 0.0, folds, glyphs") == 4
    assert set(names.values()) == {1} and len(names) == len(ablation_runs(params))
    assert any(", alpha=" in name for name in names) and len(seeds) == len(runs)


def test_every_filter_of_a_page_finds_what_it_says(store, tiny, write):
    """A row's seeds without its ablations, all rows, all seeds."""
    params = load_params(write(tiny))
    runs = grid_runs(params) + ablation_runs(params)
    register([(one, result(0.5, one.digest * 2), HISTORY) for one in runs], "pfml", "tiny")
    client, experiment = open_store("pfml-tiny")

    def found(condition: str) -> set[str]:
        return {logged.info.run_name for logged in client.search_runs([experiment], condition)}

    names = {one.name for one in runs if (one.method, one.noise, one.axis) == ("pfml", 0.2, "")}
    expected = {
        "tags.level = 'seed' and tags.row = 'glyphs/conv3/64/pfml/0.2'": names,
        "tags.level = 'row'": {row_name(one) for one in runs},
        "tags.level = 'seed'": {one.name for one in runs},
    }
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "reports/tables.md"]
    text = "\n".join(page.read_text() for page in pages)
    assert {one.strip("`") for one in re.findall(r"^tags\..*|`tags\.\w+ = [^`]*`", text, re.M)} == expected.keys()
    for condition, those in expected.items():
        assert found(condition) == those and those, condition


def test_runs_of_an_experiment_do_not_stand_among_those_of_the_study(store, run, monkeypatch):
    register([(run, result(0.4, "a" * 32), HISTORY)], "pfml", "tiny")
    monkeypatch.setenv("DVC_EXP_NAME", "brave-name")
    assert experiment_name("pfml", "tiny") == "pfml-tiny-experiments"
    changed = replace(run, loss=dict(run.loss) | {"alpha": 4.0})
    with tracked_run(changed, SETTINGS, "d", store / "memory") as tracker:
        tracker.log_history(HISTORY)
    results = [(run, result(0.4, "a" * 32), HISTORY), (changed, result(0.5, tracker.run_id), HISTORY)]
    assert register(results, "pfml", "tiny") == {"complete": 1, "finished": 1, "restored": 0, "closed": 0}
    _, [own], rows = levels("pfml-tiny-experiments")
    assert own.data.tags["config_digest"] == changed.digest and own.data.tags["dvc_exp"] == "brave-name" and not rows
    assert own.data.metrics["final/recall_at_1"] == 0.5
    _, [of_study], [row] = levels()
    assert of_study.data.tags["config_digest"] == run.digest and row.data.metrics["final/recall_at_1"] == 0.4
    # Applied to the workspace, the result belongs to the study, which gets a run of it.
    monkeypatch.delenv("DVC_EXP_NAME")
    assert register(results[1:], "pfml", "tiny")["restored"] == 1
    assert len(levels()[1]) == 2 and len(levels("pfml-tiny-experiments")[1]) == 1


def test_means_are_of_measures_that_every_seed_has():
    metrics = row_metrics([{"recall@1": 0.25, "w2": 1.0}, {"recall@1": 0.75}])
    assert metrics == {"n": 2.0, "final/recall_at_1": 0.5, "final/recall_at_1_std": pytest.approx(0.35355339)}
    assert json.dumps(row_metrics([{"w2": 1}])) == '{"n": 1.0, "final/w2": 1.0}'


def test_a_run_has_its_row_from_the_start(store, run):
    with tracked_run(find_run([run], run.name), SETTINGS, "d", store / "memory"):
        pass
    _, [logged], rows = levels()
    assert (logged.data.tags["row"], logged.data.tags["level"]) == ("glyphs/conv3/64/pfml/0.2", "seed") and not rows
