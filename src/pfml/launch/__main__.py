"""The process of `make repro` and `pfml grid`: in the project itself, or for a preset in its working copy."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pfml.launch.copies import working_copy
from pfml.launch.engines.local import at_a_time
from pfml.launch.engines.task import Engine
from pfml.launch.grid import GridError, grid
from pfml.launch.locks import Busy
from pfml.launch.pipeline import prepare, repro
from pfml.launch.results import bring_back, bring_results, page_of
from pfml.launch.sweep.runs import GROUPS, run_point
from pfml.launch.table import study_table
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.schema import Params

ENGINES = ("ray", "slurm")
Pipeline = Callable[[Params], bool]  # runs what is stale in the working directory; returns whether anything was


def main() -> int:
    parser = argparse.ArgumentParser(prog="make repro", description=__doc__)
    parser.add_argument(
        "-j", "--jobs", type=int, default=0, help="runs at a time (default: one per GPU, else one per core, at most 8)"
    )
    parser.add_argument("--preset", help="run presets/<name>.yaml in a working copy (`make presets` lists them)")
    parser.add_argument("--missing", action="store_true", help="do not train runs whose results are there")
    parser.add_argument("--on", choices=ENGINES, help="train on a cluster (docs/scaling.md)")
    parser.add_argument("--address", help="of a Ray cluster")
    parser.add_argument("--slurm", help="settings of Slurm: partition=gpu,time=600")
    parser.add_argument(
        "--point", type=Path, help="the params.yaml of a point of `pfml sweep`, which starts this itself"
    )
    parser.add_argument("--name", help="of that point's experiment")
    arguments = parser.parse_args()
    jobs = at_a_time(arguments.jobs)
    # One thread a process: runs share the cores, and train.threads sets those of torch.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.perf_counter()

    only = GROUPS if arguments.point else ()

    def pipeline(params: Params) -> bool:
        if arguments.on:
            return grid(params, engine(arguments), jobs, arguments.missing, only)
        prepare(params)
        return repro(params, jobs, arguments.missing, only=only)

    try:
        if arguments.point:
            ran = run_point(arguments.point, arguments.name, pipeline)
        else:
            ran = run_preset(arguments.preset, pipeline) if arguments.preset else run_project(pipeline)
    except KeyboardInterrupt:
        print("interrupted: finished stages are kept, the others go on where they were at the next `make repro`")
        return 130
    except (ConfigError, Busy, OSError) as error:  # of the system: a full disk, a folder that may not be written
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except subprocess.CalledProcessError as error:
        print(f"failed: {' '.join(error.cmd)}; what is finished is kept", file=sys.stderr)
        return error.returncode
    except GridError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    if ran:
        print(f"done in {time.perf_counter() - started:.0f} s")
    return 0


def engine(arguments: argparse.Namespace) -> Engine:
    """The engine that `--on` names.

    Raises:
        ConfigError: it cannot be used, or `--slurm` has no KEY=VALUE; says why.
    """
    if arguments.on == "ray":
        from pfml.launch.engines.on_ray import RayEngine

        return RayEngine(arguments.address)
    from pfml.launch.engines.on_slurm import SlurmEngine

    pairs = [pair.partition("=")[::2] for pair in (arguments.slurm or "").split(",") if pair]
    if bad := [key for key, value in pairs if not value]:
        raise ConfigError(f"--slurm: expected KEY=VALUE,..., such as partition=gpu,time=600; found {bad[0]!r}")
    settings = {key: int(value) if value.isdecimal() else value for key, value in pairs}
    return SlurmEngine("slurm", settings)


def run_project(pipeline: Pipeline) -> bool:
    """Run params.yaml as it stands, in the working directory; returns whether anything was stale."""
    params = load_params()
    ran = pipeline(params)
    if not ran:
        print("everything is up to date: nothing to run")
    elif table := study_table(params):
        print(f"\nstudy {params.study}:\n{table}\nevery table: reports/tables.md; with the figures: reports/index.html")
    return ran


def run_preset(name: str, pipeline: Pipeline) -> bool:
    """Run a preset in its working copy and bring its results back, after a stop those of finished runs; returns whether
    anything was stale.
    """
    with working_copy(name) as project:
        params = load_params()
        try:
            ran = pipeline(params)
        except BaseException:
            bring_results(params, name, project)
            raise
        if not ran:
            print("everything is up to date: nothing to run")
        table = study_table(params)
        brought = bring_back(params, name, table, project)
    print(f"\nstudy {params.study}:\n{table}\n{brought}\nevery table and figure of the study: {page_of(name)}")
    return ran


if __name__ == "__main__":
    sys.exit(main())
