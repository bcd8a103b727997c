"""theory: write reports/theory.csv, reports/theory.md and reports/figures/field.png from the settings."""

from pfml.stage import run_stage


def main():
    from pfml.figures.field import field_picture
    from pfml.settings.plan import read_plan
    from pfml.theory.document import render_theory, write_theory_csv
    from pfml.theory.survey import Case, survey

    settings = read_plan("theory")
    base = Case(**settings["base"])
    draws = (settings[key] for key in ("sets", "trials", "trials_small"))
    rows = list(survey(base, settings["changes"], settings["radii"], settings["alphas"], *draws, settings["seed"]))
    write_theory_csv(rows, "reports/theory.csv")
    render_theory(rows, "reports/theory.md")
    field_picture("reports/figures/field.png", base.alpha, base.delta)


run_stage(main)
