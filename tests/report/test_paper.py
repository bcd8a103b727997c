"""The published numbers: cells copied by hand from the paper's text, and what must stay unknown."""

import pytest

from pfml import paper
from pfml.paper import published, published_value


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
