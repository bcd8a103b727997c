"""The published numbers: runs copied by hand from the paper's text, and what must stay unknown."""

from collections import Counter

import pytest

from pfml.report.published import paper
from pfml.report.published.paper import published, published_value


@pytest.mark.parametrize(
    ("table", "wanted", "value", "std"),
    [
        (1, dict(backbone="resnet50", key="pfml", dataset="cub200", metric="recall@1"), 73.4, 0.3),
        (1, dict(backbone="resnet50", key="pfml", dataset="sop", metric="recall@100"), 96.8, 0.1),
        (1, dict(backbone="resnet50", key="cpml", dataset="cars196", metric="recall@1"), 85.2, None),
        (1, dict(backbone="bninception", method="MS+DAS", dataset="cub200", metric="recall@2"), 78.11, None),
        (1, dict(backbone="bninception", key="pfml", dataset="cars196", metric="recall@4"), 96.3, 0.1),
        (1, dict(backbone="dino", method="HIER", dataset="sop", metric="recall@10"), 94.6, None),
        (1, dict(backbone="vit", key="pfml", dataset="cub200", metric="recall@2"), 92.6, 0.2),
        (1, dict(backbone="resnet50", method="Proxy NCA++", dataset="cars196", metric="recall@1"), 85.1, None),
        (2, dict(method="HIST", dataset="cars196", metric="recall@2", noise=0.2), 81.8, None),
        (2, dict(key="pfml", dataset="cars196", metric="recall@1"), 84.5, 0.5),
        (4, dict(key="pfml", dataset="cub200", metric="recall@8"), 90.1, 0.1),
        (4, dict(method="ProxyGML", dataset="cars196", metric="recall@2"), 87.5, None),
        (5, dict(method="MultiSimilarity", metric="recall@1000"), 98.2, None),
        (8, dict(metric="batch", dataset="sop", backbone="bninception"), 180, None),
        (9, dict(at=30), 14.8, None),
        ("3c", dict(dataset="cub200", at=0), 68.2, None),
        ("3d", dict(dataset="cars196", at=0.25), 83.2, None),
    ],
)
def test_cells_of_the_paper(table, wanted, value, std):
    (found,) = published(table, **wanted)
    assert (found.value, found.std) == (value, std)


def test_what_is_lost_stays_empty():
    assert len(published(3)) == 5
    for number in (*published(3), *published(6, key="pfml"), *published(7, method="HIST")):
        assert number.value is None and number.source == "not found" and not number.recovered


def test_a_printed_dash_is_not_a_lost_number():
    (dash,) = published(1, key="proxy_anchor", backbone="resnet50", dataset="sop", metric="recall@1")
    assert dash.value is None and dash.recovered


def test_numbers_from_memory_say_so():
    assert {p.source for p in published(6) if p.value is not None} == {"recalled"}
    assert {p.source for p in published() if p.table in ("3a", "3b", "3c", "3d")} == {"digitised"}
    assert {p.source for p in published()} <= set(paper.SOURCES)


def test_percentages_lie_between_0_and_100_and_recall_rises_with_k():
    rows: dict = {}
    for p in published():
        if p.metric.startswith("recall@") and p.value is not None:
            assert 0 < p.value < 100
            row = (p.table, p.method, p.dataset, p.backbone, p.dim, p.at)
            rows.setdefault(row, []).append((int(p.metric.split("@")[1]), p.value))
    for row, values in rows.items():
        assert values == sorted(values) and len({v for _, v in values}) == len(values), row


def test_figure_3_meets_table_1_at_the_default_setting():
    for axis, default in (("proxies_per_class", 15), ("delta", 0.2), ("alpha", 3), ("delta_gap", 0)):
        for dataset in ("cub200", "cars196"):
            (point,) = [p for p in paper.figure3(axis) if p.dataset == dataset and p.at == default]
            where = dict(key="pfml", dataset=dataset, backbone="resnet50", metric="recall@1")
            assert point.value == published_value(1, **where)


def test_every_table_has_a_title_and_a_caption():
    tables = {p.table for p in published() if isinstance(p.table, int)}
    assert tables == set(paper.TITLES) == set(paper.CAPTIONS) == set(range(1, 10))


def test_a_misspelt_field_or_an_ambiguous_question_is_refused():
    with pytest.raises(ValueError, match="datset"):
        published(1, datset="cub200")
    with pytest.raises(ValueError, match="expected one number"):
        published_value(1, key="pfml")


@pytest.mark.parametrize(
    ("table", "counts"),
    [
        (1, {"paper": 306}), (2, {"paper": 24}), (3, {"not found": 5}), (4, {"paper": 88}), (5, {"paper": 40}),
        (6, {"recalled": 54, "not found": 48}), (7, {"recalled": 54, "not found": 48}),
        (8, {"paper": 30, "third-party": 4, "not found": 8}), (9, {"paper": 5}),
        ("3a", {"digitised": 14}), ("3b", {"digitised": 12}), ("3c", {"digitised": 14}), ("3d", {"digitised": 14}),
    ],
)  # fmt: skip
def test_every_number_is_there_with_its_source(table, counts):
    """34 rows of 9 columns in Table 1, 6 of 4, 5 of 1, 11 of 8, 10 of 4, 17 of 6 twice, 7 of 6, 5."""
    assert Counter(p.source for p in published(table)) == counts


@pytest.mark.parametrize(("table", "dashes", "spreads"), [(1, 28, 36), (2, 0, 4), (4, 4, 8), (5, 7, 4)])
def test_printed_dashes_and_deviations_are_counted(table, dashes, spreads):
    found = published(table)
    assert sum(p.value is None for p in found) == dashes
    assert sum(p.std is not None for p in found) == spreads
    assert {p.key for p in found if p.std is not None} == {"pfml"}


def test_numbers_of_memory_are_those_of_the_protocols_paper():
    wanted = dict(key="arcface", dim=128, metric="map@r")
    assert (published_value(6, **wanted), published_value(7, **wanted)) == (21.49, 17.11)


def test_every_inconsistency_has_a_place():
    notes = paper.footnotes()
    places = {place for note in notes for place in note.places}
    assert places == {1, 2, 3, 4, 5, 8, "figure 1", "figure 3"} and len(notes) == 10
    assert all(note.text.endswith((".", ")")) for note in notes)
    assert paper.footnotes(7) == () and len(paper.footnotes(4)) == 1


def test_what_the_text_states_of_lost_numbers_fits_the_tables_that_are_not_lost():
    gaps = {(s.table, s.method, s.other): s.value for s in paper.statements(6) + paper.statements(7)}
    assert gaps == {
        (6, "pfml", "MultiSimilarity"): 4.8, (6, "pfml", "hist"): 1.1, (6, "hist", "best earlier"): 1.1,
        (7, "pfml", "MultiSimilarity"): 7.4, (7, "pfml", "hist"): 1.9, (7, "hist", "best earlier"): 1.5,
    }  # fmt: skip
    assert {s.metric: s.source for s in paper.settings()} == {
        "epochs": "paper", "lr": "third-party", "proxies_per_class": "third-party", "alpha": "third-party",
        "delta": "third-party",
    }  # fmt: skip
