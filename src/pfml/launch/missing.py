"""`make repro MISSING=1`: a run whose result is there is not trained again where its model is not, as in a clone.

A result is a file below reports/runs with the digest of the run as it is planned now. Figures that read the embeddings
of every run of a dataset cannot be drawn then, and stay as they are.
"""

from pfml.launch.table import result_of, result_of_folds
from pfml.settings.run import Run
from pfml.settings.runs import ablation_runs, by_repeat, fold_runs, grid_runs
from pfml.settings.schema import Params
from pfml.settings.stages import stages_of


def measured_runs(params: Params) -> list[Run]:
    """The runs of a study whose result is there. A cross validation counts with all its folds or with none.

    Raises:
        ValueError: a result file that cannot be used; names it and its key.
    """
    single = [run for run in [*grid_runs(params), *ablation_runs(params)] if result_of(run)]
    return single + [run for folds in by_repeat(fold_runs(params)).values() if result_of_folds(folds) for run in folds]


def stages_to_keep(params: Params, stale: list[str]) -> set[str]:
    """Those of the stale stages that would train or measure such runs, or draw figures of their embeddings."""
    fields, kept, figures = params.grid.field + params.mlrc.field, set(), set()
    for run in measured_runs(params):
        training, evaluation = stages_of(run, fields)
        if training in stale:
            kept |= {training, evaluation}
            if not run.axis and run.fold is None:
                figures.add(f"embedding_figures@{run.dataset}")
    return (kept | figures) & set(stale)


def told(kept: set[str]) -> str:
    """A line for people about the stages that do not run."""
    runs = sum(name.startswith(("train", "ablate")) for name in kept)
    figures = sorted(name.partition("@")[2] for name in kept if name.startswith("embedding_figures"))
    line = f"{runs} run{'s' * (runs != 1)} with a result not trained again"
    return f"{line}; figures of embeddings stay as they are: {', '.join(figures)}" if figures else line
