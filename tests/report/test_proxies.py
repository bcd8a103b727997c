"""Table 3's ratio of W2 beside the published one: paired by seed, judged on the paper's own images alone."""

import pytest
from report_runs import write, write_wasserstein
from report_studies import pick, preset, tables_of, toy

PAPER = "cub200-resnet50"
METHODS = ("pfml", "soft_triple", "cpml")


def measure(reports, study, values):
    """Runs and W2 of (method, seed) -> W2, clean labels."""
    rows = []
    for (method, seed), w2 in values.items():
        (run,) = pick(study, method, 0.0, seed)
        write(reports, run, 0.5)
        rows.append((run, w2, 1.0))
    write_wasserstein(reports, rows, study.name)


def ratios(reports, *studies):
    """(study, other method) -> row."""
    table = tables_of(reports, *studies)["table-3-ratio"]
    return {(row[0].text.strip("`"), row[3].text): dict(zip(table.header, row)) for row in table.rows}


def counted(reports, *studies):
    table = tables_of(reports, *studies)["summary-verdicts"]
    return {row[0].text: dict(zip(table.header, (entry.value for entry in row))) for row in table.rows}["Table 3"]


@pytest.mark.parametrize(
    ("found", "difference", "word"),
    [
        ((0.667, 0.667), 0.0, "reproduced"),
        ((0.672, 0.672), 0.005, "reproduced"),  # half a point
        ((0.673, 0.673), 0.006, "above"),
        ((0.661, 0.661), -0.006, "below"),
        ((0.637, 0.657), -0.02, "reproduced"),  # std 0.0141, twice 0.0283
        ((0.617, 0.637), -0.04, "below"),
        ((0.697, 0.717), 0.04, "above"),
    ],
)
def test_difference_and_verdict_of_the_ratio_on_the_papers_images(tmp_path, found, difference, word):
    study = preset(PAPER)
    values = {("soft_triple", seed): 2.0 + seed for seed in (0, 1)}  # of other sizes by seed: ratios are within a seed
    values |= {("pfml", seed): ratio * (2.0 + seed) for seed, ratio in enumerate(found)}
    measure(tmp_path, study, values)
    row = ratios(tmp_path, study)[PAPER, "SoftTriple"]
    assert row["published"].value == 0.667 and row["ours"].value == pytest.approx(0.667 + difference)
    assert row["ours"].std == pytest.approx((found[1] - found[0]) / 2**0.5, abs=1e-9)
    assert row["difference"].value == pytest.approx(difference, abs=1e-9) and row["verdict"].text == word
    assert row["n"].value == 2
    counts = counted(tmp_path, study)
    assert (counts[word], counts["published numbers"], counts["not comparable"], counts["not run"]) == (1, 6, 5, 0)


def test_only_seeds_that_both_have_make_a_ratio(tmp_path):
    study = preset(PAPER)
    measure(tmp_path, study, {("pfml", 0): 1.0, ("pfml", 1): 0.5, ("soft_triple", 1): 1.0})
    row = ratios(tmp_path, study)[PAPER, "SoftTriple"]
    assert row["ours"].value == pytest.approx(0.5) and row["ours"].std is None and row["n"].text == "1 of 2"


def test_cpml_has_a_ratio_and_no_verdict(tmp_path):
    study = preset(PAPER)
    measure(tmp_path, study, {("pfml", 0): 0.8, ("cpml", 0): 1.0})
    rows = ratios(tmp_path, study)
    assert rows[PAPER, "CPML"]["ours"].value == pytest.approx(0.8)
    assert rows[PAPER, "CPML"]["verdict"].text == "" and rows[PAPER, "CPML"]["published"].text == "below 1"
    assert rows[PAPER, "SoftTriple"]["ours"].empty and rows[PAPER, "SoftTriple"]["verdict"].text == "not run"


def test_of_other_images_a_ratio_and_a_difference_and_no_verdict(tmp_path):
    study = toy()
    measure(tmp_path, study, {(method, seed): w2 for seed in (0, 1) for method, w2 in zip(METHODS, (0.667, 1.0, 1.0))})
    row = ratios(tmp_path, study)["toy", "SoftTriple"]
    assert row["ours"].value == pytest.approx(0.667) and row["difference"].value == pytest.approx(0.0)
    assert row["verdict"].text == "not comparable: glyphs is no dataset of the paper"
    counts = counted(tmp_path, study)
    assert (counts["reproduced"], counts["not run"], counts["not comparable"]) == (0, 1, 5)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("cub200-64d", "Table 3 is of CUB-200 with a resnet50 of 512 dimensions"),
     ("cars196-bninception", "Table 3 is of CUB-200 with a resnet50 of 512 dimensions")],
)  # fmt: skip
def test_other_tables_of_the_paper_are_not_table_3(tmp_path, name, reason):
    study = preset(name)
    assert (name, "SoftTriple") not in ratios(tmp_path, study)
    measure(tmp_path, study, {("pfml", 0): 0.667, ("soft_triple", 0): 1.0})
    rows = ratios(tmp_path, study)
    assert rows[name, "SoftTriple"]["verdict"].text == f"not comparable: {reason}"
    assert rows["", "SoftTriple"]["verdict"].text == "not run: in no study"


def test_two_readings_of_the_measure_make_no_ratio_that_is_judged(tmp_path):
    study = preset(PAPER)
    measure(tmp_path, study, {("pfml", 0): 0.667, ("soft_triple", 0): 1.0})
    assert ratios(tmp_path, study)[PAPER, "SoftTriple"]["verdict"].text == "reproduced"
    write_wasserstein(tmp_path, [(*pick(study, "soft_triple", 0.0, 0), 1.0, 1.0)], PAPER, "nearest")
    assert "two readings" in ratios(tmp_path, study)[PAPER, "SoftTriple"]["verdict"].text


def test_a_removed_run_empties_its_ratio_and_no_other(tmp_path):
    study = preset(PAPER)
    measure(tmp_path, study, dict(zip(((m, 0) for m in METHODS), (0.6, 1.0, 2.0))))
    before = ratios(tmp_path, study)
    (run,) = pick(study, "soft_triple", 0.0, 0)
    (tmp_path / "runs" / PAPER / f"{run.name}.json").unlink()
    after = ratios(tmp_path, study)
    assert before[PAPER, "SoftTriple"]["ours"].value == pytest.approx(0.6)
    gone = after[PAPER, "SoftTriple"]
    assert all(gone[key].empty for key in ("ours", "difference", "n", "M"))
    assert gone["verdict"].text == "not run" and after[PAPER, "CPML"] == before[PAPER, "CPML"]


def test_without_a_run_nothing_is_filled(tmp_path):
    for studies in ([toy()], [preset(PAPER)]):
        rows = ratios(tmp_path, *studies)
        assert rows and all(row[key].empty for row in rows.values() for key in ("ours", "difference", "n"))
        assert {row["verdict"].text for row in rows.values()} <= {"not run", "not run: in no study", ""}
