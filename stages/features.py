"""features <dataset>: embed a dataset once by a network's frozen front, write data/features/<dataset>/."""

import sys
from pathlib import Path

from pfml.stage import run_stage, single_writer, stopper


def main():
    from pfml.settings.plan import read_plan

    name = sys.argv[1]
    plan, folder = read_plan(f"features/{name}"), Path("data/features", name)
    if plan["trunk"] == "fine_tune":  # nothing to import: every run trains the whole network
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text('{"trunk": "fine_tune"}\n', encoding="utf-8")
        return
    from pfml.settings.run import project_root
    from pfml.training.features import write_features

    stop, working = stopper(), project_root() / ".checkpoints" / f"features-{name}"
    with single_writer(working, f"features of {name}", stop):
        write_features(plan, name, folder, working, stop, tell=lambda line: print(line, flush=True))


run_stage(main, data=True)
