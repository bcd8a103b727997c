"""check: params.yaml is usable. Comes first, so that a bad value stops the pipeline before DVC clears any output."""

from pathlib import Path

from pfml.settings.load import check_backbone
from pfml.settings.runs import ablation_runs, fold_runs, grid_runs
from pfml.stage import run_stage


def main(params):
    from pfml.settings.rehearsal import rehearse_losses

    check_backbone(params)
    rehearse_losses(grid_runs(params) + ablation_runs(params) + fold_runs(params))
    for name in params.grid.dataset:
        recipe = params.recipe[name].model_dump()
        changes = [f"{section}.{key}: {value}" for section in recipe for key, value in recipe[section].items()]
        if changes:  # said aloud, because `-S train.epochs=...` does not reach what a recipe sets
            print(f"{name}: recipe.{name} sets {', '.join(changes)}")
    Path("data").mkdir(exist_ok=True)
    Path("data/params-checked").write_text("usable\n")


run_stage(main)
