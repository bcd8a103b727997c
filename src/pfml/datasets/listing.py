"""A dataset before it is packed: one line per image, and a function that reads an image's bytes."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Listing:
    """Images by name, in their official order; nothing is decoded yet.

    Attributes:
        table: columns name (unique, such as a path inside the archive), class_id (0-based, in the official order of the
            classes), class_name; optionally split ("train" or "test") where the source fixes it, and with it role
            ("train", "query" or "gallery") where the source separates the queries of its test from their gallery.
        read: name -> the encoded bytes (JPEG, PNG, ...). Raises OSError or ValueError that names the file.
    """

    table: pd.DataFrame
    read: Callable[[str], bytes]
