"""The report's tables: the paper's Tables 1-9 and Figure 3, ours beside the published, and what is said of them.

`report_sections` is all of it as data; `write_report` writes every document from it.
"""

from collections.abc import Callable
from pathlib import Path

from pfml.report.ablations import ablation_section
from pfml.report.beyond import beyond_section
from pfml.report.files import write_results_csv, write_summary, write_tables
from pfml.report.folds import fold_tables
from pfml.report.groups import pools_of
from pfml.report.markdown import document
from pfml.report.names import MISSING
from pfml.report.page import captioned, render_page
from pfml.report.proxies import proxy_table
from pfml.report.published.paper import CAPTIONS, TITLES
from pfml.report.published.printed import LOST, footnotes
from pfml.report.results import Studies, read_studies
from pfml.report.retrieval import noise_table, retrieval_table
from pfml.report.settings import settings_tables
from pfml.report.stamps import runs_digest
from pfml.report.summary import summary_section
from pfml.report.table import Section, Table, numbers, table_of, words
from pfml.report.timing import cost_tables, costs_of
from pfml.report.tuning import read_searches, render_tuning, settings_in_use
from pfml.settings.schema import Params
from pfml.tracking.environment import environment

TITLE = "Potential Field Based Deep Metric Learning, reproduced"
PREAMBLE = f"""# Results

What was run here beside what the paper published (Bhatnagar & Ahuja, CVPR 2025, arXiv 2405.18560). Written from
`reports/runs` and the published numbers; `make tables` renders it again without training. The same tables as CSV and
LaTeX are in [tables/](tables). How to read them, and by which rules: [docs/reports.md](../docs/reports.md).

* **Ours.** The last epoch is primary; the best epoch, chosen on the test classes as the published numbers are, stands
  beside it. Percent; mean ± sample standard deviation over seeds; n is the number of finished seeds. A run counts only
  where its configuration's digest equals that of its study as it stands: `params.yaml` for the study being run, the
  preset for the others. An empty cell was not run.
* **`glyphs`** is a small embedded dataset of rendered characters with a small network. Its numbers compare methods with
  each other; they are NOT comparable with the published numbers, which are of other images and pretrained networks.
* **Published.** As printed; "{LOST}" where our copy of the paper lost the number, never filled in. *recalled*
  numbers are from memory and unverified, *third-party* ones were read by someone else, Figure 3 was measured from its
  plot (*digitised*). **{MISSING}**: the paper prints a dash.
* **Verdict** on a published number: *reproduced* within 2 combined standard deviations or 0.5 points, else *below* or
  *above*; *not run*; *not comparable*, with the reason. Of retrieval it judges the last epoch, of Tables 3, 6, 7 and 9
  what docs/reports.md says. A verdict on a recalled number says that it is recalled.
* **MLflow.** The runs of a row are in the experiment `pfml-<study>` under the filter `tags.method = '<method>' and
  tags.noise = '<noise>'` of the store of those who ran them, which is not in Git (`make ui` shows yours);
  tables show the first digits of their ids, `results.csv` the whole. Cross
  validations (Tables 6 and 7) have a run a fold and seed under `tags.method = '<method>'`; timings have none.
* **Bold**: best of a column, of published ones best of each network. A number that contradicts
  the paper stands as it came out.
"""
THEORY = "Proposition 1 and Corollary 1 in numbers: [theory.md](theory.md), written by the stage `theory`."


def write_report(params: Params) -> None:
    """Every document of the report from the results below reports/: tables.md, tables/, results.csv, summary.json,
    tuning.md and index.html. Run from the project's root.

    Raises:
        ConfigError, ValueError: of `read_studies`.
    """
    studies, reports = read_studies(params), Path("reports")
    sections = report_sections(studies)
    (reports / "tables.md").write_text(document(PREAMBLE, sections), encoding="utf-8")
    write_tables((table for section in sections for table in section.tables), reports / "tables")
    write_results_csv(studies.files, reports / "results.csv")
    write_summary(studies, reports / "summary.json")
    used = settings_in_use(studies.grid.run)
    (reports / "tuning.md").write_text(render_tuning(read_searches(reports / "tuning"), used), encoding="utf-8")
    grid = studies.running.grid
    drawn_from = {name: runs_digest(run for run in grid if run.dataset == name) for name in params.grid.dataset}
    figures = captioned(reports / "figures", Path("docs/figures.md"), drawn_from)
    shown = studies.files.loc[studies.files.current, ["dataset", "git_commit", "dataset_digest"]].fillna("")
    page = render_page(TITLE, PREAMBLE, sections, figures, environment(params, shown.to_dict("records")))
    (reports / "index.html").write_text(page, encoding="utf-8")


def report_sections(studies: Studies) -> list[Section]:
    """Everything that the report shows of `studies`, in order."""
    pools = pools_of(studies)
    return [
        summary_section(studies, pools, costs_of(studies, pools)),
        *(table_section(table, studies) for table in range(1, 10)),
        ablation_section(studies),
        beyond_section(studies, pools),
        Section("Theory", THEORY, footnotes("figure 1")),
        Section("Results outside the present configuration", "", [outside(studies)]),
    ]


def table_section(table: int, studies: Studies) -> Section:
    parts = MAKERS.get(table, retrieval_table)(table, studies)
    return Section(f"Table {table}", f"**{TITLES[table]}.** {CAPTIONS[table]}", parts)


MAKERS: dict[int, Callable] = {
    2: noise_table, 3: proxy_table, 6: fold_tables, 7: fold_tables, 8: settings_tables, 9: cost_tables,
}  # fmt: skip


def outside(studies: Studies) -> Table | str:
    """Results on disk whose digest no run of any study has."""
    files = studies.files[~studies.files.current]
    if files.empty:
        return "None: every run on disk belongs to the present configuration of a study."
    why = [why_outside(study, run, studies) for study, run in zip(files.study, files.run_name)]
    columns = [
        words("Study", [f"`{study}`" for study in files.study]),
        words("Run", files.run_name),
        words("Digest", [f"`{digest}`" for digest in files.digest]),
        words("Why", why),
        numbers("R@1", 100 * files["recall@1"]),
        numbers("best R@1", 100 * files["best_recall@1"]),
        numbers("epochs", files.epochs, digits=0),
        words("commit", [commit[:10] for commit in files.git_commit.fillna("")]),
    ]
    title = "On disk, but no study as it stands asks for them; in no table above."
    return table_of("outside", title, columns)


def why_outside(name: str, run_name: str, studies: Studies) -> str:
    """Why no run has the digest of a result that is on disk."""
    study = studies.find(name)
    if study is None:
        return "there is no study of this name"
    if run_name in {run.name for run in study.runs}:
        return "outdated: its configuration has changed"
    return "the study no longer asks for it"
