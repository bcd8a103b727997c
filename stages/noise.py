"""noise <dataset> <fraction> <seed>: data/noise/<dataset>-<fraction>-<seed>.csv, true and noisy labels."""

import sys
from pathlib import Path

from pfml.config import run_stage


def main(params):
    import pandas as pd

    from pfml.data.noise import noise_manifest

    name, fraction, seed = sys.argv[1:4]
    table = noise_manifest(pd.read_csv(f"data/split/{name}.csv"), float(fraction), int(seed))
    Path("data/noise").mkdir(parents=True, exist_ok=True)
    table.to_csv(f"data/noise/{name}-{fraction}-{seed}.csv", index=False)
    print(f"{name}: {table['corrupted'].sum()} of {(table['split'] == 'train').sum()} training labels moved")


run_stage(main)
