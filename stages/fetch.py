"""fetch <dataset>: make data/raw/<dataset>/: draw glyphs, download and pack a dataset, or pack your own images."""

import sys
from pathlib import Path
from types import SimpleNamespace

from pfml.stage import run_stage


def main():
    from pfml.datasets.catalogue import fetch
    from pfml.settings.files import on_disk
    from pfml.settings.plan import read_plan
    from pfml.settings.run import project_root

    name = sys.argv[1]
    folder, settings = Path("data/raw", name), SimpleNamespace(**read_plan(f"fetch/{name}"))
    with on_disk(folder):
        meta = fetch(name, settings, folder, project_root())
    print(f"{name}: {meta['images']} images of {meta['classes']} classes, content {meta['digest'][:16]}")
    if meta.get("skipped"):
        print(f"{name}: left out {len(meta['skipped'])} unreadable images, named in data/raw/{name}/meta.json")


run_stage(main, data=True)
