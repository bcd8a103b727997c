"""The report's tables: the paper's Tables 1-9 and Figure 3, ours beside the published, and what is said of them.

`report_sections` is all of it as data; `write_report` and `write_page` write every document from it.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pfml.report.ablations import ablation_section
from pfml.report.beyond import beyond_section
from pfml.report.files import document, fill, write_results_csv, write_summary, write_tables
from pfml.report.folds import fold_tables
from pfml.report.groups import pools_of
from pfml.report.inputs import read_origins
from pfml.report.markup import code, literal
from pfml.report.names import MISSING
from pfml.report.page import captioned, render_page
from pfml.report.proxies import proxy_table
from pfml.report.published.paper import CAPTIONS, LEADS, TITLES
from pfml.report.published.printed import LOST, footnotes
from pfml.report.results import Studies, read_studies
from pfml.report.retrieval import noise_table, retrieval_table
from pfml.report.settings import read_searches, render_tuning, settings_in_use, settings_tables
from pfml.report.stamps import runs_digest
from pfml.report.summary import summary_section
from pfml.report.table import Section, Table, numbers, table_of, words
from pfml.report.timing import cost_tables, costs_of
from pfml.settings.files import write_whole
from pfml.settings.schema import Params
from pfml.tracking.environment import environment

TITLE = "Potential Field Based Deep Metric Learning, reproduced"
TOLD = 3  # results outside the tables that are named
PREAMBLE = fill("tables.md", lost=LOST, missing=MISSING)


def write_report(params: Params) -> None:
    """What DVC keeps of the report, from the results below reports/: tables.md, tables/, results.csv, summary.json and
    tuning.md. Equal results give equal bytes. Run from the project's root.

    Raises:
        ConfigError, ValueError: of `read_studies`.
    """
    studies, reports = read_studies(params), Path("reports")
    sections = report_sections(studies)
    used = settings_in_use(studies.grid.run)
    tuning = render_tuning(read_searches(reports / "tuning"), used)
    write_whole(reports / "tables.md", document(PREAMBLE, sections))
    write_tables((table for section in sections for table in section.tables), reports / "tables")
    write_results_csv(studies.files, reports / "results.csv")
    write_summary(studies, reports / "summary.json")
    write_whole(reports / "tuning.md", tuning)
    for line in told_outside(studies):
        print(line)


def write_page(params: Params) -> None:
    """reports/index.html: the same sections, all figures, and the machines that trained and rendered them. Run from the
    project's root.

    Raises:
        ConfigError, ValueError: of `read_studies`.
    """
    studies, reports = read_studies(params, tell=lambda _: None), Path("reports")  # write_report has told it
    grid = studies.running.grid
    drawn_from = {name: runs_digest(run for run in grid if run.dataset == name) for name in params.grid.dataset}
    figures = captioned(reports / "figures", Path("docs/figures.md"), drawn_from)
    shown = pd.concat(frame[frame.current.astype(bool)] for frame in (studies.files, studies.fold_files))
    trained = read_origins(reports / "provenance")
    trained = trained[trained.digest.isin(" ".join(shown.digest).split())]
    facts = environment(params, shown[["dataset", "dataset_digest"]].to_dict("records"), trained.to_dict("records"))
    page = render_page(TITLE, PREAMBLE, report_sections(studies), figures, facts)
    write_whole(reports / "index.html", page)


def report_sections(studies: Studies) -> list[Section]:
    """Everything that the report shows of `studies`, in order."""
    pools = pools_of(studies)
    return [
        summary_section(studies, pools, costs_of(studies, pools)),
        *(table_section(table, studies) for table in range(1, 10)),
        ablation_section(studies),
        beyond_section(studies, pools),
        Section("Theory", LEADS["theory"], footnotes("figure 1")),
        Section("Results outside the present configuration", "", outside(studies)),
    ]


def table_section(table: int, studies: Studies) -> Section:
    parts = MAKERS.get(table, retrieval_table)(table, studies)
    return Section(f"Table {table}", f"**{TITLES[table]}.** {CAPTIONS[table]}", [*parts, *footnotes(table)])


MAKERS: dict[int, Callable] = {
    2: noise_table, 3: proxy_table, 6: fold_tables, 7: fold_tables, 8: settings_tables, 9: cost_tables,
}  # fmt: skip


def outside(studies: Studies) -> list[Table | str]:
    """Results on disk whose digest no run of any study has: how many of each study, and all of them in a file."""
    files = studies.files[~studies.files.current]
    if files.empty:
        return ["None: every run on disk belongs to the present configuration of a study."]
    why = [why_outside(study, run, studies) for study, run in zip(files.study, files.run_name)]
    counts = Counter(zip(files.study, why))
    said = "; ".join(f"{count} of {code(study)} ({reason})" for (study, reason), count in counts.items())
    columns = [
        words("Study", list(map(code, files.study))),
        words("Run", list(map(literal, files.run_name))),
        words("Digest", list(map(code, files.digest))),
        words("Why", why),
        numbers("R@1", 100 * files["recall@1"]),
        numbers("best R@1", 100 * files["best_recall@1"]),
        numbers("epochs", files.epochs, digits=0),
    ]
    title = "On disk, but no study as it stands asks for them; in no table above."
    return [f"On disk, but in no table above: {said}.", table_of("outside", title, columns, listed=False)]


def told_outside(studies: Studies) -> list[str]:
    """Lines about results of runs that a study asks for, whose digest is another one: outdated, or changed."""
    asked = {(study.name, run.name): run.digest for study in studies.every for run in study.runs}
    files = studies.files[~studies.files.current]
    found = zip(files.path, zip(files.study, files.run_name), files.digest)
    lines = [
        f"{path}: digest: expected {asked[run]}, of this run now, found {digest}; in no table; evaluate the run again"
        for path, run, digest in found
        if run in asked
    ]
    more = [f"{len(lines) - TOLD} more results like these; reports/tables/outside.csv has all"] * (len(lines) > TOLD)
    return lines[:TOLD] + more


def why_outside(name: str, run_name: str, studies: Studies) -> str:
    """Why no run has the digest of a result that is on disk."""
    study = studies.find(name)
    if study is None:
        return "there is no study of this name"
    if run_name in {run.name for run in study.runs}:
        return "outdated: its configuration has changed"
    return "the study no longer asks for it"
