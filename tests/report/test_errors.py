"""What `pfml tables` says of files that it cannot use: one line with the file and what to do; no table is lost."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from hostile import tables
from report_runs import write
from report_studies import pick, together, toy

from pfml.report.results import histories
from tests.committed import project as committed_project
from tests.conftest import ROOT

RUN = "reports/runs/glyphs-all/glyphs-pfml-0.0-0.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors") / "project"
    shutil.copytree(committed_project(), folder)
    shutil.copytree(ROOT / "stages", folder / "stages")
    return folder


def changed(text: str, **values) -> str:
    return json.dumps(json.loads(text) | values)


BROKEN = {  # file, change of its text -> what the line has
    "cut off": (RUN, lambda text: text[:200], "not a readable JSON file"),
    "empty": (RUN, lambda text: "", "not a readable JSON file"),
    "NaN": (RUN, lambda text: changed(text, **{"recall@1": float("nan")}), "recall@1: expected a finite number"),
    "a list": (RUN, lambda text: "[]", "dictionary"),
    "other bytes": (RUN, lambda text: text.encode("utf-16"), "not a readable JSON file"),
    "provenance without a column": (
        "reports/provenance/glyphs.csv", lambda text: text.replace("digest", "dogest", 1), "digest: missing column"
    ),
    "provenance of words": (
        "reports/provenance/glyphs.csv", lambda text: text.rsplit(",", 1)[0] + ",soon\n", "seconds: expected numbers"
    ),
    "W2 of words": (RUN, lambda text: text.replace('"w2": 0', '"w2": "near", "near": 0'), "w2: expected a finite"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_one_line_and_changes_no_table(project, what):
    name, change, said = BROKEN[what]
    path, before = project / name, (project / "reports/tables.md").read_bytes()
    text = path.read_text(encoding="utf-8")
    broken = change(text)
    assert broken != text
    path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    try:
        done = tables(project, PFML_TRACEBACK="")
        traced = tables(project, PFML_TRACEBACK="1") if what == "NaN" else None
    finally:
        path.write_text(text, encoding="utf-8", newline="")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert name in done.stderr and said in done.stderr and ("again" in done.stderr), done.stderr
    assert "rendered" not in done.stdout and (project / "reports/tables.md").read_bytes() == before
    assert traced is None or "Traceback" in traced.stderr


HISTORY = "epoch,loss,lr,recall@1\n1,9.5,0.1,\n2,3.25,0.1,0.512345\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch,loss,lr,recall@1\n1,9.5,0.1,\n", "epoch: expected 2 epochs, as glyphs-pfml-0.2-0.json has, found 1"),
        (HISTORY[:-12], "line 3: expected 4 cells, found 3; the file is cut off or changed"),
        (HISTORY[:-4], "no line end; the file is cut off or changed"),
        ("", "expected a table in UTF-8"),
        (HISTORY.replace("loss", "l\xf6ss"), "expected a table in UTF-8"),
    ],
)
def test_a_history_that_is_cut_off_is_refused(tmp_path, text, said):
    (run,) = pick(toy(), "pfml", 0.2, 0)
    path = write(tmp_path, run, 0.7, epochs=2).with_suffix(".csv")
    path.write_bytes(HISTORY.encode())
    assert len(histories(together(tmp_path, toy()).grid)) == 1
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"{path}: {said}"):
        histories(together(tmp_path, toy()).grid)


@pytest.mark.long
def test_another_locale_writes_the_same_bytes_and_stops_at_nothing(project):
    assert tables(project).returncode == 0
    names = [path for path in project.glob("reports/**/*") if path.suffix in (".md", ".csv", ".tex", ".json")]
    before = {path: path.read_bytes() for path in names}
    assert len(before[project / "reports/tables.md"]) > 10_000
    done = tables(project, LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert [path for path in names if path.read_bytes() != before[path]] == []


def test_what_is_odd_is_said_and_the_tables_are_made(project):
    """A result with another digest, no Git, and a pipeline at work: a process that DVC's file of locks names and whose
    command line has DVC in it, as a real one's.
    """
    path = project / RUN
    text = path.read_text(encoding="utf-8")
    path.write_text(changed(text, digest="f" * 16))
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)", "dvc"])
    lock = project / ".dvc/tmp/rwlock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"write": {str(project / "x"): {"pid": other.pid, "cmd": "dvc repro"}}, "read": {}}))
    try:
        done = tables(project, GIT_CEILING_DIRECTORIES=str(project.parent))
    finally:
        path.write_text(text)
        other.kill()
        other.wait()
        shutil.rmtree(project / ".dvc")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(RUN)]
    assert line.startswith(f"{RUN}: digest: expected {json.loads(text)['digest']}, of this run now, found {'f' * 16}")
    (said,) = [line for line in done.stdout.splitlines() if "as it stands" in line]
    assert "not a git repository" in said and "The report is whole" in said and "all trainings Git" in said
    assert f"a pipeline is at work in this folder (process {other.pid})" in done.stdout
    assert "at its end it renders them again" in done.stdout and os.path.exists(project / "reports/index.html")
