"""The search for settings: equal budgets, validation classes only, exact continuation."""

import json
import math
import re
from dataclasses import replace

import pytest

from pfml.report.settings import read_searches, render_tuning, settings_in_use
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.planning import planned_search
from pfml.settings.runs import grid_runs, trial_run
from pfml.settings.tune import Choice, Range
from pfml.tracking.searches import log_search
from pfml.tracking.store import open_store
from pfml.training.run import numeric_code
from pfml.tuning import (
    Search,
    Trial,
    best,
    propose,
    read_trials,
    run_trial,
    trials_of,
    tune_method,
    write_trials,
)
from tests.conftest import merge

SPACE = {
    "train.lr": Range(low=1e-3, high=1e-1, log=True, start=0.05),
    "loss.margin": Range(low=0.0, high=1.0, start=0.1),
    "loss.bins": Range(low=2, high=9, start=3),
    "train.sampler": Choice(choices=["random", "balanced"], start="random"),
}
TUNE = {
    "method": ["contrastive", "pfml"],
    "trials": 3,
    "noise": [0.0, 0.2],
    "space": [
        {"method": ["contrastive", "pfml"], "train": {"lr": {"low": 1e-3, "high": 1e-2, "log": True, "start": 3e-3}}},
        {"method": ["contrastive"], "loss": {"neg_margin": {"low": 0.2, "high": 1.0, "start": 0.5}}},
    ],
}


@pytest.fixture
def tuned(tiny, write):
    return lambda **changes: load_params(write(merge(tiny, {"tune": TUNE | changes, "study": "tuned"})))


def search_of(params, method) -> Search:
    """As the stage reads it from its file of the plan."""
    return Search.from_json(json.loads(json.dumps(planned_search(params, method))))


def score_of(settings):
    """A smooth peak at lr 0.01, margin 0.7, balanced."""
    far = math.log10(settings["train.lr"] / 0.01) ** 2 + (settings["loss.margin"] - 0.7) ** 2
    return max(0.0, 1 - far) * (1.0 if settings["train.sampler"] == "balanced" else 0.8)


def searched(trials, name="peak"):
    done = []
    while len(done) < trials:
        settings = propose(SPACE, done, name)
        done.append(Trial(len(done), settings, (0.0,), (score_of(settings),), (0.0,)))
    return done


def test_the_first_trial_is_the_start_and_the_others_stay_in_their_ranges():
    trials = searched(20)
    assert trials[0].settings == {key: dimension.start for key, dimension in SPACE.items()}
    for trial in trials:
        lr, margin, bins, sampler = (trial.settings[key] for key in SPACE)
        assert 1e-3 <= lr <= 1e-1 and 0 <= margin <= 1 and bins in range(2, 10) and isinstance(bins, int)
        assert sampler in ("random", "balanced") and float(f"{lr:.1e}") == lr  # two digits, as params.yaml will say
    assert len({json.dumps(trial.settings) for trial in trials}) == 20


def test_the_estimator_learns_from_the_trials_before():
    """Where it samples after 40 trials is nearer to the peak than where random ones fall."""
    trials = searched(40)
    early, late = trials[1:9], trials[30:]
    assert sum(t.score for t in late) / len(late) > sum(t.score for t in early) / len(early) + 0.1
    assert best(trials).score > 0.9


def test_a_search_that_goes_on_is_the_search_that_never_stopped():
    trials = searched(12)
    for number in (1, 5, 11):
        assert propose(SPACE, trials[:number], "peak") == trials[number].settings
    assert propose(SPACE, trials[:5], "another") != trials[5].settings


