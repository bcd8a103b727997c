"""Tasks on a Ray cluster (https://docs.ray.io): each with its own resources, on whichever node has room."""

import socket
import sys
from collections.abc import Iterable, Iterator

from pfml.launch.engines import here, place, task
from pfml.launch.engines.task import Order, Outcome, Task, Tell
from pfml.settings import ConfigError

RETRIES = 3  # of a task whose node died


class RayEngine:
    """Args: address of a running cluster, such as "auto" or "10.0.0.5:6379"; None starts one on this machine,
    also where another one runs here.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str | None = None):
        try:
            import ray
        except ImportError:
            raise ConfigError("--on ray: the package ray is not installed; `make engines`, on every node") from None
        try:
            ray.init(address or "local", log_to_driver=False, logging_level="error", ignore_reinit_error=True)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"--address {address}: no Ray cluster answers there: {error}") from None
        # Nodes need no pfml: what a task does before it is in the driver's tree travels with it.
        for module in (here, place, task, sys.modules[__name__]):
            ray.cloudpickle.register_pickle_by_value(module)

    def gpus(self) -> float:
        import ray

        return ray.cluster_resources().get("GPU", 0.0)

    def run(self, tasks: Iterable[Task], order: Order, tell: Tell) -> Iterator[Outcome]:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        with_driver = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        said = ray.remote(num_cpus=0)(Lines).options(scheduling_strategy=with_driver).remote()
        shared = ray.put(order)
        remote = ray.remote(max_retries=RETRIES)(on_node)
        waiting = {
            remote.options(num_cpus=one.cores, num_gpus=one.gpus, memory=one.memory or None, name=one.name).remote(
                one, shared, said
            ): one
            for one in tasks
        }
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=1.0)
            for line in ray.get(said.take.remote()):
                tell(*line)
            for handle in done:
                one = waiting.pop(handle)
                try:
                    outcome = ray.get(handle)
                except ray.exceptions.RayError as error:
                    outcome = Outcome(one.name, 1, lines=(f"{type(error).__name__}: {error}",))
                yield outcome


class Lines:
    """An actor that holds what tasks printed, until the driver takes it; on the driver's node, with which it dies."""

    def __init__(self):
        self.lines = []

    def add(self, *line: str) -> None:
        self.lines.append(line)

    def take(self) -> list[tuple[str, ...]]:
        taken, self.lines = self.lines, []
        return taken


def on_node(one: Task, order: Order, said) -> Outcome:
    """Run a task on the node where Ray calls this.

    It waits for no answer of `said`, the actor Lines: Ray would lend the core of a task that waits to another one.
    """
    node = socket.gethostname()
    return here.run_task(one, order, lambda line: said.add.remote(one.name, node, line))
