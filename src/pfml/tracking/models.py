"""Trained networks in MLflow: a logged model for each run, and versions in the model registry.

A logged model is of the flavour pyfunc, from image files to embeddings (pfml.use.served), and needs pfml installed
where it is loaded. Its weights are a copy, or a reference to the file that DVC keeps.
"""

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pfml.settings import ConfigError
from pfml.tracking.store import is_local, open_store, prepare, store_uri

Kept = Literal["auto", "reference", "upload", "none"]  # tracking.models of params.yaml
FILES = ("model.safetensors", "run.json")
WEIGHTS = "model_weights"  # tag of a run: digest of the weights of its logged model; of a version: of its weights
REFERENCE = "reference.json"  # as pfml.use.served reads it


def log_model(run_id: str, folder: Path, kept: Kept, name: str | None = None) -> int | None:
    """Log the network of a run.

    Args:
        folder: with FILES.
        kept: "auto" refers to `folder` where the store is local, and uploads where it is a server, or where `folder`
            is in a checkout that DVC makes for an experiment and removes.
        name: of the registered model that gets it as a new version.

    Returns:
        the version.
    """
    import mlflow
    from mlflow.models import Model

    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # that pip is not installed
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    passing = ".dvc" in folder.resolve().parts
    upload = kept == "upload" or (kept == "auto" and (passing or not is_local(store_uri())))
    mlflow.set_tracking_uri(store_uri())
    mlflow.set_experiment(experiment_id=mlflow.MlflowClient().get_run(run_id).info.experiment_id)  # else "Default"
    with _data(folder, record, upload) as data, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*input example was not provided")
        logged = Model.log(
            None, mlflow.pyfunc, name="network", run_id=run_id, loader_module="pfml.use.served", data_path=str(data),
            signature=_signature(record), pip_requirements=["pfml[pipeline]"], registered_model_name=name,
            model_type="embedding", metadata={"weights": record["weights"], "digest": record["digest"]},
        )  # fmt: skip
    return logged.registered_model_version


def register_model(folder: Path, name: str, experiments: list[str]) -> tuple[int, bool]:
    """Make the network of a finished training the newest version of a registered model, its weights copied. A version
    that has these weights is not made twice.

    Args:
        folder: with FILES.
        name: of the registered model.
        experiments: where the MLflow run of the training may be.

    Returns:
        the version, and whether it is new.

    Raises:
        ConfigError: no experiment has the run, MLflow refuses the name, or its store fails.
        StoreError: as open_store.
    """
    prepare()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    try:
        run_id = _run_of(record["digest"], experiments)
        if run_id is None:
            raise ConfigError(
                f"{record['run']} ({record['digest']}): no MLflow run on {store_uri()}; `dvc repro -f -s register` "
                "logs it"
            )
        client = MlflowClient(store_uri())
        for version in client.search_model_versions(f"name = '{name}'"):
            if version.tags.get(WEIGHTS) == record["weights"]:
                return int(version.version), False
        version = log_model(run_id, folder, "upload", name)
        for key, value in ((WEIGHTS, record["weights"]), ("config_digest", record["digest"]), ("run", record["run"])):
            client.set_model_version_tag(name, str(version), key, value)
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise ConfigError(f"--name {name!r}: {error.message}") from None
        raise ConfigError(f"MLflow on {store_uri()}: {' '.join(str(error).split())[:300]}") from None
    return int(version), True


def _run_of(digest: str, experiments: list[str]) -> str | None:
    """The id of the newest finished MLflow run with this digest of settings."""
    for name in experiments:
        client, experiment_id = open_store(name)
        same = f"tags.config_digest = '{digest}' and attributes.status = 'FINISHED'"
        if found := client.search_runs([experiment_id], same, max_results=1):
            return found[0].info.run_id
    return None


@contextmanager
def _data(folder: Path, record: dict, upload: bool) -> Iterator[Path]:
    """A folder with what is stored: FILES, or the reference to them."""
    with tempfile.TemporaryDirectory(prefix="pfml-model-") as place:
        if upload:
            for name in FILES:
                shutil.copyfile(folder / name, Path(place, name))
        else:
            told = {"folder": str(folder.resolve()), "weights": record["weights"]}
            Path(place, REFERENCE).write_text(json.dumps(told), encoding="utf-8")
        yield Path(place)


def _signature(record: dict):
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    dim = record["config"]["model"]["embedding_dim"]
    return ModelSignature(
        Schema([ColSpec("binary", "image")]), Schema([TensorSpec(np.dtype("float32"), (-1, dim), "embeddings")])
    )
