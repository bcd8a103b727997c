"""reports/tuning.md: how the settings of every method were searched, what was found, and whether runs use it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pfml.evaluation.trials import RANDOM_TRIALS, Trial, best, read_trials
from pfml.report.names import MISSING, dataset_name, markdown_table, method_name, share
from pfml.settings.run import Run

PREAMBLE = """# Tuning

Every method is searched on the same classes, with the number of trials that stands below. A trial trains without the
validation classes of the training half, once at each label noise, and its score is the mean MAP@R on these classes; the
test half was never measured. The first trial starts from the published settings of the method's loss and from common
rates, the next {random} are random, Optuna's TPE proposes the rest (docs/tuning.md). All trials are in
`reports/tuning/<dataset>/<method>.csv`; `make repro PRESET=glyphs-tune` goes on from them. MAP@R in percent.
"""


def read_searches(folder: str | Path) -> dict[str, dict[str, list[Trial]]]:
    """dataset -> method -> its trials, from reports/tuning.

    Raises:
        ValueError: a file that is not one of trials; names it.
    """
    found: dict[str, dict[str, list[Trial]]] = {}
    for path in sorted(Path(folder).glob("*/*.csv")):
        found.setdefault(path.parent.name, {})[path.stem] = read_trials(path)[0]
    return found


def render_tuning(searches: Mapping, used: Mapping[str, Mapping[str, Mapping]]) -> str:
    """The whole of reports/tuning.md.

    Args:
        searches: of `read_searches`.
        used: dataset -> method -> its settings in runs of today, "section.key" -> value; a method may lack.
    """
    parts = [PREAMBLE.format(random=RANDOM_TRIALS - 1)]
    if not searches:
        parts.append("No search was run.\n")
    for dataset, methods in searches.items():
        parts.append(f"## {dataset_name(dataset)}\n\n{_budget(methods)}\n\n{_table(methods, used.get(dataset, {}))}\n")
        parts.append(f"### Every trial on {dataset_name(dataset)}\n")
        parts += [_trials(method, trials) for method, trials in methods.items()]
    return "\n".join(parts)


def _budget(methods: Mapping[str, Sequence[Trial]]) -> str:
    counts = {method: len(trials) for method, trials in methods.items()}
    trainings = sum(len(trial.map_at_r) for trials in methods.values() for trial in trials)
    if len(set(counts.values())) == 1:
        return f"{len(methods)} methods, {min(counts.values())} trials each, {trainings} trainings."
    least = min(counts.values())
    more = ", ".join(f"{method_name(m)} {n}" for m, n in counts.items() if n > least)
    return f"{len(methods)} methods, {trainings} trainings. The budget is NOT equal: {least} trials, but {more}."


def _table(methods: Mapping[str, Sequence[Trial]], used: Mapping[str, Mapping]) -> str:
    rows = []
    for method, trials in sorted(methods.items(), key=lambda item: -best(item[1]).score):
        won = best(trials)
        rows.append([
            method_name(method), *_percents([trials[0].score, won.score, *won.map_at_r]), str(won.number + 1),
            str(len(trials)), str(len(won.settings)), _in_use(won, used.get(method)), _settings(won),
        ])  # fmt: skip
    levels = _levels(next(iter(methods.values()))[0])
    header = ["Method", "first trial", "best", *levels, "at trial", "of", "settings moved", "in use", "best settings"]
    return markdown_table(header, rows)


def _trials(method: str, trials: Sequence[Trial]) -> str:
    """A folded table of one method's search, the best in bold."""
    won, rows = best(trials), []
    for trial in trials:
        score, *rest = _percents([trial.score, *trial.map_at_r])
        score = f"**{score}**" if trial is won else score
        rows.append([str(trial.number + 1), score, *rest, _settings(trial)])
    table = markdown_table(["trial", "score", *_levels(trials[0]), "settings"], rows)
    return f"<details><summary>{method_name(method)}</summary>\n\n{table}\n\n</details>\n"


def _levels(trial: Trial) -> list[str]:
    return [f"at {share(noise)} noise" for noise in trial.noise]


def _percents(values: Sequence[float]) -> list[str]:
    return [f"{100 * value:.1f}" for value in values]


def _settings(trial: Trial) -> str:
    return ", ".join(f"{key.split('.')[1]} {_short(value)}" for key, value in trial.settings.items())


def _short(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _in_use(won: Trial, settings: Mapping | None) -> str:
    """Whether runs have the best trial's settings today."""
    if settings is None:
        return MISSING
    return "yes" if all(settings.get(key) == value for key, value in won.settings.items()) else "no"


def settings_in_use(runs: Iterable[Run]) -> dict[str, dict[str, dict]]:
    """dataset -> method -> "section.key" -> value; the first run of a method counts."""
    used: dict[str, dict[str, dict]] = {}
    for run in runs:
        flat = {f"{name}.{key}": value for name in ("loss", "train") for key, value in getattr(run, name).items()}
        used.setdefault(run.dataset, {}).setdefault(run.method, flat)
    return used
