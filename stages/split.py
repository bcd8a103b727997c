"""split <dataset>: data/split/<dataset>.csv, halves, validation classes and folds, and a report on what is in it."""

import json
import sys
from pathlib import Path

from pfml.settings.runs import validation_classes
from pfml.stage import run_stage


def main(params):
    from pfml.datasets.catalogue import train_classes
    from pfml.images.packed import read_items
    from pfml.labels import verify
    from pfml.labels.split import content, zero_shot_split

    name, asked = sys.argv[1], params.split
    raw = Path("data/raw", name)
    items = read_items(raw)
    first = train_classes(name, params.dataset[name], items)
    table = zero_shot_split(items, content(items, raw), first, validation_classes(params, name), asked.folds)
    Path("data/split").mkdir(parents=True, exist_ok=True)
    table.to_csv(f"data/split/{name}.csv", index=False)
    found = verify.report(table.assign(name=items["name"] if "name" in items else items["item"].map(str)))
    Path(f"data/split/{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(verify.text(found, name))


run_stage(main, data=True)
