"""Table 3: the distance between the proxies of a trained run and the embeddings that they represent."""

import numpy as np

from pfml.evaluation.run_record import read_run
from pfml.settings.run import Run
from pfml.settings.study import Wasserstein
from pfml.wasserstein import measured_classes, proxy_wasserstein, spread, unit


def measure_wasserstein(run: Run, settings: Wasserstein) -> dict[str, float | int | str]:
    """W2 between a run's proxies and the training embeddings that they represent (Table 3).

    Classes are those of the (noisy) training labels, as the proxies saw them. `w2_relative` is W2 over the spread of
    the same classes' embeddings, because a narrow cone of embeddings makes any W2 small.

    Args:
        settings: section `wasserstein` of params.yaml, the choices that the paper leaves open.

    Returns:
        proxies_per_class, and where a class has at least as many images: w2, w2_relative, w2_measure (the settings in
        a word). Empty for a run without proxies. Distances are those between unit vectors, 0 to 2 (but for raw proxies
        and for sums).

    Raises:
        ValueError: the run's files belong to another configuration.
    """
    record = read_run(run)
    saved = np.load(run.paths().model / "embeddings.npz")
    proxies = saved["proxies"]
    if not proxies.size:
        return {}
    if settings.embeddings == "epoch":
        embeddings, labels = embed_last_epoch(run, record["selected_epoch"] - 1)
    else:
        array = "train" if settings.embeddings == "end" else "passed"
        embeddings, labels = saved[array], saved[f"{array}_labels"]
    embeddings = unit(embeddings)
    if settings.normalize_proxies and run.loss.get("normalize_proxies", True):
        proxies = unit(proxies)
    measured = {"proxies_per_class": proxies.shape[1]}
    try:
        w2 = proxy_wasserstein(proxies, embeddings, labels, settings.mean, settings.assignment)
    except ValueError as error:  # W2 needs as many images as proxies in a class
        print(f"{run.name}: no W2, {error}")
        return measured
    same = np.isin(labels, measured_classes(labels, proxies.shape[1], settings.assignment))
    relative = w2 / spread(embeddings[same], labels[same])
    return measured | {"w2": round(w2, 6), "w2_relative": round(relative, 6), "w2_measure": settings.name}


def embed_last_epoch(run: Run, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Embed the batches of an epoch (from 0) once more: embeddings (n, D) and labels (n,).

    The sampler draws the same images, some several times and others not at all, with the same augmentation. The trained
    network embeds them in evaluation mode.
    """
    import torch
    from safetensors.torch import load_file

    from pfml.training.batches.run_data import load_run_data
    from pfml.training.batches.samplers import epoch_batches
    from pfml.training.networks.trunk import build_trained_part

    data, recipe = load_run_data(run).train, run.train
    model = build_trained_part(run, data.pictures, empty=True)
    model.load_state_dict(load_file(run.paths().model / "model.safetensors"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device, memory_format=torch.channels_last).eval()
    steps = recipe["steps_per_epoch"] or max(1, len(data.labels) // recipe["batch"])
    drawn = (recipe["sampler"], recipe["batch"], steps, recipe["images_per_class"], run.seed, epoch)
    pictures = data.pictures.training(epoch_batches(data.labels, *drawn), run.seed, epoch, device)
    embeddings, labels = [], []
    with torch.inference_mode():
        for batch, images in pictures:
            embeddings.append(model(images.contiguous(memory_format=torch.channels_last)).float().cpu())
            labels.append(data.labels[batch])
    return torch.cat(embeddings).numpy(), torch.cat(labels).numpy()
