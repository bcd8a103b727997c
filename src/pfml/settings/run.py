"""A run: one training with all settings that decide its result.

The digest of a run identifies its configuration in result files, checkpoints and MLflow. Results are found by digest,
never by file name.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

# Settings of `train` that are newer than the first digests, each with the value that trains as before. `config` leaves
# out a setting with this value, so that older digests stay valid.
LATER = {"momentum": 0.0, "deterministic": True, "portable": False, "head_lr": None, "step_times": None}
# Settings of `train` that decide nothing for a trunk. A run does not have them, so that they change no digest.
WITHOUT_EFFECT = {"fine_tune": ("trunk", "trained_stages", "views"), "frozen": ("trained_stages",), "partial": ()}
UNTRAINED = ("trunk", "trained_stages", "views", "transform", "crop_padding", "hold_out", "portable", "threads")
COPIES = ".studies"  # the folder of the presets' working copies (pfml.launch.copies)


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        loss, train, model: resolved settings.
        axis, value: the ablation point; "" and None in the grid.
        noise_kind: settings that decide the labels beside fraction and seed; empty for uniform noise or none.
        data: settings that decide the images; empty for glyphs.
        fold, folds: fold `fold` of `folds` validates; None and 0 without cross validation.
        loss_version: of the loss's formula (pfml.losses.common.describe).
        label_fit_every: number of epochs between two measurements of fitted wrong labels (0: never). It changes no
            result and is not part of `config`.
    """

    study: str
    dataset: str
    method: str
    noise: float
    seed: int
    loss_name: str
    loss: Mapping = field(hash=False)
    train: Mapping = field(hash=False)
    model: Mapping = field(hash=False)
    validation_classes: int
    axis: str = ""
    value: float | None = None
    noise_kind: Mapping = field(default_factory=dict, hash=False)
    data: Mapping = field(default_factory=dict, hash=False)
    fold: int | None = None
    folds: int = 0
    loss_version: int = 1
    label_fit_every: int = 0

    @property
    def name(self) -> str:
        if self.fold is not None:
            return f"{self.repeat}-fold-{self.fold}"
        point = f"-{self.point}" if self.axis else ""
        return f"{self.dataset}-{self.method}-{self.noise}-{self.seed}{point}"

    @property
    def point(self) -> str:
        """The run's entry in ablation.points, such as alpha-4; empty in the grid."""
        return f"{self.axis}-{self.value}" if self.axis else ""

    @property
    def repeat(self) -> str:
        """Name of the cross validation that a fold's run belongs to."""
        return f"{self.dataset}-{self.method}-{self.seed}"

    @property
    def never_sees_test(self) -> bool:
        """Whether the run is measured on its validation classes and never on the test half. A fold's run selects its
        epoch on its validation classes, and is measured on the test half once, at its end.
        """
        return self.train["hold_out"] and self.fold is None

    @property
    def trunk(self) -> str:
        """fine_tune, frozen or partial."""
        return self.train.get("trunk", "fine_tune")

    @property
    def backbone(self) -> str:
        """Name of the network in results and tables; of one that is not trained as a whole with the trunk behind it,
        such as resnet50+frozen, so that no table has both in one row.
        """
        return self.model["backbone"] + ("" if self.trunk == "fine_tune" else f"+{self.trunk}")

    @property
    def dim(self) -> int:
        return self.model["embedding_dim"]

    @property
    def config(self) -> dict:
        """All settings that decide the result, nested and JSON-ready, without the names of study and method."""
        loss = dict(self.loss)
        if "delta_rep" in loss:  # null means delta; both spellings get the same digest
            loss["delta_rep"] = loss["delta_rep"] or loss["delta"]
        config = {
            "dataset": self.dataset, "noise": float(self.noise), "seed": self.seed, "loss_name": self.loss_name,
            "loss": loss, "model": dict(self.model),
            "train": {key: value for key, value in self.train.items() if key not in LATER or value != LATER[key]},
        }  # fmt: skip
        if self.loss_version > 1:
            config["loss_version"] = self.loss_version
        if self.fold is not None:
            config |= {"fold": self.fold, "folds": self.folds}
        elif self.train["hold_out"]:
            config["validation_classes"] = self.validation_classes
        for key in ("noise_kind", "data"):
            if getattr(self, key):
                config[key] = dict(getattr(self, key))
        return config

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the SHA-256 of `config`."""
        canonical = json.dumps(self.config, sort_keys=True, default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def paths(self) -> "RunPaths":
        return RunPaths(self)

    def as_json(self) -> dict:
        """The content of the run's file in data/plan/runs/."""
        return {
            "name": self.name, "dataset": self.dataset, "method": self.method, "noise": self.noise, "seed": self.seed,
            "axis": self.axis, "value": self.value, "fold": self.fold, "digest": self.digest, "config": self.config,
            "memorisation": {"every": self.label_fit_every},
        }  # fmt: skip

    @classmethod
    def from_json(cls, saved: Mapping, study: str) -> "Run":
        """The run of a file that `as_json` made.

        Raises:
            ValueError: the digest does not fit the configuration.
        """
        config = saved["config"]
        run = cls(
            study=study, **{key: saved[key] for key in ("dataset", "method", "noise", "seed", "axis", "value", "fold")},
            loss_name=config["loss_name"], loss=config["loss"], train=LATER | config["train"], model=config["model"],
            validation_classes=config.get("validation_classes", 0), noise_kind=config.get("noise_kind", {}),
            data=config.get("data", {}), folds=config.get("folds", 0), loss_version=config.get("loss_version", 1),
            label_fit_every=saved["memorisation"]["every"],
        )  # fmt: skip
        if run.digest != saved["digest"]:
            raise ValueError(f"digest: expected {run.digest}, that of its config, found {saved['digest']}")
        return run


