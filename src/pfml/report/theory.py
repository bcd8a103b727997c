"""reports/theory.md and reports/theory.csv: where Proposition 1 and Corollary 1 held, every sentence of it computed."""

import csv
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill as wrap

from pfml.report.files import fill
from pfml.report.names import markdown_table, number, share
from pfml.theory.corollary import AT_REST, TIE
from pfml.theory.survey import COLUMNS

SYMBOLS = {"embeddings": "n", "proxies": "M", "dimension": "D", "alpha": "α", "delta": "δ"}
CENTRAL = 0.01  # proxies this near to the mean of the embeddings are at it
SETTINGS = {"fixed": "fixed field", "sphere": "on the sphere", "mutual": "proxies attract each other"}

OUTSIDE = 2  # embeddings a proxy, up to which they are not "many more"


def write_theory_csv(rows: Sequence[dict], path: str | Path) -> None:
    """One line per check, numbers with 6 digits; a column that a check does not have is empty."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: value if isinstance(value, str) else f"{value:.6g}" for key, value in row.items()})


def render_theory(rows: Sequence[dict], path: str | Path) -> None:
    """Summary, tables and readings of the rows of pfml.theory.survey as Markdown."""

    def pick(**wanted):
        return [row for row in rows if all(row[key] == value for key, value in wanted.items())]

    pfml, cpml = (pick(statement="proposition 1", field=f, setting="absolute") for f in ("pfml", "cpml"))
    inside = [pair for pair in zip(pfml, cpml) if pair[0]["guaranteed"] == 1]
    outside = [pair for pair in zip(pfml, cpml) if pair[0]["guaranteed"] < 1]
    settings = {setting: sorted(pick(statement="corollary 1", setting=setting), key=_few) for setting in SETTINGS}
    base = pick(statement="corollary 1", setting="fixed")[0]
    summary = _list(_proposition_summary(inside, outside) + _corollary_summary(settings))
    text = fill(
        "theory.md", summary=summary, base=wrap(_describe(base), 120), sets=pfml[0]["draws"],
        inside=_proposition_table(inside) + "\n", outside=_proposition_table(outside) + "\n",
        proposition_reading=_list(_proposition_reading(pfml, cpml)), relative=_relative_table(pick(setting="relative")),
        many=OUTSIDE, tie=share(TIE), left=share(AT_REST), fixed=_fixed_table(settings["fixed"]),
        sphere=_sphere_table(settings), reading=_list(_corollary_reading(settings)),
        columns=markdown_table(["Column", "Meaning"], [[f"`{key}`", text] for key, text in COLUMNS.items()], 2),
    )  # fmt: skip
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


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


def _describe(row: dict) -> str:
    return (
        f"Base case: n {row['embeddings']} embeddings of D {row['dimension']} dimensions in {row['groups']} groups, "
        f"whose centres have length about 1, at a root mean square distance of {row['spread']:g} (spread) from their "
        f"centre; M {row['proxies']} proxies that start from a normal distribution of root mean square length "
        f"{row['start']:g} (start); α {row['alpha']:g}, δ {row['delta']:g}. "
        "The other rows change what their name says. "
        "Percentages are rounded; 0 and 100 are none and all of what was tried."
    )


def _few(row: dict) -> bool:
    return row["embeddings"] <= OUTSIDE * row["proxies"]


def _proposition_table(pairs: Sequence[tuple[dict, dict]]) -> str:
    header = ["Case", "δ / nearest", "largest, closed form", "largest, found", "balls meet, %", "PFML: % minimum",
              "% alone", "CPML: % minimum"]  # fmt: skip
    body = []
    for p, c in pairs:
        lengths = (p["delta"] / p["nearest"], p["guaranteed_radius"], p["radial_radius"])
        shares = (1 - p["disjoint"], p["minimum"], p["alone"], c["minimum"])
        body.append([case_name(p), *(number(x, digits=2) for x in lengths), *map(percent, shares)])
    return markdown_table(header, body)


def _relative_table(rows: Sequence[dict]) -> str:
    radii = list(dict.fromkeys(r["delta"] for r in rows))
    found = {}
    for r in rows:
        bold = "**" if r["guaranteed"] == 1 else ""
        found[r["alpha"], r["delta"]] = f"{bold}{percent(r['minimum'])} / {percent(r['alone'])}{bold}"
    body = [[f"α {alpha:g}", *(found[alpha, radius] for radius in radii)]
            for alpha in dict.fromkeys(r["alpha"] for r in rows)]  # fmt: skip
    return markdown_table(["", *(f"δ {radius:g}" for radius in radii)], body)


def _order_cells(row: dict) -> list[str]:
    w2 = [number(row[f"w2_{f}"], row[f"w2_{f}_error"] if row["draws"] > 1 else None, 2) for f in ("pfml", "cpml")]
    return [*w2, _interval(row, "lower"), _interval(row, "higher")]


def _fixed_table(rows: Sequence[dict]) -> str:
    header = ["Case", "draws", "PFML", "CPML", "lower", "higher", "together", "near", "≤ δ"]
    shares = ("together_pfml", "near_pfml", "bound")
    body = [[_name(r), str(r["draws"]), *_order_cells(r), *(percent(r[key]) for key in shares)] for r in rows]
    return markdown_table(header, body)


def _sphere_table(settings: dict[str, Sequence[dict]]) -> str:
    ways = {"sphere": "sphere", "mutual": "attracting"}
    header = ["Case", "draws"]
    for name in ways.values():
        header += [f"{name}: PFML", "CPML", "lower", "higher", "together"]
    body = []
    for pair in zip(*(settings[way] for way in ways)):
        cells = [cell for r in pair for cell in (*_order_cells(r), percent(r["together_pfml"]))]
        body.append([_name(pair[0]), str(pair[0]["draws"]), *cells])
    return markdown_table(header, body)


def _proposition_summary(inside: Sequence[tuple], outside: Sequence[tuple]) -> list[str]:
    holding = sum(p["every"] == 1 for p, _ in inside)
    small = f"with a δ as small as the proof's, {holding} of {len(inside)} cases have a minimum for every embedding"
    large = ""
    if outside:
        found = _range([p for p, _ in outside], "minimum")
        large = f"; in the {len(outside)} with a larger one, of which it says nothing, {found} of the embeddings have"
    counts = {}
    for key, part in (("disjoint", lambda c: c["disjoint"]), ("meeting", lambda c: 1 - c["disjoint"])):
        sets = [(c["draws"] * part(c), c.get(f"at_most_one_{key}", 0)) for _, c in (*inside, *outside)]
        counts[key] = f"{sum(n * held for n, held in sets):.0f} of {sum(n for n, _ in sets):.0f}"
    return [
        f"**Proposition 1, PFML** (there is a δ such that each embedding has a minimum within it): {small}{large}.",
        "**Proposition 1, CPML** (at most one embedding has, if balls do not intersect): true in "
        f"{counts['disjoint']} sets whose balls do not, and in {counts['meeting']} of the others.",
    ]


def _corollary_summary(settings: dict[str, Sequence[dict]]) -> list[str]:
    many, few = ([r for r in settings["fixed"] if _few(r) == wanted] for wanted in (False, True))
    texts = []
    for title, rows in (("many more embeddings than proxies, as it assumes", many), (f"n ≤ {OUTSIDE}M, outside", few)):
        if rows:
            texts.append(f"**Corollary 1** (PFML's W2 is lower), {title}: {_verdicts(rows)}.")
    several = [r for r in many if r["proxies"] > 1]
    if several:
        bound = sum(r["bound"] == 1 for r in several)
        texts.append(
            f"Its reason, each proxy at a minimum of its own and so W2 ≤ δ: {_range(several, 'together_pfml')} of the "
            f"proxies end at another's place, and W2 ≤ δ in every draw in {bound} of {len(several)} cases (M > 1)."
        )
    return texts


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


def _proposition_reading(pfml: Sequence[dict], cpml: Sequence[dict]) -> list[str]:
    sure, found = ([r[key] for r in pfml] for key in ("guaranteed_radius", "radial_radius"))
    return [
        f"Such a δ exists in every case: the closed form allows {min(sure):.2f} to {max(sure):.2f} nearest-neighbour "
        f"distances, by case; by trying, {min(found):.2f} to {max(found):.2f}.",
        f"Random radial lines, of which the proof says nothing, tell little: {_range(pfml, 'lines')} of them have a "
        f"minimum at the ball's surface in PFML's field and {_range(cpml, 'lines')} in CPML's, by case.",
    ]


def _corollary_reading(settings: dict[str, Sequence[dict]]) -> list[str]:
    several = [r for rows in settings.values() for r in rows if r["proxies"] > 1]
    moved = [(r["together_coarse"] - r["together_fine"], case_name(r), SETTINGS[r["setting"]]) for r in several]
    most, *where = max(moved, default=(0.0, "base", "fixed field"))
    typical = sorted(change for change, *_ in moved)[len(moved) // 2] if moved else 0.0
    central = sum(r["mean_distance"] <= CENTRAL for r in settings["fixed"])
    rested = [(r[f"rest_{field}"], r, s) for s, rows in settings.items() for r in rows for field in ("pfml", "cpml")]
    least, row, setting = min(rested, key=lambda found: found[0])
    mean = sum(found[0] for found in rested) / len(rested)
    return [
        *(f"{SETTINGS[s]}: {_verdicts(settings[s])}." for s in SETTINGS if settings[s]),
        f"From δ/40 to δ/5 in place of δ/10 the share together grows by {100 * typical:.0f} points (median of the "
        f"cases), at most by {100 * most:.0f} ({', '.join(where)}).",
        f"Fixed field: CPML's proxies rest within {CENTRAL} of the mean of the embeddings, on average, in {central} of "
        f"{len(settings['fixed'])} cases.",
        f"{100 * mean:.1f} % of the proxies checked are at equilibrium, fewest in {case_name(row)}, "
        f"{SETTINGS[setting]} ({percent(least)} %).",
    ]


def _name(row: dict) -> str:
    return case_name(row) + (" ¹" if _few(row) else "")


def _order(row: dict) -> str:
    return f"{case_name(row)}: {percent(row['lower'])} : {percent(row['higher'])} %"


def _interval(row: dict, key: str) -> str:
    """`45 (40–50)`, all in %."""
    return f"{percent(row[key])} ({100 * row[f'{key}_from']:.0f}–{100 * row[f'{key}_to']:.0f})"


def _range(rows: Sequence[dict], key: str) -> str:
    values = [row[key] for row in rows] or [0.0]
    return f"{percent(min(values))} to {percent(max(values))} %"


def _list(texts: Sequence[str]) -> str:
    lines = (wrap(f"{text[0].upper()}{text[1:]}", 120, initial_indent="* ", subsequent_indent="  ") for text in texts)
    return "\n".join(lines) + "\n"
