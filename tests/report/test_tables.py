"""reports/tables.md from result files: headings, numbers in their places, gaps, readings that follow the data."""

import re
from dataclasses import replace

import pytest
from report_runs import table_after, write, write_wasserstein
from report_studies import pick, runs_of, sections_of, tables_of, text_of, toy, write_all

from pfml.report import readings
from pfml.report.files import section_text
from pfml.report.results import Summary
from pfml.report.table import Section

RECALL = {"pfml": 0.70, "cpml": 0.60, "proxy_anchor": 0.80, "soft_triple": 0.75}


@pytest.fixture
def reports(tmp_path):
    study = toy()
    write_all(tmp_path, study, RECALL)
    for run in study.runs:
        if run.axis:
            write(tmp_path, run, 0.5 + 0.1 * run.value, folder="ablation")
    write_wasserstein(tmp_path, [(c, 0.1 * (1 + c.seed), 1.0 + c.noise) for c in study.grid])
    return tmp_path


def test_headings_are_the_summary_tables_1_to_9_then_the_rest(reports):
    headings = re.findall(r"^## .*$", text_of(reports, toy()), flags=re.MULTILINE)
    assert headings == ["## Summary", *(f"## Table {i}" for i in range(1, 10)), "## Ablations", "## Beyond the paper",
                        "## Theory", "## Results outside the present configuration"]  # fmt: skip


def test_every_table_of_every_section_has_as_many_cells_as_its_header(reports):
    blocks = [block for block in text_of(reports, toy()).split("\n\n") if block.startswith("| ")]
    assert len(blocks) > 6
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def own(reports, heading, *studies):
    """The first table of our own studies."""
    text = text_of(reports, *(studies or [toy()]))
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0].split("**Study `")[1]
    return table_after(f"\n## {heading}\n{section}", heading)


def test_table_1_has_mean_and_deviation_and_the_best_in_bold(reports):
    rows = own(reports, "Table 1")
    assert rows["PFML"]["R@1"] == "71.0 ± 1.4"
    assert rows["Proxy Anchor"]["R@1"] == "**81.0 ± 1.4**"
    assert rows["CPML"]["best R@1"] == "62.0 ± 1.4" and rows["CPML"]["n"] == "2"


def test_table_2_has_clean_noisy_and_drop_with_the_published_columns_beside(reports):
    for run in pick(toy(), "pfml", 0.2):
        write(reports, run, 0.70 + 0.02 * run.seed)
    rows = own(reports, "Table 2")
    assert (rows["PFML"]["clean R@1"], rows["PFML"]["R@1 at 20 %"]) == ("71.0 ± 1.4", "**71.0 ± 1.4**")
    assert rows["Proxy Anchor"]["R@1 at 20 %"] == "**71.0 ± 1.4**"  # a tie in print: both bold
    assert rows["PFML"]["drop"] == "**0.0**" and rows["CPML"]["drop"] == "10.0"
    assert "HIST" not in rows, "nobody has run it"
    assert rows["Proxy Anchor"]["CUB-200 clean"] == "69.7" and rows["PFML"]["Cars-196 drop"] == "**8.2**"
    assert rows["SoftTriple"]["CUB-200 clean"] == ""


def test_table_3_shows_ours_and_never_a_published_value(reports):
    rows = own(reports, "Table 3")
    assert rows["PFML"]["W2 at 0 %"] == "**0.150 ± 0.071**" and rows["PFML"]["M"] == "15" and rows["PFML"]["n"] == "2"
    assert {row["published, CUB-200"] for row in rows.values()} == {"not recovered"}


def test_tables_of_other_settings_say_that_nothing_was_run(reports):
    text = text_of(reports, toy())
    for table in (6, 7):
        section = text.split(f"## Table {table}\n")[1].split("\n## ")[0]
        assert "**Not run: 54 of 102 published numbers.**" in section and "Study `" not in section
    assert "Ours: not run (no timings of `toy` as it stands" in text.split("## Table 9\n")[1].split("\n## ")[0]
    published = replace(tables_of(reports, toy())["table-4-published"], listed=True)
    assert "63.9 ± 0.3" in section_text(Section("", "", [published])) and "ProxyAnchor, HIST, Ours." in text


def test_tables_of_small_embeddings_show_their_own_rows_of_a_small_study(tmp_path):
    small, wide = toy(), toy(study="wide", model={"embedding_dim": 128})
    for study in (small, wide):
        write_all(tmp_path, study, {"pfml": 0.7, "cpml": 0.6, "soft_triple": 0.5})
    tables = tables_of(tmp_path, small, wide)
    four, five = tables["table-4-study-toy-glyphs"], tables["table-5-study-toy-glyphs"]
    assert four.header == ("Method", "R@1", "R@2", "R@4", "R@8", "best R@1", "n", "CUB-200 R@1", "Cars-196 R@1")
    assert five.header[1:5] == (
        "R@1", "R@10", "R@100", "R@1000",
    )  # fmt: skip
    rows = runs_of(four)
    assert set(rows) == {"PFML", "SoftTriple", "Proxy Anchor"}, "CPML is in neither"
    assert rows["PFML"]["R@1"].value == pytest.approx(71.0) and rows["Proxy Anchor"]["R@1"].empty
    assert runs_of(five)["PFML"]["R@10"].empty and "R@10, R@100, R@1000" in five.readings[0]
    assert four.listed and not five.listed, "the same numbers once"
    assert "Not comparable" in four.title
    assert "table-4-study-wide-glyphs" not in tables and "table-1-study-wide-glyphs" in tables