def test_a_setting_is_never_drawn_below_the_one_it_is_bound_to():
    space = {
        "loss.delta": Range(low=0.05, high=1.0, start=0.2),
        "loss.delta_rep": Range(low=0.05, high=1.4, start=0.2, at_least="delta"),
    }
    done = []
    while len(done) < 30:
        settings = propose(space, done, "bound")
        done.append(Trial(len(done), settings, (0.0,), (-settings["loss.delta"],), (0.0,)))
    pairs = [(trial.settings["loss.delta"], trial.settings["loss.delta_rep"]) for trial in done]
    assert all(delta <= delta_rep <= 1.4 for delta, delta_rep in pairs)
    assert any(delta == delta_rep for delta, delta_rep in pairs[1:]), "drawn below, and raised"


@pytest.mark.parametrize("change, message", [
    ({"at_least": "deltas"}, "at_least: expected a setting that moves, found loss.deltas"),
    ({"at_least": "delta", "high": 0.5}, "expected start and high of at least those of loss.delta"),
])  # fmt: skip
def test_a_bound_that_cannot_hold_is_refused(tuned, change, message):
    delta = {"low": 0.05, "high": 1.0, "start": 0.2}
    loss = {"delta": delta, "delta_rep": {"low": 0.05, "high": 1.4, "start": 0.2} | change}
    with pytest.raises(ConfigError, match=re.escape(message)):
        tuned(method=["pfml"], space=[{"method": ["pfml"], "loss": loss}])


def test_of_equal_scores_the_first_is_the_best():
    trials = [
        Trial(i, {"train.lr": i}, (0.0, 0.2), scores, scores) for i, scores in enumerate([(0, 1), (1, 0), (0, 0)])
    ]
    assert best(trials).number == 0


def test_a_trial_trains_without_the_validation_classes_and_measures_them_alone(tuned):
    params = tuned()
    run = trial_run(params, "contrastive", 0.2, {"train.lr": 0.004, "loss.neg_margin": 0.9})
    assert run.train["hold_out"] and run.train["lr"] == 0.004 and run.loss["neg_margin"] == 0.9
    assert run.train["eval_every"] == run.train["epochs"] and run.train["precision"] == "float32"
    assert (run.dataset, run.noise, run.seed) == ("glyphs", 0.2, 0)
    plain = next(c for c in grid_runs(params) if (c.method, c.noise) == ("contrastive", 0.2))
    assert plain.digest != run.digest and not plain.train["hold_out"]
    moved = {"train.lr": 0.004, "loss.neg_margin": 0.9}
    assert [r.digest for r in search_of(params, "contrastive").runs_with(moved)] == [
        trial_run(params, "contrastive", noise, moved).digest for noise in (0.0, 0.2)
    ], "a trial of the plan is that which was checked"


def test_a_real_search_is_written_kept_and_continued(tuned, images, capsys):
    params, out = tuned(trials=2), images / "out/contrastive.csv"

    def made():
        return capsys.readouterr().out.count("validation MAP@R")

    first = tune_method(search_of(params, "contrastive"), out)
    assert read_trials(out)[0] == first and [trial.number for trial in first] == [0, 1] and made() == 2
    assert all(0 < value < 1 for trial in first for value in (*trial.map_at_r, *trial.recall_at_1))
    assert first[0].noise == (0.0, 0.2)
    longer = tune_method(search_of(tuned(trials=3), "contrastive"), out)
    assert longer[:2] == first and len(read_trials(out)[0]) == 3 and made() == 1, "the two before are not made again"
    assert tune_method(search_of(tuned(trials=2), "contrastive"), out) == first and made() == 0
    assert len(read_trials(out)[0]) == 3, "a smaller budget loses nothing"
    moved = {"neg_margin": {"low": 0.2, "high": 1.0, "start": 0.6}}
    other = tuned(trials=1, space=[TUNE["space"][0], {"method": ["contrastive"], "loss": moved}])
    assert tune_method(search_of(other, "contrastive"), out)[0].settings["loss.neg_margin"] == 0.6 and made() == 1
    (images / "data/raw/glyphs/meta.json").write_text('{"digest": "%s"}' % ("e" * 64))
    tune_method(search_of(other, "contrastive"), out)
    assert made() == 1, "other images are another search"
    assert len(list(out.parent.glob("contrastive.csv.*"))) == 2, "and what another search has made is kept aside"


