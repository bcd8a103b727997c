"""Seconds of a training epoch against the number of proxies (paper, Table 9), of the study in params.yaml.

Writes reports/complexity/<study>.csv, which the report reads. Run it yourself on an idle machine. No stage of the
pipeline measures time, so that a changed setting never replaces a measurement.
"""

from pathlib import Path

from pfml.stage import be_portable

be_portable()  # as a training starts, before PyTorch is loaded

from pfml.evaluation.timing import time_runs, write_timings  # noqa: E402
from pfml.settings.load import load_params  # noqa: E402
from pfml.settings.runs import timing_runs  # noqa: E402


def main() -> None:
    params = load_params()
    steps, path = params.complexity.steps, Path("reports/complexity", f"{params.study}.csv")
    runs = timing_runs(params)
    if not runs:
        print(f"{params.study}: section complexity of params.yaml names no method; nothing is timed")
        return
    timings = time_runs(runs, steps, params.complexity.rounds)
    write_timings(timings, steps, path)
    for timing in timings:
        proxies = "" if timing.proxies_per_class is None else f" {timing.proxies_per_class} proxies a class"
        print(f"{timing.run.method}{proxies}: {timing.per_step * timing.steps_per_epoch:.2f} s an epoch")
    print(f"{path} is written; `make tables` shows it as Table 9")


if __name__ == "__main__":
    main()
