"""What the paper does not have, and Table 8: from the runs of all studies, and never of two settings at once."""

import pytest
from report_runs import write
from report_studies import pick, preset, runs_of, tables_of, together, toy, write_all

from pfml.report.groups import by_seed, place_name, pools_of
from pfml.report.results import condition


def test_noise_rates_of_all_studies_are_one_table(tmp_path):
    study, wider = toy(), toy(study="wider", grid={"noise": [0.0, 0.1, 0.4], "seed": [0], "baseline": ["triplet"]})
    write_all(tmp_path, study, {"pfml": 0.7, "soft_triple": 0.6})
    write_all(tmp_path, wider, {"pfml": 0.7, "triplet": 0.5})
    table = tables_of(tmp_path, study, wider)["beyond-noise-uniform-glyphs-conv3-64"]
    assert table.header == ("Method", "0 %", "10 %", "20 %", "40 %", "n")
    rows = runs_of(table)
    assert set(rows) == {"PFML", "SoftTriple", "Triplet"}  # CPML and Proxy Anchor were not run
    assert [rows["PFML"][level].value for level in table.header[1:5]] == pytest.approx([71.0, 65.0, 61.0, 50.0])
    assert rows["PFML"]["n"].text == "1 to 2" and rows["SoftTriple"]["10 %"].empty and rows["Triplet"]["20 %"].empty


def test_another_kind_of_noise_has_a_table_of_its_own(tmp_path):
    study, other = toy(), toy(study="other", noise={"kind": "pairflip"})
    write_all(tmp_path, study, {"pfml": 0.7})
    write_all(tmp_path, other, {"pfml": 0.5})
    tables = tables_of(tmp_path, study, other)
    values = [
        runs_of(tables[f"beyond-noise-{kind}-glyphs-conv3-64"])["PFML"]["20 %"].value
        for kind in ("uniform", "pairflip")
    ]
    assert values == pytest.approx([61.0, 41.0])
    assert runs_of(tables["beyond-noise-pairflip-glyphs-conv3-64"])["PFML"]["0 %"].value == pytest.approx(71.0)


def test_seen_and_unseen_classes_stand_side_by_side_for_what_measured_them(tmp_path):
    study = toy()
    write_all(tmp_path, study, {"pfml": 0.7, "cpml": 0.6}, few_shot_1=0.8, few_shot_5=0.9)
    for run in pick(study, "cpml"):
        write(tmp_path, run, 0.6, few_shot_1=0.85, few_shot_5=0.88, **{"seen_recall@1": 0.9, "seen_map@r": 0.5})
    write_all(tmp_path, study, {"soft_triple": 0.5})  # of a time before these measures
    tables = tables_of(tmp_path, study)
    clean, noisy = (tables[f"beyond-generalisation-{noise}-glyphs-conv3-64"] for noise in ("0", "0.2"))
    rows = runs_of(clean)
    assert list(rows) == ["CPML", "PFML"] == list(runs_of(noisy))[::-1]
    assert [rows["CPML"][key].value for key in clean.header[3:7]] == pytest.approx([90, 50, 85, 88])
    assert rows["PFML"]["R@1, seen classes"].empty and rows["PFML"]["5-way 5-shot"].value == pytest.approx(90)


def test_seeds_of_two_settings_are_never_one_row(tmp_path):
    first, second = toy(grid={"seed": [0]}), toy(study="second", loss={"alpha": 4.0}, grid={"seed": [1, 2]})
    write_all(tmp_path, first, {"pfml": 0.7})
    write_all(tmp_path, second, {"pfml": 0.3})
    for order in ((first, second), (second, first)):  # the setting with more seeds, wherever it stands
        (pool,) = pools_of(together(tmp_path, *order))
        assert by_seed(clean_pfml(pool), "recall@1") == pytest.approx({1: 0.32, 2: 0.34})
    second = toy(study="second", loss={"alpha": 4.0}, grid={"seed": [1]})
    for order, found in (((first, second), {0: 0.7}), ((second, first), {1: 0.32})):  # of as many the first
        (pool,) = pools_of(together(tmp_path, *order))
        assert by_seed(clean_pfml(pool), "recall@1") == pytest.approx(found)


def clean_pfml(pool):
    return pool[(pool.method == "pfml") & (pool.noise == 0)]


def test_a_condition_is_all_but_the_seed():
    study, longer = toy(), toy(train={"epochs": 99})
    zero, one = pick(study, "pfml", axis="")
    assert zero.digest != one.digest and condition(zero) == condition(one)
    assert condition(pick(longer, "pfml", axis="")[0]) != condition(zero)
    (noisy, _) = pick(study, "pfml", 0.2, axis="")
    assert condition(noisy) != condition(zero) and condition(noisy, ("noise",)) == condition(zero, ("noise",))


