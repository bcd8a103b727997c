"""noise <dataset>-<fraction>-<seed>: data/noise/<...>.csv, true and noisy labels of every image, and <...>-classes.csv,
what noise did to each class.
"""

import sys

from pfml.stage import run_stage


def main():
    from pfml.labels.tables import write_labels
    from pfml.settings.plan import read_plan
    from pfml.settings.run import project_root

    print(write_labels(root=project_root(), **read_plan(f"noise/{sys.argv[1]}")))


run_stage(main, data=True)
