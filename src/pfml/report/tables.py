"""The report's tables: the paper's Tables 1-9 and Figure 3, ours beside the published, and what is said of them.

`report_sections` is all of it as data; `render_tables` is reports/tables.md.
"""

from collections.abc import Callable

from pfml.report.ablations import ablation_section
from pfml.report.beyond import beyond_section
from pfml.report.blocks import Block, blocks_of
from pfml.report.markdown import document
from pfml.report.mlrc import mlrc_tables
from pfml.report.mlrc_comparison import comparison_tables
from pfml.report.names import MISSING
from pfml.report.proxy_table import proxy_table
from pfml.report.published.paper import CAPTIONS, TITLES
from pfml.report.published.printed import LOST, footnotes, published_parts
from pfml.report.retrieval_tables import OWN, noise_table, retrieval_table
from pfml.report.settings_table import settings_tables
from pfml.report.studies import Studies
from pfml.report.summary import summary_section
from pfml.report.table import Column, Entry, Section, Table, numbers, table_of, words
from pfml.report.timing import cost_tables, costs_of

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


def render_tables(studies: Studies) -> str:
    """The whole of reports/tables.md."""
    return document(PREAMBLE, report_sections(studies))


def report_sections(studies: Studies) -> list[Section]:
    """Everything that the report shows of `studies`, in order."""
    blocks = blocks_of([run for study in studies.every for run in study.grid])
    return [
        summary_section(studies, costs_of(studies)),
        *(table_section(table, studies, blocks) for table in range(1, 10)),
        ablation_section(studies),
        beyond_section(studies),
        Section("Theory", THEORY, footnotes("figure 1")),
        Section("Results outside the present configuration", "", [outside(studies)]),
    ]


def table_section(table: int, studies: Studies, blocks: list[Block]) -> Section:
    parts = MAKERS.get(table, retrieval_table)(table, studies, blocks)
    return Section(f"Table {table}", f"**{TITLES[table]}.** {CAPTIONS[table]}", parts)


def table_6_7(table: int, studies: Studies, blocks: list[Block]) -> list[Table | str]:
    """The MLRC protocol: the published rows, most of them recalled, then ours beside them."""
    compared = comparison_tables(table, studies)
    return [*published_parts(table), *compared, OWN, *mlrc_tables(table, studies), *footnotes(table)]


def table_8(table: int, studies: Studies, blocks: list[Block]) -> list[Table | str]:
    return settings_tables(table, studies)


MAKERS: dict[int, Callable] = {2: noise_table, 3: proxy_table, 6: table_6_7, 7: table_6_7, 8: table_8, 9: cost_tables}


def outside(studies: Studies) -> Table | str:
    """Runs on disk whose digest no cell of any study has."""
    others = studies.ledger.others
    if not others:
        return "None: every run on disk belongs to the present configuration of a study."
    columns = [
        words("Study", [f"`{r.study}`" for r in others]),
        words("Run", [r.run for r in others]),
        words("Digest", [f"`{r.digest}`" for r in others]),
        words("Why", [studies.why_outside(r) for r in others]),
        numbers("R@1", [_percent(r, "recall@1") for r in others]),
        numbers("best R@1", [_percent(r, "best_recall@1") for r in others]),
        Column("epochs", [Entry(r.numbers["epochs"], digits=0) for r in others]),
        words("commit", [(r.numbers["git_commit"] or "")[:10] for r in others]),
    ]
    title = "On disk, but no study as it stands asks for them; in no table above."
    return table_of("outside", title, columns)


def _percent(record, key: str) -> float | None:
    value = record.numbers.get(key)
    return None if value is None else 100 * value
