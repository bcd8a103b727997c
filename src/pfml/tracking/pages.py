"""What a run's page in MLflow has beside settings, tags and curves: pictures, the stages with the digests of their
data, and the network.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pfml.settings.run import Run
from pfml.settings.stages import stages_of
from pfml.tracking.models import FILES, WEIGHTS, Kept, log_model

HISTORY, NEIGHBOURS, STAGES = "history.png", "neighbours.png", "dvc_stages.json"


class Pages:
    """Completes the pages of a study's runs.

    Args:
        fields: the methods of grid.field and mlrc.field.
        kept: tracking.models of params.yaml.
        picture: gives the picture of a run's neighbours; None: pages without it.
    """

    def __init__(self, client, fields: Sequence[str], kept: Kept, picture: Callable[[Run], object] | None):
        self.client, self.fields, self.kept, self.picture = client, fields, kept, picture
        self._lock = read_lock()

    def complete(self, run_id: str, run: Run, history: list[dict], there: set[str], renew: bool) -> None:
        """Add what is missing, as far as the files for it are here.

        Args:
            there: artifacts that the page has.
            renew: the history has changed since.
        """
        if renew or HISTORY not in there:
            self.client.log_figure(run_id, history_plot(run, history), HISTORY)
        stages = {name: self._lock[name] for name in stages_of(run, self.fields) if name in self._lock}
        if stages and STAGES not in there:
            self.client.log_dict(run_id, stages, STAGES)
        if self.picture and NEIGHBOURS not in there and (run.paths().model / "embeddings.npz").is_file():
            try:
                picture = self.picture(run)
            except (OSError, ValueError) as error:  # of other images, labels or settings than this run's
                print(f"{run.name}: no picture of neighbours ({error})", flush=True)
            else:
                self.client.log_image(run_id, picture, NEIGHBOURS)

    def new_model(self, run: Run, tags: Mapping[str, str]) -> str:
        """The digest of the weights of a run's network, if that is here and not logged; else ""."""
        folder = run.paths().model
        if self.kept == "none" or not all((folder / name).is_file() for name in FILES):
            return ""
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        here = record["digest"] == run.digest and record["weights"] != tags.get(WEIGHTS)
        return record["weights"] if here else ""

    def log_model(self, run_id: str, run: Run, weights: str) -> None:
        log_model(run_id, run.paths().model, self.kept)
        self.client.set_tag(run_id, WEIGHTS, weights)


def read_lock() -> dict[str, dict]:
    """Stage -> its entry in dvc.lock: command, and the digests of its dependencies and outputs. {} without a whole
    file.
    """
    import yaml

    try:
        text = Path("dvc.lock").read_text(encoding="utf-8")
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
    except (OSError, yaml.YAMLError, TypeError, KeyError):
        return {}


def history_plot(run: Run, history: list[dict]):
    """Loss and R@1 over epochs as a matplotlib figure, on validation classes where those are measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8))
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.18, top=0.88)  # a layout engine would take half the time
    on_validation = run.fold is not None or run.never_sees_test
    for axes, name in zip(figure.subplots(1, 2), ("loss", "val_recall@1" if on_validation else "recall@1")):
        points = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
        axes.plot([epoch for epoch, _ in points], [value for _, value in points])
        axes.set(xlabel="epoch", title=f"{run.name}: {name}")
        axes.title.set_fontsize(8)
    return figure
