"""The folder of a trained network, from its path or any name of its run."""

import difflib
from pathlib import Path

from pfml.settings import ConfigError


def find_folder(path_or_run: str | Path) -> Path:
    """The folder with model.safetensors and run.json.

    Args:
        path_or_run: this folder, or model.safetensors in it; else, in the project's root, a name of the run as `pfml
            where` takes it: glyphs-pfml-0.2-0, a digest or the id of an MLflow run.

    Raises:
        ConfigError: no such path or run, or several; a run whose network is not here.
    """
    path = Path(path_or_run)
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    from pfml.launch.where import find_records, place_of, records
    from pfml.settings.load import load_params

    if not Path("params.yaml").is_file():
        raise ConfigError(f"{path}: no such folder; names of runs are known in the project's root alone")
    params = load_params()
    try:
        found = [record for record in find_records(str(path_or_run), params) if record.run]
    except ConfigError as error:
        names = sorted({record.name for record in records(params)})
        near = difflib.get_close_matches(str(path_or_run), names, n=3, cutoff=0.5)
        raise ConfigError(f"{error}{'; near: ' + ', '.join(near) if near else ''}") from None
    folders = {place_of(record) / record.run.paths().model: record for record in found}
    here = [folder for folder in folders if (folder / "model.safetensors").is_file()]
    digests = {folders[folder].digest for folder in here}
    if len(digests) == 1:  # studies share runs: any of their folders has this network
        return here[0]
    if here:
        raise ConfigError(f"{path_or_run}: expected one run, found {', '.join(map(str, here))}")
    if not folders:
        raise ConfigError(f"{path_or_run}: no study has these settings any more; expected a run of today")
    folder, record = next(iter(folders.items()))
    command = f"make repro{' PRESET=' * bool(record.preset)}{record.preset}"
    raise ConfigError(f"{path_or_run}: its network is not here ({folder}); `{command}` trains it")
