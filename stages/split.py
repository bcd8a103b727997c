"""split <dataset>: data/split/<dataset>.csv, the zero-shot halves and the validation classes."""

import sys
from pathlib import Path

from pfml.config import run_stage


def main(params):
    import pandas as pd

    from pfml.data.catalogue import dataset, load_images
    from pfml.data.split import zero_shot_split

    name = sys.argv[1]
    raw = Path("data/raw", name)
    table = zero_shot_split(
        pd.read_csv(raw / "items.csv"), load_images(raw), dataset(name).train_classes, params.split.validation_classes
    )
    Path("data/split").mkdir(parents=True, exist_ok=True)
    table.to_csv(f"data/split/{name}.csv", index=False)


run_stage(main)
