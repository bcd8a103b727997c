"""reports/tables.md from result files: headings, numbers in their places, gaps, readings that follow the data."""

import dataclasses
import re
from dataclasses import replace

import pytest
from report_cells import Cell, table_after, write, write_wasserstein

from pfml.report import ledger, readings
from pfml.report.tables import render_tables

GRID = [Cell(m, noise, seed) for m in ("pfml", "cpml", "proxy_anchor", "soft_triple") for noise in (0.0, 0.2)
        for seed in (0, 1)]  # fmt: skip
RECALL = {"pfml": 0.70, "cpml": 0.40, "proxy_anchor": 0.80, "soft_triple": 0.75}
SWEEP = [Cell("pfml", 0.0, s, "alpha", v) for v in (0, 1) for s in (0, 1)]


def sweep():
    return ledger.Sweep("alpha", 3.0, [c for c in GRID if (c.method, c.noise) == ("pfml", 0.0)], SWEEP)


def render(reports, grid=GRID, sweeps=None):
    sweeps = [sweep()] if sweeps is None else sweeps
    expected = [*grid, *(c for s in sweeps for c in s.cells)]
    return render_tables(ledger.read_ledger(reports, expected), grid, sweeps)


@pytest.fixture
def reports(tmp_path):
    for cell in GRID:
        drop = 0.5 * cell.noise if cell.method == "pfml" else cell.noise
        write(tmp_path, cell, RECALL[cell.method] + 0.02 * cell.seed - drop)
    for cell in SWEEP:
        write(tmp_path, cell, 0.5 + 0.1 * cell.value, folder="ablation")
    write_wasserstein(tmp_path, [(c, 0.1 * (1 + i), 1.0 + c.noise) for i, c in enumerate(GRID)])
    return tmp_path


def test_headings_are_exactly_tables_1_to_9_then_the_rest(reports):
    headings = re.findall(r"^## .*$", render(reports), flags=re.MULTILINE)
    assert headings == [*(f"## Table {i}" for i in range(1, 10)), "## Theory", "## Ablations",
                        "## Results outside the present configuration"]  # fmt: skip


def test_every_table_of_every_section_has_as_many_cells_as_its_header(reports):
    for block in render(reports).split("\n\n"):
        if block.startswith("| "):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_table_1_has_mean_and_deviation_and_the_best_in_bold(reports):
    rows = table_after(render(reports), "Table 1")
    assert rows["PFML"]["R@1"] == "71.0 ± 1.4"
    assert rows["Proxy Anchor"]["R@1"] == "**81.0 ± 1.4**"
    assert rows["CPML"]["best R@1"] == "42.0 ± 1.4" and rows["CPML"]["n"] == "2" and rows["CPML"]["training s"] == "12"


def test_table_2_has_clean_noisy_and_drop_with_the_published_columns_beside(reports):
    rows = table_after(render(reports), "Table 2")
    assert (rows["PFML"]["clean R@1"], rows["PFML"]["R@1 at 20 %"]) == ("71.0 ± 1.4", "**61.0 ± 1.4**")
    assert rows["Proxy Anchor"]["R@1 at 20 %"] == "**61.0 ± 1.4**"  # a tie in print: both bold
    assert rows["PFML"]["drop"] == "**10.0**" and rows["CPML"]["drop"] == "20.0"
    assert rows["HIST"]["clean R@1"] == rows["HIST"]["n"] == "–" and rows["HIST"]["CUB-200 clean"] == "71.4"
    assert rows["HIST"]["Cars-196 drop"] == "16.7" and rows["PFML"]["Cars-196 drop"] == "**8.2**"
    assert rows["SoftTriple"]["CUB-200 clean"] == "–"


def test_table_3_shows_ours_and_never_a_published_value(reports):
    rows = table_after(render(reports), "Table 3")
    assert rows["PFML"]["W2 at 0 %"] == "**0.150 ± 0.071**" and rows["PFML"]["M"] == "15"
    assert {row["published, CUB-200"] for row in rows.values()} == {"not recovered"}


def test_tables_of_other_settings_say_that_nothing_was_run(reports):
    text = render(reports)
    for table in (4, 5, 6, 7, 8, 9):
        section = text.split(f"## Table {table}\n")[1].split("\n## ")[0]
        assert "Ours: not run (`toy` does not measure this)" in section
    assert "63.9 ± 0.3" in text and "ProxyAnchor, HIST, Ours." in text


def test_a_small_network_on_a_benchmark_belongs_to_table_4(reports):
    cell = Cell("pfml", dataset="cub200", backbone="resnet50", study="cub200-64d")
    write(reports, cell, 0.6)
    text = render(reports, [*GRID, cell])
    assert table_after(text, "Table 4")["PFML"]["R@1"] == "60.0"
    assert "cub200-64d" not in text.split("## Table 1\n")[1].split("\n## ")[0]


def test_the_ablation_marks_the_default_and_sets_the_plot_of_the_paper_beside(reports):
    rows = table_after(render(reports), "Ablations")
    assert rows["3 (default)"]["R@1"] == "**71.0 ± 1.4**" and rows["3 (default)"]["CUB-200 (digitised)"] == "**73.4**"
    assert rows["1"]["R@1"] == "60.0 ± 0.0" and rows["6"]["R@1"] == "–" and rows["6"]["Cars-196 (digitised)"] == "92.1"


