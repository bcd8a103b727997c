"""What an engine is given and what it gives back."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """A training, or a trial of a search.

    Attributes:
        name: of the run or trial.
        arguments: of its Python process, `-m` and a module before the module's own.
        record: the file below the node's tree whose text comes back; "" if none does.
        digest: of the run, whose checkpoint is dropped once it is stored; "" of a trial.
        gpus: share of a GPU; 0 on a cluster without GPUs.
        cores: of the processor.
        memory: bytes.
    """

    name: str
    arguments: tuple[str, ...]
    record: str = ""
    digest: str = ""
    gpus: float = 0.0
    cores: int = 1
    memory: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        code: exit status of its process on the node; 0 is success.
        node: name of the machine.
        lines: the last lines that it printed, if the engine has them.
        record: the text of the task's record; "" where there is none, as of a run that was taken from a cache.
    """

    name: str
    code: int
    node: str = ""
    lines: tuple[str, ...] = ()
    record: str = ""


@dataclass(frozen=True)
class Order:
    """What all tasks of a grid have in common.

    Attributes:
        tree: the driver's tree (pfml.launch.engines.place.pack).
        name: of the tree.
        environment: variables of the tasks' processes, such as MLFLOW_TRACKING_URI.
    """

    tree: bytes
    name: str
    environment: dict[str, str] = field(default_factory=dict)


Tell = Callable[[str, str, str], None]  # name of a task, its node, a line that it printed


class Engine(Protocol):
    """Runs tasks, as many at a time as there is room for: on this machine (local), or on a cluster (on_ray, on_slurm).

    On a cluster a failure does not stop the other tasks, and a task whose node died runs on another one.
    """

    def run(self, tasks: Iterable[Task], order: Order, tell: Tell) -> Iterator[Outcome]:
        """Run all tasks; yields how each ended, in the order in which they end.

        Args:
            order: what nodes need; this machine needs nothing.
            tell: is given what tasks print, as they do.
        """

    def gpus(self) -> float:
        """Number of GPUs that the engine has."""
