"""Tasks on a cluster with Slurm, through submitit (https://github.com/facebookincubator/submitit): an array of jobs for
each set of resources. A job that is pre-empted or runs out of time is queued again and goes on from its checkpoint.

The folder of the project must be on a file system that the nodes see, as Slurm itself expects.
"""

import math
import pickle
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pfml.launch.engines import here, place, task
from pfml.launch.engines.task import Order, Outcome, Task, Tell
from pfml.settings import ConfigError
from pfml.settings.files import write_whole

FOLDER = Path(".slurm")  # logs and orders, in the driver's folder
EVERY = 2.0  # seconds between two looks at the jobs
MINUTES, TIMES = 24 * 60, 20  # of a job, unless `time` is set; how often one that ran out of time is queued again


class Attempt:
    """A task as a job; submitit pickles it, and calls `checkpoint` when Slurm stops the job before its end."""

    def __init__(self, one: Task, order: Path):
        self.one, self.order = one, order

    def __call__(self) -> Outcome:
        order: Order = pickle.loads(self.order.read_bytes())
        return here.run_task(self.one, order, lambda line: print(line, flush=True))

    def checkpoint(self):
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class SlurmEngine:
    """Args: cluster: of submitit, "slurm" or "local" (processes of this machine); settings: of Slurm, such as
    {"partition": "gpu", "time": 600, "array_parallelism": 32}, in submitit's names.

    Raises:
        ConfigError: submitit is not installed, there is no Slurm here, or a setting that it does not know.
    """

    def __init__(self, cluster: str = "slurm", settings: Mapping[str, str | int] | None = None):
        try:
            import submitit
        except ImportError:
            raise ConfigError("--on slurm: the package submitit is not installed; `make engines`") from None
        for module in (here, place, task, sys.modules[__name__]):
            submitit.core.utils.cloudpickle.register_pickle_by_value(module)
        self.settings = {f"slurm_{key}": value for key, value in (settings or {}).items()}
        try:
            self.executor = submitit.AutoExecutor(FOLDER / "%j", cluster=cluster, slurm_max_num_timeout=TIMES)
            self.executor.update_parameters(timeout_min=MINUTES, **self.settings)
        except (RuntimeError, NameError, ValueError, TypeError) as error:
            raise ConfigError(f"--on slurm: {error}") from None

    def gpus(self) -> float:
        """Slurm gives GPUs on request; whether a cluster has any is a setting: `gres` or `gpus_per_node`."""
        return float(any("gpu" in key or "gres" in key for key in self.settings))

    def run(self, tasks: Iterable[Task], order: Order, tell: Tell) -> Iterator[Outcome]:
        file = FOLDER.absolute() / f"{order.name}.order"
        write_whole(file, pickle.dumps(order))
        groups = defaultdict(list)
        for one in tasks:
            groups[math.ceil(one.gpus), one.cores, one.memory].append(one)
        waiting = {}
        for (gpus, cores, memory), some in groups.items():
            self.executor.update_parameters(
                name="pfml", gpus_per_node=gpus, cpus_per_task=cores, mem_gb=max(1, memory // 2**30), **self.settings
            )
            with self.executor.batch():
                jobs = [self.executor.submit(Attempt(one, file)) for one in some]
            waiting |= dict(zip(jobs, some))
        read = defaultdict(int)
        while waiting:
            time.sleep(EVERY)
            for job, one in list(waiting.items()):
                done = job.done()
                lines = (job.stdout() or "").splitlines()
                for line in lines[read[job] : None if done else -1]:  # the last may be half written
                    tell(one.name, f"job {job.job_id}", line)
                read[job] = max(read[job], len(lines) - 1)
                if done:
                    del waiting[job]
                    yield _outcome(job, one)


def _outcome(job, one: Task) -> Outcome:
    error = job.exception()
    if error is None:
        return job.result()
    return Outcome(one.name, 1, f"job {job.job_id}", tuple(str(error).strip().splitlines()[-here.LAST :]))
