"""Tables 6 and 7 beside the published numbers: the verdict over repeats, what may be compared, what stays empty."""

import copy
from collections import Counter

import pytest
from report_studies import tables_of
from test_fold_tables import write

from pfml.report.published import paper
from pfml.report.results import study_of
from pfml.settings.load import params_from
from pfml.settings.overlay import merge
from pfml.settings.presets import read_preset
from tests.conftest import ROOT

SMALL = {"grid": {"seed": [0, 1]}, "mlrc": {"field": ["pfml"], "baseline": ["contrastive", "arcface"]}}
PUBLISHED = 59.73  # contrastive, CUB-200, separated R@1


@pytest.fixture
def study(raw, monkeypatch):
    """The protocol's preset for CUB-200 with three methods and two repeats; `recipe`: changes of the dataset's own."""
    monkeypatch.chdir(ROOT)

    def _study(recipe=None, **changes):
        settings = merge(merge(merge(raw, read_preset("mlrc-cub200")), copy.deepcopy(SMALL)), changes)
        for section, values in (recipe or {}).items():
            settings["recipe"]["cub200"][section] |= values
        return study_of(params_from(settings, "mlrc-cub200"))

    return _study


def repeat(reports, study, method, seed, **measures):
    write(reports, [c for c in study.folds if (c.method, c.seed) == (method, seed)], **measures)


def rows_of(table):
    """(network, method) -> its row of R@1."""
    rows = [dict(zip(table.header, row)) for row in table.rows]
    return {(row["Network"].text, row["Method"].text): row for row in rows if row["measure"].text == "R@1"}


def contrastive(reports, study):
    return rows_of(tables_of(reports, study)["table-6-compared"])["separated 128-d", "Contrastive"]


@pytest.mark.parametrize(
    ("points", "difference", "word"),
    [
        ((0.5, 0.5), 0.5, "reproduced"),
        ((0.51, 0.51), 0.51, "above"),
        ((-0.51, -0.51), -0.51, "below"),
        ((-1.5, -0.5), -1.0, "reproduced"),  # std 0.71: 1.0 is within twice that
        ((-2.5, -1.5), -2.0, "below"),  # and 2.0 is not, though it is within Student's interval of two repeats, ± 6.4
        ((1.5, 2.5), 2.0, "above"),
    ],
)
def test_difference_and_verdict_of_repeats_beside_a_published_number(study, tmp_path, points, difference, word):
    found = study()
    for seed, point in enumerate(points):
        repeat(tmp_path, found, "contrastive", seed, **{"separated_recall@1": (PUBLISHED + point) / 100})
    row = contrastive(tmp_path, found)
    assert row["difference"].value == pytest.approx(difference) and row["published"].value == PUBLISHED
    assert row["verdict"].text == f"{word}: the published number is recalled" and row["published"].mark == "recalled"
    assert row["ours"].value == pytest.approx(PUBLISHED + difference)
    assert row["ours"].std == pytest.approx((points[1] - points[0]) / 2**0.5, abs=1e-9)
    assert row["n"].value == 2
    counts = rows_of_counts(tables_of(tmp_path, found))
    assert counts["Table 6"][word] >= 1 and counts["Table 6"]["published numbers"] == 102


def rows_of_counts(tables):
    table = tables["summary-verdicts"]
    return {row[0].text: dict(zip(table.header, (entry.value for entry in row))) for row in table.rows}


def test_every_published_row_has_its_line_in_the_papers_order(study, tmp_path):
    found = study()
    for table in (6, 7):
        rows = rows_of(tables_of(tmp_path, found)[f"table-{table}-compared"])
        for network, dim in (("separated 128-d", 128), ("concatenated 512-d", 512)):
            printed = [p.method for p in paper.published(table, dim=dim, metric="recall@1")]
            assert [method for place, method in rows if place == network] == printed


