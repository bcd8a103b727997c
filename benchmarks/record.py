"""reports/benchmarks.md: one section per benchmark, each replaced when that benchmark is run again."""

import os
import platform
import re
from datetime import date
from pathlib import Path

REPORT = Path("reports/benchmarks.md")
HEAD = """# Benchmarks

Ratios are taken side by side in one run. Each section names its machine and n; `make bench` runs them.
"""


def machine() -> str:
    """Processor, cores and versions, for the foot of a table."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return f"{', '.join(names) or platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def record(title: str, text: str) -> None:
    """Put `text` under the heading `## title` of the report."""
    body = REPORT.read_text() if REPORT.exists() else HEAD
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", body, re.M | re.S))
    sections[title] = f"\n{text.strip()}\n\nMeasured {date.today()} on {machine()}.\n\n"
    REPORT.write_text(HEAD + "".join(f"\n## {name}\n{part.rstrip()}\n" for name, part in sorted(sections.items())))
