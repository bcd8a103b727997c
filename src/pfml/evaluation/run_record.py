"""run.json: what a training run wrote of itself, read by everything that measures or shows it."""

import json

from pfml.settings.run import Run, inputs_digest


def read_run(run: Run) -> dict:
    """run.json of a trained run.

    Raises:
        ValueError: the files belong to another configuration than params.yaml asks for.
    """
    path = run.paths().model / "run.json"
    record = json.loads(path.read_text())
    if _training(record["config"], record["inputs"]) != _training(run.config, inputs_digest(run)):
        raise ValueError(
            f"{path}: trained with configuration {record['digest']} on its images and labels, params.yaml and data/ "
            f"now ask for {run.digest}; run dvc repro"
        )
    return record


def _training(config: dict, inputs: str) -> str:
    """What training depends on, spelled in one way: of the kind of noise and of the dataset's section the files that
    came of them, since the same files may come of other settings.
    """
    rest = {key: config[key] for key in config if key not in ("noise_kind", "data")}
    return json.dumps(rest | {"inputs": inputs}, sort_keys=True, default=str)
