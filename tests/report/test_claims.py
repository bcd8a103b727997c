"""The paper's claims: intervals checked by hand, and a verdict that follows the numbers both ways."""

import pytest
from report_runs import write, write_wasserstein
from report_studies import pick, runs_of, tables_of, together, toy, write_all

from pfml.report import claims
from pfml.report.claims import FAILS, HOLDS, NOT_RUN, ONE_SEED, OPEN, above, below, both, effect, paired
from pfml.report.groups import place_name, pools_of, w2_readings
from pfml.report.published import paper
from pfml.report.summary import summary_section
from pfml.report.timing import published_percent

SEEDS = {"grid": {"seed": [0, 1, 2]}}
AXES = {"proxies_per_class": [0, 5, 30], "delta": [0.1], "delta_gap": [0.1, 0.2], "alpha": []}


def test_the_interval_is_students():
    found = effect({0: 1.0, 1: 3.0})  # mean 2, std sqrt(2), standard error 1, t of one degree of freedom 12.706
    assert (found.mean, found.n) == (2.0, 2)
    assert (found.low, found.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)
    found = effect({0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0})  # std 1.29099, standard error 0.645497, t 3.18245
    assert found.high - found.mean == pytest.approx(0.645497 * 3.18245, abs=1e-4)


def test_one_seed_has_no_interval_and_none_has_no_effect():
    found = effect({7: 0.5})
    assert (found.mean, found.low, found.high, found.n) == (0.5, None, None, 1)
    assert effect({}) is None and above(None) == NOT_RUN and above(found) == below(found) == ONE_SEED


def test_pairs_are_of_the_seeds_that_both_have():
    assert paired({0: 1.0, 1: 2.0, 2: 5.0}, {1: 0.5, 2: 1.0, 9: 7.0}) == {1: 1.5, 2: 4.0}


@pytest.mark.parametrize(
    ("values", "bound", "upper", "lower"),
    [
        ((1.0, 1.1), -1.0, HOLDS, FAILS),
        ((1.0, 1.1), 3.0, FAILS, HOLDS),
        ((1.0, 1.1), 1.05, OPEN, OPEN),
        ((-1.0, 1.0), 0.0, OPEN, OPEN),
    ],
)
def test_the_whole_interval_decides(values, bound, upper, lower):
    found = effect(dict(enumerate(values)))
    assert (above(found, bound), below(found, bound)) == (upper, lower)


def test_a_claim_of_two_parts_is_as_good_as_the_worse():
    assert both(HOLDS, FAILS) == FAILS and both(OPEN, HOLDS) == OPEN and both(HOLDS, HOLDS) == HOLDS
    assert both(ONE_SEED, OPEN) == ONE_SEED and both(OPEN, FAILS) == FAILS


@pytest.fixture
def study():
    return toy(ablation=AXES, **SEEDS)


def judged(reports, *studies):
    """claim -> evidence on the paper's setting, of the only pool."""
    found = together(reports, *studies)
    (pool,) = pools_of(found)
    return {e.claim: e for e in claims.claims_of(pool, found) if e.subject == "pfml"}


def put(reports, study, method, noise, recalls):
    for run, recall in zip(pick(study, method, noise, axis=""), recalls, strict=True):
        write(reports, run, recall)


def test_best_on_clean_labels_is_judged_against_the_best_other(tmp_path, study):
    put(tmp_path, study, "pfml", 0.0, (0.70, 0.71, 0.72))
    put(tmp_path, study, "proxy_anchor", 0.0, (0.65, 0.661, 0.669))
    put(tmp_path, study, "soft_triple", 0.0, (0.50, 0.50, 0.50))
    found = judged(tmp_path, study)["clean"]
    assert (found.verdict, found.against) == (HOLDS, "Proxy Anchor")
    assert found.found.mean == pytest.approx(5.0) and found.found.n == 3
    put(tmp_path, study, "soft_triple", 0.0, (0.80, 0.812, 0.818))
    found = judged(tmp_path, study)["clean"]
    assert (found.verdict, found.against) == (FAILS, "SoftTriple") and found.found.mean == pytest.approx(-10.0)


