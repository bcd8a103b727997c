"""Packages that only some networks need. They are imported when asked for, so that the others work without them."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(key: str) -> Iterator[None]:
    """Around imports of optional packages: one that is missing is named with the extra that has it.

    Args:
        key: the setting and the value that need the package, such as "model.backbone: resnet50".

    Raises:
        ImportError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{key} needs {error.name}, which is not installed; "
            "expected the extra pfml[pipeline]: pip install '.[pipeline]' in a clone"
        ) from error
