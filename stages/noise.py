"""noise <dataset>-<fraction>-<seed>: write true and noisy labels of every image to data/noise/<...>.csv, and the effect
of noise on each class to <...>-classes.csv.
"""

import sys

from pfml.stage import run_stage


def main():
    from pfml.labels.tables import write_labels
    from pfml.settings.plan import read_plan
    from pfml.settings.run import project_root

    print(write_labels(root=project_root(), **read_plan(f"noise/{sys.argv[1]}")))


run_stage(main, data=True)
