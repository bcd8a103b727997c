"""Names that a format would read as something else, and a project whose result files have them in every text."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.committed import project as committed_project
from tests.conftest import ROOT

NAMES = (
    "$x_$", "_under_ a_b",
    "back\\slash \\", "100 %", "#1", "a|b", "`code` **bold** *it*", "<b>&amp;</b>", "{curly} ^ ~",
    "[x](javascript:document.title='HIT')", "[y](data:text/html,<script>document.title='HIT'</script>)",
    "\"><script>document.title='HIT'</script>", "' onmouseover=\"document.title='HIT'\" x='",
    "<img src=x onerror=\"document.title='HIT'\">", "](https://e/\"onclick=\"document.title='HIT')",
    "two\nlines\r\n# end",
    '=HYPERLINK("https://e","x")', "+1+cmd|' /C calc'!A0", "@sum", "-2*3", "Ünï 文字 αδ 🐦", "\u202eright to left",
)  # fmt: skip
ALL = " ".join(NAMES).replace("\r\n", " ").replace("\n", " ")


def tables(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """`pfml tables` in a copy of the project, with the working tree's code."""
    return subprocess.run(
        [sys.executable, "-m", "pfml", "tables"], cwd=folder, capture_output=True, text=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment,
    )  # fmt: skip


def hostile_project(folder: Path) -> Path:
    """A copy of the committed project, outside Git, with all of NAMES in every text of one result, of where runs were
    trained, of W2, of a search, and in a file's name."""
    shutil.copytree(committed_project(), folder)
    shutil.copytree(ROOT / "stages", folder / "stages")
    runs = folder / "reports/runs/glyphs"
    result = json.loads((runs / "glyphs-pfml-0.0-0.json").read_text())
    texts = {key: ALL for key, value in result.items() if isinstance(value, str) and key not in ("digest", "weights")}
    (runs / "foreign.json").write_text(json.dumps(result | texts | {"digest": "f" * 16, "axis": ALL}))
    for path in (folder / "reports/runs").rglob("glyphs-*.json"):
        measured = json.loads(path.read_text())
        path.write_text(json.dumps(measured | {"w2_measure": ALL} if "w2_measure" in measured else measured))
    _change(folder / "reports/provenance/glyphs.csv", ("run", "digest", "seconds"))
    _change(folder / "reports/provenance/glyphs-all.csv", ("run", "digest", "seconds"), every=2)
    name = ALL.replace("/", "-")[:100]
    search = sorted((folder / "reports/tuning/glyphs").glob("*.csv"))[0]
    shutil.copytree(search.parent, folder / "reports/tuning" / name)
    shutil.copy(search, search.with_name(f"{name}.csv"))
    shutil.copy(folder / "reports/figures/training.png", folder / f"reports/figures/{name}.png")
    return folder


def _change(path: Path, kept: tuple[str, ...], every: int = 1) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for i, row in enumerate(rows):
            writer.writerow({key: value if key in kept or i % every else ALL for key, value in row.items()})
