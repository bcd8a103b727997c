"""The model card of a trained network: what it is, what it was trained on, what it reached, and its limits."""

import json
from pathlib import Path

from pfml import __version__
from pfml.use.model import EmbeddingModel

PAPER = "Bhatnagar and Ahuja, *Potential Field Based Deep Metric Learning*, CVPR 2025, arXiv 2405.18560"
MEASURES = (("recall@1", "R@1"), ("recall@2", "R@2"), ("recall@4", "R@4"), ("recall@8", "R@8"), ("map@r", "MAP@R"),
            ("r_precision", "R-Precision"), ("nmi", "NMI"))  # fmt: skip


def model_card(model: EmbeddingModel) -> str:
    """Markdown with a header of the Hugging Face hub's kind. Facts come from run.json, and from the run's result and
    the dataset's meta.json where the project that trained the network is at hand.
    """
    record, config = model.record, model.record["config"]
    meta = _json(model.project / "data/raw" / config["dataset"] / "meta.json")
    result = _result(model.project, record["digest"])
    recipe, loss, network = config["train"], config["loss"], config["model"]
    lines = [
        "---", "library_name: pfml", "pipeline_tag: image-feature-extraction", "tags: [metric-learning]", "---", "",
        f"# {record['run']}", "",
        f"An embedding network trained with `{config['loss_name']}`: images to vectors of length 1 with "
        f"{model.embedding_dim} dimensions, whose cosine is the similarity. Made by pfml {__version__}, the "
        f"reproduction of {PAPER}.", "",
        "## Use", "",
        "preprocessing.json has the way from a file to the network's input. With pfml: "
        '`pfml.load("this folder").embed("folder of images")` (safetensors).', "",
        "## Training data", "",
        f"- Dataset `{config['dataset']}`, digest of the images {record['dataset_digest']}"
        + (f". {meta['images']} images of {meta['classes']} classes, of which one half trained." if meta else ""),
        f"- Source: {meta.get('source') or 'not recorded here'}",
        f"- Licence of the images: {meta.get('licence') or 'not recorded here; ask those who gave them'}",
        f"- Labels: {_labels(config['noise'])}", "",
        "## Recipe", "",
        f"- Network: {network['backbone']}, {_weights(network)}",
        f"- Loss: {config['loss_name']} ({_settings(loss)})",
        f"- Training: {recipe['epochs']} epochs of {recipe['steps_per_epoch'] or 'all'} steps of {recipe['batch']} "
        f"images, {recipe['optimizer']}, learning rate {recipe['lr']:g}, seed {config['seed']}",
        f"- Digests: settings {record['digest']}, weights {model.digest}",
        f"- The rest: `pfml where {record['digest']}`",
        "",
        "## Measures", "",
        *_measures(result),
        "## Limits", "",
        "- Measured on unseen classes of the same dataset alone. Other images, cameras and tasks were not tried.",
        "- Distances rank images. They are no probabilities, and no threshold was chosen.",
        "- Not made to recognise people, nor for decisions about them.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _labels(noise: float) -> str:
    if not noise:
        return "as the dataset gives them"
    return f"{100 * noise:g} % of the training labels were replaced by wrong ones on purpose"


def _weights(network: dict) -> str:
    weights = network["weights"]
    if weights is None:
        return "trained from nothing: no licence of others holds for the weights"
    return f"started from the weights `{weights}`, whose licence holds for these too"


def _settings(values: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _measures(result: dict) -> list[str]:
    found = [(title, result[name]) for name, title in MEASURES if result.get(name) is not None]
    if not found:
        return ["No result on record here.", ""]
    lines = ["| measure, on the classes that did not train | percent |", "| :--- | ---: |"]
    return [*lines, *(f"| {title} | {100 * value:.1f} |" for title, value in found), ""]


def _result(project: Path, digest: str) -> dict:
    """The result with this digest of settings in the project at hand; {} without one."""
    for path in (project / "reports/runs").rglob("*.json"):
        result = _json(path)
        if result.get("digest") == digest:
            return result
    return {}


def _json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
