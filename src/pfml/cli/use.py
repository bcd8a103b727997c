"""The sub-commands of `pfml` that use a trained network."""

import sys
from pathlib import Path


def embed(images: list[str], run: str, out: str, batch: int | None) -> None:
    """embed images of your own with a trained network: paths and vectors of unit length"""
    import pfml
    from pfml.settings import ConfigError
    from pfml.use.files import check_name, write_embeddings
    from pfml.use.pictures import listed

    check_name(Path(out))
    try:
        model, paths = pfml.load(run), listed(images)
        embeddings = model.embed(paths, batch, _tell)
        write_embeddings(Path(out), list(map(str, paths)), embeddings, model.digest)
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from None
    print(f"{out}: {len(paths)} images, {model.embedding_dim} dimensions, weights {model.digest}")


def search(queries: list[str], run: str, index: str, neighbours: int, page: str | None, kind: str) -> None:
    """find the images of a folder that are most similar to yours, by a trained network"""
    import pfml
    from pfml.settings import ConfigError
    from pfml.use.index import index_folder
    from pfml.use.page import table, write_page
    from pfml.use.pictures import listed

    try:
        model, paths = pfml.load(run), listed(queries)
        folder = index_folder(model, Path(index), lambda line: print(line, file=sys.stderr))
        values, places = folder.search(model.embed(paths), neighbours, kind)
        found = [
            [(Path(index, folder.paths[place]), float(value)) for place, value in zip(*row) if place >= 0]
            for row in zip(places, values)
        ]
        print(table(list(map(str, paths)), found))
        if page:
            write_page(Path(page), paths, found, f"Nearest images in {index}, by {run}")
            print(page, file=sys.stderr)
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from None


def export(run: str, format: str, out: str, side: int | None) -> None:
    """write a trained network as files for other programs: weights, ONNX or torch.export, with a model card"""
    from pfml.settings import ConfigError
    from pfml.use.export import export as write
    from pfml.use.find import find_folder
    from pfml.use.model import load_folder

    try:
        folder = find_folder(run)
        write(load_folder(folder, "cpu"), folder, Path(out), format, side)
    except (ImportError, OSError, ValueError) as error:
        raise ConfigError(str(error)) from None
    print(f"{out}: {', '.join(sorted(path.name for path in Path(out).iterdir()))}")


def register_model(run: str, name: str) -> None:
    """make a trained network a version in MLflow's model registry: image files to embeddings"""
    from pfml.settings import ConfigError
    from pfml.settings.load import load_params
    from pfml.settings.presets import every_params
    from pfml.tracking.models import register_model as register
    from pfml.tracking.store import StoreError
    from pfml.use.find import find_folder
    from pfml.use.model import load_folder

    folder, params = find_folder(run), load_params()
    studies = dict.fromkeys([params.study, *(one.study for one in every_params(params, tell=lambda line: None))])
    try:
        load_folder(folder, "cpu")  # whole, before MLflow has anything of it
        names = [f"{params.tracking.experiment}-{study}" for study in studies]
        version, new = register(folder, name, names)
    except (OSError, StoreError, ValueError) as error:
        raise ConfigError(str(error)) from None
    print(f"models:/{name}/{version}" + ("" if new else " (has these weights already)"))


def _tell(done: int, count: int) -> None:
    """A line of progress that overwrites itself, on a terminal alone."""
    if sys.stderr.isatty():
        print(f"\r{done} of {count} images", end="\n" if done == count else "", file=sys.stderr, flush=True)