def test_the_margin_grows_only_where_there_is_one(tmp_path, study):
    put(tmp_path, study, "pfml", 0.0, (0.70, 0.71, 0.72))
    put(tmp_path, study, "proxy_anchor", 0.0, (0.69, 0.70, 0.71))
    put(tmp_path, study, "pfml", 0.2, (0.60, 0.611, 0.62))
    put(tmp_path, study, "proxy_anchor", 0.2, (0.50, 0.51, 0.52))
    found = judged(tmp_path, study)["margin"]
    assert found.verdict == HOLDS and found.found.mean == pytest.approx(9.0, abs=0.1)
    assert found.detail == "margin +1.0 clean, +10.0 at 20 % noise"
    put(tmp_path, study, "proxy_anchor", 0.0, (0.89, 0.90, 0.91))  # far behind, then less far behind
    put(tmp_path, study, "proxy_anchor", 0.2, (0.64, 0.65, 0.66))
    found = judged(tmp_path, study)["margin"]
    assert found.found.mean > 0 and found.verdict == FAILS


def test_w2_is_to_be_lower_than_the_nearest_others(tmp_path, study):
    write_all(tmp_path, study, {"pfml": 0.7, "cpml": 0.7, "soft_triple": 0.7})
    near = {"pfml": 0.2, "cpml": 0.3, "soft_triple": 0.4}
    clean = [c for c in study.grid if c.method in near and not c.noise]
    write_wasserstein(tmp_path, [(c, near[c.method] + 0.01 * c.seed, 2.0 - near[c.method]) for c in clean])
    found = judged(tmp_path, study)
    assert (found["w2"].verdict, found["w2"].against, found["w2"].detail) == (HOLDS, "CPML", "M 15 and 15")
    assert found["w2"].found.mean == pytest.approx(-0.1)
    assert (found["w2_relative"].verdict, found["w2_relative"].against) == (FAILS, "SoftTriple")


def test_w2_of_two_readings_is_not_compared(tmp_path, study):
    write_all(tmp_path, study, {"pfml": 0.7, "cpml": 0.7, "contrastive": 0.7})  # the last has no proxies and no W2
    pfml, cpml = (pick(study, method, noise=0.0) for method in ("pfml", "cpml"))
    write_wasserstein(tmp_path, [(c, 0.2, 1.0) for c in pfml], measure="sum")
    write_wasserstein(tmp_path, [(c, 0.3, 1.0) for c in cpml], measure="sum")
    assert judged(tmp_path, study)["w2"].verdict == HOLDS  # one reading, be it not the usual one
    assert w2_readings(together(tmp_path, study).runs) == ["sum"]
    write_wasserstein(tmp_path, [(c, 0.3, 1.0) for c in cpml])
    found = judged(tmp_path, study)
    assert found["w2"].verdict == found["w2_relative"].verdict == "undecided: two readings of W2"


def test_decay_is_judged_clean_and_noisy(tmp_path, study):
    put(tmp_path, study, "pfml", 0.0, (0.70, 0.71, 0.72))
    put(tmp_path, study, "cpml", 0.0, (0.72, 0.731, 0.739))
    put(tmp_path, study, "pfml", 0.2, (0.60, 0.61, 0.62))
    put(tmp_path, study, "cpml", 0.2, (0.50, 0.66, 0.60))
    found = judged(tmp_path, study)
    assert (found["decay"].verdict, found["decay_noise"].verdict) == (FAILS, OPEN)


def ablate(reports, study, recalls):
    """R@1 of seed 0 by (axis, value); the others are 0.001 and 0.002 higher."""
    for (axis, value), recall in recalls.items():
        for run in pick(study, "pfml", axis=axis, value=value):
            write(reports, run, recall + 0.001 * run.seed, folder="ablation")


