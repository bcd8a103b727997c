"""From any state `make repro` comes to the same end as a plain `dvc repro`; real DVC on a small pipeline."""

import shutil

import pytest

from pfml.launch import pipeline as launch
from tests.conftest import ROOT, merge
from tests.launch.small_pipeline import harm, make_repro, plain, ran, state


def test_one_stale_training_alone_is_run_before_what_measures_it(project, finished, monkeypatch, capfd):
    shutil.rmtree(project / "models/small/b")
    assert make_repro(project, monkeypatch) == 0
    assert "1 stage to run (train_b)" in capfd.readouterr().out
    assert state(project) == state(finished) and not ran(project), "from the cache"

    source = project / "source/train_b"  # a model that no cache has, and everything after it
    source.write_text("another\n")
    assert make_repro(project, monkeypatch) == 0
    first, *others = ran(project)
    assert first == "train_b" and set(others) == {"evaluate_b", "report", "figures", "register", "page"}
    out = capfd.readouterr().out
    assert "1 stage to run (train_b)" in out and "to run (evaluate" not in out, (
        "a run is measured by the command that trains it"
    )
    assert b"another" in (project / "reports/tables.md").read_bytes() and launch.stale_stages() == []


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in (3, 4, 5))])
def test_deleted_damaged_and_stale_outputs_end_as_with_dvc_alone(project, monkeypatch, seed):
    done = harm(project, seed)
    twin = shutil.copytree(project, project.parent / "twin", symlinks=True)
    plain(twin)
    assert make_repro(project, monkeypatch) == 0, done
    assert state(project) == state(twin), done
    assert launch.stale_stages() == [], done


def test_no_wave_needs_what_comes_after_it(tmp_path, raw, write):
    """The waves run stage by stage (--single-item), so all that a stage reads is made in a wave before its own."""
    from dvc.repo import Repo

    filled = {
        "grid": {"noise": [0.0, 0.2]},
        "mlrc": {"field": ["pfml"], "baseline": ["contrastive"]},
        "ablation": {"points": ["alpha-1", "delta_gap-0.1"]},
        "tune": {"method": ["contrastive"]},
    }
    write(merge(raw, filled))
    for name in ("dvc.yaml", ".dvc/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / ".dvc/config").open("a") as config:
        config.write("    no_scm = true\n")

    groups = (launch.DATA, *(names for _, names in launch.WAVES))

    def turn(name):
        group = launch.stage_group(name)
        waves = [i for i, names in enumerate(groups) if (group in names if i == 0 else group.startswith(names))]
        return waves[0] if waves else len(groups)

    with Repo(str(tmp_path)) as repo:
        needs = [(one.name, other.name) for one, other in repo.index.graph.edges]
    assert {turn(name) for pair in needs for name in pair} == {0, 1, 2, 3}
    late = [(one, other) for one, other in needs if turn(other) >= turn(one) and turn(one) in (1, 2)]
    assert not late and not [pair for pair in needs if turn(pair[0]) == 0 < turn(pair[1])]
