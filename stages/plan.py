"""plan: check params.yaml, try every loss on a random batch, write data/plan/. All other stages depend on it."""

from pathlib import Path

from pfml.stage import run_stage


def main():
    from pfml.settings.load import check_backbone, load_params
    from pfml.settings.planning import write_plan
    from pfml.settings.rehearsal import rehearse_losses
    from pfml.settings.runs import planned_runs

    params = load_params()
    check_backbone(params)
    rehearse_losses(planned_runs(params))
    for name in params.grid.dataset:
        recipe = params.recipe[name].model_dump()
        changes = [f"{section}.{key}: {value}" for section in recipe for key, value in recipe[section].items()]
        if changes:  # `-S train.epochs=...` does not reach a setting that a recipe sets
            print(f"{name}: recipe.{name} sets {', '.join(changes)}")
        # Later stages depend on this folder. A study that trains folds alone puts nothing there.
        Path("models/grid", name).mkdir(parents=True, exist_ok=True)
    print(f"data/plan: {write_plan(params)} files")


run_stage(main)
