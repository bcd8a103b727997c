"""Ours beside the published: the rule of the verdict, what may be compared, and the paper's own order."""

import pytest
from report_runs import write
from report_studies import pick, preset, runs_of, sections_of, tables_of, together, toy, write_all

from pfml.report.names import dataset_name, metric_name
from pfml.report.published import paper
from pfml.report.results import Summary
from pfml.report.verdicts import WORDS, count_verdicts, incomparable, rows_of, verdict

PFML = paper.published(1, key="pfml", dataset="cub200", backbone="resnet50", metric="recall@1")[0]  # 73.4 ± 0.3
HIST = paper.published(1, key="hist", dataset="cub200", backbone="resnet50", metric="recall@1")[0]  # 71.4


@pytest.mark.parametrize(
    ("theirs", "mean", "std", "word"),
    [
        (HIST, 0.714, None, "reproduced"),
        (HIST, 0.719, None, "reproduced"),  # 0.5 points, no deviation known
        (HIST, 0.7191, None, "above"),
        (HIST, 0.7089, None, "below"),
        (HIST, 0.704, 0.005, "reproduced"),  # 1.0 is 2 of ours
        (HIST, 0.7039, 0.005, "below"),
        (PFML, 0.728, None, "reproduced"),  # 0.6 is 2 of theirs
        (PFML, 0.7279, None, "below"),
        (PFML, 0.724, 0.004, "reproduced"),  # sqrt(0.3² + 0.4²) = 0.5, twice
        (PFML, 0.7239, 0.004, "below"),
    ],
)
def test_reproduced_is_within_two_combined_deviations_or_half_a_point(theirs, mean, std, word):
    found = verdict(theirs, Summary(mean, std, 2 if std else 1, 5))
    assert found.word == word and found.difference == pytest.approx(100 * mean - theirs.value)


def test_what_was_not_run_says_why():
    nothing = Summary(None, None, 0, 5)
    assert verdict(HIST, nothing).text == "not run" and verdict(HIST, None).text == "not run: in no study"
    unknown = paper.published(1, method="HSE-PA", dataset="cub200", backbone="resnet50", metric="recall@1")[0]
    assert verdict(unknown, None).text == "not run: no such method here"


@pytest.mark.parametrize(
    ("table", "wanted", "text"),
    [
        (3, {"key": "pfml"}, "not comparable: published number not recovered"),
        (8, {"metric": "lr"}, "not comparable: read by a third party"),
    ],
)
def test_a_doubtful_published_number_is_compared_with_nothing(table, wanted, text):
    assert verdict(paper.published(table, **wanted)[0], Summary(0.7, 0.01, 5, 5)).text == text


def test_a_recalled_number_is_compared_and_the_verdict_says_so():
    triplet = paper.published(6, key="triplet", dim=512, metric="recall@1")[0]  # 64.24
    assert verdict(triplet, Summary(0.7, 0.01, 5, 5)).text == "above: the published number is recalled"
    assert verdict(triplet, Summary(None, None, 0, 5)).text == "not run"


def test_a_single_run_answers_no_number_of_a_cross_validation(tmp_path):
    """Though its network and dimensions are those of the joined networks of Table 6."""
    found = together(tmp_path, preset("cub200-bninception"))
    assert {row.studies for row in rows_of(paper.published(6), found)} == {()}
    own = paper.published(1, backbone="bninception", key="soft_triple", dataset="cub200", metric="recall@1")
    assert [row.studies for row in rows_of(own, found)] == [("cub200-bninception",)]


def test_a_printed_dash_gets_no_verdict():
    (dash,) = paper.published(1, key="proxy_anchor", backbone="resnet50", dataset="sop", metric="recall@1")
    assert verdict(dash, Summary(0.7, None, 1, 1)).word == ""


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        (toy(), "glyphs is no dataset of the paper"),
        (toy(grid={"dataset": ["omniglot"]}), "omniglot is no dataset of the paper"),
        (preset("cub200-noise"), ""),
        (preset("sop-64d"), ""),
        (preset("cars196-vit"), ""),
        (preset("cub200-noise", train={"hold_out": True}), "measured on validation classes"),
        (preset("cub200-vit", recipe={"cub200": {"model": {"backbone": "deit_small", "weights": "pretrained"}}}),
         "the paper has no deit_small"),
        (preset("cub200-noise", recipe={"cub200": {"model": {"backbone": "resnet50.tv_in1k", "weights": None}}}),
         "the paper has no resnet50.tv_in1k with these weights"),
        (preset("cub200-noise", recipe={"cub200": {"model": {
            "backbone": "resnet50.tv_in1k", "weights": "pretrained", "embedding_dim": 128}}}),
         "the paper has no resnet50.tv_in1k of 128 dimensions on CUB-200"),
    ],
)  # fmt: skip
def test_what_may_not_be_compared_is_told_by_the_runs_themselves(study, reason):
    assert incomparable(study.grid) == reason


def test_another_network_weight_noise_or_dimension_answers_no_published_row(tmp_path):
    for changes in ({"noise": {"kind": "pairflip"}}, {"train": {"hold_out": True}}):
        rows = rows_of(paper.published(2), together(tmp_path, preset("cub200-noise", **changes)))
        assert {row.studies for row in rows} == {()}
    rows = rows_of(paper.published(2), together(tmp_path, preset("cub200-noise")))
    assert {row.studies for row in rows if row.theirs.dataset == "cub200"} == {("cub200-noise",)}


