"""The search for a method's settings: as many trials for every method, scored on validation classes only.

A trial trains without the validation classes at each label noise of tune.noise and is scored by the mean MAP@R on them;
the test half is never measured. The first trial is tune.space's `start`, the next are random, the rest are proposed by
Optuna's tree-structured Parzen estimator. Every proposal depends on the trials before it and on its own number alone,
so that a search that was stopped, or that gets more trials, goes on as if it had never ended.
"""

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from pfml.evaluation.trials import RANDOM_TRIALS, Trial, best, read_trials, write_trials
from pfml.settings.run import Run
from pfml.settings.runs import trial_run
from pfml.settings.schema import Params
from pfml.settings.tune import Choice, Dimension

DIGITS = 2  # significant ones of a drawn number, so that params.yaml can hold it as it was tried


def propose(space: Mapping[str, Dimension], trials: Sequence[Trial], name: str) -> dict:
    """The settings of the next trial.

    Args:
        space: section.key -> range.
        trials: all before it.
        name: of the search, from which the random numbers come.
    """
    if not trials:
        return {key: dimension.start for key, dimension in space.items()}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(hashlib.sha256(f"{name}-{len(trials)}".encode()).hexdigest()[:8], 16)
    sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {key: _distribution(dimension) for key, dimension in space.items()}
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(params=dict(trial.settings), distributions=distributions, value=trial.score)
        )
    return {key: _rounded(value, space[key]) for key, value in study.ask(distributions).params.items()}


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
    """MAP@R and R@1 on the validation classes after training, 0 where the loss became NaN or infinite."""
    from pfml.training.batches.run_data import load_run_data
    from pfml.training.loop import train

    try:
        last = train(run, load_run_data(run)).history[-1]
    except FloatingPointError:  # a setting that diverges is a bad one, not an error of the search
        return 0.0, 0.0
    return last["val_map@r"], last["val_recall@1"]


def search(params: Params, method: str, measure: Callable = run_trial, trials: Sequence[Trial] = ()):
    """Yield the trials of a method from the first that `trials` lacks to number tune.trials."""
    tune, done = params.tune, list(trials)
    name, space = f"{params.grid.dataset[0]}-{method}-{tune.seed}", tune.space_of(method)
    while len(done) < tune.trials:
        settings = propose(space, done, name)
        scores = [measure(trial_run(params, method, noise, settings)) for noise in tune.noise]
        map_at_r, recall = (tuple(round(score, 5) for score in column) for column in zip(*scores))
        done.append(Trial(len(done), settings, tuple(tune.noise), map_at_r, recall))
        yield done[-1]


def code_of(loss_name: str) -> list[Path]:
    """The files that make a loss's numbers: of the losses only its own and what they and the training import, so that a
    further loss leaves the searches of the others as they are.
    """
    from pfml import losses as package
    from pfml.training.run import numeric_code

    losses, code = Path(package.__file__).parent, numeric_code()
    found = [path for path in code if path.parent != losses] + [Path(inspect.getfile(package.LOSSES[loss_name]))]
    for path in found:  # grows as imports are met
        names = re.findall(r"^\s*from pfml\.losses(?:\.| import )(\w+)", path.read_text(), re.M)
        imported = [losses / f"{name}.py" for name in names]
        found += [path for path in imported if path in code and path not in found]
    return [path for path in code if path in found]


def fingerprint(params: Params, method: str) -> str:
    """What finished trials depend on, as 16 hexadecimal digits: all settings that do not move, the space, labels and
    images, the code that trains and measures, Optuna's version. The number of trials is not part of it.
    """
    from pfml.training.run import work_fingerprint

    space = params.tune.space_of(method)
    runs = [
        trial_run(params, method, noise, {key: dimension.start for key, dimension in space.items()})
        for noise in params.tune.noise
    ]
    parts = [{key: dimension.model_dump() for key, dimension in space.items()}, [run.config for run in runs]]
    parts.append([work_fingerprint(run, code_of(run.loss_name)) for run in runs])
    parts += [RANDOM_TRIALS, DIGITS, version("optuna")]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tune_method(params: Params, method: str, out: Path) -> list[Trial]:
    """Search a method's settings, each trial written to `out` as it is made; trials of the same search that are there
    already are kept. Those of another search are moved aside, to a file with its fingerprint behind the name.

    Returns:
        the first tune.trials trials; `out` may hold more.
    """
    mark = fingerprint(params, method)
    kept, found = read_trials(out) if out.exists() else ([], mark)
    if found != mark:
        out.replace(out.with_name(f"{out.name}.{found}"))
        kept = []
    out.parent.mkdir(parents=True, exist_ok=True)
    for trial in search(params, method, trials=kept):
        kept.append(trial)
        write_trials(out, kept, mark)
        print(f"{method}: trial {trial.number + 1} of {params.tune.trials}, validation MAP@R {trial.score:.4f}, "
              f"best {best(kept).score:.4f}", flush=True)  # fmt: skip
    return kept[: params.tune.trials]


def main() -> None:
    """Print the best settings of each search as they would stand in params.yaml or a preset."""
    import sys

    import yaml

    from pfml.settings.load import load_params

    params, folder = load_params(), Path("reports/tuning")
    for path in sorted(Path(folder, params.grid.dataset[0]).glob("*.csv")):
        won, sections = best(read_trials(path)[0]), {"loss": {}, "train": {}}
        for key, value in won.settings.items():
            section, name = key.split(".")
            sections[section][name] = value
        yaml.safe_dump({path.stem: sections}, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
