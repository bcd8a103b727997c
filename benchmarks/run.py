"""`make bench` runs these benchmarks. Each writes its section of reports/benchmarks.md.

    loss        the loss against eager autograd and other losses
    scale       growth of the loss with the number of classes
    loader      feeding against torchvision
    rate        the training loop from packs against random tensors (minutes)
    retrieval   the retrieval measures against the bare product X X^T (a quarter of an hour)
    pipeline    the pipeline from a fresh clone (a quarter of an hour)

`python benchmarks/run.py loss scale` runs some of them. `timing`, which times an epoch for Table 9
(benchmarks/timing.py), runs only if it is named. `make gpu` measures on a GPU (benchmarks/gpu.py).
"""

import subprocess
import sys
from pathlib import Path

from record import record

HERE = Path(__file__).parent
SECTIONS = {
    "loss": "Loss", "scale": "Loss with many classes", "loader": "Feeding", "rate": "Training rate",
    "retrieval": "Retrieval measures",
}  # fmt: skip


def main() -> None:
    names = sys.argv[1:] or [*SECTIONS, "pipeline"]
    for name, title in SECTIONS.items():
        if name in names:
            done = subprocess.run([sys.executable, HERE / f"{name}.py"], stdout=subprocess.PIPE, text=True, check=True)
            print(done.stdout)
            record(title, done.stdout)
    if "timing" in names:
        subprocess.run([sys.executable, HERE / "timing.py"], check=True)
    if "pipeline" in names:
        subprocess.run([sys.executable, HERE / "pipeline.py"], check=True)


if __name__ == "__main__":
    main()
