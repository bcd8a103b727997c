"""run.json: what a training run wrote of itself, read by everything that measures or shows it."""

import json

from pfml.cell import Cell, inputs_digest


def read_run(cell: Cell) -> dict:
    """run.json of a trained cell.

    Raises:
        ValueError: the files belong to another configuration than params.yaml asks for.
    """
    path = cell.paths().model / "run.json"
    run = json.loads(path.read_text())
    if _training(run["config"], run["inputs"]) != _training(cell.config, inputs_digest(cell)):
        raise ValueError(
            f"{path}: trained with configuration {run['digest']} on its images and labels, params.yaml and data/ now "
            f"ask for {cell.digest}; run dvc repro"
        )
    return run


def _training(config: dict, inputs: str) -> str:
    """What training depends on, spelled in one way: of the kind of noise and of the dataset's section the files that
    came of them, since the same files may come of other settings.
    """
    rest = {key: config[key] for key in config if key not in ("noise_kind", "data")}
    return json.dumps(rest | {"inputs": inputs}, sort_keys=True, default=str)
