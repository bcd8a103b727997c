"""Random cases: each is tried once, draws what it says, and its shares have intervals."""

import numpy as np
import pytest

from pfml import theory
from pfml.theory import document as theory_tables
from tests.theory.cases import rows_of


def test_a_survey_tries_every_case_once_and_one_more_changes_no_other():
    few, more = rows_of([]), rows_of([{"delta": 0.4}, {"proxies": 1}, {"start": 2.0}])
    assert len(few) == 2 + 2 + 3
    # Proposition 1 knows neither proxies nor their start, and on the sphere the start's length is gone.
    assert len(more) == len(few) + 2 + 3 + 3 + 1
    assert [r for r in more if r["change"] in ("", "alpha=3 delta=0.3", "alpha=3 delta=0.8")] == few
    shares = ("guaranteed", "lines", "minimum", "alone", "every", "at_most_one", "disjoint", "lower", "higher", "bound")
    for row in more:
        assert set(row) <= set(theory_tables.COLUMNS)
        assert all(0 <= row[key] <= 1 for key in shares if key in row)
        assert row.get("lower", 0) + row.get("higher", 0) <= 1
        if row["statement"] == "corollary 1":
            assert row["draws"] == (2 if row["setting"] == "mutual" else 4)
            assert all(row[f"{key}_from"] <= row[key] <= row[f"{key}_to"] for key in ("lower", "higher"))
    assert all(r["minimum"] == r["alone"] == 1 for r in few if r["change"] == "alpha=3 delta=0.3")


def test_a_case_draws_what_it_says():
    case = theory.Case(
        embeddings=400, proxies=300, dimension=50, groups=2, spread=0.2, start=3.0, alpha=3.0, delta=0.1
    )  # fmt: skip
    points, starts = case.draw(3, np.random.default_rng(0))
    assert points.shape == (3, 400, 50) and starts.shape == (3, 300, 50)
    around = points[:, ::2] - points[:, ::2].mean(1, keepdims=True)
    assert np.sqrt((around**2).sum(-1).mean()) == pytest.approx(0.2, rel=0.05)
    assert np.sqrt((starts**2).sum(-1).mean()) == pytest.approx(3.0, rel=0.05)
    assert np.linalg.norm(points[:, ::2].mean(1), axis=-1) == pytest.approx(np.ones(3), abs=0.4)


def test_wilson_by_hand():
    assert theory.wilson(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert theory.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert theory.wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
