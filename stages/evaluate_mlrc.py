"""evaluate_mlrc <dataset>-<method>-<seed>: measures of one cross validation into reports/runs/<study>/mlrc/."""

import sys

from pfml.settings.runs import by_repeat, fold_runs
from pfml.settings.validation import ConfigError
from pfml.stage import run_stage


def main(params):
    from pfml.evaluation.folds import evaluate_folds

    name, found = sys.argv[1], {name: folds for (_, name), folds in by_repeat(fold_runs(params)).items()}
    if name not in found:
        raise ConfigError(f"{name!r} is no cross validation of params.yaml; mlrc has {', '.join(found) or 'none'}")
    result = evaluate_folds(found[name])
    shares = ", ".join(f"{what} {100 * result[f'{what}_map@r']:.1f} %" for what in ("separated", "concatenated"))
    print(f"{name:<34} MAP@R {shares}")


run_stage(main, data=True)