def without_auto(loss: Mapping) -> dict:
    """The settings of a loss before there are embeddings that `delta_rep: auto` could follow: delta in its place."""
    return {key: None if key == "delta_rep" and value == "auto" else value for key, value in loss.items()}


def with_effect(train: Mapping, trains: bool = True) -> dict:
    """The settings of `train` that a run has: those that can change its result.

    Args:
        trains: whether the method's loss does; of the others the settings say what the network is and what it sees.
    """
    kept = {key: value for key, value in train.items() if key not in WITHOUT_EFFECT[train["trunk"]]}
    if trains:
        return kept
    return {key: kept[key] for key in UNTRAINED if key in kept} | {"epochs": 0, "select": "last"}


@dataclass(frozen=True)
class RunPaths:
    """Paths of a run's files, relative to the project root."""

    run: Run

    @property
    def model(self) -> Path:
        run = self.run
        if run.axis:
            return Path("models/ablation", f"{run.point}-{run.seed}")
        if run.fold is not None:
            return Path("models/folds", run.dataset, f"{run.method}-{run.seed}", str(run.fold))
        return Path("models/grid", run.dataset, f"{run.method}-{run.noise}-{run.seed}")

    @property
    def result(self) -> Path:
        """The result file. The folds of one cross validation share it."""
        run = self.run
        if run.fold is not None:
            return Path("reports/runs", run.study, "mlrc", f"{run.repeat}.json")
        return Path("reports/runs", run.study, "ablation" if run.axis else "", f"{run.name}.json")

    @property
    def history(self) -> Path:
        return self.result.with_suffix(".csv")

    @property
    def manifest(self) -> Path:
        """The file with a run's labels. A fold's run has clean labels and reads the split itself."""
        run = self.run
        if run.fold is not None:
            return Path("data/split", f"{run.dataset}.csv")
        return Path("data/noise", f"{run.dataset}-{run.noise}-{run.seed}.csv")


def inputs_digest(run: Run, root: Path = Path()) -> str:
    """SHA-256 of a run's input files: its labels, and the meta.json of its images, which contains the digest of their
    content and how they are packed; likewise of the features that it trains on.
    """
    state, paths = hashlib.sha256(), [root / run.paths().manifest, root / "data/raw" / run.dataset / "meta.json"]
    if run.trunk != "fine_tune":
        paths.append(root / "data/features" / run.dataset / "meta.json")
    for path in paths:
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def project_root() -> Path:
    """The main checkout, also from inside a queued or temporary DVC experiment and from the working copy of a preset,
    <project>/.studies/<preset>; outside DVC the current folder.
    """
    root = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    above = root.parent.parent
    return above if root.parent.name == COPIES and (above / "params.yaml").is_file() else root
