"""DVC as `make repro` calls it: an error that DVC logs makes it fail, and is printed with `--quiet` too.

`--quiet` hides which stage runs, and with that why DVC could not go on: a lock that another process holds, a broken
file, a full disk. Of an output that finds no room in the cache DVC prints an error and goes on; the next call would run
the stage again.

After each stage DVC reads dvc.lock and writes it again. It reads it so that comments survive, in pure Python, which for
hundreds of runs takes longer than they do. The file has no comments, so it is read as DVC reads it elsewhere, in C.
"""

import logging
import sys

DVC = (sys.executable, "-m", "dvc")
WATCHED = (sys.executable, "-m", "pfml.launch.dvc")  # where DVC logs an error, it fails
DATA = ("plan", "fetch", "split", "noise", "features")  # groups of stages whose outputs trainings read
SILENCED = ("dvc", "dvc_objects", "dvc_data")  # loggers that --quiet silences, with those below them


def stage_group(name: str) -> str:
    """train@glyphs-pfml-0.0-0 -> train."""
    return name.split("@")[0]


class Counter(logging.Handler):
    """Counts the errors that were logged."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.errors = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.errors += 1


def main() -> int:
    from dvc.cli import main
    from dvc.utils.serialize import _yaml

    _yaml.parse_yaml_for_update = _yaml.parse_yaml
    counter = Counter()
    for name in SILENCED:
        logging.getLogger(name).addHandler(counter)
    for name in ("dvc.cli", "dvc_objects.fs", "dvc_data.hashfile"):  # below those whose level --quiet sets
        logging.getLogger(name).setLevel(logging.ERROR)
    code = main(sys.argv[1:])
    return code or int(counter.errors > 0)


if __name__ == "__main__":
    sys.exit(main())
