"""What everybody else has to know of a loss stands on the loss: its title and what it needs.

    @baseline("Toy", acts="pair", pairs=True)
    class Toy(nn.Module): ...

`LOSSES["toy"].title` is then "Toy". The constructor, or the function that builds the loss, becomes `checked`, and the
`forward` of a class gets checked batches in float32 (pfml.losses.common.batch).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from pfml.losses.common.batch import on_checked_batch
from pfml.losses.common.ranges import checked

ACTS = ("pair", "proxy", "field")


def baseline(
    title: str, *, acts: str | None = None, pairs: bool = False, least: int = 1, guarded: bool = True, version: int = 1,
    trains: bool = True, head: type | None = None,
) -> Callable:  # fmt: skip
    """Decorator of a class or of a function that builds a loss.

    Args:
        title: its name in tables and figures.
        acts: what acts on an embedding: "pair", other embeddings of the batch; "proxy", the proxies of classes;
            "field", both. A loss without it is not drawn in the figure of forces.
        pairs: without two images of one class in the batch it has no gradient, or one that only pushes apart.
        least: images in the smallest batch that it takes.
        guarded: `forward` gets checked batches; False: the class sees to it by itself.
        version: one more after each change of the formula or of what is drawn. From 2 on it is part of a run's digest,
            so that results of the earlier formula are not taken for those of this one.
        trains: False: a run with it measures the network as it starts.
        head: class of its own head (pfml.losses.common.method), in the place of model.head.

    Raises:
        ValueError: another value of acts.
        TypeError: an argument without an annotation of pfml.losses.common.ranges.
    """
    if acts not in (None, *ACTS):
        raise ValueError(f"acts={acts!r}; expected one of {', '.join(ACTS)}")

    def describe(build):
        if inspect.isclass(build):
            build.__init__ = checked(build.__init__)
            if guarded:
                build.forward = on_checked_batch(least)(build.forward)
        else:
            build = checked(build)
        build.title, build.acts, build.pairs, build.least = title, acts, pairs, least
        build.version, build.trains, build.head = version, trains, head
        return build

    return describe


def field(title: str) -> Callable:
    """As `baseline`, for the losses of the paper: points and proxies make one field, and any batch of two will do.

    They check the batches of all ranks together, and widen embeddings by themselves.
    """
    return baseline(title, acts="field", least=2, guarded=False)
