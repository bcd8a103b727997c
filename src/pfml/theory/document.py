"""reports/theory.md and reports/theory.csv: where Proposition 1 and Corollary 1 held, every sentence of it computed."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill as wrap

import pandas as pd

from pfml.report.files import fill
from pfml.report.names import number, share
from pfml.settings.files import write_whole
from pfml.theory.corollary import AT_REST, TIE
from pfml.theory.survey import COLUMNS

SYMBOLS = {"embeddings": "n", "proxies": "M", "dimension": "D", "alpha": "α", "delta": "δ"}
CENTRAL = 0.01  # proxies this near to the mean of the embeddings are at it
SETTINGS = {"fixed": "fixed field", "sphere": "on the sphere", "mutual": "proxies attract each other"}
OUTSIDE = 2  # embeddings a proxy, up to which they are not "many more"


def write_theory_csv(rows: Sequence[dict], path: str | Path) -> None:
    """One line per check, numbers with 6 digits; a column that a check does not have is empty."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_whole(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def render_theory(rows: Sequence[dict], path: str | Path) -> None:
    """Summary, tables and readings of the rows of pfml.theory.survey as Markdown, from templates/theory.md."""

    def pick(**wanted):
        return [row for row in rows if all(row[key] == value for key, value in wanted.items())]

    pfml, cpml = (pick(statement="proposition 1", field=f, setting="absolute") for f in ("pfml", "cpml"))
    pairs = list(zip(pfml, cpml))
    settings = {setting: sorted(pick(statement="corollary 1", setting=setting), key=_few) for setting in SETTINGS}
    filters = {
        "case": case_name, "marked_case": _marked_case, "verdicts": _verdicts, "number": number, "percent": percent,
        "span": _span, "interval": _interval, "paragraph": _paragraph,
    }  # fmt: skip
    text = fill(
        "theory.md", filters, zip=zip, columns=COLUMNS, titles=SETTINGS, outside_from=OUTSIDE, central=CENTRAL,
        tie=share(TIE), left=share(AT_REST), base=pick(statement="corollary 1", setting="fixed")[0],
        pfml=pfml, cpml=cpml, relative=pick(setting="relative"), settings=settings, fixed=settings["fixed"],
        inside=[pair for pair in pairs if pair[0]["guaranteed"] == 1],
        outside=[pair for pair in pairs if pair[0]["guaranteed"] < 1],
        disjoint=_at_most_one(cpml, "disjoint"), meeting=_at_most_one(cpml, "meeting"),
        many=[row for row in settings["fixed"] if not _few(row)], few=list(filter(_few, settings["fixed"])),
        **_together_changes(settings), **_rest(settings),
    )  # fmt: skip
    write_whole(path, text)


def percent(fraction: float) -> str:
    """Rounded, with 0 and 100 kept for what is exactly that."""
    text = f"{100 * fraction:.0f}"
    if text == "0" and fraction > 0:
        return "<1"
    return ">99" if text == "100" and fraction < 1 else text


def case_name(row: dict) -> str:
    """`dimension=2 delta=0.1` -> `D 2, δ 0.1`."""
    parts = (part.split("=") for part in row["change"].split())
    return ", ".join(f"{SYMBOLS.get(key, key)} {value}" for key, value in parts) or "base"


def _marked_case(row: dict) -> str:
    return case_name(row) + (" ¹" if _few(row) else "")


def _few(row: dict) -> bool:
    """Whether a case is outside of Corollary 1's assumption."""
    return row["embeddings"] <= OUTSIDE * row["proxies"]


def _at_most_one(rows: Sequence[dict], kind: str) -> str:
    """`51 of 60`: of the sets with balls "disjoint" or "meeting" those with a minimum of one embedding at most."""
    sets = [row["draws"] * (row["disjoint"] if kind == "disjoint" else 1 - row["disjoint"]) for row in rows]
    held = [n * row.get(f"at_most_one_{kind}", 0) for n, row in zip(sets, rows)]
    return f"{sum(held):.0f} of {sum(sets):.0f}"


def _verdicts(rows: Sequence[dict]) -> str:
    """Cases by what the intervals of `lower` and `higher` carry."""
    every, equal = "lower in every draw", "never apart by over 1 %"
    kinds = {every: [], "more often lower": [], "more often higher": [], equal: [], "open": []}
    for row in rows:
        more, less = row["lower_from"] > row["higher_to"], row["higher_from"] > row["lower_to"]
        kind = "more often lower" if more else "more often higher" if less else "open"
        kinds[every if row["lower"] == 1 and more else kind if row["lower"] or row["higher"] else equal].append(row)
    parts = []
    for kind, found in kinds.items():
        shown = "" if kind == every else f" ({'; '.join(map(case_name if kind == equal else _order, found))})"
        parts += [f"{kind} in {len(found)} of {len(rows)} cases{shown}"] if found else []
    return ", ".join(parts)


def _order(row: dict) -> str:
    return f"{case_name(row)}: {percent(row['lower'])} : {percent(row['higher'])} %"


def _together_changes(settings: dict[str, Sequence[dict]]) -> dict[str, str]:
    """By how many points `together` grows with the distance that counts as one place, over the cases with M > 1:
    their median (`typical`), the largest (`most`) and the case of that (`where`).
    """
    several = [row for rows in settings.values() for row in rows if row["proxies"] > 1]
    moved = [(r["together_coarse"] - r["together_fine"], case_name(r), SETTINGS[r["setting"]]) for r in several]
    moved = sorted(moved) or [(0.0, "base", SETTINGS["fixed"])]
    typical, (most, *where) = moved[len(moved) // 2][0], moved[-1]
    return {"typical": f"{100 * typical:.0f}", "most": f"{100 * most:.0f}", "where": ", ".join(where)}


def _rest(settings: dict[str, Sequence[dict]]) -> dict:
    """Percent of the proxies checked that are at equilibrium (`rested`), and the row with the fewest."""
    found = [(row[f"rest_{f}"], row) for rows in settings.values() for row in rows for f in ("pfml", "cpml")]
    least, row = min(found, key=lambda pair: pair[0])
    rested = sum(share for share, _ in found) / len(found)
    return {"rested": f"{100 * rested:.1f}", "least_rested": least, "least": row}


def _interval(row: dict, key: str) -> str:
    """`45 (40–50)`, all in %."""
    return f"{percent(row[key])} ({100 * row[f'{key}_from']:.0f}–{100 * row[f'{key}_to']:.0f})"


def _span(rows: Sequence[dict], key: str) -> str:
    """`0 to 93 %`, from the least row to the largest."""
    values = [row[key] for row in rows] or [0.0]
    return f"{percent(min(values))} to {percent(max(values))} %"


def _paragraph(text: str, bullet: str = "") -> str:
    """Lines of 120 characters, the first after a bullet, the others indented by as much."""
    lines = wrap(" ".join(text.split()), 120, initial_indent=bullet, subsequent_indent=" " * len(bullet))
    return f"{lines}\n"