def test_a_setting_that_diverges_scores_nothing_and_ends_nothing(tuned, images):
    params = tuned()
    wild = trial_run(params, "pfml", 0.0, {"train.lr": 1e30, "train.clip_norm": 0.0})
    assert run_trial(wild) == (0.0, 0.0)
    once = trial_run(params, "pfml", 0.0, {"train.lr": 1e30, "train.clip_norm": 0.0, "train.steps_per_epoch": 1})
    assert run_trial(replace(once, train={**once.train, "epochs": 1, "warmup": 0.0})) == (0.0, 0.0)  # in its last step
    done = list(
        trials_of(search_of(params, "pfml"), measure=lambda run: (0.0, 0.0) if run.train["lr"] == 3e-3 else (0.5, 0.5))
    )
    assert [trial.score for trial in done] == [0.0, 0.5, 0.5] and best(done).number == 1


@pytest.mark.parametrize("change, message", [
    ({"method": ["contrastve"]}, "tune.*method: 'contrastve' is in no entry of tune.space"),
    ({"method": ["hist"], "space": [{"method": ["hist"], "loss": {"tua": {"low": 1.0, "high": 2.0, "start": 1.0}}}]},
     "tua: unknown key; did you mean tau"),
    ({"space": [{"method": ["pfml", "contrastive"], "train": {"lr": {"low": -1.0, "high": 1.0, "start": 0.5}}}]},
     "greater than 0, found -1.0"),
    ({"space": [{"method": ["pfml"], "train": {"lr": {"low": 2.0, "high": 1.0, "start": 1.0}}}]}, "low < high"),
    ({"space": [{"method": ["pfml"], "train": {"lr": {"low": 1.0, "high": 2.0, "start": 3.0}}}]},
     "start: expected a number from 1.0 to 2.0, found 3.0"),
    ({"noise": [0.3]}, "tune.noise: the labels of 0.3 are made for grid.noise only, which is"),
    ({"seed": 7}, "tune.seed: the labels of 7 are made for grid.seed only, which is"),
    ({"trials": 0}, "tune.trials"),
    ({"space": [*TUNE["space"], {"method": ["triplt"], "loss": {}}]},
     "tune.space: 'triplt' is in neither field nor baseline; did you mean triplet"),
    ({"method": ["triplet"], "space": [{"method": ["triplet"], "loss": {
        "mining": {"choices": ["semihard", "bogus", "hard"], "start": "hard"}}}]}, "mining: .*found 'bogus'"),
    ({"space": [{"method": ["pfml", "contrastive"], "train": {"epochs": {"low": 1, "high": 3, "start": 1.5}}}]},
     "start: expected a whole number, as low and high are, found 1.5"),
    ({"space": [{"method": ["pfml", "contrastive"], "train": {"hold_out": {"choices": [True, False], "start": True}}}]},
     "space: train.hold_out cannot move"),
])  # fmt: skip
def test_what_cannot_be_searched_is_refused_with_its_key(tuned, change, message):
    with pytest.raises(ConfigError, match=re.sub(r" (?=\w)", " ", message)):
        tuned(**change)


def test_a_method_that_does_not_exist_is_named_with_its_neighbour(tuned):
    space = [{"method": ["contrastve"], "train": {"lr": {"low": 1.0, "high": 2.0, "start": 1.0}}}]
    with pytest.raises(ConfigError, match="'contrastve' is in neither field nor baseline; did you mean contrastive"):
        tuned(method=["contrastve"], space=space)


def test_a_broken_file_of_trials_is_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("trial,noise\n0,0.0\n")
    with pytest.raises(ValueError, match=r"x\.csv: expected the columns trial, noise, val_map@r"):
        read_trials(path)


