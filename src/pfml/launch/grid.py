"""`pfml grid`: the stale trainings of a study on an engine, and the rest of the pipeline here.

Each training is `dvc repro --single-item` in a copy of this folder on a node, whose result comes back through DVC's
run cache. The pipeline that then runs here finds every training there and trains nothing, so dvc.lock and the tables
are those of one machine.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from pfml.launch.copies import copy_file, files_of, follow_commit, git, share_cache
from pfml.launch.dvc import DATA, stage_group
from pfml.launch.engines import node, place
from pfml.launch.engines.task import Engine, Order, Outcome, Task
from pfml.launch.locks import LOCK
from pfml.launch.missing import stages_to_keep
from pfml.launch.pipeline import dvc, prepare, repro, stale_stages
from pfml.launch.progress import Progress
from pfml.settings import ConfigError
from pfml.settings.run import Run, project_root
from pfml.settings.runs import planned_runs
from pfml.settings.schema import Params
from pfml.settings.stages import measured_by, stages_of
from pfml.tracking.provenance import keep_row

CARRIED = (
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DO_NOT_TRACK", "PFML_CACHE",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS",
)  # fmt: skip
GIB = 2**30


def grid(
    params: Params, engine: Engine, jobs: tuple[int, int], missing: bool = False, only: tuple[str, ...] = ()
) -> bool:
    """Train on the engine what is stale, then bring everything up to date here; returns whether anything was stale.

    Args:
        jobs, only: as of pfml.launch.pipeline.repro, for the stages that run here.
        missing: do not train a run whose result is there.

    Raises:
        ConfigError: nodes cannot share data with this machine, or as `repro`.
        GridError: runs failed; the others are finished and kept.
    """
    from pfml.launch.searches import search_on

    prepare(params)
    remote = default_remote()
    if any(stage_group(name) in DATA for name in stale_stages()):
        dvc("repro", *DATA)
    stale = stale_stages()
    kept = stages_to_keep(params, stale) if missing else set()
    trainings = trainings_of(params, set(stale) - kept)
    tasks = tasks_of(params, trainings, remote, engine.gpus())
    searched = [method for method in params.tune.method if f"tune@{method}" in stale]
    if tasks or searched:
        if remote:
            dvc("push", "--quiet", "--run-cache", *node.data_stages())
        order = order_of(Path.cwd(), remote)
        with Progress(len(tasks)) as progress:
            outcomes = list(engine.run(tasks, order, progress.line))
        needs = resources(planned_runs(params)[0], engine.gpus())
        lost = search_on(engine, searched, order, remote, needs) if searched else []
        if remote:
            dvc("fetch", "--quiet", "--run-cache", *node.data_stages())
        finished = [outcome for outcome in outcomes if outcome.code == 0]
        for outcome in finished:
            keep_row(outcome.record)
        if failed := [outcome for outcome in outcomes if outcome.code] + lost:
            take([trainings[outcome.name] for outcome in finished], remote)
            raise GridError(failed)
    return repro(params, jobs, missing, trained=bool(tasks), pull=remote, only=only) or bool(tasks)


class GridError(RuntimeError):
    """Runs or trials failed on the engine; says which, where, and what they printed last."""

    def __init__(self, failed: list[Outcome]):
        lines = [
            "\n    ".join([f"{one.name}: exit code {one.code} on {one.node or 'no node'}", *one.lines[-5:]])
            for one in failed
        ]
        super().__init__(
            f"{len(failed)} run{'s' * (len(failed) != 1)}; the others are finished and kept, the same command tries "
            "these again:\n" + "\n".join(lines)
        )


def take(trainings: list[str], remote: bool) -> None:
    """Bring the finished runs of an unfinished grid here, from the run cache, and measure them."""
    if names := [*trainings, *filter(None, map(measured_by, trainings))]:
        dvc("repro", "--quiet", *["--pull"] * remote, "--single-item", *names)


def trainings_of(params: Params, stale: set[str]) -> dict[str, str]:
    """Name of a run -> its stage of training, of those that are stale."""
    fields = params.grid.field + params.mlrc.field
    stages = {one.name: stages_of(one, fields)[0] for one in planned_runs(params)}
    return {name: stage for name, stage in stages.items() if stage in stale}


def tasks_of(params: Params, trainings: dict[str, str], remote: bool, gpus: float) -> list[Task]:
    """The tasks of trainings. All are measured here: DVC's run cache has no result files, which Git keeps.

    Args:
        gpus: of the engine.
    """
    return [
        Task(
            one.name,
            node.arguments(remote, "train", trainings[one.name], one.digest),
            f".provenance/{one.digest}.json",
            one.digest,
            *resources(one, gpus),
        )
        for one in planned_runs(params)
        if one.name in trainings
    ]


def resources(one: Run, gpus: float) -> tuple[float, int, int]:
    """GPU share, cores and bytes of memory of a run. Networks for small images and heads on features share a GPU."""
    small = one.trunk == "frozen" or one.model["backbone"] in ("conv3", "conv4")
    return (0.0 if not gpus else 0.125 if small else 1.0), one.train["threads"], (2 if small else 8) * GIB


def default_remote() -> bool:
    """Whether a DVC remote carries data and results; False where all nodes see a shared cache.

    Raises:
        ConfigError: neither.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        if repo.config["core"].get("remote"):
            return True
        own = Path(repo.root_dir, ".dvc", "cache")
        shared = Path(repo.cache.local_cache_dir or own).resolve()
    if shared in (own.resolve(), (project_root() / ".dvc/cache").resolve()):
        raise ConfigError(
            "pfml grid: nodes need a way to data and results; give DVC a default remote that all of them reach "
            "(`dvc remote add --default --local store s3://bucket/pfml`) or a cache that all of them see "
            "(`dvc cache dir --local /shared/pfml`)"
        )
    return False


def order_of(project: Path, remote: bool) -> Order:
    """What nodes get: the last commit, and the files as they lie here."""
    with tempfile.TemporaryDirectory() as folder:
        tree, state = Path(folder), hashlib.sha256()
        follow_commit(project, tree)
        state.update(git(tree, "rev-parse", "HEAD").stdout.encode())
        for name in dict.fromkeys([*files_of(project), str(LOCK)]):
            if not name.startswith("reports/"):  # which nodes write and do not read
                copy_file(project / name, tree / name)
                if name != str(LOCK):
                    state.update(name.encode() + (project / name).read_bytes())
        share_cache(project, tree)
        if remote:
            git(tree, "config", "--file", ".dvc/config.local", "--remove-section", "cache")
        environment = {name: os.environ[name] for name in CARRIED if name in os.environ}
        return Order(place.pack(tree), state.hexdigest()[:16], environment)
