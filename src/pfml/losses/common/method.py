"""What a method may ask of a training beyond the energy of a batch.

A loss is a function of embeddings and labels. Some methods are more than that: several heads, a second network, a
second view of every image, a memory, batches of their own. Such a method is a `Method` and overrides what it needs.
Each default asks for nothing, so any other loss is the trivial case (`method_of`).

Its head, if it has one of its own, is named where the method is described: `@baseline("DiVA", head=Heads)`. A head is a
module `head(features, embedding_dim, settings)`. In evaluation mode it gives embeddings (n, D). In training mode it
gives rows (n, head.width(D)): all that the loss wants to know of each image, which `forward` gets in the place of
embeddings. Rows of several processes are joined as embeddings are.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


class Method(nn.Module):
    """A loss that takes part in a training.

    All that it remembers is in its state_dict, so that a resumed run goes on as if it had not stopped.

    Attributes:
        views: 1; 2 if `forward` gets a third argument, the keys (B, ...) of another view of the same images.
        remembered: number of keys to `remember` before the first step.
    """

    views = 1
    remembered = 0

    def attach(self, model: nn.Module) -> None:
        """Before the optimizer is built: the network of this training, as it starts."""

    def looks(self, epoch: int) -> bool:
        """Whether `look` is called before an epoch."""
        return False

    def look(self, epoch: int, embeddings: Tensor, labels: Tensor) -> None:
        """Before an epoch (from 0): embeddings (n, D) of all training images in evaluation mode, labels (n,)."""

    def batches(
        self, labels: Tensor, batch: int, images_per_class: int, steps: int, seed: int, epoch: int, start: int
    ) -> Iterator[Tensor] | None:
        """Indices (batch,) of the images of each step from `start` on; None for the batches of train.sampler."""

    def keys(self, images: Tensor) -> Tensor:
        """Keys (n, ...) of images (n, 3, h, w), without a gradient."""
        raise NotImplementedError

    def remember(self, keys: Tensor) -> None:
        """Put keys (n, ...) into the memory."""

    def after_step(self, model: nn.Module) -> None:
        """After the optimizer's step."""

    def embedding(self, rows: Tensor) -> Tensor:
        """Rows (n, W) of the head in training mode -> embeddings (n, D), as the head gives in evaluation mode."""
        return rows


def method_of(loss: nn.Module) -> Method:
    """The loss itself if it asks for more than batches, or one that asks for nothing."""
    return loss if isinstance(loss, Method) else Method()


def row_width(loss, embedding_dim: int) -> int:
    """Length of a row that a loss (class or builder) takes: that of its own head, or D."""
    return loss.head.width(embedding_dim) if loss.head else embedding_dim
