"""Embeddings and measures of a network between two epochs and at the end of a training."""

import torch

from pfml.retrieval import retrieval_metrics
from pfml.retrieval.memorisation import label_fit
from pfml.training.batches.features import Features
from pfml.training.batches.pictures import Pictures
from pfml.training.batches.run_data import Half, RunData
from pfml.training.processes import Ranks

EVALUATION_PIXELS = 100 * 224 * 224  # of one batch; more would need gigabytes for the activations of a large network


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a network's tensors are; the CPU for one without any."""
    return next(
        (tensor.device for tensors in (model.parameters(), model.buffers()) for tensor in tensors), torch.device("cpu")
    )


@torch.no_grad()
def embed(
    model: torch.nn.Module, pictures: Pictures | Features, ranks: Ranks | None = None, batch: int | None = None
) -> torch.Tensor:
    """Embeddings (n, D) float32 on the CPU of n pictures, in evaluation mode, without augmentation.

    With several ranks, each embeds a share, and all return the embeddings of all pictures.
    """
    device = device_of(model)
    ranks = ranks or Ranks(device)
    ranks.broadcast(model.buffers())  # the running statistics of the ranks differ after their last step
    model.eval()
    batch = batch or min(500, EVALUATION_PIXELS // pictures.side**2)
    part = pictures.part((ranks.rank, ranks.size)) if ranks.size > 1 else pictures
    parts = [
        model(images.contiguous(memory_format=torch.channels_last)).float().cpu()
        for images in part.evaluation(batch, device)
    ]
    return ranks.joined(torch.cat(parts).to(device), len(pictures)).cpu() if ranks.size > 1 else torch.cat(parts)


def measure(model: torch.nn.Module, data: RunData, ranks: Ranks | None = None) -> dict[str, float]:
    """recall@1 and map@r on the test half, or val_recall@1 and val_map@r if validation classes are held out.

    Raises:
        FloatingPointError: embeddings are not finite.
    """

    device = device_of(model)

    def metrics(half: Half, prefix: str) -> dict[str, float]:
        embeddings = embed(model, half.pictures, ranks).to(device)  # a GPU ranks a large half in seconds
        check_finite(embeddings)
        sides = {"queries": half.queries, "gallery": half.gallery}
        scores = retrieval_metrics(embeddings, half.labels, ks=(1,), backend="torch", **sides)
        return {prefix + name: scores[name] for name in ("recall@1", "map@r")}

    # With held-out validation classes, settings are chosen on them, and the test half stays unseen.
    return metrics(data.validation, "val_") if data.validation else metrics(data.test, "")


def wrong_labels(model: torch.nn.Module, data: RunData, ranks: Ranks | None = None) -> dict[str, float]:
    """Shares `fitted` and `resisted` of the training images with a wrong label (pfml.retrieval.memorisation); empty if
    no label is known to be wrong.

    Raises:
        FloatingPointError: embeddings are not finite.
    """
    if data.true_labels is None or torch.equal(data.train.labels, data.true_labels):
        return {}
    embeddings = embed(model, data.train.pictures, ranks).to(device_of(model))
    check_finite(embeddings)
    if ranks and not ranks.first:  # only the first one writes the history
        return {}
    shares = label_fit(embeddings, data.train.labels.numpy(), data.true_labels.numpy())
    return dict(zip(("fitted", "resisted"), shares))


def check_finite(embeddings: torch.Tensor) -> None:
    if not embeddings.isfinite().all():  # no loss has seen the network after its last step
        raise FloatingPointError("the network's embeddings became NaN or infinite in the last step of an epoch")
