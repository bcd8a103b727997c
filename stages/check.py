"""check: params.yaml is usable. Comes first, so that a bad value stops the pipeline before DVC clears any output."""

from pathlib import Path

from pfml.cells import ablation_cells, grid_cells, mlrc_cells
from pfml.config import check_backbone, run_stage


def main(params):
    from pfml.loss_rehearsal import rehearse_losses

    check_backbone(params)
    rehearse_losses(grid_cells(params) + ablation_cells(params) + mlrc_cells(params))
    for name in params.grid.dataset:
        recipe = params.recipe[name].model_dump()
        changes = [f"{section}.{key}: {value}" for section in recipe for key, value in recipe[section].items()]
        if changes:  # said aloud, because `-S train.epochs=...` does not reach what a recipe sets
            print(f"{name}: recipe.{name} sets {', '.join(changes)}")
    Path("data").mkdir(exist_ok=True)
    Path("data/params-checked").write_text("usable\n")


run_stage(main)