def test_the_search_is_a_run_in_mlflow_once(tuned, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    params = tuned()
    study = {"study": "tuned", "tracking": params.tracking.model_dump()}
    search = search_of(params, "contrastive")
    trials = list(trials_of(search, measure=lambda run: (run.train["lr"], run.loss["neg_margin"])))
    path = tmp_path / "contrastive.csv"
    write_trials(path, trials, "0" * 16)
    for _ in range(2):
        log_search(search, study, trials, best(trials), path)
    client, experiment = open_store("pfml-tuned-tuning")
    [run] = client.search_runs([experiment])
    assert run.info.status == "FINISHED" and run.data.tags["method"] == "contrastive"
    assert run.data.params["trials"] == "3" and run.data.params["trainings"] == "6"
    assert run.data.params["best.train.lr"] == str(best(trials).settings["train.lr"])
    assert json.loads(run.data.params["space.loss.neg_margin"])["high"] == 1.0
    scores = client.get_metric_history(run.info.run_id, "score")
    assert [(point.step, point.value) for point in scores] == [(t.number, t.score) for t in trials]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["contrastive.csv"]


@pytest.mark.parametrize("name, own, foreign", [
    ("pfml", {"potential_field", "field_loss", "energy", "field_triton", "neighbours"}, {"hier", "prism"}),
    ("hier", {"hier", "scratch", "poincare", "draws", "relative_rate"}, {"hist", "potential_field"}),
    ("pa_niv", {"pa_niv", "relative_rate", "ranges"}, {"hier", "proxy_anchor"}),
    ("n_pair", {"n_pair", "library", "checks", "draws"}, {"esphn", "pair_law"}),
])  # fmt: skip
def test_a_search_depends_on_its_own_loss_and_on_all_that_trains(name, own, foreign):
    code = numeric_code(name)
    losses = {path.stem for path in code if "losses" in path.parts}
    assert own <= losses and not losses & foreign
    assert not any(path.parts[-2:] == ("losses", "__init__.py") for path in code), "the registry"
    assert {"loop", "optimizer", "run_data", "samplers"} <= {path.stem for path in code}
    assert all(path.exists() for path in code) and len(set(code)) == len(code)


def test_the_report_says_budget_best_and_whether_it_is_used(tmp_path):
    trials = [Trial(i, {"train.lr": lr}, (0.0, 0.2), (lr, lr / 2), (lr, lr)) for i, lr in enumerate([0.2, 0.4])]
    for method, held in (("contrastive", trials), ("triplet", trials)):
        path = tmp_path / f"glyphs/{method}.csv"
        path.parent.mkdir(exist_ok=True)
        write_trials(path, held, "0" * 16)
    used = {"glyphs": {"contrastive": {"train.lr": 0.4}, "triplet": {"train.lr": 0.2}}}
    text = render_tuning(read_searches(tmp_path), used)
    assert "2 methods, 2 trials each, 8 trainings." in text
    assert "| Contrastive | 15.0 | 30.0 | 40.0 | 20.0 | 2 | 2 | 1 | yes | lr 0.4 |" in text
    assert "| Triplet | 15.0 | 30.0 | 40.0 | 20.0 | 2 | 2 | 1 | no | lr 0.4 |" in text
    every = text.split("<summary>Triplet</summary>")[1].split("</details>")[0].strip().splitlines()[2:]
    assert every == ["| 1 | 15.0 | 20.0 | 10.0 | lr 0.2 |", "| 2 | **30.0** | 40.0 | 20.0 | lr 0.4 |"]
    write_trials(tmp_path / "glyphs/triplet.csv", trials[:1], "0" * 16)
    assert "NOT equal: 1 trials, but Contrastive 2" in render_tuning(read_searches(tmp_path), used)
    assert "No search was run" in render_tuning({}, {})


def test_the_settings_in_use_are_those_of_the_runs(tuned):
    params = tuned()
    used = settings_in_use(grid_runs(params))
    expected = params.baseline["contrastive"].loss["neg_margin"]
    assert used["glyphs"]["contrastive"]["loss.neg_margin"] == expected and "pfml" in used["glyphs"]