def test_a_missing_run_is_a_gap_and_counted(reports):
    path = next((reports / "runs" / "toy").glob("glyphs-cpml-0.0-1.json"))
    path.unlink()
    next((reports / "runs" / "toy").glob("glyphs-soft_triple-0.0-0.json")).unlink()
    next((reports / "runs" / "toy").glob("glyphs-soft_triple-0.0-1.json")).unlink()
    rows = table_after(render(reports), "Table 1")
    assert rows["CPML"]["R@1"] == "40.0" and rows["CPML"]["n"] == "1 of 2"
    assert rows["SoftTriple"]["R@1"] == "–" and rows["SoftTriple"]["n"] == "0 of 2"


def test_an_older_configuration_is_listed_and_fills_no_cell(reports):
    old = replace(GRID[0], alpha=4.0)
    for path in (reports / "runs" / "toy").glob("glyphs-pfml-0.0-*.json"):
        path.unlink()
    write(reports, old, 0.999)
    text = render(reports)
    assert table_after(text, "Table 1")["PFML"]["R@1"] == "–"
    tables, outside = text.split("## Results outside the present configuration")
    assert "99.9" not in tables and "99.9" in outside and old.digest in outside


def test_without_any_result_the_file_still_renders(tmp_path):
    text = render(tmp_path)
    assert "PFML has no finished run yet" in text and "cannot be checked yet" in text
    assert "None: every run on disk" in text
    assert "Ours: not run (this configuration does not measure this)" in render(tmp_path, [], [])


def test_the_reading_follows_the_numbers_both_ways(reports):
    section = render(reports).split("## Table 1\n")[1].split("\n## ")[0]
    assert "PFML is 3rd of 4 in R@1 (71.0 %), 10.0 points behind the best baseline, Proxy Anchor." in section
    assert "holds here (+30.0 points)" in section
    for cell in GRID:
        if cell.method == "cpml":
            write(reports, cell, 0.95)
    section = render(reports).split("## Table 1\n")[1].split("\n## ")[0]
    assert "PFML is 4th of 4" in section and "does not hold here (-24.0 points)" in section


def test_the_noise_reading_ranks_the_drop(reports):
    section = render(reports).split("## Table 2\n")[1].split("\n## ")[0]
    assert "PFML loses 10.0 points to noise, the smallest of 4." in section
    assert "CUB-200 6.7 (the smallest of 3), Cars-196 8.2 (the smallest of 3)" in section


def test_a_gap_that_rounds_to_nothing_is_called_level():
    text = readings.standing(row(pfml=0.7, triplet=0.7002), "pfml")
    assert text == "PFML is 2nd of 2 in R@1 (70.0 %), level with the best baseline, Triplet."


def row(**values):
    return {m: ledger.Summary(v, None, 1, 1) for m, v in values.items()}


def test_w2_reading_gives_the_ratio_and_the_side_of_cpml():
    text = readings.w2_order(row(pfml=0.3, soft_triple=0.4, cpml=0.2), "W2")
    assert text == "W2: PFML's is 2nd smallest of 3, 0.750 of SoftTriple's, not below CPML's."


def test_agreement_counts_only_pairs_that_the_plot_tells_apart():
    theirs = {0.0: 68.2, 1.0: 71.1, 2.0: 71.15}
    assert readings.agreement({0.0: 10, 1.0: 20, 2.0: 5}, theirs) == ", 1 of 2 pairs of values ordered as here"
    assert readings.agreement({7.0: 1}, theirs) == ""


@pytest.mark.parametrize(("n", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")])
def test_ordinals(n, text):
    assert readings.ordinal(n) == text


@dataclasses.dataclass(frozen=True)
class FullCell(Cell):
    train: dict = dataclasses.field(default_factory=dict, hash=False)
    noise_kind: dict = dataclasses.field(default_factory=dict, hash=False)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"hold_out": True}, "NOT on the test half"),
        ({"select": "best_test"}, "not the last epoch's network but the best on the TEST classes"),
        ({"select": "best_validation"}, "not the last epoch's network but the best on validation classes"),
    ],
)
def test_what_a_table_was_measured_on_is_named(recipe, words):
    grid = [FullCell("pfml", train=recipe)]
    assert words in render_tables(ledger.split([], grid), grid, [])
    plain = render_tables(ledger.split([], GRID), GRID, [])
    assert words not in plain and "last epoch's network" not in plain


def test_another_kind_of_noise_is_named_and_not_compared_with_the_published_one():
    kinds = ({}, {"kind": "semantic"})
    uniform, semantic = (
        render_tables(ledger.split([], grid), grid, [])
        for grid in ([FullCell("pfml"), FullCell("pfml", noise=0.2, noise_kind=kind)] for kind in kinds)
    )
    assert "CUB-200 at 20 %" in uniform and "published columns at the right" in uniform
    assert "CUB-200 at 20 %" not in semantic and "semantic noise, no published numbers" in semantic
