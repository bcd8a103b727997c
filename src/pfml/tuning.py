"""The search for a method's settings, with equally many trials for every method, scored on validation classes only.

A trial trains without the validation classes at each label noise of tune.noise. Its score is the mean MAP@R on them;
the test half is never measured. The first trial has the `start` values of tune.space, the next are random, and Optuna's
tree-structured Parzen estimator proposes the rest. A proposal depends only on the trials before it and on its number,
so that a search that was stopped, or that gets more trials, continues as if it had never ended.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from pfml.evaluation.trials import RANDOM_TRIALS, Trial, best, read_trials, write_trials
from pfml.settings.run import Run
from pfml.settings.tune import Choice, Dimension, Range, bounds

DIGITS = 2  # significant digits of a drawn number, so that params.yaml can state it exactly


@dataclass(frozen=True)
class Search:
    """A method's search, as planned.

    Attributes:
        space: section.key -> range.
        runs: for each label noise the run of the first trial; other trials change its settings.
    """

    dataset: str
    method: str
    trials: int
    seed: int
    space: Mapping[str, Dimension]
    runs: Sequence[Run]

    @classmethod
    def from_json(cls, saved: Mapping) -> "Search":
        """From a file of data/plan/tune/."""
        space = {key: (Choice if "choices" in one else Range)(**one) for key, one in saved["space"].items()}
        return cls(**dict(saved) | {"space": space, "runs": [Run.from_json(run, "") for run in saved["runs"]]})

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.method}-{self.seed}"

    @property
    def noise(self) -> tuple[float, ...]:
        return tuple(run.noise for run in self.runs)

    def runs_with(self, settings: Mapping) -> list[Run]:
        """The runs of a trial, one for each label noise. They are measured at their end only."""
        moved = []
        for run in self.runs:
            sections = {"loss": dict(run.loss), "train": dict(run.train)}
            for key, value in settings.items():
                section, name = key.split(".")
                sections[section][name] = value
            sections["train"]["eval_every"] = sections["train"]["epochs"]
            moved.append(replace(run, **sections))
        return moved


def propose(
    space: Mapping[str, Dimension], trials: Sequence[Trial], name: str, running: Sequence[Mapping] = ()
) -> dict:
    """The settings of the next trial. The random ones are the same whether earlier trials have ended or not.

    Args:
        space: section.key -> range.
        trials: all earlier trials that have ended.
        name: of the search; seeds the random numbers.
        running: settings of those that have not; the estimator takes their scores for bad ones (constant_liar).
    """
    number = len(trials) + len(running)
    if not number:
        return {key: dimension.start for key, dimension in space.items()}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(hashlib.sha256(f"{name}-{number}".encode()).hexdigest()[:8], 16)
    sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed, constant_liar=bool(running))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {key: _distribution(dimension) for key, dimension in space.items()}
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(params=dict(trial.settings), distributions=distributions, value=trial.score)
        )
    for settings in running:
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(settings), distributions=distributions, state=optuna.trial.TrialState.RUNNING
            )
        )
    drawn = {key: _rounded(value, space[key]) for key, value in study.ask(distributions).params.items()}
    return drawn | {key: max(drawn[key], drawn[lower]) for key, lower in bounds(space).items()}


def _distribution(dimension: Dimension):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.choices)
    whole = isinstance(dimension.low, int) and isinstance(dimension.high, int)
    return (IntDistribution if whole else FloatDistribution)(dimension.low, dimension.high, log=dimension.log)


def _rounded(value, dimension: Dimension):
    if not isinstance(value, float) or isinstance(dimension, Choice) or not value:
        return value
    short = round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))
    return min(max(short, float(dimension.low)), float(dimension.high))


def run_trial(run: Run) -> tuple[float, float]:
    """MAP@R and R@1 on the validation classes after training; 0 if the loss became NaN or infinite."""
    from pfml.training.batches.run_data import load_run_data
    from pfml.training.loop import train

    try:
        last = train(run, load_run_data(run)).history[-1]
    except FloatingPointError:  # a setting that diverges is a bad one, not an error of the search
        return 0.0, 0.0
    return last["val_map@r"], last["val_recall@1"]


def trials_of(search: Search, measure: Callable = run_trial, trials: Sequence[Trial] = ()):
    """Yield the trials of a search from the first that `trials` lacks to number search.trials."""
    done = list(trials)
    while len(done) < search.trials:
        settings = propose(search.space, done, search.name)
        done.append(finished(search, len(done), settings, [measure(run) for run in search.runs_with(settings)]))
        yield done[-1]


def batch(search: Search, trials: Sequence[Trial], at_once: int) -> list[dict]:
    """Settings of the next trials of a search that may run side by side: the random ones all, then `at_once`."""
    room = RANDOM_TRIALS - len(trials) if len(trials) < RANDOM_TRIALS else at_once
    running: list[dict] = []
    while len(running) < min(room, search.trials - len(trials)):
        running.append(propose(search.space, trials, search.name, running))
    return running


def finished(search: Search, number: int, settings: Mapping, scores: Sequence[tuple[float, float]]) -> Trial:
    """A trial with its scores, MAP@R and R@1 for each label noise."""
    map_at_r, recall = (tuple(round(score, 5) for score in column) for column in zip(*scores))
    return Trial(number, settings, search.noise, map_at_r, recall)


def fingerprint(search: Search) -> str:
    """Digest (16 hexadecimal digits) of everything that finished trials depend on: the fixed settings, the space,
    labels and images, the code that trains and measures, Optuna's version. The number of trials is not part of it.
    """
    from pfml.training.run import work_fingerprint

    runs = search.runs
    parts = [{key: dimension.model_dump() for key, dimension in search.space.items()}, [run.config for run in runs]]
    parts.append([work_fingerprint(run) for run in runs])
    parts += [RANDOM_TRIALS, DIGITS, version("optuna")]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kept_trials(search: Search, out: Path) -> tuple[list[Trial], str]:
    """The trials of this search that `out` has, and the search's fingerprint. Trials of another search are moved to a
    file with the suffix of its fingerprint.
    """
    mark = fingerprint(search)
    kept, old_mark = read_trials(out) if out.exists() else ([], mark)
    if old_mark != mark:
        out.replace(out.with_name(f"{out.name}.{old_mark}"))
        kept = []
    out.parent.mkdir(parents=True, exist_ok=True)
    return kept, mark


def tune_method(search: Search, out: Path) -> list[Trial]:
    """Search a method's settings and write each finished trial to `out`. Trials of the same search that `out` already
    has are kept. Trials of another search are moved to a file with the suffix of its fingerprint.

    Returns:
        the first search.trials trials; `out` may have more.
    """
    kept, mark = kept_trials(search, out)
    for trial in trials_of(search, trials=kept):
        kept.append(trial)
        write_trials(out, kept, mark)
        print(f"{search.method}: trial {trial.number + 1} of {search.trials}, validation MAP@R {trial.score:.4f}, "
              f"best {best(kept).score:.4f}", flush=True)  # fmt: skip
    return kept[: search.trials]


def best_settings(folder: Path) -> dict[str, dict]:
    """method -> sections `loss` and `train` of the best trial, in the form of params.yaml and presets.

    Args:
        folder: contains a file of trials for each method, written by `tune_method`.
    """
    settings = {}
    for path in sorted(folder.glob("*.csv")):
        sections = {"loss": {}, "train": {}}
        for key, value in best(read_trials(path)[0]).settings.items():
            section, name = key.split(".")
            sections[section][name] = value
        settings[path.stem] = sections
    return settings