def test_the_paper_contradicts_itself_below_the_tables_concerned(reports):
    sections = sections_of(reports, toy())
    notes = {heading: section.parts[-1] for heading, section in sections.items() if section.parts}
    assert (
        "swapped" in notes["Table 1"] and "128 dimensions" in notes["Table 4"] and "128 dimensions" in notes["Table 5"]
    )
    assert "cites [22]" in notes["Table 3"] and "0.0005 in the main text" in notes["Table 8"]
    assert "α = 0" in notes["Ablations"] and "poster" in notes["Theory"]


def test_the_ablation_marks_the_default_and_sets_the_plot_of_the_paper_beside(reports):
    alphas = text_of(reports, toy()).split("**decay exponent α**")[1]
    rows = table_after(f"\n## x\n\n{alphas}", "x")
    assert rows["3 (default)"]["R@1"] == "**71.0 ± 1.4**" and rows["3 (default)"]["CUB-200 (digitised)"] == "**73.4**"
    assert rows["1"]["R@1"] == "60.0 ± 0.0" and rows["6"]["R@1"] == "" and rows["6"]["Cars-196 (digitised)"] == "92.1"


def test_an_axis_that_no_study_runs_shows_the_published_curve(reports):
    section = sections_of(reports, toy())["Ablations"]
    names = [table.name for table in section.tables]
    assert names == [
        "ablation-proxies_per_class-published", "ablation-delta-published", "ablation-alpha-toy",
        "ablation-delta_gap-published",
    ]  # fmt: skip


def test_a_missing_run_is_a_gap_and_counted(reports):
    for name in ("cpml-0.0-1", "soft_triple-0.0-0", "soft_triple-0.0-1"):
        (reports / "runs/toy" / f"glyphs-{name}.json").unlink()
    rows = own(reports, "Table 1")
    assert rows["CPML"]["R@1"] == "60.0" and rows["CPML"]["n"] == "1 of 2"
    assert rows["SoftTriple"]["R@1"] == rows["SoftTriple"]["n"] == ""


def test_without_any_result_the_file_still_renders(tmp_path):
    text = text_of(tmp_path, toy())
    assert "Not run yet: `toy`." in text and "**Not run: 278 of 278 published numbers.**" in text
    assert "None: every run on disk" in text and "**R@1 against the noise rate**: not run." in text
    assert "Table 9" in text_of(tmp_path, toy(grid={"noise": [0.2]}, ablation={"alpha": []}))


def test_the_reading_follows_the_numbers_both_ways(reports):
    section = text_of(reports, toy()).split("## Table 1\n")[1].split("\n## ")[0]
    assert "PFML is 3rd of 4 in R@1 (71.0 %), 10.0 points behind the best baseline, Proxy Anchor." in section
    for run in pick(toy(), "cpml"):
        write(reports, run, 0.95)
    section = text_of(reports, toy()).split("## Table 1\n")[1].split("\n## ")[0]
    assert "PFML is 4th of 4" in section


def test_the_noise_reading_ranks_the_drop(reports):
    for run in pick(toy(), "pfml", 0.2):
        write(reports, run, 0.65 + 0.02 * run.seed)
    section = text_of(reports, toy()).split("## Table 2\n")[1].split("\n## ")[0]
    assert "PFML loses 5.0 points to noise, the smallest of 4." in section


def test_a_gap_that_rounds_to_nothing_is_called_level():
    text = readings.standing(row(pfml=0.7, triplet=0.7002), "pfml")
    assert text == "PFML is 2nd of 2 in R@1 (70.0 %), level with the best baseline, Triplet."


def row(**values):
    return {m: Summary(v, None, 1, 1) for m, v in values.items()}


def test_w2_reading_gives_the_ratio_and_the_side_of_cpml():
    text = readings.w2_order(row(pfml=0.3, soft_triple=0.4, cpml=0.2), "W2")
    assert text == "W2: PFML's is 2nd smallest of 3, 0.750 of SoftTriple's, not below CPML's."


@pytest.mark.parametrize(("n", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")])
def test_ordinals(n, text):
    assert readings.ordinal(n) == text


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"hold_out": True}, "NOT on the test half"),
        ({"select": "best_test"}, "not the last epoch's network but the best on the TEST classes"),
        ({"hold_out": True, "select": "best_validation"}, "not the last epoch's network but the best on validation"),
    ],
)
def test_what_a_table_was_measured_on_is_named(tmp_path, recipe, words):
    texts = []
    for study in (toy(train=recipe), toy()):
        write_all(tmp_path, study, RECALL)
        texts.append(text_of(tmp_path, study))
    found, plain = texts
    assert words in found
    assert words not in plain and "last epoch's network" not in plain


def test_another_kind_of_noise_is_named_and_not_compared_with_the_published_one(tmp_path):
    texts = []
    for kind in ("uniform", "pairflip"):
        study = toy(noise={"kind": kind})
        write_all(tmp_path, study, RECALL)
        texts.append(text_of(tmp_path, study))
    uniform, pairflip = texts
    assert "CUB-200 at 20 %" in uniform and "published columns at the right" in uniform
    assert "CUB-200 at 20 %" not in pairflip and "pairflip noise, no published numbers" in pairflip
