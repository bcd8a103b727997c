"""A run without a result is empty: taking one result away empties its cells, in every table and file, and no other."""

import pytest
from report_runs import write, write_wasserstein
from report_studies import pick, preset, tables_of, together, toy, write_all

from pfml.report.document import report_sections
from pfml.report.files import write_tables

RECALL = {"pfml": 0.70, "cpml": 0.60, "proxy_anchor": 0.80, "soft_triple": 0.75, "hist": 0.55}
UNIQUE = {"recall@1": 0.617283, "recall@2": 0.637281, "recall@4": 0.657289, "recall@8": 0.677287,
          "best_recall@1": 0.627284, "map@r": 0.317286, "r_precision": 0.417285, "seconds": 1234.57,
          "mlflow_run": "cafe1234" * 4}  # fmt: skip
VICTIMS = {  # study, method, noise, further -> how the rows that may change are called
    "a clean run": ("toy", "soft_triple", 0.0, {}, {"SoftTriple"}),
    "a noisy run": ("toy", "cpml", 0.2, {}, {"CPML"}),
    "an ablation point": ("toy", "pfml", 0.0, {"axis": "alpha", "value": 1}, {"1"}),
    "a row of the paper": ("cub200-noise", "hist", 0.2, {}, {"HIST"}),
}


def study(name):
    one_seed = {"grid": {"seed": [0]}}
    return toy(**one_seed) if name == "toy" else preset(name, **one_seed)


@pytest.fixture(params=VICTIMS)
def victim(request, tmp_path):
    """Every run of two studies on disk, one of them with numbers of its own: (folder, its file, names of its rows)."""
    for name in ("toy", "cub200-noise"):
        write_all(tmp_path, study(name), RECALL)
    write_wasserstein(tmp_path, [(run, 0.25, 1.5) for run in study("toy").grid])
    name, method, noise, point, rows = VICTIMS[request.param]
    (run,) = pick(study(name), method, noise, 0, **point)
    return tmp_path, write(tmp_path, run, 0.6, folder="ablation" if point else "", **UNIQUE), rows


def shown(reports):
    """(table, row's words, column) -> what stands there, of all tables but the summary, bold or not."""
    found = {}
    for name, table in tables_of(reports, study("toy"), study("cub200-noise")).items():
        labels = [
            i for i, words in enumerate(table.words) if words and table.header[i] not in ("verdict", "MLflow runs")
        ]
        for row in table.rows if not name.startswith("summary") else ():
            label = tuple(row[i].text for i in labels if table.header[i] != "n")
            for heading, entry in zip(table.header, row):
                found[name, label, heading] = (entry.value, entry.std, entry.text)
    return found


def test_exactly_the_cells_of_a_removed_run_become_empty(victim):
    reports, path, rows = victim
    before = shown(reports)
    path.unlink()
    after = shown(reports)
    changed = {place for place, content in before.items() if after.get(place) != content}
    assert changed and not set(after) - set(before)
    for name, label, heading in changed:
        assert rows & set(label), (name, label, heading)
        value, _, text = after.get((name, label, heading), (None, None, ""))
        counts_runs = (name, heading) in {("table-8-ours", "n"), ("table-8-all-methods", "n")}
        assert counts_runs or (value is None and text in ("", "not run")), (name, label, heading)
    kept = {place for place in before if not rows & set(place[1])}
    assert kept and all(after[place] == before[place] for place in kept)


def test_no_file_keeps_a_number_of_a_removed_run(victim, tmp_path):
    reports, path, _ = victim
    numbers = [f"{100 * value:.6g}" for key, value in UNIQUE.items() if key not in ("seconds", "mlflow_run")]

    def files():
        together_now = together(reports, study("toy"), study("cub200-noise"))
        sections = report_sections(together_now)
        write_tables((table for section in sections for table in section.tables), tmp_path / "tables")
        return "\n".join(file.read_text() for file in (tmp_path / "tables").iterdir())

    text = files()
    assert numbers[0] in text
    path.unlink()
    text = files()
    assert not [number for number in [*numbers, "1234.57", "cafe1234"] if number in text]


def test_without_any_result_nothing_of_ours_holds_a_number(tmp_path):
    """Of the whole report only published numbers, settings and counts of nothing are left."""
    tables = tables_of(tmp_path, study("toy"), study("cub200-noise"))
    theirs = ("published", "digitised", "CUB-200", "Cars-196", "SOP", "ratio", "s per epoch")
    for name, table in tables.items():
        if "published" in name or name in ("summary-verdicts", "table-8-ours", "table-8-all-methods"):
            continue
        for row in table.rows:
            for heading, entry in zip(table.header, row):
                assert entry.value is None or any(word in heading for word in theirs), (name, heading, entry)
    counts = tables["summary-verdicts"]
    for row in counts.rows:
        found = dict(zip(counts.header, (entry.value for entry in row)))
        assert found["reproduced"] == found["below"] == found["above"] == 0
        assert found["published numbers"] == found["not run"] + found["not comparable"] > 0
    assert "summary-evidence" not in tables
