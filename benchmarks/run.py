"""`make bench`: the loss against eager autograd and other losses, its growth with the number of classes, the feeding
against torchvision, the training loop from packs against random tensors (minutes), the retrieval measures against the
bare product X X^T, and the pipeline from a fresh clone (a quarter of an hour each). Each writes its section of
reports/benchmarks.md. Names run some of them: `python benchmarks/run.py loss scale`. `timing`, by its name alone, times
an epoch for Table 9 (benchmarks/timing.py)."""

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
    wanted = sys.argv[1:] or [*SECTIONS, "pipeline"]
    for name, title in SECTIONS.items():
        if name in wanted:
            found = subprocess.run([sys.executable, HERE / f"{name}.py"], stdout=subprocess.PIPE, text=True, check=True)
            print(found.stdout)
            record(title, found.stdout)
    if "timing" in wanted:
        subprocess.run([sys.executable, HERE / "timing.py"], check=True)
    if "pipeline" in wanted:
        subprocess.run([sys.executable, HERE / "pipeline.py"], check=True)


if __name__ == "__main__":
    main()
