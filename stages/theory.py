"""theory: reports/theory.csv, reports/theory.md and reports/figures/field.png, from settings alone."""

from pfml.stage import run_stage


def main():
    from pfml.figures.field import field_picture
    from pfml.report.theory import render_theory, write_theory_csv
    from pfml.settings.plan import read_plan
    from pfml.theory.survey import Case, survey

    asked = read_plan("theory")
    base = Case(**asked["base"])
    draws = (asked[key] for key in ("sets", "trials", "trials_small"))
    rows = list(survey(base, asked["changes"], asked["radii"], asked["alphas"], *draws, asked["seed"]))
    write_theory_csv(rows, "reports/theory.csv")
    render_theory(rows, "reports/theory.md")
    field_picture("reports/figures/field.png", base.alpha, base.delta)


run_stage(main)
