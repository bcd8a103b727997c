"""The searches of a study (tune.method) on an engine: several trials of every method at a time.

The random trials are those of a search on one machine. A later one is proposed while others still run, whose scores the
estimator does not know yet, so it may differ (docs/tuning.md). Trials are written as they end; the stage `tune` then
finds them and trains nothing.
"""

import json
from pathlib import Path

from pfml.evaluation.trials import best, write_trials
from pfml.launch.engines import node
from pfml.launch.engines.task import Engine, Order, Outcome, Task
from pfml.settings.plan import read_plan
from pfml.tuning import Search, batch, finished, kept_trials

AT_ONCE = 4  # trials of a method that run side by side, once the random ones have ended


def search_on(
    engine: Engine, methods: list[str], order: Order, remote: bool, resources: tuple[float, int, int]
) -> list[Outcome]:
    """Run what is left of some searches, round by round; returns the outcomes of trials that failed. A method whose
    trial failed keeps those before it and stops.

    Args:
        remote: as of pfml.launch.engines.node.arguments.
        resources: of a trial: GPU share, cores, bytes of memory.
    """
    searches = {method: Search.from_json(read_plan(f"tune/{method}")) for method in methods}
    files = {method: Path("reports/tuning", one.dataset, f"{method}.csv") for method, one in searches.items()}
    known = {method: kept_trials(one, files[method]) for method, one in searches.items()}
    failed: list[Outcome] = []
    while rounds := {method: batch(one, known[method][0], AT_ONCE) for method, one in searches.items()}:
        tasks = [
            _trial(method, len(known[method][0]) + i, settings, remote, resources)
            for method, some in rounds.items()
            for i, settings in enumerate(some)
        ]
        if not tasks:
            break
        outcomes = {outcome.name: outcome for outcome in engine.run(tasks, order, lambda *_: None)}
        failed += [outcome for outcome in outcomes.values() if outcome.code]
        for method, some in rounds.items():
            trials, mark = known[method]
            for settings in some:
                outcome = outcomes[_name(method, len(trials))]
                if outcome.code:
                    del searches[method]
                    break
                trials.append(finished(searches[method], len(trials), settings, json.loads(outcome.record)))
            if trials:
                write_trials(files[method], trials, mark)
                print(f"{method}: {len(trials)} trials, best validation MAP@R {best(trials).score:.4f}", flush=True)
    return failed


def _name(method: str, number: int) -> str:
    return f"{method}-trial-{number + 1}"


def _trial(method: str, number: int, settings: dict, remote: bool, resources: tuple[float, int, int]) -> Task:
    record = f".trials/{_name(method, number)}.json"
    arguments = node.arguments(remote, "trial", method, json.dumps(settings), record)
    return Task(_name(method, number), arguments, record, "", *resources)