def test_insensitivity_is_a_fall_no_greater_than_the_published_one(tmp_path, study):
    put(tmp_path, study, "pfml", 0.0, (0.70, 0.701, 0.7025))
    ablate(tmp_path, study, {
        ("proxies_per_class", 0): 0.3, ("proxies_per_class", 5): 0.68, ("proxies_per_class", 30): 0.72,
        ("delta", 0.1): 0.69,
    })  # fmt: skip
    found = judged(tmp_path, study)
    assert found["proxies_per_class"].verdict == HOLDS  # 2 points at M 5, 2.9 allowed; M 0 is outside the range
    assert (
        found["proxies_per_class"].against == "5"
        and "of 2 other values; allowed 2.9" in found["proxies_per_class"].detail
    )
    assert found["delta"].verdict == FAILS and "allowed 0.5" in found["delta"].detail
    ablate(tmp_path, study, {("proxies_per_class", 5): 0.6})
    assert judged(tmp_path, study)["proxies_per_class"].verdict == FAILS


def test_equal_radii_are_best_where_no_gap_is_better(tmp_path, study):
    put(tmp_path, study, "pfml", 0.0, (0.70, 0.701, 0.7025))
    ablate(tmp_path, study, {("delta_gap", 0.1): 0.69, ("delta_gap", 0.2): 0.65})
    assert judged(tmp_path, study)["delta_gap"].verdict == HOLDS
    ablate(tmp_path, study, {("delta_gap", 0.2): 0.75})
    found = judged(tmp_path, study)["delta_gap"]
    assert (found.verdict, found.against) == (FAILS, "δ + 0.2") and found.found.mean == pytest.approx(-5.0, abs=0.1)


def test_seeds_of_an_ablation_come_from_every_study_of_the_same_settings(tmp_path):
    one, three = toy(ablation=AXES, grid={"seed": [0]}), toy(study="three", ablation=AXES, **SEEDS)
    for study in (one, three):
        write_all(tmp_path, study, {"pfml": 0.7})
    assert judged(tmp_path, one, three)["proxies_per_class"].found.n == 3
    assert judged(tmp_path, one)["proxies_per_class"].verdict == ONE_SEED


def test_what_was_not_run_is_not_judged(tmp_path, study):
    put(tmp_path, study, "pfml", 0.0, (0.7, 0.7, 0.7))
    assert {e.verdict for e in judged(tmp_path, study).values()} == {NOT_RUN}


def test_time_is_judged_where_it_is_measured(tmp_path, study):
    write_all(tmp_path, study, {"pfml": 0.7})
    found = together(tmp_path, study)
    (pool,) = pools_of(found)
    cost = claims.Evidence("overhead", place_name(pool), "pfml", HOLDS, effect({0: 1.0, 1: 1.2}), "ProxyNCA")
    table = runs_of(summary_section(found, [pool], [cost]).tables[0])
    assert table[claims.CLAIMS["overhead"]][place_name(pool)].text.startswith(f"{HOLDS} (1.1, ")


def test_the_summary_has_every_claim_and_each_dataset(tmp_path, study):
    write_all(tmp_path, study, {"pfml": 0.7, "cpml": 0.6, "proxy_anchor": 0.8})
    table = tables_of(tmp_path, study)["summary-claims"]
    rows = runs_of(table)
    assert list(rows) == list(claims.CLAIMS.values())
    assert rows[claims.CLAIMS["clean"]]["glyphs, conv3, 64-d"].text == f"{FAILS} (-10.0, -10.0 to -10.0)"
    said = " ".join(table.readings)
    assert "Not run: CUB-200, Cars-196, SOP; nothing can be concluded there." in said
    assert "tests none of the paper's numbers: glyphs is no dataset of the paper" in said
    assert "On glyphs, conv3, 64-d, of 10 claims 2 do not hold, 4 hold, 3 not run, 1 undecided." in said


def test_a_tuned_setting_is_a_subject_and_no_rival(tmp_path):
    study = toy(grid={"field": ["pfml", "pfml_tuned", "cpml"], "seed": [0, 1]})
    write_all(tmp_path, study, {"pfml": 0.7, "pfml_tuned": 0.9, "cpml": 0.8})
    rows = runs_of(tables_of(tmp_path, study)["summary-claims"])
    assert (
        rows[claims.CLAIMS["clean"]]["glyphs, conv3, 64-d"].text
        == f"{FAILS} (-10.0, -10.0 to -10.0); tuned: {HOLDS} (10.0, 10.0 to 10.0)"
    )


