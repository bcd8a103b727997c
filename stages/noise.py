"""noise <dataset> <fraction> <seed>: data/noise/<dataset>-<fraction>-<seed>.csv, true and noisy labels of every image,
and <...>-classes.csv, what became of each class.
"""

import sys
from pathlib import Path

from pfml.stage import run_stage


def main(params):
    import pandas as pd

    from pfml.images.packed import open_images, read_items
    from pfml.labels.tables import noise_tables
    from pfml.settings.run import project_root

    name, fraction, seed = sys.argv[1:4]
    raw, split = (
        Path("data/raw", name),
        pd.read_csv(f"data/split/{name}.csv", dtype={"class_name": str}, na_filter=False),
    )
    items = read_items(raw)
    names = items["name" if "name" in items else "item"].map(str)
    labels, classes, imported = noise_tables(
        split, params.noise, fraction, int(seed), name, names, open_images(raw), project_root()
    )
    Path("data/noise").mkdir(parents=True, exist_ok=True)
    labels.to_csv(f"data/noise/{name}-{fraction}-{seed}.csv", index=False)
    classes.to_csv(f"data/noise/{name}-{fraction}-{seed}-classes.csv", index=False, float_format="%.6g")
    print(f"{name}: {labels['corrupted'].sum()} of {classes['n'].sum()} training labels moved")
    print(f"{name}: {imported}" if imported else f"{name}: {classes['emptied'].sum()} classes emptied")


run_stage(main, data=True)
