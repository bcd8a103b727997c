"""`make bench`: the loss against eager autograd (a minute), and the pipeline from a fresh clone (about a quarter of an
hour). Both write their section of reports/benchmarks.md."""

import subprocess
import sys
from pathlib import Path

from record import record

HERE = Path(__file__).parent


def main() -> None:
    found = subprocess.run([sys.executable, HERE / "loss.py"], capture_output=True, text=True)
    if found.returncode:
        sys.exit(found.stderr)
    print(found.stdout)
    record("Loss", found.stdout)
    subprocess.run([sys.executable, HERE / "pipeline.py"], check=True)


if __name__ == "__main__":
    main()
