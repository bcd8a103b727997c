"""How well a study tells its methods apart, at two commits of this project.

    python benchmarks/separation.py HEAD a8c287f          # reports/results.csv of both, study glyphs-all

The separation is the standard deviation between the methods' mean R@1, divided by the median over the methods of the
standard deviation between seeds. A smaller network or a shorter training must not lower it.
"""

import argparse
import io
import subprocess
from pathlib import Path

import pandas as pd
from record import record

PROJECT = Path(__file__).resolve().parents[1]
STUDY = "glyphs-all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs=2, help="the one to judge, and an earlier one")
    studies = {commit: of_grid(results(commit)) for commit in parser.parse_args().commits}
    record("How well glyphs-all tells methods apart", table(studies))


def results(commit: str) -> pd.DataFrame:
    text = subprocess.run(
        ["git", "show", f"{commit}:reports/results.csv"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    return pd.read_csv(io.StringIO(text))


def of_grid(rows: pd.DataFrame) -> pd.DataFrame:
    """R@1 in % of the study's grid: one line for each noise and method, one column for each seed."""
    rows = rows[(rows["study"] == STUDY) & rows["axis"].isna()]
    return 100 * rows.pivot(index=["noise", "method"], columns="seed", values="recall@1")


def separation(runs: pd.DataFrame) -> tuple[float, float]:
    """Standard deviation between methods; median over methods of that between seeds. `runs`: method x seed."""
    return runs.mean(axis=1).std(), runs.std(axis=1).median()


def table(studies: dict[str, pd.DataFrame]) -> str:
    lines = [
        "| commit | noise | methods | best R@1, % | between methods | between seeds | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    both = sorted(set.intersection(*(set(runs.index.get_level_values("method")) for runs in studies.values())))
    for commit, runs in studies.items():
        for noise, at in runs.groupby(level="noise"):
            between, seeds = separation(at)
            best = at.mean(axis=1)
            name = best.idxmax()[1]
            lines.append(
                f"| {commit} | {100 * noise:.0f} % | {len(at)} | {best.max():.1f} ({name}) | {between:.2f} | "
                f"{seeds:.2f} | {between / seeds:.2f} |"
            )
    first, second = (runs.mean(axis=1).unstack("noise").loc[both] for runs in studies.values())
    same = [f"{first[noise].corr(second[noise], method='spearman'):.2f} at {100 * noise:.0f} %" for noise in first]
    return "\n".join(
        [*lines, "", f"Rank correlation (Spearman) of the {len(both)} methods that both have: {', '.join(same)}.",
         f"Standard deviations are of R@1 in points; n = {studies.popitem()[1].shape[1]} seeds."]
    )  # fmt: skip


if __name__ == "__main__":
    main()
