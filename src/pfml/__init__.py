"""PFML and the pipeline that reproduces its paper, in the order in which data flows.

settings      params.yaml, checked; which runs it asks for; the plan; presets
datasets      what only the stage `fetch` needs: catalogue, archives, download, own folders and CSVs, glyphs, packing
images        decoding, random access to packed images
labels        who trains, who tests, which labels are wrong: split, folds, noise, held-out classes
losses        [public] common/ · field/ (PFML and CPML, the exact sum) · baselines/ (one file a method)
training      the loop, a run as a process · batches/ · networks/
retrieval     [public] Recall@K, MAP@R, R-Precision, NMI; memorisation of wrong labels
wasserstein   [public] W2 between proxies and data
evaluation    measures of trained runs, few-shot, folds, timings
tracking      MLflow: the only package that imports it
tuning        the search for settings
report        published numbers, results, verdicts, claims, tables, the page
theory        Proposition 1 and Corollary 1 in numbers, and what is said of them
figures       one file a figure: what it shows and how it is drawn
launch        `make repro`, also in a preset's working copy; what a stop leaves; `make default`; `make verify`
use           [public] a trained network for images of your own: load, embed, search, export
cli           the command `pfml`: study, use
stage         how the process of a stage starts and fails
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pfml.use.model import EmbeddingModel

__version__ = "0.1.0"


def load(path_or_run: "str | Path", device: str | None = None) -> "EmbeddingModel":
    """A trained network with its preprocessing: `pfml.load("glyphs-pfml-0.2-0").embed("folder/of/images")`.

    Args:
        path_or_run: the folder of a training (models/grid/...), or in the project's root the name of a run, a digest,
            or the id of an MLflow run.
        device: default a GPU if there is one.

    Raises:
        pfml.settings.ConfigError: no such folder or run, or a run whose network is not here.
        ValueError: a file in the folder is missing or does not belong to the others.
    """
    from pfml.use.find import find_folder
    from pfml.use.model import load_folder

    return load_folder(find_folder(path_or_run), device)
