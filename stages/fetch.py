"""fetch <dataset>: data/raw/<dataset>/ from the catalogue."""

import sys
from pathlib import Path

from pfml.config import run_stage


def main(params):
    from pfml.data.catalogue import fetch

    name = sys.argv[1]
    meta = fetch(name, Path("data/raw", name))
    print(f"{name}: {meta['images']} images of {meta['classes']} classes, content {meta['digest'][:16]}")


run_stage(main)