@pytest.mark.parametrize("table", [1, 2, 4, 5])
def test_every_published_row_has_its_line_in_the_papers_order(tmp_path, table):
    tables = tables_of(tmp_path, toy())
    whole = tables[f"table-{table}-compared"]
    printed = [(dataset_name(p.dataset), p.method, metric_name(p.metric)) for p in paper.published(table)]
    assert [tuple(row[i].text for i in (0, 2, 3)) for row in whole.rows] == printed
    assert not whole.listed and f"table-{table}-run" not in tables


def compared(tables, table, label="HIST", what="compared"):
    """(network, measure) -> rows of a method on CUB-200, entries by heading."""
    found = tables[f"table-{table}-{what}"]
    rows = [dict(zip(found.header, row)) for row in found.rows]
    rows = [row for row in rows if (row["Dataset"].text, row["Method"].text) == ("CUB-200", label)]
    places = dict.fromkeys((row["Network"].text, row["measure"].text) for row in rows)
    return {p: [row for row in rows if (row["Network"].text, row["measure"].text) == p] for p in places}


def test_a_compared_row_has_both_epochs_difference_and_verdict(tmp_path):
    study = preset("cub200-noise")
    write_all(tmp_path, study, {"hist": 0.697})
    tables = tables_of(tmp_path, toy(), study)
    (row,) = compared(tables, 2)["resnet50 512-d", "R@1"]
    assert row["last epoch"].value == pytest.approx(60.7) and row["last epoch"].std == pytest.approx(2**0.5)
    assert row["best epoch"].value == pytest.approx(61.7) and row["published"].value == 59.7
    assert row["difference"].value == pytest.approx(1.0) and row["verdict"].text == "reproduced"
    assert row["n"].value == 2
    (row,) = compared(tables, 2)["resnet50 512-d", "R@2"]
    assert (row["published"].value, row["verdict"].text) == (74.6, "below") and row["best epoch"].empty
    (row,) = compared(tables, 2, "PA")["resnet50 512-d", "R@1"]
    assert row["verdict"].text == "not run" and row["last epoch"].empty


def test_rows_that_nobody_has_run_are_one_line(tmp_path):
    study = preset("cub200-noise")
    write_all(tmp_path, study, {"hist": 0.697})
    section = sections_of(tmp_path, toy(), study, preset("cars196-noise"))["Table 2"]
    shown = next(table for table in section.tables if table.name == "table-2-run")
    assert shown.listed and [row[2].text for row in shown.rows] == ["HIST", "HIST"]
    runs = "`make repro PRESET=<name>` runs `cub200-noise` 10, `cars196-noise` 12."
    assert section.parts[1] == f"**Not run: 22 of 24 published numbers.** {runs}"


def test_a_run_that_two_studies_share_is_one_row_and_two_settings_are_two(tmp_path):
    clean, noisy = preset("cub200-resnet50"), preset("cub200-noise")
    write_all(tmp_path, clean, {"hist": 0.7})
    (row,) = compared(tables_of(tmp_path, toy(), clean, noisy), 1)["resnet50 512-d", "R@1"]
    assert row["Study"].text == "`cub200-resnet50` `cub200-noise`" and row["last epoch"].value == pytest.approx(71.0)
    other = preset("cub200-noise", study="other", train={"ema": 0.9})
    rows = compared(tables_of(tmp_path, toy(), clean, other), 1)["resnet50 512-d", "R@1"]
    found = [(row["Study"].text, row["last epoch"].empty) for row in rows]
    assert found == [("`cub200-resnet50`", False), ("`other`", True)]


def test_verdicts_are_counted_once_for_every_published_number(tmp_path):
    study = preset("cub200-noise")
    write_all(tmp_path, study, {"hist": 0.697, "pfml": 0.9})
    studies = together(tmp_path, study, preset("cub200-noise", study="again"))
    counts = count_verdicts(rows_of(paper.published(2), studies))
    assert dict(counts) == {"reproduced": 1, "below": 1, "above": 2, "not run": 20}
    assert sum(count_verdicts(rows_of(paper.published(6), together(tmp_path, study))).values()) == 102
    assert set(counts) <= set(WORDS)


def test_figure_3_is_judged_where_the_images_and_the_network_are_the_papers(tmp_path):
    study = preset("cub200-resnet50")
    for run in study.runs:
        if run.axis == "alpha" and run.value == 0:
            write(tmp_path, run, 0.682 + 0.001 * run.seed, folder="ablation")
    rows = runs_of(tables_of(tmp_path, toy(), study)["ablation-alpha-cub200-resnet50"])
    assert rows["0"]["verdict"].text == "reproduced" and rows["1"]["verdict"].text == "not run"
    write_all(tmp_path, toy(), {"pfml": 0.7})
    assert "verdict" not in runs_of(tables_of(tmp_path, toy(), study)["ablation-alpha-toy"])["0"]
    assert "not comparable: glyphs" in tables_of(tmp_path, toy(), study)["ablation-alpha-toy"].title
    counts = runs_of(tables_of(tmp_path, toy(), study)["summary-verdicts"])["Figure 3"]
    assert (counts["reproduced"].value, counts["not run"].value) == (1, 53)


def test_a_study_of_ours_is_said_to_be_incomparable_once(tmp_path):
    write_all(tmp_path, toy(), {"pfml": 0.7})
    section = sections_of(tmp_path, toy())["Table 1"]
    said = [table.title for table in section.tables if "Not comparable" in table.title]
    assert len(said) == 1 and "glyphs is no dataset of the paper" in said[0]
    assert pick(toy(), "pfml")