def test_runs_of_validation_classes_are_in_no_pool(tmp_path):
    study = toy(train={"hold_out": True})
    write_all(tmp_path, study, {"pfml": 0.7})
    assert pools_of(together(tmp_path, study)) == []


def test_networks_of_other_weights_are_pools_of_their_own(tmp_path):
    usual = preset("cub200-noise")
    random = preset("cub200-noise", study="random", recipe={"cub200": {"model": {"weights": None}}})
    for study in (usual, random):
        write_all(tmp_path, study, {"pfml": 0.6})
    names = [place_name(pool) for pool in pools_of(together(tmp_path, usual, random))]
    assert names == ["CUB-200, resnet50.tv_in1k, 512-d", "CUB-200, resnet50.tv_in1k, 512-d, random weights"]
    assert "beyond-noise-uniform-cub200-resnet50.tv_in1k-512-random-weights" in tables_of(tmp_path, usual, random)


def test_alpha_against_noise_takes_ablations_of_every_noise(tmp_path):
    clean = toy()
    noisy = toy(study="noisy", ablation={"noise": 0.2, "alpha": [1, 6]})
    other = toy(study="other", loss={"delta": 0.3}, ablation={"alpha": [5]})
    for study in (clean, noisy, other):
        write_all(tmp_path, study, {"pfml": 0.7})
    table = tables_of(tmp_path, clean, noisy, other)["beyond-alpha-glyphs-conv3-64"]
    rows = runs_of(table)
    assert list(rows) == ["0", "1", "3", "6"]  # 5 belongs to another delta
    assert rows["1"]["20 %"].value == pytest.approx(61.0) and rows["0"]["20 %"].empty and rows["6"]["0 %"].empty
    assert "at 20 % noise" in tables_of(tmp_path, clean, noisy)["ablation-alpha-noisy"].title


def test_alpha_against_noise_compares_the_same_seeds(tmp_path):
    one = toy(grid={"seed": [0]}, ablation={"noise": 0.2, "alpha": [1]})
    more = toy(study="more", grid={"seed": [0, 1, 2]}, ablation={"alpha": []})
    write_all(tmp_path, more, {"pfml": 0.7})
    write_all(tmp_path, one, {"pfml": 0.7})
    rows = runs_of(tables_of(tmp_path, one, more)["beyond-alpha-glyphs-conv3-64"])
    assert rows["1"]["20 %"].value == rows["3"]["20 %"].value == pytest.approx(60.0)  # seed 0; 62 over all
    assert rows["3"]["0 %"].value == pytest.approx(72.0)


def test_table_8_has_the_settings_that_training_sees(tmp_path):
    study = preset("cub200-resnet50", recipe={"cub200": {"train": {"batch": 200}}})
    write_all(tmp_path, study, {"pfml": 0.7})
    tables = tables_of(tmp_path, toy(), study)
    rows = {row["Study"].text: row for row in map(dict, _rows(tables["table-8-ours"]))}
    ours = rows["`cub200-resnet50`"]
    run = pick(study, "pfml", axis="")[0]
    assert (ours["batch"].text, ours["lr"].text, ours["M"].text) == ("200", "0.0001", "15")
    assert ours["δ_rep"].text == f"{run.config['loss']['delta_rep']:g}" == "0.2" and ours["n"].value == 2
    assert "`toy`" not in rows, "nothing of it was run"
    beside = runs_of(tables["table-8-published"])
    assert (beside["batch"]["CUB-200 resnet50"].text, beside["batch"]["ours, CUB-200 resnet50"].text) == ("100", "200")
    assert beside["lr"]["CUB-200 resnet50"].mark == "third-party"
    assert "Ours have 6 of the 7 that are known." in tables["table-8-published"].readings


def test_the_file_of_table_8_has_every_method_with_its_loss(tmp_path):
    settings = {"proxy_anchor": {"loss": {"margin": 0.1, "scale": 32.0}}}
    tables = tables_of(tmp_path, toy(baseline=settings, field={"cpml": {"loss": {"repulsion": "mirror"}}}))
    rows = {row["Method"].text: row for row in map(dict, _rows(tables["table-8-all-methods"]))}
    assert set(rows) == {"PFML", "CPML", "Proxy Anchor", "SoftTriple"} and not tables["table-8-all-methods"].listed
    assert rows["Proxy Anchor"]["loss"].text == "margin 0.1; scale 32"
    assert "repulsion mirror" in rows["CPML"]["loss"].text


def _rows(table):
    return [zip(table.header, row) for row in table.rows]
