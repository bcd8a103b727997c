"""Write reports/benchmarks.md, with one section per benchmark. Running a benchmark again replaces its section."""

import platform
import re
from datetime import date
from pathlib import Path

from pfml.tracking.environment import processors

REPORT = Path("reports/benchmarks.md")
HEAD = """# Benchmarks

Ratios are taken side by side in one run. Each section names its machine and n; `make bench` runs them.
"""


def machine() -> str:
    """Processor, cores and version of Python, for the foot of a table."""
    return f"{', '.join(processors())}, Python {platform.python_version()}"


def record(title: str, text: str, foot: str | None = None) -> None:
    """Put `text` under the heading `## title` of the report. `foot` names the machine; without it, it is this one."""
    body = REPORT.read_text() if REPORT.exists() else HEAD
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", body, re.M | re.S))
    foot = f"Measured {date.today()} on {machine()}." if foot is None else foot
    sections[title] = f"\n{text.strip()}\n\n{foot}\n\n"
    REPORT.write_text(HEAD + "".join(f"\n## {name}\n{part.rstrip()}\n" for name, part in sorted(sections.items())))
