"""What an engine is given and what it gives back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """A training, or a trial of a search.

    Attributes:
        name: of the run or trial.
        arguments: of the process on the node (pfml.launch.engines.node): what to do, and its own.
        record: the file below the node's tree whose text comes back.
        digest: of the run, whose checkpoint is dropped once it is stored; "" of a trial.
        gpus: share of a GPU; 0 on a cluster without GPUs.
        cores: of the processor.
        memory: bytes.
    """

    name: str
    arguments: tuple[str, ...]
    record: str
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
        lines: the last lines that it printed.
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
        remote: whether data and results go through a DVC remote; otherwise all nodes see the driver's cache.
        environment: variables of the tasks' processes, such as MLFLOW_TRACKING_URI.
    """

    tree: bytes
    name: str
    remote: bool
    environment: dict[str, str] = field(default_factory=dict)


Tell = Callable[[str, str, str], None]  # name of a task, its node, a line that it printed


class Engine(Protocol):
    """Runs tasks, as many at a time as there is room for."""

    def run(self, tasks: Iterable[Task], order: Order, tell: Tell) -> list[Outcome]:
        """Run all tasks; a failure does not stop the others, and a task whose node died runs on another one."""

    def gpus(self) -> float:
        """Number of GPUs that the engine has."""