def test_the_field_with_another_alpha_is_no_rival(tmp_path):
    further = {"pfml_alpha_2": {"potential": "pfml", "loss": {"alpha": 2.0}, "train": {}}}
    study = toy(grid={"field": ["pfml", "pfml_alpha_2", "cpml"], "seed": [0, 1]}, field=further)
    write_all(tmp_path, study, {"pfml": 0.8, "pfml_alpha_2": 0.9, "cpml": 0.7})
    rows = runs_of(tables_of(tmp_path, study)["summary-claims"])
    assert rows[claims.CLAIMS["clean"]]["glyphs, conv3, 64-d"].text == f"{HOLDS} (10.0, 10.0 to 10.0)"


def test_claims_say_where_pfml_is_not_the_papers_setting(tmp_path):
    usual, other = toy(), toy(loss={"alpha": 4.0, "proxies_per_class": 5})
    for study, text in (
        (usual, "the paper's setting; the"),
        (other, "setting, but for α 4, M 5 on glyphs, conv3, 64-d;"),
    ):
        write_all(tmp_path, study, {"pfml": 0.7})
        assert text in tables_of(tmp_path, study)["summary-claims"].title


NAMES = {"cub200": "CUB-200", "cars196": "Cars-196", "sop": "SOP"}


def test_what_the_paper_says_fits_its_tables():
    """The words beside the claims, computed again from the published numbers."""
    clean, noisy = (
        {NAMES[d]: row["pfml"] - max(v for m, v in row.items() if m != "pfml" and v) for d, row in rows.items()}
        for rows in map(paper.recalls, (1, 2))
    )  # fmt: skip
    decay = {NAMES[d]: row["pfml"] - row["cpml"] for d, row in paper.recalls(1).items()}
    gaps = {NAMES[d]: c[0.0] - max(v for at, v in c.items() if at) for d, c in paper.curves("delta_gap").items()}
    slow = [f"{published_percent(p):+.1f} % at M {p.at:g}" for p in paper.published(9, key="pfml")]

    def listed(values):
        return ", ".join(f"{name} {value:+.1f}" for name, value in values.items())

    assert {
        "clean": f"{listed(clean)} over the next best",
        "margin": ", ".join(f"{name} {clean[name]:+.1f} to {noisy[name]:+.1f}" for name in noisy) + " at 20 %",
        "w2": "0.667 of SoftTriple's on CUB-200", "w2_relative": "", "decay": listed(decay), "decay_noise": "",
        **{axis: f"falls by {claims.published_fall(axis):.1f} at most (digitised)" for axis in claims.RANGES},
        "delta_gap": f"{listed(gaps)} over the next (digitised)", "overhead": ", ".join(slow),
    } == paper.SAID  # fmt: skip
    assert paper.statements(3)[0].value == 0.667 and f"{claims.OVERHEAD:g} %" in paper.CLAIMS["overhead"]


def test_trainings_of_different_length_are_named_beside_the_verdict(tmp_path):
    short = toy(grid={"baseline": []}, **{"train": {"epochs": 12}})
    long = toy(
        study="longer", grid={"field": [], "baseline": ["proxy_anchor"]}, train={"epochs": 100}, ablation={"alpha": []}
    )
    write_all(tmp_path, short, {"pfml": 0.6, "cpml": 0.5})
    write_all(tmp_path, long, {"proxy_anchor": 0.7})
    evidence = tables_of(tmp_path, short, long)["summary-evidence"]
    found = {(row[0].text, row[3].text): row[-1].text for row in evidence.rows}
    assert found["PFML is best on clean labels", "Proxy Anchor"] == "epochs 12 and 100"
    assert found["Decay helps: PFML above CPML, clean labels", "CPML"] == ""
