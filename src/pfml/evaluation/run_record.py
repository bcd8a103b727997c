"""Read run.json, the record that a training run writes. Everything that measures or shows a run reads it."""

import json
from collections.abc import Mapping

from pfml.settings.run import Run, inputs_digest


def read_run(run: Run) -> dict:
    """run.json of a trained run.

    Raises:
        ValueError: the files belong to another configuration than params.yaml asks for.
    """
    path = run.paths().model / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    if _training(record["config"], record["inputs"]) != _training(run.config, inputs_digest(run)):
        raise ValueError(
            f"{path}: trained with configuration {record['digest']} on its images and labels, params.yaml and data/ "
            f"now ask for {run.digest}; run dvc repro"
        )
    return record


def sides_of(saved: Mapping) -> dict:
    """Arguments `queries` and `gallery` of retrieval_metrics for the array `test` of a run's embeddings.npz: None, each
    image in all others, unless the dataset separates them.
    """
    return {side: saved.get(f"test_{side}") for side in ("queries", "gallery")}


def _training(config: dict, inputs: str) -> str:
    """The part of a configuration that decides a training, as text. The kind of noise and the dataset's section count
    through the files that they produced (`inputs`), since other settings can produce the same files.
    """
    rest = {key: config[key] for key in config if key not in ("noise_kind", "data")}
    return json.dumps(rest | {"inputs": inputs}, sort_keys=True, default=str)