def test_rows_with_a_repeat_are_listed_with_every_measure(study, tmp_path):
    found = study()
    assert "table-6-run" not in tables_of(tmp_path, found)
    repeat(tmp_path, found, "arcface", 1, **{"concatenated_map@r": 0.2645, "separated_r_precision": 0.4})
    table = tables_of(tmp_path, found)["table-6-run"]
    rows = {(r[1].text, r[2].text, r[3].text): dict(zip(table.header, r)) for r in table.rows}
    assert len(rows) == 6 and {method for _, method, _ in rows} == {"ArcFace"}
    joined = rows["concatenated 512-d", "ArcFace", "MAP@R"]
    assert joined["difference"].value == pytest.approx(0.0) and joined["verdict"].text.startswith("reproduced")
    assert rows["separated 128-d", "ArcFace", "R-Prec."]["difference"].value == pytest.approx(40 - 32.37)
    assert joined["n"].text == "1 of 2" and joined["ours"].std is None


def test_a_lost_number_gets_ours_beside_it_and_no_difference(study, tmp_path):
    found = study()
    repeat(tmp_path, found, "pfml", 0, **{"separated_recall@1": 0.66})
    row = rows_of(tables_of(tmp_path, found)["table-6-compared"])["separated 128-d", "Ours"]
    assert row["ours"].value == pytest.approx(66) and row["difference"].empty
    assert row["verdict"].text == "not comparable: published number not recovered"


def test_a_removed_repeat_empties_its_cells_and_no_other(study, tmp_path):
    found = study()
    for method in ("contrastive", "arcface"):
        repeat(tmp_path, found, method, 0)
    before = rows_of(tables_of(tmp_path, found)["table-6-compared"])
    next((tmp_path / "runs/mlrc-cub200/mlrc").glob("*contrastive-0.json")).unlink()
    tables = tables_of(tmp_path, found)
    after = rows_of(tables["table-6-compared"])
    for place, row in after.items():
        if place[1] != "Contrastive":
            assert row == before[place]
            continue
        assert not before[place]["ours"].empty and not before[place]["difference"].empty
        assert all(row[key].empty for key in ("ours", "difference", "n"))
        assert row["verdict"].text == "not run"
    assert {row[2].text for row in tables["table-6-run"].rows} == {"ArcFace"}


def test_without_a_run_nothing_is_filled(study, tmp_path):
    tables = tables_of(tmp_path, study())
    rows = rows_of(tables["table-6-compared"])
    assert all(row[key].empty for row in rows.values() for key in ("ours", "difference", "n"))
    words = Counter(row["verdict"].text for row in rows.values())
    assert words == {
        "not run": 4, "not run: in no study": 14, "not comparable: published number not recovered": 16,
    }  # fmt: skip
    counts = rows_of_counts(tables)["Table 6"]
    assert (counts["not run"], counts["not comparable"]) == (54, 48)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"split": {"folds": 2}, "mlrc": {"fold": [0, 1]}}, "4 networks of 128 dimensions"),
        ({"recipe": {"model": {"embedding_dim": 64}}}, "4 networks of 128 dimensions"),
        ({"recipe": {"model": {"backbone": "resnet50.tv_in1k"}}}, "BN-Inception with published weights"),
        ({"recipe": {"model": {"weights": None}}}, "BN-Inception with published weights"),
    ],
)
def test_other_networks_and_folds_stand_below_and_are_not_compared(study, tmp_path, changes, reason):
    found = study(**changes)
    repeat(tmp_path, found, "contrastive", 0)
    tables = tables_of(tmp_path, found)
    row = contrastive(tmp_path, found)
    assert row["ours"].empty and row["verdict"].text == "not run: in no study"
    (own,) = [table for name, table in tables.items() if name.startswith("table-6-mlrc-cub200-")]
    assert f"Not comparable with any published number: Tables 6 and 7 are of {reason}." in own.title


def test_two_studies_of_one_configuration_are_one_row_and_of_two_are_two(study, tmp_path):
    first, same = study(), study(study="again")
    other = study(study="other", recipe={"train": {"patience": 2}})
    repeat(tmp_path, first, "contrastive", 0)
    table = tables_of(tmp_path, first, same, other)["table-6-compared"]
    rows = [dict(zip(table.header, row)) for row in table.rows if row[2].text == "Contrastive" and row[3].text == "R@1"]
    found = [(row["Study"].text, row["n"].text) for row in rows if row["Network"].text == "separated 128-d"]
    assert found == [("`mlrc-cub200` `again`", "1 of 2"), ("`other`", "")]
